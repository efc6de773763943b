"""The seats of a client that goes on in another worker: a `socketio.session_state.Part`. # hub

Nobody is told: the keeper's table does not change. The client's worker has its own copy of the
seats (`keeper.Keeper.seats`), which goes along.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from ..adapter.member import Member
from ..errors import CannotMove
from .keeper import Keeper
from .keeper_messages import Seat

__all__ = ["Carrying"]


class Table(Protocol):
    """The seats, if this worker keeps them: `keeper_table.Table`."""

    def seats_of(self, sid: str) -> list[Seat]: ...


class Carrying:
    """Takes the seats of clients along."""

    def __init__(self, keeper: Keeper, table: Table, namespace: str) -> None:
        self._keeper = keeper
        self._table = table
        self._namespace = namespace

    def pack(self, member: Member) -> Any:
        """As `session_state.Part.pack`."""
        if member.namespace != self._namespace:
            return None
        sid = member.sid
        seats = [*self._keeper.seats.get(sid, {}).values()] or self._table.seats_of(sid)
        if not all(seat.entered and seat.since for seat in seats):
            raise CannotMove("it is about to enter a room", later=True)
        if self._keeper.waits(sid):  # from another worker, the next might come before
            raise CannotMove("its room is not told yet what it did", later=True)
        return [msgspec.to_builtins(seat, builtin_types=(bytes,)) for seat in seats] or None

    def leave(self, member: Member) -> None:
        """As `session_state.Part.leave`."""
        if member.namespace == self._namespace:
            self._keeper.seats.pop(member.sid, None)

    def enter(self, member: Member, value: Any) -> None:
        """As `session_state.Part.enter`."""
        self._keeper.take_in(msgspec.convert(value, list[Seat]))
