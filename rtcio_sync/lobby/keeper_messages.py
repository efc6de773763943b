"""What the workers of a lobby say to the worker that keeps its rooms (`keeper`), and it to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..errors import RtcioError
from ..protocol.packing import Struct

__all__ = ["MOVES", "Asks", "Gone", "Op", "Seat", "plain"]

#: The changes to seats that workers tell; what else they tell is words for the room.
MOVES = ("depart", "back")


class Gone(RtcioError):
    """The keeper has died, or does not answer: ask the next one."""


class Seat(Struct):
    """The seat of a client, as its own worker knows it."""

    room: str
    sid: str
    name: str | int | float | None
    secret: bytes
    #: When the keeper gave it; 0: it has not answered yet. The order of joining.
    since: int = 0
    #: Whether the client is in the Socket.IO room, and its peers are told.
    entered: bool = False
    #: Whether it lost its connection, and may come back.
    away: bool = False
    media: Any = None
    #: Of the latest ``sit`` of this seat: the larger, the later.
    token: int = 0
    #: Whether the client knows of its peers; they may know nothing of it yet.
    greeted: bool = False
    #: Whether its peers are told, and the client waits for the answer to a further ``join-room``.
    arriving: bool = False


class Op(Struct):
    """What a worker asks of the keeper, or tells it; or ``confirmed``, of the keeper."""

    what: str
    room: str = ""
    sid: str = ""
    given: Any = None
    #: Of a change, as its worker counts them; 0: of a worker that does not tell it again.
    number: int = 0


#: Asks the keeper. Raises `Gone`.
Asks = Callable[[Op], Any]


def plain(seat: Seat) -> Any:
    """The seat for ``given``."""
    return msgspec.to_builtins(seat, builtin_types=(bytes,))
