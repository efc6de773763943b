// Notices: short texts above the stage. They take space of their own, so that they cover nobody.

import { $, made } from "./dom.js";

const NOTICE_LASTS = 6_000; // ms

export function notice(text, { stays = false } = {}) {
  for (const old of $("notices").children) if (old.firstChild.textContent === text) old.remove();
  const box = document.createElement("div");
  box.append(made("p", text));
  if (stays) box.append(made("button", "OK", { type: "button", onclick: () => box.remove() }));
  else setTimeout(() => box.remove(), NOTICE_LASTS);
  $("notices").append(box);
}

export function clearNotices() {
  $("notices").replaceChildren();
}
