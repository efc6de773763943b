"use strict";
// Many socket.io-clients in rooms of 4 that relay to each other and emit to their rooms all the time, with numbers; and
// handshakes beside them. Arguments: URL, WebSockets, polling clients, milliseconds between two messages of a client.
// Writes "ready" once all are connected. On a line "stop" on stdin they stop to send; once all has arrived, or after a
// while, it writes what happened as one JSON object. `crowd.py` is the other end.

const http = require("http");
const readline = require("readline");
const { io } = require("socket.io-client");

const [url, websockets, pollings, every] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const ROOM = 4;
const clients = [];
const trouble = [];
const handshakes = {};
let stopped = false;

function say(client, what, ...more) {
  if (trouble.length < 50) trouble.push([Date.now(), client.number, client.id, what, ...more.map(String)]);
}

// Numbers of one source come in order, each once: what has come is a count, unless there is trouble.
function came(client, key, number) {
  const expected = client.heard.get(key) || 0;
  if (number === expected) client.heard.set(key, expected + 1);
  else if (number < expected) say(client, "doubled", key, number, expected);
  else {
    say(client, "lost or late", key, number, expected);
    client.heard.set(key, number + 1);
  }
}

function open(number, transports) {
  const client = { number, room: Math.floor(number / ROOM), heard: new Map(), sent: new Map(), id: null };
  const socket = io(url, { forceNew: true, transports, reconnection: false, timeout: 60000 });
  client.socket = socket;
  client.joined = new Promise((resolve) => {
    socket.on("connect", () => {
      if (client.id && client.id !== socket.id) say(client, "another sid", socket.id);
      client.id = socket.id;
      socket.emit("join", `room ${client.room}`, resolve);
    });
  });
  socket.on("disconnect", (reason, detail) => say(client, "disconnect", reason, detail && JSON.stringify(detail.description && (detail.description.message || detail.description))));
  socket.on("connect_error", (error) => say(client, "connect_error", error.message));
  socket.on("#rtcio:message", ({ source, data }) => came(client, `relay ${source}`, data.number));
  socket.on("#rtcio:peer-left", ({ id }) => say(client, "peer-left", id));
  socket.on("news", (source, number) => came(client, `news ${source}`, number));
  clients.push(client);
  return client;
}

function next(client, key) {
  const number = client.sent.get(key) || 0;
  client.sent.set(key, number + 1);
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

function missing() {
  const found = [];
  for (const client of clients) {
    for (const peer of clients.slice(client.room * ROOM, client.room * ROOM + ROOM)) {
      if (peer === client) continue;
      const relays = (peer.sent.get(client.id) || 0) - (client.heard.get(`relay ${peer.id}`) || 0);
      const news = (peer.sent.get("news") || 0) - (client.heard.get(`news ${peer.id}`) || 0);
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
  const sum = (maps) => maps.reduce((total, map) => total + [...map.values()].reduce((a, b) => a + b, 0), 0);
  const nodes = {};
  process.stdout.write(
    JSON.stringify({
      trouble,
      missing: missing().slice(0, 20),
      handshakes,
      sent: sum(clients.map((each) => each.sent)),
      heard: sum(clients.map((each) => each.heard)),
      sids: clients.map((each) => each.id),
    }) + "\n",
  );
  process.exit(0);
}

main();
