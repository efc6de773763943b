// A room as an element of any page, also of one on another site:
//
//   <script src="https://call.example/room.js"></script>
//   <rtcio-room room="tea" name="Ada"></rtcio-room>
//
// It is a frame with the room page of the server that this script comes from. The server has to
// allow the site (RoomPage(embed_in=…), rtcio-sync --embed-in). The element tells what happens in
// the frame by the events "rtcio-joined" and "rtcio-left".

(() => {
  const home = new URL(".", document.currentScript.src);
  const MAY = "camera; microphone; display-capture; fullscreen; autoplay; clipboard-write; speaker-selection";

  class RtcioRoom extends HTMLElement {
    static observedAttributes = ["room", "name"];
    #frame = null;
    #heard = ({ source, origin, data }) => {
      if (!this.#frame || source !== this.#frame.contentWindow || origin !== home.origin) return;
      if (data?.from !== "rtcio-room" || !["joined", "left"].includes(data.event)) return;
      this.dispatchEvent(new CustomEvent(`rtcio-${data.event}`, { bubbles: true, detail: { room: data.room } }));
    };

    connectedCallback() {
      addEventListener("message", this.#heard);
      this.#show();
    }

    disconnectedCallback() {
      removeEventListener("message", this.#heard);
      this.#frame?.remove();
      this.#frame = null;
    }

    attributeChangedCallback() {
      if (this.isConnected) this.#show();
    }

    #show() {
      const url = new URL(home);
      for (const each of RtcioRoom.observedAttributes) {
        if (this.getAttribute(each)) url.searchParams.set(each, this.getAttribute(each));
      }
      if (this.#frame?.src === url.href) return;
      this.#frame?.remove();
      const frame = (this.#frame = document.createElement("iframe"));
      frame.allow = MAY.split("; ").map((each) => `${each} ${home.origin}`).join("; ");
      frame.title = this.title || "Video room";
      frame.src = url.href;
      // Set one by one: the policy of the page may forbid style attributes in its HTML.
      Object.assign(this.style, { display: this.style.display || "block", minHeight: this.style.minHeight || "30rem" });
      Object.assign(frame.style, { border: "0", width: "100%", height: "100%", minHeight: "inherit" });
      this.append(frame);
    }
  }

  customElements.define("rtcio-room", RtcioRoom);
})();
