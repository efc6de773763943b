// The load of the figure `call`: real socket.io-clients. Reads a task on each line of stdin,
// {"port": …, "rooms": …, "together": …, "transports": …, "patience": …}, holds the calls, so many
// rooms together, and answers {} or {"error": …}.
"use strict";

const { Agent } = require("node:http");
const { createInterface } = require("node:readline");
const { io } = require("socket.io-client");

const MEMBERS = 4;
const APART = 1; // milliseconds between two relays of one client
const RELAY = "#rtcio:message";
const HEADERS = {
  "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) " +
    "Chrome/131.0.0.0 Safari/537.36",
  "Accept-Language": "en-US,en;q=0.9",
  "Accept-Encoding": "gzip, deflate, br, zstd",
  "Cache-Control": "no-cache",
  "Pragma": "no-cache",
};
// What each member sends to each other one: a description of 2.4 kB, then the candidates.
const MESSAGES = [
  { description: { type: "offer", sdp: "v=0\r\n".padEnd(2_100, "a=ice-options:trickle\r\n") } },
  ...Array.from({ length: 11 }, (_, number) => ({
    candidate: {
      candidate: `candidate:${842163049 + number} 1 udp 1677729535 203.0.113.7 54400 typ srflx`,
      sdpMLineIndex: 0,
      sdpMid: "0",
      usernameFragment: "f3Zq",
    },
  })),
];
const EXPECTED = MESSAGES.map((data) => JSON.stringify(data));

let rooms = 0;

class Participant {
  constructor(port, transports) {
    this.agent = new Agent({ keepAlive: true }); // connections are used again, as in browsers
    this.client = io(`http://127.0.0.1:${port}`, {
      ...(transports ? { transports } : {}),
      extraHeaders: { ...HEADERS, Origin: `http://127.0.0.1:${port}` },
      agent: this.agent,
      forceNew: true,
      reconnection: false,
    });
    this.heard = new Map(); // messages so far, by source
    this.owed = (MEMBERS - 1) * MESSAGES.length;
    this.served = new Promise((resolve, reject) => {
      this.client.on(RELAY, (envelope) => this.hear(envelope, resolve, reject));
      this.client.on("connect_error", reject);
      this.client.on("disconnect", (reason) => this.owed && reject(new Error(reason)));
    });
  }

  hear({ source, target, data }, resolve, reject) {
    const number = this.heard.get(source) ?? 0;
    if (target !== this.client.id || JSON.stringify(data) !== EXPECTED[number]) {
      reject(new Error(`an unexpected ${JSON.stringify({ target, data })}`));
    }
    this.heard.set(source, number + 1);
    this.owed -= 1;
    if (!this.owed) {
      resolve();
    }
  }

  async join(room) {
    await this.client.emitWithAck("join", room);
    const { engine } = this.client.io;
    if (engine.transport.name !== "websocket") {
      await new Promise((resolve) => engine.once("upgrade", resolve));
    }
  }

  leave() {
    this.client.disconnect();
    this.agent.destroy();
  }

  async speak(others) {
    for (const data of MESSAGES) {
      for (const { client: { id: target } } of others) {
        await new Promise((resolve) => setTimeout(resolve, APART));
        this.client.emit(RELAY, { source: this.client.id, target, data });
      }
    }
  }
}

async function hold(port, transports) {
  const room = `call-${rooms++}`;
  const members = Array.from({ length: MEMBERS }, () => new Participant(port, transports));
  const all = (step) => Promise.all(members.map(step));
  const talk = async () => {
    await all((member) => member.join(room));
    await all((member) => member.speak(members.filter((other) => other !== member)));
  };
  await Promise.all([all((member) => member.served), talk()]);
  members.forEach((member) => member.leave());
}

async function main() {
  for await (const line of createInterface({ input: process.stdin })) {
    const { port, transports, rooms: count, together, patience } = JSON.parse(line);
    const hurry = () => new Promise((_, reject) => {
      setTimeout(reject, patience * 1000, new Error("relays are missing")).unref();
    });
    let answer = {};
    try {
      for (let number = 0; number < count; number += together) {
        const calls = Array.from({ length: together }, () => hold(port, transports));
        await Promise.race([Promise.all(calls), hurry()]);
      }
    } catch (error) {
      answer = { error: error.message };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}

main();
