// rtc.io's peer connections: one RTCPeerConnection for each other peer of the room, negotiated over
// #rtcio:message, each with a DataChannel "rtcio:ctrl" that carries {"e": event, "d": [args]}.
//
// The peer that gets #rtcio:init-offer opens the connection and is the polite side: it gives way when
// two offers collide. The other is the impolite side. Both follow
// https://w3c.github.io/webrtc-pc/#perfect-negotiation-example.
//
// The listener has these methods:
//   admits(id)                           whether that peer may call: whether it is in the room, and
//                                        it is not we who call it
//   connected(id)                        its ctrl channel is open
//   disconnected(id)                     no connection to it is left
//   health(id, state)                    RTCPeerConnection.connectionState changed
//   stream(id, event, info, stream)      it sends a stream, named by the event (null: not named yet)
//   streamEnded(id, stream)
//   heard(id, event, args)               it sent an event on its ctrl channel
//   moved(id, heir)                      its id is now `heir`
//   stuck(id)                            there is no connection to it after a while

const MESSAGE = "#rtcio:message", INIT_OFFER = "#rtcio:init-offer", PEER_LEFT = "#rtcio:peer-left";
const CTRL = "rtcio:ctrl";
const STREAM_MARK = "[RTCIOStream] ";

const MAX_ENVELOPE = 1_000_000; // characters of an envelope that we parse
const MAX_ID = 64; // characters of an id
const MAX_QUEUED = 256; // envelopes kept until a ctrl channel opens
const RESTART_AFTER = 3_000; // ms before we restart ICE on a lost connection
const GRACE = 12_000; // ms before we close a lost connection
const GRACE_HINTED = 2_500; // the same when the server also says that the peer left
const HINT_LASTS = 30_000; // ms
const NAMELESS_AFTER = 1_500; // ms until we show a stream that its owner has not named
const TELLING_LASTS = 3_000; // ms that we wait until our peers know our new id
const HANDOVER = 1_000; // ms that we keep a replaced connection, until the new one has its first frames
const CONNECTING_LASTS = 12_000; // ms until we say that a connection does not come
const CONNECTING_ENDS = 30_000; // ms until the one who opened it closes it, to begin again
const ICE_LASTS = 240_000; // ms: TURN credentials are short-lived

export class Peers {
  /** The name that we send with each stream. */
  name = "";

  #signaling;
  #listener;
  #peers = new Map();
  // Connections from before a reconnect that gave us another id. The call goes on over them until
  // their peers have connected with our new id.
  #former = new Set();
  // Until our peers know our new id, or do not answer.
  #telling = Promise.resolve();
  #published = new Map();
  #queues = new Map();
  #ice = { servers: [], at: -Infinity };

  constructor(signaling, listener) {
    this.#signaling = signaling;
    this.#listener = listener;
    signaling
      .on(INIT_OFFER, ({ source }) => this.invite(source))
      .on(MESSAGE, ({ source, data }) => this.#enqueue(source, () => this.#receive(source, data ?? {})))
      .on(PEER_LEFT, ({ id }) => this.#peers.get(id)?.hint())
      .on("connect", ({ recovered }) => (recovered ? this.#nudge() : this.#retire()));
  }

  /** Asks the server for ICE servers, unless its last answer is still valid. */
  async iceServers() {
    if (performance.now() - this.#ice.at > ICE_LASTS) {
      try {
        const { iceServers } = await this.#signaling.call("ask-ice");
        this.#ice = { servers: iceServers ?? [], at: performance.now() };
      } catch {
        // The server is away or does not answer `ask-ice`: use the last answer.
      }
    }
    return this.#ice.servers;
  }

  /** Begins a connection as the polite side, unless there is one. */
  invite(id) {
    this.#enqueue(id, async () => {
      if (id === this.#signaling.id || this.#peers.has(id)) return;
      const peer = this.#add(id, true, await this.iceServers());
      peer.attachAll(); // without streams, only the ctrl channel is negotiated
    });
  }

  /** Resolves when the peers know our new id, as far as they answer. Who hears of it from the server
   * first would take us for somebody else. */
  known() {
    return this.#telling;
  }

  has(id) {
    return this.#all().some((peer) => peer.id === id);
  }

  /** How loud each peer is now, 0 to 1, by id. */
  loudness() {
    return new Map([...this.#peers.values()].map((peer) => [peer.id, peer.loudness]));
  }

  /** The figures of each connection since the last call, by id; null where there are none yet. */
  async figures() {
    const known = [...this.#peers.values()];
    return new Map(await Promise.all(known.map(async (peer) => [peer.id, await peer.figures()])));
  }

  /** Ends the connections to a peer. */
  close(id) {
    for (const peer of this.#all()) if (peer.id === id) peer.close();
  }

  closeAll() {
    for (const peer of this.#all()) peer.close();
    this.#queues.clear();
    this.#ice.at = -Infinity;
  }

  /** Sends a stream to all peers, also to those that come later. */
  publish(event, stream) {
    this.#published.set(stream.id, { event, stream });
    this.sync(stream);
  }

  unpublish(stream) {
    this.#published.delete(stream.id);
    for (const peer of this.#all()) peer.detach(stream);
  }

  /** Sends the current tracks of a published stream. */
  sync(stream) {
    for (const peer of this.#all()) peer.attach(stream);
  }

  /** Sends an event to all peers, on their ctrl channels. */
  broadcast(event, ...args) {
    for (const peer of this.#peers.values()) peer.say(event, args);
  }

  say(id, event, ...args) {
    this.#peers.get(id)?.say(event, args);
  }

  // -- messages from the server -------------------------------------------------------------------

  /** Handles the messages of a peer one after the other: their steps are asynchronous. */
  #enqueue(id, task) {
    const me = this.#signaling.id;
    const tail = (this.#queues.get(id) ?? Promise.resolve())
      .then(() => me === this.#signaling.id && task())
      .catch((error) => console.warn(`signaling with ${id}:`, error))
      .finally(() => this.#queues.get(id) === tail && this.#queues.delete(id));
    this.#queues.set(id, tail);
  }

  async #receive(source, data) {
    let peer = this.#peers.get(source);
    const offer = data.description?.type === "offer";
    // The peer has closed its connection and offers a new one; ours cannot continue.
    if (offer && peer?.isAnother(data.description)) peer = peer.close();
    if (!peer) {
      // An offer of a peer that we call is from a connection that we have closed; ours comes.
      if (!offer || !this.#listener.admits(source)) return;
      peer = this.#add(source, false, await this.iceServers());
    }
    await peer.receive(data);
    // Only now: tracks added before the first answer would cause a collision of offers.
    if (offer) peer.attachAll();
  }

  /** After a pause in the signaling: restarts ICE on connections that are lost. */
  #nudge() {
    for (const peer of this.#peers.values()) if (peer.isUnwell) peer.restart();
  }

  /** We have a new id: no peer can answer on the old connections. */
  #retire() {
    const told = [];
    for (const peer of this.#peers.values()) {
      told.push(peer.retire(this.#signaling.id));
      this.#former.add(peer);
    }
    if (told.length) {
      const late = new Promise((resolve) => setTimeout(resolve, TELLING_LASTS));
      this.#telling = Promise.race([Promise.all(told), late]);
    }
    this.#peers.clear();
    this.#ice.at = -Infinity;
  }

  // -- callbacks of the peers -----------------------------------------------------------------------

  #all() {
    return [...this.#peers.values(), ...this.#former];
  }

  #add(id, polite, iceServers) {
    const peer = new Peer(id, polite, iceServers, {
      send: (data) => this.#signaling.emit(MESSAGE, { source: this.#signaling.id, target: id, data }),
      canSend: () => this.#signaling.connected,
      iceServers: () => this.iceServers(),
      published: this.#published,
      introduction: (mid) => this.#introduction(mid),
      opened: () => this.#opened(peer),
      closed: () => this.#closed(peer),
      heard: (event, args) => this.#heard(peer, event, args),
      stuck: () => peer.former || this.#listener.stuck(id),
      health: (state) => peer.former || this.#listener.health(id, state),
      stream: (...given) => this.#listener.stream(id, ...given),
      streamEnded: (stream) => this.#listener.streamEnded(id, stream),
    });
    this.#peers.set(id, peer);
    return peer;
  }

  #introduction(mid) {
    const known = this.#published.get(mid);
    if (!known) return null;
    return { [known.event]: [{ id: this.#signaling.id, name: this.name, stream: STREAM_MARK + mid }] };
  }

  #opened(peer) {
    const replaced = this.#all().filter(
      (other) => other !== peer && (other.id === peer.id || other.heir === peer.id),
    );
    setTimeout(() => replaced.forEach((other) => other.close()), HANDOVER);
    this.#listener.connected(peer.id);
  }

  #closed(peer) {
    this.#former.delete(peer);
    if (this.#peers.get(peer.id) === peer) this.#peers.delete(peer.id);
    if (!this.has(peer.id)) this.#listener.disconnected(peer.id);
  }

  #heard(peer, event, args) {
    if (event === "moved-known") return peer.isKnown();
    if (event !== "moved") return this.#listener.heard(peer.id, event, args);
    peer.say("moved-known", []);
    const heir = args[0]?.id;
    if (peer.heir || typeof heir !== "string" || heir.length > MAX_ID || this.has(heir)) return;
    peer.heir = heir;
    this.#listener.moved(peer.id, heir);
  }
}

class Peer {
  /** Whether it is from before our id changed: media still flows, but we cannot negotiate. */
  former = false;
  /** The new id of the other side, once it has told us. */
  heir = null;

  #pc;
  #ctrl;
  #polite;
  #hooks;
  #queued = [];
  #makingOffer = false;
  #settingAnswer = false;
  #ignoring = false;
  #ready;
  #closed = false;
  // What we send: stream id → kind → transceiver.
  #sending = new Map();
  // What we get: stream id → {stream, timer}.
  #receiving = new Map();
  #hintedAt = -Infinity;
  #restartTimer = 0;
  #graceTimer = 0;
  #stuckTimer = 0;
  #counted = null;

  /** The other side has answered that it knows our new id. */
  isKnown = () => {};

  constructor(id, polite, iceServers, hooks) {
    this.id = id;
    this.#polite = polite;
    this.#ready = polite;
    this.#hooks = hooks;
    const pc = (this.#pc = new RTCPeerConnection({ iceServers }));
    pc.onnegotiationneeded = () => this.#offer();
    pc.onicecandidate = ({ candidate }) => this.#candidate(candidate);
    pc.onconnectionstatechange = () => this.#stateChanged();
    pc.ontrack = ({ track, streams }) => this.#trackArrived(track, streams[0]);
    // All channels of rtc.io are negotiated; an announced channel is not part of the protocol.
    pc.ondatachannel = ({ channel }) => channel.close();
    const ctrl = (this.#ctrl = pc.createDataChannel(CTRL, { negotiated: true, id: 0, ordered: true }));
    ctrl.onopen = () => {
      this.#queued.splice(0).forEach((envelope) => ctrl.send(envelope));
      hooks.opened();
    };
    ctrl.onmessage = ({ data }) => this.#ctrlMessage(data);
    this.#stuckTimer = setTimeout(() => this.#stuck(), CONNECTING_LASTS);
    ctrl.onclose = () => this.close(); // the other side has closed it for good
  }

  get isUnwell() {
    return ["disconnected", "failed"].includes(this.#pc.connectionState);
  }

  /** Tells the other side our new id; resolves when it has answered, if it can. */
  retire(heir) {
    this.say("moved", [{ id: heir }]);
    this.former = true;
    if (this.#pc.connectionState !== "connected" || this.#ctrl.readyState !== "open") return null;
    return new Promise((resolve) => (this.isKnown = resolve));
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.isKnown();
    clearTimeout(this.#restartTimer);
    clearTimeout(this.#graceTimer);
    clearTimeout(this.#stuckTimer);
    this.#pc.close();
    for (const mid of [...this.#receiving.keys()]) this.#forget(mid);
    this.#hooks.closed();
  }

  say(event, args) {
    const envelope = JSON.stringify({ e: event, d: args });
    if (this.#ctrl.readyState === "open") this.#ctrl.send(envelope);
    else if (this.#ctrl.readyState === "connecting" && this.#queued.length < MAX_QUEUED) {
      this.#queued.push(envelope);
    }
  }

  #ctrlMessage(data) {
    if (typeof data !== "string" || data.length > MAX_ENVELOPE) return;
    let envelope;
    try {
      envelope = JSON.parse(data);
    } catch {
      return;
    }
    const event = envelope?.e;
    if (typeof event === "string") this.#hooks.heard(event, Array.isArray(envelope.d) ? envelope.d : []);
  }

  // -- negotiation ----------------------------------------------------------------------------------

  async receive({ description, candidate, mid, events }) {
    if (description) await this.#describe(description);
    else if (candidate) await this.#addCandidate(candidate);
    else if (typeof mid !== "string") return;
    else if (events) this.#introduced(mid, events);
    else if (this.#sending.has(mid)) {
      const answer = this.#hooks.introduction(mid);
      if (answer) this.#hooks.send({ mid, events: answer });
    }
  }

  /** Whether an offer is from another RTCPeerConnection than the last one (RFC 8829 5.2.1: the
   * session id in the o= line belongs to one connection). */
  isAnother(offer) {
    const last = this.#pc.currentRemoteDescription;
    return last !== null && session(last) !== session(offer);
  }

  async #offer() {
    if (this.former) return;
    try {
      this.#makingOffer = true;
      await this.#pc.setLocalDescription();
      this.#hooks.send({ description: this.#pc.localDescription });
    } catch (error) {
      if (!this.#closed) console.warn(`offer to ${this.id}:`, error);
    } finally {
      this.#makingOffer = false;
    }
  }

  async #describe(description) {
    const pc = this.#pc;
    const stable = pc.signalingState === "stable" || this.#settingAnswer;
    const collides = description.type === "offer" && (this.#makingOffer || !stable);
    this.#ignoring = !this.#polite && collides;
    if (this.#ignoring) return;
    this.#settingAnswer = description.type === "answer";
    try {
      await pc.setRemoteDescription(description); // rolls back our own offer if there is one
    } finally {
      this.#settingAnswer = false;
    }
    if (description.type !== "offer") return;
    await pc.setLocalDescription();
    this.#hooks.send({ description: pc.localDescription });
    this.#ready = true;
  }

  #candidate(candidate) {
    if (this.former) return;
    // null means the end of candidates; the protocol has an empty candidate for it.
    this.#hooks.send({ candidate: candidate ?? { candidate: "", sdpMid: "0", sdpMLineIndex: 0 } });
  }

  async #addCandidate(candidate) {
    try {
      await this.#pc.addIceCandidate(candidate);
    } catch (error) {
      if (!this.#ignoring) throw error; // otherwise it belongs to an offer that we ignored
    }
  }

  // -- health ---------------------------------------------------------------------------------------

  /** The server says that the peer has left. The call may still work. */
  hint() {
    this.#hintedAt = performance.now();
    if (this.#pc.connectionState !== "connected") this.close();
  }

  async restart() {
    if (this.former || this.#closed || !this.#hooks.canSend()) return;
    const iceServers = await this.#hooks.iceServers();
    if (this.#closed) return;
    this.#pc.setConfiguration({ ...this.#pc.getConfiguration(), iceServers });
    this.#pc.restartIce();
  }

  #stuck() {
    this.#hooks.stuck();
    const rest = CONNECTING_ENDS - CONNECTING_LASTS;
    if (this.#polite) this.#stuckTimer = setTimeout(() => this.close(), rest);
  }

  #stateChanged() {
    const state = this.#pc.connectionState;
    clearTimeout(this.#restartTimer);
    if (state === "connected") {
      clearTimeout(this.#stuckTimer);
      clearTimeout(this.#graceTimer);
      this.#graceTimer = 0;
    } else if (this.isUnwell) {
      this.#restartTimer = setTimeout(() => this.restart(), state === "failed" ? 0 : RESTART_AFTER);
      const hinted = performance.now() - this.#hintedAt < HINT_LASTS;
      this.#graceTimer ||= setTimeout(() => this.close(), hinted ? GRACE_HINTED : GRACE);
    }
    this.#hooks.health(state);
  }

  get loudness() {
    const levels = this.#pc.getReceivers().filter(({ track }) => track.kind === "audio")
      .map((each) => each.getSynchronizationSources()[0]?.audioLevel ?? 0);
    return Math.max(0, ...levels);
  }

  async figures() {
    if (this.#closed || this.#pc.connectionState !== "connected") return null;
    const now = { at: performance.now(), rtt: null, got: 0, lost: 0, received: 0, sent: 0 };
    for (const each of (await this.#pc.getStats()).values()) {
      if (each.type === "candidate-pair" && each.nominated && each.state === "succeeded") {
        now.rtt = each.currentRoundTripTime ?? now.rtt;
        now.received += each.bytesReceived ?? 0;
        now.sent += each.bytesSent ?? 0;
      } else if (each.type === "inbound-rtp") {
        now.got += each.packetsReceived ?? 0;
        now.lost += each.packetsLost ?? 0;
      }
    }
    const before = this.#counted;
    this.#counted = now;
    if (!before) return null;
    const seconds = (now.at - before.at) / 1000;
    const per = (kind) => (Math.max(0, now[kind] - before[kind]) * 8) / seconds; // bit/s
    const got = Math.max(0, now.got - before.got), lost = Math.max(0, now.lost - before.lost);
    const loss = got + lost ? lost / (got + lost) : 0;
    return { quality: qualityOf(now.rtt ?? 0, loss), rtt: now.rtt, loss, received: per("received"), sent: per("sent") };
  }

  // -- what we send ---------------------------------------------------------------------------------

  attachAll() {
    for (const { stream } of this.#hooks.published.values()) this.attach(stream);
  }

  attach(stream) {
    if (!this.#ready || this.#closed) return;
    if (!this.#sending.has(stream.id)) this.#sending.set(stream.id, new Map());
    const transceivers = this.#sending.get(stream.id);
    for (const kind of ["audio", "video"]) {
      const track = stream.getTracks().find((each) => each.kind === kind) ?? null;
      const known = transceivers.get(kind);
      if (known) known.sender.replaceTrack(track);
      else if (track && !this.former) {
        // One m-line for each direction and stream, so that no offer uses the other's transceivers.
        const direction = "sendonly", streams = [stream];
        transceivers.set(kind, this.#pc.addTransceiver(track, { direction, streams }));
      }
    }
  }

  detach(stream) {
    const transceivers = this.#sending.get(stream.id) ?? new Map();
    this.#sending.delete(stream.id);
    // Stop it and do not reuse it: Chromium does not announce the new stream of a sender.
    if (!this.#closed) for (const transceiver of transceivers.values()) transceiver.stop();
  }

  // -- what we get ----------------------------------------------------------------------------------

  #trackArrived(track, stream) {
    if (stream && this.#receiving.has(stream.id)) return; // the stream has it already
    const named = Boolean(stream);
    stream ??= new MediaStream([track]);
    const mid = stream.id;
    stream.onremovetrack = () => stream.getTracks().length || this.#forget(mid);
    const timer = setTimeout(() => this.#show(mid, null, {}), named ? NAMELESS_AFTER : 0);
    this.#receiving.set(mid, { stream, timer });
    if (named) this.#hooks.send({ mid });
  }

  #introduced(mid, events) {
    const [event, args] = Object.entries(events)[0] ?? [];
    if (!event || !this.#receiving.has(mid)) return;
    const info = (Array.isArray(args) ? args : []).find((arg) => arg && typeof arg === "object");
    this.#show(mid, event, info ?? {});
  }

  #show(mid, event, info) {
    const { stream, timer } = this.#receiving.get(mid);
    clearTimeout(timer);
    this.#hooks.stream(event, info, stream);
  }

  #forget(mid) {
    const known = this.#receiving.get(mid);
    if (!known) return;
    this.#receiving.delete(mid);
    clearTimeout(known.timer);
    known.stream.onremovetrack = null;
    this.#hooks.streamEnded(known.stream);
  }
}

function session({ sdp }) {
  return /^o=\S+ (\S+)/m.exec(sdp)?.[1];
}

/** What people notice: ITU-T G.114 calls one way of 150 ms good and of 400 ms the limit. */
function qualityOf(rtt, loss) {
  if (rtt > 0.8 || loss > 0.1) return "poor";
  return rtt > 0.3 || loss > 0.03 ? "fair" : "good";
}
