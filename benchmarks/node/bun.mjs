// The same application as server.js, on Bun's HTTP server with its default options: bun.mjs PORT
import { Server as Engine } from "@socket.io/bun-engine";
import { Server } from "socket.io";
import { addHandlers } from "./handlers.js";

const io = new Server();
const engine = new Engine({ path: "/socket.io/" });
io.bind(engine);
addHandlers(io);

Bun.serve({
  port: Number(process.argv[2]),
  hostname: "127.0.0.1",
  ...engine.handler(),
});
