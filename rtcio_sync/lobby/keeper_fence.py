"""Which worker of this host has taken over a lobby's rooms from one that stood still: in a file.

All workers of the host share it. Each takeover appends a line, and whoever keeps the rooms looks at
its size before each use of its table: a worker that stood still learns by that, before it does
anything, that another one keeps the rooms. # hub or greenlet
"""

from __future__ import annotations

import fcntl
import os

__all__ = ["Fence"]

LONGEST = 64  # bytes of a line


class Fence:
    """The file with descriptor ``fd``."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = 0

    @property
    def changed(self) -> bool:
        """Whether a worker has taken over since `read`."""
        return os.fstat(self._fd).st_size != self._size

    def read(self) -> tuple[int, str]:
        """The number of the latest takeover, and the node; ``(0, "")``: there was none."""
        self._size = os.fstat(self._fd).st_size
        lines = os.pread(self._fd, LONGEST, max(0, self._size - LONGEST)).decode().splitlines()
        number, _, node = lines[-1].partition(" ") if lines else ("0", "", "")
        return int(number), node

    def append(self, number: int, node: str) -> bool:
        """Takes over; `False`: another worker has done so since `read`, or does so now."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            if self.changed:
                return False
            self._size += os.write(self._fd, f"{number} {node}\n".encode())
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        return True
