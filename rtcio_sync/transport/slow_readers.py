"""Bytes that wait for slow clients: how many in all, and which connections are closed for them.

Three rules. At most `Limits.max_buffered_bytes` wait for one connection. Below that bound progress
decides: a connection for which more than `LARGE` bytes wait is closed if its client took less than
`PROGRESS` bytes in the last `STALL` seconds. At most ``max_buffered_total`` bytes wait for all
connections together; over it, the slowest is closed first.

What is sent within its turn of the loop is not counted here. One check a second serves all
connections; none has a timer of its own.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable
from itertools import chain, compress, repeat
from operator import is_
from typing import Any

from .closing import Closing
from .ports import Gate, Later, Queue

__all__ = ["COUNTED", "ITEM", "LARGE", "Backlog", "Holdings", "Pace"]

LARGE = 1_000_000
"""Bytes that may wait for a client, however slowly it reads."""

PROGRESS = 64_000
"""Bytes that a client has to take within `STALL` seconds while more than `LARGE` wait for it."""

STALL = 5.0

COUNTED = 8192
"""Bytes for a polling client, in its outbox or in an answer, up to which they are not counted."""

EVERY = 1.0  # seconds between two checks

ITEM = 200
"""Bytes of memory that a message takes beside its own: its object and its entries in lists."""

SLOT = 16  # bytes of memory that a message takes in each further queue that shares it

MANY = 100  # values: the memory of more than these is counted together

_SEVERAL = (list, tuple, set, frozenset)

SPARE = 0.95  # of the total, down to which clients that do not read are closed


class Holdings:
    """Messages that wait in queues. A message that waits in several counts once.

    `size`: the bytes of the messages themselves. `cost`: the memory that they take.
    """

    __slots__ = ("_held", "cost", "size")

    def __init__(self) -> None:
        self._held: dict[int, int] = {}  # by id(): a queue that holds a message keeps it alive
        self.size = 0
        self.cost = 0

    def hold(self, item: object, size: int, cost: int, queues: int = 1) -> None:
        """More queues hold `item`, which has `size` bytes and takes `cost` bytes of memory."""
        count = self._held.get(id(item), 0)
        self._held[id(item)] = count + queues
        self.cost += SLOT * queues
        if not count:
            self.size += size
            self.cost += cost - SLOT

    def release(self, item: object, size: int, cost: int) -> None:
        """One queue holds it no longer. Call it as often as `hold`, with the same numbers."""
        count = self._held.get(id(item), 0) - 1
        if count < 0:  # a signal interrupted `hold`
            return
        if count:
            self._held[id(item)] = count
            self.cost -= SLOT
        else:
            del self._held[id(item)]
            self.size -= size
            self.cost -= cost


class Pace:
    """The speed at which one client takes what waits for it."""

    __slots__ = ("_at", "_mark", "_taken", "large_at", "moved_at", "rate")

    def __init__(self, now: float, taken: int | None) -> None:
        self._at = now
        self._taken = self._mark = taken or 0
        #: Recent bytes per second; infinite while it is unknown.
        self.rate = math.inf
        #: When it last had taken `PROGRESS` bytes more.
        self.moved_at = -math.inf
        #: Since when more than `LARGE` bytes wait.
        self.large_at = math.inf

    def note(self, now: float, taken: int | None, waits: int) -> None:
        """Notes what the client has taken by now, and what waits for it."""
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
        """Whether the client made progress within the last `STALL` seconds."""
        return now - self.moved_at < STALL

    def stalled(self, now: float) -> bool:
        """Whether much has waited for it for `STALL` seconds, and it made no progress."""
        return now - max(self.moved_at, self.large_at) >= STALL


class Backlog:
    """All that waits for the clients of a server. # hub or greenlet: everything

    ``bound``: bytes of memory that it may take; `None`: no bound. ``now`` gives the time, and
    ``later(seconds, do)`` calls back.
    """

    def __init__(self, bound: int | None, *, now: Callable[[], float], later: Later) -> None:
        self.bound = bound
        self.holdings = Holdings()
        #: The connections that are closing.
        self.closing = Closing()
        #: Guards the lines that two threads must not run at once.
        self.gate: Gate = contextlib.nullcontext()
        #: Called when a connection is over its bound: ``(message, bound)``, with the last message.
        self.on_ceiling: Callable[[Any, int | None], None] = lambda message, ceiling: None
        #: Called when all connections together are over the bound: ``(bound)``.
        self.on_total: Callable[[int | None], None] = lambda bound: None
        self._now = now
        self._later = later
        self._paces: dict[Queue, Pace] = {}
        self._looking = False
        self._relieving = False

    def join(self, queue: Queue) -> None:
        """Something waits in this queue."""
        if queue not in self._paces:
            self._paces[queue] = Pace(self._now(), queue.taken())
            if not self._looking:
                self._looking = True
                self._later(EVERY, self._look)

    def leave(self, queue: Queue) -> None:
        """Nothing waits in it any more."""
        self._paces.pop(queue, None)

    def hold(self, item: object, size: int, cost: int | None = None) -> None:
        """A queue that has joined holds a message; call `check` afterwards.

        ``cost``: the memory that it takes. `None`: its bytes, and `ITEM`.
        """
        with self.gate:
            self.holdings.hold(item, size, size + ITEM if cost is None else cost)

    def release(self, item: object, size: int, cost: int | None = None) -> None:
        """The queue holds it no longer."""
        with self.gate:
            self.holdings.release(item, size, size + ITEM if cost is None else cost)

    def check(self) -> None:
        """Closes the slowest connections if too much waits in all."""
        if self.bound is not None and self.holdings.cost > self.bound:
            self._relieve(self.bound)

    def moves(self, queue: Queue) -> bool:
        """Whether something waits in the queue, and its client makes progress."""
        pace = self._paces.get(queue)
        return pace is not None and pace.moves(self._now())

    def _look(self) -> None:
        self._looking = False
        now = self._now()
        for queue, pace in self._paces.copy().items():
            pace.note(now, queue.taken(), queue.waits())
            if pace.stalled(now) and queue in self._paces:
                queue.give_up()
        if self._paces and not self._looking:
            self._looking = True
            self._later(EVERY, self._look)

    def _relieve(self, bound: int) -> None:
        if self._relieving:  # peers are told that a client left, and that message waits as well
            return
        self._relieving = True
        try:
            slowest = sorted(
                self._paces.copy().items(), key=lambda entry: (entry[1].rate, -entry[0].waits())
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
    """Bytes of memory that a value takes. Counting stops once they exceed ``bound``."""
    size, left = 0, [value]
    while left and size <= bound:
        if len(left) > MANY:
            more, left = _memory_of_many(left, bound)
            size += more
            continue
        each = left.pop()
        size += sys.getsizeof(each)
        if isinstance(each, dict):
            left += each.keys()
            left += each.values()
        elif isinstance(each, _SEVERAL):
            left += each
    return size


def _memory_of_many(values: list[Any], bound: int) -> tuple[int, list[Any]]:
    """Bytes of memory of these values, and what is in them, without steps of Python for each.

    The hub counts what a client has sent and an app sends on: 100,000 values perhaps.
    """
    size, inside = 0, list[Any]()
    kinds: list[Any] = list(map(type, values))
    for kind in set(kinds):
        those = list(compress(values, map(is_, kinds, repeat(kind))))
        extra = sys.getsizeof(those[0]) - kind.__sizeof__(those[0])  # for the garbage collector
        size += sum(map(kind.__sizeof__, those)) + extra * len(those)
        if size > bound:  # and the same list may be in them many times
            break
        if issubclass(kind, dict):
            inside += chain.from_iterable(map(dict.keys, those))
            inside += chain.from_iterable(map(dict.values, those))
        elif issubclass(kind, _SEVERAL):
            inside += chain.from_iterable(those)
    return size, inside
