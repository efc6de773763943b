"""Reads the inbox of this node, and acknowledges what it has read. # hub"""

from __future__ import annotations

import logging
import struct
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import gevent

from ..engineio.ids import is_node
from ..errors import ProtocolError
from ..logs import Seldom
from ..transport.outgoing import Turn
from .redis_link import Door, Line, Link, Replied
from .redis_outbox import HEADER
from .redis_resp import ErrorReply, Reply, command

__all__ = ["Arrived", "Reader", "nack"]

log = logging.getLogger(__name__)

AT_A_TIME = 200  # entries that are read at a time
BLOCK = 5.0  # seconds for which Redis holds the question back
ACK_EACH, ACK_AFTER = 64, 0.05  # entries, seconds
GRACE = 0.1  # seconds without an entry after which the inbox counts as read
TURN = 0.01  # seconds of work before clients have their turn
LONGEST_ID = 50  # bytes


class Arrived(NamedTuple):
    """An entry of the inbox."""

    sender: str
    token: int
    epoch: int
    number: int
    body: bytes


def nack(inbox: str, header: bytes) -> bytes:
    """The command that asks a node for what is missing, from the header's number on."""
    return command("XADD", inbox, "NOMKSTREAM", "*", "n", header)


class Reader:
    """``arrived(entry)`` is called for each entry, in order; it may raise `ProtocolError`.

    ``outside(value)``: the same for what a process that is no node has written. ``unreadable()``:
    an entry is dropped.

    ``ready()``: the inbox is there. ``call(command, replied)``: sends a command to its master while
    the reader's own connection waits there for entries.
    """

    def __init__(
        self,
        door: Door,
        inbox: str,
        acks: str,
        token: int,
        turn: Turn,
        *,
        arrived: Callable[[Arrived], None],
        outside: Callable[[bytes], None],
        ready: Callable[[], None],
        call: Callable[[bytes, Replied], bool],
        failed: Callable[[Exception], None],
        objected: Callable[[ErrorReply], None],
        nacked: Callable[[Arrived], None],
        unreadable: Callable[[], None],
    ) -> None:
        self._inbox, self._acks_key = inbox, acks
        self._token = token
        self._loop = turn.loop
        self._ready, self._call, self._objected = ready, call, objected
        self._outside = outside
        self._unreadable = unreadable
        self._warnings, self._errors = Seldom(), Seldom()
        self._kinds = {b"m": arrived, b"n": nacked}
        self._claimed = False
        self._made = False  # whether this node has made its inbox before
        self._at = b"0"
        self._entries: deque[Any] = deque()
        self._following: dict[str, tuple[int, int]] = {}
        self._news: dict[str, tuple[int, int]] = {}
        self._unacknowledged = 0
        # It repeats: one that does not would call back at once when it is started again.
        self._timer = turn.loop.timer(ACK_AFTER, ACK_AFTER, ref=False)
        self._timed = False
        self._stopped = False
        # What is to be done when all that is in the inbox now was read.
        self._after: list[tuple[float, Callable[[], None]]] = []
        self._asked = self._complete = 0.0
        self.line = Line(
            door, door.place(inbox), turn,
            up=self._up, down=self._down, failed=failed, patience=2 * BLOCK,
        )  # fmt: skip

    def open(self) -> None:
        """The id is this node's: makes the inbox, if it is not there, and reads it."""
        self._claimed = True
        link = self.line.link
        if link is None or link.closed:
            return
        if link.awaits:  # an inbox that Redis has forgotten is not read any more
            self.line.cut()
        else:
            self._begin(link)

    def stop(self) -> None:
        self._stopped = True
        self._timer.close()
        self.line.stop()

    def abandon(self) -> int:
        """Reads no more, in a forked child; gives the descriptor, or -1. # after a fork"""
        self._stopped = True
        self._entries.clear()
        return self.line.abandon()

    def note(self, sender: str, epoch: int, following: int) -> None:
        """All entries of a sender before this number have been taken."""
        self._following[sender] = self._news[sender] = epoch, following

    def forget(self, sender: str) -> None:
        """A sender is dead."""
        self._news.pop(sender, None)
        if self._following.pop(sender, None) is not None:
            self._call(command("HDEL", self._acks_key, sender), self._checked)

    def after_all(self, do: Callable[[], None]) -> None:
        """Does it when all was handed on that Redis has got before now."""
        self._after.append((time.monotonic(), do))
        self._look_later()

    def _look_later(self) -> None:
        timer = self._loop.timer(GRACE, ref=False)

        def look() -> None:
            timer.close()
            link = self.line.link
            if self._stopped:
                return
            if link is not None and link.awaits and time.monotonic() - self._asked > GRACE:
                self._handed_on(time.monotonic())  # Redis holds the question back: there is nothing
            if self._after:
                self._look_later()

        timer.start(look, update=True)

    def _handed_on(self, until: float) -> None:
        """All was handed on that Redis had got by then."""
        due = [do for when, do in self._after if when <= until]
        self._after = [each for each in self._after if each[0] > until]
        for do in due:
            try:
                do()
            except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
                gevent.spawn(log.error, "The end of a node could not be announced", exc_info=error)

    def _up(self, link: Link) -> None:
        if self._claimed:
            self._begin(link)

    def _down(self) -> None:
        self._entries.clear()

    def _begin(self, link: Link) -> None:
        self._entries.clear()
        self._complete = 0.0
        self._at = b"0"  # what was not acknowledged comes again
        if not self._made:
            link.call(command("DEL", self._inbox, self._acks_key), self._checked)
        link.call(command("XADD", self._inbox, "*", "b", self._token), self._is_made)
        if self._following:
            self._news = dict(self._following)
            link.call(self._acknowledge(), self._checked)
            self._news.clear()
        self._read(link)

    def _is_made(self, reply: Reply) -> None:
        if isinstance(reply, ErrorReply):
            self._refused(reply)
        else:
            self._made = True
            self._ready()

    # -- reading -------------------------------------------------------------------------------

    def _read(self, link: Link) -> None:
        block = int(BLOCK * 1000)
        made = command(
            "XREAD", "COUNT", AT_A_TIME, "BLOCK", block, "STREAMS", self._inbox, self._at
        )
        if self._unacknowledged >= ACK_EACH:
            self._trim(link.call)
        self._asked = time.monotonic()
        link.call(made, self._replied)
        link.flush()

    def _replied(self, reply: Reply) -> None:
        if isinstance(reply, ErrorReply):
            self._refused(reply)
            return
        link = self.line.link
        if reply is None and link is not None:  # no entries for a while: perhaps no inbox
            self._complete = self._asked
            link.call(command("EXISTS", self._inbox), self._looked)
            return
        if isinstance(reply, list):
            with suppress(TypeError, ValueError):
                ((_, entries),) = reply
                self._entries.extend(entries)
        if len(self._entries) < AT_A_TIME:
            self._complete = self._asked
        self._work()

    def _looked(self, reply: Reply) -> None:
        self._checked(reply)
        if reply == 0:  # somebody has removed it, or Redis was short of memory
            self.line.cut()
        else:
            self._work()

    def _work(self) -> None:
        """Hands entries on; after some milliseconds clients have their turn."""
        entries = self._entries
        end = time.perf_counter() + TURN
        while entries:
            self._hand_on(entries.popleft())
            if entries and time.perf_counter() > end:
                self._loop.run_callback(self._go_on, self.line.link)
                return
        if self._after:
            self._handed_on(self._complete)
        link = self.line.link
        if self._stopped or link is None or link.closed or link.awaits:
            return
        self._read(link)
        self._acknowledge_soon()

    def _go_on(self, link: Link | None) -> None:
        try:
            if link is self.line.link and not self._stopped:
                self._work()
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            gevent.spawn(log.error, "The inbox could not be read", exc_info=error)

    def _hand_on(self, found: Any) -> None:
        try:
            where, fields = found
            if not isinstance(where, bytes) or len(where) > LONGEST_ID:
                return
            self._at = where
            self._unacknowledged += 1
            name, value = fields
            if name == b"x" and isinstance(value, bytes):
                self._handle(self._outside, value)
                return
            sender, token, epoch, number = HEADER.unpack_from(value)
            node = sender.decode("latin-1")
            hand_on = self._kinds.get(name)
        except (TypeError, ValueError, struct.error):  # somebody else's entry
            return
        if hand_on is None or not is_node(node):
            return
        self._handle(hand_on, Arrived(node, token, epoch, number, value[HEADER.size :]))

    def _handle(self, take: Callable[[Any], None], entry: Any) -> None:
        try:
            take(entry)
        except (ProtocolError, UnicodeDecodeError):
            self._unreadable()
            more = self._warnings.more(time.monotonic())
            if more is not None:
                said = "an entry of the inbox cannot be read; it was dropped and counted%s"
                gevent.spawn(log.warning, said, more)
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            self._unreadable()
            more = self._errors.more(time.monotonic())
            if more is not None:
                said = "A message from another node failed%s"
                gevent.spawn(log.error, said, more, exc_info=error)

    def _refused(self, error: ErrorReply) -> None:
        self._objected(error)
        self.line.cut()

    # -- acknowledging -------------------------------------------------------------------------

    def _acknowledge(self) -> bytes:
        args: list[str] = []
        for sender, (epoch, following) in self._news.items():
            args += (sender, f"{epoch} {following}")
        return command("HSET", self._acks_key, *args)

    def _trim(self, call: Callable[[bytes, Replied], bool]) -> bool:
        made = [command("XTRIM", self._inbox, "MINID", "~", self._at)]
        if self._news:
            made.insert(0, self._acknowledge())
        if not all(call(each, self._checked) for each in made):
            return False
        self._unacknowledged = 0
        self._news.clear()
        return True

    def _late(self) -> None:
        self._timer.stop()
        self._timed = False
        try:
            if self._unacknowledged and not self._trim(self._call):
                self._acknowledge_soon()
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            gevent.spawn(log.error, "The inbox could not be acknowledged", exc_info=error)

    def _acknowledge_soon(self) -> None:
        if self._unacknowledged and not self._timed:
            self._timed = True
            self._timer.start(self._late, update=True)

    def _checked(self, reply: Reply) -> None:
        if isinstance(reply, ErrorReply):
            self._objected(reply)
