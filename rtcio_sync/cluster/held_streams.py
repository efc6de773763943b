"""Streams of other nodes that wait for that of a third one. # hub

A client that has moved to another node goes on to send from there. Its new node waits until all
others have read what the client has sent before. A node that stands still is not waited for; when
it goes on, it reads the stream of the old node first, up to the barrier of that move.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..transport.ports import Later
from .handover_messages import After
from .held_messages import HeldMessages

__all__ = ["HeldStreams"]

HOLD_WITHIN = 2.0  # seconds in which the barrier comes: the old node may stand still, too


class _Held:
    """What has come of one node since it said `After`."""

    def __init__(self, after: After, overflowed: Callable[[], None]) -> None:
        self.after = after
        self.messages = HeldMessages(overflowed)


class HeldStreams:
    """``received(node, kind, key, body)`` handles a message; ``alive``: the nodes that live.

    ``overflowed()``: one was dropped, since too much waits. ``failed(what, error)`` logs an error.
    """

    def __init__(
        self,
        received: Callable[[str, int, bytes, bytes], None],
        later: Later,
        alive: Callable[[], Collection[str]],
        *,
        overflowed: Callable[[], None],
        failed: Callable[[str, Exception], None],
    ) -> None:
        self._received = received
        self._later = later
        self._alive = alive
        self._overflowed = overflowed
        self._failed = failed
        #: By node: its stream waits.
        self.held: dict[str, _Held] = {}
        # The last barrier that has come directly of each node.
        self._barriers: dict[str, int] = {}

    def after(self, node: str, message: After) -> None:
        """What follows on the stream of a node comes after a barrier of another one."""
        passed = self._barriers.get(message.source, 0) >= message.number
        if message.source in self._alive() and not passed:
            held = self.held[node] = _Held(message, self._overflowed)
            self._later(HOLD_WITHIN, self._release, node, held)

    def keep(self, node: str, kind: int, key: bytes, body: bytes) -> None:
        """A message has come of a node whose stream waits."""
        self.held[node].messages.add((node, kind, key, body))

    def barrier(self, source: str, number: int) -> None:
        """A barrier has come on the stream of the node that leaves."""
        self._barriers[source] = number
        for node, held in list(self.held.items()):
            if held.after.source == source and held.after.number <= number:
                self._release(node, held)

    def died(self, node: str) -> None:
        """All that a node has sent has come."""
        self._barriers.pop(node, None)
        for each, held in list(self.held.items()):
            if node in (each, held.after.source):
                self._release(each, held)

    def _release(self, node: str, held: _Held) -> None:
        if self.held.get(node) is held:
            del self.held[node]
            for message in held.messages:  # one of them may have the stream wait again
                try:
                    self._received(*message)
                except Exception as error:  # noqa: BLE001 - the others still wait
                    self._failed("A message from another worker failed", error)
