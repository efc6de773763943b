"""What waits for clients that read slowly: how much it is in all, and who has to go.

Three rules. One connection holds at most `Limits.max_buffered_bytes`. Below that, progress decides
and size does not: a connection for which more than `LARGE` bytes wait is closed when its client
took less than `PROGRESS` bytes in the last `STALL` seconds. All connections together hold at most
``max_buffered_total``; over it, the slowest is closed first.

What drains within its turn of the loop never comes here. One look a second at the others serves
all of them; a connection has no timer of its own.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable
from typing import Any

from .base import Gate, Later, Queue

__all__ = ["COUNTED", "ITEM", "LARGE", "Backlog", "Holdings", "Pace"]

LARGE = 1_000_000
"""Bytes that may wait for a client, however slowly it reads."""

PROGRESS = 64_000
"""Bytes that a client has to take within `STALL` seconds while more than `LARGE` wait for it."""

STALL = 5.0

COUNTED = 8192
"""Bytes for a polling client, in its outbox or in an answer, that are not worth to be counted."""

EVERY = 1.0  # seconds between two looks

ITEM = 200
"""Bytes that a message costs in memory beside its own: the object, its place, its entry here."""

SLOT = 16  # bytes that each further queue pays for a message which it shares with others

SPARE = 0.95  # of the total that is left when those who do not read were closed: several at a time


class Holdings:
    """Messages that wait in queues; one that waits in several counts once.

    `size`: the bytes of the messages themselves. `cost`: what they take up in memory.
    """

    __slots__ = ("_held", "_slot", "cost", "size")

    def __init__(self, slot: int = SLOT) -> None:
        self._slot = slot
        self._held: dict[int, int] = {}  # by identity: whoever holds a message keeps it alive
        self.size = 0
        self.cost = 0

    def hold(self, item: object, size: int, cost: int) -> None:
        """One more queue holds `item`, of so many bytes, which takes up so much memory."""
        count = self._held.get(id(item), 0)
        self._held[id(item)] = count + 1
        if count:
            self.cost += self._slot
        else:
            self.size += size
            self.cost += cost

    def release(self, item: object, size: int, cost: int) -> None:
        """One queue holds it no more: as often as it was held, and with the same figures."""
        count = self._held.get(id(item), 0) - 1
        if count < 0:  # a signal came between a message and its book-keeping
            return
        if count:
            self._held[id(item)] = count
            self.cost -= self._slot
        else:
            del self._held[id(item)]
            self.size -= size
            self.cost -= cost


class Pace:
    """How fast one client takes what waits for it."""

    __slots__ = ("_at", "_mark", "_taken", "large_at", "moved_at", "rate")

    def __init__(self, now: float, taken: int | None) -> None:
        self._at = now
        self._taken = self._mark = taken or 0
        #: Bytes a second, lately; infinite while nobody can tell.
        self.rate = math.inf
        #: When it had last taken `PROGRESS` bytes more.
        self.moved_at = -math.inf
        #: Since when more than `LARGE` bytes wait.
        self.large_at = math.inf

    def note(self, now: float, taken: int | None, waits: int) -> None:
        """A look at the client: what it has taken by now, and what waits."""
        if taken is None:
            self.moved_at = now
        else:
            self._measure(now, taken)
        if waits <= LARGE:
            self.large_at = math.inf
        elif self.large_at == math.inf:
            self.large_at = now

    def _measure(self, now: float, taken: int) -> None:
        if now > self._at:
            rate = max(0, taken - self._taken) / (now - self._at)
            self.rate = rate if self.rate == math.inf else (self.rate + rate) / 2
            self._at, self._taken = now, taken
        if taken - self._mark >= PROGRESS:
            self._mark, self.moved_at = taken, now

    def moves(self, now: float) -> bool:
        """Whether the client takes what it gets."""
        return now - self.moved_at < STALL

    def stalled(self, now: float) -> bool:
        """Whether much waits for it, and has for a while, and it does not take it."""
        return now - max(self.moved_at, self.large_at) >= STALL


class Backlog:
    """What waits for all clients of a server.

    ``bound``: bytes of memory that it may take up; `None`: any number. ``now`` is the clock, and
    ``later(seconds, do)`` calls back. # hub or greenlet: everything
    """

    def __init__(self, bound: int | None, *, now: Callable[[], float], later: Later) -> None:
        self.bound = bound
        self.holdings = Holdings()
        #: Guards what two threads must not do at once.
        self.gate: Gate = contextlib.nullcontext()
        #: Called with a message for which a connection is over its ceiling, and with that.
        self.on_ceiling: Callable[[Any, int | None], None] = lambda message, ceiling: None
        #: Called with the bound when all connections together are over it.
        self.on_total: Callable[[int | None], None] = lambda bound: None
        self._now = now
        self._later = later
        self._paces: dict[Queue, Pace] = {}
        self._looking = False
        self._relieving = False

    def join(self, queue: Queue) -> None:
        """Something waits for a client."""
        if queue not in self._paces:
            self._paces[queue] = Pace(self._now(), queue.taken())
            if not self._looking:
                self._looking = True
                self._later(EVERY, self._look)

    def leave(self, queue: Queue) -> None:
        """Nothing waits for it any more."""
        self._paces.pop(queue, None)

    def hold(self, item: object, size: int, cost: int | None = None) -> None:
        """A queue that has joined holds a message; `check` is to follow.

        ``cost``: the memory that it takes up. `None`: its bytes and what any object costs.
        """
        with self.gate:
            self.holdings.hold(item, size, size + ITEM if cost is None else cost)

    def release(self, item: object, size: int, cost: int | None = None) -> None:
        """It holds it no longer."""
        with self.gate:
            self.holdings.release(item, size, size + ITEM if cost is None else cost)

    def check(self) -> None:
        """Closes the slowest if it is too much in all."""
        if self.bound is not None and self.holdings.cost > self.bound:
            self._relieve(self.bound)

    def moves(self, queue: Queue) -> bool:
        """Whether something waits for a client, and the client takes it."""
        pace = self._paces.get(queue)
        return pace is not None and pace.moves(self._now())

    def _look(self) -> None:
        self._looking = False
        now = self._now()
        for queue, pace in list(self._paces.items()):
            pace.note(now, queue.taken(), queue.waits())
            if pace.stalled(now) and queue in self._paces:
                queue.give_up()
        if self._paces and not self._looking:
            self._looking = True
            self._later(EVERY, self._look)

    def _relieve(self, bound: int) -> None:
        if self._relieving:  # a peer hears that somebody left, and that is a message as well
            return
        self._relieving = True
        try:
            slowest = sorted(
                self._paces.items(), key=lambda entry: (entry[1].rate, -entry[0].waits())
            )
            for queue, pace in slowest:
                slow = pace.rate < PROGRESS / STALL
                if self.holdings.cost <= (bound * SPARE if slow else bound):
                    break
                queue.give_up()
            self.on_total(bound)
        finally:
            self._relieving = False


def memory_of(value: Any, bound: int) -> int:
    """Bytes of memory that a message takes up; not counted on once it is over ``bound``."""
    size, left = 0, [value]
    while left and size <= bound:
        each = left.pop()
        size += sys.getsizeof(each)
        if isinstance(each, dict):
            left += each.keys()
            left += each.values()
        elif isinstance(each, (list, tuple, set, frozenset)):
            left += each
    return size
