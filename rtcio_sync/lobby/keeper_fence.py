"""Which worker has taken over a lobby's rooms from one that stood still. # hub or greenlet

Each takeover appends a line to a file that all workers of the host share. Whoever keeps the rooms
looks at its size before each use of its table: a worker that stood still learns by that, before it
does anything, that another one keeps the rooms. Workers of other hosts are told.

From that look until all is sent that came of it, the keeper has the file locked, and others take
over only if it stays so: what it has done and not sent is known to no other worker.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable

from ..cluster.ports import Bus
from ..transport.outgoing import turn_here
from ..transport.ports import Later

__all__ = ["Fence", "Takeovers", "Work"]

LONGEST = 64  # bytes of a line
TRIES = 100  # to lock the file; whoever takes over has it locked for some microseconds
AGAIN = 0.005  # seconds until the keeper looks again whether all is sent; then twice as many
MOST_AGAIN = 0.1  # the same, at most


class Fence:
    """The file with descriptor ``fd()``; `None`: there is none."""

    def __init__(self, fd: Callable[[], int | None]) -> None:
        self._get = fd
        self._size = 0

    @property
    def _fd(self) -> int:
        fd = self._get()
        return -1 if fd is None else fd

    @property
    def there(self) -> bool:
        return self._fd >= 0

    @property
    def changed(self) -> bool:
        """Whether a worker has taken over since `read`."""
        fd = self._fd
        return fd >= 0 and os.fstat(fd).st_size != self._size

    def read(self) -> tuple[int, str]:
        """The number of the latest takeover, and the node; ``(0, "")``: there was none."""
        self._size = os.fstat(self._fd).st_size
        text = os.pread(self._fd, LONGEST, max(0, self._size - LONGEST)).decode()
        number, _, node = text[: text.rfind("\n")].rpartition("\n")[2].partition(" ")
        return int(number or 0), node

    def append(self, number: int, node: str, *, force: bool = False) -> bool:
        """Takes over; `False`: another worker has done so since `read`, or has the file locked.

        ``force``: also if it is locked.
        """
        if not self.lock() and not force:
            return False
        try:
            if self.changed:
                return False
            self._size += os.write(self._fd, f"{number} {node}\n".encode())
        finally:
            self.unlock()
        return True

    def lock(self) -> bool:
        """`False`: another worker has it locked, or there is none any more."""
        fd = self._fd
        if fd < 0:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def unlock(self) -> None:
        if self.there:
            fcntl.flock(self._fd, fcntl.LOCK_UN)


class Work:
    """What the keeper does and has not sent: others wait with a takeover.

    ``fence``: to be locked. ``is_sent()``: whether all that was posted has left this process.
    """

    def __init__(self, fence: Fence, is_sent: Callable[[], bool], later: Later) -> None:
        self._fence = fence
        self._is_sent = is_sent
        self._later = later
        #: Whether something is not sent.
        self.goes_on = False
        self._again = AGAIN
        self._at_end: Callable[[Callable[[], None]], object] | None = None

    def begin(self) -> None:
        """It does something now. # hub or greenlet"""
        if self.goes_on or not self._fence.there:  # it stops, and has left the others
            return
        for _ in range(TRIES):
            if self._fence.lock():
                break
            os.sched_yield()
        else:  # that worker is stopped by now, as this one was
            return
        self.goes_on = True
        if self._at_end is None:
            self._at_end = turn_here().after()
        self._at_end(self._end)

    def _end(self) -> None:  # hub
        if turn_here().waiting or not self._is_sent():
            self._later(self._again, self._end)
            self._again = min(2 * self._again, MOST_AGAIN)
            return
        self.goes_on, self._again = False, AGAIN
        self._fence.unlock()


class Takeovers:
    """The takeovers of a lobby's rooms, as one worker knows them.

    ``allowed()``: whether they count; if not, the eldest worker keeps the rooms.
    """

    def __init__(self, bus: Callable[[], Bus], what: str, allowed: Callable[[], bool]) -> None:
        self._bus = bus
        self._allowed = allowed
        name = hashlib.sha256(what.encode()).hexdigest()[:8]
        self.fence = Fence(lambda: bus().shared_file(name))
        #: Whether this worker has had neighbours: only then the file is used.
        self._used = False
        #: The number of the latest one, and the node that has taken over.
        self.latest: tuple[int, str] = 0, ""

    def chosen(self) -> str | None:
        """Who keeps the rooms: whoever has taken over, if it lives, else the eldest node.

        `None`: not all have said how old they are.
        """
        bus = self._bus()
        self._used = self._used or bool(bus.neighbours)
        if self.possible:
            self.heard(*self.fence.read())
        return self.latest[1] if self.hold else bus.eldest

    @property
    def possible(self) -> bool:
        """Whether another worker of this host could take over."""
        return self._used and self.fence.there

    @property
    def hold(self) -> bool:
        """Whether a worker that has taken over keeps the rooms."""
        bus, node = self._bus(), self.latest[1]
        return self._allowed() and (node == bus.node or node in bus.nodes)

    @property
    def unread(self) -> bool:
        """Whether a worker of this host has taken over since `chosen` was called."""
        return self._used and self.fence.changed

    def is_late(self, node: str) -> bool:
        """Whether a node that speaks as the keeper no longer is."""
        return self.hold and node != self.latest[1]

    def heard(self, number: int, node: str) -> None:
        """A node says, or has written, that it has taken over."""
        self.latest = max(self.latest, (number, node))

    def take(self, *, force: bool = False) -> bool:
        """This worker takes over; `False`: another one was first, or has the file locked.

        ``force``: also if it has.
        """
        taken = self.latest[0] + 1, self._bus().node
        if not self.possible or not self.fence.append(*taken, force=force):
            return False
        self.latest = taken
        return True
