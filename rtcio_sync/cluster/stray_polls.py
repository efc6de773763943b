"""Connections on polling that another node has than the one with whose id their own begins.

A connection's id says where its requests go. When a client comes back to the session of another
node and stays on polling, its connection goes there (`socketio.session_routing`), and the node that
it reached first passes its requests on. # hub or greenlet
"""

from __future__ import annotations

from collections.abc import Callable

from .exchange import Exchange

__all__ = ["Strays"]

OVER = "stray over"  # what is told to the node that passes requests on

MOST = 10_000  # connections; over it, the oldest are forgotten: their clients reconnect


class Strays:
    """The strays of one node. ``has(eio_sid)``: whether a connection is in this process."""

    def __init__(self, exchange: Exchange, has: Callable[[str], bool]) -> None:
        self._exchange = exchange
        self._has = has
        #: Those that began here, and who has them; those that are here, and where they began.
        self._given: dict[str, str] = {}
        self._taken: dict[str, str] = {}
        exchange.inline[OVER] = self._hear
        exchange.on_died.append(self._died)

    def give(self, eio_sid: str, node: str) -> None:
        """From now on ``node`` has a connection of this one."""
        self._given[eio_sid] = node
        if len(self._given) > MOST:
            del self._given[next(iter(self._given))]

    def take(self, eio_sid: str, node: str) -> None:
        """From now on this node has a connection of ``node``, which passes its requests on."""
        self._taken[eio_sid] = node
        if len(self._taken) > MOST:
            self._end(next(iter(self._taken)))

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
        """Has its first node pass on no more requests, which would come back there."""
        self._exchange.tell(self._taken.pop(eio_sid), OVER, eio_sid.encode())

    def _hear(self, node: str, number: int, body: bytes) -> None:
        eio_sid = body.decode("ascii", "replace")
        if self._given.get(eio_sid) == node:
            del self._given[eio_sid]

    def _died(self, node: str, *_: object) -> None:
        for kept in (self._given, self._taken):
            for eio_sid in [each for each, of in kept.items() if of == node]:
                del kept[eio_sid]
