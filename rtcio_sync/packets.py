"""Socket.IO packets with a JSON module of their own.

python-socketio sets a server's ``json=`` on the class that all servers of the process share; here
each server that was given one has a class for itself.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import orjson
from socketio.packet import EVENT, Packet

__all__ = ["FastJson", "TextPacket", "event_pieces", "packet_class"]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # more digits than Python's own limit; a browser reads them
        return float(digits)


def _no_nan(value: Any) -> Any:
    # As orjson does it, and JavaScript: null.
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _no_nan(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_no_nan(each) for each in value]
    return value


class FastJson:
    """orjson, and the standard module for what orjson refuses and JSON has."""

    @staticmethod
    def loads(text: str | bytes, **_: Any) -> Any:
        """Raises `ValueError` for what is not JSON (RFC 8259), NaN and Infinity included."""
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return json.loads(text, parse_constant=_refuse_constant, parse_int=_integer)

    @staticmethod
    def dumps(value: Any, **_: Any) -> str:
        """Raises `TypeError` for what JSON cannot hold."""
        try:
            return orjson.dumps(value).decode()
        except (TypeError, ValueError):
            return json.dumps(_no_nan(value), separators=(",", ":"), allow_nan=False)


class TextPacket(Packet):
    """python-socketio's packet on `FastJson`."""

    json = FastJson


def event_pieces(
    kind: Any, namespace: str, arguments: list[Any], number: int | None = None
) -> list[str | bytes]:
    """An event as packets of the class ``kind``: its text, then its attachments, if it has any."""
    if kind is TextPacket:
        # orjson knows no bytes: what it takes has no attachments, and need not be searched for any.
        try:
            text = orjson.dumps(arguments).decode()
        except (TypeError, ValueError):
            pass
        else:
            where = "" if namespace == "/" else f"{namespace},"
            return [f"2{where}{'' if number is None else number}{text}"]
    made = kind(EVENT, namespace=namespace, data=arguments, id=number).encode()
    return made if isinstance(made, list) else [made]


def packet_class(chosen: Any, json_module: Any) -> Any:
    """The packet class of one server that asked for ``chosen`` and ``json_module`` (or `None`)."""
    if json_module is not None:
        return type(chosen.__name__, (chosen,), {"json": json_module})
    if chosen is Packet:
        return TextPacket
    if chosen.__module__ == "socketio.msgpack_packet":
        return type(chosen.__name__, (chosen,), {"ext_hook": staticmethod(_undefined(chosen))})
    return chosen


def _undefined(chosen: Any) -> Any:
    """A hook that takes JavaScript's ``undefined`` for `None`.

    socket.io-msgpack-parser writes it as extension 0, and puts it into each CONNECT without auth.
    """
    others = chosen.ext_hook

    def hook(code: int, data: bytes) -> Any:
        return None if code == 0 and data == b"\0" else others(code, data)

    return hook
