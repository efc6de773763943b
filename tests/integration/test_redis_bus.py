"""Buses in several processes on a real Redis that is killed, stopped, cut off and emptied."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis

from tests.integration.redis_node import RedisProcess
from tests.integration.redis_server import RedisServer
from tests.timing import wait_until

#: `make long` stops Redis for longer.
LONG = bool(os.environ.get("RTCIO_LONG"))

RATE = 400.0  # messages a second, from each to each
NAMES = ("aaaa", "bbbb", "cccc", "dddd")


@pytest.fixture
def server() -> Iterator[RedisServer]:
    made = RedisServer()
    yield made
    made.kill()


@pytest.fixture
def make() -> Iterator[Callable[..., RedisProcess]]:
    made: list[RedisProcess] = []

    def make(*args: Any) -> RedisProcess:
        made.append(RedisProcess(*args))
        return made[-1]

    yield make
    for each in made:
        each.end()


Make = Callable[..., RedisProcess]


def met(*nodes: RedisProcess) -> None:
    wait_until(lambda: all(len(each.report()["nodes"]) == len(nodes) - 1 for each in nodes))


def more(nodes: list[RedisProcess], count: int = 200) -> None:
    """Waits until each has got so many more messages of each other."""
    before = {each.id: each.report()["following"] for each in nodes}

    def have() -> bool:
        for each in nodes:
            found = each.report()["following"]
            for other in nodes:
                got = found.get(other.id, 0) - before[each.id].get(other.id, 0)
                if other is not each and got < count:
                    return False
        return True

    wait_until(have)


def nothing_is_lost(*nodes: RedisProcess, refused: bool = False) -> dict[str, Any]:
    """Waits until all has arrived that was posted; fails for what is missing, or came twice."""
    for each in nodes:
        each.post(0)
    reports: dict[str, Any] = {}

    def arrived() -> bool:
        reports.update({each.id: each.report() for each in nodes})
        return all(
            reports[b.id]["following"].get(a.id, 0) == reports[a.id]["posted"].get(b.id, 0)
            for a in nodes
            for b in nodes
            if a is not b
        )

    with suppress(AssertionError):
        wait_until(arrived)
    for a in nodes:
        for b in nodes:
            if a is not b:
                got = reports[b.id]["following"].get(a.id, 0)
                assert got == reports[a.id]["posted"].get(b.id, 0), (a.id, b.id, reports)
    for report in reports.values():
        assert sum(report["doubled"].values()) == 0, report
        assert sum(report["disordered"].values()) == 0, report
        assert report["dropped"] == {}
        assert refused or report["overflows"] == 0
        assert report["refusals"] == []
    return reports


# -- what Redis may do ---------------------------------------------------------------------------


def killed(seconds: float) -> Callable[[RedisServer], None]:
    def fault(server: RedisServer) -> None:
        server.kill()
        time.sleep(seconds)
        server.start()

    return fault


def stopped(seconds: float) -> Callable[[RedisServer], None]:
    def fault(server: RedisServer) -> None:
        server.signal(signal.SIGSTOP)
        time.sleep(seconds)
        server.signal(signal.SIGCONT)

    return fault


def cut(server: RedisServer) -> None:
    with server.client() as client:
        for kind in ("normal", "pubsub"):
            client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


def emptied(server: RedisServer) -> None:
    with server.client() as client:
        client.flushall()


def often(server: RedisServer) -> None:
    for _ in range(5):
        cut(server)
        time.sleep(0.3)
        emptied(server)
        time.sleep(0.1)


FAULTS = {
    "killed, and back empty at once": killed(0.2),
    "killed, and back empty after five seconds": killed(5),
    "stopped": stopped(10 if LONG else 4),
    "all connections cut": cut,
    "emptied": emptied,
    "cut and emptied again and again": often,
}
if LONG:
    FAULTS["killed, and back empty after half a minute"] = killed(30)


@pytest.mark.integration
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_nothing_is_lost_doubled_or_disordered_when_redis_is(
    server: RedisServer, make: Make, fault: Callable[[RedisServer], None]
) -> None:
    nodes = [make(server.url, name) for name in NAMES[:3]]
    met(*nodes)
    for each in nodes:
        each.post(RATE)
    more(nodes)
    fault(server)
    more(nodes)
    reports = nothing_is_lost(*nodes)
    assert all(report["dead"] == [] for report in reports.values())
