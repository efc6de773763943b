"""Sends the PINGs of all connections and watches their deadlines, in one task.

Engine.IO v4, "Heartbeat": the server sends PING every interval and expects PONG within the
time-out. The intervals are equal for all connections, so each queue below stays in order of time.

PINGs that are due within a moment are one *batch*: the process wakes once for all of them, an idle
connection takes a place in a list, and a PING allocates nothing. The lists have the ids of the
connections, since one that ends stays in them until its PING, or its PONG, would have been due.
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
from ..protocol.packing import Struct
from ..transport.ports import Event
from .packet import AnyPacket, frame_of
from .ports import Pinged, PingEngine

__all__ = ["Beat", "Heartbeat"]

log = logging.getLogger(__name__)

LAG_EVERY = 0.5  # seconds between two measurements of the event loop's delay
TOGETHER = 0.5  # seconds by which a PING may be early, to be sent together with others
AT_ONCE = 32  # PINGs that are sent in one turn of the loop: about a quarter of a millisecond
MERCY = 2.0  # seconds that a client has to answer a PING, at least, after its move
LATENESS = 0.05  # seconds by which a timer is late in a process that is not overloaded


class Beat(Struct):
    """Where the heartbeat of a connection stands, for another process; in seconds."""

    #: Since when it is open.
    age: float
    #: Until when the next PING is due, if no PONG is awaited.
    ping_in: float
    #: Since when a PONG is awaited; `None`: it is not.
    pinged_for: float | None


class _Batch:
    """Connections that are pinged together, when the first of them is due."""

    __slots__ = ("due", "sids")

    def __init__(self, due: float) -> None:
        self.due = due
        self.sids: list[str] = []

    def add(self, socket: Pinged) -> None:
        socket.ping_at = self.due
        self.sids.append(socket.sid)


class Heartbeat:
    """The one clock of an Engine.IO server."""

    def __init__(
        self, server: PingEngine, ping: AnyPacket, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.server = server
        self.ping = ping
        self.now = now
        self._frame = frame_of(ping)
        self._together = min(TOGETHER, server.ping_every / 20)
        self._pings: deque[_Batch] = deque()
        #: Connections that were pinged together: when their PONGs are late, and the PING's time.
        self._pongs: deque[tuple[float, list[str], float]] = deque()
        #: Ids of connections that have perhaps joined no namespace, in the order of their opening.
        self._joins: deque[str] = deque()
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
        if self.server.limits.connect_timeout is not None:
            self._joins.append(socket.sid)
        self._ping_later(socket, now)

    def answered(self, socket: Pinged) -> None:
        """A PONG came. Without a PING before it, nothing changes."""
        if socket.pinged_at is not None:
            socket.pinged_at = None
            self._ping_later(socket, self.now())

    def state(self, socket: Pinged) -> Beat:
        """Where it stands for a connection that leaves this process."""
        now, at = self.now(), socket.pinged_at
        due = socket.ping_at if at is None else now  # in the past: its batch is being sent
        return Beat(now - socket.begun_at, max(0.0, due - now), None if at is None else now - at)

    def go_on(self, socket: Pinged, beat: Beat) -> None:
        """Goes on with a connection that has come from another process."""
        now, timeout = self.now(), self.server.ping_timeout
        socket.begun_at = now - beat.age
        if self.server.limits.connect_timeout is not None and not socket.joined:
            self._joins.append(socket.sid)
        if beat.pinged_for is None:
            self._ping_at(socket, now + max(0.0, beat.ping_in))
            return
        silent = min(beat.pinged_for, max(0.0, timeout - MERCY))
        pinged_at = socket.pinged_at = now - silent
        late = pinged_at + timeout
        place = sum(1 for each in self._pongs if each[0] <= late)
        self._pongs.insert(place, (late, [socket.sid], pinged_at))
        self._start(late)

    def _ping_at(self, socket: Pinged, due: float) -> None:
        """Puts a connection among the batches, which are in the order of time."""
        with self.server.gate:
            place = 0
            for batch in self._pings:
                if batch.due > due:
                    break
                if due <= batch.due + self._together and self._running:
                    batch.add(socket)
                    return
                place += 1
            made = _Batch(due)
            made.add(socket)
            self._pings.insert(place, made)
        self._start(due)

    def _ping_later(self, socket: Pinged, now: float) -> None:
        due = now + self.server.ping_every
        with self.server.gate:  # or the task could take the batch away meanwhile
            batch = self._pings[-1] if self._pings else None
            if batch is not None and self._running and due <= batch.due + self._together:
                batch.add(socket)
                return
            made = _Batch(due)
            made.add(socket)
            self._pings.append(made)
        self._start(due)

    def overdue(self, socket: Pinged) -> bool:
        """Whether the PONG is late; the task may not have noticed it yet."""
        pinged_at = socket.pinged_at  # looked up once: the PONG may come in another thread
        if pinged_at is None or not self.server.gives_up or socket.held_back(pinged_at):
            return False
        return self.now() >= pinged_at + self.server.ping_timeout

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

    def abandon(self) -> None:
        """Forgets all that is due, in a forked child: it is the parent's. # after a fork

        It sets no alarm: another thread may have held its lock, and that thread is not here.
        """
        self._running, self._alarm, self._wakes_at = False, None, math.inf
        for queue in (self._pings, self._pongs, self._joins, self._later):
            queue.clear()

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
        # Wakes at least twice a second, to measure how late the event loop is, and for joins.
        now = self.now()
        seconds = max(0.0, min(due - now, LAG_EVERY))
        if not alarm.wait(seconds):
            self._lag.note(self.now(), self.now() - now - seconds)

    @property
    def lag(self) -> float:
        """The event loop's worst recent delay, in seconds."""
        return self._lag.worst(self.now())

    def _next(self) -> float:
        """When something is due next. For joins, the looks of `_wait` are often enough."""
        return min(
            self._pings[0].due if self._pings else math.inf,
            self._pongs[0][0] if self._pongs else math.inf,
            self._later[0][0] if self._later else math.inf,
        )

    def _beat(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, _, do, args = heapq.heappop(self._later)
            do(*args)
        while self._pings and self._pings[0].due <= now:
            with self.server.gate:
                batch = self._pings.popleft()
            self._ping(batch, now)
        while self._pongs and self._pongs[0][0] <= now:
            _, sids, pinged_at = self._pongs.popleft()
            if self.server.gives_up:
                here = [each for each in map(self.server.sockets.get, sids) if each is not None]
                silent = [each for each in here if each.pinged_at == pinged_at]
                self._give_up(silent, pinged_at, now)
        limit = self.server.limits.connect_timeout
        while self._joins and limit is not None:
            late = self.server.sockets.get(self._joins[0])
            if late is not None and late.begun_at + limit > now:
                break
            self._joins.popleft()
            if late is not None and not late.closed and not late.joined:
                late.fail("connect-timeout", "forced close")

    def _ping(self, batch: _Batch, now: float) -> None:
        # The time-out counts from when the PING was due, so that a timer's small delay does not
        # prolong it. After a long delay it counts from now: the client gets all of it.
        pinged_at = batch.due if now - batch.due < LATENESS else now
        sids = list(dict.fromkeys(batch.sids))  # one that was away may be there twice
        self._pongs.append((pinged_at + self.server.ping_timeout, sids, pinged_at))
        for number, sid in enumerate(sids, 1):
            if number % AT_ONCE == 0:
                # Others have their turn. After sleep(0) the loop would not look at its sockets.
                self.server.sleep(0.0001)
            socket = self.server.sockets.get(sid)
            if socket is None or socket.ping_at != batch.due:
                continue  # it has ended; or it was in another process, and has come back
            try:
                transport = socket.transport
                if transport is not None:
                    socket.pinged_at = pinged_at
                    transport.send_now(self._frame)
                elif not socket.closed:
                    socket.pinged_at = pinged_at
                    socket.send(self.ping)
            except Exception:  # an error of one connection must not stop the others' PINGs
                log.exception("a connection's ping failed")

    def _give_up(self, silent: list[Pinged], pinged_at: float, now: float) -> None:
        """Closes connections whose PONG is late."""
        held_back = []
        for socket in silent:
            if socket.held_back(pinged_at):
                # Reading from it is paused, and its PONG may wait to be read.
                socket.pinged_at = now
                held_back.append(socket.sid)
            else:
                socket.fail("ping-timeout", "ping timeout")
        if held_back:
            self._pongs.append((now + self.server.ping_timeout, held_back, now))
