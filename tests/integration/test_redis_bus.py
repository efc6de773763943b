"""Buses in several processes on a real Redis that is killed, stopped, cut off and emptied."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.integration.redis_node import ROOT, RedisProcess
from tests.integration.redis_server import (
    RedisCluster,
    RedisServer,
    Sentinels,
    cut,
    emptied,
    killed,
    stopped,
)
from tests.timing import wait_until

#: `make long` stops Redis for longer.
LONG = bool(os.environ.get("LONG_OUTAGES"))

RATE = 400.0  # messages a second, from each to each
NAMES = ("aaaa", "bbbb", "cccc", "dddd")
WAYS = {"bbbb": ("--plain",)}  # with the standard library as it is


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
    reports = {each.id: each.report() for each in nodes}
    before = {node: report["following"] for node, report in reports.items()}

    def have() -> bool:
        reports.update({each.id: each.report() for each in nodes})
        return all(
            reports[b.id]["following"].get(a.id, 0) - before[b.id].get(a.id, 0) >= count
            for a in nodes
            for b in nodes
            if a is not b
        )

    with suppress(AssertionError):
        wait_until(have)
    assert have(), "\n".join(map(str, reports.values()))


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


@pytest.mark.integration
@pytest.mark.parametrize("turn", range(6 if LONG else 1))
def test_nothing_is_lost_whatever_happens_one_after_the_other(
    server: RedisServer, make: Make, seed: int, turn: int
) -> None:
    choose = random.Random(f"{seed} {turn}")
    nodes = [make(server.url, name, *WAYS.get(name, ())) for name in NAMES]
    met(*nodes)
    for each in nodes:
        each.post(100, choose.choice((50, 1000, 3000)))
    more(nodes, 20)

    def stop_a_node(server: RedisServer) -> None:
        each = choose.choice(nodes)
        each.signal(signal.SIGSTOP)
        time.sleep(choose.uniform(0.5, 1.5))
        each.signal(signal.SIGCONT)

    faults = [killed(0.1), killed(1.5), stopped(0.5), stopped(2.5), cut, emptied, stop_a_node]
    for _ in range(15 if LONG else 6):
        choose.choice(faults)(server)
        time.sleep(choose.choice((0, 0.05, 0.3, 1.5)))
    more(nodes, 20)
    reports = nothing_is_lost(*nodes)
    assert all(report["dead"] == [] for report in reports.values())


@pytest.mark.integration
def test_nothing_is_lost_when_a_replica_becomes_the_master(make: Make, tmp_path: Path) -> None:
    sentinels = Sentinels(tmp_path)
    try:
        nodes = [make(sentinels.url, name) for name in NAMES[:3]]
        met(*nodes)
        for each in nodes:
            each.post(RATE)
        more(nodes)
        sentinels.master.kill()
        more(nodes)
        reports = nothing_is_lost(*nodes)
        assert all(report["dead"] == [] for report in reports.values())
        with sentinels.replica.client() as client:
            assert client.info("replication")["role"] == "master"
    finally:
        sentinels.stop()


@pytest.mark.integration
def test_nothing_is_lost_on_a_redis_cluster_when_a_slot_moves_or_a_master_restarts(
    make: Make, tmp_path: Path
) -> None:
    cluster = RedisCluster(tmp_path)
    try:
        nodes = [make(cluster.url, name) for name in NAMES]
        met(*nodes)
        places = {cluster.master_of(f"{{n:{each.id}}}").port for each in nodes}
        assert len(places) > 1  # else it would be no test
        for each in nodes:
            each.post(100)
        more(nodes, 50)
        inbox = f"rtcio:{{n:{nodes[0].id}}}:inbox"
        source = cluster.master_of(inbox)
        cluster.move(inbox, next(each for each in cluster.masters if each is not source))
        more(nodes, 50)
        nodes_key = "rtcio:{nodes}:beats"
        source = cluster.master_of(nodes_key)
        cluster.move(nodes_key, next(each for each in cluster.masters if each is not source))
        more(nodes, 50)
        for master in cluster.masters:
            master.kill()
            master.start()
            more(nodes, 50)
        reports = nothing_is_lost(*nodes)
        assert all(report["dead"] == [] for report in reports.values())
    finally:
        cluster.stop()


# -- what a node may do --------------------------------------------------------------------------


@pytest.mark.integration
def test_nothing_is_lost_when_a_receiver_is_stopped(server: RedisServer, make: Make) -> None:
    a, b = nodes = [make(server.url, name) for name in NAMES[:2]]
    met(*nodes)
    for each in nodes:
        each.post(RATE, 5000)
    more(nodes)
    before = a.report()["memory"]
    b.signal(signal.SIGSTOP)
    time.sleep(4)
    b.signal(signal.SIGCONT)
    more(nodes)
    reports = nothing_is_lost(*nodes)
    assert reports[a.id]["dead"] == reports[b.id]["dead"] == []
    assert a.report()["memory"] - before < 40_000_000


@pytest.mark.integration
def test_a_killed_node_is_dead_once_for_all_others_within_eight_seconds(
    server: RedisServer, make: Make
) -> None:
    nodes = [make(server.url, name) for name in NAMES]
    met(*nodes)
    for each in nodes:
        each.post(50)
    more(nodes, 20)
    *others, victim = nodes
    at = time.time()
    victim.process.kill()
    wait_until(lambda: all(each.report()["dead"] for each in others))
    reports = nothing_is_lost_but_for_the_dead(others, victim)
    for report in reports.values():
        ((node, when),) = report["dead"]
        assert node == victim.id
        assert 3 < when - at < 8
    with server.client() as client:
        assert not client.exists(f"rtcio:{{n:{victim.id}}}:inbox")
        assert client.hlen("rtcio:{nodes}:beats") == len(others)


def nothing_is_lost_but_for_the_dead(
    others: list[RedisProcess], dead: RedisProcess
) -> dict[str, Any]:
    for each in others:
        each.post(0)
    more_or_equal(others)
    reports = {each.id: each.report() for each in others}
    for report in reports.values():
        assert sum(report["doubled"].values()) == 0, report
        assert sum(report["disordered"].values()) == 0, report
        assert report["dropped"].keys() <= {"died"}
    return reports


def more_or_equal(nodes: list[RedisProcess]) -> None:
    """Waits until all has arrived that these have posted to each other."""

    def arrived() -> bool:
        reports = {each.id: each.report() for each in nodes}
        return all(
            reports[b.id]["following"].get(a.id, 0) == reports[a.id]["posted"].get(b.id, 0)
            for a in nodes
            for b in nodes
            if a is not b
        )

    wait_until(arrived)


@pytest.mark.integration
def test_a_node_that_stood_still_for_too_long_is_buried_and_learns_it(
    server: RedisServer, make: Make
) -> None:
    nodes = [make(server.url, name) for name in NAMES[:3]]
    met(*nodes)
    for each in nodes:
        each.post(50)
    more(nodes, 20)
    *others, victim = nodes
    victim.signal(signal.SIGSTOP)
    wait_until(lambda: all(each.report()["dead"] for each in others))
    victim.signal(signal.SIGCONT)
    wait_until(lambda: victim.report()["refusals"])
    time.sleep(1)  # what it may still have sent
    assert victim.report()["refusals"] == ["buried"]
    assert victim.report()["nodes"] == []
    reports = nothing_is_lost_but_for_the_dead(others, victim)
    for report in reports.values():
        assert [node for node, _ in report["dead"]] == [victim.id]
        assert report["living"].count(victim.id) == 1
    # It begins anew, under another id.
    again = make(server.url, NAMES[3])
    met(*others, again)


@pytest.mark.integration
def test_a_stopped_node_for_which_its_host_beats_is_not_buried(
    server: RedisServer, make: Make
) -> None:
    a = make(server.url, "aaaa", "--host=one", "--siblings=bbbb")
    b = make(server.url, "bbbb", "--host=one", "--siblings=aaaa")
    c = make(server.url, "cccc")
    wait_until(lambda: c.report()["nodes"] == ["aaaa", "bbbb"])
    # A node of the same host is not spoken to over Redis.
    wait_until(lambda: a.report()["nodes"] == b.report()["nodes"] == ["cccc"])
    b.signal(signal.SIGSTOP)
    time.sleep(9)
    b.signal(signal.SIGCONT)
    c.post(100)
    wait_until(lambda: b.report()["following"].get("cccc", 0) > 50)
    assert c.report()["dead"] == []
    # Its host knows at once when it is dead.
    b.process.kill()
    at = time.time()
    a.ask("bury", "bbbb")
    wait_until(lambda: c.report()["dead"])
    ((node, when),) = c.report()["dead"]
    assert node == "bbbb"
    assert when - at < 3


@pytest.mark.integration
def test_a_node_that_leaves_is_dead_at_once_after_its_last_message(
    server: RedisServer, make: Make
) -> None:
    a, b = nodes = [make(server.url, name) for name in NAMES[:2]]
    met(*nodes)
    a.post(RATE)
    more([a, b], 0)
    wait_until(lambda: b.report()["following"].get("aaaa", 0) > 100)
    posted = a.ask("leave")
    assert posted is None
    wait_until(lambda: b.report()["dead"])
    report = b.report()
    assert report["following"]["aaaa"] == a.report()["posted"]["bbbb"]
    with server.client() as client:
        assert not client.exists("rtcio:{n:aaaa}:inbox")
        assert client.hkeys("rtcio:{nodes}:beats") == [b"bbbb"]


@pytest.mark.integration
def test_nodes_without_redis_find_each_other_when_it_comes(make: Make) -> None:
    server = RedisServer()
    server.kill()
    nodes = [make(server.url, "aaaa"), make(server.url, "bbbb", "--plain")]
    assert all(each.report()["degraded"] for each in nodes)
    time.sleep(0.5)
    server.start()
    try:
        met(*nodes)
        wait_until(lambda: not any(each.report()["degraded"] for each in nodes))
        for each in nodes:
            each.post(100)
        more(nodes, 50)
        nothing_is_lost(*nodes)
        assert nodes[0].report()["births"] == nodes[1].report()["births"]
    finally:
        server.kill()


@pytest.mark.integration
def test_the_second_node_with_an_id_is_refused(server: RedisServer, make: Make) -> None:
    a, b = [make(server.url, name) for name in NAMES[:2]]
    met(a, b)
    other = make(server.url, "aaaa")
    wait_until(lambda: other.report()["refusals"])
    assert other.report()["refusals"] == ["taken"]
    for each in (a, b):
        each.post(100)
    more([a, b], 50)
    nothing_is_lost(a, b)
    assert b.report()["living"] == ["aaaa"]


# -- a host that is cut off from Redis -----------------------------------------------------------

CARRY = "import time; from tests.integration.line import Line; print(Line({port}).port, flush=True)"


@pytest.fixture
def line(server: RedisServer) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that carries connections to Redis; stopped, it is a network that loses all."""
    program = CARRY.format(port=server.port) + "; time.sleep(1000)"
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process, f"redis://127.0.0.1:{int(process.stdout.readline())}/0"
    process.kill()
    process.wait()
    process.stdout.close()


Cut = tuple["subprocess.Popen[str]", str]


@pytest.mark.integration
def test_nothing_is_lost_when_one_host_is_cut_off_for_four_seconds(
    server: RedisServer, make: Make, line: Cut
) -> None:
    network, url = line
    nodes = [make(url, "aaaa"), make(server.url, "bbbb"), make(server.url, "cccc")]
    met(*nodes)
    for each in nodes:
        each.post(RATE)
    more(nodes)
    network.send_signal(signal.SIGSTOP)
    time.sleep(4)
    network.send_signal(signal.SIGCONT)
    more(nodes)
    reports = nothing_is_lost(*nodes)
    assert all(report["dead"] == [] for report in reports.values())


@pytest.mark.integration
def test_a_host_that_is_cut_off_for_long_is_buried_and_learns_it(
    server: RedisServer, make: Make, line: Cut
) -> None:
    network, url = line
    victim, *others = [make(url, "aaaa"), make(server.url, "bbbb"), make(server.url, "cccc")]
    met(victim, *others)
    for each in (victim, *others):
        each.post(RATE)
    more([victim, *others])
    network.send_signal(signal.SIGSTOP)
    at = time.time()
    wait_until(lambda: all(each.report()["dead"] for each in others))
    for each in others:
        ((node, when),) = each.report()["dead"]
        assert node == victim.id
        assert 4 < when - at < 8
    assert victim.report()["nodes"] == ["bbbb", "cccc"]  # it cannot know
    network.send_signal(signal.SIGCONT)
    wait_until(lambda: victim.report()["refusals"] == ["buried"])
    more(others)
    nothing_is_lost_but_for_the_dead(others, victim)


# -- what is too much ----------------------------------------------------------------------------


@pytest.mark.integration
def test_messages_that_redis_never_had_are_dropped_and_counted_when_they_are_too_many(
    server: RedisServer, make: Make
) -> None:
    nodes = a, b = [make(server.url, name) for name in NAMES[:2]]
    met(a, b)
    server.kill()
    before = a.report()["memory"]
    a.post(100, 100_000)  # ten megabytes a second
    wait_until(lambda: a.report()["overflows"] > 200)
    a.post(0)
    report = a.report()
    assert 15_000_000 < report["figures"]["kept_bytes"] < 17_000_000
    assert report["memory"] - before < 60_000_000
    server.start()
    a.post(RATE)
    b.post(RATE)
    more(nodes)
    nothing_is_lost(*nodes, refused=True)  # of what `post` has taken


@pytest.mark.integration
def test_what_redis_has_leaves_the_memory_while_a_receiver_stands_still(
    server: RedisServer, make: Make
) -> None:
    a, b = [make(server.url, name) for name in NAMES[:2]]
    met(a, b)
    a.post(80, 100_000)
    wait_until(lambda: b.report()["following"].get("aaaa", 0) > 50)
    before = a.report()["memory"]
    b.signal(signal.SIGSTOP)
    wait_until(lambda: a.report()["figures"]["unprotected"] > 50)
    b.signal(signal.SIGCONT)
    reports = nothing_is_lost(a, b)
    assert reports["aaaa"]["memory"] - before < 60_000_000
    assert reports["aaaa"]["dead"] == []
