"""What a worker that no longer keeps the rooms has not told their peers: it is for the next keeper.

What other workers have told stays with them, if they number it: they tell it again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .keeper_messages import Op, Seat
from .rooms import LobbyRoom, Local

__all__ = ["Left"]


class Left:
    """What is left of the steps of rooms.

    ``seat(room, sid)``: the seat as the table has it; `None`: it is free.
    """

    def __init__(
        self,
        rooms: dict[LobbyRoom, list[partial[None]]],
        seat: Callable[[str, str], Seat | None],
    ) -> None:
        #: The seats of peers that have left, of which the others are not told.
        self.seats: list[Seat] = []
        #: What to tell the next keeper; the seat: as it was before.
        self.ops: list[tuple[Seat, Op]] = []
        #: The places of clients that wait for an answer to ``join-room``, and whether each knows
        #: of its peers.
        self.arriving: dict[tuple[str, str], bool] = {}
        #: Of those, clients of this worker: what asks for their seats again.
        self.again: dict[tuple[str, str], Callable[[], None]] = {}
        self._seat = seat
        for room, steps in rooms.items():
            for step, after in zip(steps, [*steps, None][1:], strict=True):
                told = after is not None and after.func is LobbyRoom.answer and after.args[2]
                self._add(room, step, bool(told))

    def _add(self, room: LobbyRoom, step: partial[None], told_again: bool) -> None:
        if step.func in (LobbyRoom.answer, LobbyRoom.introduce):
            return
        if step.func is LobbyRoom.arrive:
            self._arrives(room, step.args[1])
            return
        _, sid, *given = step.args
        op, seat = _op(room.id, step.func, sid, given), self._seat(room.id, sid)
        leaves = op.what == "depart" and not op.given[1]
        if leaves and seat is not None:
            return  # it has sat down again
        before = seat or _gone(room, sid)
        if before is None:
            return
        if leaves:
            self.seats.append(before)
        if not told_again:
            self.ops.append((before, op))

    def _arrives(self, room: LobbyRoom, peer: Any) -> None:
        place = room.id, peer.id
        if self._seat(*place) is None:
            return
        self.arriving[place] = room.greeted == peer.id
        if isinstance(peer, Local) and peer.again is not None:
            self.again[place] = peer.again


def _op(room: str, step: Any, sid: str, given: list[Any]) -> Op:
    if step is LobbyRoom.come_back:
        return Op("back", room, sid)
    if step is LobbyRoom.show:
        return Op("show", room, sid, given[0])
    if step is LobbyRoom.pass_on:
        return Op("pass on", room, sid, given)
    leave, returns, *_ = [*given, False, False]
    return Op("depart", room, sid, [leave, returns])


def _gone(room: LobbyRoom, sid: str) -> Seat | None:
    """The seat of a peer that has none any more, as the room's peers still know it."""
    known = room.told.get(sid) or room.away.get(sid)
    if known is None:
        return None
    name, away = known.card.get("name"), sid in room.away
    return Seat(room.id, sid, name, b"", 1, entered=True, away=away, media=known.media)
