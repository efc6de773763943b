"""How long handlers may compute in one turn of the event loop before everybody else is heard.

gevent changes greenlets only where one waits. A client that sends a burst of events whose handler
computes would have the process to itself until the last of them: in one greenlet, or, with many
connections, in as many that are all ready to run. So handlers take turns. Within one turn of the
loop they work for `SLICE`; whoever comes then waits until the loop has looked at its sockets.

A client that has just sent something goes before one whose events have kept the process busy for a
while already, and of these one is let in each turn: nobody starves.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from gevent.hub import Hub, Waiter, get_hub

from .ports import Watcher

__all__ = ["LAST", "SLICE", "Turns"]

SLICE = 0.005
"""Seconds that handlers may compute in one turn of the loop; a single one may take longer."""

FRESH_SLICE = 2 * SLICE
"""The same for those that have just come: they need not wait behind one of the others."""

LAST = -math.inf
"""``since`` of work that nobody waits for."""


class Turns:
    """The turns of one server's handlers. # greenlet, but for `_next`"""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self._turn = -1  # the loop's number of the turn in which somebody worked last,
        self._begun = 0.0  # and when the first did so
        self._fresh: deque[Waiter[None]] = deque()
        self._busy: deque[Waiter[None]] = deque()
        self._timer: Watcher | None = None

    def take(self, since: float) -> None:
        """Returns once the caller may work: at once, as long as this turn has time left.

        ``since``: when it began with what it does without a pause.
        """
        hub = get_hub()
        turn, now = hub.loop.iteration, self.now()
        if turn != self._turn:
            self._turn, self._begun = turn, now
            return
        busy = now - since >= SLICE
        if now - self._begun >= (SLICE if busy else FRESH_SLICE):
            waiter: Waiter[None] = Waiter()
            (self._busy if busy else self._fresh).append(waiter)
            if self._timer is None:
                self._start(hub)
            waiter.get()

    def over(self) -> bool:
        """Whether the time of this turn is used up, for what the hub itself does. # hub"""
        turn, now = get_hub().loop.iteration, self.now()
        if turn != self._turn:
            self._turn, self._begun = turn, now
            return False
        return now - self._begun >= SLICE

    def _start(self, hub: Hub) -> None:
        # A timer, and not a callback: the loop runs those many times before it looks at its
        # sockets. After them, by its priority.
        self._timer = hub.loop.timer(0.0, priority=-1)
        self._timer.start(self._next, hub)

    def _next(self, hub: Hub) -> None:  # hub
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.close()
        self._turn, self._begun = hub.loop.iteration, self.now()
        while self._fresh and self.now() - self._begun < FRESH_SLICE:
            self._fresh.popleft().switch(None)
        if self._busy:
            self._busy.popleft().switch(None)
        while self._busy and self.now() - self._begun < SLICE:
            self._busy.popleft().switch(None)
        if (self._fresh or self._busy) and self._timer is None:
            self._start(hub)
