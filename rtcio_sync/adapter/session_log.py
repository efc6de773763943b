"""A session that outlives its connection: the member, and a log of what its client may have missed.

The member stays in its rooms while the client is away. The log has the frames of the events; an
event for many sessions is one object in all their logs.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from .member import Member, Stage
from .session_log_state import KeptEvent, Past, SessionState

__all__ = ["Kept", "Session", "Stamp"]

#: The number of an event, and when it was sent.
Stamp = tuple[int, float]


class Kept(msgspec.Struct, gc=False):
    """An event that was sent, or that waits for the return.

    The garbage collector leaves it alone: thousands are kept, and each tuple would bring the next
    full collection nearer. It refers to nothing that could refer to it.
    """

    number: int
    #: When it was sent.
    at: float
    frame: bytes
    #: How many sessions keep it; `session_store.Recovery` counts.
    sessions: int = 0


class Store(Protocol):
    """What a session needs of `session_store.Recovery`."""

    new_pid: Callable[[], str]
    now: Callable[[], float]
    later: Callable[..., None]
    gate: Callable[[], AbstractContextManager[Any]]
    threaded: Callable[[], bool]
    duration: float
    most_bytes: int
    mark: str
    past: dict[str, Past]

    def number(self) -> int: ...

    def stamp(self) -> tuple[Stamp, str]: ...

    def number_of(self, offset: Any, pid: str = "") -> int | None: ...

    def keep_one(self, event: Kept, session: Session) -> None: ...

    def release(self, event: Kept) -> None: ...

    def shared(self, event: KeptEvent) -> bytes: ...

    def unload(self, session: Session) -> None: ...


class Session:
    """What survives a connection: the member, and the events that its client may have missed."""

    # A timer refers to it weakly, so that one that has ended is freed at once.
    __slots__ = (
        "__weakref__", "_log", "_since", "_size", "_store", "_swept", "_trimmed", "asked", "away",
        "member", "open", "pid", "refused", "taken", "wanted", "weight",
    )  # fmt: skip

    def __init__(self, store: Store, member: Member, pid: str | None = None) -> None:
        self._store = store
        self.member = member
        #: The key to the session, which only the client knows.
        self.pid = pid or store.new_pid()
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
        #: Whether middlewares or ``connect`` handlers run for the connection being admitted, and
        #: whether the app has disconnected the client meanwhile.
        self.asked = False
        self.refused = False
        self._log: deque[Kept] | None = None
        self._size = 0
        self._trimmed = 0  # the highest number that was dropped
        self._since = store.now()  # when its client connected, or came back
        self._swept = False  # whether a sweep of old events is scheduled

    def keep(self, event: Kept) -> None:
        """Keeps an event that the client may not receive."""
        self._store.keep_one(event, self)

    def gate(self) -> AbstractContextManager[Any] | None:
        """To be held for `next` and `keep`; `None`: there are no other threads."""
        return self._store.gate() if self._store.threaded() else None

    def next(self) -> tuple[Stamp, str]:
        """The stamp of the next event, to be kept at once, and its offset. # gate held"""
        return self._store.stamp()

    def append(self, event: Kept) -> None:
        """As `keep`, for `session_store.Recovery.keep`, which counts the event before."""
        log = self._log
        if log is None:
            log = self._log = deque()
        log.append(event)
        self._size += len(event.frame)
        store, now = self._store, event.at
        if self._size > store.most_bytes or log[0].at < now - store.duration:
            self._trim(now)
        if not self._swept:
            self._swept = True
            store.later(store.duration, _sweep, weakref.ref(self))

    def _trim(self, now: float) -> None:
        oldest, bound = now - self._store.duration, self._store.most_bytes
        # Missed events are kept as long as the client may come back, and as long again after its
        # return, because the replayed events may get lost too.
        aged = self.member.stage is Stage.CONNECTED and self._since < oldest
        log = self._log
        while log and (self._size > bound or (aged and log[0].at < oldest)):
            self._let_go(log)

    def _let_go(self, log: deque[Kept]) -> None:
        event = log.popleft()
        self._trimmed = event.number
        self._size -= len(event.frame)
        self._store.release(event)

    def keeps(self, number: int) -> bool:
        """Whether it still keeps the event with this number."""
        log = self._log
        return log is not None and len(log) > 0 and log[0].number <= number

    def lose(self, number: int) -> bool:
        """Drops the event with this number, and older ones; returns whether it kept any."""
        log = self._log
        if not log or log[0].number > number:
            return False
        while log and log[0].number <= number:
            self._let_go(log)
        return True

    def sweep(self) -> None:
        """Drops old events, also if no new event came."""
        now = self._store.now()
        with self._store.gate():  # another thread may keep an event, or end the session
            self._trim(now)
            log = self._log
            self._swept = bool(log)
            oldest = log[0].at if log else None
        if oldest is not None:
            seconds = max(1.0, oldest + self._store.duration - now)
            self._store.later(seconds, _sweep, weakref.ref(self))

    def missed(self, offset: Any) -> list[bytes] | None:
        """The frames after ``offset``, in order; `None` if they are not all kept (any more).

        ``offset`` is the one that the client sent; `None` if it had received nothing.
        """
        after = self._store.number_of(offset, self.pid)
        if after is None or after < self._trimmed:
            return None
        # From the end: the cost depends on the missed events, not on the kept ones.
        found: list[bytes] = []
        with self._store.gate():  # another thread may keep one more meanwhile
            for event in reversed(self._log or ()):
                if event.number <= after:
                    break
                found.append(event.frame)
        found.reverse()
        return found

    def state(self) -> SessionState:
        """The session for another process."""
        store, log = self._store, self._log or ()
        past = store.past.get(self.pid)
        events, now = [], store.now()
        for event in log:
            origin = None if past is None else past.origin(event.number)
            mark, old = origin or (store.mark, event.number)
            events.append(KeptEvent(mark, old, now - event.at, event.frame))
        floors = [] if past is None else past.floors(self._trimmed)
        own = self._trimmed if past is None or self._trimmed > past.last else 0
        floors.append((store.mark, own))
        trimmed = self._trimmed > 0
        return SessionState(self.pid, now - self._since, self.away, events, floors, trimmed)

    def restore(self, state: SessionState) -> None:
        """Goes on as the session of another process."""
        store = self._store
        now, base = store.now(), store.number()
        self._since = now - state.age
        self._trimmed = base if state.trimmed else 0
        store.past[self.pid] = Past(base, state.floors, state.events)
        for each in state.events:
            frame = store.shared(each)
            self.keep(Kept(store.number(), now - each.age, frame))

    def left_at(self, at: float) -> None:
        """The client was lost then."""
        self._since = at

    def resumed(self) -> None:
        """The client has come back."""
        self._store.unload(self)
        self.away = False
        self._since = self._store.now()

    def close(self) -> None:
        """Ends the session."""
        self.open = False
        for event in self._log or ():
            self._store.release(event)
        self._log, self._size = None, 0


def _sweep(session: weakref.ref[Session]) -> None:
    found = session()
    if found is not None:
        found.sweep()
