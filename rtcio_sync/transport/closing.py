"""The WebSockets of a server that are closing: how many there may be.

Each waits some seconds for its peer, and holds a descriptor meanwhile. Its session is over, so that
nothing else counts it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

__all__ = ["Closing"]


class Closes(Protocol):
    """A connection that is closing."""

    def abort(self) -> None:
        """Ends it at once."""


class Closing:
    """Over a bound, the one that has been closing for longest is ended. # hub or greenlet"""

    def __init__(self) -> None:
        #: How many there may be at the moment.
        self.bound: Callable[[], int] = lambda: sys.maxsize
        self._those: dict[Closes, None] = {}

    def __len__(self) -> int:
        return len(self._those)

    def add(self, one: Closes) -> None:
        """It closes from now on."""
        self._those[one] = None
        while len(self._those) > self.bound():
            oldest = next(iter(self._those))
            del self._those[oldest]
            oldest.abort()

    def discard(self, one: Closes) -> None:
        """It is closed."""
        self._those.pop(one, None)
