// The rtc.io server of the original, on Node's socket.io with its default options: server.js PORT
// The environment variable RECOVERY turns connection state recovery on.
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

http.listen(Number(process.argv[2]), "127.0.0.1");
