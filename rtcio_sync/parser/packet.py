"""Socket.IO packets with a JSON module of their own.

python-socketio sets a server's ``json=`` on the class that all servers of the process share; here
each server that was given one has a class for itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
from engineio.packet import MESSAGE
from socketio.packet import ACK, BINARY_ACK, BINARY_EVENT, CONNECT, EVENT, Packet

from ..errors import ProtocolError
from ..logs import plain
from ..protocol.envelope import filled
from ..protocol.json_hooks import integer, refuse_constant
from ..protocol.websocket_frames import frame_typed
from .encoding import OPTIONS, finite, holes_of, pack, parted, simple, write

__all__ = [
    "FastJson",
    "TextPacket",
    "connect_piece",
    "event_frame",
    "event_pieces",
    "is_stock",
    "numbered",
    "packet_class",
    "parts_of",
]

_MSGPACK = "socketio.msgpack_packet"

#: Packets that may carry bytes, and what they are then.
_BINARY = {EVENT: BINARY_EVENT, ACK: BINARY_ACK, BINARY_EVENT: BINARY_EVENT, BINARY_ACK: BINARY_ACK}


class FastJson:
    """orjson, and the standard module for what orjson refuses and JSON has."""

    @staticmethod
    def loads(text: str | bytes, **_: Any) -> Any:
        """Raises `ValueError` for what is not JSON (RFC 8259), NaN and Infinity included."""
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return json.loads(text, parse_constant=refuse_constant, parse_int=integer)

    @staticmethod
    def dumps(value: Any, **_: Any) -> str:
        """Raises `TypeError` for what JSON cannot hold, and `ValueError` for what is too deep."""
        return write(value)


class TextPacket(Packet):
    """python-socketio's packet on `FastJson`, or on a JSON module of an app's own."""

    json = FastJson
    packet_type: int

    @classmethod
    def data_is_binary(cls, data: Any) -> bool:
        return False  # upstream walks it all to see that; here it is seen while it is encoded

    def encode(self) -> Any:
        """The packet's text or, with attachments, a list of it and them.

        Raises `TypeError` and `ValueError` for data that cannot be sent, and names the event.
        """
        kind: int = self.packet_type
        holes: list[bytes] = []
        try:
            text = self._text(holes)
        except ProtocolError:
            raise
        except (TypeError, ValueError) as error:
            raise unsendable(self, error) from None
        if holes:
            kind = self.packet_type = _BINARY[kind]
        number = f"{len(holes)}-" if kind in (BINARY_EVENT, BINARY_ACK) else ""
        where = "" if self.namespace in (None, "/") else f"{self.namespace},"
        encoded = f"{kind}{number}{where}{'' if self.id is None else self.id}{text}"
        return [encoded, *holes] if number else encoded

    def _text(self, holes: list[bytes]) -> str:
        if self.data is None:
            return ""
        carries = self.packet_type in _BINARY
        if self.json is FastJson:
            return write(self.data, holes if carries else None)
        data, found = holes_of(self.data)
        if found and not carries:
            raise TypeError("it has bytes, which only events and acknowledgements can carry")
        holes += found
        try:
            text = self._dumped(data)
            if _may_be_no_json(text):
                text = self._dumped(finite(data))
        except RecursionError:
            raise ValueError("it has more levels than its JSON module can write") from None
        return text

    def _dumped(self, data: Any) -> str:
        return str(self.json.dumps(data, separators=(",", ":")))

    @classmethod
    def reconstruct_binary(cls, data: Any, attachments: list[Any]) -> Any:
        return filled(data, attachments)

    @classmethod
    def deconstruct_binary(cls, data: Any) -> tuple[Any, list[bytes]]:
        return holes_of(data)


#: What the data of other packets than events is; a test client sends CONNECT.
_WITHOUT_A_NAME = {ACK: "an acknowledgement", BINARY_ACK: "an acknowledgement", CONNECT: "auth"}


def unsendable(pkt: Any, error: Exception) -> Exception:
    """``error`` with the name of the event that it is about."""
    name = pkt.data[0] if pkt.packet_type in (EVENT, BINARY_EVENT) and pkt.data else None
    what = f"the event '{plain(name)}'"
    if name is None:
        what = _WITHOUT_A_NAME.get(pkt.packet_type, "a refusal")
    kind = TypeError if isinstance(error, TypeError) else ValueError
    return kind(f"{what} cannot be sent: {error}")


def parts_of(json_module: Any, value: Any) -> tuple[Any, list[bytes]]:
    """``value`` as ``json_module`` is to write it, and the bytes in it, as attachments.

    Raises `TypeError` and `ValueError` for what cannot be sent.
    """
    return parted(value) if json_module is FastJson else holes_of(value)


#: What an event of ``"/"`` begins with: the digits of Engine.IO's and of Socket.IO's packet.
_ROOT_EVENT = f"{MESSAGE}{EVENT}".encode()


def event_frame(kind: Any, namespace: str, arguments: list[Any]) -> bytes | None:
    """An event as a WebSocket frame; `None`: only `event_pieces` can encode it.

    The short way for what orjson takes, which are most events.
    """
    if kind is not TextPacket:
        return None
    try:
        text = orjson.dumps(arguments, simple, OPTIONS)
    except (TypeError, ValueError):  # bytes, for example
        return None
    begin = _ROOT_EVENT if namespace == "/" else b"%b%b," % (_ROOT_EVENT, namespace.encode())
    return frame_typed(begin, text)


def event_pieces(
    kind: Any,
    namespace: str,
    arguments: list[Any],
    number: int | None = None,
    packet_type: int = EVENT,
) -> list[str | bytes]:
    """An event as packets of the class ``kind``: its text, then its attachments, if it has any.

    ``packet_type``: ``ACK`` for an acknowledgement.
    """
    if kind is TextPacket:
        # orjson knows no bytes: what it takes has no attachments, and need not be searched for any.
        try:
            text = orjson.dumps(arguments, simple, OPTIONS).decode()
        except (TypeError, ValueError):
            pass
        else:
            where = "" if namespace == "/" else f"{namespace},"
            return [f"{packet_type}{where}{'' if number is None else number}{text}"]
    made = kind(packet_type, namespace=namespace, data=arguments, id=number).encode()
    pieces: list[str | bytes] = made if isinstance(made, list) else [made]
    first = pieces[0]
    if isinstance(first, str) and kind.encode is Packet.encode and _may_be_no_json(first):
        made = kind(packet_type, namespace=namespace, data=finite(arguments), id=number).encode()
        pieces = made if isinstance(made, list) else [made]
    return pieces


def numbered(kind: Any, namespace: str, arguments: list[Any]) -> Callable[[int], list[str | bytes]]:
    """`event_pieces` by the number, for an event of which each recipient gets another number.

    The arguments are encoded once, for the first number that is asked for.
    """
    if getattr(kind, "encode", None) is not TextPacket.encode:
        return partial(event_pieces, kind, namespace, arguments)
    made: list[Any] = []

    def pieces(number: int) -> list[str | bytes]:
        made[:] = made or event_pieces(kind, namespace, arguments)
        text, *attachments = made
        start = f"{BINARY_EVENT}{len(attachments)}-" if attachments else f"{EVENT}"
        at = len(start) + (0 if namespace == "/" else len(f"{namespace},"))
        return [f"{text[:at]}{number}{text[at:]}", *attachments]

    return pieces


def _may_be_no_json(text: str) -> bool:
    """Whether it may have a number that JSON does not have.

    Python's own module writes them, and no browser reads it: one client could end the connections
    of all who get what it has sent.
    """
    return "NaN" in text or "Infinity" in text


def connect_piece(kind: Any, namespace: str, data: dict[str, str]) -> str | bytes:
    """The CONNECT packet that answers a client's, as a packet of the class ``kind``."""
    if kind is TextPacket:
        where = "" if namespace == "/" else f"{namespace},"
        return f"{CONNECT}{where}{orjson.dumps(data).decode()}"
    made = kind(CONNECT, data=data, namespace=namespace).encode()
    piece: str | bytes = made[0] if isinstance(made, list) else made
    return piece


def is_stock(chosen: Any) -> bool:
    """Whether a packet class is one of python-socketio's, and runs no code of the app's."""
    if chosen is Packet:
        return True
    # By its name: to import the module takes an extra. `configure` makes others there.
    return (chosen.__module__, chosen.__qualname__) == (_MSGPACK, "MsgPackPacket")


def packet_class(chosen: Any, json_module: Any) -> Any:
    """The packet class of one server that asked for ``chosen`` and ``json_module`` (or `None`)."""
    if json_module is not None:
        base = TextPacket if chosen is Packet else chosen
        return type(chosen.__name__, (base,), {"json": json_module})
    if chosen is Packet:
        return TextPacket
    if chosen.__module__ == _MSGPACK:
        ours: dict[str, Any] = {"ext_hook": staticmethod(_undefined(chosen))}
        ours["encode"] = _packed if chosen.dumps_default is None else _packed_by(chosen)
        return type(chosen.__name__, (chosen,), ours)
    return chosen


def _packed(self: Any) -> bytes:
    try:
        fields = {"type": self.packet_type, "data": self.data, "nsp": self.namespace}
        if self.data is None:  # socket.io-msgpack-parser refuses a DISCONNECT with data, nil too
            del fields["data"]
        return pack(fields if self.id is None else {**fields, "id": self.id})
    except (TypeError, ValueError) as error:
        raise unsendable(self, error) from None


def _packed_by(chosen: Any) -> Any:
    """The same for a class that packs what it carries by itself."""

    def encode(self: Any) -> bytes:
        packed: bytes = _packed(self) if self.data is None else chosen.encode(self)
        return packed

    return encode


LAST_DATE = 8_640_000_000_000_000  # of JavaScript, in milliseconds


def _undefined(chosen: Any) -> Any:
    """A hook that takes JavaScript's ``undefined`` for `None`.

    socket.io-msgpack-parser writes it as extension 0, and puts it into each CONNECT without auth.
    In Node it writes an ``ArrayBuffer`` or ``Uint8Array`` as extension 0 too, and anywhere a date.
    Unless the app has a hook of its own, the former are bytes: as an extension, those with certain
    lengths would be another value for whoever they are sent on to.
    """
    others, stock = chosen.ext_hook, is_stock(chosen)

    def hook(code: int, data: bytes) -> Any:
        if code == 0 and data == b"\0":
            return None
        return data if stock and code == 0 and not _is_date(data) else others(code, data)

    return hook


def _is_date(data: bytes) -> bool:
    return len(data) == 8 and abs(int.from_bytes(data, "big", signed=True)) <= LAST_DATE
