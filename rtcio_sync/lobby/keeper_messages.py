"""What the workers of a lobby say to the worker that keeps its rooms (`keeper`), and it to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import RtcioError
from ..protocol.packing import Struct

__all__ = ["Asks", "Gone", "Op", "Seat"]


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


class Op(Struct):
    """What a worker asks of the keeper, or tells it; or ``confirmed``, of the keeper."""

    what: str
    room: str = ""
    sid: str = ""
    given: Any = None


#: Asks the keeper. Raises `Gone`.
Asks = Callable[[Op], Any]
