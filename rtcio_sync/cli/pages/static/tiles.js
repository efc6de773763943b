// One tile for each person and each shared screen, as large as the window allows.

const GAP = 8; // px, as in the style sheet

export class Tile {
  stream = null;
  screenStream = null;

  #element;
  #screen = null;

  constructor(name, own) {
    this.name = name;
    this.own = own;
    this.#element = this.#make();
    list("people-tiles")[own ? "append" : "prepend"](this.#element);
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
    list("screens").append(this.#screen);
    play(this.#screen, stream);
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
    element.dataset.peer = id;
    element.classList.toggle("pictured", cam !== false && Boolean(this.stream?.getVideoTracks().length));
    write(element, ".name", label);
    write(element, ".initials", initials(name));
    write(element, ".state", state);
    tag(element, "mic", mic, "microphone");
    tag(element, "cam", cam, "camera");
    element.querySelector(".tag.screen").hidden = !this.screenStream;
    element.querySelector("video").ariaLabel = `Camera of ${label}`;
    if (!this.#screen) return;
    const whose = this.own ? "Your screen" : `Screen of ${name}`;
    this.#screen.dataset.screenOf = id;
    this.#screen.classList.add("pictured");
    write(this.#screen, ".name", whose);
    this.#screen.querySelector("video").ariaLabel = whose;
  }

  #make() {
    const element = document.getElementById("tile").content.firstElementChild.cloneNode(true);
    element.querySelector("video").muted = this.own;
    element.classList.toggle("own", this.own);
    return element;
  }
}

// Browsers allow sound only after a click in the page, or while it records. Until then: no sound.
const silenced = new Set();

/** Turns the sound on for videos that started without it. Call it when sound may be allowed. */
export function unblock() {
  for (const video of [...silenced]) {
    silenced.delete(video);
    video.muted = false;
    sound(video);
  }
  list("silence").hidden = !silenced.size;
}

function play(element, stream) {
  const video = element.querySelector("video");
  if (video.srcObject === stream) return;
  video.srcObject = stream;
  if (stream) sound(video);
}

async function sound(video) {
  try {
    await video.play();
  } catch (error) {
    if (error.name !== "NotAllowedError" || !video.isConnected) return;
    video.muted = true;
    silenced.add(video);
    list("silence").hidden = false;
    video.play().catch(() => {}); // another stream came meanwhile, with its own play()
  }
}

/** Finds the number of columns that makes the tiles largest, for each list of them. */
export function layOut() {
  list("screens").hidden = !list("screens").children.length;
  for (const each of [list("people-tiles"), list("screens")]) {
    const { clientWidth: width, clientHeight: height } = each, number = each.children.length;
    const narrowest = height > width ? 3 / 4 : 4 / 3; // the narrowest ratio to which a picture may be cut
    let best = { area: 0 };
    for (let columns = 1; columns <= number; columns++) {
      const rows = Math.ceil(number / columns);
      const cell = [(width - GAP * (columns - 1)) / columns, (height - GAP * (rows - 1)) / rows];
      const ratio = Math.min(Math.max(cell[0] / cell[1], narrowest), 16 / 9);
      const wide = Math.min(cell[0], cell[1] * ratio);
      if (wide ** 2 / ratio > best.area) best = { area: wide ** 2 / ratio, wide, high: wide / ratio };
    }
    if (!best.area) continue; // empty or hidden
    each.style.setProperty("--wide", `${Math.floor(best.wide)}px`);
    each.style.setProperty("--high", `${Math.floor(best.high)}px`);
  }
}

/** Shows another icon of the page in `element`. */
export function icon(element, name) {
  element.querySelector("use").setAttribute("href", `#i-${name}`);
}

/** Sets a text if it has changed: a screen reader would read it again. */
export function write(element, selector, value) {
  const found = element.querySelector(selector);
  if (found.textContent !== value) found.textContent = value;
}

function list(id) {
  return document.getElementById(id);
}

function tag(element, kind, on, word) {
  const found = element.querySelector(`.tag.${kind}`);
  found.hidden = on === undefined;
  found.classList.toggle("off", !on);
  icon(found, on ? kind : `${kind}-off`);
  write(found, ".hidden", `${word} ${on ? "on" : "off"}`);
}

function initials(name) {
  const words = name.split(/\s+/).filter(Boolean);
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("");
}
