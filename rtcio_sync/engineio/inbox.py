"""What came from a client and waits for the app, and how fast more of it is read.

An `Inbox` is the part of an Engine.IO socket (`socket`) that keeps the order of what the app's
handlers get, and makes a client wait that sends more than they, or its rate, allow. It is a mixin,
not an attribute: a second object for each connection would cost memory while it is idle, and a call
for each message.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from ..hub.turns import LAST
from ..limits import Rate
from ..options import Limits
from ..transport.base import Transport
from .ports import InboxEngine

__all__ = ["INBOX_BYTES", "Inbox"]

#: Bytes of a client's messages that may wait for an app's handlers; over it, no more is read from
#: the client until half of them are worked off. Nothing is lost: TCP tells the client to wait. What
#: is decoded counts with the memory that its values take (`weight.VALUE_BYTES`).
INBOX_BYTES = 1_000_000
ITEM_BYTES = 500  # what a message costs beside its own bytes while it waits


class Inbox:
    """The messages of one connection: worked off one by one, by a greenlet that ends with them."""

    # What the socket has, and this part looks at.
    server: InboxEngine
    wire: Transport | None

    def __init__(self, limits: Limits) -> None:
        self.inbox: deque[tuple[object, int]] | None = None
        self.inbox_bytes = 0
        #: Until when nothing was read because the inbox is full: infinity while it is.
        self.full_until = -math.inf
        self.limits = limits
        #: Messages that may come before `pause_due` has to be asked, and how the rate stands.
        self.allowance: float = limits.burst
        self.rate: Rate | None = None
        self.begun_at = 0.0

    @property
    def closed(self) -> bool:
        """Whether the connection is over."""
        raise NotImplementedError

    def fail(self, label: str, reason: str, code: int = 1000) -> None:
        """Closes the connection for what the client did, and counts it under ``label``."""
        raise NotImplementedError

    # -- the order of the app's work: hub or greenlet ---------------------------------------------

    def enqueue(self, item: object, size: int = 0) -> None:
        """Puts one item behind all others of this connection; a greenlet of its own works it off.

        ``size``: the bytes of the message that it came in. # hub or greenlet
        """
        with self.server.gate:
            idle = self.inbox is None
            if self.inbox is None:
                self.inbox = deque()
            size += ITEM_BYTES
            self.inbox.append((item, size))
            self.inbox_bytes += size
            if self.inbox_bytes > INBOX_BYTES:
                self.full_until = math.inf
        if idle:
            self.server.working += 1
            self.server.spawn(self._work)

    #: Whether a handler that hangs is looked for.
    timed = True
    #: How many of those that run beside the inbox have not ended.
    tasks = 0

    def aside(self, target: Callable[..., Any], *args: Any) -> None:
        """Runs code of the app's that must not wait in the inbox. # hub or greenlet"""
        self.server.spawn(self.beside, target, *args)

    def beside(self, target: Callable[..., Any], *args: Any) -> None:
        """Calls ``target(*args)`` when it is its turn; the first of many goes first. # greenlet"""
        self.tasks += 1
        try:
            self.server.own_turn(LAST if self.tasks > 1 else None)
            target(*args)
        finally:
            self.tasks -= 1

    def _work(self) -> None:
        """Works off the inbox, then ends: an idle connection costs no greenlet. # greenlet"""
        server = self.server
        begun = server.turns.now()
        take = server.turns.take if server.async_mode != "threading" else _at_once
        while True:
            with server.gate:
                if not self.inbox:
                    self.inbox = None
                    server.working -= 1
                    return
                item, size = self.inbox.popleft()
            try:
                take(LAST if self.closed else begun)
            except BaseException as error:  # noqa: BLE001  (it is logged there)
                server.disturbed(error)
            killed = server.work(self, item)
            item = None  # its bytes are counted no longer
            with server.gate:
                self.inbox_bytes -= size
                drained = self.full and self.inbox_bytes <= INBOX_BYTES // 2
                if drained:
                    self.full_until = server.heartbeat.now()
            if drained:
                self._go_on()
            if killed:  # whoever killed this greenlet waits for its end
                server.spawn(self._work)
                return

    # -- how fast the client is read: hub or greenlet ----------------------------------------------

    def _slow_down(self) -> None:
        """Reads no more until it may: TCP tells the sender, and nothing is lost."""
        seconds = self.pause_due()
        if self.wire is not None and not self.closed:
            if seconds:
                self.server.heartbeat.later(seconds, self._go_on)
            if seconds or self.full:
                self.wire.pause()

    def stand_back(self) -> None:
        """Reads on in the next turn of the loop, if the time of this one is used up. # hub"""
        server = self.server
        if self.wire is not None and server.async_mode != "threading" and server.turns.over():
            self.wire.pause()
            server.spawn(self._go_on)

    def _go_on(self) -> None:
        """Reads on, unless there is another reason not to. # hub or greenlet"""
        slowed = self.rate is not None and self.rate.paused_until > self.server.heartbeat.now()
        if self.wire is not None and not slowed and not self.full:
            self.wire.resume()

    @property
    def full(self) -> bool:
        """Whether so much waits for the app's handlers that nothing more is read."""
        return self.full_until == math.inf

    def held_back(self, since: float) -> bool:
        """Whether the client had to wait after ``since``, and a PONG of its with it."""
        slowed = self.rate is not None and self.rate.paused_until > since
        return slowed or self.full_until > since

    def pause_due(self) -> float:
        """Seconds that the client has to wait now; after too many of them it is closed."""
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
        """Lives by these limits from now on; what was sent under the others counts."""
        if limits.burst == math.inf or self.limits.burst == math.inf:
            self.allowance = limits.burst
        else:
            self.allowance += limits.burst - self.limits.burst
        self.limits = limits
        if self.rate is not None and limits.events_per_second is not None:
            # The same bucket: whoever joins and leaves gets no fresh one.
            self.rate.change(limits.events_per_second, limits.burst)
        if self.wire is not None:
            self.wire.max_buffered = limits.max_buffered_bytes


def _at_once(since: float) -> None:
    """Threads take no turns."""
