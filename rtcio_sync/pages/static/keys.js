// Keyboard shortcuts, and their list. A key of one letter may get in the way of speech control, so
// the list has a switch for all of them (WCAG 2.2, 2.1.4).

import { $, made, recall, remember } from "./dom.js";

/** @param shortcuts [key, what it does, function] for each; they work while the call is shown. */
export function listenToKeys(shortcuts) {
  const rows = shortcuts.map(([key, what]) => {
    const row = document.createElement("div");
    const term = document.createElement("dt");
    term.append(made("kbd", key.toUpperCase()));
    row.append(term, made("dd", what));
    return row;
  });
  $("key-list").replaceChildren(...rows);
  $("keys-on").checked = !recall("localStorage", "rtcio-no-keys");
  $("keys-on").onchange = ({ target }) => remember("localStorage", "rtcio-no-keys", target.checked ? "" : "off");
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) return;
    if ($("call").hidden || !$("keys-on").checked || document.querySelector("dialog[open]")) return;
    if (event.target.closest?.("input, select, textarea")) return;
    const found = shortcuts.find(([key]) => key === event.key.toLowerCase());
    if (!found) return;
    event.preventDefault();
    found[2]();
  });
}
