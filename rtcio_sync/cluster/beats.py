"""Who lives: marks that change in Redis, and a clock that only runs while Redis answers. Pure.

A node changes its mark every second. One whose mark has stood still for `DEAD_AFTER` is dead. Time
counts only while Redis answers promptly: nobody is blamed for what Redis could not be told. And a
node that stood still itself has not watched the others meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

__all__ = ["DEAD_AFTER", "EACH", "Beats"]

EACH = 1.0  # seconds between two beats
PROMPT = 0.9  # seconds within which an answer is prompt
STEP = 1.25  # seconds that count between two answers, at most
DEAD_AFTER = 5.5  # seconds of good time: so a death is noticed within eight seconds


class _Seen:
    __slots__ = ("mark", "moved", "since")

    def __init__(self, mark: int | None, since: float) -> None:
        self.mark = mark
        self.moved = False
        self.since = since


class Beats:
    """Judges the counters of other nodes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._asked = self._answered = clock()
        self._seen: dict[str, _Seen] = {}
        #: Seconds in which Redis has answered.
        self.good = 0.0

    def ask(self) -> None:
        """The counters are asked for."""
        self._asked = self._clock()

    def answer(self, marks: Mapping[str, int]) -> list[str]:
        """The counters that were asked for. Returns the nodes that are dead."""
        now = self._clock()
        if now - self._asked <= PROMPT:
            self.good += min(now - self._answered, STEP)
        self._answered = now
        for node, seen in self._seen.items():
            mark = marks.get(node)
            if mark is not None and mark != seen.mark:
                seen.moved = seen.mark is not None
                seen.mark, seen.since = mark, self.good
        return [node for node, each in self._seen.items() if self.good - each.since >= DEAD_AFTER]

    def watch(self, node: str, mark: int | None = None) -> None:
        """A node is to be judged from now on."""
        self._seen.setdefault(node, _Seen(mark, self.good))

    def forget(self, node: str) -> None:
        self._seen.pop(node, None)

    def moved(self, node: str) -> bool:
        """Whether its counter was higher when it was last seen than before."""
        found = self._seen.get(node)
        return found is not None and found.moved
