"use strict";
// Real socket.io-client sockets, driven from another process: a command is one JSON object a line on stdin, a report
// one on stdout. `clients.py` is the other end. What JSON cannot say is written {"$bin": base64}, {"$undefined": true}
// and, in a burst, {"$seq": true} for the number of the message.

const readline = require("readline");
const { io } = require("socket.io-client");
const msgpack = require("socket.io-msgpack-parser");

const sockets = new Map();
let reported = 0;

function report(fields) {
  // `n` orders the reports of all sockets of this process.
  process.stdout.write(JSON.stringify({ n: (reported += 1), ...fields }) + "\n");
}

function toJson(value) {
  if (value === undefined) return { $undefined: true };
  if (Buffer.isBuffer(value) || ArrayBuffer.isView(value)) {
    return { $bin: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64") };
  }
  if (value instanceof ArrayBuffer) return { $bin: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return value.map(toJson);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toJson(item)]));
  }
  return value;
}

function fromJson(value, seq) {
  if (Array.isArray(value)) return value.map((item) => fromJson(item, seq));
  if (value === null || typeof value !== "object") return value;
  if (typeof value.$bin === "string") return Buffer.from(value.$bin, "base64");
  if (value.$undefined) return undefined;
  if (value.$seq) return seq;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromJson(item, seq)]));
}

// The manager's engine is a new one after each reconnection, so this runs at each `open`.
function watchEngine(name, manager) {
  manager.engine.on("upgrade", (transport) => report({ socket: name, type: "upgrade", transport: transport.name }));
  manager.engine.on("ping", () => report({ socket: name, type: "ping" }));
}

function onEvent(entry, event, args) {
  const acknowledge = typeof args[args.length - 1] === "function" ? args.pop() : null;
  // With connection state recovery, what the server appends to each event is not the app's.
  const offset = entry.socket._pid && !acknowledge ? args.pop() : null;
  report({ socket: entry.name, type: "event", event, args: args.map(toJson), wantsAck: acknowledge !== null, offset });
  if (acknowledge && entry.answers.has(event)) acknowledge(...entry.answers.get(event));
}

function open(command) {
  const { parser, ...options } = command.options;
  if (parser === "msgpack") options.parser = msgpack;
  // A socket of another namespace may share the connection of one that is open already.
  const shared = command.shares && sockets.get(command.shares).socket.io;
  const socket = shared
    ? shared.socket(command.namespace, options)
    : io(command.url + command.namespace, { forceNew: true, autoConnect: false, ...options });
  const name = command.socket;
  const entry = { name, socket, answers: new Map() };
  sockets.set(name, entry);
  if (!shared) {
    socket.io.on("open", () => watchEngine(name, socket.io));
    socket.io.on("reconnect_attempt", (attempt) => report({ socket: name, type: "reconnect_attempt", attempt }));
  }
  socket.on("connect", () =>
    report({
      socket: name,
      type: "connect",
      id: socket.id,
      recovered: socket.recovered,
      transport: socket.io.engine.transport.name,
    }),
  );
  socket.on("connect_error", (error) =>
    report({
      socket: name,
      type: "connect_error",
      message: error.message,
      data: toJson(error.data),
      // What the transport says: the HTTP status of a poll, the words of the WebSocket library.
      detail: error.description ? (error.description.message ?? error.description) : null,
    }),
  );
  socket.on("disconnect", (reason, details) =>
    report({
      socket: name,
      type: "disconnect",
      reason,
      code: details && details.context ? details.context.code ?? null : null,
    }),
  );
  socket.onAny((event, ...args) => onEvent(entry, event, args));
  socket.connect();
}

function webSocketOf(entry) {
  const webSocket = entry.socket.io.engine.transport.ws;
  if (!webSocket) throw new Error("not on WebSocket: there is no one TCP connection to touch");
  return webSocket;
}

const commands = {
  open,
  emit({ event, args, token }, entry) {
    const values = args.map((value) => fromJson(value));
    if (token === undefined) {
      entry.socket.emit(event, ...values);
      return;
    }
    entry.socket.emit(event, ...values, (...answer) =>
      report({ socket: entry.name, type: "ack", token, args: answer.map(toJson) }),
    );
  },
  // All in one tick, as an application does that loops over its candidates.
  burst({ event, args, count, start }, entry) {
    for (let seq = start; seq < start + count; seq += 1) {
      entry.socket.emit(event, ...args.map((value) => fromJson(value, seq)));
    }
  },
  // Each of these in one tick: [{event, args}, ...].
  sequence({ emits }, entry) {
    for (const { event, args } of emits) entry.socket.emit(event, ...args.map((value) => fromJson(value)));
  },
  // A raw Socket.IO packet under socket.io-client's own checks (which refuse, say, reserved names).
  packet({ packet }, entry) {
    entry.socket.io._packet({ nsp: entry.socket.nsp, ...fromJson(packet) });
  },
  answer({ event, args }, entry) {
    entry.answers.set(event, args.map((value) => fromJson(value)));
    report({ socket: entry.name, type: "answers", event });
  },
  connect(_command, entry) {
    entry.socket.connect();
  },
  disconnect(_command, entry) {
    entry.socket.disconnect();
  },
  closeEngine(_command, entry) {
    entry.socket.io.engine.close();
  },
  // The TCP connection goes away without a close frame: by FIN, or with `reset` by RST.
  kill({ reset }, entry) {
    const connection = webSocketOf(entry)._socket;
    if (reset) connection.resetAndDestroy();
    else connection.destroy();
  },
  // The library's own way of it: it would undo a pause of the TCP connection under it.
  pause(_command, entry) {
    webSocketOf(entry).pause();
  },
  resume(_command, entry) {
    webSocketOf(entry).resume();
  },
  transport(_command, entry) {
    const engine = entry.socket.io.engine;
    report({ socket: entry.name, type: "transport", transport: engine.transport.name });
  },
  forget(_command, entry) {
    entry.socket.offAny();
    entry.socket.io.reconnection(false);
    entry.socket.disconnect();
    if (entry.socket.io.engine) entry.socket.io.engine.close();
    sockets.delete(entry.name);
  },
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  try {
    commands[command.cmd](command, sockets.get(command.socket));
  } catch (error) {
    report({ socket: command.socket, type: "driver_error", message: `${command.cmd}: ${error.stack}` });
  }
}).on("close", () => process.exit(0));
