"""Connections on polling that another node has than the one with whose id their own begins.

A connection's id says where its requests go. When a client comes back to the session of another
node and stays on polling, its connection goes there (`socketio.session_routing`). That node tells
all others of its host, which pass its requests on: the one that the client reached first may leave,
and its heir gets them then. When the node with the connection leaves, its heir tells them anew.
# hub or greenlet
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ..engineio.ids import NODE
from .exchange import Exchange

__all__ = ["Strays"]

HERE = "stray here"  # what the node with connections tells the others
OVER = "stray over"  # the same, when it has one no more

MOST = 10_000  # connections; over it, the oldest are forgotten: their clients reconnect


class Strays:
    """The strays of one node. ``has(eio_sid)``: whether a connection is in this process."""

    def __init__(self, exchange: Exchange, has: Callable[[str], bool]) -> None:
        self._exchange = exchange
        self._has = has
        #: Those that another node has; and those that are here, in the order in which they came.
        self._given: dict[str, str] = {}
        self._taken: dict[str, None] = {}
        exchange.inline[HERE] = self._hear_here
        exchange.inline[OVER] = self._hear_over
        exchange.on_joined.append(self._joined)
        exchange.on_died.append(self._died)
        exchange.arrivals.on_link = self.arrived

    def give(self, eio_sid: str, node: str) -> None:
        """From now on ``node`` has a connection."""
        self._given[eio_sid] = node
        if len(self._given) > MOST:
            del self._given[next(iter(self._given))]

    def take(self, eio_sid: str) -> None:
        """From now on this node has a connection of another one."""
        self._given.pop(eio_sid, None)
        self._taken[eio_sid] = None
        self._tell_all(HERE, eio_sid)
        if len(self._taken) > MOST:
            self._end(next(iter(self._taken)))

    def arrived(self, eio_sid: str, ids: Collection[str]) -> None:
        """A connection has come with a node that leaves, whose ids are this node's from now on."""
        if eio_sid[:NODE] not in ids:
            self.take(eio_sid)

    def given(self, eio_sid: str) -> str | None:
        """The node that has it; `None`: it was not given away."""
        return self._given.get(eio_sid)

    def taken(self, eio_sid: str) -> bool:
        """Whether it began elsewhere, and its requests are answered here."""
        if eio_sid not in self._taken:
            return False
        if not self._has(eio_sid):
            self._end(eio_sid)
        return True

    def _end(self, eio_sid: str) -> None:
        """Has the others pass on no more requests, which would come back there."""
        del self._taken[eio_sid]
        self._tell_all(OVER, eio_sid)

    def _tell_all(self, what: str, eio_sid: str) -> None:
        for node in list(self._exchange.bus.neighbours):
            self._exchange.tell(node, what, eio_sid.encode())

    def _joined(self, node: str) -> None:
        """A new node may become the heir of the one that a client reached first."""
        here = [eio_sid for eio_sid in self._taken if self._has(eio_sid)]
        if here and node in self._exchange.bus.neighbours:
            self._exchange.tell(node, HERE, " ".join(here).encode())

    def _hear_here(self, node: str, number: int, body: bytes) -> None:
        if node in self._exchange.bus.neighbours:
            for eio_sid in _sids(body):
                self._taken.pop(eio_sid, None)
                self.give(eio_sid, node)

    def _hear_over(self, node: str, number: int, body: bytes) -> None:
        for eio_sid in _sids(body):
            if self._given.get(eio_sid) == node:
                del self._given[eio_sid]

    def _died(self, node: str, *_: object) -> None:
        for eio_sid in [each for each, of in self._given.items() if of == node]:
            del self._given[eio_sid]


def _sids(body: bytes) -> Iterable[str]:
    return body.decode("ascii", "replace").split()
