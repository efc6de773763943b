"""A page to try the other examples in a browser: it logs in, connects, sends events, makes calls.

    from try_it import page

`app.get("/")(page())` adds it to a Flask app. `server.listen(3001, app=app(namespace="/calls"))`
serves it beside a server without one. The client needs no library.
"""

import json

from flask import Flask


def page(requests="", namespace="/", auth=None, event="join-room", data=None):
    """A view. The arguments are what its fields show first; each line of `requests` is one."""
    fields = {
        "requests": requests,
        "namespace": namespace,
        "auth": json.dumps(auth or {}),
        "event": event,
        "data": json.dumps({"roomId": "demo"} if data is None else data),
    }
    text = PAGE.replace("FIELDS", json.dumps(fields).replace("<", "\\u003c"))
    return lambda: text


def app(**fields):
    made = Flask(__name__)
    made.get("/")(page(**fields))
    return made


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Try this example</title>
<meta name="viewport" content="width=device-width">
<style>
body { font: 16px/1.5 system-ui; max-width: 40rem; margin: 1rem auto; padding: 0 1rem }
label { display: grid; grid-template-columns: 7rem 1fr; margin: .3rem 0 }
input, textarea { font: 14px monospace } video { width: 12rem } pre { white-space: pre-wrap }
</style>
<h1>Try this example</h1>
<p>Open this page in two tabs and press the buttons from top to bottom in both.</p>
<form id="ask"><label>Requests <textarea name="requests" rows="2"></textarea></label>
<button>Send requests</button></form>
<form id="connect"><label>Namespace <input name="namespace"></label>
<label>auth (JSON) <input name="auth"></label>
<button value="camera">Connect with camera</button> <button>Connect without camera</button></form>
<form id="send"><label>Event <input name="event"></label>
<label>Data (JSON) <input name="data"></label>
<button>Send event</button></form>
<div id="videos"></div>
<pre id="log" role="log"></pre>
<script type="module">
const find = (id) => document.getElementById(id);
const fields = FIELDS;
for (const name in fields) document.querySelector(`[name=${name}]`).value = fields[name];
find("ask").hidden = !fields.requests;
const log = (...words) => find("log").append(words.join(" ") + "\\n");
const peers = new Map(); // by socket id: {connection, video}
let camera, socket, space, auth, me, number = 0, done = Promise.resolve();

// A line: method, path, and the fields of a form. A token in the answer goes into auth.
find("ask").onsubmit = async (event) => {
  event.preventDefault();
  for (const line of event.target.requests.value.trim().split("\\n")) {
    const [method, path, ...fields] = line.split(" ");
    const body = fields.length ? new URLSearchParams(fields.join("&")) : undefined;
    const answer = await fetch(path, { method, body });
    const text = await answer.text();
    log(line, "→", answer.status, text);
    const { token } = text.startsWith("{") ? JSON.parse(text) : {};
    if (token) find("connect").auth.value = JSON.stringify({ token });
  }
};

find("connect").onsubmit = async (event) => {
  event.preventDefault();
  space = event.target.namespace.value === "/" ? "" : `${event.target.namespace.value},`;
  auth = event.target.auth.value;
  if (event.submitter.value && !camera) {
    camera = await navigator.mediaDevices.getUserMedia({ video: true, audio: true });
    show(camera);
  }
  socket?.close();
  const address = new URL("socket.io/?EIO=4&transport=websocket", location);
  address.protocol = address.protocol.replace("http", "ws");
  socket = new WebSocket(address);
  socket.onmessage = ({ data }) => receive(data);
  socket.onclose = ({ code }) => log("the connection is closed:", code);
};

find("send").onsubmit = (event) => {
  event.preventDefault();
  emit(`${++number}`, event.target.event.value, JSON.parse(event.target.data.value));
};

function emit(id, name, data) {
  if (id) log("sent", name, JSON.stringify(data));
  socket.send(`42${space}${id}${JSON.stringify([name, data])}`);
}

function receive(packet) { // Engine.IO's packets, and Socket.IO's in them
  if (packet[0] === "0") return socket.send(`40${space}${auth}`);
  if (packet === "2") return socket.send("3");
  const [, kind, json] = packet.match(/^4(.)(?:[/][^,]*,?)?[0-9]*(.*)$/s);
  const content = json ? JSON.parse(json) : {};
  if (kind === "0") log("connected as", me = content.sid);
  if (kind === "1") log("the server disconnected this socket");
  if (kind === "3") log("answer", JSON.stringify(content));
  if (kind === "4") log("refused", json);
  if (kind !== "2") return;
  const [name, data] = content;
  if (name !== "#rtcio:message") log("got", name, JSON.stringify(data));
  done = done.then(() => handlers[name]?.(data)).catch(log); // one after the other
}

const tell = (target, data) => emit("", "#rtcio:message", { source: me, target, data });

const handlers = {
  "#rtcio:init-offer": ({ source }) => describe(source),
  "#rtcio:message": async ({ source, data: { description, candidate } }) => {
    if (description) await peer(source).setRemoteDescription(description);
    if (description?.type === "offer") await describe(source);
    if (candidate) await peer(source).addIceCandidate(candidate);
  },
  "#rtcio:peer-left": ({ id }) => {
    peers.get(id)?.connection.close();
    peers.get(id)?.video?.remove();
    peers.delete(id);
  },
};

async function describe(id) {
  await peer(id).setLocalDescription();
  tell(id, { description: peer(id).localDescription });
}

function peer(id) {
  if (peers.has(id)) return peers.get(id).connection;
  const connection = new RTCPeerConnection(); // {iceServers: …} for calls between networks
  const known = { connection };
  peers.set(id, known);
  connection.createDataChannel("hello", { negotiated: true, id: 0 }); // for calls without a camera
  for (const track of camera?.getTracks() ?? []) connection.addTrack(track, camera);
  connection.ontrack = ({ streams }) => { known.video ??= show(streams[0]); };
  connection.onicecandidate = ({ candidate }) => tell(id, { candidate });
  connection.onconnectionstatechange = () => log("call with", id, "is", connection.connectionState);
  return connection;
}

function show(stream) {
  const video = Object.assign(document.createElement("video"),
    { srcObject: stream, autoplay: true, playsInline: true, muted: stream === camera });
  find("videos").append(video);
  return video;
}
</script>
"""
