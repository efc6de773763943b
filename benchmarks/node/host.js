// server.js as one of several hosts, as the guide of each adapter has it: host.js ADAPTER PORT
// The environment variable RTCIO_CLUSTER has the URL of their Redis.
"use strict";

const { createServer } = require("node:http");
const { Server } = require("socket.io");
const { createClient } = require("redis");
const redis = require("@socket.io/redis-adapter");
const streams = require("@socket.io/redis-streams-adapter");
const { addHandlers } = require("./handlers.js");

const [adapter, port] = process.argv.slice(2);

const adapters = {
  plain: redis.createAdapter,
  sharded: (publishing, listening) =>
    redis.createShardedAdapter(publishing, listening, { subscriptionMode: "dynamic-private" }),
  streams: (client) => streams.createAdapter(client),
};

async function serve() {
  const clients = [0, 1].map(() => createClient({ url: process.env.RTCIO_CLUSTER }));
  await Promise.all(clients.map((client) => client.connect()));
  const http = createServer();
  const io = new Server(http, { adapter: adapters[adapter](...clients) });
  addHandlers(io);
  http.listen(Number(port), "127.0.0.1");
}

serve();
