"""What a thousand hosts cost, on paper: ``python -m benchmarks.thousand``.

The costs of a relay and of a join are those of the figure ``hosts``, with up to 16 hosts. The cost
of a beat grows with the number of hosts, by too little to be seen with 16. So one real host is
measured here in the company of so many marks in Redis that change each second. Lines are fitted to
the beats and to the joins. The table goes into docs/cost.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import redis

from benchmarks.accounting import cpu_ns
from benchmarks.contestants import CONTESTANTS, HERE, Server
from benchmarks.document import Document
from benchmarks.report import GUIDE, fill, number
from benchmarks.rows import medians
from benchmarks.servers.over_redis import redis_server
from rtcio_sync.cluster.messages import decoded, encoded
from rtcio_sync.cluster.redis_membership import Record, keys_of

OURS = "listen"
MARKS = (16, 250, 1000)
SHOWN = (16, 100, 300, 1000)
RELAYS, JOINS = 100, 1  # a second, of each host
BUSY = 0.7  # of a core: more than that, Redis should not have to do
SETTLE_SECONDS = 4.0
PREFIX = "rtcio"


@dataclass(frozen=True)
class Line:
    """A cost that grows evenly with the number of hosts."""

    base: float
    slope: float

    def at(self, hosts: float) -> float:
        return self.base + self.slope * hosts


def fitted(points: Mapping[int, float]) -> Line:
    """The line of least squares; it does not fall, and begins at 0 or above."""
    if len(points) < 2:
        raise ValueError("a line needs two points")
    slope, base = statistics.linear_regression(list(points), list(points.values()))
    if slope < 0:
        return Line(statistics.fmean(points.values()), 0.0)
    return Line(max(0.0, base), slope)


@dataclass(frozen=True)
class Cost:
    """Microseconds of CPU of one thing, of all hosts and of Redis."""

    hosts: Line
    redis: Line


@dataclass(frozen=True)
class Model:
    """A beat of one host, a relay, and a join of a room, of which all hosts are told."""

    beat: Cost
    relay: Cost
    join: Cost

    def of_each_host(self, hosts: int) -> list[float]:
        """Milliseconds of CPU a second: for beats, relays and joins."""
        return [
            rate * cost.hosts.at(hosts) / 1e3
            for rate, cost in ((1, self.beat), (RELAYS, self.relay), (JOINS, self.join))
        ]

    def of_redis(self, hosts: int) -> list[float]:
        """Cores, for all hosts: for beats, relays and joins."""
        return [
            hosts * rate * cost.redis.at(hosts) / 1e6
            for rate, cost in ((1, self.beat), (RELAYS, self.relay), (JOINS, self.join))
        ]

    def most(self, load: bool) -> int:
        """The number of hosts with which one Redis is busy; without a load, with beats alone."""
        low, high = 1, 100_000
        while high - low > 1:
            middle = (low + high) // 2
            beats, relays, joins = self.of_redis(middle)
            if beats + (relays + joins if load else 0) > BUSY:
                high = middle
            else:
                low = middle
        return low


def model(values: Mapping[str, Mapping[str, float]], beat: Cost, upto: int = 1000) -> Model:
    """Of the figures of our hosts, with up to so many of them."""

    def of_hosts(what: str) -> dict[int, float]:
        redis = points(values, f"{what}redis", upto)
        return {hosts: value - redis[hosts] for hosts, value in points(values, what, upto).items()}

    def of_redis(what: str) -> dict[int, float]:
        return points(values, f"{what}redis", upto)

    # Only two hosts and Redis handle a relay. With more hosts less goes together.
    relay = Cost(_constant(of_hosts("spread")), _constant(of_redis("spread")))
    return Model(beat, relay, Cost(fitted(of_hosts("join")), fitted(of_redis("join"))))


def _constant(points: Mapping[int, float]) -> Line:
    """As it is with the most hosts."""
    return Line(points[max(points)], 0.0)


def points(
    values: Mapping[str, Mapping[str, float]], what: str, upto: int = 1000
) -> dict[int, float]:
    """The medians of a figure by the number of hosts."""
    found = {}
    for figure, servers in values.items():
        name, _, hosts = figure.rpartition("-")
        if name == f"hosts-{what}" and OURS in servers and int(hosts) <= upto:
            found[int(hosts)] = servers[OURS]
    return found


# -- the beat -------------------------------------------------------------------------------------


def measured_beats(seconds: float, scratch: Path) -> Cost:
    hosts, redises = {}, {}
    for marks in MARKS:
        hosts[marks], redises[marks] = beat_among(marks, seconds, scratch)
    return Cost(fitted(hosts), fitted(redises))


def beat_among(marks: int, seconds: float, scratch: Path) -> tuple[float, float]:
    """Microseconds of CPU of one beat, of the host and of Redis, when so many are alive."""
    with redis_server() as url, redis.Redis.from_url(url) as client:
        pid = int(client.info("server")["process_id"])
        with _others(client, marks - 1):
            alone = _per_second([pid], seconds)[0]
            environ = {"RTCIO_CLUSTER": url}
            with Server(CONTESTANTS[OURS], scratch / "beat.log", None, environ=environ) as server:
                _take_for_neighbours(client, marks - 1)
                time.sleep(SETTLE_SECONDS)
                of_host, of_redis = _per_second([server.pid, pid], seconds)
    return of_host, max(0.0, of_redis - alone)


@contextmanager
def _others(client: redis.Redis, count: int) -> Iterator[None]:
    """Marks of other hosts, which change each second meanwhile."""
    over = threading.Event()
    beats = keys_of(PREFIX)[1]

    def beat() -> None:
        tenths = int(time.time() * 10) % 2**32
        marks = {_name(number): number * 2**32 + tenths for number in range(1, count + 1)}
        client.hset(beats, mapping=marks)

    def go_on() -> None:
        while not over.wait(1.0):
            beat()

    beat()
    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _take_for_neighbours(client: redis.Redis, count: int) -> None:
    """Has the real host take the others for nodes of its own host, to which it sends nothing."""
    records = keys_of(PREFIX)[0]
    while not (found := client.hvals(records)):
        time.sleep(0.05)
    own = decoded(Record, found[0])
    said = {
        _name(number): encoded(msgspec.structs.replace(own, token=number))
        for number in range(1, count + 1)
    }
    client.hset(records, mapping=said)


def _name(number: int) -> str:
    return f"{number:04d}"


def _per_second(pids: list[int], seconds: float) -> list[float]:
    """Microseconds of CPU a second."""
    before, start = [cpu_ns(pid) for pid in pids], time.perf_counter()
    time.sleep(seconds)
    taken = time.perf_counter() - start
    return [(cpu_ns(pid) - then) / 1e3 / taken for pid, then in zip(pids, before, strict=True)]


# -- the page -------------------------------------------------------------------------------------


def page(model: Model) -> str:
    head = [
        f"| hosts | each host, ms CPU/s: beats, {RELAYS} relays/s, {JOINS} join/s | sum |"
        " Redis, cores: beats, relays, joins | sum |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join([*head, *(_row(model, hosts) for hosts in SHOWN)])


def _row(model: Model, hosts: int) -> str:
    cells = [f"{hosts:,}"]
    for parts in (model.of_each_host(hosts), model.of_redis(hosts)):
        cells += [", ".join(map(number, parts)), number(sum(parts))]
    return f"| {' | '.join(cells)} |"


def notes(values: Mapping[str, Mapping[str, float]], made: Model) -> str:
    """What the lines are, what those of fewer hosts would have said, and where Redis ends."""
    smaller = model(values, made.beat, upto=8)
    lines = [
        "µs CPU, with N hosts: "
        + "; ".join(
            f"a {name} {_said(cost.hosts)}, of Redis {_said(cost.redis)}"
            for name, cost in (("beat", made.beat), ("relay", made.relay), ("join", made.join))
        )
        + "."
    ]
    said = smaller.join.hosts.at(16) + smaller.join.redis.at(16)
    if (found := points(values, "join").get(16)) is not None:
        lines.append(
            f"The figures of 2 and 8 hosts predict {said:.0f} for a join with 16 hosts; measured "
            f"were {found:.0f}."
        )
    lines.append(
        f"One Redis is busy for {BUSY:.0%} of a core with {made.most(load=True):,} hosts under\n"
        f"this load, or with {made.most(load=False):,} hosts that only beat."
    )
    return "\n".join(lines)


def _said(line: Line) -> str:
    return f"{line.base:.1f} + {line.slope:.2f} N" if line.slope else f"{line.base:.1f}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thousand", description=__doc__)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measured beat")
    options = parser.parse_args(arguments)
    values = medians(Document.read(options.results).values)
    if len(points(values, "join")) < 2:
        parser.error(f"{options.results} has no figures of hosts: run --figures hosts before")
    with tempfile.TemporaryDirectory() as scratch:
        made = model(values, measured_beats(options.seconds, Path(scratch)))
    text = f"{page(made)}\n\n{notes(values, made)}"
    print(text)
    if options.results == HERE / "results":
        fill(HERE.parent / GUIDE, "thousand", text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
