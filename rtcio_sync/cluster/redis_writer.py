"""Writes to one master of Redis: while replies are awaited, the next messages are put together.

# hub or greenlet: all of it
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Protocol

import gevent

from ..transport.outgoing import Turn
from .redis_link import Door, Line, Link, Replied
from .redis_outbox import Entry, Outbox
from .redis_resp import ErrorReply, Reply, command, strings

__all__ = ["Target", "Writer"]

log = logging.getLogger(__name__)

AT_A_TIME = 1_000_000  # bytes that are written before replies are awaited
POLL_EACH = 0.25  # seconds between two questions what a node has acknowledged
STALLED = 2.0  # seconds without an acknowledgement after which Redis is asked whether it has all
MUCH = 4_000_000  # bytes in an inbox from which on Redis is asked what others have sent
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds before it is sent again what Redis did not take
MOST_ENTRIES = 1_000_000  # entries of an inbox; bytes bound it earlier


class Target:
    """Another node's inbox, as this node writes to it."""

    __slots__ = (
        "acks", "add", "asked", "asking", "held", "inbox", "outbox", "pause", "polled", "sender",
        "writer",
    )  # fmt: skip

    def __init__(self, sender: str, inbox: str, acks: str, outbox: Outbox, writer: Writer) -> None:
        self.writer = writer
        self.sender = sender
        self.inbox, self.acks = inbox, acks
        self.outbox = outbox
        given = "XADD", inbox, "NOMKSTREAM", "MAXLEN", "~", MOST_ENTRIES, "*", "m"
        #: The command to add an entry, up to its value.
        self.add = b"*9\r\n" + strings(*given)
        self.polled = self.asked = 0.0
        #: What Redis says about its state is awaited; or it did not take something lately.
        self.asking = self.held = False
        self.pause = FIRST_PAUSE


class Events(Protocol):
    """What a writer calls."""

    def connected(self, writer: Writer) -> None:
        """There is a connection."""

    def disconnected(self, writer: Writer) -> None: ...

    def failed(self, error: Exception) -> None:
        """No connection could be made."""

    def objected(self, error: ErrorReply) -> None:
        """Redis replied with an error."""


class Writer:
    """The commands for one master, and the targets whose inboxes are there."""

    def __init__(self, door: Door, place: str, turn: Turn, events: Events) -> None:
        self._events = events
        self.targets: set[Target] = set()
        self._waiting: dict[Target, None] = {}
        self._awaited = 0  # replies to the batch that is under way
        self._armed = False
        self._at_end = Turn(turn.loop).at_end
        self._loop = turn.loop
        self.place = place
        self.line = Line(door, place, turn, up=self._up, down=self._down, failed=events.failed)

    # -- commands ------------------------------------------------------------------------------

    def call(self, made: bytes, replied: Replied) -> bool:
        """Sends a command at the end of the turn. `False`: there is no connection."""
        link = self.line.link
        return link is not None and link.call(made, replied)

    # -- messages ------------------------------------------------------------------------------

    def want(self, target: Target, *, now: bool = False) -> None:
        """A target's outbox has something to be sent."""
        self._waiting[target] = None
        if now:
            self._flush()
        elif not self._armed:
            self._armed = True
            self._at_end(self._turn_ended)

    def add(self, target: Target) -> None:
        """From now on a target's inbox is here."""
        self.targets.add(target)
        target.writer = self
        target.asking = False
        if self.line.link is not None and target.outbox.unacknowledged:
            target.outbox.rewind_unconfirmed()
            self._ask(target)

    def resume(self, target: Target) -> None:
        """The same as `want`, if the target is still here."""
        if target in self.targets and not target.asking and target.outbox.waits:
            self.want(target)

    def discard(self, target: Target) -> None:
        self.targets.discard(target)
        self._waiting.pop(target, None)

    def _turn_ended(self) -> None:
        self._armed = False
        try:
            self._flush()
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            gevent.spawn(log.error, "Messages for other nodes could not be sent", exc_info=error)

    def _flush(self) -> None:
        link = self.line.link
        if link is None or link.closed or self._awaited or not self._waiting:
            return
        left = AT_A_TIME
        now = time.monotonic()
        for target in list(self._waiting):
            if target.asking or target.held:
                del self._waiting[target]
                continue
            for entry in target.outbox.take(left):
                value = entry.value
                left -= len(value)
                made = b"%b$%d\r\n%b\r\n" % (target.add, len(value), value)
                link.call(made, partial(self._added, target, entry))
                self._awaited += 1
            if now - target.polled >= POLL_EACH:
                self._poll(target, link, now)
            if not target.outbox.waits:
                del self._waiting[target]
            if left <= 0:
                break
        link.flush()

    def _added(self, target: Target, entry: Entry, reply: Reply) -> None:
        self._awaited -= 1
        if type(reply) is bytes:
            target.outbox.added(entry, reply)
            target.pause = FIRST_PAUSE
        else:
            target.outbox.refused(entry)
            if isinstance(reply, ErrorReply):
                self._events.objected(reply)
            self._hold(target)
        if not self._awaited and self._waiting:
            self.want(next(iter(self._waiting)))

    def _hold(self, target: Target) -> None:
        """Its inbox is not there, or Redis takes nothing now: tries again later."""
        if target.held:
            return
        target.held = True
        timer = self._loop.timer(target.pause, ref=False)
        target.pause = min(2 * target.pause, LONGEST_PAUSE)

        def again() -> None:
            timer.close()
            target.held = False
            target.writer.resume(target)

        timer.start(again)

    # -- what was acknowledged -----------------------------------------------------------------

    def tick(self) -> None:
        """To be called every second."""
        link, now = self.line.link, time.monotonic()
        if link is None or link.closed:
            return
        for target in self.targets:
            outbox = target.outbox
            outbox.expire()
            if outbox.waits and not (target.held or target.asking):
                self.want(target)
            if not outbox.unacknowledged or target.asking:
                continue
            oldest = outbox.oldest
            if oldest is not None and now - max(oldest, target.asked) > STALLED:
                self._ask(target)
            elif now - target.polled >= POLL_EACH:
                self._poll(target, link, now)

    def _poll(self, target: Target, link: Link, now: float) -> None:
        outbox = target.outbox
        if not outbox.unacknowledged:
            return
        target.polled = now
        link.call(command("HGET", target.acks, target.sender), partial(self._polled, target))
        if outbox.inside > MUCH:
            measured = partial(self._measured, target, outbox.inside)
            link.call(command("MEMORY", "USAGE", target.inbox), measured)

    def _polled(self, target: Target, reply: Reply) -> None:
        if isinstance(reply, bytes):
            try:
                epoch, _, following = reply.partition(b" ")
                target.outbox.acknowledged(int(epoch), int(following))
            except ValueError:  # somebody else's
                pass
        elif isinstance(reply, ErrorReply):
            self._events.objected(reply)

    def _measured(self, target: Target, inside: int, reply: Reply) -> None:
        if isinstance(reply, int):
            target.outbox.of_others = max(0, reply - inside)
        elif isinstance(reply, ErrorReply):
            self._events.objected(reply)

    # -- after a connection was made -----------------------------------------------------------

    def _up(self, link: Link) -> None:
        self._awaited = 0
        for target in self.targets:
            target.asking = False
            target.outbox.rewind_unconfirmed()
            self._ask(target)
        self._events.connected(self)

    def _down(self) -> None:
        self._events.disconnected(self)

    def _ask(self, target: Target) -> None:
        """Asks whether Redis still has what it has confirmed, and what was acknowledged."""
        link, outbox = self.line.link, target.outbox
        if link is None or link.closed or target.asking:
            return
        target.asking = True
        target.asked = target.polled = time.monotonic()
        last, epoch = outbox.last, outbox.epoch
        found: list[bool] = []

        def looked(number: int, reply: Reply) -> None:
            if isinstance(reply, ErrorReply):
                self._events.objected(reply)
            else:
                found.append(outbox.is_entry(number, reply))

        if last is not None:
            made = command("XRANGE", target.inbox, last[1], last[1], "COUNT", 1)
            link.call(made, partial(looked, last[0]))

        def replied(reply: Reply) -> None:
            target.asking = False
            self._polled(target, reply)
            # Streams lose their end, or everything: if the last entry is there, all are.
            same = outbox.epoch == epoch and outbox.last is not None and outbox.last == last
            if same and found == [False]:
                outbox.rewind()
            self.resume(target)

        link.call(command("HGET", target.acks, target.sender), replied)
