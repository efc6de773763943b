// A ring of real socket.io-clients, each of which relays numbered messages to the next:
// ring.js URL CLIENTS RELAYS. Every third client is on WebSocket, every third on polling, the others
// begin on polling and upgrade. Half of them share connections that are kept alive.
// Writes one line of JSON: what was there, and the faults.
"use strict";

const { Agent } = require("node:http");
const { io } = require("socket.io-client");

const RELAY = "#rtcio:message";
const KINDS = [["websocket"], ["polling"], ["polling", "websocket"]];
const AT_ONCE = 50; // relays that a client sends in one tick
const AFTERMATH = 2_000; // milliseconds from a fault to the end, for others that follow from it
const PATIENCE = 300_000; // milliseconds until everything has to be done

const [url, clientCount, relayCount] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const shared = new Agent({ keepAlive: true });
const faults = [];
const members = [];

class Member {
  constructor(number) {
    this.number = number;
    this.transports = KINDS[number % KINDS.length];
    this.heard = 0;
    this.client = io(url, {
      transports: this.transports,
      reconnection: false,
      forceNew: true,
      ...(number % 2 ? { agent: shared } : {}),
    });
    this.client.on("connect_error", (error) => this.fault(`connect_error: ${error.message}`));
    this.client.on("disconnect", (reason) => this.fault(`disconnect: ${reason}`));
    this.connected = new Promise((resolve) => this.client.once("connect", resolve));
    this.done = new Promise((resolve) => {
      this.client.on(RELAY, (envelope) => this.hear(envelope, resolve));
    });
  }

  fault(what) {
    faults.push(`client ${this.number} (${this.transports}): ${what}`);
    setTimeout(finish, AFTERMATH);
  }

  async open() {
    await this.connected;
    const { engine } = this.client.io;
    if (this.transports.length === 2 && engine.transport.name === "polling") {
      await new Promise((resolve) => engine.once("upgrade", resolve));
    }
  }

  // The message after the last one says that nothing came twice.
  async send(target) {
    for (let number = 0; number <= relayCount; number++) {
      const envelope = { source: this.client.id, target: target.client.id, data: { number } };
      this.client.emit(RELAY, envelope);
      if (number % AT_ONCE === AT_ONCE - 1) await new Promise(setImmediate);
    }
  }

  hear({ source, target, data }, done) {
    if (source !== this.before.client.id || target !== this.client.id) {
      this.fault(`a relay of ${source} for ${target}`);
    } else if (data.number !== this.heard) {
      this.fault(`number ${data.number} instead of ${this.heard}`);
    }
    this.heard = data.number + 1;
    if (data.number === relayCount) done();
  }
}

async function run() {
  for (let number = 0; number < clientCount; number++) members.push(new Member(number));
  members.forEach((member, number) => {
    member.before = members.at(number - 1);
  });
  let late = "not all have connected and upgraded";
  const patience = setTimeout(() => {
    faults.push(late);
    finish();
  }, PATIENCE);
  await Promise.all(members.map((member) => member.open()));
  late = "relays are missing";
  members.forEach((member, number) => member.send(members[(number + 1) % clientCount]));
  await Promise.all(members.map((member) => member.done));
  clearTimeout(patience);
  finish();
}

function finish() {
  const transports = {};
  for (const { client } of members) {
    const name = client.connected ? client.io.engine.transport.name : "none";
    transports[name] = (transports[name] ?? 0) + 1;
  }
  console.log(JSON.stringify({
    transports,
    workers: new Set(members.map(({ client }) => client.id?.slice(0, 4))).size,
    relays: members.reduce((sum, { heard }) => sum + Math.min(heard, relayCount), 0),
    faults,
  }));
  process.exit(0);
}

run();
