"use strict";
// Node's own Engine.IO server, as `engine_cases.js` wants one: `node engine_server.js FOLDER_OF_NODE_MODULES PORT`.

const path = require("path");
const [folder, port] = process.argv.slice(2);
const { attach } = require(path.join(folder, "engine.io"));
const http = require("http").createServer((_, response) => response.end("ok"));

const engine = attach(http, {
  path: "/engine.io",
  pingInterval: 500,
  maxHttpBufferSize: 100,
  cookie: true,
  allowRequest: (request, callback) => callback(null, !new URL(request.url, "http://x").searchParams.has("deny")),
});

engine.on("connection", (socket) => {
  socket.send("hi");
  socket.on("message", (data) => {
    if (data === "give binary") socket.send(Buffer.from([0, 1, 2, 3, 4]));
    else if (data === "give utf8") socket.send("пойду спать всем спокойной ночи");
    else if (data === "give headers") socket.send(JSON.stringify(socket.transport.dataReq?.headers ?? socket.request.headers));
    else if (data === "close me") socket.close();
    else socket.send(data);
  });
});
http.listen(Number(port), "127.0.0.1");
