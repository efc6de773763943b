"use strict";
// The real engine.io-client against an Engine.IO server that greets with "hi" and sends each message back, but answers
// "give binary" with the bytes 0 to 4, "give utf8" with TEXT, "give headers" with the request's headers as JSON and
// "close me" by closing. It takes 100 bytes a message and refuses a handshake with `deny` in its query.
//
//   node engine_cases.js URL [CASE …]
//
// writes one JSON object a line: {"case", "error"}, `error` null for a case that held.

const vm = require("node:vm");
const { Socket, NodeWebSocket, NodeXHR } = require("engine.io-client");

const [url, ...wanted] = process.argv.slice(2);
const TEXT = "пойду спать всем спокойной ночи";
const EMOJI = "\uD800\uDC00-\uDB7F\uDFFF\uDB80\uDC00-\uDBFF\uDFFF\uE000-\uF8FF";
const POLLING = { transports: ["polling"] };
const DIRECT = { transports: ["websocket"] };
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function same(found, expected, what = "") {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what} ${a} instead of ${b}`);
}

// A socket and all that it has heard; `until(event)` waits for the next event of a name, also one that has passed.
class Peer {
  constructor(options = {}) {
    this.socket = new Socket(url, { path: "/engine.io", ...options });
    this.events = [];
    this.news = [];
    for (const name of ["open", "message", "upgrading", "upgrade", "upgradeError", "close", "error", "ping", "packet",
      "packetCreate", "handshake", "drain", "flush"]) {
      this.socket.on(name, (...args) => {
        this.events.push({ name, args });
        this.news.splice(0).forEach((resolve) => resolve());
      });
    }
  }
  all(name) {
    return this.events.filter((event) => event.name === name);
  }
  get messages() {
    return this.all("message").map(({ args }) => args[0]);
  }
  async until(name, count = 1) {
    while (this.all(name).length < count) await new Promise((resolve) => this.news.push(resolve));
    return this.all(name)[count - 1].args;
  }
  async hear(count) {
    await this.until("message", count);
    return this.messages;
  }
  close() {
    this.socket.close();
  }
}

async function opened(options) {
  const peer = new Peer(options);
  await peer.until("open");
  return peer;
}

const bytes = (data) => Array.from(new Uint8Array(data.buffer || data));
const cases = {};

for (const [name, options] of Object.entries({
  "polling": POLLING,
  "websocket": DIRECT,
  "both": {},
  "websocket first": { transports: ["websocket", "polling"] },
  "base64 over polling": { ...POLLING, forceBase64: true },
})) {
  cases[`${name}: is greeted`] = async () => {
    const peer = await opened(options);
    same(await peer.hear(1), ["hi"]);
    peer.close();
    same((await peer.until("close"))[0], "forced close");
  };
  cases[`${name}: text comes back`] = async () => {
    const peer = await opened(options);
    for (const text of ["cash money €€€", EMOJI, "give utf8"]) peer.socket.send(text);
    same(await peer.hear(4), ["hi", "cash money €€€", EMOJI, TEXT]);
    peer.close();
  };
  cases[`${name}: binary comes back`] = async () => {
    const peer = await opened(options);
    peer.socket.binaryType = "arraybuffer";
    const sent = new Int8Array([0, 1, 2, 3, 4]);
    peer.socket.send(sent);
    peer.socket.send(sent.buffer);
    peer.socket.send("give binary");
    peer.socket.send("text between");
    peer.socket.send(Buffer.from(sent));
    const heard = await peer.hear(6);
    same(heard.map((each) => (typeof each === "string" ? each : bytes(each))),
      ["hi", [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], "text between", [0, 1, 2, 3, 4]]);
    peer.close();
  };
  cases[`${name}: twenty messages stay in order`] = async () => {
    const peer = await opened(options);
    const sent = Array.from({ length: 20 }, (_, number) => `message ${number}`);
    for (const text of sent) {
      peer.socket.send(text);
      if (text.endsWith("7")) await wait(20);
    }
    same(await peer.hear(21), ["hi", ...sent]);
    peer.close();
  };
  cases[`${name}: pings are answered and the connection stays`] = async () => {
    const peer = await opened(options);
    await peer.until("ping", 3);
    peer.socket.send("still here");
    same(await peer.hear(2), ["hi", "still here"]);
    peer.close();
  };
  cases[`${name}: the server closes`] = async () => {
    const peer = await opened(options);
    peer.socket.send("close me");
    same((await peer.until("close"))[0], "transport close");
  };
  cases[`${name}: nothing is sent once it is closed`] = async () => {
    const peer = await opened(options);
    await peer.hear(1);
    const before = peer.all("packetCreate").length;
    peer.close();
    peer.socket.send("too late");
    await wait(200);
    same(peer.all("packetCreate").slice(before).map(({ args }) => args[0].type).filter((type) => type === "message"), []);
  };
}

Object.assign(cases, {
  async "packets are merged up to maxPayload"() {
    const peer = await opened(POLLING);
    const sent = ["a".repeat(99), "b".repeat(30), "c".repeat(30), "d".repeat(35), "€".repeat(33), "f".repeat(99)];
    for (const text of sent) peer.socket.send(text);
    same(await peer.hear(7), ["hi", ...sent]);
    same(peer.socket._maxPayload, 100);
    peer.close();
  },
  async "a packet over maxPayload is sent all the same and ends it"() {
    const peer = await opened(POLLING);
    peer.socket.send("a".repeat(101));
    peer.socket.send("b");
    await peer.until("close");
  },
  async "over maxPayload on polling: 413"() {
    const peer = await opened(POLLING);
    peer.socket.send("a".repeat(101));
    const [error] = await peer.until("error");
    same([error.type, error.description, error.message], ["TransportError", 413, "xhr post error"]);
    same((await peer.until("close"))[0], "transport error");
  },
  async "over maxPayload on a WebSocket: 1009 and no reason"() {
    const peer = await opened(DIRECT);
    peer.socket.send("a".repeat(101));
    const [reason, details] = await peer.until("close");
    same([reason, details.description], ["transport close", "websocket connection closed"]);
    same([details.context.code, details.context.reason], [1009, ""]);
  },
  async "an unknown session on polling: 400 and why"() {
    const peer = new Peer({ ...POLLING, query: { sid: "abc" } });
    let why;
    peer.socket.on("error", (raised) => (why = raised.context.responseText)); // it is cleared soon after
    const [error] = await peer.until("error");
    same([error.type, error.description, error.message], ["TransportError", 400, "xhr poll error"]);
    same(why, '{"code":1,"message":"Session ID unknown"}');
    same((await peer.until("close"))[0], "transport error");
  },
  async "an unknown session on a WebSocket is an error"() {
    const peer = new Peer({ ...DIRECT, query: { sid: "abc" } });
    const [error] = await peer.until("error");
    same([error.type, error.message], ["TransportError", "websocket error"]);
    same((await peer.until("close"))[0], "transport error");
  },
  async "a refused handshake on polling"() {
    const peer = new Peer({ ...POLLING, query: { deny: 1 } });
    const [error] = await peer.until("error");
    same([error.message, error.description >= 400], ["xhr poll error", true]);
  },
  async "a refused handshake on a WebSocket"() {
    const peer = new Peer({ ...DIRECT, query: { deny: 1 } });
    same((await peer.until("error"))[0].message, "websocket error");
  },
  async "the second transport, where the first is refused: polling"() {
    const transportOptions = { websocket: { query: { deny: 1 } } };
    const peer = await opened({ transports: ["websocket", "polling"], transportOptions, tryAllTransports: true });
    same(peer.socket.transport.name, "polling");
    peer.close();
  },
  async "the second transport, where the first is refused: websocket"() {
    const transportOptions = { polling: { query: { deny: 1 } } };
    const peer = await opened({ transports: ["polling", "websocket"], transportOptions, tryAllTransports: true });
    same(peer.socket.transport.name, "websocket");
    same(await peer.hear(1), ["hi"]);
    peer.close();
  },
  async "not the second transport, unless it is asked for"() {
    const peer = new Peer({ transportOptions: { polling: { query: { deny: 1 } } } });
    same((await peer.until("error"))[0].message, "xhr poll error");
    same(peer.all("open"), []);
  },
  async "transports as classes"() {
    for (const [transport, name] of [[NodeXHR, "polling"], [NodeWebSocket, "websocket"]]) {
      const peer = await opened({ transports: [transport] });
      same(peer.socket.transport.name, name);
      same(await peer.hear(1), ["hi"]);
      peer.close();
    }
  },
  async "a WebSocket with subprotocols"() {
    for (const protocols of ["my-app", ["my-app", "another"]]) {
      const peer = await opened({ ...DIRECT, protocols });
      same(peer.socket.transport.ws.protocol, "my-app");
      same(await peer.hear(1), ["hi"]);
      peer.close();
    }
  },
  async "a WebSocket with b64 in its query has text frames alone"() {
    for (const options of [DIRECT, {}]) {
      const peer = await opened({ ...options, query: { b64: 1 } });
      if (options !== DIRECT) await peer.until("upgrade");
      const frames = [];
      peer.socket.transport.ws.addEventListener("message", ({ data }) => frames.push(data));
      peer.socket.binaryType = "arraybuffer";
      peer.socket.send("give binary");
      same(bytes((await peer.hear(2))[1]), [0, 1, 2, 3, 4]);
      same(frames.filter((data) => data !== "2" && data !== "4hi"), ["bAAECAwQ="]);
      peer.close();
    }
  },
  async "it upgrades, and what is sent meanwhile arrives in order"() {
    const peer = await opened();
    const sent = [];
    for (let number = 0; number < 40; number += 1) {
      sent.push(`m${number}`);
      peer.socket.send(sent[number]);
      await wait(10);
    }
    await peer.until("upgrade");
    same(await peer.hear(41), ["hi", ...sent]);
    same([peer.socket.transport.name, peer.all("close").length], ["websocket", 0]);
    peer.close();
  },
  async "an upgrade takes one NOOP at most"() {
    // The server sends one each 100 ms: a client that a busy machine holds up may need more.
    const began = Date.now();
    const peer = await opened();
    await peer.until("upgrade");
    const noops = peer.all("packet").filter(({ args }) => args[0].type === "noop").length;
    const most = 1 + Math.floor((Date.now() - began) / 100);
    same(noops <= most, true, `${noops} NOOPs, at most ${most}:`);
    peer.close();
  },
  async "no upgrade, unless it is wanted"() {
    const peer = await opened({ upgrade: false });
    await peer.hear(1);
    await wait(300);
    same([peer.socket.transport.name, peer.all("upgrading").length], ["polling", 0]);
    peer.close();
  },
  async "closing waits for the upgrade"() {
    const peer = await opened();
    await peer.until("upgrading");
    peer.close();
    await peer.until("close");
    same(peer.all("upgrade").length, 1);
  },
  async "closing waits for an upgrade that fails"() {
    const peer = await opened();
    peer.socket.on("upgrading", () => {
      peer.close();
      peer.socket.transport.onError("upgrade error");
    });
    await peer.until("close");
    same(peer.all("upgradeError").length, 1);
  },
  async "nothing is sent once closing waits"() {
    const peer = await opened();
    await peer.until("upgrading");
    const before = peer.all("packetCreate").length;
    peer.close();
    peer.socket.send("hi");
    await wait(200);
    same(peer.all("packetCreate").length, before);
  },
  async "what waits is sent before it closes"() {
    const peer = await opened();
    await peer.until("upgrading");
    peer.socket.send("hi");
    peer.close();
    await peer.until("close");
    same(peer.socket.writeBuffer, []);
  },
  async "a probe that fails leaves it on polling"() {
    const peer = await opened({ transportOptions: { websocket: { query: { sid: "abc" } } } });
    await peer.until("upgradeError");
    peer.socket.send("on polling");
    same(await peer.hear(2), ["hi", "on polling"]);
    same(peer.socket.transport.name, "polling");
    peer.close();
  },
  async "headers of the client's own arrive"() {
    const peer = await opened({ ...POLLING, extraHeaders: { "x-own": "a value" } });
    peer.socket.send("give headers");
    same(JSON.parse((await peer.hear(2))[1])["x-own"], "a value");
    peer.close();
  },
  async "headers for one transport alone"() {
    const own = { polling: { extraHeaders: { "x-own": "polling" } }, websocket: { extraHeaders: { "x-own": "other" } } };
    const peer = await opened({ ...POLLING, transportOptions: own });
    peer.socket.send("give headers");
    same(JSON.parse((await peer.hear(2))[1])["x-own"], "polling");
    peer.close();
  },
  async "cookies are sent again, if asked for"() {
    const peer = await opened({ ...POLLING, withCredentials: true });
    await peer.hear(1);
    peer.socket.send("give headers");
    const { cookie } = JSON.parse((await peer.hear(2))[1]);
    same(/(^|; )io=/.test(cookie || ""), true, `cookies: ${cookie}`);
    peer.close();
  },
  async "no cookies, unless they are asked for"() {
    const peer = await opened(POLLING);
    await peer.hear(1);
    peer.socket.send("give headers");
    same(JSON.parse((await peer.hear(2))[1]).cookie, undefined);
    peer.close();
  },
  async "a timestamp in the query, and one of another name"() {
    const plain = await opened({ ...POLLING, timestampRequests: true });
    same(/[?&]t=[^&]+/.test(plain.socket.transport.uri()), true);
    const named = await opened({ ...POLLING, timestampRequests: true, timestampParam: "woot" });
    same(/[?&]woot=[^&]+/.test(named.socket.transport.uri()), true);
    plain.close();
    named.close();
  },
  async "JSONP: text comes back, and none of it runs as a script"() {
    const heard = [];
    const page = vm.createContext({ ___eio: [(payload) => heard.push(...payload.split("\u001e"))] });
    let query = "EIO=4&transport=polling&j=0";
    const poll = async () => vm.runInContext(await (await fetch(`${url}/engine.io/?${query}`)).text(), page);
    const post = (packet) => {
      // As engine.io-client has it, before it left JSONP out.
      const d = packet.replace(/\\n/g, "\\\n").replace(/\n/g, "\\n");
      return fetch(`${url}/engine.io/?${query}`, { method: "POST", body: new URLSearchParams({ d }) });
    };
    await poll();
    query += `&sid=${JSON.parse(heard.shift().slice(1)).sid}`;
    const sent = ['");globalThis.PWNED=1;//', "\\", "\r\n", "\\n\\\\n\n", "\u2028\u2029é", '{"a":"b\\nc"}'];
    for (const text of sent) same((await post(`4${text}`)).status, 200);
    const messages = () => heard.filter((packet) => packet[0] === "4").map((packet) => packet.slice(1));
    while (messages().length < sent.length + 1) await poll();
    same(messages(), ["hi", ...sent]);
    same(Object.keys(page), ["___eio"]);
    await post("1");
  },
  async "a server that is silent for too long is given up"() {
    const peer = await opened(POLLING);
    peer.socket._pingTimeoutTime = Date.now() - 1;
    same(peer.socket._hasPingExpired(), true);
    same((await peer.until("close"))[0], "ping timeout");
  },
  async "the handshake says what it has to"() {
    const peer = new Peer(POLLING);
    const [handshake] = await peer.until("handshake");
    same(Object.keys(handshake).sort(), ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]);
    same([handshake.maxPayload, handshake.pingInterval, handshake.upgrades], [100, 500, ["websocket"]]);
    await peer.until("open");
    same(peer.socket.id, handshake.sid);
    peer.close();
  },
});

async function run(name) {
  const timer = new Promise((_, reject) => setTimeout(() => reject(new Error("no end within 15 s")), 15000));
  await Promise.race([cases[name](), timer]);
}

(async () => {
  if (url === "--names") {
    console.log(JSON.stringify(Object.keys(cases)));
    return;
  }
  for (const name of wanted.length ? wanted : Object.keys(cases)) {
    let error = null;
    await run(name).catch((raised) => (error = String(raised.stack || raised)));
    console.log(JSON.stringify({ case: name, error }));
  }
  process.exit(0);
})();
