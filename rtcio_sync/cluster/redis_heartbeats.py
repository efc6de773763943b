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
# Seconds of good time. A death is noticed within eight seconds. A node that could not reach Redis
# for four seconds has some time to connect again.
DEAD_AFTER = 6.75


class _Seen:
    __slots__ = ("mark", "moved", "since")

    def __init__(self, mark: int | None, since: float) -> None:
        self.mark = mark
        self.moved = False
        self.since = since


class Beats:
    """Judges the marks of other nodes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._asked = self._answered = clock()
        self._seen: dict[str, _Seen] = {}
        #: Seconds in which Redis has answered.
        self.good = 0.0

    def ask(self) -> None:
        """The marks are asked for."""
        self._asked = self._clock()

    def answer(self, marks: Mapping[str, int], ages: Mapping[str, float]) -> list[str]:
        """The marks that were asked for, and the seconds since each was made, as Redis says.

        Returns the nodes that are dead.
        """
        now = self._clock()
        if now - self._asked <= PROMPT:
            self.good += min(now - self._answered, STEP)
        self._answered = now
        for node, seen in self._seen.items():
            mark = marks.get(node)
            if mark is not None and mark != seen.mark:
                seen.moved = seen.mark is not None
                # Redis' clock may jump.
                seen.mark, seen.since = mark, self.good - min(max(0.0, ages[node]), EACH)
        return [node for node, each in self._seen.items() if self.good - each.since >= DEAD_AFTER]

    def watch(self, node: str, mark: int | None = None) -> None:
        """A node is to be judged from now on."""
        self._seen.setdefault(node, _Seen(mark, self.good))

    def forget(self, node: str) -> None:
        """A node is dead."""
        self._seen.pop(node, None)

    def moved(self, node: str) -> bool:
        """Whether its mark has changed since it is watched."""
        found = self._seen.get(node)
        return found is not None and found.moved
