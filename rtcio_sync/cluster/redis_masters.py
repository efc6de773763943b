"""The masters of Redis and their writers; in a Redis Cluster, keys move from one to another.

# hub or greenlet: all of it
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import gevent

from ..transport.outgoing import Turn
from .redis_link import Door, Replied, Unplaced
from .redis_resp import ErrorReply
from .redis_writer import Target, Writer

__all__ = ["Masters"]

log = logging.getLogger(__name__)

WARN_EACH = 60.0  # seconds between two warnings about what Redis refuses


class Masters:
    """As `redis_writer.Events`.

    ``keys``: those that are always needed, the first of which says who lives. ``connected()`` and
    ``disconnected()`` are about its master. ``failed(why)``: a connection could not be made.
    ``relocated()``: keys may be on other masters now.
    """

    def __init__(
        self,
        door: Door,
        turn: Turn,
        keys: tuple[str, ...],
        *,
        connected: Callable[[], None],
        disconnected: Callable[[], None],
        failed: Callable[[str], None],
        relocated: Callable[[], None],
    ) -> None:
        self._door = door
        self._turn = turn
        self._keys = keys
        self._on_connected, self._on_disconnected = connected, disconnected
        self._on_failed, self._on_relocated = failed, relocated
        self._writers: dict[str, Writer] = {}
        self._stopped = False
        self._warned = -WARN_EACH

    @property
    def writers(self) -> list[Writer]:
        return list(self._writers.values())

    def start(self) -> None:
        """Connects to those that are always needed."""
        for key in self._keys:
            self.writer(key)

    def stop(self) -> None:
        """Ends all connections at once."""
        self._stopped = True
        for writer in self._writers.values():
            writer.line.stop()

    def writer(self, key: str) -> Writer:
        """The writer of the master that has a key."""
        place = self._door.place(key)
        found = self._writers.get(place)
        if found is None:
            found = self._writers[place] = Writer(self._door, place, self._turn, self)
        return found

    def call(self, key: str, made: bytes, replied: Replied) -> bool:
        """Sends a command about a key. `False`: there is no connection."""
        return self.writer(key).call(made, replied)

    def add(self, target: Target) -> None:
        """From now on a target is written to."""
        self.writer(target.inbox).add(target)

    # -- as `redis_writer.Events` ------------------------------------------------------------------

    def connected(self, writer: Writer) -> None:
        if writer is self.writer(self._keys[0]):
            self._on_connected()

    def disconnected(self, writer: Writer) -> None:
        if writer is self.writer(self._keys[0]):
            self._on_disconnected()

    def failed(self, error: Exception) -> None:
        """A connection could not be made."""
        self._relocate()
        if not isinstance(error, Unplaced):
            self._on_failed(str(error) or type(error).__name__)

    def objected(self, error: ErrorReply) -> None:
        """Redis replied with an error."""
        if error.code == "MOVED":
            self._door.moved(error.text)
            self._relocate()
            return
        now = time.monotonic()
        if error.code != "ASK" and now - self._warned >= WARN_EACH:
            self._warned = now
            gevent.spawn(log.warning, "Redis refuses a command of this node: %s", error.text[:200])
        if error.code in ("READONLY", "MASTERDOWN"):  # the master is another one now
            for writer in self.writers:
                writer.line.cut()

    def _relocate(self) -> None:
        """Everything goes to where its key is now."""
        if self._stopped:
            return
        for writer in self.writers:
            for target in list(writer.targets):
                where = self.writer(target.inbox)
                if where is not writer:
                    writer.discard(target)
                    where.add(target)
                    where.resume(target)
        needed = {self.writer(key) for key in self._keys}
        for place, writer in list(self._writers.items()):
            if writer not in needed and not writer.targets:
                del self._writers[place]
                writer.line.stop()
        self._on_relocated()
