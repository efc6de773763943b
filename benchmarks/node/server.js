// The rtc.io server of the original, on Node's socket.io with its default options: server.js PORT
// The environment variable RECOVERY turns connection state recovery on; ATTACKED adds handlers that
// are faulty, as in servers/misbehaving.py; REDIS (a URL) an adapter; MSGPACK a second server at
// /packed, which speaks it.
"use strict";

const { createServer } = require("node:http");
const { Server } = require("socket.io");
const { addHandlers } = require("./handlers.js");

const http = createServer();
const io = new Server(http, process.env.RECOVERY ? {
  connectionStateRecovery: { maxDisconnectionDuration: 120_000, skipMiddlewares: true },
} : {});

if (process.env.REDIS) {
  const { createClient } = require("redis");
  const { createAdapter } = require("@socket.io/redis-adapter");
  const [publishing, listening] = [0, 1].map(() => createClient({ url: process.env.REDIS }));
  for (const client of [publishing, listening]) client.connect();
  io.adapter(createAdapter(publishing, listening));
}

const beside = process.env.MSGPACK
  ? [new Server(http, { path: "/packed", parser: require("socket.io-msgpack-parser") })]
  : [];

for (const server of [io, ...beside]) addHandlers(server);

const sum = (count) => [io, ...beside].map(count).reduce((a, b) => a + b);

if (process.env.ATTACKED) {
  io.use((socket, next) => {
    if (socket.handshake.auth.kick) {
      socket.disconnect(true);
    }
    next();
  });
  io.on("connection", (socket) => {
    socket.on("raise", () => {
      throw new Error("asked to");
    });
    socket.on("compute", (milliseconds) => {
      const end = performance.now() + milliseconds;
      while (performance.now() < end);
    });
    socket.on("never-return", () => new Promise(() => {}));
    socket.on("answer", (size, answer) => answer("x".repeat(size)));
    socket.on("send-much", (count, size) => {
      for (let number = 0; number < count; number++) {
        socket.emit("much", String(number).padStart(size));
      }
    });
    socket.on("census", (answer) => answer({
      connections: sum((server) => server.engine.clientsCount),
      connected: sum((server) => server.sockets.sockets.size),
      rooms: sum((server) => server.sockets.adapter.rooms.size),
    }));
  });
}

http.listen(Number(process.argv[2]), "127.0.0.1");
