"""Sends the PINGs of all connections and watches their deadlines, in one task.

Engine.IO v4, "Heartbeat": the server sends PING every interval and expects PONG within the
time-out. The intervals are equal for all connections, so each queue below stays in order of time.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ..metrics import Lag
from ..transport.base import Event
from .packet import AnyPacket
from .ports import Pinged, PingEngine

__all__ = ["Heartbeat"]

log = logging.getLogger(__name__)

LAG_EVERY = 0.5  # seconds between two measurements of the event loop's delay
TOGETHER = 0.1  # seconds by which a PING may be early, to be sent together with others
LATENESS = 0.05  # seconds by which a timer is late in a process that is not overloaded


class Heartbeat:
    """The one clock of an Engine.IO server."""

    def __init__(
        self, server: PingEngine, ping: AnyPacket, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.server = server
        self.ping = ping
        self.now = now
        self._pings: deque[tuple[float, Pinged]] = deque()
        self._pongs: deque[tuple[float, Pinged, float]] = deque()
        self._joins: deque[tuple[float, str]] = deque()
        self._later: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._alarm: Event | None = None
        self._running = False
        self._wakes_at = math.inf
        self._lag = Lag()

    # -- hub or greenlet ---------------------------------------------------------------------

    def begin(self, socket: Pinged) -> None:
        """A connection is open: sends its PINGs, and closes it if it joins no namespace in time."""
        now = socket.begun_at = self.now()
        limit = self.server.limits.connect_timeout
        if limit is not None:
            self._joins.append((now + limit, socket.sid))
            self._start(now + limit)
        self._ping_later(socket, now)

    def answered(self, socket: Pinged) -> None:
        """A PONG came. Without a PING before it, nothing changes."""
        if socket.pinged_at is not None:
            socket.pinged_at = None
            self._ping_later(socket, self.now())

    def _ping_later(self, socket: Pinged, now: float) -> None:
        due = now + self.server.ping_every
        self._pings.append((due, socket))
        self._start(due)

    def overdue(self, socket: Pinged) -> bool:
        """Whether the PONG is late; the task may not have noticed it yet."""
        if socket.pinged_at is None or not self.server.gives_up:
            return False
        if socket.held_back(socket.pinged_at):
            return False
        return bool(self.now() >= socket.pinged_at + self.server.ping_timeout)

    def later(self, seconds: float, do: Callable[..., Any], *args: Any) -> None:
        """Has ``do(*args)``, which must not block, called after ``seconds``."""
        due = self.now() + seconds
        heapq.heappush(self._later, (due, next(self._order), do, args))
        self._start(due)

    def stop(self) -> None:
        """Ends the task; the next connection would start it again."""
        self._running = False
        if self._alarm is not None:
            self._alarm.set()

    # -- greenlet ----------------------------------------------------------------------------

    def _start(self, due: float) -> None:
        if not self._running:
            self._running = True
            self._alarm = self.server.create_event()
            self.server.spawn(self._run, self._alarm)
        elif due < self._wakes_at and self._alarm is not None:
            self._alarm.set()

    def _run(self, alarm: Event) -> None:
        while self._running and self._alarm is alarm:
            try:
                self._beat(self.now())
            except Exception:  # an error of one connection must not stop the others' PINGs
                log.exception("a connection's ping or deadline failed")
            # Set to "never" first: if another thread queues something now, it sets the alarm.
            self._wakes_at = math.inf
            due = self._wakes_at = self._next()
            if due == math.inf:
                alarm.wait()
            else:
                self._wait(alarm, due)
            alarm.clear()

    def _wait(self, alarm: Event, due: float) -> None:
        # Wakes at least twice a second, to measure how late the event loop is.
        now = self.now()
        seconds = max(0.0, min(due - now, LAG_EVERY))
        if not alarm.wait(seconds):
            self._lag.note(self.now(), self.now() - now - seconds)

    @property
    def lag(self) -> float:
        """The event loop's worst recent delay, in seconds."""
        return self._lag.worst(self.now())

    def _next(self) -> float:
        queues: tuple[Any, ...] = (self._pings, self._pongs, self._joins, self._later)
        return min((queue[0][0] for queue in queues if queue), default=math.inf)

    def _beat(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, _, do, args = heapq.heappop(self._later)
            do(*args)
        # Also sends the PINGs that are due soon: one turn of the loop instead of one for each.
        soon = now + min(TOGETHER, self.server.ping_every / 50)
        while self._pings and self._pings[0][0] <= soon:
            due, socket = self._pings.popleft()
            if not socket.closed:
                # The time-out counts from when the PING was due, so that a timer's small delay does
                # not prolong it. After a long delay it counts from now: the client gets all of it.
                socket.pinged_at = pinged_at = due if now - due < LATENESS else now
                socket.send(self.ping)
                self._pongs.append((pinged_at + self.server.ping_timeout, socket, pinged_at))
        while self._pongs and self._pongs[0][0] <= now:
            _, socket, pinged_at = self._pongs.popleft()
            if socket.pinged_at != pinged_at or not self.server.gives_up:
                continue
            if socket.held_back(pinged_at):
                # Reading from it is paused, and its PONG may wait to be read.
                socket.pinged_at = now
                self._pongs.append((now + self.server.ping_timeout, socket, now))
            else:
                socket.fail("ping-timeout", "ping timeout")
        while self._joins and self._joins[0][0] <= now:
            late = self.server.sockets.get(self._joins.popleft()[1])
            if late is not None and not late.closed and not late.joined:
                late.fail("connect-timeout", "forced close")
