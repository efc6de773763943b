"use strict";
// Many socket.io-clients in rooms of 4 that relay to each other and emit to their rooms all the time, with numbers; and
// handshakes beside them. Arguments: URL, WebSockets, polling clients, milliseconds between two messages of a client,
// and "back" for clients that come back when they lose their connection. The last that a client of these sends on a
// connection may never leave it, or be thrown away by a proxy on the way: that is counted, and no trouble, if nothing
// has arrived that was sent later on the same connection. A client on polling comes back only if a proxy has answered
// its POST with 502: it had sent it on a connection that the server had just closed, and may not send it again.
// Writes "ready" once all are connected. On a line "stop" on stdin they stop to send; once all has arrived, or after a
// while, it writes what happened as one JSON object. `crowd.py` is the other end.

const http = require("http");
const readline = require("readline");
const { io } = require("socket.io-client");

const [url, websockets, pollings, every] = [process.argv[2], ...process.argv.slice(3, 6).map(Number)];
const back = process.argv[6] === "back";
const ROOM = 4;
const clients = [];
const trouble = [];
const handshakes = {};
const bySid = new Map();
const gaps = [];

function say(client, what, ...more) {
  if (trouble.length < 50) trouble.push([Date.now(), client.number, client.id, what, ...more.map(String)]);
}

// Numbers of one source come in order, each once: what has come is a count, and gaps for what did not.
function came(client, key, number) {
  const expected = client.heard.get(key) || 0;
  const sender = bySid.get(key.split(" ")[1]);
  const sent = key.startsWith("news") ? "news" : client.id;
  if (number < expected) return say(client, "doubled or late", key, number, expected);
  for (let each = expected; each < number; each += 1) gaps.push([client, key, each, sender, `${sent} ${each}`]);
  client.heard.set(key, number + 1);
  const { connection, order } = sender.told.get(`${sent} ${number}`);
  sender.furthest[connection] = Math.max(sender.furthest[connection] || 0, order);
}

// Whether a message was among the last on a connection that its sender has lost.
function isLast(sender, what) {
  const { connection, order } = sender.told.get(what);
  return connection < sender.connection && order > (sender.furthest[connection] || 0);
}

function open(number, transports) {
  const client = { number, room: Math.floor(number / ROOM), heard: new Map(), sent: new Map(), id: null };
  Object.assign(client, { cuts: 0, refused: 0, cutAt: 0, longest: 0 });
  Object.assign(client, { connection: 0, order: 0, told: new Map(), furthest: {} });
  const returning = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 500 };
  const options = { forceNew: true, transports, reconnection: false, timeout: 60000 };
  const socket = io(url, back ? { ...options, ...returning } : options);
  client.socket = socket;
  client.joined = new Promise((resolve) => {
    socket.on("connect", () => {
      client.connection += 1;
      if (client.id && client.id !== socket.id) say(client, "another sid", socket.id);
      if (client.id && !socket.recovered) say(client, "not recovered");
      if (client.id) client.longest = Math.max(client.longest, Date.now() - client.cutAt);
      if (client.id && socket.recovered) return;
      client.id = socket.id;
      bySid.set(client.id, client);
      socket.emit("join", `room ${client.room}`, resolve);
    });
  });
  socket.on("disconnect", (reason, detail) => {
    client.cuts += 1;
    client.cutAt = Date.now();
    const cause = detail && detail.description && (detail.description.message || detail.description);
    if (detail && detail.message === "xhr post error" && cause === 502) client.refused += 1;
    else if (back && transports[0] === "polling") say(client, "cut", reason, detail && detail.message, cause);
    if (!back) say(client, "disconnect", reason, cause && JSON.stringify(cause));
  });
  socket.on("connect_error", (error) => back || say(client, "connect_error", error.message));
  socket.on("#rtcio:message", ({ source, data }) => came(client, `relay ${source}`, data.number));
  socket.on("#rtcio:peer-left", ({ id }) => say(client, "peer-left", id));
  socket.on("news", (source, number) => came(client, `news ${source}`, number));
  clients.push(client);
  return client;
}

function next(client, key) {
  const number = client.sent.get(key) || 0;
  client.sent.set(key, number + 1);
  client.order += 1;
  const connection = client.connection + (client.socket.connected ? 0 : 1); // it waits for the next one
  client.told.set(`${key} ${number}`, { connection, order: client.order, at: Date.now() });
  return number;
}

function talk(client, turn) {
  const peers = clients.slice(client.room * ROOM, client.room * ROOM + ROOM).filter((each) => each !== client);
  if (turn % 4 === 3) client.socket.emit("to", `room ${client.room}`, "news", client.id, next(client, "news"));
  else {
    const target = peers[turn % peers.length].id;
    const data = { number: next(client, target), filler: "x".repeat(turn % 300) };
    client.socket.emit("#rtcio:message", { source: client.id, target, data });
  }
}

function handshake() {
  const request = http.get(`${url}/socket.io/?EIO=4&transport=polling`, { agent: false }, (answer) => {
    handshakes[answer.statusCode] = (handshakes[answer.statusCode] || 0) + 1;
    answer.resume();
  });
  request.on("error", (error) => (handshakes[error.code] = (handshakes[error.code] || 0) + 1));
}

// How many messages of a sender have not come, after those that have.
function left(sender, key, heard) {
  let count = 0;
  for (let number = heard || 0; number < (sender.sent.get(key) || 0); number += 1) {
    if (!isLast(sender, `${key} ${number}`)) count += 1;
  }
  return count;
}

function missing() {
  const found = [];
  for (const client of clients) {
    for (const peer of clients.slice(client.room * ROOM, client.room * ROOM + ROOM)) {
      if (peer === client) continue;
      const relays = left(peer, client.id, client.heard.get(`relay ${peer.id}`));
      const news = left(peer, "news", client.heard.get(`news ${peer.id}`));
      if (relays || news) found.push([peer.number, client.number, relays, news]);
    }
  }
  return found;
}

async function main() {
  for (let number = 0; number < websockets + pollings; number += 1) {
    // Each room has some of both.
    const polls = number % Math.round((websockets + pollings) / pollings) === 0;
    await open(number, polls ? ["polling"] : ["websocket"]).joined;
  }
  const timers = clients.map((client, number) => {
    let turn = number;
    return setInterval(() => talk(client, (turn += 1)), every);
  });
  timers.push(setInterval(handshake, 50));
  process.stdout.write("ready\n");
  for await (const line of readline.createInterface({ input: process.stdin })) if (line === "stop") break;
  timers.forEach(clearInterval);
  const end = Date.now() + 30000;
  while (missing().length && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 50));
  for (const [client, key, number, sender, what] of gaps) {
    const { connection, at } = sender.told.get(what);
    if (!isLast(sender, what)) say(client, "lost", key, number, `on connection ${connection} at ${at}`);
  }
  const lost = gaps.filter(([, , , sender, what]) => isLast(sender, what)).length;
  const sum = (maps) => maps.reduce((total, map) => total + [...map.values()].reduce((a, b) => a + b, 0), 0);
  process.stdout.write(
    JSON.stringify({
      trouble: trouble.filter(([, , , what, id]) => !(back && what === "peer-left" && bySid.get(id).refused)),
      missing: missing().slice(0, 20),
      handshakes,
      sent: sum(clients.map((each) => each.sent)),
      heard: sum(clients.map((each) => each.heard)),
      sids: clients.map((each) => each.id),
      cuts: clients.map((each) => each.cuts),
      refused: clients.map((each) => each.refused),
      lost,
      longest: Math.max(...clients.map((each) => each.longest)),
    }) + "\n",
  );
  process.exit(0);
}

main();
