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

import re
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from ..events import CLIENT_CLOSE
from ..transport.backlog import Holdings, memory_of
from .member import Member, Stage
from .recovery_options import RecoveryOptions

__all__ = ["Kept", "NoRecovery", "Recovery", "Session", "Stamp"]

T = TypeVar("T")
R = TypeVar("R")

#: Sessions that may wait for their clients; over it the one that waits longest ends. Each has some
#: 11 kB, events and what the app keeps left out.
MOST_AWAY = 10_000

MOST_AUTH = 1_000_000  # bytes up to which the memory of one ``auth`` is counted

EVENT = 350  # bytes of memory that an event costs beside its frame: its tuple, its places
PLACE = 80  # bytes that each further session pays for an event which others keep, too

TOTAL = "recovery-total"
"""The label under which is counted what went because all sessions together kept too much."""

#: Losses after which a client comes back to its session; the others are meant. Node's list, but
#: for a server that shuts down: the sessions go with it.
_LOSSES = frozenset(
    {CLIENT_CLOSE, "forced close", "ping timeout", "transport close", "transport error"}
)

#: An offset: the mark of the process that made it, and the event's number.
_OFFSET = re.compile(r"(?P<mark>[A-Za-z0-9_-]{4})(?P<number>[0-9a-f]{1,15})")


#: The number of an event, and when it was sent.
Stamp = tuple[int, float]
#: An event that was sent, or would have been: its stamp and its frame.
Kept = tuple[int, float, bytes]


class Session:
    """What survives a connection: the member, and what its client may not have received."""

    __slots__ = (
        "_log", "_recovery", "_since", "_size", "_swept", "_trimmed", "away", "member", "open",
        "pid", "taken", "wanted", "weight",
    )  # fmt: skip

    def __init__(self, recovery: Recovery, member: Member) -> None:
        self._recovery = recovery
        self.member = member
        #: Known to the client alone.
        self.pid = secrets.token_urlsafe(18)
        #: Until the client leaves on purpose, is put out, or stays away too long.
        self.open = True
        #: Whether it waits for its client.
        self.away = False
        #: The bytes of memory that it keeps of what its client sent, while it waits.
        self.weight = 0
        #: The connection that is being let in to it, one at a time, and the last that asked to be.
        self.taken: Any = None
        self.wanted: Any = None
        self._log: deque[Kept] | None = None
        self._size = 0
        self._trimmed = 0  # the highest number that is kept no more
        self._since = recovery.now()  # when its client came, or came back
        self._swept = False  # whether a look at what has grown old is due

    def keep(self, event: Kept) -> None:
        """Notes an event as one that the client may not receive."""
        if not self.open:
            return
        if self._log is None:
            self._log = deque()
        self._log.append(event)
        self._size += len(event[2])
        self._recovery.hold(event, self)
        self._trim(event[1])
        if not self._swept:
            self._swept = True
            self._recovery.later(self._recovery.options.max_disconnection_duration, self._sweep)

    def _trim(self, now: float) -> None:
        options = self._recovery.options
        oldest = now - options.max_disconnection_duration
        bound = options.max_recovery_bytes
        # What a client missed while it was away is kept for as long as it may come back, and, once
        # it has, as long again: what it was sent then may get lost like anything else.
        aged = self.member.stage is Stage.CONNECTED and self._since < oldest
        log = self._log
        while log and (self._size > bound or (aged and log[0][1] < oldest)):
            self._let_go(log)
        self._recovery.shrink()

    def _let_go(self, log: deque[Kept]) -> None:
        event = log.popleft()
        self._trimmed = event[0]
        self._size -= len(event[2])
        self._recovery.release(event)

    def keeps(self, number: int) -> bool:
        """Whether it keeps the event of that number, which it kept once."""
        log = self._log
        return log is not None and len(log) > 0 and log[0][0] <= number

    def lose(self, number: int) -> bool:
        """Lets go the event of that number if it is the oldest; whether it was."""
        log = self._log
        if not log or log[0][0] != number:
            return False
        self._let_go(log)
        return True

    def _sweep(self) -> None:
        """Lets go what has grown old though nothing new came."""
        now = self._recovery.now()
        with self._recovery.gate():
            self._trim(now)
            self._swept = bool(self._log)
        if self._log:
            seconds = self._recovery.options.max_disconnection_duration
            self._recovery.later(max(1.0, self._log[0][1] + seconds - now), self._sweep)

    def missed(self, offset: Any) -> list[bytes] | None:
        """The frames after ``offset``, in order; `None` when that can't be told (any more).

        ``offset`` is what the client sent: absent (`None`) while it had received nothing.
        """
        after = self._recovery.number_of(offset)
        if after is None or after < self._trimmed:
            return None
        # From the end: it costs what was missed, not what is kept.
        found: list[bytes] = []
        for number, _, frame in reversed(self._log or ()):
            if number <= after:
                break
            found.append(frame)
        found.reverse()
        return found

    def resumed(self) -> None:
        """Its client is back."""
        self._recovery.unload(self)
        self.away = False
        self._since = self._recovery.now()

    def close(self) -> None:
        """Nobody comes back to it."""
        self.open = False
        for event in self._log or ():
            self._recovery.release(event)
        self._log, self._size = None, 0


class Recovery:
    """The sessions of one server."""

    #: Whether events carry an offset.
    numbers = True

    def __init__(
        self,
        options: RecoveryOptions,
        *,
        now: Callable[[], float],
        later: Callable[..., None],
        end: Callable[[Member], None],
        drop: Callable[[str], None] = lambda label: None,
        gate: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.options = options
        self.now = now
        self.later = later
        self._end = end
        self._drop = drop
        #: Guards what two threads must not do at once; `Session.keep` is called within it.
        self.gate = gate
        self._sessions: dict[str, Session] = {}
        self._holdings = Holdings(slot=PLACE)
        # Every event that a session keeps, in the order of their numbers, and some that are gone.
        self._order: deque[tuple[int, Session]] = deque()
        self._kept = 0  # how many of them are still there
        self._waiting: deque[tuple[Session, int]] = deque()  # who waits, longest first; as above
        self._load = 0  # what clients sent whose sessions wait
        #: How many sessions wait for their client.
        self.away = 0
        #: The number of the last event.
        self.last = 0
        #: Stands before the number in each offset. A client that got a fresh session keeps the
        #: offset it had until the first event: that one may be of an earlier process.
        self.mark = secrets.token_urlsafe(3)

    # -- offsets ---------------------------------------------------------------------------------

    def number(self) -> int:
        """The next event's number."""
        self.last += 1
        return self.last

    def spelt(self, number: int) -> str:
        """An offset as it stands on the wire: a string, as socket.io-client wants it."""
        return f"{self.mark}{number:x}"

    def number_of(self, offset: Any) -> int | None:
        """The number in a client's offset; 0: it had received nothing; `None`: it is none."""
        if offset is None:
            return 0
        match = _OFFSET.fullmatch(offset) if isinstance(offset, str) else None
        if match is None:
            return None
        if match["mark"] != self.mark:
            return 0  # from an earlier session of its, in another process
        number = int(match["number"], 16)
        return number if number <= self.last else None

    def send(self, encode: Callable[[str | None], T], deliver: Callable[[T, Stamp | None], R]) -> R:
        """Sends one event under the next number: ``deliver(encode(offset), stamp)``.

        ``deliver`` keeps it under its stamp in the session of each recipient (`Session.keep`) and
        hands it to the transport. All of it happens under the gate, so that events are kept and
        sent in the order of their numbers. An app's own encoder may let others send meanwhile: the
        event then gets a number after theirs.
        """
        with self.gate():
            while True:
                number = self.number()
                made = encode(self.spelt(number))
                if number == self.last:
                    return deliver(made, (number, self.now()))

    # -- what all sessions keep ------------------------------------------------------------------

    @property
    def bytes(self) -> int:
        """What sessions take up in memory: their events, and of those that wait, what came."""
        return self._holdings.cost + self._load

    def hold(self, event: Kept, session: Session) -> None:
        """A session keeps an event; `shrink` is to follow."""
        size = len(event[2])
        self._holdings.hold(event, size, size + EVENT)
        self._order.append((event[0], session))
        self._kept += 1
        if len(self._order) > 2 * self._kept + 1000:
            self._order = deque(each for each in self._order if each[1].keeps(each[0]))

    def release(self, event: Kept) -> None:
        """A session keeps it no longer."""
        size = len(event[2])
        self._holdings.release(event, size, size + EVENT)
        self._kept -= 1

    def shrink(self) -> None:
        """Lets the oldest events go while all sessions keep too much."""
        bound = self.options.max_recovery_total
        while bound is not None and self.bytes > bound and self._order:
            number, session = self._order.popleft()
            if session.lose(number):
                self._drop(TOTAL)

    # -- sessions --------------------------------------------------------------------------------

    def begin(self, member: Member) -> None:
        """Gives a new member a session."""
        session = member.session = Session(self, member)
        self._sessions[session.pid] = session

    def find(self, namespace: str, auth: Any) -> Session | None:
        """The session that a client's CONNECT asks for; one that it may have, and no other."""
        pid = auth.get("pid") if isinstance(auth, dict) else None
        session = self._sessions.get(pid) if isinstance(pid, str) else None
        return session if session is not None and session.member.namespace == namespace else None

    def may_return(self, member: Member, reason: str) -> bool:
        """Whether the client of a lost member may come back to it."""
        return member.session is not None and member.session.open and reason in _LOSSES

    def lost(self, member: Member) -> None:
        """The connection is lost, and from now on the session waits for its client, for a while."""
        session: Session = member.session
        if not session.away:
            session.away = True
            self.away += 1
            seconds = self.options.max_disconnection_duration
            self.later(seconds, self._expire, session, member.returns)
            self._waiting.append((session, member.returns))
            session.weight = _weight(member)
            self._load += session.weight
            if self.away > MOST_AWAY:
                self._end_longest()
            bound = self.options.max_recovery_total
            while bound is not None and 2 * self._load > bound and self._waiting:
                self._end_longest()
            self.shrink()
            if len(self._waiting) > 2 * self.away + 1000:
                self._waiting = deque(each for each in self._waiting if each[0].away)

    def _end_longest(self) -> None:
        """The one that has waited longest waits no more."""
        while self._waiting:
            session, returns = self._waiting.popleft()
            if session.away and session.member.returns == returns:
                self._drop(TOTAL)
                self.unload(session)
                self.later(0, self._expire, session, returns)
                return

    def unload(self, session: Session) -> None:
        """What its client sent is not counted any longer."""
        self._load -= session.weight
        session.weight = 0

    def park(self, member: Member) -> None:
        """The app has heard of the loss."""
        self.lost(member)
        member.enter(Stage.AWAY)

    def back(self, session: Session) -> None:
        """The session waits no more."""
        if session.away:
            self.unload(session)
            self.away -= 1
            session.away = False

    def _expire(self, session: Session, returns: int) -> None:
        member = session.member
        if not session.away or member.returns != returns:
            return
        if session.taken is None:
            self._end(member)
        else:  # it is being let in, and may yet be lost on the way
            self.later(1, self._expire, session, returns)

    def close(self, member: Member) -> None:
        """The session is over: nobody comes back to it."""
        session: Session | None = member.session
        if session is not None:
            with self.gate():
                self.back(session)
                session.close()
                self._sessions.pop(session.pid, None)


class NoRecovery:
    """A `Recovery` that is switched off: every session ends with its connection."""

    options = RecoveryOptions()
    numbers = False
    away = 0
    bytes = 0

    def send(self, encode: Callable[[str | None], T], deliver: Callable[[T, Stamp | None], R]) -> R:
        """Sends one event as it is."""
        return deliver(encode(None), None)

    def begin(self, member: Member) -> None:
        """Gives no session."""

    def find(self, namespace: str, auth: Any) -> Session | None:
        """There is none."""
        return None

    def may_return(self, member: Member, reason: str) -> bool:
        return False

    def lost(self, member: Member) -> None:
        """Nothing waits for its client."""

    park = lost

    def close(self, member: Member) -> None:
        """There is no session to close."""


def _weight(member: Member) -> int:
    """Bytes of memory that are kept of what a client sent, roughly."""
    kept = list(member.rooms or ())
    if member.socket is not None:
        kept += member.socket.handshake.environ.values()
    return sum(len(each) for each in kept if isinstance(each, (str, bytes))) + (
        0 if member.auth is None else memory_of(member.auth, MOST_AUTH)
    )
