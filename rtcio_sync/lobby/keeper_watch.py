"""How the workers of a lobby find out that its keeper stands still. # hub or greenlet

The *deputy* is a worker of the keeper's host that has a copy of the keeper's table. A worker that
gets no answer from the keeper tells all, and the deputy asks the keeper itself. If it does not
answer either, the deputy takes over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import msgspec

from ..cluster.ports import Bus
from ..transport.ports import Later
from .keeper_changes import Changes
from .keeper_copy import Copy
from .keeper_messages import Op, Seat

__all__ = ["Watch"]

SILENT_AFTER = 1.0  # seconds in which a keeper that runs says something


class Watch:
    """The watch of one worker.

    ``keeper()``: the worker that keeps the rooms; `None`: this one, or it is not known.
    ``take_over(node)``: has this worker keep them in place of ``node``.
    """

    def __init__(
        self,
        bus: Callable[[], Bus],
        later: Later,
        post: Callable[[str, Op], None],
        changes: Changes,
        keeper: Callable[[], str | None],
        take_over: Callable[[str], None],
    ) -> None:
        self._bus = bus
        self._later = later
        self._post = post
        self._changes = changes
        self._keeper = keeper
        self._take_over = take_over
        #: The copy, if this worker is the deputy.
        self.copy: Copy | None = None
        #: The seats in the copy of which the peers were not told a moment ago.
        self._untold: list[Seat] = []
        self._watching = False
        self._suspected = 0.0
        #: When the keeper was asked whether it runs; `None`: it is not, or has answered.
        self._asked: float | None = None
        self.handlers: dict[str, Callable[[str, Op], None]] = {
            "silent": self._told,
            "runs": self._answer,
            "runs yes": self._answered,
        }

    def begin(self) -> None:
        """The keeper has been told something, or has something to do, which it says."""
        if not self._watching and self._keeper() is not None:
            self._watching = True
            self._later(SILENT_AFTER, self._look)

    def late(self, node: str) -> tuple[float, Callable[[], None]]:
        """What to do when the keeper has not answered a question: as of `Questions.wait`."""
        return SILENT_AFTER, partial(self._suspect, node)

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
        """The keeper makes this worker its deputy, or not. Raises `msgspec.ValidationError`."""
        seats = msgspec.convert(op.given or [], list[Seat])
        self.copy = Copy(node, seats) if op.what == "copy" else None

    def changed(self, node: str, op: Op) -> None:
        """A seat has changed. Raises `msgspec.ValidationError`."""
        if self.copy is None or self.copy.source != node:
            return
        seat = None if op.given is None else msgspec.convert(op.given, Seat)
        self.copy.set(op.room, op.sid, seat)
        if seat is not None and not seat.entered:
            self.begin()

    def _look(self) -> None:
        self._watching = False
        keeper = self._keeper()
        before, self._untold = self._untold, [] if self.copy is None else self.copy.untold()
        if keeper is not None and (self._changes or self._untold):
            late = self._changes.told_before(time.monotonic() - SILENT_AFTER)
            if late or any(seat in before for seat in self._untold):
                self._suspect(keeper)
            self.begin()

    def _suspect(self, node: str) -> None:
        """The keeper has said nothing for `SILENT_AFTER`."""
        now = time.monotonic()
        if node != self._keeper() or now < self._suspected + SILENT_AFTER / 2:
            return
        self._suspected = now
        if self._is_deputy_of(node):
            self._ask(node)
            return
        for each in self._bus().nodes:
            if each != node:
                self._post(each, Op("silent", sid=node))

    def _is_deputy_of(self, node: str) -> bool:
        bus, copy = self._bus(), self.copy
        if copy is None or node != self._keeper() or node not in bus.neighbours:
            return False
        return copy.source == node or copy.source not in bus.nodes

    def _told(self, node: str, op: Op) -> None:
        if self._is_deputy_of(op.sid):
            self._ask(op.sid)

    def _ask(self, node: str) -> None:
        if self._asked is None:
            self._asked = time.monotonic()
            self._post(node, Op("runs"))
            self._later(SILENT_AFTER, self._unanswered, node, self._asked)

    def _answer(self, node: str, op: Op) -> None:
        self._post(node, Op("runs yes"))

    def _answered(self, node: str, op: Op) -> None:
        if node == self._keeper():
            self._asked = None

    def _unanswered(self, node: str, asked: float) -> None:
        if self._asked != asked:
            return
        self._asked = None
        if not self._is_deputy_of(node):
            return
        if time.monotonic() > asked + 2 * SILENT_AFTER:  # this worker stood still itself
            self._ask(node)
        else:
            self._take_over(node)
