"""A client whose session moves between servers at any byte of what it sends."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator
from typing import Any

import gevent
import msgpack
from socketio import packet

from rtcio_sync import Server
from tests.clients import WebSocket
from tests.frames import masked
from tests.moving import pack
from tests.timing import in_time, until

END = "the end"

TEXT, CONTINUATION, BINARY, PING = 1, 0, 2, 9


class Own(packet.Packet):
    """A packet class of the app's own."""


KINDS: dict[str, dict[str, Any]] = {
    "text": {},
    "own json": {"json": json},
    "own packets": {"serializer": Own},
    "msgpack": {"serializer": "msgpack"},
}


def made(kind: str, numbers: Iterator[int]) -> Server:
    """A server of an app that echoes; ``numbers`` for its ids."""
    server = Server(**KINDS[kind])
    server.eio.generate_id = lambda: f"{next(numbers):020}"

    @server.of("/").on("connection")
    def connection(socket: Any) -> None:
        @socket.on("echo")
        def echo(*args: Any) -> Any:
            socket.emit("echoed", *args)
            return args

        @socket.on("count")
        def count() -> int:
            socket.data["n"] = socket.data.get("n", 0) + 1
            return int(socket.data["n"])

    server.of("/calls").on("connection")(lambda socket: socket.on("same")(lambda *args: args))
    return server


def texts(*packets: str | bytes) -> list[bytes]:
    return [
        masked(BINARY, each) if isinstance(each, bytes) else masked(TEXT, f"4{each}".encode())
        for each in packets
    ]


def stream_of(kind: str) -> bytes:
    """All that the client sends."""
    if kind == "msgpack":
        packets = [
            {"type": 0, "nsp": "/"},
            {"type": 0, "nsp": "/calls"},
            {"type": 2, "nsp": "/", "data": ["echo", "ä€😀"], "id": 1},
            {"type": 2, "nsp": "/", "data": ["echo", b"\x00\xff", {"a": [b"1", b""]}], "id": 2},
            *({"type": 2, "nsp": "/", "data": ["count"], "id": number} for number in range(3, 6)),
            {"type": 2, "nsp": "/calls", "data": ["same", 1, None], "id": 0},
            {"type": 2, "nsp": "/", "data": ["echo", END], "id": 6},
        ]
        return b"".join(masked(BINARY, msgpack.packb(each)) for each in packets)
    fragments = '42["echo","in three € pieces"]'.encode()
    frames = texts(
        "0",
        "0/calls,",
        '21["echo","ä€😀"]',
        '52-2["echo",{"_placeholder":true,"num":0},{"a":[{"_placeholder":true,"num":1}]}]',
        b"\x00\xff",
        b"",
    )
    frames += [
        masked(TEXT, fragments[:8], fin=False),
        masked(PING, b"between"),
        masked(CONTINUATION, fragments[8:19], fin=False),
        masked(CONTINUATION, fragments[19:]),
        masked(TEXT, b"3"),  # a PONG that nobody asked for
        *texts('23["count"]', '24["count"]', '25["count"]', '2/calls,0["same",1,null]'),
        *texts(f'26["echo","{END}"]'),
    ]
    return b"".join(frames)


class Mover:
    """A client whose bytes are sent piece by piece, and whose session moves in between."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.numbers = itertools.count()
        self.server = made(kind, self.numbers)
        self.client = WebSocket(self.server)
        self.got = b""

    def send(self, data: bytes) -> None:
        self.client.sock.sendall(data)

    def move(self) -> None:
        self.server, old = made(self.kind, self.numbers), self.server
        gevent.sleep(0)
        packed = pack(old, self.client.eio_sid)
        self.server.departing.adopt(packed.state)
        assert self.server.departing.attach(self.client.eio_sid, packed.fd)

    def read(self, size: int) -> bytes:
        with in_time():
            while len(self.got) < size:
                self.got += self.client.sock.recv(65536)
        return self.got

    def end(self) -> None:
        self.client.close()
        until(lambda: not self.server.eio.sockets)


def unmoved(kind: str) -> bytes:
    """What the client reads if nothing moves."""
    mover = Mover(kind)
    mover.send(stream_of(kind))
    with in_time():
        while mover.got.count(END.encode()) < 2:  # it is emitted, and acknowledged
            mover.got += mover.client.sock.recv(65536)
    mover.end()
    return mover.got


STREAMS = {kind: stream_of(kind) for kind in KINDS}


def sorted_frames(data: bytes) -> list[bytes]:
    """The frames in a stream; the answers to WebSocket PINGs do not wait for handlers."""
    frames, pongs = [], []
    while data:
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        (pongs if data[0] & 15 == 10 else frames).append(data[: start + size])
        data = data[start + size :]
    return [*pongs, *frames]


expected = functools.cache(unmoved)


def check(kind: str, cuts: list[int]) -> None:
    """What the client reads is the same if its session moves at these bytes of its stream."""
    stream, mover = STREAMS[kind], Mover(kind)
    sent = 0
    for cut in sorted(cuts):
        mover.send(stream[sent:cut])
        sent = max(sent, min(cut, len(stream)))
        mover.move()
    mover.send(stream[sent:])
    assert sorted_frames(mover.read(len(expected(kind)))) == sorted_frames(expected(kind))
    mover.end()
