"""How long handlers may compute before the loop looks at its sockets again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import gevent
import gevent.socket
import pytest
from gevent.event import Event

from rtcio_sync.hub.turns import LAST, Turns
from tests.timing import DEADLINE, compute


@pytest.fixture
def long_turns() -> Iterator[None]:
    """The loop runs all greenlets that are ready in one turn, however slow the machine is."""
    before = gevent.getswitchinterval()
    gevent.setswitchinterval(DEADLINE)
    yield
    gevent.setswitchinterval(before)


def test_within_a_turn_nobody_waits_until_its_time_is_used_up(long_turns: None) -> None:
    time_ = [0.0]
    turns = Turns(now=lambda: time_[0])
    log: list[str] = []

    def work(name: str, since: float, seconds: float) -> None:
        turns.take(since)
        log.append(name)
        time_[0] += seconds

    def all_of(*several: tuple[str, float, float]) -> None:
        done = [gevent.spawn(work, *each) for each in several]
        gevent.joinall(done, timeout=DEADLINE, raise_error=True)

    all_of(("a", 0, 0.001), ("b", 0, 0.001), ("c", 0, 0.001))
    assert log == ["a", "b", "c"]
    log.clear()
    all_of(("long", 0, 1.0), ("busy", LAST, 1.0), ("fresh", math_inf(), 1.0), ("too", LAST, 0))
    assert log == ["long", "fresh", "busy", "too"]


def math_inf() -> float:
    return float("inf")  # it began just now, whatever the clock says


def test_the_loop_looks_at_its_sockets_between_two_turns() -> None:
    turns = Turns()
    looked: list[int] = []
    worked: list[int] = []
    reader, writer = gevent.socket.socketpair()

    def work(number: int) -> None:
        turns.take(LAST)
        worked.append(number)
        compute(0.006)

    def look() -> None:
        for _ in range(20):
            writer.send(b"x")
            reader.recv(1)
            looked.append(len(worked))

    workers = [gevent.spawn(work, number) for number in range(60)]
    looking = gevent.spawn(look)
    gevent.joinall([*workers, looking], timeout=DEADLINE, raise_error=True)
    assert looked[-1] < 60
    assert max(b - a for a, b in itertools.pairwise(looked)) <= 3


def test_one_that_is_killed_while_it_waits_is_passed_over() -> None:
    turns = Turns()
    worked: list[str] = []
    began = Event()

    def work(name: str, seconds: float) -> None:
        turns.take(LAST)
        worked.append(name)
        began.set()
        compute(seconds)

    several = [gevent.spawn(work, name, 0.01) for name in ("one", "killed", "two")]
    assert began.wait(DEADLINE)
    several[1].kill()
    gevent.joinall(several, timeout=DEADLINE)
    assert worked == ["one", "two"]
