"""A storm: thousands of clients come within two seconds, as after a deploy or a Wi-Fi that returns.

Each sends the requests of a browser's socket.io-client: it begins on polling, posts its CONNECT and
polls while the WebSocket opens and probes, upgrades, and joins its room. All do it at once, as fast
as the server lets them. Meanwhile pairs of other clients relay to each other at a steady rate. A
client that is refused or loses its connection makes the figure void, as does a lost relay.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator

from benchmarks import wire
from benchmarks.accounting import settle
from benchmarks.clients import IP_BIND_ADDRESS_NO_PORT, Client, Pool, Void
from benchmarks.subject import BREATH_SECONDS, Scale, Subject, Turns, leave
from benchmarks.traffic import open_pairs, relayed

SECONDS = 2.0  # within which all come
PAIRS = 50  # that relay meanwhile
EVERY = 2_000_000  # nanoseconds between two relays
PATIENCE = 60.0  # seconds in which nothing at all happens
ROOM = 4  # members
STEPS = 8  # of the crowd, until the relays have their turn: some tenths of a millisecond
FIRST_ADDRESS = 100  # the last byte of the clients' first source address
CLIENTS_PER_ADDRESS = 2000  # each needs three ports


def storm(subject: Subject, scale: Scale) -> Turns:
    """Seconds until all of a storm have joined, CPU for each, and the latency of other relays."""
    pool, crowd = subject.pool(), subject.pool()
    pairs = open_pairs(pool, PAIRS, 300)
    Storm(pool, pairs, crowd, scale.storm // 5, subject.breathe).blow()  # warms up
    leave(crowd, subject)
    yield {}
    before = settle(subject.pid)
    weather = Storm(pool, pairs, crowd, scale.storm, subject.breathe)
    seconds = weather.blow()
    cost = settle(subject.pid) - before
    taken = sorted(weather.taken)
    leave(crowd, subject)
    leave(pool, subject)
    yield {
        f"storm-{scale.storm}-joined": seconds,
        f"storm-{scale.storm}-cpu": cost / 1000 / scale.storm,
        f"storm-{scale.storm}-p99": taken[len(taken) * 99 // 100] / 1000,
        f"storm-{scale.storm}-most": taken[-1] / 1000,
    }


class Line:
    """One TCP connection of a client, non-blocking from its first packet on."""

    def __init__(self, port: int, address: str) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        self.socket.bind((address, 0))
        failed = self.socket.connect_ex(("127.0.0.1", port))
        if failed not in (0, errno.EINPROGRESS):
            raise Void(f"a connection was refused: {errno.errorcode[failed]}")
        self.fd = self.socket.fileno()
        self.buffer = bytearray()
        #: Whether the server has closed it.
        self.ended = False
        self._unsent = b""

    def send(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self.socket.send(data)
        except BlockingIOError:  # it is not connected yet
            sent = 0
        self._unsent = data[sent:]

    def proceed(self, events: int) -> None:
        if events & select.EPOLLOUT and self._unsent:
            data, self._unsent = self._unsent, b""
            self.send(data)
        if events & ~select.EPOLLOUT:
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:  # the event was for another socket that had this number
                return
            except ConnectionResetError:
                data = b""
            self.buffer += data
            self.ended = not data

    @property
    def events(self) -> int:
        return select.EPOLLIN | (select.EPOLLOUT if self._unsent else 0)

    def answer(self) -> bytes | None:
        """The body of the next HTTP response, which is 101 or 200; None: it is not all there."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self.buffer[:end])
        if head.startswith(b"HTTP/1.1 101"):
            del self.buffer[: end + 4]
            return b""
        if not head.startswith(b"HTTP/1.1 200"):
            raise Void(f"a request was refused: {bytes(self.buffer)[:500]!r}")
        start, low = end + 4, head.lower()
        if b"transfer-encoding: chunked" in low:
            return self._chunks(start)
        length = int(low.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self.buffer) < start + length:
            return None
        body = bytes(self.buffer[start : start + length])
        del self.buffer[: start + length]
        return body

    def _chunks(self, start: int) -> bytes | None:
        body = b""
        while (end := self.buffer.find(b"\r\n", start)) >= 0:
            length = int(self.buffer[start:end], 16)
            start = end + 2 + length + 2
            if len(self.buffer) < start:
                return None
            if not length:
                del self.buffer[:start]
                return body
            body += self.buffer[end + 2 : start - 2]
        return None

    def message(self) -> bytes | None:
        """The next text message of a WebSocket; None: it is not all there."""
        if self.ended:
            raise Void("the server closed a WebSocket")
        while (frame := wire.take_frame(self.buffer)) is not None:
            if reply := wire.reply(*frame):
                self.send(reply)
            elif frame[0] != wire.FIN | wire.TEXT:
                raise Void(f"a frame that begins with {frame[0]:#x}: {frame[1]!r}")
            elif frame[1] != wire.NOOP:
                return frame[1]
        return None


class Requests:
    """HTTP requests, one at a time, over a connection that lasts as long as the server keeps it."""

    def __init__(self, dial: Callable[[], Line]) -> None:
        self._dial = dial
        self._line = dial()
        self._request = b""
        self._new = True  # the connection has had no request before
        self.open = False  # an answer is still to come

    def ask(self, request: bytes) -> None:
        self._request, self.open = request, True
        if self._line.ended:
            self._line, self._new = self._dial(), True
        self._line.send(request)

    def answer(self) -> bytes | None:
        """The body of the answer; None: it is not all there, or there is no request."""
        body = self._line.answer() if self.open else None
        if body is not None:
            self.open = self._new = False
        elif self.open and self._line.ended:
            if self._new:
                raise Void("the server closed a connection instead of an answer")
            self.ask(self._request)  # it closed one that was idle, just before the request
        return body


class Comer:
    """One client on its way, with up to three connections, as a browser has them."""

    def __init__(self, port: int, address: str, room: str) -> None:
        self._port = port
        self._address = address
        self._room = room
        self.lines: list[Line] = []
        self.way = self._come()

    def _dial(self) -> Line:
        self.lines = [line for line in self.lines if not line.ended]
        self.lines.append(Line(self._port, self._address))
        return self.lines[-1]

    def _come(self) -> Iterator[None]:
        """Takes the next steps that are possible; yields when more has to come first."""
        port = self._port
        polls = Requests(self._dial)
        polls.ask(wire.polling_request(port))
        while (opened := polls.answer()) is None:
            yield
        sid = opened.split(b'"sid":"')[1].split(b'"')[0].decode()
        poll = wire.polling_request(port, sid)
        posts, websocket = Requests(self._dial), self._dial()
        polls.ask(poll)
        posts.ask(wire.polling_request(port, sid, b"40"))
        websocket.send(wire.websocket_request(port, sid))
        pinged = probing = probed = upgraded = connected = False
        while not (upgraded and connected):
            if posts.answer() is not None:
                continue
            if (body := polls.answer()) is not None:
                packets = body.split(wire.SEPARATOR)
                pinged = pinged or b"2" in packets
                connected = connected or any(each.startswith(b"40{") for each in packets)
            elif not probing and websocket.answer() is not None:
                probing = True
                websocket.send(wire.PROBE)
            elif probing and (message := websocket.message()) is not None:
                probed = probed or message == b"3probe"
                connected = connected or message.startswith(b"40{")
            elif pinged and not posts.open:
                pinged = False
                posts.ask(wire.polling_request(port, sid, b"3"))
            elif not (probed or polls.open):  # the client polls until the probe has succeeded
                polls.ask(poll)
            elif probed and not (upgraded or polls.open or posts.open):
                upgraded = True
                websocket.send(wire.UPGRADE)
            else:
                yield
        websocket.send(wire.client_frame(wire.event("join", self._room, acknowledgement=0)))
        while (joined := websocket.message()) is None:
            yield
        if not joined.startswith(b"430["):
            raise Void(f"{joined[:80]!r} instead of an acknowledgement")
        for line in self.lines:
            if line is not websocket:
                line.socket.close()
        self.lines = [websocket]


class Storm:
    """``count`` clients that come into ``crowd`` within `SECONDS`, while ``pairs`` relay.

    The pairs have a pool of their own, and are served after every few steps of the others: what the
    load takes for the crowd must not count as a delay of the relays. ``breathe`` is called now and
    then: it keeps the other servers' clients alive.
    """

    def __init__(
        self,
        pool: Pool,
        pairs: list[list[Client]],
        crowd: Pool,
        count: int,
        breathe: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._crowd = crowd
        self._count = count
        self._breathe = breathe
        self._comers: dict[int, tuple[Comer, Line]] = {}
        self._coming = count
        self._relays = [
            (source.socket.send, relayed(pool, source, target, 300)[0], target.fd)
            for source, target in pairs
        ]
        self._expected = {
            target.fd: relayed(pool, target, source, 300)[1] for source, target in pairs
        }
        self._due = {fd: deque[int]() for fd in self._expected}
        #: Nanoseconds from when each relay was due until it was read.
        self.taken: list[int] = []
        self._heard = self._ended = 0

    def blow(self) -> float:
        """Seconds from the first client's first packet until the last has joined."""
        try:
            return self._blow()
        finally:
            for _, line in self._comers.values():  # if some have not got through
                line.socket.close()

    def _blow(self) -> float:
        first, self._crowd.groups = self._crowd.groups, self._crowd.groups + self._count // ROOM + 1
        begun = now = self._heard = time.perf_counter_ns()
        started = sent = 0
        breath = now + BREATH_SECONDS * 1e9
        while self._coming or len(self.taken) < sent:
            if started < self._count and started * SECONDS / self._count <= (now - begun) / 1e9:
                self._start(started, f"room-{first + started // ROOM}")
                started += 1
            while self._coming and begun + sent * EVERY <= now:
                send, frame, target = self._relays[sent % len(self._relays)]
                self._due[target].append(begun + sent * EVERY)
                send(frame)
                sent += 1
            for fd, _ in self._pool.epoll.poll(0):
                self._heard = time.perf_counter_ns()
                self._read(fd)
            for fd, events in self._crowd.epoll.poll(0, STEPS):
                self._heard = time.perf_counter_ns()
                if fd in self._comers:
                    self._proceed(*self._comers[fd], events)
                elif fd in self._crowd.clients and self._crowd.messages(fd):
                    raise Void("a client that has joined got a message")
            if now > breath:
                self._breathe()
                breath = now + BREATH_SECONDS * 1e9
            now = time.perf_counter_ns()
            if now - self._heard > PATIENCE * 1e9:
                raise Void(f"{self._coming} of {self._count} clients did not get through")
        return (self._ended - begun) / 1e9

    def _start(self, number: int, room: str) -> None:
        address = f"127.0.0.{FIRST_ADDRESS + number // CLIENTS_PER_ADDRESS}"
        self._step(Comer(self._crowd.port, address, room))

    def _step(self, comer: Comer) -> None:
        known = {line.fd for line in comer.lines if not line.ended}
        for _ in comer.way:
            break
        else:
            self._arrived(comer, known)
            return
        for line in comer.lines:
            if not line.ended and line.fd not in self._comers:
                self._comers[line.fd] = comer, line
                self._crowd.epoll.register(line.fd, line.events)

    def _arrived(self, comer: Comer, known: set[int]) -> None:
        """It has joined: its WebSocket is one of the pool's clients now."""
        for fd in known:
            self._comers.pop(fd, None)
        (line,) = comer.lines
        self._crowd.epoll.modify(line.fd, select.EPOLLIN)
        self._crowd.clients[line.fd] = Client(line.socket)
        self._coming -= 1
        self._ended = self._heard

    def _proceed(self, comer: Comer, line: Line, events: int) -> None:
        line.proceed(events)
        if line.ended:
            del self._comers[line.fd]
            line.socket.close()
        self._step(comer)
        if line.fd in self._comers and self._comers[line.fd][1] is line:
            self._crowd.epoll.modify(line.fd, line.events)

    def _read(self, fd: int) -> None:
        for message in self._pool.messages(fd):
            due = self._due.get(fd)
            if not due or wire.server_frame(message) != self._expected[fd]:
                raise Void(f"an unexpected {message[:80]!r}")
            self.taken.append(self._heard - due.popleft())
