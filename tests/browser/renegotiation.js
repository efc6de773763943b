// A page as rtc.io's client behaves where two offers meet: the second argument of #rtcio:init-offer
// holds the options of the negotiation, "polite" among them; who is offered to has none.
"use strict";

window.joinAs = async (room) => {
  const socket = io({ transports: ["websocket"], reconnectionDelay: 50, reconnectionDelayMax: 200 });
  const heard = { offers: [], ignored: 0, options: [] };
  const held = [];
  let holding = false;
  let negotiation = null;
  const tell = (target, data) => {
    const send = () => socket.emit("#rtcio:message", { source: socket.id, target, data });
    if (holding && data.description) held.push(send);
    else send();
  };

  const begin = (id, options) => {
    heard.options.push(options);
    const pc = new RTCPeerConnection();
    const made = (negotiation = { id, pc, polite: options?.polite ?? false, making: false, ignoring: false });
    made.channel = pc.createDataChannel("rtcio:ctrl", { negotiated: true, id: 0 });
    pc.onicecandidate = ({ candidate }) => candidate && tell(id, { candidate });
    pc.onnegotiationneeded = async () => {
      made.making = true;
      await pc.setLocalDescription();
      made.making = false;
      tell(id, { description: pc.localDescription });
    };
    return made;
  };

  const receive = async (id, { description, candidate }) => {
    const made = negotiation ?? begin(id, undefined);
    const { pc } = made;
    if (candidate) {
      await pc.addIceCandidate(candidate).catch((error) => {
        if (!made.ignoring) throw error;
      });
      return;
    }
    if (description.type === "offer") heard.offers.push(id);
    made.ignoring = !made.polite && description.type === "offer" && (made.making || pc.signalingState !== "stable");
    if (made.ignoring) {
      heard.ignored += 1;
      return;
    }
    await pc.setRemoteDescription(description);
    if (description.type !== "offer") return;
    await pc.setLocalDescription();
    tell(id, { description: pc.localDescription });
  };

  let turn = Promise.resolve();
  socket.on("#rtcio:init-offer", ({ source }, options) => begin(source, options));
  socket.on("#rtcio:message", ({ source, data }) => (turn = turn.then(() => receive(source, data))));
  socket.on("connect", () => socket.recovered || socket.emit("join-room", { roomId: room }));
  await new Promise((resolve) => socket.on("join-ok", resolve));

  window.peer = {
    socket,
    heard,
    get pc() {
      return negotiation?.pc;
    },
    get open() {
      return negotiation?.channel.readyState === "open";
    },
    // Make an offer, and keep it back until the other side has one of its own.
    async holdAnOffer() {
      holding = true;
      negotiation.pc.addTransceiver("audio");
      while (!held.length) await new Promise((resolve) => setTimeout(resolve, 5));
    },
    release() {
      holding = false;
      for (const send of held.splice(0)) send();
    },
    // Both m-lines negotiated, and nothing under way.
    get settled() {
      const { pc } = negotiation;
      return pc.signalingState === "stable" && pc.getTransceivers().filter(({ mid }) => mid).length === 2;
    },
  };
  return socket.id;
};
