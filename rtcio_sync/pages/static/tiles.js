// One tile for each person and each shared screen: picture, name, state, and its buttons.

import { $, icon, write } from "./dom.js";
import { layOut } from "./layout.js";

export class Tile {
  stream = null;
  screenStream = null;
  pinned = false;

  #element;
  #screen = null;
  #name = "";

  /** pin(): the user wants this tile in front, or no longer. */
  constructor(name, own, pin) {
    this.name = name;
    this.own = own;
    this.#element = this.#make();
    this.#element.querySelector(".pin").onclick = pin;
    this.#place();
  }

  show(stream) {
    this.stream = stream;
    play(this.#element, stream);
  }

  showScreen(stream) {
    if (this.screenStream === stream) return;
    this.screenStream = stream;
    this.#screen?.remove();
    this.#screen = stream && this.#make();
    if (!stream) return;
    this.#screen.querySelector(".pin").remove(); // it is in front anyway
    this.#screen.querySelector(".quality").remove();
    this.#screen.querySelector("video").onresize = layOut;
    $("screens").append(this.#screen);
    play(this.#screen, stream);
  }

  pin(pinned) {
    if (this.pinned === pinned) return;
    this.pinned = pinned;
    const focused = document.activeElement;
    this.#place();
    // A video stops when its element moves.
    this.#element.querySelector("video").play().catch(() => {});
    if (this.#element.contains(focused)) focused.focus();
  }

  remove() {
    for (const each of [this.#element, this.#screen]) silenced.delete(each?.querySelector("video"));
    this.show(null);
    this.showScreen(null);
    this.#element.remove();
  }

  /** `state` describes the connection; "" when it works. */
  draw({ id, name, mic, cam, state }) {
    const element = this.#element;
    const label = this.own ? `${name} (you)` : name;
    this.#name = label;
    element.dataset.peer = id;
    element.classList.toggle("pictured", cam !== false && Boolean(this.stream?.getVideoTracks().length));
    write(element.querySelector(".name"), label);
    write(element.querySelector(".initials"), initials(name));
    write(element.querySelector(".state"), state);
    tag(element, "mic", mic, "microphone");
    tag(element, "cam", cam, "camera");
    element.querySelector(".tag.screen").hidden = !this.screenStream;
    element.querySelector("video").ariaLabel = `Camera of ${label}`;
    const pin = element.querySelector(".pin");
    pin.ariaPressed = String(this.pinned);
    pin.ariaLabel = `Pin ${label}`;
    element.querySelector(".full").ariaLabel = `Full screen: ${label}`;
    if (!this.#screen) return;
    const whose = this.own ? "Your screen" : `Screen of ${name}`;
    this.#screen.dataset.screenOf = id;
    this.#screen.classList.add("pictured");
    write(this.#screen.querySelector(".name"), whose);
    this.#screen.querySelector("video").ariaLabel = whose;
    this.#screen.querySelector(".full").ariaLabel = `Full screen: ${whose}`;
  }

  speaks(speaking) {
    this.#element.classList.toggle("speaking", speaking);
  }

  /** The figures of the connection, as `Peers.figures` gives them; null: none yet. */
  drawQuality(figures) {
    const button = this.#element.querySelector(".quality"), list = this.#element.querySelector(".figures");
    button.hidden = !figures;
    if (!figures) return void (list.hidden = true);
    const { quality, rtt, loss, received, sent } = figures;
    icon(button, `bars-${quality}`);
    button.dataset.quality = quality;
    button.ariaLabel = `Connection to ${this.#name}: ${quality}`;
    const shown = {
      "Round trip": rtt === null ? "unknown" : `${Math.round(rtt * 1000)} ms`,
      "Packets lost": `${(loss * 100).toFixed(1)} %`,
      Receiving: `${Math.round(received / 1000)} kbit/s`,
      Sending: `${Math.round(sent / 1000)} kbit/s`,
    };
    for (const [index, value] of Object.values(shown).entries()) write(list.querySelectorAll("dd")[index], value);
  }

  #place() {
    const list = this.pinned ? $("screens") : $("people-tiles");
    if (this.own && !this.pinned) list.append(this.#element);
    else list.prepend(this.#element);
  }

  #make() {
    const element = $("tile").content.firstElementChild.cloneNode(true);
    element.querySelector("video").muted = this.own;
    element.classList.toggle("own", this.own);
    const full = () => (document.fullscreenElement ? document.exitFullscreen() : element.requestFullscreen());
    element.querySelector(".full").hidden = !document.fullscreenEnabled; // phones may not have it
    element.querySelector(".full").onclick = full;
    element.ondblclick = ({ target }) => document.fullscreenEnabled && !target.closest("button") && full();
    const quality = element.querySelector(".quality"), figures = element.querySelector(".figures");
    quality.onclick = () => {
      figures.hidden = !figures.hidden;
      quality.ariaExpanded = String(!figures.hidden);
    };
    return element;
  }
}

// Browsers allow sound only after a click in the page, or while it records. Until then: no sound.
const silenced = new Set();
let speaker = "";

/** Turns the sound on for videos that started without it. Call it when sound may be allowed. */
export function unblock() {
  for (const video of [...silenced]) {
    silenced.delete(video);
    video.muted = false;
    sound(video);
  }
  $("silence").hidden = !silenced.size;
}

/** Plays all sound on another speaker, also that of later tiles. */
export function useSpeaker(id) {
  speaker = id;
  for (const video of document.querySelectorAll(".tile video")) video.setSinkId?.(id).catch(() => {});
}

function play(element, stream) {
  const video = element.querySelector("video");
  if (video.srcObject === stream) return;
  video.srcObject = stream;
  if (speaker) video.setSinkId?.(speaker).catch(() => {}); // it may be unplugged by now
  if (stream) sound(video);
}

async function sound(video) {
  try {
    await video.play();
  } catch (error) {
    if (error.name !== "NotAllowedError" || !video.isConnected) return;
    video.muted = true;
    silenced.add(video);
    $("silence").hidden = false;
    video.play().catch(() => {}); // another stream came meanwhile, with its own play()
  }
}

function tag(element, kind, on, word) {
  const found = element.querySelector(`.tag.${kind}`);
  found.hidden = on === undefined;
  found.classList.toggle("off", !on);
  icon(found, on ? kind : `${kind}-off`);
  write(found.querySelector(".hidden"), `${word} ${on ? "on" : "off"}`);
}

function initials(name) {
  const words = name.split(/\s+/).filter(Boolean);
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("");
}
