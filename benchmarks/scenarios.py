"""What is measured: each scenario drives one fresh server and returns its figures.

A figure counts only if every message has arrived and was, byte for byte, the one expected;
otherwise ``Void`` is raised. The loops do nothing but that: their cost is the load's, on its own
core, but a slow load would change what the server sees. They never sleep while they measure: on a
virtual machine waking another processor costs the one that sends more than the message does, and
no server pays that for a client at the other end of a network.
"""

from __future__ import annotations

import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks import wire
from benchmarks.accounting import cpu_ns, memory_bytes, settle
from benchmarks.clients import Client, Pool, Void

Figures = dict[str, float]
Enough = Callable[[], bool]
PER_SOCKET = 900  # messages one socket sends in a figure: within the burst that Limits grants
LOOK_SECONDS = 0.03  # between looks at what the server has spent
SILENCE = 10.0  # seconds without a single message after which the rest counts as lost
READ = 8192
READ_BURST = 131072
SEND_BUFFER = 425984  # bytes: holds any burst whole


@dataclass(frozen=True)
class Scale:
    """How much of everything.

    ``cpu_seconds`` are the server's, so that a machine that does other things too measures longer
    instead of less.
    """

    first_cpu_seconds: float = 1.0  # before the first figure: compilers watch before they compile
    warm_up_cpu_seconds: float = 0.25
    cpu_seconds: float = 0.4
    relay_sizes: tuple[int, ...] = (300, 4096)
    relay_in_flight: tuple[tuple[int, int], ...] = ((20, 1), (1, 20), (1, 1))
    latency_seconds: float = 0.8
    latency_rates: tuple[int, ...] = (1000, 5000)
    fanout_rooms: tuple[int, ...] = (4, 8, 50)
    connects: int = 500
    disconnects: tuple[int, ...] = (5000, 10000)
    memory: tuple[int, ...] = (2000, 5000)
    idle_seconds: float = 25.0


@dataclass(frozen=True)
class Subject:
    """The server under load: where it listens, its process, whether it is the bare floor."""

    port: int
    pid: int
    bare: bool

    def pool(self) -> Pool:
        return Pool(self.port, bare=self.bare)


# -- relay ----------------------------------------------------------------------------------------


def relay(subject: Subject, scale: Scale) -> Figures:
    """Server CPU per relayed message, by size and by what is in flight (pairs x messages each)."""
    figures = {}
    pool = subject.pool()
    _Court(pool, 100, 300).play(20, 1, _spent(subject, scale.first_cpu_seconds))
    _leave(pool, subject)
    for pairs, window in scale.relay_in_flight:
        for size in scale.relay_sizes:
            court = _Court(pool, 20 if pairs == window == 1 else 100, size)
            play = partial(court.play, pairs, window)
            figures[f"relay-{size}-{pairs}x{window}"] = _cost(subject, scale, play)
            _leave(pool, subject)
    return figures


def _cost(subject: Subject, scale: Scale, play: Callable[[Enough], int]) -> float:
    """Microseconds of server CPU per message, after a warm-up."""
    play(_spent(subject, scale.warm_up_cpu_seconds))
    before = settle(subject.pid)
    messages = play(_spent(subject, scale.cpu_seconds))
    return (settle(subject.pid) - before) / 1000 / messages


def _spent(subject: Subject, seconds: float) -> Enough:
    """Asks whether the server has used so much CPU from now on."""
    until = cpu_ns(subject.pid) + seconds * 1e9
    return lambda: cpu_ns(subject.pid) >= until


class _Court:
    """Pairs that return as many messages as arrive; a pair retires at ``PER_SOCKET`` each."""

    def __init__(self, pool: Pool, pairs: int, size: int) -> None:
        self.pool = pool
        self.waiting = deque(_pairs(pool, pairs, size))
        self.left = {client.fd: PER_SOCKET for pair in self.waiting for client in pair}
        self.links: dict[int, tuple[Callable[[int], bytes], bytes, Callable[..., int], bytes]] = {}
        for one, other in self.waiting:
            for client, partner in ((one, other), (other, one)):
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
                sent, received = _relayed(pool, client, partner, size)
                link = (client.socket.recv, received, client.socket.send, sent)
                self.links[client.fd] = link

    def play(self, pairs: int, window: int, enough: Enough) -> int:
        """So many pairs with so many messages each in flight; returns how many arrived: all."""
        for _ in range(pairs):
            self._serve(window)
        links, left, poll = self.links, self.left, self.pool.epoll.poll
        clock, flying, arrived = time.perf_counter, pairs * window, 0
        read = READ if window == 1 else READ_BURST
        heard = clock()
        look, running = heard + LOOK_SECONDS, True
        while flying:
            events = poll(0)
            now = clock()
            if not events:
                if now > heard + SILENCE:
                    raise Void(f"{flying} messages were lost")
                continue
            heard = now
            if now > look and running:
                look, running = now + LOOK_SECONDS, not enough()
            for fd, _ in events:
                receive, expected, send, frame = links[fd]
                data = receive(read)
                count = 1 if data == expected else _whole(self.pool, fd, data, expected)
                arrived += count
                if running and left[fd] >= count:
                    left[fd] -= count
                    if count == 1:
                        send(frame)
                    elif send(frame * count) < len(frame) * count:
                        raise Void("the load's own buffer is too small")
                    continue
                flying -= count
                if running and count and self.waiting and flying <= (pairs - 1) * window:
                    flying += window
                    self._serve(window)
        return arrived

    def _serve(self, window: int) -> None:
        client = self.waiting.popleft()[0]
        self.left[client.fd] -= window
        _, _, send, frame = self.links[client.fd]
        send(frame * window)


def _pairs(pool: Pool, count: int, size: int) -> list[list[Client]]:
    """Pairs between which messages of that size can go."""
    return pool.open_groups(count, 2, message_bytes=len(_relayed(pool, None, None, size)[0]))


def _relayed(
    pool: Pool, client: Client | None, partner: Client | None, size: int
) -> tuple[bytes, bytes]:
    """What the client sends towards its partner, and what it receives from there."""
    if client is None or partner is None or pool.bare:
        frame = wire.client_frame(wire.envelope("-" * 20, "-" * 20, size))
        return frame, frame
    there = wire.envelope(client.sid, partner.sid, size)
    back = wire.envelope(partner.sid, client.sid, size)
    return wire.client_frame(there), wire.server_frame(back)


def _whole(pool: Pool, fd: int, data: bytes, expected: bytes) -> int:
    """How many of the expected message these bytes complete, and nothing but them and pings."""
    client = pool.clients[fd]
    count, rest = divmod(len(data), len(expected))
    if not rest and count and not client.buffer and data == expected * count:
        return count
    if not pool.bare:
        messages = [wire.server_frame(message) for message in pool.messages(fd, data)]
    else:
        client.buffer += data
        messages = []
        while len(client.buffer) >= len(expected):
            messages.append(bytes(client.buffer[: len(expected)]))
            del client.buffer[: len(expected)]
    for message in messages:
        if message != expected:
            raise Void(f"{message[:120]!r} was not sent")
    return len(messages)


def _leave(pool: Pool, subject: Subject) -> None:
    pool.close(list(pool.clients.values()))
    settle(subject.pid)


# -- latency --------------------------------------------------------------------------------------


def latency(subject: Subject, scale: Scale) -> Figures:
    """Microseconds from when a message was due to when it was read, at a steady rate."""
    figures = {}
    pool = subject.pool()
    for rate in scale.latency_rates:
        pairs = _pairs(pool, 100, 300)
        _paced(pool, pairs, rate, scale.latency_seconds / 4)
        taken = sorted(_paced(pool, pairs, rate, scale.latency_seconds))
        figures[f"latency-{rate}-p50"] = taken[len(taken) // 2] * 1e6
        figures[f"latency-{rate}-p99"] = taken[len(taken) * 99 // 100] * 1e6
        _leave(pool, subject)
    return figures


def _paced(pool: Pool, pairs: list[list[Client]], rate: int, seconds: float) -> list[float]:
    """Sends on time whatever comes back, so that a stalled server cannot slow its own clock."""
    frames, expected, due = [], {}, {}
    for source, target in pairs:
        frames.append((source.socket.send, _relayed(pool, source, target, 300)[0], target.fd))
        expected[target.fd] = _relayed(pool, target, source, 300)[1]
        due[target.fd] = deque[float]()
    total, sent = int(rate * seconds), 0
    taken: list[float] = []
    clock, poll, receivers = time.perf_counter, pool.epoll.poll, pool.clients
    start = heard = clock() + 0.01
    while len(taken) < total:
        now = clock()
        while sent < total and start + sent / rate <= now:
            send, frame, target_fd = frames[sent % len(frames)]
            due[target_fd].append(start + sent / rate)
            sent += 1
            send(frame)
        for fd, _ in poll(0):
            data = receivers[fd].socket.recv(65536)
            count = _whole(pool, fd, data, expected.get(fd, b"-"))
            heard = clock()
            taken += [heard - due[fd].popleft() for _ in range(count)]
        if now - heard > SILENCE:
            raise Void(f"{total - len(taken)} of {total} messages were lost")
    return taken


# -- fan-out --------------------------------------------------------------------------------------

FANOUT_ROOMS_AT_ONCE = 8
SAID = {"text": "x" * 256, "at": 1700000000000}


def fanout(subject: Subject, scale: Scale) -> Figures:
    """Server CPU per recipient of an application's event to a room of each size."""
    figures = {}
    pool = subject.pool()
    for size in scale.fanout_rooms:
        first = pool.groups
        length = len(wire.client_frame(wire.event("say", SAID)))
        rooms = pool.open_groups(FANOUT_ROOMS_AT_ONCE, size, join=True, message_bytes=length)
        figures[f"fanout-{size}"] = _cost(subject, scale, _Talk(pool, rooms, first).hold)
        _leave(pool, subject)
    return figures


class _Talk:
    """In each room the members speak in turn, each when all have heard the one before."""

    def __init__(self, pool: Pool, rooms: list[list[Client]], first: int) -> None:
        self.pool = pool
        self.listeners = len(rooms[0]) - 1
        self.turns: list[Iterator[tuple[Callable[..., int], bytes]]] = []
        self.room = {client.fd: n for n, room in enumerate(rooms) for client in room}
        self.expected = wire.server_frame(wire.event("say", SAID))
        for number, room in enumerate(rooms, first):
            frame = wire.client_frame(wire.event("say", f"room-{number}", SAID))
            self.turns.append(self._turns(room, frame))
        if pool.bare:
            self.expected = wire.client_frame(wire.event("say", SAID))
            self.turns = [self._turns(room, self.expected) for room in rooms]

    @staticmethod
    def _turns(room: list[Client], frame: bytes) -> Iterator[tuple[Callable[..., int], bytes]]:
        for _ in range(PER_SOCKET):
            for client in room:
                yield client.socket.send, frame

    def hold(self, enough: Enough) -> int:
        """Lets the rooms talk; returns how many times a message was received: always by all."""
        outstanding = [0] * len(self.turns)
        expected, poll, room_of, clients = (
            self.expected, self.pool.epoll.poll, self.room, self.pool.clients,
        )  # fmt: skip
        heard, talking = 0, len(self.turns)
        for room in range(talking):
            outstanding[room] = self._speak(room)
        now = last = time.perf_counter()
        look, running = now + LOOK_SECONDS, True
        while talking:
            events = poll(0)
            now = time.perf_counter()
            if not events:
                if now > last + SILENCE:
                    raise Void(f"{sum(outstanding)} messages were lost")
                continue
            last = now
            if now > look and running:
                look, running = now + LOOK_SECONDS, not enough()
            for fd, _ in events:
                data = clients[fd].socket.recv(READ)
                if data != expected and not _whole(self.pool, fd, data, expected):
                    continue
                heard += 1
                room = room_of[fd]
                outstanding[room] -= 1
                if not outstanding[room]:
                    if running:
                        outstanding[room] = self._speak(room)
                    if not outstanding[room]:
                        talking -= 1
        return heard

    def _speak(self, room: int) -> int:
        """How many will hear it; none when all have spoken ``PER_SOCKET`` times."""
        for send, frame in self.turns[room]:
            send(frame)
            return self.listeners
        return 0


# -- connect --------------------------------------------------------------------------------------


def connect(subject: Subject, scale: Scale) -> Figures:
    """Server CPU per connection, up to the Socket.IO CONNECT and on WebSocket at the end."""
    pool = subject.pool()
    pool.open(scale.connects // 2)
    _leave(pool, subject)
    before = settle(subject.pid)
    pool.open(scale.connects)
    direct = settle(subject.pid) - before
    _leave(pool, subject)
    list(pool.open_upgrading(scale.connects // 2))
    _leave(pool, subject)
    before = settle(subject.pid)
    batches = list(pool.open_upgrading(scale.connects))
    upgraded = settle(subject.pid) - before
    _still_there(pool, [client for batch in batches for client in batch])
    return {
        "connect-websocket": direct / 1000 / scale.connects,
        "connect-upgrade": upgraded / 1000 / scale.connects,
    }


def _still_there(pool: Pool, clients: list[Client]) -> None:
    """An upgrade is real if events are acknowledged over the WebSocket."""
    for client in clients:
        client.socket.setblocking(True)
        client.socket.settimeout(SILENCE)
    pool.join(clients, [b"there"] * len(clients))


# -- disconnect -----------------------------------------------------------------------------------


def disconnect(subject: Subject, scale: Scale) -> Figures:
    """Server CPU of so many disconnects from rooms of four, peer-left events included."""
    figures = {}
    pool = subject.pool()
    for count in (scale.disconnects[0] // 5, *scale.disconnects):  # the first warms up
        rooms = pool.open_groups(count // 4, 4, join=True)
        before = settle(subject.pid)
        while rooms[0]:
            _wave(pool, rooms)
        figures[f"disconnect-{count}"] = (settle(subject.pid) - before) / 1e6
    del figures[f"disconnect-{scale.disconnects[0] // 5}"]
    return figures


def _wave(pool: Pool, rooms: list[list[Client]]) -> None:
    """One member of each room leaves; the others must hear of it, and of nothing else."""
    expected: dict[int, bytes] = {}
    leaving = set()
    for room in rooms:
        client = room.pop()
        leaving.add(client.fd)
        peer_left = wire.event("#rtcio:peer-left", {"id": client.sid})
        expected.update((other.fd, peer_left) for other in room)
        client.socket.send(wire.LEAVE)
    while leaving or expected:
        events = pool.epoll.poll(SILENCE)
        if not events:
            raise Void(f"{len(expected)} peer-left events and {len(leaving)} ends did not come")
        for fd, _ in events:
            if fd in leaving:
                if pool.ended(fd):
                    leaving.remove(fd)
                    pool.close([pool.clients[fd]])
                continue
            for message in pool.messages(fd):
                if expected.pop(fd, None) != message:
                    raise Void(f"an unexpected {message[:80]!r}")


# -- idle -----------------------------------------------------------------------------------------


def idle(subject: Subject, scale: Scale) -> Figures:
    """Memory per idle connection at each count, then the CPU of keeping the last count alive.

    Says ``ready`` when all are open and waits for a line, so that several servers can idle at
    once. The CPU is taken over whole ping intervals of the server's own.
    """
    pool = subject.pool()
    pool.open(100)
    pool.serve(0)
    _leave(pool, subject)
    empty = memory_bytes(subject.pid)
    figures: Figures = {}
    for count in scale.memory:
        pool.open(count - len(pool.clients))
        settle(subject.pid)
        figures[f"memory-{count}"] = (memory_bytes(subject.pid) - empty) / 1000 / count
    if not scale.idle_seconds or subject.bare:
        return figures
    _await_go(pool)
    interval = next(iter(pool.clients.values())).interval
    seconds = max(1, round(scale.idle_seconds / interval)) * interval
    pool.pongs = 0
    before, start = cpu_ns(subject.pid), time.monotonic()
    while (left := start + seconds - time.monotonic()) > 0:
        pool.serve(left)
    microseconds = (cpu_ns(subject.pid) - before) / 1000
    if not pool.pongs:
        raise Void(f"no ping in {seconds:.0f} s")
    figures[f"idle-cpu-{len(pool.clients)}"] = microseconds / seconds / 1000
    figures["idle-ping"] = microseconds / pool.pongs
    return figures


def _await_go(pool: Pool) -> None:
    print("ready", flush=True)
    pool.epoll.register(sys.stdin.fileno())
    while True:
        for fd, _ in pool.epoll.poll():
            if fd == sys.stdin.fileno():
                pool.epoll.unregister(fd)
                return
            for message in pool.messages(fd):
                raise Void(f"an unexpected {message[:80]!r}")


SCENARIOS: dict[str, Callable[[Subject, Scale], Figures]] = {
    function.__name__: function
    for function in (relay, latency, fanout, connect, disconnect, idle)
}
