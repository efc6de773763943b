"""Encodes values as JSON or MessagePack: the same set of types for both.

orjson writes nearly all values. Those that it refuses (integers of more than 64 bits, lone
surrogates, over 254 levels) are written by the standard module, with the same types in the same
spelling. A value that cannot be sent raises an error that names the value and its place.

A ``datetime``, a ``date`` and a ``time`` are sent in ISO 8601, a UUID and a Decimal as a string, an
Enum as its value, a dataclass as an object of its fields (without those whose names begin with an
underscore), a tuple as a list, and keys that are not strings as strings. An object of a class that
derives from ``dict`` or ``list`` is sent as its ``items()`` or its iterator gives it, as the
standard module does. In JSON, NaN and Infinity are null, and a timestamp of MessagePack is a date,
as JavaScript writes them.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import marshal
import math
import re
import uuid
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import orjson

from ..errors import ProtocolError
from ..garbage_collector import uncollected
from ..protocol.names import FUNCTIONS, text_of

__all__ = [
    "OPTIONS", "finite", "holes_of", "is_timestamp", "pack", "parted", "simple", "write",
]  # fmt: skip

#: Has orjson leave to `simple` what it would write in its own way. It sends what is in an object's
#: ``__dict__`` as the fields of a dataclass, and crashes for a slot without a value; of a class
#: that derives from ``dict`` it sends what that class may hide.
OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS

_BYTES = (bytes, bytearray, memoryview)
_TIMES = (datetime.datetime, datetime.date, datetime.time)
#: By its name: msgpack is an extra. A client writes a ``Date`` so with ``serializer="msgpack"``.
_TIMESTAMP = ("msgpack.ext", "Timestamp")

_FIX = (
    "send dicts, lists, strings, numbers, booleans, None, bytes, dates, UUIDs, Enums, Decimals or "
    "dataclasses"
)
_NO_FUNCTION = (
    "call it, and send what it returns; one for the acknowledgement is given as callback=…"
)
#: A key in JSON that marks a placeholder: JavaScript's receivers ask for ``true``, those of
#: python-socketio for any value that Python takes for true.
_MARK = re.compile(
    r'"_placeholder":(?<=[{,]"_placeholder":)(?!(?:false|null|0|-?0\.0|""|\[\]|\{\})[,}])'
)
_PACKABLE = 511  # levels that msgpack packs
_TOO_DEEP = (
    "the data contains itself or has too many levels to be sent: give it fewer levels; "
    "Limits(max_depth=64) bounds the levels of what clients send"
)


# -- JSON ------------------------------------------------------------------------------------------


def write(value: Any, holes: list[bytes] | None = None) -> str:
    """``value`` as JSON. ``holes``: gets the bytes in ``value``; placeholders replace them.

    `None`: bytes are refused. Raises `TypeError` for a value that JSON does not have, `ValueError`
    for one that is too deep, and `ProtocolError` for a dict that a receiver would take for a
    placeholder.
    """

    def other(each: Any) -> Any:
        if holes is not None and isinstance(each, _BYTES):
            return _hole(each, holes)
        return simple(each)

    try:
        text = orjson.dumps(value, other, OPTIONS | orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):
        text = _of_plain(value, holes) or _of_any(value, holes)
    if holes and len(_MARK.findall(text)) > len(holes):
        raise ProtocolError("placeholder")
    return text


def _of_plain(value: Any, holes: list[bytes] | None) -> str | None:
    """A value of nothing but JSON's own types, and bytes, as JSON: such as what a client has sent.

    `None`: it has others. `_Plain` takes steps of Python for each value, and a client may send
    100,000 beside a lone surrogate.
    """

    def other(each: Any) -> Any:
        if holes is None or not isinstance(each, _BYTES):
            raise TypeError
        return _hole(each, holes)

    if holes:
        holes.clear()
    try:
        marshal.dumps(value, 2)  # in C; it refuses each class of an app's own
        text = json.dumps(value, separators=(",", ":"), default=other)
    except (TypeError, ValueError, RecursionError):
        return None
    if "NaN" not in text and "Infinity" not in text:
        return text
    if ('NaN":' in text or 'Infinity":' in text) and _strange_keys(value):  # a key is no string
        return None
    return _with_nulls(text)


def _with_nulls(text: str) -> str:
    """What the standard module has written, with null for each number that JSON does not have."""
    # A control character, which JSON escapes, stands for what is no end of a string.
    parts = text.replace(r"\\", "\0").replace(r"\"", "\1").split('"')
    between = "\n".join(parts[::2])
    for number in ("-Infinity", "Infinity", "NaN"):
        between = between.replace(number, "null")
    parts[::2] = between.split("\n")
    return '"'.join(parts).replace("\1", r"\"").replace("\0", r"\\")


def _of_any(value: Any, holes: list[bytes] | None) -> str:
    if holes:
        holes.clear()
    made = _Plain(holes).of(value)
    try:
        return json.dumps(made, separators=(",", ":"), allow_nan=False)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def parted(value: Any) -> tuple[Any, list[bytes]]:
    """``value`` with placeholders, and the bytes that were in it. Raises as `write` does."""
    try:
        orjson.dumps(value, None, OPTIONS)
    except (TypeError, ValueError):
        pass
    else:
        return value, []
    holes: list[bytes] = []
    text = write(value, holes)
    try:
        with uncollected():
            return json.loads(text), holes
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def holes_of(value: Any) -> tuple[Any, list[bytes]]:
    """``value`` with placeholders for its bytes; an app's JSON module writes the rest."""
    holes: list[bytes] = []
    made = _Left(holes).of(value)
    if holes and _marks(made) > len(holes):
        raise ProtocolError("placeholder")
    return made, holes


def finite(value: Any) -> Any:
    """``value`` with `None` for each number that JSON does not have, as JavaScript writes it."""
    return _Finite(None).of(value)


def _marks(made: Any) -> int:
    number, level = 0, [made]
    while level:
        below: list[Any] = []
        for node in level:
            if type(node) is dict:
                number += bool(node.get("_placeholder"))
                below += node.values()
            elif type(node) is list:
                below += node
        level = below
    return number


def _hole(value: Any, holes: list[bytes]) -> dict[str, Any]:
    holes.append(bytes(value))
    return {"_placeholder": True, "num": len(holes) - 1}


def simple(value: Any) -> Any:
    """The replacement for a value whose type JSON does not have. Raises `TypeError`.

    Raises `AttributeError` for a dataclass of which a field has no value.
    """
    names = _FIELDS.get(type(value))
    if names is not None:
        return {name: getattr(value, name) for name in names}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, _TIMES):
        return _iso(value)
    if isinstance(value, (uuid.UUID, decimal.Decimal)):
        return str(value)
    for kind, plain in _DERIVED:
        if isinstance(value, kind):
            return plain(value)
    if is_timestamp(value):
        return _date(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = tuple(each.name for each in dataclasses.fields(value) if each.name[:1] != "_")
        made = {name: getattr(value, name) for name in names}
        _FIELDS[type(value)] = names
        return made
    raise TypeError


#: The names of the fields of each dataclass that was sent.
_FIELDS: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()


# A proxy, as werkzeug's, only says that it is a number: `int` and `float` ask what it stands for.
def _whole(value: Any) -> int:
    if isinstance(value, bool):
        return bool(value)
    return int.__int__(value) if issubclass(type(value), int) else int(value)


def _float(value: Any) -> float:
    return float.__float__(value) if issubclass(type(value), float) else float(value)


#: The plain value of a class of the app's that derives from one of JSON's types.
_DERIVED: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, text_of),
    (int, _whole),
    (float, _float),
    (dict, lambda value: dict(value.items())),
    (list, list),
    (tuple, list),
)


def is_timestamp(value: Any) -> bool:
    """Whether it is one of MessagePack's timestamps; `simple` makes text of it."""
    kind = type(value)
    return (kind.__module__, kind.__qualname__) == _TIMESTAMP


def _date(stamp: Any) -> str | None:
    """A timestamp of MessagePack as ISO 8601; `None` for a year that it has no digits for."""
    try:
        return _iso(stamp.to_datetime())
    except OverflowError:
        return None  # as JavaScript writes an invalid `Date`


def _iso(value: Any) -> str:
    try:
        # A zone's offset in whole minutes: ISO 8601 and browsers know no seconds in it.
        return orjson.dumps(value).decode()[1:-1]
    except TypeError:  # a time with a zone, or of a class that derives from these
        return str(value.isoformat())


class _Plain:
    """Converts values to dicts, lists, strings, numbers, booleans and None."""

    #: Types of values that stay unchanged.
    kept: tuple[type, ...] = (bool, type(None))

    def __init__(self, holes: list[bytes] | None) -> None:
        self.holes = holes
        self._path: list[Any] = []  # the keys on the way to the current value

    def of(self, value: Any) -> Any:
        """The converted value; raises `TypeError` and `ValueError` as `write` does."""
        try:
            with uncollected():
                return self._made(value)
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None

    def _made(self, value: Any) -> Any:
        path = self._path
        if isinstance(value, self.kept):
            if issubclass(type(value), self.kept):
                return value
            return None if isinstance(value, type(None)) else simple(value)  # a proxy
        if isinstance(value, enum.Enum):
            return self._made(value.value)
        if isinstance(value, dict):
            fields = {}
            for key, item in value.items():
                path.append(key)
                fields[self._key(key)] = self._made(item)
                path.pop()
            return fields
        if isinstance(value, (list, tuple)):
            items = []
            for at, item in enumerate(value):
                path.append(at)
                items.append(self._made(item))
                path.pop()
            return items
        if isinstance(value, _BYTES):
            return self._binary(value)
        if isinstance(value, (str, int, float)):
            return self._scalar(value)
        try:
            made = simple(value)
        except TypeError:
            fix = _NO_FUNCTION if isinstance(value, FUNCTIONS) else _FIX
            raise self._cannot(value, f"is of a wrong type: {fix}") from None
        except AttributeError as error:
            raise self._cannot(value, f"has a field without a value: {error}") from None
        return self._made(made)

    def _scalar(self, value: str | int | float) -> Any:
        if isinstance(value, str):
            return text_of(value)
        if isinstance(value, int):
            return _whole(value)
        return _float(value) if math.isfinite(value) else None

    def _binary(self, value: Any) -> Any:
        if self.holes is None:
            raise self._cannot(value, "is binary, which only events and acknowledgements can carry")
        return _hole(value, self.holes)

    def _key(self, key: Any) -> Any:
        if isinstance(key, enum.Enum):
            return self._key(key.value)
        if isinstance(key, str):
            return self._scalar(key)
        if key is None or isinstance(key, (bool, float)):
            return write(key)
        if isinstance(key, int):
            return int.__repr__(key)
        if isinstance(key, (*_TIMES, uuid.UUID, decimal.Decimal)):
            return str(simple(key))
        raise self._cannot(key, "cannot be a key: give a string or a number")

    def _cannot(self, value: Any, why: str) -> TypeError:
        try:
            said = repr(value)
        except Exception:  # noqa: BLE001  (the app's own, or a number of too many digits)
            said = f"a {type(value).__name__}"
        said = said if len(said) <= 80 else f"{said[:77]}..."
        where = "".join(f"[{key!r:.40}]" for key in self._path[:8])
        return TypeError(f"{said}{' at ' if where else ''}{where} {why}")


class _Left(_Plain):
    """Replaces bytes with placeholders, and leaves the rest unchanged."""

    kept = (str, int, float, type(None))

    def _made(self, value: Any) -> Any:
        plain = type(value) in (dict, list, tuple) or isinstance(value, _BYTES)
        return super()._made(value) if plain else value

    def _key(self, key: Any) -> Any:
        return key


class _Finite(_Left):
    """Replaces NaN and Infinity with None, and leaves the rest unchanged."""

    def _made(self, value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return super()._made(value)

    def _binary(self, value: Any) -> Any:
        return value  # an attachment, for a packet class of the app's


# -- MessagePack -----------------------------------------------------------------------------------


def pack(fields: dict[str, Any]) -> bytes:
    """A packet's fields as MessagePack. Raises as `write` does."""
    import msgpack  # type: ignore[import-untyped]  # an extra, for serializer="msgpack"

    try:
        if not _strange_keys(fields):
            return bytes(msgpack.packb(fields, default=_packable, strict_types=True))
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError, BufferError):
        pass
    plain = _Packable(None)
    plain.kept = (*plain.kept, msgpack.ExtType, msgpack.Timestamp)
    made = {**fields, "data": plain.of(fields.get("data"))}
    try:
        return bytes(msgpack.packb(made))
    except (ValueError, RecursionError):
        raise ValueError(_TOO_DEEP) from None


def _packable(value: Any) -> Any:
    made = simple(value)
    if isinstance(made, (dict, list, tuple)) and _strange_keys(made):  # in a dataclass, for example
        raise TypeError
    return made


def _strange_keys(value: Any) -> bool:
    level = [value]
    for _ in range(_PACKABLE):
        below: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                if set(map(type, node)) - {str}:
                    return True
                below += node.values()
            else:
                below += node
        level = [node for node in below if isinstance(node, (dict, list, tuple))]
    return bool(level)  # too deep, or circular


class _Packable(_Plain):
    """Converts to values of MessagePack, which has bytes and NaN but no integers over 64 bits."""

    def _scalar(self, value: str | int | float) -> Any:
        if isinstance(value, float):
            return _float(value)
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
            raise self._cannot(value, "has over 64 bits: send it as a string or a float")
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise self._cannot(value, "is not valid Unicode: it has a lone surrogate") from None
        return super()._scalar(value)

    def _binary(self, value: Any) -> Any:
        return bytes(value)
