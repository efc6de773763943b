"""What a scenario gets: the server under load and the size of the scenario; and what it yields."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks.accounting import cpu_ns, settle
from benchmarks.clients import Pool
from benchmarks.traffic import Enough

Figures = dict[str, float]
Turns = Iterator[Figures]
BREATH_SECONDS = 2.0


@dataclass(frozen=True)
class Scale:
    """The size of each scenario.

    ``cpu_seconds`` are the server's, so that a busy machine measures longer instead of less.
    """

    turns: int = 3  # of each figure that is a rate
    first_cpu_seconds: float = 1.0  # before the first figure: compilers watch before they compile
    warm_up_cpu_seconds: float = 0.2
    cpu_seconds: float = 0.1
    relay_sizes: tuple[int, ...] = (300, 4096)
    relay_in_flight: tuple[tuple[int, int], ...] = ((20, 1), (20, 20), (1, 20), (1, 1))
    latency_seconds: float = 0.3
    latency_rates: tuple[int, ...] = (1000, 5000)
    fanout_rooms: tuple[int, ...] = (4, 8, 50)
    warm_lives: int = 3000  # connections that a warm server has had
    lives: int = 300
    warm_rooms: int = 80
    rooms: int = 15
    connects: int = 150
    disconnects: tuple[int, ...] = (5000, 10000)
    recoveries: int = 5000
    storm: int = 5000
    memory: tuple[int, ...] = (2000, 5000)
    idle_seconds: float = 25.0
    polls: int = 1000  # requests of polling
    host_rate: int = 500  # relays a second between two hosts
    host_seconds: float = 1.0  # of that
    host_rest: float = 3.0  # seconds of hosts that do nothing
    host_joins: int = 400


@dataclass(frozen=True, eq=False)
class Subject:
    """The server under load: its port, its process, whether it is the floor, how many workers.

    ``ports``: one of each host.
    """

    name: str
    port: int
    pid: int
    bare: bool
    workers: int = 1
    breathe: Callable[[], None] = lambda: None  # called now and then in a turn that takes long
    pools: list[Pool] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    def pool(self, port: int | None = None) -> Pool:
        self.pools.append(Pool(port or self.port, bare=self.bare))
        return self.pools[-1]

    def keep_alive(self) -> None:
        """Answers the pings of a server that waits for its turn."""
        for pool in self.pools:
            pool.serve(0)


def spent(subject: Subject, seconds: float) -> Enough:
    """Returns a function that tells whether the server has used so much CPU from now on."""
    until = cpu_ns(subject.pid) + seconds * 1e9
    breath = time.monotonic() + BREATH_SECONDS

    def enough() -> bool:
        nonlocal breath
        if time.monotonic() > breath:
            subject.breathe()
            breath = time.monotonic() + BREATH_SECONDS
        return cpu_ns(subject.pid) >= until

    return enough


def leave(pool: Pool, subject: Subject) -> None:
    pool.close(list(pool.clients.values()))
    settle(subject.pid)


def costs(
    figure: str, subject: Subject, scale: Scale, pool: Pool, play: Callable[[Enough], int]
) -> Turns:
    """Microseconds of server CPU per message, in turns after a warm-up."""
    play(spent(subject, scale.warm_up_cpu_seconds))
    for _ in range(scale.turns):
        yield {}
        before = settle(subject.pid)
        messages = play(spent(subject, scale.cpu_seconds))
        cost = settle(subject.pid) - before
        pool.serve(0)  # more than was sent would be here by now
        yield {figure: cost / 1000 / messages}
