"""Waiting in tests, with one deadline for all; and a clock that a test moves."""

from __future__ import annotations

import heapq
import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent

#: Seconds within which what a test waits for must come; a bound for failures, not a measurement.
DEADLINE = 90.0


@contextmanager
def in_time(seconds: float = DEADLINE) -> Iterator[None]:
    """Fails when what is done in it takes longer; other greenlets run meanwhile."""
    with gevent.Timeout(seconds, AssertionError(f"nothing within {seconds} s")):
        yield


def until(condition: Callable[[], Any], seconds: float = DEADLINE) -> None:
    """Lets the other greenlets run until ``condition()`` holds."""
    with in_time(seconds):
        while not condition():
            gevent.sleep(0.001)


def wait_until(condition: Callable[[], Any], seconds: float = DEADLINE) -> None:
    """Sleeps until ``condition()`` holds by what other threads or processes do."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"nothing within {seconds} s"
        time.sleep(0.02)


_WORDS = '["x",[' + '"ab",' * 190_000 + "0]]"


def cost(look: Callable[[], Any]) -> float:
    """The CPU time of ``look``, in that of the standard library for 1 MB of JSON (some 14 ms).

    The least of five of each, one by one: busy or slow machines slow down both.
    """
    spent, reads = [], []
    for _ in range(5):
        begun = time.process_time()
        look()
        between = time.process_time()
        json.loads(_WORDS)
        spent.append(between - begun)
        reads.append(time.process_time() - between)
    return min(spent) / min(reads)


def compute(seconds: float = 0.006) -> None:
    """Keeps the process busy: no other greenlet runs meanwhile."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def settle() -> None:
    """Lets every greenlet that can run do so; for what must not happen."""
    for _ in range(5):
        for _ in range(5):
            gevent.sleep(0)
        # The loop runs many callbacks in one turn. A timer has it look at its sockets, and at the
        # handlers whose turn was over, as it is soon on a busy machine.
        gevent.sleep(0.001)


class Clock:
    """A clock that a test moves, with what is due on it."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._order = itertools.count()
        self.due: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []

    def now(self) -> float:
        return self.time

    def later(self, seconds: float, do: Callable[..., Any], *args: Any) -> None:
        """Calls ``do`` when the clock has been moved on by ``seconds``."""
        heapq.heappush(self.due, (self.time + seconds, next(self._order), do, args))

    def advance(self, seconds: float) -> None:
        """Moves the clock on; what is due by then is done on the way, in order."""
        end = self.time + seconds
        while self.due and self.due[0][0] <= end:
            self.time, _, do, args = heapq.heappop(self.due)
            do(*args)
        self.time = end
