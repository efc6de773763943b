"""Warns when the app's own events exceed a bound on waiting data, once a minute.

Clients that do not read, and peers that relay to them, are only counted. If the app's events are
too large or too many, the app's developer has to know.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import Any

from ..events import RtcioEvents
from ..logs import Seldom, plain

__all__ = ["Overflow", "event_of"]

log = logging.getLogger(__name__)

_OURS = {RtcioEvents.MESSAGE, RtcioEvents.PEER_LEFT}

_HEAD = 600  # bytes at the beginning of a message in which the event's name has to start

#: An event in a text packet: number of attachments, namespace, id, name.
_TEXT = re.compile(rb'[25](?:\d+-)?(?:/[^,"\[]*,)?\d*\[("(?:[^"\\]|\\.)*")')

#: The same in msgpack: "data", an array, and the head of a string.
_MSGPACK = re.compile(rb"\xa4data(?:[\x91-\x9f]|\xdc..)(?:([\xa0-\xbf])|\xd9(.))", re.DOTALL)

_CEILING = (
    "a client reads more slowly than the server sends the event %r: over %s bytes wait, so the "
    "connection is closed. Send less at once, or raise Limits(max_buffered_bytes)%s"
)
_TOTAL = (
    "over %s bytes wait for all clients together, so the slowest clients are disconnected. Send "
    "less at once, or raise max_buffered_total%s"
)


def event_of(message: Any) -> str | None:
    """The name of the event in a packet's data, or in its frame; `None` if there is none."""
    if isinstance(message, str):
        message = message[:_HEAD].encode(errors="replace")
    if not isinstance(message, (bytes, bytearray)):
        return None
    head = bytes(message[:_HEAD])
    packed = _MSGPACK.search(head)
    if packed is not None:
        size = packed[1][0] & 0x1F if packed[1] else packed[2][0]
        return head[packed.end() : packed.end() + size].decode(errors="replace")
    found = _TEXT.search(head)
    if found is None:
        return None
    try:
        return str(json.loads(found[1]))
    except ValueError:
        return None


class Overflow:
    """Warns once a minute. It uses ``spawn``, because the hub must not wait for a log handler."""

    def __init__(self, *, now: Callable[[], float], spawn: Callable[..., None]) -> None:
        self._now = now
        self._spawn = spawn
        self._ceilings = Seldom()
        self._totals = Seldom()

    def ceiling(self, message: Any, bound: int | None) -> None:
        """A connection exceeds ``bound`` with this message. # hub or greenlet"""
        event = event_of(message)
        if event is not None and event not in _OURS:
            self._warn(self._ceilings, _CEILING, plain(event), bound)

    def total(self, bound: int | None) -> None:
        """All connections together exceed ``bound``. # hub or greenlet"""
        self._warn(self._totals, _TOTAL, bound)

    def _warn(self, seldom: Seldom, message: str, *known: Any) -> None:
        more = seldom.more(self._now())
        if more is not None:
            self._spawn(log.warning, message, *known, more)
