"""A peer in Python: joins a room, sends back what peers say on the data channel, records media.

    python examples/aiortc_bot.py http://localhost:3001 demo [FOLDER]

With FOLDER, each track of each peer is recorded to a file in it. The server has to answer
`join-room`, as `rtcio-sync` and every example here with rooms do.
"""

import asyncio
import itertools
import sys
import time

import socketio
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaBlackhole, MediaRecorder
from aiortc.sdp import candidate_from_sdp

URL, ROOM, *FOLDER = sys.argv[1:] if sys.argv[2:] else ("http://localhost:3001", "demo")
signaling = socketio.AsyncClient()
peers, numbers = {}, itertools.count(1)


class Peer(RTCPeerConnection):
    def __init__(self, sid):
        super().__init__()
        self.sid, self.sinks, self.turn = sid, [], asyncio.Lock()
        self.on("track", self.take)
        self.on("connectionstatechange", self.changed)
        # Both sides create this channel with the same number: neither waits for the other.
        channel = self.createDataChannel("rtcio:ctrl", negotiated=True, id=0)
        channel.on("message", channel.send)

    async def take(self, track):
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{next(numbers)}-{track.kind}.mkv"
        file = FOLDER and f"{FOLDER[0]}/{name}"
        self.sinks.append(MediaRecorder(file) if file else MediaBlackhole())
        self.sinks[-1].addTrack(track)
        await self.sinks[-1].start()

    async def changed(self):
        print(self.sid, "is", self.connectionState, flush=True)
        if self.connectionState in ("failed", "closed"):
            peers.pop(self.sid, None)
            await asyncio.gather(self.close(), *(sink.stop() for sink in self.sinks))

    async def say(self, description):
        await self.setLocalDescription(description)  # with all candidates: aiortc does not trickle
        data = {"description": {"type": description.type, "sdp": self.localDescription.sdp}}
        envelope = {"source": signaling.get_sid(), "target": self.sid, "data": data}
        await signaling.emit("#rtcio:message", envelope)

    async def hear(self, description=None, candidate=None, **metadata):
        async with self.turn:  # a candidate has to wait for the description before it
            if description:
                await self.setRemoteDescription(RTCSessionDescription(**description))
                if description["type"] == "offer":
                    await self.say(await self.createAnswer())
            elif candidate and candidate["candidate"]:
                found = candidate_from_sdp(candidate["candidate"].partition(":")[2])
                found.sdpMid, found.sdpMLineIndex = candidate["sdpMid"], candidate["sdpMLineIndex"]
                await self.addIceCandidate(found)


@signaling.on("connect")
async def join():
    await signaling.emit("join-room", {"roomId": ROOM, "name": "bot"})


@signaling.on("#rtcio:init-offer")
async def offer(newcomer, *_):
    if newcomer["source"] not in peers:
        peer = peers[newcomer["source"]] = Peer(newcomer["source"])
        await peer.say(await peer.createOffer())


@signaling.on("#rtcio:message")
async def message(envelope, *_):
    if envelope["source"] not in peers:
        peers[envelope["source"]] = Peer(envelope["source"])
    await peers[envelope["source"]].hear(**envelope["data"])


async def main():
    await signaling.connect(URL, transports=["websocket"], wait_timeout=10)
    await signaling.wait()


asyncio.run(main())
