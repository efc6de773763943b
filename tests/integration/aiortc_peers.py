"""Peers on a real WebRTC stack, aiortc: the rtc.io protocol as another program would write it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

import socketio
from aiortc import MediaStreamTrack, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

from tests.timing import DEADLINE

T = TypeVar("T")


class Background:
    """An event loop in a thread of its own, for tests that are plain functions."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float = 3 * DEADLINE) -> T:
        async def bounded() -> T:
            return await asyncio.wait_for(coroutine, timeout)

        return asyncio.run_coroutine_threadsafe(bounded(), self._loop).result()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Peer:
    """One signaling connection, and a WebRTC connection to each other peer of its room."""

    def __init__(self, name: str, *tracks: MediaStreamTrack) -> None:
        self.name = name
        self.connections: dict[str, RTCPeerConnection] = {}
        self.left: list[str] = []
        #: The candidates that came one by one, by the sid of their sender.
        self.candidates: Counter[str] = Counter()
        self._tracks = tracks
        self._channels: dict[str, RTCDataChannel] = {}
        self._heard: dict[str, asyncio.Queue[Any]] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._signaling = socketio.AsyncClient(reconnection=False)
        self._joined = asyncio.Event()
        for event, handler in {
            "join-ok": self._on_join,
            "#rtcio:init-offer": self._on_init_offer,
            "#rtcio:message": self._on_message,
            "#rtcio:peer-left": self._on_peer_left,
        }.items():
            self._signaling.on(event, handler)

    @property
    def sid(self) -> str:
        return str(self._signaling.get_sid())

    async def join(self, url: str, room: str, transports: list[str] | None = None) -> None:
        await self._signaling.connect(url, transports=transports, wait_timeout=DEADLINE)
        await self._signaling.emit("join-room", {"roomId": room, "name": self.name})
        await asyncio.wait_for(self._joined.wait(), DEADLINE)

    async def leave(self) -> None:
        await self._signaling.disconnect()
        for connection in self.connections.values():
            await connection.close()

    async def hear(self, sid: str) -> list[Any]:
        """The next event on the data channel with `sid`: its name and its arguments."""
        queue = self._heard.setdefault(sid, asyncio.Queue())
        message = await asyncio.wait_for(queue.get(), DEADLINE)
        return [message["e"], *message["d"]]

    async def open(self, sid: str) -> RTCDataChannel:
        """The data channel with `sid`, once it is open."""
        end = asyncio.get_running_loop().time() + DEADLINE
        while sid not in self._channels or self._channels[sid].readyState != "open":
            assert asyncio.get_running_loop().time() < end, f"{self.name} has no channel with {sid}"
            await asyncio.sleep(0.02)
        return self._channels[sid]

    async def say(self, sid: str, event: str, *args: Any) -> None:
        (await self.open(sid)).send(json.dumps({"e": event, "d": args}))

    # -- the protocol ------------------------------------------------------------------------------

    # A server with recovery on puts an offset behind the arguments, and rtc.io's options before it.

    async def _on_join(self, data: dict[str, str], *_: Any) -> None:
        self._joined.set()

    async def _on_peer_left(self, data: dict[str, str], *_: Any) -> None:
        self.left.append(data["id"])

    async def _on_init_offer(self, data: dict[str, str], *_: Any) -> None:
        connection = self._connection(data["source"])
        await self._describe(data["source"], await connection.createOffer())

    async def _on_message(self, envelope: dict[str, Any], *_: Any) -> None:
        assert envelope["target"] == self.sid
        source, data = envelope["source"], envelope["data"]
        connection = self._connection(source)
        async with self._turns.setdefault(source, asyncio.Lock()):
            if "description" in data:
                description = RTCSessionDescription(
                    sdp=data["description"]["sdp"], type=data["description"]["type"]
                )
                await connection.setRemoteDescription(description)
                if description.type == "offer":
                    await self._describe(source, await connection.createAnswer())
            elif data.get("candidate") and data["candidate"]["candidate"]:
                candidate = candidate_from_sdp(data["candidate"]["candidate"].partition(":")[2])
                self.candidates[source] += 1
                candidate.sdpMid = data["candidate"]["sdpMid"]
                candidate.sdpMLineIndex = data["candidate"]["sdpMLineIndex"]
                await connection.addIceCandidate(candidate)

    async def _describe(self, target: str, description: RTCSessionDescription) -> None:
        connection = self.connections[target]
        await connection.setLocalDescription(description)
        local = connection.localDescription
        data = {"description": {"type": local.type, "sdp": local.sdp}}
        await self._signaling.emit(
            "#rtcio:message", {"source": self.sid, "target": target, "data": data}
        )

    def _connection(self, sid: str) -> RTCPeerConnection:
        if sid not in self.connections:
            connection = self.connections[sid] = RTCPeerConnection()
            for track in self._tracks:
                connection.addTrack(track)
            channel = connection.createDataChannel("rtcio:ctrl", negotiated=True, id=0)
            queue = self._heard.setdefault(sid, asyncio.Queue())
            channel.on("message", lambda text: queue.put_nowait(json.loads(text)))
            self._channels[sid] = channel
        return self.connections[sid]
