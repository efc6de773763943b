"""The figures of a host's workers as one: whichever worker answers, a counter never goes back.

Each worker is asked for its figures. It tells them to all others of its host before it answers, so
that what one was told of a worker that has died, all were told; its counters stay in the sum. A new
worker is told what the others know of the dead. Other hosts are asked too, if the caller wants it:
what those that have died had counted is not in that sum.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

import msgspec

from ..errors import ProtocolError
from .exchange import Exchange
from .ports import Figures
from .shared_rooms import SharedRooms

__all__ = ["Totals", "between_hosts"]

WHAT, TOLD = "figures", "figures of"  # the names of the question, and of what is told

#: Current numbers: those of the dead do not count. The others are counters.
_NOW = ("connected", "away", "connections", "send_buffer_bytes", "recovery_bytes", "greenlets")
_WORST = (
    "hub_lag_seconds", "degraded", "cluster_oldest_seconds", "cluster_round_trip_seconds",
)  # fmt: skip
_HERE = ("rooms", "workers", "nodes")

#: What there is to say of other hosts, if there is none: as `ports.Figures`, with a prefix.
_NO_HOSTS: Figures = {
    "messages_in": 0, "messages_out": 0, "bytes_in": 0, "bytes_out": 0, "resent": 0,
    "unprotected": 0, "dropped": {}, "oldest_seconds": 0.0, "round_trip_seconds": 0.0,
}  # fmt: skip

MOST = 1000  # workers, dead or alive, of which figures are kept; over it the oldest are forgotten


class Node(Protocol):
    """What there is to say of a node: `node.Node`."""

    @property
    def workers(self) -> int: ...

    @property
    def nodes(self) -> int: ...

    @property
    def degraded(self) -> bool: ...

    def figures(self) -> Figures: ...


def between_hosts(node: Node | None) -> Figures:
    """The part of `Server.stats` that is about the cluster."""
    said = {**_NO_HOSTS, **(node.figures() if node is not None else {})}
    return {
        "workers": 1 if node is None else node.workers,
        "nodes": 1 if node is None else node.nodes,
        "degraded": node is not None and node.degraded,
        **{f"cluster_{name}": said[name] for name in _NO_HOSTS},
    }


class Totals:
    """The figures of one server's workers.

    ``own()``: those of this one; ``neighbours()``: the other nodes of its host.
    """

    def __init__(
        self,
        exchange: Exchange,
        own: Callable[[], Figures],
        neighbours: Callable[[], Collection[str]],
    ) -> None:
        self._exchange = exchange
        self._neighbours = neighbours
        self._own = own
        #: What each other worker has told last, dead ones too.
        self._told: dict[str, Figures] = {}
        exchange.answers[WHAT] = self._answer
        exchange.inline[TOLD] = self._hear
        exchange.on_joined.append(self._introduce)

    def of_all(self, manager: Any, *, hosts: bool) -> Figures:
        """The sum over the workers of this host, or of all ``hosts``. # greenlet"""
        own = self._own()
        if not isinstance(manager, SharedRooms):
            return own
        nodes = set(manager.bus.nodes if hosts else self._neighbours())
        self._tell_all(own)
        replies = manager.ask(nodes, WHAT, b"")
        living = [_read(body) for body in replies.values() if body]
        dead = [told for node, told in self._told.items() if not replies.get(node)]
        total = _sum(own, living, dead)
        total["rooms"] = manager.count_rooms(nodes)
        return total

    def _answer(self, about: bytes) -> bytes:  # greenlet
        own = self._own()
        self._tell_all(own)
        return msgspec.msgpack.encode(own)

    def _tell_all(self, own: Figures) -> None:
        bus = self._exchange.bus
        told = msgspec.msgpack.encode({bus.node: own})
        for node in list(self._neighbours()):
            self._exchange.tell(node, TOLD, told)

    def _introduce(self, node: str) -> None:  # hub
        if self._told and node in self._neighbours():
            self._exchange.tell(node, TOLD, msgspec.msgpack.encode(self._told))

    def _hear(self, node: str, number: int, body: bytes) -> None:  # hub
        try:
            told = msgspec.msgpack.decode(body, type=dict[str, Figures])
        except (msgspec.MsgspecError, ValueError):
            raise ProtocolError("channel") from None
        for each, figures in told.items():
            before = self._told.pop(each, None)
            newer = before is None or figures.get("connects", 0) >= before.get("connects", 0)
            self._told[each] = figures if newer or before is None else before
        while len(self._told) > MOST:
            del self._told[next(iter(self._told))]


def _read(body: bytes) -> Figures:
    found = msgspec.msgpack.decode(body)
    if type(found) is not dict:
        raise ProtocolError("channel")
    return found


def _sum(own: Figures, living: Iterable[Figures], dead: Iterable[Figures]) -> Figures:
    total = {key: dict(each) if type(each) is dict else each for key, each in own.items()}
    for figures, lives in [*((each, True) for each in living), *((each, False) for each in dead)]:
        for key, value in own.items():
            other = figures.get(key, 0)
            if key in _HERE or (key in _NOW and not lives):
                continue
            if key in _WORST:
                total[key] = max(total[key], other) if lives else total[key]
            elif type(value) is dict:
                for reason, count in (other or {}).items():
                    total[key][reason] = total[key].get(reason, 0) + count
            else:
                total[key] += other
    return total
