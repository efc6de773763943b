// The entrance: a preview of camera and microphone, and the form. Nothing is sent before "Join".

import { $, icon, recall } from "./dom.js";

export class Entrance {
  #devices;
  #pickers;
  #timer = 0;

  constructor(devices, pickers) {
    this.#devices = devices;
    this.#pickers = pickers;
    for (const kind of ["mic", "cam"]) $(`try-${kind}`).onclick = () => devices.toggle(kind);
    $("try").onclick = () => devices.start({ ...devices.on });
  }

  /** `field`: the input with the problem. */
  show(problem = "", field = null) {
    document.title = document.body.dataset.title;
    $("call").hidden = true;
    $("entrance").hidden = false;
    // On a phone the form would be out of sight.
    this.#pickers.moveTo($("preview"), matchMedia("(min-width: 48rem)").matches);
    this.progress("");
    this.complain(problem, field);
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#drawLevel(), 100);
    ($(field) ?? [$("name"), $("room")].find((input) => !input.value) ?? $("enter")).focus();
  }

  hide() {
    clearInterval(this.#timer);
    this.progress("");
    $("entrance").hidden = true;
    $("mirror").srcObject = null;
  }

  /** Starts the preview if the user has allowed it before: no question comes up by itself. */
  async preview() {
    const without = recall("localStorage", "rtcio-without").split(" ");
    this.#devices.on = { mic: !without.includes("mic"), cam: !without.includes("cam") };
    this.draw();
    if (await this.#devices.isAllowed()) await this.#devices.start(this.#devices.on);
  }

  progress(text) {
    $("join-progress").textContent = text;
    $("enter").disabled = Boolean(text);
    $("cancel").hidden = !text;
  }

  complain(problem, field = null) {
    $("join-notice").hidden = !problem; // first: screen readers ignore text that changes while hidden
    $("join-notice").textContent = problem;
    for (const id of ["room", "password"]) $(id).ariaInvalid = String(id === field);
  }

  draw() {
    if ($("entrance").hidden) return;
    const { on, stream } = this.#devices;
    const running = stream.getTracks().length > 0, pictured = on.cam && Boolean(this.#devices.track("cam"));
    for (const kind of ["mic", "cam"]) {
      $(`try-${kind}`).ariaPressed = String(on[kind]);
      icon($(`try-${kind}`), on[kind] ? kind : `${kind}-off`);
    }
    if ($("mirror").srcObject !== stream) $("mirror").srcObject = stream;
    $("mirror").classList.toggle("pictured", pictured);
    $("try").hidden = running || !(on.mic || on.cam);
    $("mirror-text").hidden = pictured;
    $("mirror-text").textContent = on.cam && !running ? "Nobody sees or hears you yet." : "Your camera is off.";
    $("level-row").hidden = !(on.mic && this.#devices.track("mic"));
    this.#pickers.draw();
  }

  #drawLevel() {
    // The root makes quiet voices visible.
    const percent = Math.round(Math.sqrt(this.#devices.level) * 100);
    $("level").ariaValueNow = String(percent);
    $("level").style.setProperty("--level", `${percent}%`);
  }
}
