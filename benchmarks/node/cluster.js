// server.js in several processes, as Socket.IO's guide has it: cluster.js PORT WORKERS
// The environment variable REDIS (a URL) has them reach each other through Redis.
"use strict";

const cluster = require("node:cluster");
const { createServer } = require("node:http");
const { createAdapter, setupPrimary } = require("@socket.io/cluster-adapter");
const { setupMaster, setupWorker } = require("@socket.io/sticky");
const { Server } = require("socket.io");
const { addHandlers } = require("./handlers.js");

const [port, workers] = process.argv.slice(2).map(Number);

if (cluster.isPrimary) {
  const http = createServer();
  setupMaster(http, { loadBalancingMethod: "least-connection" });
  if (!process.env.REDIS) setupPrimary();
  cluster.setupPrimary({ serialization: "advanced" });
  const listening = Array.from({ length: workers }, () => {
    const worker = cluster.fork();
    return new Promise((resolve) => worker.once("message", resolve));
  });
  Promise.all(listening).then(() => http.listen(port, "127.0.0.1"));
} else {
  serve();
}

async function serve() {
  const io = new Server(createServer());
  if (process.env.REDIS) {
    const { createClient } = require("redis");
    const redis = require("@socket.io/redis-adapter");
    const clients = [0, 1].map(() => createClient({ url: process.env.REDIS }));
    await Promise.all(clients.map((client) => client.connect()));
    io.adapter(redis.createAdapter(...clients));
  } else {
    io.adapter(createAdapter());
  }
  setupWorker(io);
  addHandlers(io);
  process.send({ type: "ready" });
}
