"""The copy of the keeper's table that its deputy has. Plain data. # hub or greenlet"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .keeper_messages import Seat

__all__ = ["Copy"]


class Copy:
    """The seats as the worker ``source`` has them; ``entered``: their peers are told."""

    def __init__(self, source: str, seats: Iterable[Seat]) -> None:
        self.source = source
        self._seats = {(seat.room, seat.sid): seat for seat in seats}

    def set(self, room: str, sid: str, seat: Seat | None) -> None:
        """The seat has changed; `None`: it is free."""
        if seat is None:
            self._seats.pop((room, sid), None)
        else:
            self._seats[room, sid] = seat

    def untold(self) -> list[Seat]:
        """The seats of which the keeper still has to tell the peers."""
        return [seat for seat in self._seats.values() if not seat.entered]

    def amend(self, seats: Iterable[Seat]) -> None:
        """Adds what only the keeper knows to the seats that another worker claims.

        Whether the peers of a client are told of it, and its room's password.
        """
        for seat in seats:
            known = self._seats.get((seat.room, seat.sid))
            if known is not None:
                seat.entered, seat.secret = seat.entered and known.entered, known.secret

    def of(self, chosen: Callable[[str], bool]) -> list[Seat]:
        """The seats whose sids are ``chosen``."""
        return [seat for seat in self._seats.values() if chosen(seat.sid)]
