"""A session as bytes, for another process: what `session_transfer` packs and reads."""

from __future__ import annotations

from typing import Any, Protocol

from ..adapter.member import Member
from ..adapter.session_log_state import SessionState
from ..engineio.connection_transfer import LinkState
from ..parser.decoder import PartialState
from ..protocol.packing import Struct

__all__ = ["Acknowledged", "MemberState", "Part", "SessionBytes"]


class MemberState(Struct):
    """A socket in one namespace. Values of the app are packed (`protocol.packing`)."""

    namespace: str
    sid: str
    rooms: bytes
    auth: bytes
    #: `None`: the app has not used its `Socket`.
    data: bytes | None
    #: Whether it has the default listeners itself, and how often its client came back.
    relays: bool
    recovered: bool
    returns: int
    #: `Member.told`.
    told: bytes
    session: SessionState | None
    #: Of `Part`s, by name.
    parts: dict[str, bytes]
    #: The number of the next acknowledgement that is asked for.
    number: int = 1
    #: Acknowledgements that other processes wait for, by number.
    pending: dict[int, Any] = {}  # noqa: RUF012  (msgspec copies it)
    #: Whether it has handlers for the end of its session.
    ends: bool = False


class SessionBytes(Struct):
    """A whole session. ``link``: `None`: it waits for its client."""

    eio_sid: str
    environ: bytes
    #: What the app keeps by `Server.save_session`, by namespace.
    session: bytes
    link: LinkState | None
    partial: PartialState | None
    members: list[MemberState]


class Acknowledged(Struct):
    """The acknowledgement of a client's event, given in the process that it has left."""

    namespace: str
    sid: str
    returns: int
    number: int
    body: str
    attachments: list[bytes]


class Part(Protocol):
    """Whoever keeps something of a socket, and takes it along. # hub or greenlet"""

    def pack(self, member: Member) -> Any:
        """The value to take along; `None`: nothing. Changes nothing. Raises `CannotMove`."""

    def leave(self, member: Member) -> None:
        """The socket has left this process."""

    def enter(self, member: Member, value: Any) -> None:
        """It is here now."""
