"use strict";
// A browser's side of the rtc.io protocol, as short as it gets: one connection a peer, perfect negotiation, and the
// ctrl channel, which both sides make under number 0. For a page with socket.io-client in it.

async function joinAs(name, room) {
  const socket = io({ transports: ["websocket"] });
  const peers = new Map();
  const heard = [];
  const tell = (target, data) => socket.emit("#rtcio:message", { source: socket.id, target, data });

  function peer(id, polite) {
    if (peers.has(id)) return peers.get(id);
    const connection = new RTCPeerConnection();
    const channel = connection.createDataChannel("rtcio:ctrl", { negotiated: true, id: 0, ordered: true });
    const made = { connection, channel, polite, offering: false, ignored: false, candidates: 0, turn: Promise.resolve() };
    peers.set(id, made);
    channel.onopen = () => channel.send(JSON.stringify({ e: "hello", d: [name] }));
    channel.onmessage = ({ data }) => heard.push([id, JSON.parse(data)]);
    connection.onicecandidate = ({ candidate }) => candidate && tell(id, { candidate });
    connection.onnegotiationneeded = async () => {
      try {
        made.offering = true;
        await connection.setLocalDescription();
        tell(id, { description: connection.localDescription });
      } finally {
        made.offering = false;
      }
    };
    return made;
  }

  async function take(source, { description, candidate }) {
    const made = peer(source, false);
    const { connection } = made;
    if (description) {
      const collides = description.type === "offer" && (made.offering || connection.signalingState !== "stable");
      made.ignored = !made.polite && collides;
      if (made.ignored) return;
      await connection.setRemoteDescription(description);
      if (description.type === "offer") {
        await connection.setLocalDescription();
        tell(source, { description: connection.localDescription });
      }
    } else if (candidate) {
      made.candidates += 1;
      await connection.addIceCandidate(candidate).catch((error) => {
        if (!made.ignored) throw error;
      });
    }
  }

  socket.on("#rtcio:init-offer", ({ source }) => peer(source, true));
  socket.on("#rtcio:message", ({ source, data }) => {
    const made = peer(source, false);
    made.turn = made.turn.then(() => take(source, data));
  });
  socket.on("connect", () => socket.emit("join-room", { roomId: room, name }));
  await new Promise((resolve) => socket.on("join-ok", resolve));
  window.peers = peers;
  window.heard = heard;
  return socket.id;
}
