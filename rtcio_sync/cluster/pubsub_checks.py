"""Checks the messages of a pub/sub channel before anything is done with them. Pure.

Anybody who reaches the channel may publish on it: python-socketio's servers and its write-only
managers, other versions of this package, and other programs. So a message is checked like one of a
client: if a field of its method is missing or invalid, `ProtocolError` is raised and only this
message is lost. The methods and their fields are those of python-socketio's ``PubSubManager``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

import orjson

from ..errors import OptionError, ProtocolError
from ..events import RESERVED_EVENTS, RtcioEvents
from ..protocol.envelope import Drop, filled, placeholders_fit, read
from ..protocol.names import namespace_name

__all__ = [
    "LARGEST", "attachments_in", "check", "check_relay", "data_in", "opened", "with_attachments",
]  # fmt: skip

#: Bytes of the largest message that is read: a connection cannot be sent more.
LARGEST = 64_000_000


def opened(message: Any, loads: Callable[[Any], Any]) -> dict[str, Any]:
    """The object of a message, which may be text. Raises `ProtocolError` for anything else."""
    if not isinstance(message, dict):
        if not isinstance(message, (str, bytes, bytearray)) or len(message) > LARGEST:
            raise ProtocolError(Drop.CHANNEL)
        try:
            message = loads(message)
        except Exception:  # noqa: BLE001  (too deep, no UTF-8, no JSON; an app's own module)
            raise ProtocolError(Drop.CHANNEL) from None
    if not isinstance(message, dict):
        raise ProtocolError(Drop.CHANNEL)
    return message


def check(method: str, message: dict[str, Any]) -> None:
    """Raises `ProtocolError` for a message without all fields that its method needs."""
    _check(message, _FIELDS[method])
    if message.get("callback") is not None and not _is_text(message.get("host_id")):
        raise ProtocolError(Drop.CHANNEL)  # the answer would have no destination


def check_relay(relay: Any, most: int | None) -> list[bytes]:
    """The attachments of a relay that another process published; at most ``most`` are allowed.

    Raises `ProtocolError` for a relay that no client of ours could have sent.
    """
    _check(relay, _RELAY)
    attachments = attachments_in(relay["attachments"])
    payload = _payload(relay["raw"])
    if most is not None and len(attachments) > most:
        raise ProtocolError(Drop.CHANNEL)
    # For a receiver, an unreadable message is a fault of its server: it closes the connection.
    if attachments and not placeholders_fit(payload, len(attachments)):
        raise ProtocolError(Drop.CHANNEL)
    if not isinstance(payload, dict) or payload.get("target") != relay["target"]:
        raise ProtocolError(Drop.CHANNEL)
    return attachments


def _payload(raw: str) -> Any:
    try:
        return orjson.loads(raw)
    except ValueError:  # JSON that orjson refuses: read it as a client's message
        try:
            envelope = read(f'2["{RtcioEvents.MESSAGE}",{raw}]')
        except ProtocolError:
            return None
        return envelope.payload if envelope is not None and envelope.raw == raw.strip() else None


def attachments_in(texts: Any) -> list[bytes]:
    """Attachments from base64. Raises `ProtocolError` for invalid base64."""
    try:
        return [base64.b64decode(each, validate=True) for each in texts]
    except (TypeError, ValueError, binascii.Error):
        raise ProtocolError(Drop.CHANNEL) from None


def with_attachments(plain: Any, texts: Any, put_in: Callable[[Any, list[bytes]], Any]) -> Any:
    """``plain`` with attachments in place of its placeholders, which have to match one to one."""
    attachments = attachments_in(texts)
    if not placeholders_fit(plain, len(attachments)):
        raise ProtocolError(Drop.CHANNEL)
    return put_in(plain, attachments)


def data_in(message: dict[str, Any]) -> Any:
    """The data of an emit, as `RoomIndex.emit` takes it; a tuple means several arguments."""
    if "data" not in message:
        raise ProtocolError(Drop.CHANNEL)
    data = message["data"]
    if message.get("binary"):
        if not isinstance(data, list) or not data:
            raise ProtocolError(Drop.CHANNEL)
        data = with_attachments(data[0], data[1:], filled)
    if not isinstance(data, list) or (len(data) == 1 and not message.get("rtcio_null")):
        return data[0] if isinstance(data, list) else data
    return tuple(data)


def _check(message: Any, fields: dict[str, Callable[[Any], bool]]) -> None:
    if not isinstance(message, dict) or not all(
        fits(message.get(name)) for name, fits in fields.items()
    ):
        raise ProtocolError(Drop.CHANNEL)


# -- checks of fields ------------------------------------------------------------------------------


def _is_anything(value: Any) -> bool:
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_namespace(value: Any) -> bool:
    """`None`, or what the server's methods take for the name of one namespace."""
    if not (value is None or isinstance(value, str)):
        return False
    try:
        namespace_name(value)
    except OptionError:
        return False
    return True


def _is_room(value: Any) -> bool:
    return isinstance(value, (str, int, float))


def _are_rooms(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_room, value))


def _is_whom(value: Any) -> bool:
    return value is None or _is_room(value) or _are_rooms(value)


def _are_rooms_or_nothing(value: Any) -> bool:
    return value is None or _are_rooms(value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_event(value: Any) -> bool:
    return isinstance(value, str) and value not in RESERVED_EVENTS


def _is_number(value: Any) -> bool:
    return isinstance(value, int)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_callback(value: Any) -> bool:
    """`None`, or the place of a callback: room, namespace and number."""
    if value is None:
        return True
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        return False
    room, namespace, number = value
    return _is_room(room) and _is_namespace(namespace) and _is_number(number)


_FIELDS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "emit": {
        "event": _is_event,
        "data": _is_anything,
        "namespace": _is_namespace,
        "room": _is_whom,
        "skip_sid": _is_whom,
        "callback": _is_callback,
    },
    "callback": {"sid": _is_room, "id": _is_number, "args": _is_list},
    "disconnect": {"sid": _is_text, "namespace": _is_namespace},
    "enter_room": {"sid": _is_text, "namespace": _is_namespace, "room": _is_room},
    "leave_room": {"sid": _is_text, "namespace": _is_namespace, "room": _is_room},
    "close_room": {"namespace": _is_namespace, "room": _is_room},
}

_RELAY: dict[str, Callable[[Any], bool]] = {
    "target": _is_text,
    "namespace": _is_text,
    "raw": _is_text,
    "attachments": _are_texts,
    "rooms": _are_rooms_or_nothing,
}
