"""Messages of a client that wait for the app's handlers, and how fast more are read.

An `Inbox` is the part of an Engine.IO socket (`socket`) that hands messages to the app's handlers,
in order, and slows down a client that sends more than they, or its rate, allow. It is a mixin, not
an attribute: a second object for each connection would cost memory while the connection is idle,
and a call for each message.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ..client_limits import Rate
from ..hub.turns import LAST
from ..options import Limits
from ..transport.ports import Transport
from .ports import InboxEngine

__all__ = ["INBOX_BYTES", "Inbox", "Running", "since_wait"]

#: Bytes of a client's messages that may wait for an app's handlers. Over it, nothing more is read
#: from the client until half of them are done. Nothing is lost: TCP makes the client wait. The
#: memory of a decoded message's values counts too (`parser.message_bounds.VALUE_BYTES`).
INBOX_BYTES = 1_000_000
ITEM_BYTES = 500  # of memory that a message takes beside its own bytes while it waits


#: Beside which inbox the code of the app runs in this greenlet.
_beside: ContextVar[Inbox | None] = ContextVar("rtcio_beside", default=None)


def since_wait() -> float | None:
    """As ``since`` for a turn of the app's code that has waited. # greenlet

    Several that run beside one inbox get a late turn: one client may have woken all of them.
    """
    inbox = _beside.get()
    return LAST if inbox is not None and inbox.tasks > 1 else None


class Inbox:
    """The messages of one connection. One greenlet works on them, in order, until none is left."""

    # An attribute that few connections set is one of the class, and no slot.
    __slots__ = ("__dict__", "allowance", "begun_at", "inbox", "inbox_bytes", "limits")

    # Attributes of the socket that this part uses.
    server: InboxEngine
    websocket: Transport | None

    #: Until when reading was paused because the inbox was full; infinity while it is full.
    full_until = -math.inf
    #: The sids of the sockets with which it has come from another process.
    arrived: frozenset[str] = frozenset()
    #: Whether nothing of the client is handled, since the session is about to change its process.
    frozen = False
    #: The state of the rate, once the client was over it.
    rate: Rate | None = None

    def __init__(self, limits: Limits) -> None:
        self.inbox: deque[tuple[object, int]] | None = None
        self.inbox_bytes = 0
        self.limits = limits
        #: Messages that may come before `pause_due` has to be called.
        self.allowance: float = limits.burst
        self.begun_at = 0.0

    @property
    def closed(self) -> bool:
        """Whether the connection is over."""
        raise NotImplementedError

    def fail(self, label: str, reason: str, code: int = 1000) -> None:
        """Closes the connection because of its client, and counts that under ``label``."""
        raise NotImplementedError

    # -- the order of the app's work: hub or greenlet ---------------------------------------------

    def enqueue(self, item: object, size: int = 0) -> None:
        """Puts one item behind all others of this connection. # hub or greenlet

        ``size``: the bytes of its message. If no greenlet works on this inbox, one is spawned.
        """
        server = self.server
        size += ITEM_BYTES
        if server.threaded:  # on greenlets the gate does nothing, and costs two calls
            with server.gate:
                idle = self._put(item, size)
            if idle:
                server.spawn(self._work_on_thread)
        elif self.inbox is not None:
            self._put(item, size)
        else:  # most often nothing waits, and this is all
            self.inbox = deque(((item, size),))
            server.working += 1
            self.inbox_bytes += size
            if self.inbox_bytes > INBOX_BYTES:
                self.full_until = math.inf
            server.hub_thread.spawn(self._work)

    def _put(self, item: object, size: int) -> bool:  # gate held
        """Whether no thread works on the inbox yet."""
        inbox = self.inbox
        idle = inbox is None
        if inbox is None:
            inbox = self.inbox = deque()
            self.server.working += 1
        inbox.append((item, size))
        self.inbox_bytes += size
        if self.inbox_bytes > INBOX_BYTES:
            self.full_until = math.inf
        return idle

    def _next(self, done: int) -> tuple[object, int] | None:  # gate held
        """The next item and its bytes; `None`: there is none. ``done``: the bytes of the last."""
        self.inbox_bytes -= done
        if self.full_until == math.inf and self.inbox_bytes <= INBOX_BYTES // 2:
            self._not_full()
        if self.inbox:
            return self.inbox.popleft()
        self.inbox = None
        self.server.working -= 1
        return None

    def heavier(self, size: int) -> None:  # gate held
        """So many bytes more wait, of what runs beside the inbox."""
        self.inbox_bytes += size
        if self.inbox_bytes > INBOX_BYTES:
            self.full_until = math.inf

    def lighter(self, done: int) -> None:  # gate held
        """So many bytes wait no more, of what was beside the inbox."""
        self.inbox_bytes -= done
        if self.full_until == math.inf and self.inbox_bytes <= INBOX_BYTES // 2:
            self._not_full()

    def _not_full(self) -> None:  # gate held
        self.full_until = self.server.heartbeat.now()
        self._go_on()

    #: Whether it is a test client's: handlers run within its calls, and nobody times them.
    tested = False
    #: How many functions run beside the inbox now (`beside`).
    tasks = 0
    #: Whether this is a forked child, and the client is the parent's.
    left = False

    def aside(self, size: int, target: Callable[..., Any], *args: Any) -> None:
        """Runs the app's code in a greenlet of its own, beside the inbox. # hub or greenlet

        ``size``: the bytes of its message, which count as waiting until it has ended.
        """
        running = Running(self)
        running.begin(size)
        self.server.spawn(running.run, target, *args)

    def beside(self, target: Callable[..., Any], *args: Any) -> None:
        """Calls ``target(*args)`` when it is its turn. # greenlet

        If several run for this connection, all but the first get a late turn.
        """
        self.tasks += 1
        token = _beside.set(self)
        try:
            self.server.own_turn(since_wait())
            if not self.left:
                target(*args)
        finally:
            self.tasks -= 1
            _beside.reset(token)

    def _work(self, done: int = 0) -> None:
        """Does what is in the inbox, then ends: an idle connection has no greenlet. # greenlet

        ``done``: the bytes of an item that is done, and not subtracted yet.
        """
        server, begun = self.server, None
        found = self.inbox.popleft() if self.inbox and not done else self._next(done)
        while found is not None:
            item, size = found
            try:
                begun = server.turns.take(LAST if self.closed else begun)
            except BaseException as error:  # noqa: BLE001  (it is logged there)
                server.disturbed(error)
            outcome = server.work(self, item)
            item = found = None  # free it before its bytes are subtracted
            if outcome:
                if outcome is True:  # the code that killed this greenlet waits for its end
                    server.spawn(self._work, size)
                    return
                size = outcome.done_of(size)
            if self.inbox or self.full_until == math.inf:
                found = self._next(size)
            else:  # as `_next`, without its call: most often it was the only one
                self.inbox_bytes -= size
                self.inbox = None
                server.working -= 1

    def _work_on_thread(self, done: int = 0) -> None:
        """`_work` for a server on threads, which take no turns. # thread"""
        server = self.server
        while True:
            with server.gate:
                found = self._next(done)
            if found is None:
                return
            item, done = found
            outcome = server.work(self, item)
            item = found = None
            if outcome:
                if outcome is True:
                    server.spawn(self._work_on_thread, done)
                    return
                done = outcome.done_of(done)

    # -- how fast the client is read: hub or greenlet ----------------------------------------------

    def _slow_down(self) -> None:
        """Pauses reading if the client is over a bound: TCP makes it wait, and nothing is lost."""
        seconds = self.pause_due()
        websocket = self.websocket
        if websocket is not None and not self.closed:
            with self.server.gate:  # another thread may just empty the inbox, and resume reading
                if seconds or self.full:
                    websocket.pause()
            if seconds:
                self.server.heartbeat.later(seconds, self._go_on)

    def stand_back(self) -> None:
        """Pauses reading until the next turn of the loop, if this turn's time is used up. # hub"""
        server = self.server
        if self.websocket is not None and server.async_mode != "threading" and server.turns.over():
            self.websocket.pause()
            server.spawn(self._go_on)

    def _go_on(self) -> None:
        """Resumes reading, unless another reason to pause holds. # hub or greenlet"""
        with self.server.gate:
            slowed = self.rate is not None and self.rate.paused_until > self.server.heartbeat.now()
            if self.websocket is not None and not slowed and not self.full and not self.frozen:
                self.websocket.resume()

    def freeze(self) -> None:
        """Handles nothing of the client until `thaw`; what it sends waits. # hub or greenlet"""
        self.frozen = True
        if self.websocket is not None:
            self.websocket.pause()

    def thaw(self) -> None:
        """Goes on after `freeze`. # hub or greenlet"""
        self.frozen = False
        if not self.closed:
            self._go_on()

    @property
    def full(self) -> bool:
        """Whether too much waits for the app's handlers, so that reading is paused."""
        return self.full_until == math.inf

    def held_back(self, since: float) -> bool:
        """Whether reading from the client paused after ``since``, which delays its PONG."""
        slowed = self.rate is not None and self.rate.paused_until > since
        return slowed or self.full_until > since or self.frozen

    def pause_due(self) -> float:
        """Seconds that the client has to wait now. Closes it if it was too fast for too long."""
        limits = self.limits
        if self.allowance >= 0 or limits.events_per_second is None:
            return 0
        if self.rate is None:
            self.rate = Rate(limits.events_per_second, limits.burst, self.begun_at)
        self.allowance, seconds = self.rate.pause(self.allowance, self.server.heartbeat.now())
        if seconds is None:
            self.fail("flood", "transport error", 1008)
        return seconds or 0

    def adopt(self, limits: Limits) -> None:
        """Uses these limits from now on. What the client sent before counts under them, too."""
        if limits.burst == math.inf or self.limits.burst == math.inf:
            self.allowance = limits.burst
        else:
            self.allowance += limits.burst - self.limits.burst
        self.limits = limits
        if self.rate is not None and limits.events_per_second is not None:
            # The bucket stays as full as it was: to join and leave must not empty it.
            self.rate.change(limits.events_per_second, limits.burst)
        if self.websocket is not None:
            self.websocket.max_buffered = limits.max_buffered_bytes


class Running:
    """What came of a client and is not over yet; its bytes count in the inbox until then.

    An event or a callback that runs beside the inbox, or an answer that is gathered with others.
    Else a client could have any number of them, since the inbox is done with each at once.
    """

    __slots__ = ("_bytes", "_inbox", "_over")

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._bytes = 0
        self._over = False

    def begin(self, size: int) -> None:
        """Counts the bytes of one that was not in the inbox."""
        with self._inbox.server.gate:
            self._bytes = size + ITEM_BYTES
            self._inbox.heavier(self._bytes)

    def done_of(self, size: int) -> int:
        """The inbox is done with its item of ``size`` bytes: how many of them count no more."""
        with self._inbox.server.gate:
            if self._over:
                return size
            self._bytes = size
            return 0

    def run(self, target: Callable[..., Any], *args: Any) -> None:
        """Calls ``target(*args)`` as `Inbox.beside`. # greenlet"""
        try:
            self._inbox.beside(target, *args)
        finally:
            self.end()

    def end(self) -> None:
        """Counts its bytes no more."""
        with self._inbox.server.gate:
            self._over = True
            self._inbox.lighter(self._bytes)
