"""The keeper's *deputy*: another worker of its host that has a copy of its table.

The deputy asks the keeper once a second whether it runs. It takes over if there is no answer, and
the system says that the keeper's process is stopped. One that computes for seconds goes on by
itself, and everybody waits for it.
# hub or greenlet
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

from ..cluster.ports import Bus
from ..transport.ports import Later
from .keeper_copy import Copy
from .keeper_messages import Op

__all__ = ["Deputy", "Watch"]

SILENT_AFTER = 1.0  # seconds in which a keeper that runs answers
READ_WITHIN = 0.05  # seconds in which what has arrived is read
AGAIN = 0.2  # seconds until the deputy tries again to take over
# Seconds after the question when it takes over though the keeper has not sent all that it did: a
# client waits for its answer for 5 s.
FORCED_AFTER = 2.5
MOST_WAITING = 1_000_000  # bytes that wait for a deputy which stands still


class Deputy:
    """The deputy, as the keeper knows it. ``copies()``: as of `Copy`, for all of the table."""

    def __init__(
        self, bus: Callable[[], Bus], post: Callable[[str, Op], None], copies: Callable[[], Any]
    ) -> None:
        self._bus = bus
        self._post = post
        self._copies = copies
        self.node: str | None = None
        #: Bytes that may wait for it.
        self._most = MOST_WAITING

    def appoint(self, able: Collection[str]) -> None:
        """Sees to it that one of these nodes has a copy."""
        bus = self._bus()
        if self.node in able:
            return
        fit = [node for node in able if bus.waiting(node) <= MOST_WAITING]
        self.node = min(fit, key=lambda node: (bus.born(node), node), default=None)
        if self.node is None:
            return
        for node in able:
            if node != self.node:
                self._post(node, Op("no copy"))
        self._post(self.node, Op("copy", given=self._copies()))
        # A large copy waits for a while itself: it is not made again for that.
        self._most = MOST_WAITING + bus.waiting(self.node)

    def copy(self, room: str, sid: str, given: Any) -> None:
        """A seat of the table is this now, as of `Copy`; `None`: it is free."""
        if self.node is None:
            return
        if self._bus().waiting(self.node) <= self._most:
            self._post(self.node, Op("copied", room, sid, given))
        else:  # it asks for another copy when it goes on
            self.end()

    def end(self) -> None:
        """There is none any more."""
        if self.node is not None:
            self._post(self.node, Op("no copy"))
        self.node = None


class Watch:
    """The watch of the deputy, if this worker is it.

    ``keeper()``: the worker that keeps the rooms; `None`: this one, or it is not known.
    ``take_over(node, force)``: has this worker keep them in place of ``node``; ``force``: also if
    that one has not sent all that it did.
    """

    def __init__(
        self,
        bus: Callable[[], Bus],
        later: Later,
        post: Callable[[str, Op], None],
        keeper: Callable[[], str | None],
        take_over: Callable[[str, bool], None],
    ) -> None:
        self._bus = bus
        self._later = later
        self._post = post
        self._keeper = keeper
        self._take_over = take_over
        self.copy: Copy | None = None
        self._ticks = False
        #: The keeper that was asked and has not answered, and when it was.
        self._asked: tuple[str, float] | None = None
        self._tries = False

    def follow(self, keeper: str | None) -> None:
        """Another worker keeps the rooms now; `None`: this one."""
        bus, copy = self._bus(), self.copy
        self._asked = None
        if copy is None or keeper is None or copy.source == keeper:
            return
        # Of one that has died: the next keeper may stand still before it has copied its table.
        if copy.source in bus.nodes or keeper not in bus.neighbours:
            self.copy = None

    def copied(self, node: str, op: Op) -> None:
        """The keeper makes this worker its deputy. Raises `msgspec.ValidationError`."""
        self.copy = Copy(node, op.given)
        if not self._ticks:
            self._ticks = True
            self._later(SILENT_AFTER, self._tick)

    def dismissed(self, node: str, op: Op) -> None:
        """The keeper has another deputy, or has had too much to send: it may appoint this one."""
        if self.copy is not None:
            self.copy = None
            self._post(node, Op("runs"))

    def changed(self, node: str, op: Op) -> None:
        """A seat has changed. Raises `msgspec.ValidationError`."""
        if self.copy is not None and self.copy.source == node:
            self.copy.set(op.room, op.sid, op.given)

    def answered(self, node: str, op: Op) -> None:
        """The keeper runs."""
        self._asked = None

    def _tick(self) -> None:
        self._ticks = self.copy is not None
        if not self._ticks:
            return
        self._later(SILENT_AFTER, self._tick)
        keeper, asked, now = self._keeper(), self._asked, time.monotonic()
        if self._tries:
            return
        if keeper is None or not self._is_deputy_of(keeper):
            self._asked = None
        # After twice the time this worker has stood still itself.
        elif asked is None or asked[0] != keeper or now > asked[1] + 2 * SILENT_AFTER:
            self._asked = keeper, now
            self._post(keeper, Op("runs"))
        elif now >= asked[1] + SILENT_AFTER * 0.9:
            self._later(READ_WITHIN, self._unanswered, asked)

    def _unanswered(self, asked: tuple[str, float]) -> None:
        """All that the keeper had sent by the last tick has been read."""
        keeper, since = asked
        follows = self._asked == asked and keeper == self._keeper() and self._is_deputy_of(keeper)
        self._tries = follows and self._bus().is_stopped(keeper)
        if self._tries:
            self._take_over(keeper, time.monotonic() >= since + FORCED_AFTER)
            # If it has taken over, the next try finds that it follows nobody.
            self._later(AGAIN, self._unanswered, asked)
        elif self._asked == asked:
            self._asked = None

    def _is_deputy_of(self, node: str) -> bool:
        bus, copy = self._bus(), self.copy
        if copy is None or node not in bus.neighbours:
            return False
        return copy.source == node or copy.source not in bus.nodes
