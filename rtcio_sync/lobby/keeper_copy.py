"""The copy of the keeper's table that its deputy has. Plain data. # hub or greenlet"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from .keeper_messages import Seat

__all__ = ["Copy"]


class Copy:
    """What the claims of the other workers would not bring. Raises `msgspec.ValidationError`.

    The seats of whose peers are told: in full, if the client is one of the worker ``source``, else
    the digest of the room's password.
    """

    def __init__(self, source: str, given: Any) -> None:
        self.source = source
        seats, others = msgspec.convert(given, tuple[list[Seat], list[tuple[str, str, bytes]]])
        self._told: dict[tuple[str, str], Seat | bytes] = {(s.room, s.sid): s for s in seats}
        self._told.update({(room, sid): secret for room, sid, secret in others})

    def set(self, room: str, sid: str, given: Any) -> None:
        """The seat has changed; `None`: it is free."""
        if given is None:
            self._told.pop((room, sid), None)
        else:
            self._told[room, sid] = msgspec.convert(given, Seat | bytes)

    def amend(self, seats: Iterable[Seat]) -> None:
        """Adds what only the keeper knows to the seats that another worker claims.

        Whether the peers of a client are told of it, and its room's password.
        """
        for seat in seats:
            known = self._told.get((seat.room, seat.sid))
            seat.entered = seat.entered and known is not None
            if known is not None:
                seat.secret = known.secret if isinstance(known, Seat) else known

    def of(self, chosen: Callable[[str], bool]) -> list[Seat]:
        """The seats of clients of the keeper whose sids are ``chosen``."""
        return [each for each in self._told.values() if isinstance(each, Seat) and chosen(each.sid)]
