"""Bounds how long handlers compute in one turn of the event loop, before it looks at its sockets.

gevent switches greenlets only where one waits. If a client sends many events whose handler
computes, no other client would be served until the last of them is done. So handlers take turns. In
one turn of the loop they run for `SLICE`; a handler that comes later waits until the loop has
looked at its sockets.

A client that has just sent something goes before one whose events have kept the process busy. Of
the busy ones at least one runs in each turn, so that none waits forever.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from gevent.hub import Hub, Waiter, get_hub

from .ports import Watcher

__all__ = ["LAST", "PRIORITY", "SLICE", "Turns"]

SLICE = 0.005
"""Seconds that handlers may compute in one turn of the loop; one handler may take longer."""

FRESH_SLICE = 2 * SLICE
"""The same for handlers of clients that have just sent something."""

PRIORITY = -2
"""The loop's priority for the next turn's handlers: after its sockets (0), and after what these
have brought about was sent (-1, `transport.outgoing`)."""

LAST = -math.inf
"""As ``since``: work that can wait, and counts as busy."""


class Turns:
    """The turns of one server's handlers. # greenlet, but for `_next`"""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self._turn = -1  # the loop's number of the last turn in which a handler ran,
        self._begun = 0.0  # and when the first one began in it
        self._fresh: deque[Waiter[None]] = deque()
        self._busy: deque[Waiter[None]] = deque()
        self._timer: Watcher | None = None

    def take(self, since: float | None = None) -> float:
        """Returns when the caller may run: at once if this turn has time left, else it waits.

        ``since``: when the caller began its work, in which it has not waited; `None`: just now.
        """
        hub = get_hub()
        turn, now = hub.loop.iteration, self.now()
        if since is None:
            since = now
        if turn != self._turn:
            self._turn, self._begun = turn, now
            return since
        busy = now - since >= SLICE
        if now - self._begun >= (SLICE if busy else FRESH_SLICE):
            waiter: Waiter[None] = Waiter()
            (self._busy if busy else self._fresh).append(waiter)
            if self._timer is None:
                self._start(hub)
            waiter.get()
        return since

    def over(self) -> bool:
        """Whether this turn's time is used up, for work of the hub itself. # hub"""
        turn, now = get_hub().loop.iteration, self.now()
        if turn != self._turn:
            self._turn, self._begun = turn, now
            return False
        return now - self._begun >= SLICE

    def abandon(self) -> None:
        """Gives no turn to those who wait, in a forked child. # after a fork"""
        self._fresh.clear()
        self._busy.clear()

    def _start(self, hub: Hub) -> None:
        # A timer, not a callback: the loop runs many callbacks before it looks at its sockets.
        self._timer = hub.loop.timer(0.0, priority=PRIORITY)
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
