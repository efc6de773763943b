"""The scenarios of several workers that are one server: relays, polling, and a worker's death."""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from functools import partial
from operator import ge

from benchmarks import wire
from benchmarks.accounting import memory_bytes, settle
from benchmarks.clients import BATCH, PATIENCE, Client, Pool, Void
from benchmarks.subject import Scale, Subject, Turns, costs, leave
from benchmarks.traffic import SILENCE, Court, Enough

PAIRS = 60  # of a figure
BATCHES = 400  # of new clients, until each worker has enough
IN_FLIGHT = (20, 1)  # pairs, and messages of each
POLLERS = 40
ROOMS = 10


def workers(subject: Subject, scale: Scale) -> Turns:
    """Server CPU per message that goes from a client of one worker to a client of another."""
    settle(subject.pid)
    memory = memory_bytes(subject.pid) / 1e6 / subject.workers
    yield {f"workers-memory-{subject.workers}": memory}
    yield from _between(subject, scale, "workers", scale.relay_sizes)


def redis(subject: Subject, scale: Scale) -> Turns:
    """The same over Redis, whose CPU counts."""
    yield from _between(subject, scale, "redis", scale.relay_sizes[:1])


def _between(subject: Subject, scale: Scale, name: str, sizes: tuple[int, ...]) -> Turns:
    """Pairs relay whose clients are at two workers; at each other one there is one client."""
    playing, looking = subject.pool(), subject.pool()
    for size in sizes:
        counts = (PAIRS, PAIRS, *[1] * (subject.workers - 2))
        first, second, *others = _everywhere(playing, subject, counts)
        alone = [client for some in others for client in some]
        playing.release(alone)
        looking.adopt(alone)
        pairs = [list(pair) for pair in zip(first, second, strict=True)]
        play = partial(_play, Court(playing, pairs, size), looking)
        yield from costs(f"{name}-{size}-{subject.workers}", subject, scale, playing, play)
        leave(playing, subject)
        leave(looking, subject)


def _play(court: Court, looking: Pool, enough: Enough) -> int:
    """Meanwhile the pings of those that look on are answered."""

    def over() -> bool:
        looking.serve(0)
        return enough()

    return court.play(*IN_FLIGHT, over)


def _everywhere(pool: Pool, subject: Subject, counts: tuple[int, ...]) -> list[list[Client]]:
    """Opens clients until there are so many of each worker.

    Which worker gets a connection is the kernel's affair; clients that are too many leave.
    """
    found: dict[int, list[Client]] = {}
    ranked: list[list[Client]] = []
    for _ in range(BATCHES):
        clients = pool.open_websockets([wire.CONNECT] * BATCH)
        for client, pid in zip(clients, pool.where(clients), strict=True):
            found.setdefault(pid, []).append(client)
        pool.adopt(clients)
        ranked = sorted(found.values(), key=len, reverse=True)
        lengths = [len(some) for some in ranked]
        enough = len(lengths) == len(counts) and all(map(ge, lengths, counts))
        bounds = counts if enough else [max(counts)] * len(ranked)
        for some, most in zip(ranked, bounds, strict=True):
            pool.close(some[most:])
            del some[most:]
        if enough:
            settle(subject.pid)
            pool.serve(0)
            return ranked
        pool.serve(0)
        subject.breathe()
    raise Void(f"clients of each worker: {lengths}")


def handover(subject: Subject, scale: Scale) -> Turns:
    """Server CPU of a polling request on a connection of its own.

    Each client sends a relay to the next in a POST, and that one polls for it. A worker passes a
    connection on to the one with the session.
    """
    pool = subject.pool()
    for _ in range(scale.turns):
        yield {}
        settle(subject.pid)
        clients = [Poller(pool) for _ in range(POLLERS)]
        _relay_in_a_ring(clients, scale.polls)
        before = settle(subject.pid)
        requests = _relay_in_a_ring(clients, scale.polls)
        cost = settle(subject.pid) - before
        for client in clients:  # while it waits for its turn, nobody would poll
            client.post(wire.CLOSE_PACKET)
        yield {f"handover-{subject.workers}": cost / 1000 / requests}


class Poller:
    """A client on polling, with a new connection for each request."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._eio_sid: str | None = None
        self._waiting: list[bytes] = []
        self.requests = 0
        self._eio_sid = str(json.loads(self.take()[1:])["sid"])
        self.post(wire.CONNECT_PACKET)
        self.sid = str(json.loads(self.take()[2:])["sid"])

    def post(self, packet: bytes) -> None:
        self._request(packet)

    def take(self) -> bytes:
        """The next packet, pings apart."""
        while not self._waiting:
            for packet in self._request(None).split(wire.SEPARATOR):
                if packet == b"2":
                    self.post(b"3")
                else:
                    self._waiting.append(packet)
        return self._waiting.pop(0)

    def _request(self, body: bytes | None) -> bytes:
        client = self._pool.dial()
        client.socket.sendall(wire.polling_request(self._pool.port, self._eio_sid, body))
        _, answer = client.response()
        client.socket.close()
        self.requests += 1
        return answer


def _relay_in_a_ring(clients: list[Poller], most: int) -> int:
    """Goes on until there were so many requests; returns how many there were."""
    before = sum(client.requests for client in clients)
    while (done := sum(client.requests for client in clients) - before) < most:
        for client, target in zip(clients, [*clients[1:], clients[0]], strict=True):
            message = wire.envelope(client.sid, target.sid, 300)
            client.post(message)
            if (got := target.take()) != message:
                raise Void(f"{got[:80]!r} was not sent")
    return done


def death(subject: Subject, scale: Scale) -> Turns:
    """Milliseconds from the end of a worker, by SIGKILL, until its clients' peers hear of it.

    In each room there is one client of each worker.
    """
    pool = subject.pool()
    found = _everywhere(pool, subject, (ROOMS,) * subject.workers)
    rooms = [list(each) for each in zip(*found, strict=True)]
    members = [client for room in rooms for client in room]
    pool.release(members)
    for client in members:
        client.socket.settimeout(PATIENCE)
    for number, room in enumerate(rooms):
        pool.join(room, [b"room-%d" % number] * len(room))
    pid, *_ = pool.where(rooms[0])
    gone = [room.pop(0) for room in rooms]
    pool.adopt(client for room in rooms for client in room)
    expected = {
        client.fd: wire.event("#rtcio:peer-left", {"id": left.sid})
        for left, room in zip(gone, rooms, strict=True)
        for client in room
    }
    settle(subject.pid)
    pool.serve(0)
    start = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    taken: list[float] = []
    while expected:
        events = pool.epoll.poll(SILENCE)
        now = time.perf_counter()
        if not events:
            raise Void(f"{len(expected)} peers have not heard of it")
        for fd, _ in events:
            for message in pool.messages(fd):
                if expected.pop(fd, None) != message:
                    raise Void(f"an unexpected {message[:80]!r}")
                taken.append((now - start) * 1000)
    yield {"death-median": statistics.median(taken), "death-longest": max(taken)}
