"""A recovery session for another process: what its client may have missed, and its offsets.

An offset on the wire has the mark of the process that has sent the event, and its number there. In
the new process the kept events get new numbers; `Past` finds them by the offset that the client
knows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from ..protocol.packing import Struct

__all__ = ["KeptEvent", "Past", "SessionState"]


class KeptEvent(Struct):
    """An event, with the offset that it has on the wire."""

    mark: str
    number: int
    #: Seconds since it was sent.
    age: float
    frame: bytes


class SessionState(Struct):
    """A session, with its events from the oldest on."""

    pid: str
    #: Seconds since its client came, or came back, or was lost.
    age: float
    #: Whether it waits for its client.
    away: bool
    events: list[KeptEvent]
    #: The marks of the events that it had, in order, and the oldest offset with each mark after
    #: which all events are kept.
    floors: list[tuple[str, int]]
    #: Whether events were dropped.
    trimmed: bool


class Past:
    """The events of a session that were sent by other processes, or by this one before.

    ``base``: the last number of this process before them.
    """

    __slots__ = ("_marks", "_origins", "base", "last")

    def __init__(
        self, base: int, floors: Iterable[tuple[str, int]], events: list[KeptEvent]
    ) -> None:
        # By mark: the floor, the last number before its first event, and its old and new numbers.
        self._marks: dict[str, tuple[int, int, list[int], list[int]]] = {}
        self._origins: dict[int, tuple[str, int]] = {}
        self.base = base
        #: The number of the newest.
        self.last = base + len(events)
        numbered = list(enumerate(events, base + 1))
        for mark, floor in floors:
            known = self._marks.get(mark)
            if known is not None:  # the session has been in that process twice
                self._marks[mark] = max(floor, known[0]), *known[1:]
                continue
            news = [new for new, each in numbered if each.mark == mark]
            olds = [each.number for each in events if each.mark == mark]
            # Without events here, all that came before those of this mark were dropped, too.
            self._marks[mark] = floor, news[0] - 1 if news else base, olds, news
            self._origins.update((new, (mark, old)) for old, new in zip(olds, news, strict=True))

    def number(self, mark: str, number: int) -> int | None:
        """The number of this process for an offset; 0: the mark is unknown.

        `None`: not all events after it are kept.
        """
        found = self._marks.get(mark)
        if found is None:
            return 0
        floor, base, olds, news = found
        if number < floor:
            return None
        place = bisect_right(olds, number)
        return news[place - 1] if place else base

    def origin(self, number: int) -> tuple[str, int] | None:
        """The offset of an event; `None`: it is none of them."""
        return self._origins.get(number)

    def floors(self, trimmed: int) -> list[tuple[str, int]]:
        """As in `SessionState`. ``trimmed``: the newest number that was dropped."""
        found = []
        for mark, (floor, base, olds, news) in self._marks.items():
            if trimmed <= base:
                found.append((mark, floor))
            elif news and news[-1] >= trimmed:
                found.append((mark, olds[max(0, bisect_right(news, trimmed) - 1)]))
        return found
