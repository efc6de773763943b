"""Connection state recovery: the sessions that outlive their connection.

socket.io-client 4.6 and later supports it when CONNECT is answered with a ``pid``: it remembers the
last argument of each event, if that is a string, as its offset, and sends both when it comes back.
So each event without an acknowledgement has an offset as its last argument, and each session keeps
the frames of the events that its client may have missed (`session_log`).

Here are the sessions of a server, the numbers of their events, and the bounds on what all of them
keep. Nothing here loops over all sessions, and nothing blocks: the hub may call everything.
"""

from __future__ import annotations

import math
import re
import secrets
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from ..engineio.ids import new_pid
from ..events import CLIENT_CLOSE
from ..transport.slow_readers import memory_of
from .member import Member, Stage
from .recovery_options import RecoveryOptions
from .session_log import Kept, Session, Stamp
from .session_log_state import KeptEvent, Past, SessionState

__all__ = ["NoRecovery", "Recovery"]

T = TypeVar("T")
R = TypeVar("R")
Frame = bytes  # in `Recovery`, `bytes` is a property

#: Sessions that may wait for their clients; over it the one that waits longest ends. Each takes
#: some 11 kB, without events and the app's data.
MOST_AWAY = 10_000

MOST_AUTH = 1_000_000  # bytes up to which the memory of one ``auth`` is counted

EVENT = 350  # bytes of memory of an event in addition to its frame
SHARED_FOR = 5.0  # seconds in which sessions of another process come that share events
PLACE = 20  # bytes of memory in each further session that keeps the same event

TOTAL = "recovery-total"
"""The label under which is counted what went because all sessions together kept too much."""

#: Reasons after which a client may come back to its session; after others it left on purpose. As in
#: Node, except for a server that shuts down, because its sessions end with it.
_LOSSES = frozenset(
    {CLIENT_CLOSE, "forced close", "ping timeout", "transport close", "transport error"}
)

#: An offset: the mark of the process, and the event's number.
_OFFSET = re.compile(r"(?P<mark>[A-Za-z0-9_-]{4})(?P<number>[0-9a-f]{1,15})")


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
        threaded: Callable[[], bool] = lambda: False,
    ) -> None:
        self.options = options
        #: Makes the key to a session; several processes have keys that say which one it is in.
        self.new_pid: Callable[[], str] = new_pid
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
        #: Whether there are other threads. On greenlets the gate does nothing, and costs two calls.
        self.threaded = threaded
        self._sessions: dict[str, Session] = {}
        self._cost = 0  # bytes of memory of the events that sessions keep
        # For each event that sessions keep, in order, and for some dropped ones: its number, and
        # then the key to the session that keeps it, or a list of several: a session that has ended
        # is not kept for it.
        self._order: deque[int | str | list[str]] = deque()
        self._places = 0  # how many sessions are there,
        self._kept = 0  # and for how many of them the session still keeps the event
        # Longest first; as above. Not by the key: a session that has left may come again.
        self._waiting: deque[tuple[weakref.ref[Session], int]] = deque()
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

    def stamp(self) -> tuple[Stamp, str]:
        """The stamp of the next event, and its offset."""
        self.last = number = self.last + 1
        return (number, self.now()), f"{self.mark}{number:x}"  # as `spelt`

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
        past = self.past.get(pid)
        if match["mark"] != self.mark or (past is not None and number <= past.base):
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
        return self._cost + self._load

    def keep(self, event: Kept, sessions: Iterable[Session]) -> None:
        """Keeps an event in those of the sessions that are open. # gate held

        If all keep too much then, the oldest events are dropped; it may be this one.
        """
        those = [each for each in sessions if each.open]
        if len(those) < 2:
            for each in those:
                self.keep_one(event, each)
            return
        number = len(those)
        cost = PLACE if event.sessions else len(event.frame) + EVENT
        self._cost += cost + PLACE * (number - 1)
        event.sessions += number
        for each in those:
            each.append(event)
        self._count(event.number, [each.pid for each in those], number)

    def keep_one(self, event: Kept, session: Session) -> None:
        """As `keep`, for one session. # gate held"""
        if session.open:
            self._cost += PLACE if event.sessions else len(event.frame) + EVENT
            event.sessions += 1
            session.append(event)
            # As `_count`, without its call, for each relay.
            self._kept += 1
            self._order += (event.number, session.pid)
            self._places += 1
            if self._places > 2 * self._kept + 1000 or self._cost + self._load > self._most:
                self._bound()

    def _count(self, event: int, inside: list[str], number: int) -> None:
        self._kept += number
        self._order += (event, inside)  # in one step, which nothing can interrupt
        self._places += number
        self._bound()

    def _bound(self) -> None:
        if self._places > 2 * self._kept + 1000:
            self._forget_dropped()
        if self._cost + self._load > self._most:
            self.shrink()

    def _forget_dropped(self) -> None:
        order: deque[int | str | list[str]] = deque()
        places, event = 0, 0
        for each in self._order:
            if isinstance(each, int):
                event = each
                continue
            those = each if isinstance(each, list) else [each]
            those = [pid for pid in those if self._keeps_event(pid, event)]
            if those:
                order += (event, those if len(those) > 1 else those[0])
                places += len(those)
        self._order, self._places = order, places

    def _keeps_event(self, pid: str, number: int) -> bool:
        session = self._sessions.get(pid)
        return session is not None and session.keeps(number)

    def release(self, event: Kept) -> None:
        """Counts an event that a session does not keep any more."""
        event.sessions -= 1
        self._cost -= PLACE if event.sessions else len(event.frame) + EVENT
        self._kept -= 1

    def shrink(self) -> None:
        """Drops the oldest events while all sessions together keep too much."""
        order = self._order
        while self.bytes > self._most and len(order) > 1:
            event, inside = order[0], order[1]
            if not isinstance(event, int) or isinstance(inside, int):
                order.popleft()  # its other half has gone: a signal came between the two steps
                continue
            session = self._sessions.get(inside.pop() if isinstance(inside, list) else inside)
            if session is not None and session.lose(event):
                self._drop(TOTAL)
            self._places -= 1
            if isinstance(inside, str) or not inside:
                order.popleft()
                order.popleft()

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

    def keeps(self, pid: str) -> bool:
        """Whether it is the key to a session."""
        return pid in self._sessions

    def may_return(self, member: Member, reason: str) -> bool:
        """Whether the client of a lost member may come back to it."""
        return member.session is not None and member.session.open and reason in _LOSSES

    def lost(self, member: Member, waited: float = 0.0) -> None:
        """The connection is lost: the session waits for its client, for a limited time.

        ``waited``: the seconds that it has waited already, in another process.
        """
        # Several threads may lose sessions at once, and keep events in others.
        with self.gate():
            session: Session = member.session
            if session.open and not session.away:
                self._wait(session, waited)

    def _wait(self, session: Session, waited: float) -> None:  # gate held
        session.away = True
        self.away += 1
        session.left_at(self.now() - waited)
        seconds = max(0.0, self.options.max_disconnection_duration - waited)
        waiting = weakref.ref(session), session.member.returns
        self.later(seconds, self._expire, *waiting)
        self._waiting.append(waiting)
        session.weight = _weight(session.member)
        self._load += session.weight
        if self.away > MOST_AWAY:
            self._end_longest()
        while 2 * self._load > self._most and self._waiting:
            self._end_longest()
        self.shrink()
        if len(self._waiting) > 2 * self.away + 1000:
            self._waiting = deque(each for each in self._waiting if _still_waits(*each))

    def _end_longest(self) -> None:
        """Ends the session that has waited longest."""
        while self._waiting:
            waiting = self._waiting.popleft()
            session = _still_waits(*waiting)
            if session is not None:
                self._drop(TOTAL)
                self.unload(session)
                self.later(0, self._expire, *waiting)
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

    def _expire(self, session: weakref.ref[Session], returns: int) -> None:
        found = _still_waits(session, returns)
        if found is None:
            return
        if found.taken is None:
            self._end(found.member)
        else:  # it is being admitted, and may be lost again
            self.later(1, self._expire, session, returns)

    def end_waiting(self) -> None:
        """Ends every session that waits for its client."""
        for session in list(self._sessions.values()):
            if session.away:
                self._end(session.member)

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

    def keep(self, event: Kept, sessions: Iterable[Session]) -> None:
        """Keeps nothing."""

    def begin(self, member: Member) -> None:
        """Makes no session."""

    def may_return(self, member: Member, reason: str) -> bool:
        return False

    def lost(self, member: Member) -> None:
        """Does nothing: no session waits."""

    park = lost

    def end_waiting(self) -> None:
        """Does nothing: no session waits."""

    def close(self, member: Member) -> None:
        """Does nothing: there is no session."""


def _still_waits(session: weakref.ref[Session], returns: int) -> Session | None:
    """The session, if it waits for its client since it was lost after so many ``returns``."""
    found = session()
    waits = found is not None and found.away and found.member.returns == returns
    return found if waits else None


def _weight(member: Member) -> int:
    """Bytes of memory of the kept data that a client sent, roughly."""
    kept = list(member.rooms or ())
    if member.socket is not None:
        kept += member.socket.handshake.environ.values()
    return sum(len(each) for each in kept if isinstance(each, (str, bytes))) + (
        0 if member.auth is None else memory_of(member.auth, MOST_AUTH)
    )
