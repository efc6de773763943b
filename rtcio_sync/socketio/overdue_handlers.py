"""Warns of handlers that run for long.

Handlers have no timers of their own. While any handler runs, one look is scheduled, for the time
when the oldest of them will have run for `PATIENCE`.
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
    """The running handlers of one server. # greenlet, except `_look`"""

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
        #: Running handlers, in the order of their start.
        self._running: dict[int, tuple[float, str, Member]] = {}
        self._looks = False

    def begin(self, event: str, member: Member, now: float) -> int:
        """Notes that a handler starts; returns the number for `end`.

        ``member``: may be one that is not known to the manager, while its client asks to join.
        """
        link = member.link
        if link is None or link.tested:
            return -1
        number = next(self._numbers)
        self._running[number] = (now, event, member)
        if not self._looks:
            self._looks = True
            self.later(PATIENCE, self._look)
        return number

    def end(self, number: int) -> None:
        """Notes that the handler has ended."""
        self._running.pop(number, None)

    def _look(self) -> None:  # the clock's greenlet: must not block
        now = self.now()
        self._looks = False
        for number, (begun, event, member) in self._running.copy().items():
            left = begun + PATIENCE - now
            if left > 0:
                self._looks = True
                self.later(left, self._look)
                return
            if self._running.pop(number, None) is not None:  # else it has just ended, in its thread
                self.spawn(_warn, event, member.sid, member.namespace, now - begun)


def _warn(event: str, sid: str, namespace: str, seconds: float) -> None:
    fields = {**about(sid=sid, namespace=namespace, event=event), "rtcio_seconds": round(seconds)}
    log.warning(_WARNING, fields, extra=fields)
