"""Both ends of a connection: what owns it on the server, and the client's end for the test."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
import gevent.socket
from engineio.async_drivers._websocket_wsgi import SimpleWebSocketWSGI
from gevent.hub import get_hub
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.protocol import OPEN

from rtcio_sync.transport.websocket import WebSocket
from tests.frames import masked, upgrade_request
from tests.timing import DEADLINE, settle


class Owner:
    """Remembers what it is told; `on_message` may do something about it, in the hub."""

    def __init__(self) -> None:
        self.connection: WebSocket
        self.messages: list[bytes] = []
        self.binary: list[bool] = []
        self.lost: list[tuple[int | None, bool]] = []
        self.in_hub: set[bool] = set()
        self.on_message: Callable[[bytes], None] = lambda payload: None
        self.on_lost: Callable[[], None] = lambda: None

    def message_received(self, payload: bytes, binary: bool) -> None:
        assert not self.lost, "a message after the end"
        self.in_hub.add(gevent.getcurrent() is get_hub())
        self.messages.append(payload)
        self.binary.append(binary)
        self.on_message(payload)

    def connection_lost(self, code: int | None, error: bool) -> None:
        self.in_hub.add(gevent.getcurrent() is get_hub())
        self.lost.append((code, error))
        self.on_lost()


class Peer:
    """The client's end: sends bytes, and reads frames as the `websockets` library does."""

    def __init__(self, sock: Any) -> None:
        sock.settimeout(DEADLINE)
        self.sock = sock
        self._protocol = ClientProtocol(_uri(), state=OPEN, max_size=None)
        self._frames: list[Frame] = []

    def send(self, *frames: bytes) -> None:
        self.sock.sendall(b"".join(frames))

    def frame(self) -> tuple[int, bytes]:
        """The next frame; (0, b"") when TCP has ended in order, (-1, b"") when it was reset."""
        while not self._frames:
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                return -1, b""
            if not data:
                return 0, b""
            self._protocol.receive_data(data)
            assert self._protocol.parser_exc is None, self._protocol.parser_exc
            self._frames += self._protocol.events_received()
        frame = self._frames.pop(0)
        return int(frame.opcode), bytes(frame.data)

    def frames(self) -> list[tuple[int, bytes]]:
        """All that comes until TCP ends."""
        found = []
        while (frame := self.frame())[0] > 0:
            found.append(frame)
        return [*found, frame]

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Driven(Peer):
    """The client's end of a WebSocket that a driver of python-engineio serves in a thread.

    ``ride``: gets the driver's object, as under Werkzeug's threads; it sets `ready` once it has
    what it needs.
    """

    def __init__(self, ride: Callable[[Any], list[bytes]]) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(ours)
        self.ready = threading.Event()
        lines = upgrade_request().decode().split("\r\n")[1:]
        headers = dict(line.split(": ", 1) for line in lines if line)
        environ = {f"HTTP_{key.upper().replace('-', '_')}": each for key, each in headers.items()}
        environ |= {"werkzeug.socket": theirs}  # type: ignore[dict-item]
        self.thread = threading.Thread(target=self._serve, args=(ride, environ), daemon=True)
        self.thread.start()
        response = b""
        while not response.endswith(b"\r\n\r\n"):
            response += self.sock.recv(1)
        assert response.startswith(b"HTTP/1.1 101 ")
        assert self.ready.wait(DEADLINE)

    def _serve(self, ride: Callable[[Any], list[bytes]], environ: dict[str, Any]) -> None:
        with suppress(ConnectionError):  # how the driver tells Werkzeug that it is over
            SimpleWebSocketWSGI(ride, None)(environ, lambda *response: None)

    def say(self, text: str) -> None:
        """Sends a message."""
        self.send(masked(1, text.encode()))


def _uri() -> Any:
    from websockets.uri import parse_uri

    return parse_uri("ws://127.0.0.1/")


def tcp() -> tuple[socket.socket, Any]:
    """Both ends of a TCP connection: a bare socket, and one of gevent's for the test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = gevent.socket.create_connection(listener.getsockname())
        ours = listener.accept()[0]
    return ours, theirs


def narrow() -> tuple[socket.socket, Any]:
    """The same of a connection that holds a few kilobytes on the way, without TCP's timers."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    family, kind = theirs.family, theirs.type
    return ours, gevent.socket.socket(family, kind, 0, fileno=theirs.detach())


def handshaken(contexts: tuple[Any, Any], *, small: bool = False) -> tuple[Any, Any]:
    """Both ends of a TLS connection."""
    bare, theirs = narrow() if small else tcp()
    ours = gevent.socket.socket(bare.family, bare.type, bare.proto, fileno=bare.detach())
    accepting = gevent.spawn(contexts[0].wrap_socket, ours, server_side=True)
    client = contexts[1].wrap_socket(theirs, server_hostname="localhost")
    return accepting.get(timeout=DEADLINE), client


def arrived(peer: Any) -> bytes:
    """What has come, and only that."""
    settle()
    peer.setblocking(False)
    try:
        return bytes(peer.recv(4096))
    except BlockingIOError:
        return b""
    finally:
        peer.setblocking(True)
