"""Messages of Node's ``@socket.io/redis-emitter``, as messages between nodes. Pure.

What it publishes, for an emitter with the key ``KEY`` in the namespace ``NSP``:

- on ``KEY#NSP#``, or on ``KEY#NSP#ROOM#`` if exactly one room is named, an event. MessagePack: an
  array of the text ``emitter``; a packet with ``type`` 2, ``nsp``, and the event's name and
  arguments as ``data``; and options with the arrays ``rooms`` (none: all sockets) and ``except``,
  and ``flags`` (``volatile``).
- on ``KEY-request#NSP#``, what sockets are to do. JSON: an object with ``type`` 2 (join), 3 (leave)
  or 4 (disconnect); ``opts`` with ``rooms`` and ``except`` as above; the ``rooms`` to join or
  leave; and ``close``, for 4: whether connections end, too.

Node's servers with the Redis adapter publish on the same channels, under names of their own instead
of ``emitter``. Their messages are not for us.
"""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

import msgspec
import orjson

from ..errors import ProtocolError
from ..events import RESERVED_EVENTS
from ..parser.packet import TextPacket
from ..protocol.envelope import Drop
from . import messages
from .messages import Kind, encoded
from .pubsub_checks import LARGEST
from .shared_rooms import body_of

__all__ = ["asked_by_node", "patterns"]

EMITTER, EVENT = "emitter", 2
_REQUESTS = {2: "join", 3: "leave", 4: "disconnect"}
_UNDEFINED = 0  # the code of JavaScript's ``undefined`` among the extensions of MessagePack
_SPECIAL = "*?[]^-\\"  # in a pattern


def patterns(key: str) -> list[str]:
    """What to subscribe to, for emitters with this key."""
    plain = "".join(f"\\{each}" if each in _SPECIAL else each for each in key)
    return [f"{plain}#*", f"{plain}-request#*"]


def asked_by_node(key: str, channel: bytes, data: Any) -> tuple[int, bytes] | None:
    """A message as one between nodes: its kind and its body. `None`: it is not for us.

    Raises `ProtocolError` for what cannot be read, and what `encoded` and `body_of` raise.
    """
    if not isinstance(data, bytes) or len(data) > LARGEST:
        raise ProtocolError(Drop.CHANNEL)
    request = f"{key}-request#".encode()
    if channel.startswith(request):
        return _request(channel[len(request) : -1].decode(), data)
    return _emit(data)


def _emit(data: bytes) -> tuple[int, bytes] | None:
    try:
        found = msgspec.msgpack.decode(data, ext_hook=_extension)
        name, packet, options = found
        event, *arguments = packet["data"]
        kind, namespace = packet["type"], packet["nsp"]
    except (msgspec.MsgspecError, TypeError, ValueError, LookupError, RecursionError):
        raise ProtocolError(Drop.CHANNEL) from None
    if name != EMITTER:
        return None
    if kind != EVENT or not isinstance(event, str) or event in RESERVED_EVENTS:
        raise ProtocolError(Drop.CHANNEL)
    rooms, skip = _where(options)
    body, attachments = body_of(TextPacket, [event, *map(_as_json, arguments)])
    emit = messages.Emit(_namespace(namespace), rooms, skip, body, attachments)
    flags = options.get("flags")
    emit.volatile = isinstance(flags, dict) and flags.get("volatile") is True
    return Kind.EMIT, encoded(emit)


def _request(namespace: str, data: bytes) -> tuple[int, bytes] | None:
    try:
        asked = orjson.loads(data)
        if "requestId" in asked or asked.get("uid", EMITTER) != EMITTER:
            return None
        what = _REQUESTS[asked["type"]]
    except (ValueError, TypeError, LookupError, AttributeError):
        raise ProtocolError(Drop.CHANNEL) from None
    rooms, skip = _where(asked.get("opts"))
    named = _texts(asked.get("rooms")) if what != "disconnect" else []
    if what == "disconnect" and asked.get("close") is True:
        what = "close"
    made = messages.Many(_namespace(namespace), rooms, skip, what, named, 0)
    return Kind.MANY, encoded(made)


def _where(options: Any) -> tuple[list[Any] | None, list[Any]]:
    """The rooms, `None` for all, and those that are left out."""
    if not isinstance(options, dict):
        raise ProtocolError(Drop.CHANNEL)
    return _texts(options.get("rooms")) or None, _texts(options.get("except", []))


def _texts(given: Any) -> list[Any]:
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise ProtocolError(Drop.CHANNEL)
    return given


def _namespace(name: Any) -> str:
    if not isinstance(name, str) or not name.startswith("/"):
        raise ProtocolError(Drop.CHANNEL)
    return name


def _extension(code: int, data: memoryview) -> Any:
    if code == _UNDEFINED:
        return None
    raise ValueError(code)


def _as_json(value: Any) -> Any:
    """What JavaScript makes of it in JSON; bytes stay."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ProtocolError(Drop.CHANNEL)
        return {key: _as_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    if isinstance(value, datetime):
        at = value.astimezone(timezone.utc)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
