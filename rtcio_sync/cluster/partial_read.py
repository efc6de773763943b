"""The end of what was read of a stream: a message of which the rest has not come yet. Pure."""

from __future__ import annotations

__all__ = ["Rest"]


class Rest:
    """What a parser keeps between two reads."""

    __slots__ = ("_kept", "_needed")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._needed = 0

    def _keep(self, data: bytes, needed: int) -> None:
        """Keeps the beginning of a message that has at least ``needed`` bytes."""
        self._kept, self._needed = bytearray(data), needed

    def _joined(self, data: bytes) -> bytes:
        """``data`` behind what is kept; empty: it is not enough, and is kept too."""
        if not self._kept:
            return data
        self._kept += data
        if len(self._kept) < self._needed:
            return b""
        data, self._kept = bytes(self._kept), bytearray()
        return data
