"""The figures of all workers as one: whichever worker answers, a counter never goes back.

Each worker is asked for its figures. It tells them to all others before it answers, so that what
one was told of a worker that has died, all were told; its counters stay in the sum. A new worker is
told what the others know of the dead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ..errors import ProtocolError
from .exchange import Exchange
from .shared import SharedRooms

__all__ = ["Totals"]

Figures = dict[str, Any]

WHAT, TOLD = "figures", "figures of"  # the names of the question, and of what is told

#: Current numbers: those of the dead do not count. The others are counters.
_NOW = ("connected", "away", "connections", "send_buffer_bytes", "recovery_bytes", "greenlets")
_WORST = ("hub_lag_seconds",)
_HERE = ("rooms", "workers")

MOST = 1000  # workers, dead or alive, of which figures are kept; over it the oldest are forgotten


class Totals:
    """The figures of one server's workers. ``own()``: those of this one."""

    def __init__(self, exchange: Exchange, own: Callable[[], Figures]) -> None:
        self._exchange = exchange
        self._own = own
        #: What each other worker has told last, dead ones too.
        self._told: dict[str, Figures] = {}
        exchange.answers[WHAT] = self._answer
        exchange.inline[TOLD] = self._hear
        exchange.on_joined.append(self._introduce)

    def of_all(self, manager: Any) -> Figures:
        """The sum over all workers. # greenlet"""
        own = self._own()
        if not isinstance(manager, SharedRooms):
            return own
        nodes = set(manager.bus.nodes)
        self._tell_all(own)
        replies = manager.ask(nodes, WHAT, b"")
        living = [_read(body) for body in replies.values() if body]
        dead = [told for node, told in self._told.items() if not replies.get(node)]
        total = _sum(own, living, dead)
        total["rooms"] = manager.count_rooms()
        return total

    def _answer(self, about: bytes) -> bytes:  # greenlet
        own = self._own()
        self._tell_all(own)
        return msgspec.msgpack.encode(own)

    def _tell_all(self, own: Figures) -> None:
        bus = self._exchange.bus
        told = msgspec.msgpack.encode({bus.node: own})
        for node in list(bus.nodes):
            self._exchange.tell(node, TOLD, told)

    def _introduce(self, node: str) -> None:  # hub
        if self._told:
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
