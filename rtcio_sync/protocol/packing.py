"""Structures and values as MessagePack, for another process of the same app. Pure.

A `Struct` has typed fields. The values of an app have none: `pack` carries what JSON has, and
bytes, tuples, sets and large integers, so that each comes back as the type that it was. Anything
else is refused: a value that came back as another type would break the app later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..errors import CannotPack
from .json_hooks import is_unicode

__all__ = ["Struct", "pack", "unpack"]

_LEVELS = 100  # of containers in containers
_LARGE = 1 << 63

_PLAIN = frozenset({type(None), bool, float, bytes})

# Extension types of MessagePack.
_INT, _TEXT, _TUPLE, _SET, _FROZENSET, _BYTEARRAY, _DICT = range(1, 8)


class Struct(msgspec.Struct, array_like=True, gc=False):
    """A structure whose fields are sent in their order.

    A later release adds fields at the end, with a default: this one does not read them.
    """


def pack(value: Any) -> bytes:
    """The bytes of a value. Raises `CannotPack`."""
    return _encode(_plain(value, 0))


def unpack(packed: bytes) -> Any:
    """The value. Raises `ValueError` for bytes that `pack` has not made."""
    return _decode(packed)


def _plain(value: Any, level: int) -> Any:
    """The value with nothing in it but what MessagePack has."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is str:
        return value if is_unicode(value) else _ext(_TEXT, value.encode("utf-8", "surrogatepass"))
    if kind is int:
        return value if -_LARGE <= value < _LARGE else _ext(_INT, hex(value).encode())
    if level > _LEVELS:
        raise CannotPack(f"a value of over {_LEVELS} levels, or one that contains itself")
    if kind is list:
        return [_plain(each, level + 1) for each in value]
    if kind is dict:
        return _of_dict(value, level + 1)
    if kind is bytearray:
        return _ext(_BYTEARRAY, bytes(value))
    code = _SEQUENCES.get(kind)
    if code is None:
        name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        raise CannotPack(f"a value of type {name}")
    return _ext(code, _encode([_plain(each, level + 1) for each in value]))


def _of_dict(value: dict[Any, Any], level: int) -> Any:
    if all(type(key) is str and is_unicode(key) for key in value):
        return {key: _plain(each, level) for key, each in value.items()}
    pairs = [[_plain(key, level), _plain(each, level)] for key, each in value.items()]
    return _ext(_DICT, _encode(pairs))


_SEQUENCES: dict[Any, int] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}

_ext = msgspec.msgpack.Ext


_MADE: dict[int, Callable[[bytes], Any]] = {
    _INT: lambda data: int(data, 16),
    _TEXT: lambda data: data.decode("utf-8", "surrogatepass"),
    _TUPLE: lambda data: tuple(_decode(data)),
    _SET: lambda data: set(_decode(data)),
    _FROZENSET: lambda data: frozenset(_decode(data)),
    _BYTEARRAY: bytearray,
    _DICT: lambda data: dict(_decode(data)),
}


def _made(code: int, data: memoryview) -> Any:
    make = _MADE.get(code)
    if make is None:
        raise ValueError(f"extension {code} is unknown")
    return make(bytes(data))


_encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
_decode: Callable[[bytes], Any] = msgspec.msgpack.Decoder(ext_hook=_made).decode
