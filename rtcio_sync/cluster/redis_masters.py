"""The masters of Redis and their writers; in a Redis Cluster, keys move from one to another.

# hub or greenlet: all of it
"""

from __future__ import annotations

from collections.abc import Callable

from ..transport.outgoing import Turn
from .redis_link import Door, Replied, Unplaced
from .redis_resp import ErrorReply, Reply
from .redis_writer import Target, Writer

__all__ = ["Masters"]


class Masters:
    """As `redis_writer.Events`.

    ``keys``: those that are always needed, the first of which says who lives. ``connected()`` and
    ``disconnected()`` are about its master. ``failed(error)``: a connection could not be made.
    ``refused(text)``: Redis replied with an error. ``relocated()``: keys may be on other masters.
    """

    def __init__(
        self,
        door: Door,
        turn: Turn,
        keys: tuple[str, ...],
        *,
        connected: Callable[[], None],
        disconnected: Callable[[], None],
        failed: Callable[[Exception], None],
        refused: Callable[[str], None],
        relocated: Callable[[], None],
    ) -> None:
        self._door = door
        self._turn = turn
        self._keys = keys
        self._on_connected, self._on_disconnected = connected, disconnected
        self._on_failed, self._on_refused = failed, refused
        self._on_relocated = relocated
        self._writers: dict[str, Writer] = {}
        self._stopped = False

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

    def abandon(self) -> list[int]:
        """Connects no more, in a forked child; gives the descriptors. # after a fork"""
        self._stopped = True
        return [writer.line.abandon() for writer in self._writers.values()]

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
            self._on_failed(error)

    def objected(self, error: ErrorReply) -> None:
        """Redis replied with an error."""
        if error.code == "MOVED" and self._door.moved(error.text):
            self._relocate()
            return
        if error.code != "ASK":
            self._on_refused(error.text)
        if error.code in ("READONLY", "MASTERDOWN"):  # the master is another one now
            for writer in self.writers:
                writer.line.cut()

    def checked(self, reply: Reply) -> None:
        """A reply of which only an error is of interest."""
        if isinstance(reply, ErrorReply):
            self.objected(reply)

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
