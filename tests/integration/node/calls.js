// Rooms of real socket.io-clients that all join at once and call each other, as browsers do: who is
// told `#rtcio:init-offer` offers, the other answers:
// calls.js URL ROOMS PEERS. Six rooms at a time, on WebSocket.
// Writes one line of JSON: how many calls came, and the faults.
"use strict";

const { io } = require("socket.io-client");

const INIT_OFFER = "#rtcio:init-offer", MESSAGE = "#rtcio:message";
const AT_ONCE = 6;
const PATIENCE = 100_000; // milliseconds until everything has to be done

const [url, roomCount, peerCount] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const faults = [];
let calls = 0;

/** One peer of a room; resolves when it has a call with each other one. */
function member(room) {
  const client = io(url, { transports: ["websocket"], reconnection: false, forceNew: true });
  const known = new Set(), called = new Set();
  const send = (target, what) => client.emit(MESSAGE, { source: client.id, target, data: { what } });
  client.on("connect", () => client.emit("join-room", { roomId: room }));
  client.on("connect_error", (error) => faults.push(`connect_error: ${error.message}`));
  client.on("join-error", ({ reason }) => faults.push(`join-error: ${reason}`));
  client.on("user-connected", ({ id }) => known.add(id));
  client.on(INIT_OFFER, ({ source }) => {
    if (!known.has(source)) faults.push("who is to be called has not been announced");
    send(source, "offer");
  });
  const done = new Promise((resolve) => {
    client.on(MESSAGE, ({ source, data }) => {
      if (!known.has(source)) faults.push(`an ${data.what} of somebody who has not been announced`);
      if (data.what === "offer") send(source, "answer");
      called.add(source);
      if (called.size === peerCount - 1) resolve(called.size);
    });
  });
  return { client, done };
}

async function calling(numbers) {
  for (const number of numbers) {
    const members = Array.from({ length: peerCount }, () => member(`room-${number}`));
    const counts = await Promise.all(members.map(({ done }) => done));
    calls += counts.reduce((sum, count) => sum + count, 0);
    for (const { client } of members) client.close();
  }
}

function finish() {
  console.log(JSON.stringify({ calls: calls / 2, faults }));
  process.exit(0);
}

setTimeout(finish, PATIENCE);
const numbers = Array.from({ length: roomCount }, (_, number) => number).values();
Promise.all(Array.from({ length: AT_ONCE }, () => calling(numbers))).then(finish);
