// Many people in one page: each has a socket, a drawn picture and a connection to the room page, and
// none to the others of the crowd. It fills a room for a picture of it.

const portrait = (name, number, upright) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = upright ? [180, 240] : [320, 180];
  const pen = canvas.getContext("2d"), { width, height } = canvas, hue = (number * 47) % 360;
  const skins = ["#f1c7a5", "#8d5a3b", "#d9a066", "#5b3a29", "#ffdbc4"];
  const draw = () => {
    const sway = Math.sin(performance.now() / 900 + number) * 3;
    const wall = pen.createLinearGradient(0, 0, width, height);
    wall.addColorStop(0, `hsl(${hue} 35% 78%)`);
    wall.addColorStop(1, `hsl(${hue} 35% 55%)`);
    pen.fillStyle = wall;
    pen.fillRect(0, 0, width, height);
    const middle = width / 2 + sway, size = Math.min(width, height) * 0.24;
    pen.fillStyle = `hsl(${(hue + 190) % 360} 45% 38%)`;
    pen.beginPath();
    pen.ellipse(middle, height * 1.02, size * 2, size * 1.35, 0, 0, 7);
    pen.fill();
    pen.fillStyle = `hsl(${(number * 83) % 60} 40% ${15 + (number % 4) * 12}%)`;
    pen.beginPath();
    pen.ellipse(middle, height * 0.43, size * 1.08, size * 1.2, 0, 0, 7);
    pen.fill();
    pen.fillStyle = skins[number % skins.length];
    pen.beginPath();
    pen.ellipse(middle, height * 0.5, size * 0.85, size * 1.02, 0, 0, 7);
    pen.fill();
    pen.fillStyle = "#222";
    for (const side of [-1, 1]) {
      pen.beginPath();
      pen.arc(middle + side * size * 0.32, height * 0.47, size * 0.09, 0, 7);
      pen.fill();
    }
    pen.lineWidth = size * 0.08;
    pen.strokeStyle = "#7a2f2f";
    pen.beginPath();
    pen.arc(middle, height * 0.53, size * 0.4, 0.4, 2.7);
    pen.stroke();
  };
  draw();
  setInterval(draw, 200);
  return canvas.captureStream(5);
};

const tone = () => {
  const context = new AudioContext(), oscillator = context.createOscillator();
  const out = context.createMediaStreamDestination();
  oscillator.connect(out);
  oscillator.start();
  return out.stream.getAudioTracks()[0];
};

const slides = () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [1024, 640];
  const pen = canvas.getContext("2d");
  const draw = () => {
    pen.fillStyle = "#fdfdf8";
    pen.fillRect(0, 0, 1024, 640);
    pen.fillStyle = "#0b6e63";
    pen.font = "bold 52px sans-serif";
    pen.fillText("The week in tea", 70, 110);
    for (const [index, share] of [0.4, 0.65, 0.55, 0.8, 0.95].entries()) {
      pen.fillRect(90 + index * 180, 570 - share * 400, 110, share * 400);
    }
    pen.fillStyle = "#333";
    pen.fillRect(70, 570, 890, 4);
  };
  draw();
  setInterval(draw, 200);
  return canvas.captureStream(5);
};

const join = ({ room, name, number, target, upright, speaks, shares }) => new Promise((resolve) => {
  const streams = { camera: portrait(name, number, upright) };
  if (speaks) streams.camera.addTrack(tone());
  if (shares) streams.screen = slides();
  streams.screen?.addTrack(tone()); // as of a shared tab
  const socket = new WebSocket(`ws://${location.host}/socket.io/?EIO=4&transport=websocket`);
  const emit = (...event) => socket.send(`42${JSON.stringify(event)}`);
  let me, pc, ctrl, shown = false, turn = Promise.resolve();
  const send = (data) => emit("#rtcio:message", { source: me, target: pc.target, data });
  const call = (id) => {
    pc = Object.assign(new RTCPeerConnection(), { target: id });
    ctrl = pc.createDataChannel("rtcio:ctrl", { negotiated: true, id: 0, ordered: true });
    ctrl.onopen = () => (window.arrived.add(name), resolve());
    pc.onicecandidate = ({ candidate }) => candidate && send({ candidate });
    pc.onnegotiationneeded = async () => {
      if (!shown) return;
      await pc.setLocalDescription();
      send({ description: pc.localDescription });
    };
  };
  const receive = async (source, { description, candidate, mid, events }) => {
    if (!pc) call(source);
    if (description?.type === "offer" && pc.signalingState !== "stable") return; // we are impolite
    if (description) {
      await pc.setRemoteDescription(description);
      if (description.type !== "offer") return;
      await pc.setLocalDescription();
      send({ description: pc.localDescription });
      if (shown) return;
      shown = true;
      for (const stream of Object.values(streams)) {
        for (const track of stream.getTracks()) pc.addTransceiver(track, { direction: "sendonly", streams: [stream] });
      }
    } else if (candidate) await pc.addIceCandidate(candidate).catch(() => {});
    else if (mid && !events) {
      const [event] = Object.entries(streams).find(([, stream]) => stream.id === mid) ?? [];
      if (event) send({ mid, events: { [event]: [{ id: me, name, stream: `[RTCIOStream] ${mid}` }] } });
    }
  };
  window.say[name] = (text) => ctrl.send(JSON.stringify({ e: "chat", d: [{ name, text }] }));
  socket.onmessage = ({ data }) => {
    if (data[0] === "0") socket.send("40");
    else if (data === "2") socket.send("3");
    else if (data.startsWith("40")) {
      me = JSON.parse(data.slice(2)).sid;
      emit("join-room", { roomId: room, name });
    } else if (data.startsWith("42")) {
      const [event, payload] = JSON.parse(data.slice(2));
      if (event === "join-ok") emit("media-state", { roomId: room, mic: Boolean(speaks) || number % 3 === 0, cam: true });
      if (event !== "#rtcio:message" || payload.source !== target) return;
      turn = turn.then(() => receive(payload.source, payload.data));
    }
  };
});

window.arrived = new Set();
window.say = {};
window.startCrowd = (people) => Promise.all(people.map(join));
