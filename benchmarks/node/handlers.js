// The handlers of the measured application, the same under Node and Bun: the relay of the rtc.io
// original and those of servers/room_app.py.
"use strict";

exports.addHandlers = (io) => {
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
    socket.on("where", (answer) => answer(process.pid));
    socket.on("say", (room, payload) => {
      socket.to(room).emit("say", payload);
    });
  });
};
