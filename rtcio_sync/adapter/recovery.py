"""Connection state recovery: sessions that outlive their connection.

socket.io-client 4.6 and later supports it when CONNECT is answered with a ``pid``: it remembers the
last argument of each event, if that is a string, as its offset, and sends both when it comes back.
So each event without an acknowledgement has an offset as its last argument, and each session keeps
the frames of the events that its client may have missed.

A session consists of its `Member`, which stays in its rooms while the client is away, and a log of
frames. An event for many sessions is one object in all their logs. Nothing here loops over all
sessions, and nothing blocks: the hub may call everything.
"""

from __future__ import annotations

import math
import re
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

from ..events import CLIENT_CLOSE
from ..transport.backlog import Holdings, memory_of
from .member import Member, Stage
from .recovery_options import RecoveryOptions
from .recovery_state import KeptEvent, Past, SessionState

__all__ = ["Kept", "NoRecovery", "Recovery", "Session", "Stamp"]

T = TypeVar("T")
R = TypeVar("R")
Frame = bytes  # in `Recovery`, `bytes` is a property

#: Sessions that may wait for their clients; over it the one that waits longest ends. Each takes
#: some 11 kB, without events and the app's data.
MOST_AWAY = 10_000

MOST_AUTH = 1_000_000  # bytes up to which the memory of one ``auth`` is counted

EVENT = 350  # bytes of memory of an event in addition to its frame
SHARED_FOR = 5.0  # seconds in which sessions of another process come that share events
PLACE = 80  # bytes of memory in each further session that keeps the same event

TOTAL = "recovery-total"
"""The label under which is counted what went because all sessions together kept too much."""

#: Reasons after which a client may come back to its session; after others it left on purpose. As in
#: Node, except for a server that shuts down, because its sessions end with it.
_LOSSES = frozenset(
    {CLIENT_CLOSE, "forced close", "ping timeout", "transport close", "transport error"}
)

#: An offset: the mark of the process, and the event's number.
_OFFSET = re.compile(r"(?P<mark>[A-Za-z0-9_-]{4})(?P<number>[0-9a-f]{1,15})")


#: The number of an event, and when it was sent.
Stamp = tuple[int, float]
#: An event that was sent, or that waits for the return: its stamp and its frame.
Kept = tuple[int, float, bytes]


class Session:
    """What survives a connection: the member, and the events that its client may have missed."""

    __slots__ = (
        "_log", "_recovery", "_since", "_size", "_swept", "_trimmed", "away", "member", "open",
        "pid", "taken", "wanted", "weight",
    )  # fmt: skip

    def __init__(self, recovery: Recovery, member: Member, pid: str | None = None) -> None:
        self._recovery = recovery
        self.member = member
        #: The key to the session, which only the client knows.
        self.pid = pid or recovery.new_pid()
        #: `False` when the client left on purpose, was disconnected, or stayed away too long.
        self.open = True
        #: Whether it waits for its client.
        self.away = False
        #: The bytes of memory of the data that its client sent, counted while it waits.
        self.weight = 0
        #: `taken`: the connection being admitted. `wanted`: the newest that asked; older ones give
        #: up.
        self.taken: Any = None
        self.wanted: Any = None
        self._log: deque[Kept] | None = None
        self._size = 0
        self._trimmed = 0  # the highest number that was dropped
        self._since = recovery.now()  # when its client connected, or came back
        self._swept = False  # whether a sweep of old events is scheduled

    def keep(self, event: Kept) -> None:
        """Keeps an event that the client may not receive."""
        if not self.open:
            return
        log = self._log
        if log is None:
            log = self._log = deque()
        log.append(event)
        self._size += len(event[2])
        recovery, now = self._recovery, event[1]
        recovery.hold(event, self)
        if self._size > recovery.most_bytes or log[0][1] < now - recovery.duration:
            self._trim(now)
        if not self._swept:
            self._swept = True
            recovery.later(recovery.duration, self._sweep)

    def _trim(self, now: float) -> None:
        oldest, bound = now - self._recovery.duration, self._recovery.most_bytes
        # Missed events are kept as long as the client may come back, and as long again after its
        # return, because the replayed events may get lost too.
        aged = self.member.stage is Stage.CONNECTED and self._since < oldest
        log = self._log
        while log and (self._size > bound or (aged and log[0][1] < oldest)):
            self._let_go(log)

    def _let_go(self, log: deque[Kept]) -> None:
        event = log.popleft()
        self._trimmed = event[0]
        self._size -= len(event[2])
        self._recovery.release(event)

    def keeps(self, number: int) -> bool:
        """Whether it still keeps the event with this number."""
        log = self._log
        return log is not None and len(log) > 0 and log[0][0] <= number

    def lose(self, number: int) -> bool:
        """Drops the event with this number if it is the oldest; returns whether it was."""
        log = self._log
        if not log or log[0][0] != number:
            return False
        self._let_go(log)
        return True

    def _sweep(self) -> None:
        """Drops old events, also if no new event came."""
        now = self._recovery.now()
        with self._recovery.gate():
            self._trim(now)
            self._swept = bool(self._log)
        if self._log:
            seconds = self._recovery.duration
            self._recovery.later(max(1.0, self._log[0][1] + seconds - now), self._sweep)

    def missed(self, offset: Any) -> list[bytes] | None:
        """The frames after ``offset``, in order; `None` if they are not all kept (any more).

        ``offset`` is the one that the client sent; `None` if it had received nothing.
        """
        after = self._recovery.number_of(offset, self.pid)
        if after is None or after < self._trimmed:
            return None
        # From the end: the cost depends on the missed events, not on the kept ones.
        found: list[bytes] = []
        for number, _, frame in reversed(self._log or ()):
            if number <= after:
                break
            found.append(frame)
        found.reverse()
        return found

    def state(self) -> SessionState:
        """The session for another process."""
        recovery, log = self._recovery, self._log or ()
        past = recovery.past.get(self.pid)
        events, now = [], recovery.now()
        for number, at, frame in log:
            origin = None if past is None else past.origin(number)
            mark, old = origin or (recovery.mark, number)
            events.append(KeptEvent(mark, old, now - at, frame))
        floors = [] if past is None else past.floors(self._trimmed)
        own = self._trimmed if past is None or self._trimmed > past.last else 0
        floors.append((recovery.mark, own))
        trimmed = self._trimmed > 0
        return SessionState(self.pid, now - self._since, self.away, events, floors, trimmed)

    def restore(self, state: SessionState) -> None:
        """Goes on as the session of another process."""
        recovery = self._recovery
        now, base = recovery.now(), recovery.number()
        self._since = now - state.age
        self._trimmed = base if state.trimmed else 0
        recovery.past[self.pid] = Past(base, state.floors, state.events)
        for each in state.events:
            frame = recovery.shared(each)
            self.keep((recovery.number(), now - each.age, frame))

    def left_at(self, at: float) -> None:
        """The client was lost then."""
        self._since = at

    def resumed(self) -> None:
        """The client has come back."""
        self._recovery.unload(self)
        self.away = False
        self._since = self._recovery.now()

    def close(self) -> None:
        """Ends the session."""
        self.open = False
        for event in self._log or ():
            self._recovery.release(event)
        self._log, self._size = None, 0


class Recovery:
    """The sessions of one server."""

    #: Whether events have an offset.
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
        #: Makes the key to a session; several processes have keys that say which one it is in.
        self.new_pid: Callable[[], str] = partial(secrets.token_urlsafe, 18)
        #: `max_disconnection_duration`, `max_recovery_bytes`, and `max_recovery_total` if it has
        #: a bound.
        self.duration = options.max_disconnection_duration
        self.most_bytes = options.max_recovery_bytes
        self._most = math.inf if options.max_recovery_total is None else options.max_recovery_total
        self.now = now
        self.later = later
        self._end = end
        self._drop = drop
        #: The lock for code that two threads must not run at once; hold it for `Session.keep`.
        self.gate = gate
        self._sessions: dict[str, Session] = {}
        self._holdings = Holdings(slot=PLACE)
        # All events that a session keeps, in the order of their numbers, and some dropped ones.
        self._order: deque[tuple[int, Session]] = deque()
        self._kept = 0  # how many of them are still kept
        self._waiting: deque[tuple[Session, int]] = deque()  # longest first; as above
        self._load = 0  # bytes of the data that clients of waiting sessions sent
        #: How many sessions wait for their client.
        self.away = 0
        #: The events of sessions that have come from other processes, by the key to the session.
        self.past: dict[str, Past] = {}
        self._shared: dict[tuple[str, int], bytes] = {}
        #: The number of the last event.
        self.last = 0
        #: The mark before the number in each offset. A client with a new session keeps its old
        #: offset until the first event, and that may be from an earlier process.
        self.mark = secrets.token_urlsafe(3)

    # -- offsets ---------------------------------------------------------------------------------

    def number(self) -> int:
        """The next event's number."""
        self.last += 1
        return self.last

    def spelt(self, number: int) -> str:
        """An offset as on the wire: a string, as socket.io-client expects it."""
        return f"{self.mark}{number:x}"

    def number_of(self, offset: Any, pid: str = "") -> int | None:
        """The number in a client's offset; 0: it had received nothing; `None`: it is invalid.

        ``pid``: the key to its session.
        """
        if offset is None:
            return 0
        match = _OFFSET.fullmatch(offset) if isinstance(offset, str) else None
        if match is None:
            return None
        number = int(match["number"], 16)
        if match["mark"] != self.mark:
            past = self.past.get(pid)
            # 0: from an earlier session, in another process
            return 0 if past is None else past.number(match["mark"], number)
        return number if number <= self.last else None

    def send(self, encode: Callable[[str | None], T], deliver: Callable[[T, Stamp | None], R]) -> R:
        """Sends one event under the next number: ``deliver(encode(offset), stamp)``.

        ``deliver`` keeps it under its stamp in the session of each recipient (`Session.keep`) and
        hands it to the transport. All of this happens under the gate, so that events are kept and
        sent in the order of their numbers. If other events are sent while an app's own encoder
        runs, this event gets a number after theirs.
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
        """Bytes of memory of the sessions: their events, and the client data of waiting ones."""
        return self._holdings.cost + self._load

    def hold(self, event: Kept, session: Session) -> None:
        """Counts an event that a session keeps. Drops the oldest ones if all keep too much."""
        size = len(event[2])
        holdings, order = self._holdings, self._order
        holdings.hold(event, size, size + EVENT)
        order.append((event[0], session))
        self._kept += 1
        if len(order) > 2 * self._kept + 1000:
            self._order = deque(each for each in order if each[1].keeps(each[0]))
        if holdings.cost + self._load > self._most:
            self.shrink()

    def release(self, event: Kept) -> None:
        """Counts an event that a session does not keep any more."""
        size = len(event[2])
        self._holdings.release(event, size, size + EVENT)
        self._kept -= 1

    def shrink(self) -> None:
        """Drops the oldest events while all sessions together keep too much."""
        while self.bytes > self._most and self._order:
            number, session = self._order.popleft()
            if session.lose(number):
                self._drop(TOTAL)

    # -- sessions --------------------------------------------------------------------------------

    def begin(self, member: Member) -> None:
        """Gives a new member a session."""
        session = member.session = Session(self, member)
        self._sessions[session.pid] = session

    def take_in(self, member: Member, state: SessionState) -> None:
        """Gives a member that comes from another process its session."""
        session = member.session = Session(self, member, state.pid)
        self._sessions[session.pid] = session
        session.restore(state)

    def take_out(self, session: Session) -> None:
        """Forgets a session that goes on in another process."""
        with self.gate():
            self.back(session)
            session.close()
            self._forget(session)

    def _forget(self, session: Session) -> None:
        self._sessions.pop(session.pid, None)
        self.past.pop(session.pid, None)

    def shared(self, event: KeptEvent) -> Frame:
        """The frame of an event, as the other sessions have it that come at the same time."""
        if not self._shared:
            self.later(SHARED_FOR, self._shared.clear)
        return self._shared.setdefault((event.mark, event.number), event.frame)

    def find(self, namespace: str, auth: Any) -> Session | None:
        """The open session that a client's CONNECT names, if its ``pid`` is right."""
        pid = auth.get("pid") if isinstance(auth, dict) else None
        session = self._sessions.get(pid) if isinstance(pid, str) else None
        return session if session is not None and session.member.namespace == namespace else None

    def may_return(self, member: Member, reason: str) -> bool:
        """Whether the client of a lost member may come back to it."""
        return member.session is not None and member.session.open and reason in _LOSSES

    def lost(self, member: Member, waited: float = 0.0) -> None:
        """The connection is lost: the session waits for its client, for a limited time.

        ``waited``: the seconds that it has waited already, in another process.
        """
        session: Session = member.session
        if not session.away:
            session.away = True
            self.away += 1
            session.left_at(self.now() - waited)
            seconds = max(0.0, self.options.max_disconnection_duration - waited)
            self.later(seconds, self._expire, session, member.returns)
            self._waiting.append((session, member.returns))
            session.weight = _weight(member)
            self._load += session.weight
            if self.away > MOST_AWAY:
                self._end_longest()
            while 2 * self._load > self._most and self._waiting:
                self._end_longest()
            self.shrink()
            if len(self._waiting) > 2 * self.away + 1000:
                self._waiting = deque(each for each in self._waiting if each[0].away)

    def _end_longest(self) -> None:
        """Ends the session that has waited longest."""
        while self._waiting:
            session, returns = self._waiting.popleft()
            if session.away and session.member.returns == returns:
                self._drop(TOTAL)
                self.unload(session)
                self.later(0, self._expire, session, returns)
                return

    def unload(self, session: Session) -> None:
        """Stops counting the data that the client sent."""
        self._load -= session.weight
        session.weight = 0

    def park(self, member: Member) -> None:
        """The app's handlers for the loss have run."""
        self.lost(member)
        member.enter(Stage.AWAY)

    def back(self, session: Session) -> None:
        """The client is back: the session does not wait any more."""
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
        else:  # it is being admitted, and may be lost again
            self.later(1, self._expire, session, returns)

    def close(self, member: Member) -> None:
        """Ends a session for good."""
        session: Session | None = member.session
        if session is not None:
            with self.gate():
                self.back(session)
                session.close()
                self._forget(session)


class NoRecovery:
    """A `Recovery` that is turned off: every session ends with its connection."""

    numbers = False
    away = 0
    bytes = 0

    def send(self, encode: Callable[[str | None], T], deliver: Callable[[T, Stamp | None], R]) -> R:
        """Sends one event without an offset."""
        return deliver(encode(None), None)

    def begin(self, member: Member) -> None:
        """Makes no session."""

    def may_return(self, member: Member, reason: str) -> bool:
        return False

    def lost(self, member: Member) -> None:
        """Does nothing: no session waits."""

    park = lost

    def close(self, member: Member) -> None:
        """Does nothing: there is no session."""


def _weight(member: Member) -> int:
    """Bytes of memory of the kept data that a client sent, roughly."""
    kept = list(member.rooms or ())
    if member.socket is not None:
        kept += member.socket.handshake.environ.values()
    return sum(len(each) for each in kept if isinstance(each, (str, bytes))) + (
        0 if member.auth is None else memory_of(member.auth, MOST_AUTH)
    )
