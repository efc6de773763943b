"""The scenario of several hosts that have only a Redis in common.

CPU is that of all hosts and of Redis, without what they use while nothing happens: they beat each
second, so they cannot be found idle as a single server can.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks import wire
from benchmarks.accounting import cpu_ns, tree
from benchmarks.clients import BATCH, PATIENCE, Client, Pool, Void
from benchmarks.subject import Figures, Scale, Subject, Turns, spent
from benchmarks.traffic import Court, Enough, Talk, paced

PAIRS = 60
IN_FLIGHT = (20, 1)  # pairs, and messages of each
ROOMS = 8
STRIDES = (1, 3, 5, 7)  # which hosts each one sends to, when all send
ECHO = 0.2  # seconds until what is left to do is done: acknowledgements, the trimming of streams

Played = TypeVar("Played")
Pairs = list[list[Client]]
Spending = dict[str, float]  # nanoseconds of CPU: of "all", of "redis", of the "others"


def hosts(subject: Subject, scale: Scale) -> Turns:
    """Relays and room events between clients of two hosts, joins at one; the others look on."""
    cluster = Hosts(subject, scale)
    yield cluster.rest()
    for size in scale.relay_sizes:
        yield from cluster.relays(size)
    yield from cluster.steady_relays("steady", cluster.pairs)
    yield from cluster.steady_relays("spread", cluster.spread)
    yield from cluster.events()
    yield from cluster.joins()


class Hosts:
    """The hosts, a client of each that looks on, and the clients of the first two."""

    def __init__(self, subject: Subject, scale: Scale) -> None:
        self._subject = subject
        self._scale = scale
        self._looking = [subject.pool(port) for port in subject.ports]
        self._playing = subject.pool()
        clients = [pool.open_websockets([wire.CONNECT])[0] for pool in self._looking]
        pids = [
            pid
            for pool, client in zip(self._looking, clients, strict=True)
            for pid in pool.where([client])
        ]
        _introduce(clients)
        time.sleep(ECHO)
        for pool, client in zip(self._looking, clients, strict=True):
            pool.adopt([client])
            for fd, _ in pool.epoll.poll(0):
                pool.messages(fd)  # what was sent again, and has come twice
        (redis,) = (pid for pid in tree(subject.pid) if _command(pid) == "redis-server")
        self._parts = {"all": [subject.pid], "redis": [redis], "others": pids[2:]}
        self._idle = dict.fromkeys(self._parts, 0.0)  # nanoseconds of CPU a second

    def rest(self) -> Figures:
        """What the hosts use while nothing happens, as milliseconds of CPU a second for each."""
        time.sleep(ECHO)
        self._look_after()
        before, start = self._read(), time.perf_counter()
        time.sleep(self._scale.host_rest)
        seconds = time.perf_counter() - start
        self._idle = {name: (now - before[name]) / seconds for name, now in self._read().items()}
        count = len(self._looking)
        return {
            self._name("idle"): self._idle["all"] / 1e6 / count,
            self._name("idleredis"): self._idle["redis"] / 1e6 / count,
        }

    def relays(self, size: int) -> Turns:
        """Both hosts send; one message of each pair is under way."""
        court = Court(self._playing, self.pairs(), size)
        if size == self._scale.relay_sizes[0]:  # compilers watch before they compile
            court.play(*IN_FLIGHT, spent(self._subject, self._scale.first_cpu_seconds))
            self._leave()
            court = Court(self._playing, self.pairs(), size)
        yield from self._costs(str(size), partial(court.play, *IN_FLIGHT))
        self._leave()

    def steady_relays(self, what: str, opened: Callable[[], Pairs]) -> Turns:
        """The first of each pair sends at fixed times, whatever arrives."""
        play = partial(paced, self._playing, opened(), self._scale.host_rate)
        play(self._scale.host_seconds / 2)
        for _ in range(self._scale.turns):
            yield {}
            taken, spending = self._measured(lambda: play(self._scale.host_seconds))
            middle = sorted(taken)[len(taken) // 2]
            figures = self._figures(what, spending, len(taken))
            yield {**figures, self._name(f"{what}p50"): middle * 1e6}
        self._leave()

    def events(self) -> Turns:
        """To rooms with one member at each of the two hosts."""
        rooms = self.pairs(rooms=ROOMS)
        time.sleep(ECHO)  # until all hosts know of them
        yield from self._costs("event", Talk(self._playing, rooms, 0).hold)
        self._leave()

    def joins(self) -> Turns:
        """Each of a room that nobody else is in."""
        pool, scale = self._looking[0], self._scale
        clients = pool.open_websockets([wire.CONNECT] * BATCH)
        names = iter(range(1_000_000))
        for turn in range(scale.turns + 1):  # the first one warms up
            yield {}
            joined, spending = self._measured(lambda: _join(pool, clients, names, scale.host_joins))
            yield self._figures("join", spending, joined) if turn else {}
        for client in clients:
            client.leave()

    # -- clients -------------------------------------------------------------------------------

    def pairs(self, rooms: int = 0) -> Pairs:
        """Of the first two hosts; each pair in a room of its own, if that is to be."""
        both = [self._clients(pool, rooms or PAIRS) for pool in self._looking[:2]]
        if rooms:
            for pool, clients in zip(self._looking, both, strict=False):
                pool.join(clients, [b"room-%d" % number for number in range(rooms)])
        return self._paired(*both)

    def spread(self) -> Pairs:
        """Of all hosts: each sends to some others, so that nothing can go together."""
        count = len(self._looking)
        strides = [stride for stride in STRIDES if stride < count]
        sending, receiving = (
            [self._clients(pool, len(strides)) for pool in self._looking] for _ in range(2)
        )
        return self._paired(
            [sending[host][number] for number in range(len(strides)) for host in range(count)],
            [
                receiving[(host + stride) % count][number]
                for number, stride in enumerate(strides)
                for host in range(count)
            ],
        )

    def _clients(self, pool: Pool, count: int) -> list[Client]:
        clients: list[Client] = []
        while len(clients) < count:
            most = min(BATCH, count - len(clients))
            clients += pool.open_websockets([wire.CONNECT] * most)
        self._look_after()
        return clients

    def _paired(self, first: list[Client], second: list[Client]) -> Pairs:
        self._playing.adopt([*first, *second])
        return [list(pair) for pair in zip(first, second, strict=True)]

    def _leave(self) -> None:
        self._playing.close(list(self._playing.clients.values()))
        time.sleep(ECHO)

    def _look_after(self) -> None:
        """Answers the pings of those that wait."""
        for pool in self._looking:
            pool.serve(0)
        self._subject.breathe()

    # -- CPU -----------------------------------------------------------------------------------

    def _costs(self, what: str, play: Callable[[Enough], int]) -> Turns:
        play(spent(self._subject, self._scale.warm_up_cpu_seconds))
        for _ in range(self._scale.turns):
            yield {}
            count, spending = self._measured(
                lambda: play(spent(self._subject, self._scale.cpu_seconds))
            )
            self._playing.serve(0)  # more than was sent would be here by now
            yield self._figures(what, spending, count)

    def _measured(self, play: Callable[[], Played]) -> tuple[Played, Spending]:
        self._look_after()
        before, start = self._read(), time.perf_counter()
        found = play()
        time.sleep(ECHO)
        after, seconds = self._read(), time.perf_counter() - start
        return found, {
            name: max(0.0, after[name] - before[name] - idle * seconds)
            for name, idle in self._idle.items()
        }

    def _read(self) -> Spending:
        return {name: float(sum(map(cpu_ns, pids))) for name, pids in self._parts.items()}

    def _figures(self, what: str, spending: Spending, count: int) -> Figures:
        """Microseconds for each message: of all, of Redis, and of each host that looks on."""
        figures: Figures = {
            self._name(what): spending["all"] / 1000 / count,
            self._name(f"{what}redis"): spending["redis"] / 1000 / count,
        }
        if (others := self._parts["others"]) and what != "spread":  # there, all take part
            figures[self._name(f"{what}others")] = spending["others"] / 1000 / count / len(others)
        return figures

    def _name(self, what: str) -> str:
        return f"hosts-{what}-{len(self._looking)}"


def _introduce(clients: list[Client]) -> None:
    """Waits until a relay of the client of each host reaches that of the next one and the first.

    A message to a host that is not known yet is lost, so it is sent again.
    """
    first = clients[0]
    for client in clients[1:]:
        for source, target in ((first, client), (client, first)):
            message = wire.envelope(source.sid, target.sid, 300)
            end = time.monotonic() + PATIENCE
            target.socket.settimeout(0.5)
            while True:
                source.socket.sendall(wire.client_frame(message))
                try:
                    target.expect(message)
                    break
                except TimeoutError:
                    if time.monotonic() > end:
                        raise Void("the hosts do not reach each other") from None
            target.socket.settimeout(PATIENCE)


def _join(pool: Pool, clients: list[Client], names: Iterator[int], count: int) -> int:
    joined = 0
    while joined < count:
        pool.join(clients, [b"own-%d" % next(names) for _ in clients])
        joined += len(clients)
    return joined


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()
