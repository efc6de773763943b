"""Numbers and acknowledgements: each message arrives once and in order, whatever is lost. Pure.

An `Outbox` has what this node sends to another one. Messages are put together to numbered entries,
and an entry is kept until the other node has acknowledged it. So it can be sent again after Redis
has lost it. `redis_intake.Intake` is the other end.

Messages of a kind in `messages.DROPPABLE` ("lossy" here) give way when the memory is short:

- what Redis has confirmed leaves the memory first. It is *unprotected*: lost if Redis loses it;
- what Redis has not confirmed is dropped when it is too old, and no more is taken.

All other messages are kept. If they alone are too many, `Outbox.full` says so: then both ends begin
anew, with the next epoch.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .frames import HEAD
from .messages import DROPPABLE

__all__ = ["HEADER", "Bounds", "Budget", "Entry", "Outbox"]

#: The beginning of an entry: the sender's id, its token, the epoch, the number of the entry.
HEADER = struct.Struct(">4sIIQ")

LARGEST = 64_000  # bytes of an entry of several messages
ITEM, MESSAGE = 200, 64  # bytes that an entry and a message that waits take besides their own


class Bounds(NamedTuple):
    """What may be kept."""

    #: Seconds that a lossy message waits for Redis.
    oldest: float = 60.0
    #: Bytes for one node, and for all nodes. What must not be dropped may take twice as much.
    each: int = 16_000_000
    all: int = 64_000_000
    #: Bytes in an inbox.
    inside: int = 64_000_000


class Entry:
    """Some messages with one number."""

    __slots__ = ("id", "made", "number", "size", "unprotected", "value")

    def __init__(self, number: int, value: bytes, made: float) -> None:
        self.number = number
        self.value = value
        #: Messages that were in ``value`` and are only in Redis now.
        self.unprotected = 0
        #: Its bytes in Redis.
        self.size = len(value)
        self.made = made
        #: Where Redis keeps it; `None`: not confirmed.
        self.id: bytes | None = None


class Budget:
    """The bytes that are kept for all nodes."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.kept = 0
        self.boxes: set[Outbox] = set()

    @property
    def spent(self) -> bool:
        """Whether more is kept than should be."""
        return self.kept > self.bounds.all

    def make_room(self, needed: int) -> None:
        """Has the outboxes with the most bytes give up what is confirmed."""
        for box in sorted(self.boxes, key=lambda each: -each.kept):
            if self.kept + needed <= self.bounds.all:
                return
            box.unprotect(self.kept + needed - self.bounds.all)


class Outbox:
    """What is sent to one node. ``begin(epoch)``: the first message of each epoch.

    ``dropped(reason, messages)`` is called when messages are given up.
    """

    def __init__(
        self,
        sender: tuple[bytes, int],
        epoch: int,
        *,
        budget: Budget,
        clock: Callable[[], float],
        begin: Callable[[int], bytes],
        dropped: Callable[[str, int], None],
    ) -> None:
        self._sender = sender
        self._budget = budget
        self._clock = clock
        self._begin = begin
        self._dropped = dropped
        self._bounds = budget.bounds
        self.epoch = epoch
        self._entries: dict[int, Entry] = {}
        self._frames: list[bytes] = []
        self._frames_size = 0
        self._first = self._next = self._cursor = self._stripped = 0
        self._largest = 0  # bytes of a message that is not lossy
        #: Bytes of memory, and bytes in Redis that are not acknowledged.
        self.kept = 0
        self.inside = 0
        #: Bytes in the inbox that others have sent, when Redis was last asked.
        self.of_others = 0
        #: Entries sent again, and messages whose memory was given up since Redis had them.
        self.resent = 0
        self.unprotected = 0
        #: The highest confirmed number, and where Redis keeps it.
        self.last: tuple[int, bytes] | None = None
        budget.boxes.add(self)
        self.reset(epoch)

    # -- in ------------------------------------------------------------------------------------

    def add(self, frame: bytes, *, lossy: bool) -> bool:
        """Takes a message; `False`: too much waits."""
        size = len(frame) + MESSAGE
        bounds, budget = self._bounds, self._budget
        if self.kept + size > bounds.each:
            self.unprotect(self.kept + size - bounds.each)
        if budget.kept + size > bounds.all:
            budget.make_room(size)
        if not lossy:
            self._largest = max(self._largest, size)
        elif (
            self.kept + size > bounds.each
            or budget.kept + size > bounds.all
            or self.inside + self.of_others + self._frames_size + size > bounds.inside
        ):
            return False
        self._frames.append(frame)
        self._frames_size += len(frame)
        self._keep(size)
        return True

    def full(self) -> bool:
        """Whether what must not be dropped is too much. All else is dropped before."""
        bounds, budget = self._bounds, self._budget
        if self.kept > 2 * bounds.each + self._largest:
            self._strip_all()
            return self.kept > bounds.each + self._largest
        if budget.kept > 2 * bounds.all and self.kept >= budget.kept / len(budget.boxes):
            self._strip_all()
            return budget.kept > 2 * bounds.all
        return False

    def _keep(self, size: int) -> None:
        self.kept += size
        self._budget.kept += size

    # -- out -----------------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether something is to be sent."""
        return self._cursor < self._next or bool(self._frames)

    @property
    def unacknowledged(self) -> bool:
        return self._first < self._next

    @property
    def unconfirmed(self) -> bool:
        """Whether Redis does not have all of it yet."""
        if self.waits:
            return True
        return self.unacknowledged and self._entries[self._next - 1].id is None

    @property
    def oldest(self) -> float | None:
        """When the oldest entry was made that is not acknowledged."""
        found = self._entries.get(self._first)
        return None if found is None else found.made

    def take(self, most: int) -> list[Entry]:
        """The entries to be sent now, up to about ``most`` bytes: their numbers follow."""
        self._form()
        found = []
        while self._cursor < self._next and most > 0:
            entry = self._entries[self._cursor]
            self._cursor += 1
            found.append(entry)
            most -= len(entry.value)
        return found

    def _form(self) -> None:
        """Makes entries of the messages that wait."""
        frames = self._frames
        if not frames:
            return
        now = self._clock()
        if self._frames_size <= LARGEST or len(frames) == 1:
            self._make(frames, now)
        else:
            start = size = 0
            for at, frame in enumerate(frames):
                size += len(frame)
                if size > LARGEST and at > start:
                    self._make(frames[start:at], now)
                    start, size = at, len(frame)
            self._make(frames[start:], now)
        self._frames = []
        self._frames_size = 0

    def _make(self, frames: list[bytes], now: float) -> None:
        number = self._next
        self._next += 1
        head = HEADER.pack(*self._sender, self.epoch, number)
        self._entries[number] = Entry(number, head + b"".join(frames), now)
        self._keep(len(head) + ITEM - MESSAGE * len(frames))

    # -- what came of it -----------------------------------------------------------------------

    def added(self, entry: Entry, where: bytes) -> None:
        """Redis has it."""
        # If it is to be sent again, then because it came too early.
        if entry.number < self._cursor and self._entries.get(entry.number) is entry:
            if entry.id is None:
                self.inside += entry.size
            entry.id = where
            if self.last is None or entry.number >= self.last[0]:
                self.last = entry.number, where

    def is_entry(self, number: int, found: Any) -> bool:
        """Whether what Redis has in a place is the entry with this number."""
        try:
            value: bytes = found[0][1][1]
            return HEADER.unpack_from(value) == (*self._sender, self.epoch, number)
        except (TypeError, IndexError, struct.error):
            return False

    def refused(self, entry: Entry) -> None:
        """Redis has not taken it: it is to be sent again, and all after it."""
        if self._entries.get(entry.number) is entry:
            self.rewind(entry.number)

    def acknowledged(self, epoch: int, following: int) -> None:
        """The other node has all before ``following``."""
        if epoch != self.epoch:
            return
        for number in range(self._first, min(following, self._next)):
            self._forget(self._entries.pop(number))
            self._first = number + 1
        self._cursor = max(self._cursor, self._first)
        self._stripped = max(self._stripped, self._first)
        if self.last is not None and self.last[0] < self._first:
            self.last = None

    def _forget(self, entry: Entry) -> None:
        self._keep(-len(entry.value) - ITEM)
        if entry.id is not None:
            self.inside -= entry.size

    def rewind(self, number: int | None = None) -> None:
        """From this number on all is sent again; `None`: from the first."""
        start = self._first if number is None else max(number, self._first)
        for each in range(start, self._cursor):
            entry = self._entries[each]
            self.resent += 1
            if entry.unprotected:
                self._dropped("lost", entry.unprotected)
                entry.unprotected = 0
            if entry.id is not None:
                self.inside -= entry.size
                entry.id = None
            entry.size = len(entry.value)
        self._cursor = min(self._cursor, start)
        if self.last is not None and self.last[0] >= start:
            self.last = None

    def rewind_unconfirmed(self) -> None:
        """What Redis has not confirmed is sent again, and all after it."""
        for number in range(self._first, self._cursor):
            if self._entries[number].id is None:
                self.rewind(number)
                return

    def expire(self) -> None:
        """Drops lossy messages that are too old, and not confirmed."""
        self._form()
        before = self._clock() - self._bounds.oldest
        for entry in self._unstripped():
            if entry.made > before:
                return
            self._strip(entry)

    def unprotect(self, needed: int) -> None:
        """Gives up the memory of lossy messages that Redis has, oldest first."""
        enough = self.kept - needed
        for entry in self._unstripped():
            if entry.id is None or self.kept <= enough:
                return
            self._strip(entry)

    def _strip_all(self) -> None:
        self._form()
        for entry in self._unstripped():
            self._strip(entry, "overflow")

    def _unstripped(self) -> Iterator[Entry]:
        while self._stripped < self._next:
            yield self._entries[self._stripped]
            self._stripped += 1

    def _strip(self, entry: Entry, reason: str = "expired") -> None:
        value, kept = entry.value, [entry.value[: HEADER.size]]
        lossy = 0
        for kind, start, stop in _frames_in(value):
            if kind in DROPPABLE:
                lossy += 1
            else:
                kept.append(value[start:stop])
        if not lossy:
            return
        entry.value = b"".join(kept)
        self._keep(len(entry.value) - len(value))
        if entry.id is None:
            self._dropped(reason, lossy)
        else:
            entry.unprotected += lossy
            self.unprotected += lossy

    # -- the end -------------------------------------------------------------------------------

    def reset(self, epoch: int) -> None:
        """Drops all, and begins the next epoch."""
        self._drop_all("reset")
        self.epoch = epoch
        self._first = self._next = self._cursor = self._stripped = 0
        self.last = None
        self.inside = self._largest = 0
        self.add(self._begin(epoch), lossy=False)

    def end(self) -> None:
        """The other node is dead."""
        self._drop_all("died")
        # Redis may still answer what it was asked before.
        self._first = self._cursor = self._stripped = self._next
        self._budget.boxes.discard(self)

    def _drop_all(self, reason: str) -> None:
        self._form()
        lossy = 0
        for entry in self._entries.values():
            lossy += entry.unprotected
            lossy += sum(kind in DROPPABLE for kind, _, _ in _frames_in(entry.value))
        if lossy:
            self._dropped(reason, lossy)
        self._keep(-self.kept)
        self._entries.clear()


def _frames_in(value: bytes) -> Iterator[tuple[int, int, int]]:
    """The kind of each message in an entry, and where it begins and ends."""
    at = HEADER.size
    while at < len(value):
        length, kind, _ = HEAD.unpack_from(value, at)
        yield kind, at, at + 4 + length
        at += 4 + length
