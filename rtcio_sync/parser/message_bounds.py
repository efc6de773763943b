"""Counts the values and the levels of a message before it is decoded. Pure.

The memory and time of decoding depend on the number of values, not of bytes: 950 kB of ``[],`` are
300,000 lists. C code counts over the whole text, so that a message of 1 MB costs some 10 ms at
worst, and usually far below 1 ms.

A value is a string, a number, a constant, an array or an object. Keys and the content of strings do
not count. A level is an array or an object around a value.
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

#: Bytes of memory of a decoded value, on average: an empty list in a list 80, an object with one
#: field 130 for each of its two values, a small number 40.
VALUE_BYTES = 100

#: The most bytes or values of the fields of a MessagePack packet, without its data.
PACKED_HEAD = 20

#: Bytes of the name of a namespace, which a socket keeps.
LONGEST_NAMESPACE = 512

#: Digits of the id of an acknowledgement: python-socketio's bound.
LONGEST_ID = 100

#: Up to so many values, an upper bound is exact enough for the accounts; over it they are counted.
SURE = 10_000

#: An extension of MessagePack costs as much as so many other values, because it runs Python code.
EXTENSION = 10
_TEN = (None,) * EXTENSION
_BINARIES = (0xC4, 0xC5, 0xC6)  # the first bytes of MessagePack's binary values
_TIMES = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff")  # MessagePack's three kinds of timestamps

_WHITE = b" \t\n\r"
_NO_BRACKET = bytes(set(range(256)) - set(b'[]{}"'))
_SQUARE = bytes.maketrans(b"{}", b"[]")
_STEPS = bytes.maketrans(b"[]", b"\x01\xff")

#: Levels that are removed one by one before the rest is walked through.
FLAT = 4

# <type>[<attachments>-][/<namespace>,][<id>]: the part before the JSON (Socket.IO v5).
_HEAD = re.compile(
    rb"([0-6])(?:([0-9]{1,11})-)?(?:(/[^,]*)(?:,|\Z))?([0-9]{0,%d})(?=[\[{\"ntf]|([ \t\n\r])|\Z)"
    % LONGEST_ID
)
# Apart from the head, which would try each of a million blanks as its end.
_BLANKS = re.compile(rb"[ \t\n\r]+")
_BEGINNINGS = frozenset(b'[{"ntf')


class OverBound(ProtocolError):
    """A message is over a bound; ``reason`` is the label under which it is counted."""

    def __init__(self, reason: str, attachments: int = 0) -> None:
        super().__init__(reason)
        #: How many attachments follow it.
        self.attachments = attachments


class Weight(NamedTuple):
    """The number of values in a message, and the bound that it exceeds."""

    values: int  #: never too low; exact if there are many
    excess: str | None  #: the bound that it exceeds, as the label of the counter


class Head(NamedTuple):
    """The part of a packet before its data."""

    kind: int
    attachments: int  #: announced by the packet
    namespace: str
    start: int  #: where the JSON begins, in bytes
    id: int | None = None  #: of the acknowledgement


def head_of(text: bytes) -> Head:
    """The part before the data in the text of a Socket.IO packet.

    Raises `ProtocolError` if it does not follow Socket.IO v5, "Packet encoding".
    """
    match = _HEAD.match(text)
    if match is None:
        raise ProtocolError("undecodable")
    kind, attachments = int(match[1]), match[2]
    if (attachments is not None) is not (kind in (BINARY_EVENT, BINARY_ACK)):
        raise ProtocolError("attachments")
    name, digits, start = match[3], match[4], match.end()
    if match[5]:
        start = _after_blanks(text, start)
    namespace = "/" if name is None else _namespace(name)
    return Head(kind, int(attachments or 0), namespace, start, int(digits) if digits else None)


def _after_blanks(text: bytes, start: int) -> int:
    blanks = _BLANKS.match(text, start)
    start = blanks.end() if blanks else start
    if start < len(text) and text[start] not in _BEGINNINGS:
        raise ProtocolError("undecodable")
    return start


def _namespace(name: bytes) -> str:
    name, _, _ = name.partition(b"?")
    if len(name) > LONGEST_NAMESPACE:
        raise ProtocolError("namespace")
    return name.decode()


def weigh(text: bytes, depth: int | None, values: int | None) -> Weight:
    """The values in JSON, and the bound that it exceeds, if any; `None` is no bound.

    For text that is not JSON, the result covers all that a parser would read of it.
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
    if b"\\" in text:  # an escaped quote does not end a string
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return text


def _values(text: bytes, bound: int | None) -> int:
    """The values in JSON; if the strings alone are over the bound, only those are counted."""
    text = _unescaped(text)
    strings = text.count(b'"') // 2
    if bound is not None and strings > 2 * bound:  # half of them may be keys
        return strings
    outside = b'"'.join(text.translate(None, _WHITE).split(b'"')[::2])
    openers = outside.count(b"[") + outside.count(b"{")
    return 1 + openers - outside.count(b"[]") - outside.count(b"{}") + outside.count(b",")


def _depth(text: bytes) -> int:
    """The levels in JSON."""
    # A string without a bracket becomes two adjacent quotes. More adjacent quotes are removed in
    # pairs, so that the content of a string stays inside of one.
    bare = _unescaped(text).translate(_SQUARE, _NO_BRACKET).replace(b'""', b"")
    if b'"' in bare:
        bare = b"".join(bare.split(b'"')[::2])
    levels = 0
    while bare and levels < FLAT:  # most messages have few levels
        levels += 1
        bare = bare.replace(b"[]", b"")
    steps = memoryview(bare.translate(_STEPS)).cast("b")
    return levels + max(accumulate(steps), default=0)


def measure(data: Any, depth: int | None, values: int | None) -> Weight:
    """`weigh` for decoded data."""
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
    """The fields of a MessagePack packet except its data, which is not decoded.

    Raises `ProtocolError` for an invalid packet, `OverBound` for one too deep to be read.
    """
    try:
        fields = _fields(message)
    except RecursionError:
        raise OverBound(TOO_DEEP) from None
    except (msgspec.DecodeError, ValueError):
        raise ProtocolError("undecodable") from None
    return Head(fields.type, 0, _namespace(fields.nsp.encode()), 0)


def unpack(message: bytes, ext_hook: Callable[[int, bytes], Any], values: int | None) -> Any:
    """The content of a MessagePack message; decoding stops once it is over the bound.

    Raises `OverBound` then, `ProtocolError` for a map with binary keys, which could not be sent on,
    and msgpack's exceptions for a message that it cannot read.
    """
    import msgpack  # type: ignore[import-untyped]  # an extra, for serializer="msgpack"

    try:
        if values is not None and len(message) > values:  # a byte holds one value at most
            _count(msgpack.unpackb, message, values)
        check = _check_keys if any(map(message.__contains__, _BINARIES)) else None
        return msgpack.unpackb(message, ext_hook=ext_hook, object_hook=check)
    except msgpack.StackError:  # more levels than it follows
        raise OverBound(TOO_DEEP) from None


def _check_keys(made: dict[Any, Any]) -> dict[Any, Any]:
    if any(type(key) is bytes for key in made):
        raise ProtocolError("undecodable")
    return made


def _count(unpackb: Any, message: bytes, values: int) -> None:
    """Reads a message and keeps nothing of it, so that the garbage collector has no work.

    Containers and their content are counted at their end: in the middle of a message, the count is
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

    if sum(map(message.count, _TIMES)) > values // EXTENSION:  # no hook of msgpack sees these
        raise OverBound(TOO_MANY)
    bounds = {"max_array_len": values, "max_map_len": values}
    try:
        unpackb(message, ext_hook=extension, list_hook=container, object_hook=container, **bounds)
    except ValueError as error:
        # The header announces more values than the bound: msgpack has no exception for that.
        if " exceeds max_" in str(error):
            raise OverBound(TOO_MANY) from None
        raise
