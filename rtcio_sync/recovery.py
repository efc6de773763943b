"""Connection state recovery: sessions that outlive their connection.

socket.io-client 4.6 and later takes part once CONNECT is answered with a ``pid``: it remembers the
last argument of each event, if that is a string, as its offset, and sends both when it comes back.
So each event without an acknowledgement carries an offset as its last argument, and each session
keeps the frames of those that its client may have missed.

A session is its `Member`, which stays in its rooms while the client is away, and a log. What went
to many is in their logs as one object. Nothing here walks all sessions, and nothing blocks: all of
it may be called from the hub.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from .errors import OptionError
from .manager import Member, Stage

__all__ = ["Recovery", "RecoveryOptions", "Session"]

#: Losses after which a client comes back to its session; the others are meant (Node's list).
_LOSSES = frozenset(
    {
        "client close",
        "forced close",
        "ping timeout",
        "server shutting down",
        "transport close",
        "transport error",
    }
)


@dataclass(frozen=True)
class RecoveryOptions:
    """``Server(connection_state_recovery={…})``; `True` stands for the defaults."""

    #: Seconds that a session waits for its client.
    max_disconnection_duration: float = 120
    #: Whether a client that comes back passes by ``use`` and python-socketio's ``connect``.
    skip_middlewares: bool = True
    #: Bytes of events that one session keeps. Over it the oldest go, and a client that would need
    #: them gets a fresh session.
    max_recovery_bytes: int = 1_000_000

    @classmethod
    def of(cls, given: Any) -> RecoveryOptions | None:
        """`None` for "off"; raises `OptionError` for what cannot be meant."""
        if given is None or given is False:
            return None
        if given is True:
            return cls()
        if isinstance(given, cls):
            return given
        names = {each.name for each in fields(cls)}
        if not isinstance(given, dict) or not set(given) <= names:
            raise OptionError(
                f"connection_state_recovery: give True, False or a dict of {sorted(names)}"
            )
        options = cls(**given)
        if not options.max_disconnection_duration > 0 or not options.max_recovery_bytes > 0:
            raise OptionError("connection_state_recovery: its numbers have to be above 0")
        return options


class Session:
    """What survives a connection: the member, and what its client may not have received."""

    __slots__ = ("_log", "_recovery", "_size", "_trimmed", "member", "open", "pid", "taken")

    def __init__(self, recovery: Recovery, member: Member) -> None:
        self._recovery = recovery
        self.member = member
        #: Known to the client alone.
        self.pid = secrets.token_urlsafe(18)
        #: Until the client leaves on purpose, is put out, or stays away too long.
        self.open = True
        #: Whether a connection is being moved to it: one at a time.
        self.taken = False
        self._log: deque[tuple[int, float, bytes]] | None = None
        self._size = 0
        self._trimmed = 0  # the highest offset that is kept no more

    def keep(self, number: int, frame: bytes) -> None:
        """Notes the frame of an event that went out, or would have, under the offset ``number``."""
        now = self._recovery.now()
        log = self._log
        if log is None:
            log = self._log = deque()
        log.append((number, now, frame))
        self._size += len(frame)
        oldest = now - self._recovery.options.max_disconnection_duration
        bound = self._recovery.options.max_recovery_bytes
        # While the client is away, what it misses is kept for as long as it may come back.
        aged = self.member.stage is Stage.CONNECTED
        while log and (self._size > bound or (aged and log[0][1] < oldest)):
            self._trimmed, _, gone = log.popleft()
            self._size -= len(gone)

    def missed(self, offset: Any) -> list[bytes] | None:
        """The frames after ``offset``, in order; `None` when that can't be told (any more).

        ``offset`` is what the client sent: absent (`None`) while it had received nothing.
        """
        if offset is None:
            after = 0
        elif isinstance(offset, str) and offset.isascii() and offset.isalnum():
            try:
                after = int(offset, 16)
            except ValueError:
                return None
        else:
            return None
        if after < self._trimmed or after > self._recovery.last:
            return None
        log = self._log or ()
        # From the end: it costs what was missed, not what is kept.
        found: list[bytes] = []
        for number, _, frame in reversed(log):
            if number <= after:
                break
            found.append(frame)
        found.reverse()
        return found


class Recovery:
    """The sessions of one server."""

    def __init__(
        self,
        options: RecoveryOptions,
        *,
        now: Callable[[], float],
        later: Callable[..., None],
        end: Callable[[Member], None],
    ) -> None:
        self.options = options
        self.now = now
        self._later = later
        self._end = end
        self._sessions: dict[str, Session] = {}
        #: How many sessions wait for their client.
        self.away = 0
        #: The offset of the last event.
        self.last = 0

    def number(self) -> int:
        """The next event's offset."""
        self.last += 1
        return self.last

    def begin(self, member: Member) -> None:
        """Gives a new member a session."""
        session = member.session = Session(self, member)
        self._sessions[session.pid] = session

    def find(self, namespace: str, auth: Any) -> Session | None:
        """The session that a client's CONNECT asks for; one that it may have, and no other."""
        pid = auth.get("pid") if isinstance(auth, dict) else None
        session = self._sessions.get(pid) if isinstance(pid, str) else None
        if session is None or session.taken or session.member.namespace != namespace:
            return None
        return session

    def may_return(self, member: Member, reason: str) -> bool:
        """Whether the client of a lost member may come back to it."""
        return member.session is not None and member.session.open and reason in _LOSSES

    def park(self, member: Member) -> None:
        """The client is away: its member stays, for a while."""
        session: Session = member.session
        member.stage = Stage.AWAY
        self.away += 1
        self._later(self.options.max_disconnection_duration, self._expire, session, member.returns)

    def _expire(self, session: Session, returns: int) -> None:
        member = session.member
        if member.stage is Stage.AWAY and member.returns == returns and not session.taken:
            self._end(member)

    def close(self, member: Member) -> None:
        """The session is over: nobody comes back to it."""
        session: Session | None = member.session
        if session is not None:
            session.open = False
            self._sessions.pop(session.pid, None)
