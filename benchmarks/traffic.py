"""The loops of the load: they send messages, receive them and check each.

Every message has to be, byte for byte, the expected one; none may be missing and none may come
twice. Otherwise `Void` is raised. The loops do nothing else: their cost is the load's, on its own
core, but a slow load would change the server's work. They never sleep during a measurement: on a
virtual machine, waking another core costs the sender more than the message, and a server does not
pay this for a client at the other end of a network.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, cycle, repeat

from benchmarks import wire
from benchmarks.clients import Client, Pool, Void

Enough = Callable[[], bool]
PER_SOCKET = 900  # messages one socket sends in a figure: within the burst that Limits grants
LOOK_SECONDS = 0.03  # between looks at what the server has spent
SILENCE = 10.0  # seconds without a single message after which the rest counts as lost
READ = 8192
READ_BURST = 131072
SEND_BUFFER = 425984  # bytes: holds any burst whole
SAID = {"text": "x" * 256, "at": 1700000000000}


class Court:
    """Pairs that answer each message with one; a pair stops after ``PER_SOCKET`` each."""

    def __init__(self, pool: Pool, pairs: list[list[Client]], size: int) -> None:
        self.pool = pool
        self.waiting = deque(pairs)
        self.left = {client.fd: PER_SOCKET for pair in self.waiting for client in pair}
        self.links: dict[int, tuple[Callable[[int], bytes], bytes, Callable[..., int], bytes]] = {}
        for one, other in self.waiting:
            for client, partner in ((one, other), (other, one)):
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
                sent, received = relayed(pool, client, partner, size)
                link = (client.socket.recv, received, client.socket.send, sent)
                self.links[client.fd] = link

    def play(self, pairs: int, window: int, enough: Enough) -> int:
        """Runs pairs with messages in flight; returns how many arrived, which is all."""
        playing = [self._serve(window) for _ in range(pairs)]
        links, left, poll = self.links, self.left, self.pool.epoll.poll
        clock, flying, arrived = time.perf_counter, pairs * window, 0
        read = READ if window == 1 else READ_BURST
        heard = clock()
        look, running = heard + LOOK_SECONDS, True
        while flying > 0:
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
                    playing.append(self._serve(window))
        if flying < 0:
            raise Void("more came than was sent")
        self.waiting.extend(pair for pair in playing if left[pair[0].fd] >= 2 * window)
        return arrived

    def _serve(self, window: int) -> list[Client]:
        if not self.waiting:
            raise Void("the pairs have sent all they may: more of them are needed")
        pair = self.waiting.popleft()
        self.left[pair[0].fd] -= window
        _, _, send, frame = self.links[pair[0].fd]
        send(frame * window)
        return pair


def open_pairs(pool: Pool, count: int, size: int) -> list[list[Client]]:
    """Opens pairs of clients for messages of this size."""
    return pool.open_groups(count, 2, message_bytes=len(relayed(pool, None, None, size)[0]))


def relayed(
    pool: Pool, client: Client | None, partner: Client | None, size: int
) -> tuple[bytes, bytes]:
    """The frames that the client sends to its partner and receives from it."""
    if client is None or partner is None or pool.bare:
        frame = wire.client_frame(wire.envelope("-" * 20, "-" * 20, size))
        return frame, frame
    there = wire.envelope(client.sid, partner.sid, size)
    back = wire.envelope(partner.sid, client.sid, size)
    return wire.client_frame(there), wire.server_frame(back)


def _whole(pool: Pool, fd: int, data: bytes, expected: bytes) -> int:
    """The number of expected messages in these bytes, which may hold only these and pings."""
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


def paced(pool: Pool, pairs: list[list[Client]], rate: int, seconds: float) -> list[float]:
    """Sends at fixed times, whatever comes back, so that a stalled server does not slow it."""
    frames, expected, due = [], {}, {}
    for source, target in pairs:
        frames.append((source.socket.send, relayed(pool, source, target, 300)[0], target.fd))
        expected[target.fd] = relayed(pool, target, source, 300)[1]
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
            if count > len(due.get(fd, ())):
                raise Void("more came than was sent")
            taken += [heard - due[fd].popleft() for _ in range(count)]
        if now - heard > SILENCE:
            raise Void(f"{total - len(taken)} of {total} messages were lost")
    return taken


class Talk:
    """In each room the members speak in turn, each when all have received the event before."""

    def __init__(self, pool: Pool, rooms: list[list[Client]], first: int) -> None:
        self.pool = pool
        self.listeners = len(rooms[0]) - 1
        self.turns: list[Iterator[tuple[Callable[..., int], bytes]]] = []
        self.room = {client.fd: n for n, room in enumerate(rooms) for client in room}
        self.expected = wire.server_frame(wire.event("say", SAID))
        for number, room in enumerate(rooms, first):
            frame = wire.client_frame(wire.event("say", f"room-{number}", SAID))
            says = [(client.socket.send, frame) for client in room]
            self.turns.append(chain.from_iterable(repeat(says, PER_SOCKET)))
        if pool.bare:  # it knows no limits either
            self.expected = frame = wire.client_frame(wire.event("say", SAID))
            self.turns = [cycle([(c.socket.send, frame) for c in room]) for room in rooms]

    def hold(self, enough: Enough) -> int:
        """Lets the rooms talk; returns the number of messages received, each by all."""
        outstanding = [0] * len(self.turns)
        expected, poll, room_of, clients = (
            self.expected, self.pool.epoll.poll, self.room, self.pool.clients,
        )  # fmt: skip
        heard, talking = 0, len(self.turns)
        for room in range(talking):
            outstanding[room] = self._speak(room)
        if not all(outstanding):
            raise Void("the rooms have said all they may: more of them are needed")
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
                elif outstanding[room] < 0:
                    raise Void("more came than was sent")
        return heard

    def _speak(self, room: int) -> int:
        """The number of recipients; 0 when all have spoken ``PER_SOCKET`` times."""
        for send, frame in self.turns[room]:
            send(frame)
            return self.listeners
        return 0


def wave(pool: Pool, rooms: list[list[Client]]) -> None:
    """One member of each room leaves; the others have to hear of it, and of nothing else."""
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
