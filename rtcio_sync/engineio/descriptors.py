"""Counts the file descriptors that sessions hold, and the polling sessions that hold none.

``max_connections`` bounds descriptors: those of WebSockets and of open polls. Between two polls a
session holds none, and many sessions can poll over one TCP connection. Such sessions *rest*. They
have a bound of their own, so that they never take the place of a WebSocket.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Protocol

__all__ = ["RESTING_BYTES", "Seated", "Seats", "weight"]

#: Bytes that all resting sessions together may have, as `weight` counts them.
RESTING_BYTES = 32_000_000
SESSION_BYTES = 4_000  # that a session takes beside what its client sent


class Seated(Protocol):
    """What `Seats` uses of a session."""

    sid: str
    held: int
    weight: int

    @property
    def joined(self) -> bool:
        """Whether it is in any namespace."""

    def fail(self, label: str, reason: str) -> None:
        """Closes for what the client did, and counts it under ``label``."""


class Seats:
    """The number of descriptors that sessions hold, and the sessions that rest. # hub or greenlet

    ``evict(session)`` has to end a session and to call `forget`.
    """

    def __init__(self, evict: Callable[[Seated], None]) -> None:
        self._evict = evict
        #: Descriptors that sessions hold.
        self.taken = 0
        #: Resting sessions by their id, in the order in which they began to rest.
        self._joined: OrderedDict[str, Seated] = OrderedDict()
        self._strangers: OrderedDict[str, Seated] = OrderedDict()
        self._bytes = 0

    @property
    def resting(self) -> int:
        """How many sessions hold no descriptor."""
        return len(self._joined) + len(self._strangers)

    def take(self, session: Seated) -> None:
        """The session has one more descriptor: a poll is open, or a WebSocket."""
        if self._joined or self._strangers:
            self._wake(session.sid)
        session.held += 1
        self.taken += 1

    def give(self, session: Seated, bound: int) -> None:
        """The session has one less; without any it rests. At most ``bound`` sessions may rest."""
        if not session.held:  # it was forgotten
            return
        session.held -= 1
        self.taken -= 1
        if not session.held:
            self._rest(session, bound)

    def touch(self, session: Seated) -> None:
        """The session rests anew from now on: its poll was answered at once."""
        for resting in (self._joined, self._strangers):
            if session.sid in resting:
                resting.move_to_end(session.sid)

    def forget(self, session: Seated) -> None:
        """The session is over."""
        if self._joined or self._strangers:
            self._wake(session.sid)
        self.taken -= session.held
        session.held = 0

    def _rest(self, session: Seated, bound: int) -> None:
        (self._joined if session.joined else self._strangers)[session.sid] = session
        self._bytes += session.weight
        while self.resting > max(bound, 1) or (self._bytes > RESTING_BYTES and self.resting > 1):
            oldest = self._oldest(session)
            self._wake(oldest.sid)
            self._evict(oldest)

    def _oldest(self, newest: Seated) -> Seated:
        """The session that rests longest, never ``newest``; those in no namespace come first."""
        while self._strangers:
            sid, session = next(iter(self._strangers.items()))
            if session.joined:  # it joined while it rested
                self._joined[sid] = self._strangers.pop(sid)
            elif session is not newest:
                return session
            else:  # the newest is the only stranger
                break
        return next(each for each in self._joined.values() if each is not newest)

    def _wake(self, sid: str) -> None:
        found = self._strangers.pop(sid, None) or self._joined.pop(sid, None)
        if found is not None:
            self._bytes -= found.weight


def weight(environ: Mapping[str, object]) -> int:
    """The bytes that a session takes, estimated from what is kept of its first request."""
    return SESSION_BYTES + sum([len(each) for each in environ.values() if type(each) is str])
