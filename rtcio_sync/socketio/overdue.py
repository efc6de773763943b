"""Which handlers run for long: a warning names each that does not return.

Nothing is timed by itself: while any handler runs, one look at a time is due, when the oldest of
them will have run for `PATIENCE`.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable

from ..adapter.member import Member
from ..logs import about

__all__ = ["PATIENCE", "Overdue"]

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds that a handler may run before the log says so, once."""

_WARNING = (
    "the handler of '%(rtcio_event)s' for %(rtcio_sid)s has run for %(rtcio_seconds)g s: nothing "
    "else that this client sends is handled until it returns"
)


class Overdue:
    """The handlers of one server that run now. # greenlet, but for `_look`"""

    def __init__(
        self,
        *,
        later: Callable[..., None],
        spawn: Callable[..., None],
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.now = now
        self.later = later
        self.spawn = spawn
        self._numbers = itertools.count()
        #: In the order in which they began.
        self._running: dict[int, tuple[float, str, tuple[str, str]]] = {}
        self._looks = False

    def begin(self, event: str, member: Member, now: float) -> int:
        """A handler of a socket's begins; the number to `end` it with."""
        if member.link is None or not member.link.timed:
            return -1
        who = member.sid, member.namespace
        number = next(self._numbers)
        self._running[number] = (now, event, who)
        if not self._looks:
            self._looks = True
            self.later(PATIENCE, self._look)
        return number

    def end(self, number: int) -> None:
        """It returned."""
        self._running.pop(number, None)

    def _look(self) -> None:  # the clock's greenlet: must not block
        now = self.now()
        self._looks = False
        for number, (begun, event, who) in list(self._running.items()):
            left = begun + PATIENCE - now
            if left > 0:
                self._looks = True
                self.later(left, self._look)
                return
            del self._running[number]
            self.spawn(_warn, event, who, now - begun)


def _warn(event: str, who: tuple[str, str], seconds: float) -> None:
    sid, namespace = who
    fields = {**about(sid=sid, namespace=namespace, event=event), "rtcio_seconds": round(seconds)}
    log.warning(_WARNING, fields, extra=fields)
