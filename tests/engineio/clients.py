"""Clients of an engine in this process: they speak Engine.IO, and there is no network between.

`Polling` calls the engine as a WSGI server does, request by request; `WebSocket` has the other end
of a socket pair. All else is as in production: the engine, the inboxes and their greenlets, and
gevent's hub for a WebSocket.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import gevent
import gevent.socket

from rtcio_sync.engineio.heartbeat import Heartbeat
from rtcio_sync.engineio.server import Server
from rtcio_sync.engineio.socket import Socket
from rtcio_sync.transport import websocket
from tests.frames import masked
from tests.timing import Clock, in_time
from tests.wsgi import environ_of, request

SEPARATOR = "\x1e"


class Client:
    """One connection."""

    engine: Server
    eio_sid: str

    @property
    def link(self) -> Any:
        """The server's side of this connection."""
        return self.engine.sockets.get(self.eio_sid)

    def say(self, packet: str) -> None:
        """Sends a packet."""
        raise NotImplementedError


class Polling(Client):
    """A client on polling. ``app``: the WSGI application to call; by default the engine's own."""

    def __init__(
        self,
        engine: Server,
        *,
        app: Any = None,
        path: str = "/engine.io/",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> None:
        self.engine = engine
        self.app = app if app is not None else engine.handle_request
        self.path = path
        self.headers = dict(headers or {})
        self.query = dict(query or {})
        with in_time():
            status, _, body = self._request("GET")
        assert status == 200, body
        self.eio_sid = json.loads(body[1:])["sid"]

    def _request(self, method: str, body: bytes = b"", sid: str = "") -> tuple[int, Any, bytes]:
        query = {**self.query, "sid": sid} if sid else self.query
        return request(
            self.app,
            environ_of(method, query, path=self.path, body=body, headers=self.headers),
        )

    def post(self, *packets: str) -> int:
        """Sends packets in one request; its status."""
        with in_time():
            status = self._request("POST", SEPARATOR.join(packets).encode(), self.eio_sid)[0]
        gevent.sleep(0)  # as between two requests: what it has brought about begins
        return status

    def say(self, packet: str) -> None:
        assert self.post(packet) == 200

    def send(self, *messages: str | bytes) -> None:
        """Sends messages in one request."""
        assert self.post(*map(_polled, messages)) == 200

    def close(self) -> None:
        """Sends Engine.IO's CLOSE, as a page that is closed does."""
        assert self.post("1") == 200

    def poll(self) -> tuple[int, list[str]]:
        """Waits for one answer to a poll: its status, and its packets."""
        with in_time():
            status, _, body = self._request("GET", sid=self.eio_sid)
        return status, body.decode().split(SEPARATOR)

    def more(self) -> list[str]:
        """Waits for packets: text with the type in front, binary messages as ``b`` and base64."""
        status, packets = self.poll()
        assert status == 200, packets
        return packets


def _polled(message: str | bytes) -> str:
    if isinstance(message, bytes):
        return "b" + base64.b64encode(message).decode()
    return f"4{message}"


class WebSocket(Client):
    """A client on a WebSocket, after its handshake; the server's side is driven by the hub.

    ``upgrading``: the polling client whose transport it wants to become.
    """

    def __init__(self, engine: Server, upgrading: Polling | None = None) -> None:
        self.engine = engine
        self.sock, sock = gevent.socket.socketpair()
        if upgrading is None:
            self.eio_sid = engine.generate_id()
            link = engine.sockets[self.eio_sid] = Socket(engine, self.eio_sid)
            environ = environ_of("GET", {"transport": "websocket"})
            engine._trigger_event("connect", self.eio_sid, environ, run_async=False)
        else:
            self.eio_sid, link = upgrading.eio_sid, upgrading.link
        theirs = websocket.WebSocket(
            sock,
            link,
            max_size=engine.max_http_buffer_size,
            max_buffered=engine.limits.max_buffered_bytes,
            backlog=engine.backlog,
        )
        if upgrading is None:
            engine.heartbeat.begin(link)
        link.open_websocket(theirs)

    def send(self, *messages: str | bytes) -> None:
        """Sends messages."""
        for message in messages:
            if isinstance(message, bytes):
                self.sock.sendall(masked(2, message))
            else:
                self.say(f"4{message}")

    def say(self, packet: str) -> None:
        self.sock.sendall(masked(1, packet.encode()))

    def close(self) -> None:
        """Ends TCP without a CLOSE frame, as a process that is killed does."""
        self.sock.close()

    def frame(self) -> tuple[int, bytes]:
        """The next frame's opcode and payload; opcode -1 at the end of TCP."""
        with in_time():
            try:
                first, size = self._exactly(2)
                if size >= 126:
                    size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
                return first & 0x0F, self._exactly(size)
            except EOFError:
                return -1, b""

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def more(self) -> list[str]:
        """Waits for one packet, as `Polling.more` has it."""
        opcode, payload = self.frame()
        assert opcode in (1, 2), (opcode, payload)
        if opcode == 2:
            return ["b" + base64.b64encode(payload).decode()]
        return [payload.decode()]


def ask(
    engine: Server,
    method: str = "GET",
    query: Mapping[str, str] | None = None,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request."""
    with in_time():
        environ = environ_of(method, query or {}, body=body, headers=headers)
        return request(engine.handle_request, environ)


def timed(engine: Server) -> Callable[[float], None]:
    """Has the clock of ``engine`` stand still; gives what lets it go on by so many seconds."""
    clock = Clock()
    engine.heartbeat = Heartbeat(engine, engine.heartbeat.ping, clock.now)

    def forward(seconds: float) -> None:
        clock.advance(seconds)
        engine.heartbeat._beat(clock.now())

    return forward
