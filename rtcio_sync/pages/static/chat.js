// The chat, and the panel that it is in. Messages go from peer to peer; this draws them.

import { $, made, say } from "./dom.js";

const KEPT_LINES = 500;
const LINK = /\bhttps?:\/\/[^\s<>"]+[^\s<>"'.,;:!?)\]}]/g;

export function message(name, text, own) {
  const item = document.createElement("li");
  const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const words = document.createElement("p");
  words.append(...withLinks(text));
  item.append(made("b", name), made("time", time), words);
  item.classList.toggle("own", own);
  append(item);
  if (own || !$("panel").hidden) return;
  const number = Number($("unread").textContent) + 1;
  $("unread").textContent = String(number);
  $("unread").hidden = false;
  $("toggle-panel").ariaLabel = `Chat, ${number} unread`;
  say(`${name}: ${text}`); // screen readers do not read the log while it is hidden
}

/** What happened: somebody came or left. */
export function line(text) {
  append(made("li", text, { className: "event" }));
  if ($("panel").hidden) say(text);
}

export function showPanel(open) {
  $("panel").hidden = !open;
  $("toggle-panel").ariaExpanded = String(open);
  $("call").classList.toggle("with-panel", open);
  if (!open) return;
  $("unread").hidden = true;
  $("unread").textContent = "";
  $("toggle-panel").ariaLabel = null;
  $("log").scrollTop = 0; // its end
}

export function togglePanel() {
  showPanel($("panel").hidden);
  $($("panel").hidden ? "toggle-panel" : "text").focus();
}

/** Text, with each web address as a link. What a peer wrote never becomes HTML. */
function* withLinks(text) {
  let end = 0;
  for (const { 0: address, index } of text.matchAll(LINK)) {
    yield text.slice(end, index);
    yield made("a", address, { href: address, target: "_blank", rel: "noopener noreferrer" });
    end = index + address.length;
  }
  yield text.slice(end);
}

function append(item) {
  const list = $("messages"); // the style sheet keeps its end in sight
  list.append(item);
  if (list.children.length > KEPT_LINES) list.firstElementChild.remove();
}
