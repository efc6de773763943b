"""The server's record of one client in one namespace; the app sees it as `Socket`."""

from __future__ import annotations

import enum
from contextvars import ContextVar
from typing import Any

__all__ = ["Member", "Stage", "ending"]


class Stage(enum.Enum):
    """Where a socket stands in its namespace."""

    #: CONNECT has come, and is not answered yet.
    CONNECTING = enum.auto()
    CONNECTED = enum.auto()
    #: The connection is lost and the peers are told; ``disconnect`` handlers have not run. The
    #: member is no relay target any more, unless its session waits for the client.
    LEAVING = enum.auto()
    #: ``disconnect`` handlers run, or have run.
    GONE = enum.auto()
    #: Handlers have run and the session is kept: the member is still in its rooms, and still a
    #: relay target.
    AWAY = enum.auto()


#: The stages that may follow each.
NEXT: dict[Stage, frozenset[Stage]] = {
    # `LEAVING`, `GONE`: refused, or put out by the app while it is asked.
    Stage.CONNECTING: frozenset({Stage.CONNECTED, Stage.LEAVING, Stage.GONE}),
    Stage.CONNECTED: frozenset({Stage.LEAVING}),
    # `CONNECTED`: its client was faster on a new connection than its handlers.
    Stage.LEAVING: frozenset({Stage.GONE, Stage.CONNECTED}),
    Stage.GONE: frozenset({Stage.AWAY}),
    Stage.AWAY: frozenset({Stage.CONNECTED}),
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
        #: Its place among the sockets and rooms of its namespace, in the order of their coming.
        self.number = 0
        #: What its CONNECT packet carried.
        self.auth: Any = None
        #: The rooms it joined, its own left out, in that order; `None`: none.
        self.rooms: dict[Any, None] | None = None
        #: The members of its namespace by sid, itself among them.
        self.peers: dict[str, Member] = {}
        #: Its Engine.IO socket, once it has one of ours.
        self.link: Any = None
        #: The `sockets.Socket` that the app sees, once it was asked for.
        self.socket: Any = None
        #: Packets that wait for CONNECT to go first; `None`: it went.
        self.held: list[list[Any]] | None = None
        #: The memory that they take up.
        self.held_bytes = 0
        #: Whether the ``connection`` handlers have returned.
        self.ready = False
        #: Whether the default listeners are its own, whatever its namespace's are.
        self.relays = False
        #: Whether something of the app's has to see its relays first.
        self.observed = False
        #: How many of its relays wait in its connection's inbox.
        self.waiting = 0
        #: Whether a relay may take the short way: what the lines above come to (`Relay.settle`).
        self.short = False
        #: Whether it came back to this session, and how often.
        self.recovered = False
        self.returns = 0
        #: Its `recovery.Session`; `None`: it ends with its connection.
        self.session: Any = None
        #: Whom a peer-left has reached already: the rooms and the sids; `None`: nobody.
        self.told: tuple[set[Any], set[str]] | None = None
        #: Whether it has left for good: only its own handlers still see its rooms.
        self.departed = False

    def enter(self, stage: Stage) -> bool:
        """Moves the member to ``stage``; `False`: it cannot come there, or is there already.

        The one place where a stage changes. Two threads that may do it at once hold the gate.
        """
        if stage not in NEXT[self.stage]:
            return False
        self.stage = stage
        return True

    @property
    def present(self) -> bool:
        """Whether it belongs to its namespace: connected, or lost and free to come back."""
        if self.departed:
            return False
        if self.stage is Stage.CONNECTED:
            return True
        session = self.session
        return session is not None and session.open and self.stage is not Stage.CONNECTING


#: The socket whose ``disconnecting`` or ``disconnect`` handlers run here, and which of the two.
ending: ContextVar[tuple[Member, str] | None] = ContextVar("rtcio_ending", default=None)
