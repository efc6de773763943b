"""What a worker has told the keeper, and the keeper has not confirmed. # hub or greenlet

It is told to the next keeper again, so nothing that a client does is lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .keeper_messages import Op, Seat

__all__ = ["Change", "Changes"]


@dataclass(eq=False)
class Change:
    """A change to a seat, or a word to its room. ``seat``: as it was before."""

    seat: Seat
    op: Op
    #: When the keeper was told, in seconds; 0: it has to be told yet.
    told: float = 0.0


class Changes:
    """The changes, in their order for each seat."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], list[Change]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, change: Change) -> None:
        self._of.setdefault((change.op.sid, change.op.room), []).append(change)
        self._count += 1

    def confirmed(self, sid: str, room: str) -> None:
        """The keeper has done the oldest one of this seat, and told the room's peers."""
        if self._of.get((sid, room)):
            self.remove(self._of[sid, room][0])

    def remove(self, change: Change) -> None:
        place = change.op.sid, change.op.room
        changes = self._of.get(place, [])
        if change in changes:
            changes.remove(change)
            self._count -= 1
        if not changes:
            self._of.pop(place, None)

    def untold(self) -> list[Change]:
        """Those of which the keeper has to be told."""
        return [each for changes in self._of.values() for each in changes if not each.told]

    def told_before(self, when: float) -> bool:
        """Whether the keeper was told of one before ``when``, and has not confirmed it."""
        return any(0 < changes[0].told <= when for changes in self._of.values())

    def claims(self, seats: Iterable[Seat]) -> list[Seat]:
        """The seats as a keeper has confirmed them. The changes since then are told again."""
        found = {(seat.sid, seat.room): seat for seat in seats if seat.since}
        for place, changes in list(self._of.items()):
            moves = [each.seat for each in changes if each.op.what in ("depart", "back")]
            now = found.get(place)
            if moves and now is not None and now.token != moves[0].token:
                self._count -= len(changes)
                del self._of[place]  # it has left, and got a new seat since
                continue
            if moves:
                found[place] = moves[0]
            for change in changes:
                change.told = 0.0
        return list(found.values())
