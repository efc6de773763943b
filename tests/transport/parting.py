"""A WebSocket whose bytes are cut anywhere, and that goes on in another process there."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import gevent
import msgspec

from rtcio_sync.protocol.websocket_frames import (
    BINARY,
    CONTINUATION,
    PING,
    TEXT,
    frame_pong,
    frame_text,
)
from rtcio_sync.transport.ports import Carried
from rtcio_sync.transport.slow_readers import Backlog
from rtcio_sync.transport.websocket import WebSocket
from tests.frames import masked
from tests.timing import until
from tests.transport.peers import Owner

LIMIT = 1 << 20


class Narrow:
    """A socket whose kernel takes only so many bytes, until it is opened again."""

    def __init__(self, sock: socket.socket, room: int) -> None:
        self._sock = sock
        self.room = room

    def send(self, data: Any) -> int:
        taken = min(len(data), self.room)
        if not taken:
            raise BlockingIOError
        self.room -= taken
        return self._sock.send(bytes(data[:taken]))

    def __getattr__(self, name: str) -> Any:
        if name == "pending":  # it would mean TLS
            raise AttributeError
        return getattr(self._sock, name)


class Server:
    """One process: it echoes what its WebSockets get."""

    def __init__(self) -> None:
        self.owner = Owner()
        self.backlog = Backlog(None, now=lambda: 0.0, later=lambda seconds, do, *args: None)

    def open(self, sock: Any, carried: Carried | None = None) -> WebSocket:
        made = self.owner.connection = WebSocket(
            sock, self.owner, max_size=LIMIT, max_buffered=None, backlog=self.backlog
        )
        self.owner.on_message = lambda payload: made.send(frame_text(payload))
        if carried is not None:
            made.restore(carried)
        made.start()
        return made


def sent_on(carried: Carried) -> Carried:
    """As another process gets it."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(carried), type=Carried)


MESSAGES = [
    masked(TEXT, b"one"),
    masked(TEXT, "ä€😀".encode()),
    masked(TEXT, "half of € ".encode()[:9], fin=False),
    masked(PING, b"between"),
    masked(CONTINUATION, "half of € ".encode()[9:]),
    masked(TEXT, b"x" * 126),
    masked(BINARY, bytes(range(256)) * 3),
    masked(PING, b""),
    masked(TEXT, b"last"),
]
STREAM = b"".join(MESSAGES)


def echoes() -> bytes:
    texts = [b"one", "ä€😀".encode(), "half of € ".encode(), b"x" * 126]
    found = [frame_text(each) for each in texts]
    found.insert(2, frame_pong(b"between"))
    found.append(frame_text(bytes(range(256)) * 3))
    found += [frame_pong(b""), frame_text(b"last")]
    return b"".join(found)


def settled(made: WebSocket, sock: Any) -> None:
    """Waits until the server has read all that was sent."""
    gevent.sleep(0)
    try:
        until(lambda: not _readable(sock))
    finally:
        gevent.sleep(0)


def _readable(sock: Any) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def run(cuts: list[tuple[int, int]]) -> bytes:
    """What the client reads if its session moves after so many bytes of each direction."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    sent = 0
    narrow = Narrow(theirs, cuts[0][1] if cuts else LIMIT)
    server = Server()
    made = server.open(narrow)
    for number, (size, _) in enumerate(cuts):
        piece = STREAM[sent : sent + size]
        sent += len(piece)
        ours.sendall(piece)
        settled(made, theirs)
        made.pause()
        parted = made.part()
        assert parted is not None and made.closed
        assert server.backlog.holdings.cost == 0
        narrow.room = cuts[number + 1][1] if number + 1 < len(cuts) else LIMIT
        server = Server()
        made = server.open(parted[0], sent_on(parted[1]))
    ours.sendall(STREAM[sent:])
    got = bytearray()

    def complete() -> bool:
        with contextlib.suppress(BlockingIOError):
            got.extend(ours.recv(65536))
        return frame_text(b"last") in got

    until(complete)
    made.abort()
    ours.close()
    return bytes(got)


def without(data: bytes, *frames: bytes) -> list[bytes]:
    """The frames of a server's stream, but for these."""
    found = []
    while data:
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        frame, data = data[: start + size], data[start + size :]
        if frame not in frames:
            found.append(frame)
    return found
