// The room: its people, their pictures, sound and chat. The server's Lobby tells who is there
// (user-connected, media-state, …); the peers send the rest.

import { Devices } from "./devices.js";
import { Peers } from "./peers.js";
import { Signaling } from "./signaling.js";
import { icon, layOut, Tile, unblock, write } from "./tiles.js";

const ME = "me"; // stands for our own id, which may change
const NAME = 64, TEXT = 2_000; // characters of a name and of a message that are shown
const KEPT_LINES = 500; // of the chat
const PATIENCE = 5_000; // ms until the page says why it waits
const SEAT_RETRY = 3_000; // ms until a client that was in a full room asks again
const REINVITE = 2_000; // ms from a lost connection to a new one, while both are in the room
const NOTICE_LASTS = 6_000; // ms

const REASONS = {
  "invalid-room": "This is not a valid room name. A name may have up to 256 characters.",
  "password-required": "This room needs a password.",
  "wrong-password": "This is not the password of this room.",
  "room-full": "This room is full. Try again when somebody has left.",
  "too-many-rooms": "You are in too many rooms. Leave one first.",
  forbidden: "You may not enter this room.",
};

const $ = (id) => document.getElementById(id);
const signaling = new Signaling(new URL(document.body.dataset.signaling, document.baseURI));
const peers = new Peers(signaling, {
  admits: (id) => roster.has(id),
  connected: greet,
  disconnected,
  health: healthChanged,
  stream: streamArrived,
  streamEnded,
  heard,
  moved,
});
const devices = new Devices({
  tracks: () => (peers.sync(devices.stream), unblock(), draw()),
  changed: () => (tellMedia(), draw()),
  problem: (text) => notice(text, { stays: true }),
});

let room = null, password = ""; // of the room to enter; null while outside
let inside = false; // from join-ok until we leave, also while the connection is lost
let myName = "", joinedAs = ""; // the name now, and the name that the server knows
let screen = null; // the stream of our own screen
let timer = 0;
const roster = new Map(); // id → name, as the server has it
const gone = new Set(); // ids that left the server, not the room: they may have lost their connection
const invited = new Set(); // ids to which we open the connection
const tiles = new Map(); // id → Tile
const media = new Map(); // id → {mic, cam}
const health = new Map(); // id → RTCPeerConnection.connectionState
const heirs = new Map(), origins = new Map(); // old id → new id of a peer, and new id → old id

// -- entering and leaving -------------------------------------------------------------------------

function enter() {
  room = $("room").value.trim();
  password = $("password").value;
  myName = peers.name = joinedAs = $("name").value.trim().slice(0, NAME);
  const on = { mic: $("with-mic").checked, cam: $("with-cam").checked };
  remember(localStorage, "rtcio-name", myName);
  remember(localStorage, "rtcio-without", Object.keys(on).filter((kind) => !on[kind]).join(" "));
  complain("");
  progress("Entering…");
  timer = setTimeout(() => progress("No answer from the server yet. Still trying…"), PATIENCE);
  seat(ME, myName).show(devices.stream);
  peers.publish("camera", devices.stream);
  signaling.connect();
  devices.start(on);
}

function leave(problem = "", field = null) {
  if (inside) signaling.emit("leave-room", { roomId: room });
  room = null;
  inside = false;
  clearTimeout(timer);
  remember(sessionStorage, "rtcio-password", "");
  stopScreen();
  devices.stop();
  peers.closeAll();
  signaling.close();
  for (const id of [...tiles.keys()]) unseat(id);
  for (const each of [roster, gone, invited, media, health, heirs, origins]) each.clear();
  $("messages").replaceChildren();
  $("notices").replaceChildren();
  $("banner").textContent = "";
  showEntrance(problem, field);
}

function showEntrance(problem = "", field = null) {
  document.title = "Video room";
  $("call").hidden = true;
  $("entrance").hidden = false;
  progress("");
  complain(problem, field);
  ($(field) ?? [$("name"), $("room")].find((input) => !input.value) ?? $("enter")).focus();
}

function showCall() {
  inside = true;
  clearTimeout(timer);
  remember(sessionStorage, "rtcio-password", password && JSON.stringify([room, password]));
  history.replaceState(null, "", link());
  document.title = `${room} · Video room`;
  $("room-name").textContent = room;
  $("my-name").value = myName;
  $("entrance").hidden = true;
  $("call").hidden = false;
  $("screen").hidden = !navigator.mediaDevices?.getDisplayMedia; // phones have none
  showPanel(matchMedia("(min-width: 64rem)").matches);
  progress("");
  $("mic").focus();
}

function progress(text) {
  $("join-progress").textContent = text;
  $("enter").disabled = Boolean(text);
  $("cancel").hidden = !text;
}

function complain(problem, field = null) {
  $("join-notice").hidden = !problem; // first: screen readers ignore text that changes while hidden
  $("join-notice").textContent = problem;
  for (const id of ["room", "password"]) $(id).ariaInvalid = String(id === field);
}

function link() {
  return `${location.pathname}?room=${encodeURIComponent(room)}`;
}

// -- what the server says -------------------------------------------------------------------------

signaling
  .on("connect", async ({ recovered }) => {
    if (!recovered) for (const each of [roster, gone, invited]) each.clear();
    await peers.iceServers(); // before the first offer may come
    join();
  })
  .on("disconnect", ({ retrying, reason }) => {
    if (!room) return;
    if (!retrying) leave(`The connection is closed: ${reason}.`);
    else if (!inside) progress("The connection to the server is lost. Trying again…");
    else banner("The connection to the server is lost. The call goes on. Trying again…");
  })
  .on("refused", ({ message }) => leave(`The server refused the connection: ${message ?? "no reason given"}.`))
  .on("join-ok", ({ roomId }) => {
    if (roomId !== room) return;
    if (inside) banner("");
    else showCall();
    // After a reconnect: remove who left meanwhile, connect again with whom we lost.
    for (const id of [...tiles.keys()]) if (id !== ME && !roster.has(id) && !peers.has(id)) unseat(id);
    for (const id of invited) peers.invite(id);
    tellMedia();
    draw();
  })
  .on("join-error", ({ reason, roomId }) => {
    if (!room || (roomId ?? room) !== room) return;
    if (inside && reason === "room-full") {
      // Probably we hold the seat: the server has not noticed yet that our old connection ended.
      banner("The server is back, but the room is full. The call goes on. Waiting for a seat…");
      timer = setTimeout(join, SEAT_RETRY);
    } else leave(REASONS[reason] ?? `The server refused: ${reason}.`, reason.endsWith("room") ? "room" : reason.includes("password") ? "password" : null);
  })
  .on("user-connected", ({ id, name }) => {
    gone.delete(id);
    roster.set(id, ["string", "number"].includes(typeof name) ? `${name}`.slice(0, NAME) : "");
    takeOver(origins.get(id), id);
    const known = tiles.has(id);
    seat(id, roster.get(id));
    if (inside && !known) line(`${nameOf(id)} joined.`);
    draw();
  })
  .on("#rtcio:init-offer", ({ source }) => invited.add(source))
  .on("#rtcio:peer-left", ({ id }) => gone.add(id))
  .on("user-disconnected", ({ id }) => {
    roster.delete(id);
    // A peer that left only the room wants to end the call. Otherwise the call may still work.
    if (!gone.has(id)) peers.close(id);
    if (!peers.has(id)) unseat(id);
    draw();
  })
  .on("media-state", ({ id, ...state }) => heard(id, "media-state", [state]))
  .on("stopScreenShare", ({ id }) => heard(id, "stopScreenShare", []));

function join() {
  if (!room || !signaling.connected) return;
  signaling.emit("join-room", { roomId: room, name: myName, ...(password && { password }) });
  joinedAs = myName;
}

/** Sends our switches to all, over the server and over the peers: one of the two may be down. */
function tellMedia() {
  if (!inside) return;
  signaling.emit("media-state", { roomId: room, ...devices.on });
  peers.broadcast("media-state", { ...devices.on });
}

// -- what the peers say ---------------------------------------------------------------------------

function greet(id) {
  if (myName !== joinedAs) peers.say(id, "name", { name: myName });
}

function heard(id, event, [said]) {
  const tile = tiles.get(id);
  if (!tile || id === ME) return;
  if (event === "chat") {
    const what = typeof said === "string" ? said : (said?.text ?? said?.message ?? said?.msg);
    if (typeof what === "string" && what) message(nameOf(id), what.slice(0, TEXT), false);
  } else if (event === "media-state") {
    const state = { ...media.get(id) };
    for (const kind of ["mic", "cam"]) if (typeof said?.[kind] === "boolean") state[kind] = said[kind];
    media.set(id, state);
  } else if (event === "name" && typeof said?.name === "string") {
    tile.name = said.name.trim().slice(0, NAME) || tile.name;
  } else if (event === "stopScreenShare") {
    tile.showScreen(null);
  }
  draw();
}

function streamArrived(id, event, { name }, stream) {
  const tile = seat(id, roster.get(id) ?? "");
  if (!tile.name && typeof name === "string") tile.name = name.slice(0, NAME);
  stream.onaddtrack = draw; // a camera switched on later
  if (event?.toLowerCase().startsWith("screen")) {
    if (tile.stream === stream) tile.show(null);
    tile.showScreen(stream);
  } else if (event || !tile.stream) tile.show(stream); // a stream without a name never replaces the camera
  draw();
}

function streamEnded(id, stream) {
  const tile = tiles.get(id) ?? tiles.get(heirs.get(id));
  if (tile?.stream === stream) tile.show(null);
  if (tile?.screenStream === stream) tile.showScreen(null);
  draw();
}

function healthChanged(id, state) {
  // A connection that replaces a working one is shown only when it works too.
  if (health.get(id) === "connected" && (state === "new" || state === "connecting")) return;
  health.set(id, state);
  draw();
}

function disconnected(id) {
  health.delete(id);
  if (!roster.has(id)) unseat(id);
  // Both are still in the room, so their connection broke: who called before calls again.
  else if (invited.has(id)) setTimeout(() => roster.has(id) && peers.invite(id), REINVITE);
  draw();
}

function moved(id, heir) {
  heirs.set(id, heir);
  origins.set(heir, id);
  if (roster.has(heir)) takeOver(id, heir);
}

/** A peer is back with another id: it keeps its tile and its picture. */
function takeOver(id, heir) {
  const tile = tiles.get(id);
  if (!tile || id === ME || heir === ME) return;
  tiles.get(heir)?.remove();
  tiles.delete(id);
  tiles.set(heir, tile);
  for (const each of [media, health]) if (each.has(id)) each.set(heir, each.get(id));
  draw();
}

// -- our screen -----------------------------------------------------------------------------------

async function toggleScreen() {
  if (screen) return stopScreen();
  let stream;
  try {
    stream = await navigator.mediaDevices.getDisplayMedia({ video: true, audio: true });
  } catch (error) {
    // NotAllowedError: the user closed the browser's dialog.
    if (error.name !== "NotAllowedError") notice("Your screen cannot be shared.");
    return;
  }
  screen = stream;
  if (!inside) return stopScreen();
  const [video] = stream.getVideoTracks();
  video.contentHint = "detail";
  video.onended = stopScreen; // by the browser's own button
  tiles.get(ME).showScreen(stream);
  peers.publish("screen", stream);
  say("You are sharing your screen.");
  draw();
}

function stopScreen() {
  if (!screen) return;
  peers.unpublish(screen);
  for (const track of screen.getTracks()) track.stop();
  screen = null;
  tiles.get(ME)?.showScreen(null);
  if (!inside) return;
  signaling.emit("stopScreenShare", { roomId: room });
  peers.broadcast("stopScreenShare", { id: signaling.id });
  say("You stopped sharing your screen.");
  draw();
}

// -- who is here ----------------------------------------------------------------------------------

function seat(id, name) {
  if (!tiles.has(id)) tiles.set(id, new Tile(name, id === ME));
  return tiles.get(id);
}

function unseat(id) {
  const tile = tiles.get(id);
  if (!tile) return;
  if (inside && id !== ME) line(`${nameOf(id)} left.`);
  tile.remove();
  for (const each of [tiles, media, health, invited]) each.delete(id);
  draw();
}

function nameOf(id) {
  return tiles.get(id)?.name || roster.get(id) || "Somebody";
}

function stateOf(id) {
  const state = id === ME ? "connected" : health.get(id);
  if (state === "connected") return "";
  return state === "disconnected" || state === "failed" ? "Reconnecting…" : "Connecting…";
}

/** Draws the whole state: cheap, so that no caller has to know what changed. */
function draw() {
  const rows = [];
  for (const [id, tile] of tiles) {
    const known = { id, name: nameOf(id), state: stateOf(id), ...(id === ME ? devices.on : media.get(id)) };
    tile.draw(known);
    rows.push(row(tile, known));
  }
  $("people").replaceChildren(...rows);
  for (const kind of ["mic", "cam"]) {
    $(kind).ariaPressed = String(devices.on[kind]);
    icon($(kind), devices.on[kind] ? kind : `${kind}-off`);
  }
  $("screen").ariaPressed = String(Boolean(screen));
  write($("call"), "#count", tiles.size === 1 ? "Nobody else is here yet" : `${tiles.size} people`);
  layOut();
}

function row(tile, { name, mic, cam, state }) {
  const words = [state];
  if (mic !== undefined) words.push(`microphone ${mic ? "on" : "off"}`);
  if (cam !== undefined) words.push(`camera ${cam ? "on" : "off"}`);
  if (tile.screenStream) words.push("is sharing the screen");
  const item = document.createElement("li");
  item.append(made("b", tile.own ? `${name} (you)` : name), made("span", words.filter(Boolean).join(", ")));
  return item;
}

function rename() {
  const name = $("my-name").value.trim().slice(0, NAME) || myName;
  $("my-name").value = name;
  if (name === myName) return;
  myName = peers.name = tiles.get(ME).name = name;
  remember(localStorage, "rtcio-name", name);
  peers.broadcast("name", { name });
  draw();
}

// -- chat and notices -----------------------------------------------------------------------------

function speak() {
  const text = $("text").value.trim();
  $("text").value = "";
  if (!text) return;
  message("You", text, true);
  peers.broadcast("chat", { from: signaling.id, name: myName, text, at: Date.now() });
}

function message(name, text, own) {
  const item = document.createElement("li");
  const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  item.append(made("b", name), made("time", time), made("p", text));
  item.classList.toggle("own", own);
  append(item);
  if (own || !$("panel").hidden) return;
  const number = Number($("unread").textContent) + 1;
  $("unread").textContent = String(number);
  $("unread").hidden = false;
  $("toggle-panel").ariaLabel = `Chat, ${number} unread`;
  say(`${name}: ${text}`); // screen readers do not read the log while it is hidden
}

function line(text) {
  const item = made("li", text);
  item.className = "event";
  append(item);
  if ($("panel").hidden) say(text);
}

function append(item) {
  const list = $("messages");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(item);
  if (list.children.length > KEPT_LINES) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

/** For screen readers: what others see at a glance. */
function say(text) {
  $("spoken").textContent = text;
}

/** Shows a problem with the connection to the server while it lasts; "" when it is over. */
function banner(text) {
  clearTimeout(timer);
  if ($("banner").textContent && !text) notice("The connection to the server is back.");
  $("banner").textContent = text;
}

function notice(text, { stays = false } = {}) {
  for (const old of $("notices").children) if (old.firstChild.textContent === text) old.remove();
  const box = document.createElement("div");
  box.append(made("p", text));
  if (stays) {
    const button = made("button", "OK");
    button.type = "button";
    button.onclick = () => box.remove();
    box.append(button);
  } else setTimeout(() => box.remove(), NOTICE_LASTS);
  $("notices").append(box);
}

function showPanel(open) {
  $("panel").hidden = !open;
  $("toggle-panel").ariaExpanded = String(open);
  $("call").classList.toggle("with-panel", open);
  if (open) {
    $("unread").hidden = true;
    $("unread").textContent = "";
    $("toggle-panel").ariaLabel = null;
    $("messages").scrollTop = $("messages").scrollHeight;
  }
  layOut();
}

function togglePanel() {
  showPanel($("panel").hidden);
  $($("panel").hidden ? "toggle-panel" : "text").focus();
}

async function copyLink() {
  const url = new URL(link(), location.href).href;
  try {
    await navigator.clipboard.writeText(url);
    notice("The link to this room was copied.");
  } catch {
    notice(`The link to this room: ${url}`, { stays: true });
  }
}

function made(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

// -- the page -------------------------------------------------------------------------------------

/** The user may have turned storage off: the page works without it. */
function remember(storage, key, value) {
  try {
    storage.setItem(key, value);
  } catch {
    // Storage is off.
  }
}

function recall(storage, key) {
  try {
    return storage.getItem(key) ?? "";
  } catch {
    return "";
  }
}

function unguessable() {
  const letters = "abcdefghjkmnpqrstuvwxyz23456789";
  const drawn = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => letters[byte % letters.length]);
  return drawn.join("").replace(/.{4}(?=.)/g, "$&-");
}

function start() {
  const asked = new URLSearchParams(location.search);
  const named = asked.get("room")?.trim();
  const without = recall(localStorage, "rtcio-without").split(" ");
  $("room").value = named || unguessable();
  $("name").value = asked.get("name")?.trim() || recall(localStorage, "rtcio-name");
  $("with-mic").checked = !without.includes("mic");
  $("with-cam").checked = !without.includes("cam");
  if (!named) return showEntrance();
  // A link to a room enters it at once: the browser asks before it allows camera and microphone,
  // and the user can change the name in the room.
  $("name").value ||= `Guest ${100 + Math.floor(Math.random() * 900)}`;
  const [kept, secret] = JSON.parse(recall(sessionStorage, "rtcio-password") || "[]");
  if (kept === named) $("password").value = secret;
  $("entrance").hidden = false;
  // A video without a picture would delay the load event for ever.
  addEventListener("load", enter, { once: true });
}

$("join").onsubmit = (event) => (event.preventDefault(), enter());
$("say").onsubmit = (event) => (event.preventDefault(), speak());
$("cancel").onclick = () => leave();
$("leave").onclick = () => (leave(), history.replaceState(null, "", location.pathname));
$("mic").onclick = () => devices.toggle("mic");
$("cam").onclick = () => devices.toggle("cam");
$("screen").onclick = toggleScreen;
$("copy").onclick = copyLink;
$("my-name").onchange = rename;
$("toggle-panel").onclick = $("close-panel").onclick = togglePanel;
$("panel").addEventListener("keydown", ({ key }) => key === "Escape" && togglePanel());
for (const event of ["click", "keydown"]) addEventListener(event, unblock);
new ResizeObserver(layOut).observe($("stage"));
// So the others see at once that we left.
addEventListener("pagehide", () => (peers.closeAll(), signaling.close()));
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
start();
