"""Answers to HTTP requests while they are sent, and which of them are cut.

The WSGI server writes an answer in the request's greenlet, which blocks as long as the client does
not read. So an answer is cut if its session is over, or if it has none, and its client took less
than `slow_readers.PROGRESS` bytes in `slow_readers.STALL` seconds. The answers of an open session
are bounded by `slow_readers` and the ping time-out.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import socket
import termios
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any, Protocol

from ..metrics import Counters
from . import takeover
from .ports import CONNECTION, Later, Served
from .slow_readers import COUNTED, EVERY, LARGE, Backlog, Pace
from .tcp import acknowledged, reset_at_close

__all__ = ["Deliveries", "Delivery"]

PIECE = 1 << 16  # bytes that are handed to the WSGI server at a time


class Session(Protocol):
    """The session whose answer it is."""

    @property
    def closed(self) -> bool:
        """Whether the session is over."""

    def answering(self, answer: Delivery) -> None:
        """An answer to its poll is being sent."""

    def answered(self, answer: Delivery) -> None:
        """It has arrived, or it will not arrive any more."""


class Delivery:
    """One body that is being sent. ``session``: the session that it belongs to; `None`: none."""

    def __init__(self, body: bytes, session: Session | None, environ: dict[str, Any]) -> None:
        self.body = body
        self.size = len(body)
        self.session = session
        self.left = self.size
        #: Whether it was cut. If the server's socket is unknown, it may still be sent.
        self.given_up = False
        self.greenlet = takeover.current()
        served: Served | None = environ.get(CONNECTION)
        #: The socket that it is written to; `None`: not looked up yet, or unknown.
        self.sock: Any = (
            served.socket
            if served is not None
            else environ.get("werkzeug.socket") or environ.get("gunicorn.socket")
        )
        self._before: int | None = None
        #: Whether the server has handed all of it to the kernel, which may still hold some.
        self.written = False

    def pieces(self) -> Iterator[bytes]:
        """The body, for the WSGI server. # greenlet"""
        if self.size <= PIECE:
            yield self.body
        else:
            for at in range(0, self.size, PIECE):
                yield self.body[at : at + PIECE]
                self.left = max(0, self.size - at - PIECE)

    def taken(self) -> int:
        """Bytes that the client has taken; if unknown, those that were handed to the server."""
        if self.sock is None:
            self.sock = takeover.line_of(self.greenlet)
        acked = acknowledged(self.sock) if self.sock is not None else None
        if acked is None:
            return self.size - self.left
        if self._before is None:  # bytes of other answers on this connection
            self._before = acked - (self.size - self.left)
        return min(self.size, acked - self._before)

    @property
    def waits_in_kernel(self) -> bool:
        """Whether the kernel still holds some of it."""
        try:
            waiting = fcntl.ioctl(self.sock.fileno(), termios.TIOCOUTQ, bytes(4))
        except (OSError, ValueError, AttributeError):  # closed, or unknown
            return False
        return any(waiting)

    def cut(self) -> None:
        """Ends the TCP connection, and with it the request's greenlet, which blocks on it."""
        if self.sock is None:
            return
        with suppress(OSError):
            # On a duplicate of the descriptor: the TLS object is in the middle of a write.
            twin = _socket.socket(fileno=os.dup(self.sock.fileno()))
            reset_at_close(twin)
            twin.shutdown(socket.SHUT_RDWR)
            twin.close()


class Deliveries:
    """All answers that a server is sending."""

    def __init__(
        self,
        backlog: Backlog,
        counters: Counters,
        *,
        now: Callable[[], float],
        later: Later,
    ) -> None:
        self._backlog = backlog
        self._counters = counters
        self._now = now
        self._later = later
        self._paces: dict[Delivery, Pace | None] = {}
        self._looking = False

    def send(
        self, body: bytes, session: Session | None, environ: dict[str, Any]
    ) -> Generator[bytes, None, None]:
        """The iterable that a WSGI application returns to send ``body``. # greenlet

        ``session``: the polling session whose packets they are; `None`: none, as for an error.
        """
        answer = Delivery(body, session, environ)
        self._paces[answer] = None
        if not self._looking:
            self._looking = True
            self._later(EVERY, self._look)
        counts = answer.size > COUNTED
        if counts:
            answer.sock = answer.sock or takeover.line(environ)
            self._backlog.hold(answer, answer.size)
        if session is not None:
            session.answering(answer)
        try:
            yield from answer.pieces()
        finally:
            answer.written, answer.body = True, b""  # freed, since it is counted no longer
            # The kernel takes megabytes for a client that reads nothing, and the descriptor stays
            # open meanwhile: `_look` checks until they have arrived.
            if not counts or not answer.waits_in_kernel:  # another thread's `_look` may be faster
                self._paces.pop(answer, None)
            if counts:
                self._backlog.release(answer, answer.size)
            if session is not None:
                session.answered(answer)

    def _look(self) -> None:
        self._looking = False
        now = self._now()
        for answer, pace in self._paces.copy().items():
            if answer.written and not answer.waits_in_kernel:
                self._paces.pop(answer, None)
                continue
            if pace is None:  # its first check: most answers arrive before they have one
                self._paces[answer] = Pace(now, answer.taken())
                continue
            # Any size counts as large here: no session wants it any more.
            pace.note(now, answer.taken(), LARGE + 1)
            over = answer.session is None or answer.session.closed
            if over and pace.stalled(now):
                # If it had a session, the end of the session was counted.
                if answer.session is None and not answer.given_up:
                    self._counters.closed["unread"] += 1
                answer.given_up = True
                answer.cut()
        if self._paces and not self._looking:
            self._looking = True
            self._later(EVERY, self._look)
