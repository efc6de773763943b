// The rtc.io server of the original, on Node's socket.io with its default options: server.js PORT
// The environment variable RECOVERY turns connection state recovery on; ATTACKED adds handlers that
// are faulty, as in servers/misbehaving.py.
"use strict";

const { createServer } = require("node:http");
const { Server } = require("socket.io");

const http = createServer();
const io = new Server(http, process.env.RECOVERY ? {
  connectionStateRecovery: { maxDisconnectionDuration: 120_000, skipMiddlewares: true },
} : {});

io.on("connection", (socket) => {
  socket.on("#rtcio:message", (payload) => {
    io.to(payload.target).emit("#rtcio:message", payload);
  });
  socket.on("disconnecting", () => {
    for (const room of socket.rooms) {
      if (room !== socket.id) {
        socket.to(room).emit("#rtcio:peer-left", { id: socket.id });
      }
    }
  });
  socket.on("join", (room, joined) => {
    socket.join(room);
    joined();
  });
  socket.on("say", (room, payload) => {
    socket.to(room).emit("say", payload);
  });
});

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
      connections: io.engine.clientsCount,
      connected: io.sockets.sockets.size,
      rooms: io.sockets.adapter.rooms.size,
    }));
  });
}

http.listen(Number(process.argv[2]), "127.0.0.1");
