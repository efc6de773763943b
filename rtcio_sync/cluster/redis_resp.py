"""Redis' protocol: commands to bytes, and bytes to replies. Pure.

That is RESP2, and the pushes of RESP3, with which messages of a channel come.

redis-py's own codec costs two thirds more on the way of a message. hiredis is used if it is there.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from ..errors import ProtocolError
from ..protocol.envelope import Drop
from .partial_read import Rest

__all__ = ["ErrorReply", "Parser", "PurePython", "Reply", "command", "parser", "strings"]

LONGEST = 512 << 20  # bytes of a string; Redis sends none that is longer
MOST = 1 << 20  # items of an array
DEEPEST = 8  # arrays in arrays


class ErrorReply:
    """An error that Redis replied with. ``code``: its first word."""

    __slots__ = ("code", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.code = text.partition(" ")[0]

    def __repr__(self) -> str:
        return f"ErrorReply({self.text!r})"


Reply: TypeAlias = "bytes | int | list[Any] | ErrorReply | None"
"""A list holds replies."""


def command(*args: bytes | str | int) -> bytes:
    """The bytes of one command."""
    return b"*%d\r\n" % len(args) + strings(*args)


def strings(*args: bytes | str | int) -> bytes:
    """The bytes of these arguments of a command."""
    made = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
    return b"".join([b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in made])


class Parser(Protocol):
    """Cuts replies out of the bytes of a connection."""

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that are now complete. Raises `ProtocolError`."""


def parser() -> Parser:
    """The quickest that is installed."""
    try:
        import hiredis  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return PurePython()
    return _Hiredis(hiredis)


class _Hiredis:
    def __init__(self, hiredis: Any) -> None:
        self._reader = hiredis.Reader(replyError=ErrorReply)
        self._nothing: object = False  # what `gets` returns while no reply is complete
        self._error: type[Exception] = hiredis.HiredisError

    def feed(self, data: bytes) -> list[Reply]:
        reader, nothing = self._reader, self._nothing
        found: list[Reply] = []
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not nothing:
                found.append(reply)
        except self._error:
            raise ProtocolError(Drop.CHANNEL) from None
        return found


class _Array:
    """An array of which some items are missing."""

    __slots__ = ("count", "items")

    def __init__(self, count: int) -> None:
        self.count = count
        self.items: list[Reply] = []


class PurePython(Rest):
    """A parser that keeps its place: what was read is not read again when more bytes come."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        super().__init__()
        self._open: list[_Array] = []  # the arrays around the next reply

    def feed(self, data: bytes) -> list[Reply]:
        try:
            return self._replies(self._joined(data))
        except (ValueError, IndexError):
            raise ProtocolError(Drop.CHANNEL) from None

    def _replies(self, data: bytes) -> list[Reply]:
        found: list[Reply] = []
        opened, find = self._open, data.find
        at, needed = 0, 0
        reply: Reply
        while True:
            line = find(b"\r\n", at)
            if line < 0:
                needed = 3
                break
            kind, after = data[at], line + 2
            if kind == 0x24:  # $
                size = int(data[at + 1 : line])
                if size < 0:
                    reply = None
                else:
                    stop = after + size
                    if stop + 2 > len(data):
                        if size > LONGEST:
                            raise ValueError
                        needed = stop + 2 - at
                        break
                    reply, after = data[after:stop], stop + 2
            elif kind in (0x2A, 0x3E):  # * >
                count = int(data[at + 1 : line])
                if count > 0:
                    if count > MOST or len(opened) == DEEPEST:
                        raise ValueError
                    opened.append(_Array(count))
                    at = after
                    continue
                reply = [] if count == 0 else None
            else:
                reply = _simple(kind, data[at + 1 : line])
            at = after
            while opened:
                inner = opened[-1]
                inner.items.append(reply)
                if len(inner.items) < inner.count:
                    break
                reply = opened.pop().items
            else:
                found.append(reply)
        if at < len(data):
            if needed == 3 and len(data) - at > LONGEST:
                raise ValueError
            self._keep(data[at:], needed)
        return found


def _simple(kind: int, text: bytes) -> Reply:
    if kind == 0x3A:  # :
        return int(text)
    if kind == 0x2B:  # +
        return text
    if kind == 0x5F:  # _
        return None
    if kind == 0x2D:  # -
        return ErrorReply(text.decode(errors="replace"))
    raise ValueError
