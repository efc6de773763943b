"""The HTTP connections that wait for a request: how many may wait, and for how long."""

from __future__ import annotations

import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from gevent.hub import get_hub
from gevent.socket import socket as GeventSocket

from ..hub.ports import Watcher

__all__ = ["IDLE_AT_LEAST", "KEEP_ALIVE", "Idle"]

KEEP_ALIVE = 60  # seconds that an idle HTTP connection is kept for its next request
IDLE_AT_LEAST = 64  # HTTP connections that may wait for a request, however full the server is
LOOK_EVERY = 0.5  # seconds between two checks of the deadlines


T = TypeVar("T")


class Waiting(Protocol):
    """A connection that waits for a request."""

    socket: socket.socket


class Timed(Protocol):
    """One whose deadline is watched here."""

    #: When it began to wait: `time.monotonic`.
    since: float

    def too_late(self) -> None:
        """Its time is over; it has been removed. # hub"""


class Idle:
    """The connections that wait: over a bound, the one that waits longest is closed.

    ``bound``: how many may wait at the moment. ``seconds``: how long a new connection may take to
    send a request; `None`: for ever. ``keep_alive``: how long an idle one is kept; `None`:
    `KEEP_ALIVE`, or for ever if a new one has no deadline.
    """

    def __init__(
        self, bound: Callable[[], int], seconds: float | None, keep_alive: float | None = None
    ) -> None:
        self._bound = bound
        self._seconds = seconds
        self._keep_alive = keep_alive
        self._waiting: OrderedDict[Waiting, None] = OrderedDict()
        #: Those with a deadline: of a request, and of the next request on an idle connection.
        self._new: OrderedDict[Timed, None] = OrderedDict()
        self._kept: OrderedDict[Timed, None] = OrderedDict()
        self._timer: Watcher | None = None

    def add(self, connection: Waiting) -> None:
        """It waits from now on. # hub or greenlet"""
        self._waiting[connection] = None
        if len(self._waiting) <= IDLE_AT_LEAST:
            return
        while len(self._waiting) > max(IDLE_AT_LEAST, self._bound()):
            _end(self._waiting.popitem(last=False)[0])

    def end(self) -> None:
        """Closes all that wait. # hub or greenlet"""
        while self._waiting:
            _end(self._waiting.popitem()[0])

    def end_kept(self) -> None:
        """Closes those that have had a request. # hub or greenlet"""
        while self._kept:
            self._kept.popitem(last=False)[0].too_late()

    def discard(self, connection: Waiting) -> None:
        """It waits no longer. # hub or greenlet"""
        self._waiting.pop(connection, None)

    def waiting(self, kind: type[T]) -> list[T]:
        """Those of a kind."""
        return [each for each in self._waiting if isinstance(each, kind)]

    # -- deadlines: hub or greenlet ----------------------------------------------------------------

    def expect(self, connection: Timed, *, kept: bool = False) -> None:
        """It has ``seconds`` for a request; `KEEP_ALIVE` to begin one if it is ``kept``."""
        if (self._keep_alive if kept else None) is None and self._seconds is None:
            return
        connection.since = time.monotonic()
        (self._kept if kept else self._new)[connection] = None
        if self._timer is None:
            # It repeats: a timer of gevent's that is started anew calls back at once.
            self._timer = get_hub().loop.timer(LOOK_EVERY, LOOK_EVERY)
            self._timer.start(self._look)

    def forget(self, connection: Timed) -> None:
        """It has no deadline any more."""
        for queue in (self._new, self._kept):
            queue.pop(connection, None)

    def _look(self) -> None:  # hub
        now = time.monotonic()
        kept = KEEP_ALIVE if self._keep_alive is None else self._keep_alive
        for queue, seconds in ((self._new, self._seconds or 0), (self._kept, kept)):
            while queue and (first := next(iter(queue))).since + seconds <= now:
                del queue[first]
                first.too_late()
        if not self._new and not self._kept:
            self._stop_looking()

    def stop(self) -> None:
        """Closes what waits with a deadline. # greenlet"""
        self.end_kept()
        while self._new:
            self._new.popitem(last=False)[0].too_late()
        self._stop_looking()

    def _stop_looking(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.stop()
            timer.close()


def _end(connection: Waiting) -> None:
    """Ends its TCP connection: whoever reads from it reads the end, or gets an `OSError`."""
    sock = connection.socket
    with suppress(OSError):
        if isinstance(sock, GeventSocket):
            # Not the method of TLS: after it, gevent raises a `ValueError` in who reads just now.
            GeventSocket.shutdown(sock, socket.SHUT_RDWR)
        else:
            sock.shutdown(socket.SHUT_RDWR)
