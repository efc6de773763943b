// Socket.IO 5 over Engine.IO 4, on WebSocket only: the part that the room needs.
//
//   const signaling = new Signaling(new URL("socket.io/", document.baseURI));
//   signaling.on("connect", ({ recovered }) => …);      // each time, also after a reconnect
//   signaling.emit("join-room", { roomId });            // kept until there is a connection
//   const answer = await signaling.call("ask-ice");     // an event with an acknowledgement
//
// Lifecycle events: "connect" {recovered}, "disconnect" {reason, retrying}, "refused" {message, data},
// "unreachable" {why} after an attempt without an answer: "origin" (refused, and no more attempts),
// "full", "websocket" (the server answers plain requests only), "silent".

// Engine.IO packet types, the first character of each WebSocket message.
const OPEN = "0", CLOSE = "1", PING = "2", PONG = "3", MESSAGE = "4";
// Socket.IO packet types, the character after MESSAGE.
const CONNECT = "0", DISCONNECT = "1", EVENT = "2", ACK = "3", CONNECT_ERROR = "4", BINARY_EVENT = "5";

// <attachments>- and /<namespace>, may stand before the acknowledgement's id and the JSON.
const HEAD = /^(?:\d+-)?(?:(\/[^,]*),)?(\d*)/;

const FIRST_DELAY = 500, LAST_DELAY = 5_000; // ms between attempts, doubled each time
const OPENING_TIMEOUT = 15_000; // ms for the server to answer CONNECT
const CALL_TIMEOUT = 10_000; // ms for an acknowledgement to arrive
const DIAGNOSE_EVERY = 15_000; // ms: the server may be full, or just starting
const KEPT = 256; // events kept while there is no connection; a call needs far fewer

export class Signaling {
  /** The sid; null until connected, and kept through a reconnect until the next one is known. */
  id = null;
  connected = false;

  #url;
  #socket = null;
  #handlers = new Map();
  #kept = [];
  #acks = new Map();
  #nextAck = 0;
  // Connection state recovery: the key of the session, and the offset of its last event.
  #pid;
  #offset;
  #delay = FIRST_DELAY;
  #retry = 0;
  #deadline = 0;
  #patience = OPENING_TIMEOUT;
  #wanted = false;
  #answered = false;
  #diagnosedAt = -Infinity;
  #known = false;

  /** @param {URL} url of the Socket.IO path, with http(s) or ws(s) */
  constructor(url) {
    this.#url = new URL(url);
    this.#url.protocol = this.#url.protocol.replace(/^http/, "ws");
    this.#url.search = "?EIO=4&transport=websocket";
    // The network is back: try at once.
    addEventListener("online", () => this.#wanted && !this.#socket && this.#open());
  }

  on(event, handler) {
    if (!this.#handlers.has(event)) this.#handlers.set(event, []);
    this.#handlers.get(event).push(handler);
    return this;
  }

  connect() {
    this.#wanted = true;
    if (!this.#socket) this.#open();
  }

  /** Ends the session; `connect` begins a new one. */
  close() {
    this.#wanted = false;
    clearTimeout(this.#retry);
    if (this.connected) this.#write(MESSAGE + DISCONNECT);
    this.connected = false; // the caller closes, so no "disconnect" event
    this.#pid = this.#offset = undefined;
    this.#known = false;
    this.#diagnosedAt = -Infinity;
    this.#kept = [];
    this.#drop("closed by this page");
    this.id = null;
  }

  emit(event, ...args) {
    this.#send("", [event, ...args]);
  }

  /** Emits, and resolves to the first argument of the acknowledgement. */
  call(event, ...args) {
    const id = this.#nextAck++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(id, "reject", new Error("no answer in time")), CALL_TIMEOUT);
      this.#acks.set(id, { resolve, reject, timer });
      this.#send(id, [event, ...args]);
    });
  }

  // -- the connection ---------------------------------------------------------------------------

  #open() {
    clearTimeout(this.#retry);
    const socket = (this.#socket = new WebSocket(this.#url));
    this.#patience = OPENING_TIMEOUT;
    this.#expect();
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(data);
    socket.onclose = ({ reason }) => {
      if (socket !== this.#socket) return;
      if (!this.#answered && performance.now() - this.#diagnosedAt > DIAGNOSE_EVERY) this.#diagnose();
      this.#drop(reason || "connection lost");
    };
    this.#answered = false;
  }

  /** Closes the connection, and tries again if one is wanted. */
  #drop(reason) {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#deadline);
    socket?.close();
    const was = this.connected;
    this.connected = false;
    // The server may or may not have handled these calls; the callers decide what to do.
    for (const id of [...this.#acks.keys()]) this.#settle(id, "reject", new Error(reason));
    if (this.#wanted) {
      // The random part keeps a whole room from reconnecting in the same instant after a restart.
      this.#retry = setTimeout(() => this.#open(), this.#delay * (0.5 + Math.random() / 2));
      this.#delay = Math.min(this.#delay * 2, LAST_DELAY);
    }
    if (was) this.#tell("disconnect", { reason, retrying: this.#wanted });
  }

  /** Finds out why a WebSocket did not open: a browser does not tell its page. */
  async #diagnose() {
    this.#diagnosedAt = performance.now();
    const url = new URL(this.#url);
    url.protocol = url.protocol.replace(/^ws/, "http");
    const status = async (method) => {
      try {
        return (await fetch(url, { method, cache: "no-store" })).status;
      } catch {
        return 0;
      }
    };
    // A browser sends the origin of its own page with a POST, but not with a GET. Neither of the two
    // opens a session.
    const [posted, got] = [await status("POST"), await status("GET")];
    if (!this.#wanted || this.connected) return;
    const why = posted === 403 ? "origin" : got === 503 ? "full" : posted && got < 500 ? "websocket" : "silent";
    if (why === "origin") {
      this.#wanted = false;
      clearTimeout(this.#retry);
    }
    this.#tell("unreachable", { why });
  }

  /** Waits for the next ping: without one the connection is lost. */
  #expect() {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#drop("the server does not answer"), this.#patience);
  }

  // -- packets in -------------------------------------------------------------------------------

  #receive(data) {
    if (typeof data !== "string") return; // attachments: no event of a room has any
    const rest = data.slice(1);
    switch (data[0]) {
      case OPEN: {
        this.#answered = true;
        const { pingInterval, pingTimeout } = JSON.parse(rest);
        this.#patience = pingInterval + pingTimeout;
        this.#expect();
        const auth = this.#pid && { pid: this.#pid, offset: this.#offset };
        this.#write(MESSAGE + CONNECT + (auth ? JSON.stringify(auth) : ""));
        break;
      }
      case PING:
        this.#expect();
        this.#write(PONG);
        break;
      case CLOSE:
        this.#drop("the server is stopping");
        break;
      case MESSAGE:
        this.#packet(rest[0], rest.slice(1));
    }
  }

  #packet(type, text) {
    const [head, namespace, id] = HEAD.exec(text);
    if (namespace) return;
    const payload = text.length > head.length ? JSON.parse(text.slice(head.length)) : undefined;
    switch (type) {
      case CONNECT:
        return this.#welcome(payload);
      case CONNECT_ERROR:
        // The server refused us and would refuse us again.
        this.#wanted = false;
        this.#drop("refused");
        return this.#tell("refused", payload ?? {});
      case DISCONNECT:
        this.#wanted = false;
        return this.#drop("the server disconnected you");
      case ACK:
        return this.#settle(Number(id), "resolve", payload[0]);
      case BINARY_EVENT:
        return this.#remember(payload);
      case EVENT: {
        const [event, ...args] = payload;
        const answer = this.#tell(event, ...args);
        this.#remember(payload);
        if (id) this.#write(`${MESSAGE}${ACK}${id}${JSON.stringify(answer === undefined ? [] : [answer])}`);
      }
    }
  }

  #welcome({ sid, pid }) {
    const recovered = Boolean(pid) && pid === this.#pid;
    this.id = sid;
    this.#pid = pid;
    if (!recovered) this.#offset = undefined;
    this.connected = true;
    this.#delay = FIRST_DELAY;
    const kept = this.#kept;
    this.#kept = [];
    // Envelopes name their sender, and the others take a new sid for a new peer. So the room starts
    // again with the events that "connect" causes. Only a recovered session continues.
    const old = this.#known && !recovered;
    this.#known = true;
    if (!old) kept.forEach((packet) => this.#write(packet));
    this.#tell("connect", { recovered });
  }

  /** With recovery, the server adds a string at the end of each event: its offset. */
  #remember(args) {
    const last = args[args.length - 1];
    if (this.#pid && args.length > 1 && typeof last === "string") this.#offset = last;
  }

  #settle(id, how, value) {
    const waiting = this.#acks.get(id);
    if (!waiting) return;
    this.#acks.delete(id);
    clearTimeout(waiting.timer);
    waiting[how](value);
  }

  #tell(event, ...args) {
    let answer;
    for (const handler of this.#handlers.get(event) ?? []) answer = handler(...args) ?? answer;
    return answer;
  }

  // -- packets out ------------------------------------------------------------------------------

  #send(id, args) {
    const packet = `${MESSAGE}${EVENT}${id}${JSON.stringify(args)}`;
    if (this.connected) this.#write(packet);
    else if (this.#kept.length < KEPT) this.#kept.push(packet);
  }

  #write(packet) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(packet);
  }
}
