"""Frames: how messages follow each other on a stream between nodes. Pure.

A frame is a length, a kind, a key and a body (docs/cluster.md).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ..errors import OptionError, ProtocolError
from ..protocol.envelope import Drop
from .partial_read import Rest

__all__ = ["HEAD", "LONGEST", "Frame", "Frames", "frame"]

#: Bytes of the body of one message.
LONGEST = 64_000_000
LONGEST_KEY = 65_535

#: Length of what follows, kind, length of the key.
HEAD = struct.Struct(">IBH")
_AFTER_LENGTH = HEAD.size - 4


def frame(kind: int, body: bytes, key: bytes = b"") -> bytes:
    """One frame. Raises `OptionError` for a body that is too long."""
    if len(body) > LONGEST or len(key) > LONGEST_KEY:
        raise OptionError(f"a message of {len(body)} bytes is too long for other workers")
    return HEAD.pack(_AFTER_LENGTH + len(key) + len(body), kind, len(key)) + key + body


class Frame(NamedTuple):
    """A frame that was read."""

    kind: int
    key: bytes
    body: bytes


class Frames(Rest):
    """Cuts frames out of the bytes of a stream."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are now complete. Raises `ProtocolError` for one that is too long."""
        data = self._joined(data)
        found: list[Frame] = []
        start, end = 0, len(data)
        while True:
            if end - start < HEAD.size:
                needed = HEAD.size
                break
            length, kind, key = HEAD.unpack_from(data, start)
            if length > LONGEST + LONGEST_KEY + _AFTER_LENGTH or key > length - _AFTER_LENGTH:
                raise ProtocolError(Drop.CHANNEL)
            stop = start + 4 + length
            if stop > end:
                needed = stop - start
                break
            body = start + HEAD.size + key
            found.append(Frame(kind, data[start + HEAD.size : body], data[body:stop]))
            start = stop
        if start < end:
            self._keep(data[start:], needed)
        return found
