"""Which workers are of a release that numbers its changes, and takes over. # hub or greenlet

A rolling update runs two releases side by side. Each worker says to each other one what it knows,
in a message that an older release ignores. Who has said nothing after a while is an older one.
"""

from __future__ import annotations

from collections.abc import Callable

from ..cluster.ports import Bus
from ..transport.ports import Later

__all__ = ["Releases"]

SAID_WITHIN = 2.0  # seconds; it is among the first messages of a worker


class Releases:
    """``say(node)``: says it to a node. ``look()``: called when it is known of one."""

    def __init__(
        self,
        bus: Callable[[], Bus],
        later: Later,
        say: Callable[[str], None],
        look: Callable[[], None],
    ) -> None:
        self._bus = bus
        self._later = later
        self._say = say
        self._look = look
        self._known: set[str] = set()
        self._old: set[str] = set()

    def joined(self, node: str) -> None:
        self._say(node)
        self._later(SAID_WITHIN, self._late, node)

    def said(self, node: str) -> None:
        """A node has said that it is of this release, or a later one."""
        self._known.add(node)
        self._old.discard(node)
        self._look()

    def _late(self, node: str) -> None:
        bus = self._bus()
        if node not in bus.nodes or node in self._known:
            return
        if node not in bus.heard:  # it stands still, perhaps
            self._later(SAID_WITHIN, self._late, node)
            return
        self._old.add(node)
        self._look()

    def died(self, node: str) -> None:
        self._known.discard(node)
        self._old.discard(node)

    def knows(self, node: str) -> bool:
        return node in self._known

    def unsure(self, node: str) -> bool:
        """Whether it is not known yet."""
        return node not in self._known and node not in self._old

    @property
    def mixed(self) -> bool:
        """Whether there are older ones."""
        return bool(self._old)

    @property
    def all_know(self) -> bool:
        return all(node in self._known for node in self._bus().nodes)
