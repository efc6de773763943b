"""What a process that is no node writes to an inbox (`emitter`): each entry is taken once. Pure."""

from __future__ import annotations

import struct
from collections import OrderedDict

from .frames import Frame, Frames
from .messages import Kind

__all__ = ["OUTSIDE", "Outside"]

#: The beginning of an entry: the name of its sender, and its number.
OUTSIDE = struct.Struct(">8sQ")

#: What may be asked for from outside.
KINDS = frozenset({Kind.EMIT, Kind.MANY})

MOST_SENDERS = 10_000  # whose last number is remembered


class Outside:
    """Takes the entries of all senders; one that comes again is dropped."""

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, int] = OrderedDict()

    def take(self, value: bytes) -> list[Frame]:
        """The messages in an entry. Raises `ProtocolError` if it cannot be read."""
        if len(value) < OUTSIDE.size:
            return []
        name, number = OUTSIDE.unpack_from(value)
        if number <= self._last.get(name, 0):
            return []
        self._last[name] = number
        self._last.move_to_end(name)
        if len(self._last) > MOST_SENDERS:
            self._last.popitem(last=False)
        return [each for each in Frames().feed(value[OUTSIDE.size :]) if each.kind in KINDS]
