"""The smallest useful server, and a page with a client: two tabs see each other.

    python examples/minimal.py

Open http://localhost:3001 in two tabs. The client needs no library; a page of yours can use rtc.io.
"""

from gevent import monkey

monkey.patch_all()

import os

from flask import Flask

from rtcio_sync import RtcioEvents, Server

app = Flask(__name__)
server = Server(app=app)  # pages of this server may connect; cors_allowed_origins= names others


@server.on("connection")
def on_connection(socket):
    @socket.on("join-room")
    def join_room(data):
        socket.join(data["roomId"])
        # Asks the peers in the room to make the newcomer an offer.
        socket.to(data["roomId"]).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>A minimal call</title>
<button autofocus>Join with camera and microphone</button>
<div id="videos"></div>
<script type="module">
const peers = new Map(); // by socket id: {connection, video}
let camera, socket, me, done = Promise.resolve();

const emit = (event, data) => socket.send("42" + JSON.stringify([event, data]));
const tell = (target, data) => emit("#rtcio:message", { source: me, target, data });

function show(stream) {
  const video = Object.assign(document.createElement("video"),
    { srcObject: stream, autoplay: true, playsInline: true, width: 320, muted: stream === camera });
  document.getElementById("videos").append(video);
  return video;
}

function peer(id) {
  if (peers.has(id)) return peers.get(id).connection;
  const connection = new RTCPeerConnection(); // {iceServers: …} for calls between networks
  const known = { connection };
  peers.set(id, known);
  for (const track of camera.getTracks()) connection.addTrack(track, camera);
  connection.ontrack = ({ streams }) => { known.video ??= show(streams[0]); };
  connection.onicecandidate = ({ candidate }) => tell(id, { candidate });
  return connection;
}

async function describe(id) {
  await peer(id).setLocalDescription();
  tell(id, { description: peer(id).localDescription });
}

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

function receive({ data: packet }) { // Engine.IO's packets, and Socket.IO's in them
  if (packet[0] === "0") socket.send("40");
  else if (packet === "2") socket.send("3");
  else if (packet.startsWith("40")) {
    me = JSON.parse(packet.slice(2)).sid;
    emit("join-room", { roomId: "demo" });
  } else if (packet.startsWith("42")) {
    const [event, data] = JSON.parse(packet.slice(2));
    done = done.then(() => handlers[event]?.(data)).catch(console.error); // one after the other
  }
}

document.querySelector("button").onclick = async ({ target }) => {
  target.disabled = true;
  camera = await navigator.mediaDevices.getUserMedia({ video: true, audio: true });
  show(camera);
  const address = new URL("socket.io/?EIO=4&transport=websocket", location);
  address.protocol = address.protocol.replace("http", "ws");
  socket = new WebSocket(address);
  socket.onmessage = receive;
};
</script>
"""


@app.get("/")
def page():
    return PAGE


if __name__ == "__main__":
    # Only this machine can connect; without `host` every machine can.
    server.listen(int(os.environ.get("PORT", 3001)), host="127.0.0.1")
