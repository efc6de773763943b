"""Clients in this process that lose their connection and come back.

`Phone` has no sockets: whatever it does takes effect at once. `Line` is the client's end of a
WebSocket; a test decides how many bytes of it are read before the connection is lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from socketio import packet

from rtcio_sync import Server
from rtcio_sync.testing import TestClient
from rtcio_sync.transport.driver import frames_of
from tests.clients import WebSocket, still_held
from tests.timing import in_time, settle, until

#: Seconds that a session waits where a test waits for its end.
SHORT = 0.05

#: The same where a client comes back in them, also on a machine with other work to do.
ENOUGH = 2.0


class Phone(TestClient):
    """Does what socket.io-client does when its connection fails and when it reconnects."""

    def __init__(self, server: Server, **options: Any) -> None:
        self.kept: list[tuple[Any, ...]] = []
        super().__init__(server, **options)

    @property
    def pid(self) -> str | None:
        return self._pid

    @property
    def offset(self) -> str | None:
        return self._offset

    def know(self, pid: str | None, offset: str | None = None) -> None:
        """What it sends with its next CONNECT."""
        self._pid, self._offset = pid, offset

    def go_deaf(self) -> None:
        """What the server sends from now on is lost; neither side notices."""
        if self._link is not None:
            self._link.hear = lambda data: None
            self._link.ended = lambda: None

    def lose(self, reason: str = "transport close") -> None:
        """The server notices that the connection is gone."""
        link = self._link
        self.forsake()
        if link is not None:
            link.close(abort=True, reason=reason)

    def forsake(self) -> None:
        """The client notices, the server does not: the connection is half-open."""
        self.go_deaf()
        self._link, self.sid, self._partial = None, None, None

    def leave(self) -> None:
        """Sends DISCONNECT: the client leaves on purpose."""
        self._send(packet.DISCONNECT, None)
        self.sid = None

    def say(self, event: str, *args: Any) -> None:
        """Emits an event, now or after the next connect."""
        if self.connected:
            self.emit(event, *args)
        else:
            self.kept.append((event, *args))

    def relay(self, target: str, data: Any) -> None:
        """Sends an envelope as rtc.io does: without a source while the client has no sid."""
        source = {} if self.sid is None else {"source": self.sid}
        self.say("#rtcio:message", {**source, "target": target, "data": data})

    def come_back(self) -> Phone:
        self.connect()
        kept, self.kept = self.kept, []
        for each in kept:
            self.emit(*each)
        return self

    def heard(self, event: str) -> list[Any]:
        """The first argument of each ``event`` since the last call."""
        return [args[0] for name, args in self.received() if name == event]


class Line(WebSocket):
    """A WebSocket whose client reads only what the test tells it to."""

    def __init__(self, server: Server, auth: Any = None) -> None:
        super().__init__(server)
        self.data = bytearray()
        self.events: list[list[Any]] = []
        self.pid: str | None = None
        # It stays what it is until the next event, whatever becomes of the connection.
        self.offset: str | None = (auth or {}).get("offset")
        self.error: Any = None
        self.ask_to_join(auth=auth)

    def sip(self, size: int) -> None:
        """Reads at most ``size`` of the bytes that have arrived."""
        self.sock.setblocking(False)
        with suppress(BlockingIOError):
            while size and (more := self.sock.recv(size)):
                self.data += more
                size -= len(more)
        self.sock.setblocking(True)
        self._parse()

    def drained(self) -> Line:
        """Reads until the server has hung up."""
        with in_time():
            while more := self.sock.recv(65536):
                self.data += more
        self._parse()
        return self

    def read_until(self, condition: Callable[[], Any]) -> Line:
        with in_time():
            while not condition():
                more = self.sock.recv(65536)
                assert more, "the server hung up"
                self.data += more
                self._parse()
        return self

    def connected(self) -> Line:
        return self.read_until(lambda: self.pid)

    def _parse(self) -> None:
        whole = _whole_frames(self.data)
        for payload, _ in frames_of(bytes(self.data[:whole])):
            if payload[:1] == b"4":
                self._packet(payload.decode())
        del self.data[:whole]

    def _packet(self, text: str) -> None:
        if text.startswith("40"):
            answer = json.loads(text[2:])
            self.sids["/"], self.pid = answer["sid"], answer["pid"]
        elif text.startswith("44"):
            self.error = json.loads(text[2:])
        elif text.startswith("42"):
            *event, self.offset = json.loads(text[2:])
            self.events.append(event)

    def key(self) -> dict[str, Any]:
        """What socket.io-client puts into its next CONNECT."""
        offset = {} if self.offset is None else {"offset": self.offset}
        return {"pid": self.pid, **offset}


def _whole_frames(data: bytearray) -> int:
    """The number of bytes in complete frames."""
    position = 0
    while len(data) - position >= 2:
        size, head = data[position + 1], 2
        if size >= 126:
            extra = 2 if size == 126 else 8
            if len(data) - position < 2 + extra:
                break
            size = int.from_bytes(data[position + 2 : position + 2 + extra], "big")
            head += extra
        if len(data) - position < head + size:
            break
        position += head + size
    return position


def leftovers(server: Server) -> Any:
    """What a server still holds of its clients and sessions; nothing, once all have ended."""
    assert server.recovery is not None
    stats = server.stats()
    counted = ("connected", "away", "rooms", "send_buffer_bytes", "greenlets")
    held = {"sessions": server.recovery._sessions, **{key: stats[key] for key in counted}}
    return still_held(server) | {name: each for name, each in held.items() if each}


def new_server(**options: Any) -> Server:
    own = options.pop("recovery", True)
    return Server(connection_state_recovery=own, **options)


def in_room(server: Server, room: str = "tea", **options: Any) -> Phone:
    phone = Phone(server, **options)
    assert phone.sid is not None
    server.enter_room(phone.sid, room, namespace=phone.namespace)
    return phone


def life(server: Server, namespace: str = "/") -> list[Any]:
    """Fills with what the app hears of each socket, from ``connection`` to the session's end."""
    told: list[Any] = []

    @server.of(namespace).on("connection")
    def connection(socket: Any) -> None:
        told.append(("connection", socket.id, socket.recovered))
        socket.on("disconnecting", lambda reason: told.append(("disconnecting", socket.id)))
        socket.on("disconnect", lambda reason: told.append(("disconnect", socket.id, reason)))
        socket.on_session_end(lambda: told.append(("session end", socket.id)))

    return told


def end_all(server: Server, *phones: Phone) -> None:
    """Disconnects all clients and ends all sessions; the server may hold nothing of them."""
    for phone in phones:
        if phone.connected:
            phone.leave()
    assert server.recovery is not None
    for session in list(server.recovery._sessions.values()):
        server.disconnect(session.member.sid, namespace=session.member.namespace)
    # A connection without a namespace is the engine's own affair.
    for link in list(server.eio.sockets.values()):
        link.close(abort=True)
    settle()
    assert leftovers(server) == {}


def asking(server: Server, line: Line) -> Line:
    """A client that returns to the session of ``line``; its CONNECT waits for its answer."""
    again = Line(server, line.key())
    until(lambda: again.link.inbox is not None)
    return again


def lose_and_return(number: int) -> None:
    """So many clients, four in a room, are lost at once, miss events and come back to them."""
    server = new_server()
    phones = [in_room(server, f"room {each // 4}") for each in range(number)]
    sids = [phone.sid or "" for phone in phones]
    for phone in phones:
        phone.lose()
    assert server.stats()["away"] == number
    for each, sid in enumerate(sids):
        server.emit("mine", each, to=sid)
    for room in range(number // 4):
        server.emit("ours", room, to=f"room {room}")
    for phone in reversed(phones):
        phone.come_back()
    for each, phone in enumerate(phones):
        assert phone.sid == sids[each] and phone.recovered
        missed = [event for event in phone.received() if event[0] != "#rtcio:peer-left"]
        assert missed == [("mine", [each]), ("ours", [each // 4])]
    assert server.stats()["connected"] == number
    end_all(server, *phones)
