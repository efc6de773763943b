"""The server's record of one client in one namespace; the app sees it as `Socket`."""

from __future__ import annotations

import enum
from contextvars import ContextVar
from typing import Any

from ..engineio.packet import Packet
from ..engineio.socket import Socket as Link

__all__ = ["Member", "Stage", "ending"]


class Stage(enum.Enum):
    """The stage of a socket in its namespace."""

    #: CONNECT was received and is not answered yet.
    CONNECTING = enum.auto()
    CONNECTED = enum.auto()
    #: The connection is lost and the peers are told; ``disconnect`` handlers have not run. The
    #: member is no relay target any more, unless its session waits for the client.
    LEAVING = enum.auto()
    #: ``disconnect`` handlers run, or have run; or it was `AWAY`, and its session has ended.
    GONE = enum.auto()
    #: Handlers have run and the session is kept: the member is still in its rooms, and still a
    #: relay target.
    AWAY = enum.auto()
    #: It goes on in another process.
    MOVED = enum.auto()


#: The stages that may follow each stage.
NEXT: dict[Stage, frozenset[Stage]] = {
    # `LEAVING`, `GONE`: the app refused or disconnected it while it connected.
    Stage.CONNECTING: frozenset({Stage.CONNECTED, Stage.LEAVING, Stage.GONE}),
    Stage.CONNECTED: frozenset({Stage.LEAVING, Stage.MOVED}),
    # `CONNECTED`: its client came back before its handlers had run.
    Stage.LEAVING: frozenset({Stage.GONE, Stage.CONNECTED}),
    Stage.GONE: frozenset({Stage.AWAY}),
    Stage.AWAY: frozenset({Stage.CONNECTED, Stage.GONE, Stage.MOVED}),
    Stage.MOVED: frozenset(),
}


class Member:
    """One socket in one namespace."""

    __slots__ = (
        "auth", "departed", "eio_sid", "held", "held_bytes", "link", "namespace", "number",
        "observed", "peers", "ready", "recovered", "relays", "returns", "rooms", "session",
        "short", "sid", "socket", "stage", "told", "waiting",
    )  # fmt: skip

    def __init__(self, sid: str, eio_sid: str, namespace: str) -> None:
        self.sid = sid
        self.eio_sid = eio_sid
        self.namespace = namespace
        self.stage = Stage.CONNECTING
        #: Its place among the sockets and rooms of its namespace, in the order of creation.
        self.number = 0
        #: The data of its CONNECT packet.
        self.auth: Any = None
        #: The rooms that it joined, in that order, without its own; `None`: none.
        self.rooms: dict[Any, None] | None = None
        #: All members of its namespace by sid.
        self.peers: dict[str, Member] = {}
        #: Its Engine.IO socket, if it is one of ours.
        self.link: Link | None = None
        #: The `socketio.socket.Socket` that the app sees; made when the app first needs it. Any, as
        #: `session`: their classes stand above this module.
        self.socket: Any = None
        #: Packets that wait until CONNECT was sent; `None`: it was sent.
        self.held: list[list[Packet]] | None = None
        #: The bytes of memory of these packets.
        self.held_bytes = 0
        #: Whether the ``connection`` handlers have returned.
        self.ready = False
        #: Whether it has the default listeners itself, even if its namespace does not.
        self.relays = False
        #: Whether handlers of the app have to see its relays first.
        self.observed = False
        #: How many of its relays wait in its connection's inbox.
        self.waiting = 0
        #: Whether its relays may take the short way: follows from the above (`Relay.settle`).
        self.short = False
        #: Whether its client came back to this session, and how often.
        self.recovered = False
        self.returns = 0
        #: Its `session_log.Session`; `None`: it ends with its connection.
        self.session: Any = None
        #: The rooms and the sids that got its peer-left already; `None`: none.
        self.told: tuple[set[Any], set[str]] | None = None
        #: Whether it has left for good: only its own handlers still see its rooms.
        self.departed = False

    def enter(self, stage: Stage) -> bool:
        """Changes the stage; `False`: the change is not allowed, or it is in ``stage`` already.

        The only place where a stage changes. Threads that may do it at once hold the gate.
        """
        if stage not in NEXT[self.stage]:
            return False
        self.stage = stage
        return True

    @property
    def returning(self) -> Link | None:
        """The connection on which its client asks to come back to its session; `None`: none."""
        session = self.session
        return None if session is None else session.taken

    @property
    def present(self) -> bool:
        """Whether it belongs to its namespace: connected, or lost and able to come back."""
        if self.departed:
            return False
        if self.stage is Stage.CONNECTED:
            return True
        session = self.session
        return session is not None and session.open and self.stage is not Stage.CONNECTING


#: The socket whose ``disconnecting`` or ``disconnect`` handlers run in this context, and the event.
ending: ContextVar[tuple[Member, str] | None] = ContextVar("rtcio_ending", default=None)
