"""What a message would cost once decoded: its values and its levels, counted before it is decoded.

Memory and time follow the number of values, not the bytes: 950 kB of ``[],`` are 300,000 lists.
Whatever is counted here is counted by C code over the whole text, so that a message of 1 MB costs
some 10 ms at worst and far below 1 ms as a rule. Pure; nothing here knows a connection.

A value is a string, a number, a constant, an array or an object; a key is none, and what stands
inside a string does not count. A level is an array or an object around something.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec
from socketio.packet import BINARY_ACK, BINARY_EVENT

from ..errors import ProtocolError

__all__ = [
    "PACKED_HEAD",
    "SURE",
    "VALUE_BYTES",
    "Head",
    "OverBound",
    "Weight",
    "head_of",
    "measure",
    "packed_head",
    "unpack",
    "weigh",
]

TOO_DEEP = "too-deep"
TOO_MANY = "too-many-values"

#: Bytes of memory that a decoded value takes in the middle: an empty list in a list 80, an object
#: with one field 130 for each of its two values, a small number 40.
VALUE_BYTES = 100

#: What the fields of a MessagePack packet, its data left out, have in bytes or values at most.
PACKED_HEAD = 20

#: Bytes that the name of a namespace may have: a socket keeps it.
LONGEST_NAMESPACE = 512

#: Digits that the id of an acknowledgement may have: python-socketio's bound.
LONGEST_ID = 100

#: Up to so many values an upper bound is good enough for the accounts; over it they are counted.
SURE = 10_000

#: An extension of MessagePack costs as much as so many other values: Python code runs for each.
EXTENSION = 10
_TEN = (None,) * EXTENSION
_TIMES = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff")  # MessagePack's three kinds of timestamps

_WHITE = b" \t\n\r"
_NO_BRACKET = bytes(set(range(256)) - set(b'[]{}"'))
_SQUARE = bytes.maketrans(b"{}", b"[]")
_STEPS = bytes.maketrans(b"[]", b"\x01\xff")

#: Levels that are taken off one by one before the rest is walked through.
FLAT = 4

# <type>[<attachments>-][/<namespace>,][<id>]: what stands before the JSON (Socket.IO v5).
_HEAD = re.compile(
    rb"([0-6])(?:([0-9]{1,11})-)?(?:(/[^,]*)(?:,|\Z))?([0-9]*)[ \t\n\r]*(?=[\[{\"ntf]|\Z)"
)


class OverBound(ProtocolError):
    """A message holds more than it may; ``reason`` is the label it is counted under."""

    def __init__(self, reason: str, attachments: int = 0) -> None:
        super().__init__(reason)
        #: How many attachments follow it.
        self.attachments = attachments


class Weight(NamedTuple):
    """What a message holds."""

    values: int  #: never less than there are; exact where there are many
    excess: str | None  #: the bound that it is over: the label it is counted under


class Head(NamedTuple):
    """What a packet says before its data."""

    kind: int
    attachments: int  #: that it announces
    namespace: str
    start: int  #: where the JSON begins, in bytes
    id: int | None = None  #: of the acknowledgement, that is asked for or given


def head_of(text: bytes) -> Head:
    """What the text of a Socket.IO packet says before its data.

    Raises `ProtocolError` where Socket.IO v5, "Packet encoding", is not followed.
    """
    match = _HEAD.match(text)
    if match is None:
        raise ProtocolError("undecodable")
    kind, attachments = int(match[1]), match[2]
    if (attachments is not None) is not (kind in (BINARY_EVENT, BINARY_ACK)):
        raise ProtocolError("attachments")
    name, digits = match[3], match[4]
    if len(digits) > LONGEST_ID:
        raise ProtocolError("undecodable")
    namespace = "/" if name is None else _namespace(name)
    return Head(
        kind, int(attachments or 0), namespace, match.end(), int(digits) if digits else None
    )


def _namespace(name: bytes) -> str:
    name, _, _ = name.partition(b"?")
    if len(name) > LONGEST_NAMESPACE:
        raise ProtocolError("namespace")
    return name.decode()


def weigh(text: bytes, depth: int | None, values: int | None) -> Weight:
    """What JSON holds, and which bound it is over, if any; `None` is no bound.

    For text that is no JSON it holds of all that a parser would read of it.
    """
    openers = text.count(b"[") + text.count(b"{")
    most = 1 + openers + text.count(b",")
    if most > SURE or (values is not None and most > values):
        most = _values(text, values)
        if values is not None and most > values:
            return Weight(most, TOO_MANY)
    if depth is not None and openers > depth and _depth(text) > depth:
        return Weight(most, TOO_DEEP)
    return Weight(most, None)


def _unescaped(text: bytes) -> bytes:
    if b"\\" in text:  # what a backslash escapes is inside a string, and no quote that ends it
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return text


def _values(text: bytes, bound: int | None) -> int:
    """The values in JSON; where the strings alone are over the bound, no more than that is told."""
    text = _unescaped(text)
    strings = text.count(b'"') // 2
    if bound is not None and strings > 2 * bound:  # half of them may be keys
        return strings
    outside = b'"'.join(text.translate(None, _WHITE).split(b'"')[::2])
    openers = outside.count(b"[") + outside.count(b"{")
    return 1 + openers - outside.count(b"[]") - outside.count(b"{}") + outside.count(b",")


def _depth(text: bytes) -> int:
    """The levels in JSON."""
    # A string without a bracket is two quotes side by side; where there are more, they go in pairs,
    # so that what is inside a string stays inside one.
    bare = _unescaped(text).translate(_SQUARE, _NO_BRACKET).replace(b'""', b"")
    if b'"' in bare:
        bare = b"".join(bare.split(b'"')[::2])
    levels = 0
    while bare and levels < FLAT:  # most has few levels
        levels += 1
        bare = bare.replace(b"[]", b"")
    steps = memoryview(bare.translate(_STEPS)).cast("b")
    return levels + max(accumulate(steps), default=0)


def measure(data: Any, depth: int | None, values: int | None) -> Weight:
    """`weigh`, for what is decoded already."""
    number, level, reached = 1, [data], 0
    while True:
        level = [node for node in level if type(node) in (list, dict)]
        if not level:
            return Weight(number, None)
        reached += 1
        below: list[Any] = []
        for node in level:
            below += node if type(node) is list else node.values()
        number += len(below)
        if values is not None and number > values:
            return Weight(number, TOO_MANY)
        if depth is not None and reached > depth:
            return Weight(number, TOO_DEEP)
        level = below


# -- MessagePack -------------------------------------------------------------------------------


class _Fields(msgspec.Struct, gc=False):
    type: int
    nsp: str


_fields = msgspec.msgpack.Decoder(_Fields).decode


def packed_head(message: bytes) -> Head:
    """What a MessagePack packet says beside its data, of which nothing is made.

    Raises `ProtocolError` for what is no packet, `OverBound` for one too deep to be read.
    """
    try:
        fields = _fields(message)
    except RecursionError:
        raise OverBound(TOO_DEEP) from None
    except (msgspec.DecodeError, ValueError):
        raise ProtocolError("undecodable") from None
    return Head(fields.type, 0, _namespace(fields.nsp.encode()), 0)


def unpack(message: bytes, ext_hook: Callable[[int, bytes], Any], values: int | None) -> Any:
    """What a MessagePack message holds; it is left in the middle once it is over the bound.

    Raises `OverBound` then, and what msgpack raises for what it cannot read.
    """
    import msgpack  # type: ignore[import-untyped]  # an extra, for serializer="msgpack"

    if values is not None and len(message) > values:  # a byte holds one value at most
        _count(msgpack.unpackb, message, values)
    return msgpack.unpackb(message, ext_hook=ext_hook)


def _count(unpackb: Any, message: bytes, values: int) -> None:
    """Reads a message and keeps nothing of it: the garbage collector has nothing to look through.

    Containers are counted, and what they hold, at their end: in the middle of a message both are
    less than all its values.
    """
    containers = inside = 0

    def container(made: Any) -> None:
        nonlocal containers, inside
        containers += 1
        inside += len(made)
        if inside > values or containers > values:
            raise OverBound(TOO_MANY)

    def extension(code: int, data: bytes) -> None:
        container(_TEN)

    if sum(map(message.count, _TIMES)) > values // EXTENSION:  # msgpack asks no hook for those
        raise OverBound(TOO_MANY)
    bounds = {"max_array_len": values, "max_map_len": values}
    try:
        unpackb(message, ext_hook=extension, list_hook=container, object_hook=container, **bounds)
    except ValueError as error:
        # A header that announces more than there may be: msgpack has no class for that.
        if " exceeds max_" in str(error):
            raise OverBound(TOO_MANY) from None
        raise
