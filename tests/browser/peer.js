// A peer written from the protocol's description alone, and from none of the page's code: what a
// page of somebody else's does in the same room. It keeps what happens to it in `peer.log`.

window.startPeer = async ({ room, name, camera }) => {
  const peer = { log: [], calls: {}, id: null, name };
  window.peer = peer;
  const note = (what, detail) => peer.log.push({ what, ...detail });

  const canvas = document.createElement("canvas");
  canvas.width = 320;
  canvas.height = 180;
  const pen = canvas.getContext("2d");
  setInterval(() => {
    pen.fillStyle = `hsl(${(performance.now() / 10) % 360} 80% 50%)`;
    pen.fillRect(0, 0, 320, 180);
  }, 100);
  const stream = camera ? canvas.captureStream(10) : null;

  const socket = new WebSocket(`ws://${location.host}/socket.io/?EIO=4&transport=websocket`);
  const emit = (...event) => socket.send(`42${JSON.stringify(event)}`);
  const send = (target, data) => emit("#rtcio:message", { source: peer.id, target, data });
  peer.emit = emit;

  const call = (id, polite) => {
    const pc = new RTCPeerConnection();
    const made = (peer.calls[id] = { pc, polite, making: false, ignoring: false, videos: {} });
    made.ctrl = pc.createDataChannel("rtcio:ctrl", { negotiated: true, id: 0, ordered: true });
    made.ctrl.onopen = () => note("peer-connect", { id });
    made.ctrl.onclose = () => note("peer-disconnect", { id });
    made.ctrl.onmessage = ({ data }) => note("ctrl", { id, envelope: JSON.parse(data) });
    pc.onicecandidate = ({ candidate }) => candidate && send(id, { candidate });
    pc.onnegotiationneeded = async () => {
      made.making = true;
      await pc.setLocalDescription();
      send(id, { description: pc.localDescription });
      made.making = false;
    };
    pc.ontrack = ({ track, streams: [found] }) => {
      note("track", { kind: track.kind, mid: found.id });
      if (made.videos[found.id]) return;
      const video = (made.videos[found.id] = document.createElement("video"));
      video.muted = true;
      video.srcObject = found;
      document.body.append(video);
      video.play();
      send(id, { mid: found.id });
    };
    return made;
  };
  const show = (made) => {
    for (const track of stream?.getTracks() ?? []) {
      made.pc.addTransceiver(track, { direction: "sendonly", streams: [stream] });
    }
  };

  const receive = async (id, { description, candidate, mid, events }) => {
    const first = !peer.calls[id];
    const made = peer.calls[id] ?? call(id, false);
    const { pc } = made;
    if (description) {
      const collides = description.type === "offer" && (made.making || pc.signalingState !== "stable");
      made.ignoring = !made.polite && collides;
      if (made.ignoring) return;
      await pc.setRemoteDescription(description);
      if (description.type === "offer") {
        await pc.setLocalDescription();
        send(id, { description: pc.localDescription });
        if (first) show(made);
      }
    } else if (candidate) {
      note("candidate", { candidate });
      await pc.addIceCandidate(candidate).catch((error) => {
        if (!made.ignoring) note("error", { error: String(error) });
      });
    } else if (events) note("stream", { id, mid, events });
    else if (mid && mid === stream?.id) {
      // The stream under another name of the argument than the room page gives it.
      send(id, { mid, events: { camera: [{ id: peer.id, name, camera: "[RTCIOStream] 1234" }] } });
    }
  };

  let turn = Promise.resolve();
  const heard = (event, payload) => {
    note("server", { event, payload });
    if (event === "#rtcio:init-offer") show(call(payload.source, true));
    if (event === "#rtcio:message") {
      turn = turn.then(() => receive(payload.source, payload.data)).catch((error) => note("error", { error: String(error) }));
    }
  };
  await new Promise((resolve) => {
    socket.onmessage = ({ data }) => {
      if (data[0] === "0") socket.send("40");
      else if (data === "2") socket.send("3");
      else if (data.startsWith("40")) {
        peer.id = JSON.parse(data.slice(2)).sid;
        emit("join-room", name === null ? { roomId: room } : { roomId: room, name });
      } else if (data.startsWith("42")) {
        const [event, payload] = JSON.parse(data.slice(2));
        heard(event, payload);
        if (event === "join-ok") resolve();
      }
    };
  });

  peer.say = (...event) => {
    const envelope = JSON.stringify({ e: event[0], d: event.slice(1) });
    for (const { ctrl } of Object.values(peer.calls)) ctrl.send(envelope);
  };
  peer.frames = () => Object.values(peer.calls).flatMap(({ videos }) =>
    Object.values(videos).map((video) => video.getVideoPlaybackQuality().totalVideoFrames));
};
