"""The other end of a `redis_outbox.Outbox`: takes each number once, in order. Pure."""

from __future__ import annotations

__all__ = ["Intake", "Verdict"]


class Verdict:
    """What becomes of an entry that has come."""

    #: It is the next one, and counts as taken from now on.
    TAKE = "take"
    #: It was taken before.
    AGAIN = "again"
    #: Others before it are missing.
    GAP = "gap"
    #: The sender has begun anew with it.
    ANEW = "anew"
    #: It is of an epoch that is over, or of a new one that did not begin with it.
    STALE = "stale"


class Intake:
    """What one node has sent in this epoch."""

    __slots__ = ("following",)

    def __init__(self) -> None:
        #: The number of the next entry.
        self.following = 0

    def judge(self, epoch: int, number: int, current: int) -> str:
        """``current``: the epoch of the two nodes."""
        if epoch != current:
            return Verdict.ANEW if epoch > current and number == 0 else Verdict.STALE
        if number == self.following:
            self.following = number + 1
            return Verdict.TAKE
        return Verdict.AGAIN if number < self.following else Verdict.GAP
