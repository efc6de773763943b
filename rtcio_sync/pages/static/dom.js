// Small helpers for the page's elements, and for what it remembers.

export const $ = (id) => document.getElementById(id);

export function made(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  return Object.assign(element, attributes);
}

/** Shows another icon of the page in `element`. */
export function icon(element, name) {
  element.querySelector("use").setAttribute("href", `#i-${name}`);
}

/** Sets a text if it has changed: a screen reader would read it again. */
export function write(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** For screen readers: what others see at a glance. */
export function say(text) {
  $("spoken").textContent = text;
}

/** The user may have turned storage off: the page works without it. */
export function remember(storage, key, value) {
  try {
    window[storage].setItem(key, value);
  } catch {
    // Storage is off.
  }
}

export function recall(storage, key) {
  try {
    return window[storage].getItem(key) ?? "";
  } catch {
    return "";
  }
}

/** A name for a room that nobody guesses. */
export function unguessable() {
  const letters = "abcdefghjkmnpqrstuvwxyz23456789";
  const drawn = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => letters[byte % letters.length]);
  return drawn.join("").replace(/.{4}(?=.)/g, "$&-");
}
