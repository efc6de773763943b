// The room: its people, their pictures and sound. The server's Lobby tells who is there
// (user-connected, media-state, …); the peers send the rest.

import { line, message, showPanel, togglePanel } from "./chat.js";
import { Devices } from "./devices.js";
import { $, icon, made, recall, remember, say, unguessable, write } from "./dom.js";
import { Entrance } from "./entrance.js";
import { listenToKeys } from "./keys.js";
import { layOut } from "./layout.js";
import { clearNotices, notice } from "./notices.js";
import { Peers } from "./peers.js";
import { Pickers } from "./pickers.js";
import { noWay, REASONS, unreachable } from "./problems.js";
import { ScreenShare } from "./screen.js";
import { Signaling } from "./signaling.js";
import { Tile, unblock, useSpeaker } from "./tiles.js";

const ME = "me"; // stands for our own id, which may change
const NAME = 64, TEXT = 2_000; // characters of a name and of a message that are shown
const PATIENCE = 5_000; // ms until the page says that it waits
const SEAT_RETRY = 3_000; // ms until a client that was in a full room asks again
const REINVITE = 2_000; // ms from a lost connection to a new one, while both are in the room
const LEFT_LATE = 1_000; // ms in which the server may still say that a peer is lost, not out of the room
const LISTEN_EVERY = 200, MEASURE_EVERY = 2_000; // ms
const SPEECH = 0.05; // loudness that counts as speaking
const SPEECH_LASTS = 1_000; // ms: the mark stays between two words

const signaling = new Signaling(new URL(document.body.dataset.signaling, document.baseURI));
const peers = new Peers(signaling, {
  admits: (id) => roster.has(id) && !invited.has(id),
  connected: greet,
  disconnected,
  health: healthChanged,
  stream: streamArrived,
  streamEnded,
  heard,
  moved,
  stuck,
});
const devices = new Devices({
  tracks: () => (peers.sync(devices.stream), unblock(), draw()),
  changed: () => (tellMedia(), draw()),
  problem: (text) => (room ? notice(text, { stays: true }) : entrance.complain(text)),
});
const screen = new ScreenShare({ started: screenStarted, stopped: screenStopped, isWanted: () => inside });
const pickers = new Pickers(devices, choose);
const entrance = new Entrance(devices, pickers);

let room = null, password = ""; // of the room to enter; null while outside
let inside = false; // from join-ok until we leave, also while the connection is lost
let myName = "", joinedAs = ""; // the name now, and the name that the server knows
let toldNoWay = false; // once in a visit
let timer = 0;
let clocks = [];
const roster = new Map(); // id → name, as the server has it
const gone = new Set(); // ids that left the server, not the room: they may have lost their connection
const invited = new Set(); // ids to which we open the connection
const tiles = new Map(); // id → Tile
const media = new Map(); // id → {mic, cam}
const health = new Map(); // id → RTCPeerConnection.connectionState, or "stuck"
const spoke = new Map(); // id → when it was loud last
const heirs = new Map(), origins = new Map(); // old id → new id of a peer, and new id → old id

// -- entering and leaving -------------------------------------------------------------------------

function enter() {
  room = $("room").value.trim();
  password = $("password").value;
  myName = peers.name = joinedAs = $("name").value.trim().slice(0, NAME) || "Guest";
  remember("localStorage", "rtcio-name", $("name").value.trim() && myName);
  rememberSwitches();
  entrance.complain("");
  entrance.progress("Entering…");
  timer = setTimeout(() => entrance.progress("No answer from the server yet. Still trying…"), PATIENCE);
  seat(ME, myName).show(devices.stream);
  peers.publish("camera", devices.stream);
  signaling.connect();
  devices.start(devices.on);
}

function leave(problem = "", field = null) {
  if (inside) signaling.emit("leave-room", { roomId: room }), tellFrame("left");
  const { on } = devices;
  room = null;
  inside = toldNoWay = false;
  clearTimeout(timer);
  for (const each of clocks) clearInterval(each);
  remember("sessionStorage", "rtcio-password", "");
  screen.stop();
  devices.stop();
  devices.on = on; // as the user left the switches, for the next time
  peers.closeAll();
  signaling.close();
  for (const id of [...tiles.keys()]) unseat(id);
  for (const each of [roster, gone, invited, media, health, spoke, heirs, origins]) each.clear();
  $("messages").replaceChildren();
  clearNotices();
  $("banner").textContent = "";
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  entrance.show(problem, field);
  entrance.draw();
}

function showCall() {
  inside = true;
  clearTimeout(timer);
  remember("sessionStorage", "rtcio-password", password && JSON.stringify([room, password]));
  history.replaceState(null, "", link());
  document.title = `${room} · ${document.body.dataset.title}`;
  $("room-name").textContent = room;
  entrance.hide();
  $("call").hidden = false;
  $("screen").hidden = !ScreenShare.isPossible;
  showPanel(matchMedia("(min-width: 64rem)").matches);
  beSomebodyElse();
  $("my-name").value = myName;
  clocks = [setInterval(listen, LISTEN_EVERY), setInterval(measure, MEASURE_EVERY)];
  tellFrame("joined");
  $("mic").focus();
}

/** Two people of one name would be mistaken for each other: who comes later gets a number. */
function beSomebodyElse() {
  const taken = new Set(roster.values());
  if (!taken.has(myName)) return;
  const wanted = myName;
  for (let number = 2; taken.has(myName); number++) myName = `${wanted} ${number}`;
  peers.name = tiles.get(ME).name = myName;
  join(); // those who come later have to know it
  if ($("name").value.trim()) notice(`Somebody in this room already has the name ${wanted}. The others see you as ${myName}.`);
}

function rememberSwitches() {
  remember("localStorage", "rtcio-without", ["mic", "cam"].filter((kind) => !devices.on[kind]).join(" "));
}

function link() {
  return `${location.pathname}?room=${encodeURIComponent(room)}`;
}

/** The page that shows this one in a frame may want to know. */
function tellFrame(event) {
  if (parent !== window) parent.postMessage({ from: "rtcio-room", event, room }, "*");
}

// -- what the server says -------------------------------------------------------------------------

signaling
  .on("connect", async ({ recovered }) => {
    if (recovered) return join();
    for (const each of [roster, gone, invited]) each.clear();
    const { id } = signaling;
    await peers.known();
    if (id === signaling.id) join();
  })
  .on("disconnect", ({ retrying, reason }) => {
    if (!room) return;
    if (!retrying) leave(`The connection is closed: ${reason}.`);
    else if (!inside) entrance.progress("The connection to the server is lost. Trying again…");
    else banner("The connection to the server is lost. The call goes on. Trying again…");
  })
  .on("unreachable", (problem) => {
    if (!room) return;
    if (inside) return banner(`The connection to the server is lost. ${unreachable(problem)} The call goes on.`);
    clearTimeout(timer);
    if (problem.why === "origin") leave(unreachable(problem));
    else entrance.progress(unreachable(problem));
  })
  .on("refused", ({ message }) => leave(`The server refused the connection: ${message ?? "no reason given"}.`))
  .on("join-ok", ({ roomId }) => {
    if (roomId !== room) return;
    if (inside) banner("");
    else showCall();
    peers.iceServers(); // while the first offers come
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
      banner("The server is back, but the room is full. The call goes on. Waiting for a free place…");
      timer = setTimeout(join, SEAT_RETRY);
    } else if (reason === "try-again") {
      const text = "The server is busy. Trying again…";
      if (inside) banner(text);
      else entrance.progress(text);
      timer = setTimeout(join, SEAT_RETRY);
    } else leave(REASONS[reason] ?? `The server refused the request: ${reason}.`, reason.endsWith("room") ? "room" : reason.includes("password") ? "password" : null);
  })
  .on("user-connected", ({ id, name }) => {
    gone.delete(id);
    roster.set(id, ["string", "number"].includes(typeof name) ? `${name}`.slice(0, NAME) : "");
    takeOver(origins.get(id), id);
    const known = tiles.has(id);
    const tile = seat(id, roster.get(id));
    tile.name = roster.get(id) || tile.name;
    if (inside && !known) line(`${nameOf(id)} joined.`);
    draw();
  })
  .on("#rtcio:init-offer", ({ source }) => invited.add(source))
  .on("#rtcio:peer-left", ({ id }) => gone.add(id))
  .on("user-disconnected", ({ id }) => {
    roster.delete(id);
    // A peer that left only the room wants to end the call. Otherwise the call may still work. From
    // a server of several workers peer-left may come after this.
    if (!gone.has(id)) setTimeout(() => gone.has(id) || roster.has(id) || peers.close(id), LEFT_LATE);
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
    return;
  }
  if (event === "media-state") {
    const state = { ...media.get(id) };
    for (const kind of ["mic", "cam"]) if (typeof said?.[kind] === "boolean") state[kind] = said[kind];
    media.set(id, state);
  } else if (event === "name" && typeof said?.name === "string") {
    tile.name = said.name.trim().slice(0, NAME) || tile.name;
  } else if (event === "stopScreenShare") {
    tile.showScreen(null);
  } else return; // an unknown event costs nothing
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
  if (["connected", "stuck"].includes(health.get(id)) && ["new", "connecting"].includes(state)) return;
  health.set(id, state);
  draw();
}

/** There is no way to a peer: the page says what to set, and goes on trying. */
async function stuck(id) {
  if (!tiles.has(id)) return;
  health.set(id, "stuck");
  draw();
  if (toldNoWay) return;
  toldNoWay = true;
  const text = noWay(await peers.iceServers());
  if (room) notice(text, { stays: true });
}

function disconnected(id) {
  if (health.get(id) !== "stuck") health.delete(id);
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

function screenStarted(stream) {
  tiles.get(ME).showScreen(stream);
  peers.publish("screen", stream);
  say("You are sharing your screen.");
  draw();
}

function screenStopped(stream) {
  peers.unpublish(stream);
  tiles.get(ME)?.showScreen(null);
  if (!inside) return;
  signaling.emit("stopScreenShare", { roomId: room });
  peers.broadcast("stopScreenShare", { id: signaling.id });
  say("You stopped sharing your screen.");
  draw();
}

// -- who is here ----------------------------------------------------------------------------------

function seat(id, name) {
  if (!tiles.has(id)) {
    const tile = new Tile(name, id === ME, () => pinOnly(tile.pinned ? null : tile));
    tiles.set(id, tile);
  }
  return tiles.get(id);
}

/** Puts one tile in front of all, or none. */
function pinOnly(chosen) {
  for (const tile of tiles.values()) tile.pin(tile === chosen);
  say(chosen ? `${chosen.name} is pinned.` : "Nobody is pinned.");
  layOut();
}

function unseat(id) {
  const tile = tiles.get(id);
  if (!tile) return;
  if (inside && id !== ME) line(`${nameOf(id)} left.`);
  tile.remove();
  for (const each of [tiles, media, health, spoke, invited]) each.delete(id);
  origins.delete(heirs.get(id));
  heirs.delete(id);
  draw();
}

function nameOf(id) {
  return tiles.get(id)?.name || roster.get(id) || "Somebody";
}

function stateOf(id) {
  const state = id === ME ? "connected" : health.get(id);
  if (state === "connected") return "";
  if (state === "stuck") return "No connection";
  return state === "disconnected" || state === "failed" ? "Reconnecting…" : "Connecting…";
}

/** Draws the whole state: cheap, so that no caller has to know what changed. */
function draw() {
  entrance.draw();
  pickers.draw();
  if (!inside) return;
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
  $("screen").ariaPressed = String(Boolean(screen.stream));
  write($("count"), tiles.size === 1 ? "Nobody else is here yet" : `${tiles.size} people`);
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
  remember("localStorage", "rtcio-name", name);
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

/** Shows a problem with the connection to the server while it lasts; "" when it is over. */
function banner(text) {
  clearTimeout(timer);
  if ($("banner").textContent && !text) notice("The connection to the server is back.");
  $("banner").textContent = text;
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

// -- what our ears and the network say ------------------------------------------------------------

function listen() {
  const now = performance.now();
  for (const [id, level] of [[ME, devices.level], ...peers.loudness()]) {
    if (level > SPEECH) spoke.set(id, now);
    tiles.get(id)?.speaks(now - (spoke.get(id) ?? -Infinity) < SPEECH_LASTS);
  }
}

async function measure() {
  for (const [id, figures] of await peers.figures()) tiles.get(id)?.drawQuality(figures);
}

function choose(kind, id) {
  devices.choose(kind, id);
  if (kind === "speaker") useSpeaker(id);
}

function openDialog(dialog) {
  if (dialog === $("settings")) pickers.moveTo($("settings-form"), true);
  pickers.draw();
  dialog.showModal();
}

// -- the page -------------------------------------------------------------------------------------

function start() {
  const asked = new URLSearchParams(location.search);
  const named = asked.get("room")?.trim();
  $("room").value = named || unguessable();
  $("name").value = asked.get("name")?.trim() || recall("localStorage", "rtcio-name");
  const [kept, secret] = JSON.parse(recall("sessionStorage", "rtcio-password") || "[]");
  if (kept === $("room").value) $("password").value = secret;
  entrance.show();
  useSpeaker(recall("localStorage", "rtcio-speaker"));
  // A video without a picture would delay the load event for ever.
  if (document.readyState === "complete") entrance.preview();
  else addEventListener("load", () => entrance.preview(), { once: true });
}

$("join").onsubmit = (event) => (event.preventDefault(), enter());
$("say").onsubmit = (event) => (event.preventDefault(), speak());
$("cancel").onclick = () => leave();
$("leave").onclick = () => (leave(), history.replaceState(null, "", location.pathname));
for (const kind of ["mic", "cam"]) $(kind).onclick = () => devices.toggle(kind).then(rememberSwitches);
$("screen").onclick = () => screen.toggle();
$("copy").onclick = copyLink;
$("my-name").onchange = rename;
$("toggle-panel").onclick = $("close-panel").onclick = togglePanel;
$("open-settings").onclick = () => openDialog($("settings"));
$("open-keys").onclick = () => openDialog($("keys"));
listenToKeys([
  ["m", "Microphone on or off", () => $("mic").click()],
  ["v", "Camera on or off", () => $("cam").click()],
  ["s", "Start or stop sharing the screen", () => $("screen").hidden || $("screen").click()],
  ["c", "Open or close people and chat", togglePanel],
  ["l", "Copy the link to this room", copyLink],
  ["?", "Show this list", () => openDialog($("keys"))],
]);
$("panel").addEventListener("keydown", ({ key }) => key === "Escape" && togglePanel());
for (const event of ["click", "keydown"]) addEventListener(event, unblock);
new ResizeObserver(layOut).observe($("stage"));
// So the others see at once that we left.
addEventListener("pagehide", () => (peers.closeAll(), signaling.close()));
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
start();
