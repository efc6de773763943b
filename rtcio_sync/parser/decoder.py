"""Decodes messages into Socket.IO packets: counts the values first, then decodes, then fills in the
attachments.

The time and memory of decoding depend on the number of values, so a message over `Limits` is
refused before it is decoded (`message_bounds`). A message that cannot be read raises
`ProtocolError`. Nothing here blocks. With the app's own JSON module or packet class it is called
in greenlets only.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, overload

import orjson
from socketio import packet

from ..client_limits import announced_attachments, check_attachments
from ..errors import ProtocolError
from ..events import RtcioEvents
from ..garbage_collector import collects, uncollected
from ..options import Limits
from ..protocol.envelope import placeholders_fit
from ..protocol.packing import Struct
from .message_bounds import (
    PACKED_HEAD,
    SURE,
    VALUE_BYTES,
    Head,
    OverBound,
    Weight,
    head_of,
    measure,
    packed_head,
    unpack,
    weigh,
)
from .packet import FastJson, TextPacket

__all__ = ["ACKS", "EVENTS", "Decoded", "Decoder", "Partial", "PartialState"]

EVENTS = (packet.EVENT, packet.BINARY_EVENT)
ACKS = (packet.ACK, packet.BINARY_ACK)
_LISTS = (*EVENTS, *ACKS)
_PLAIN = (packet.EVENT, packet.ACK)
_EVENT = ord(b"2")
_BINARY_ACK = b"6"
_ACK_TYPES = (b"3", _BINARY_ACK)
_BEFORE_VALUES = b"[{,"
_USUAL = Head(packet.EVENT, 0, "/", 1)

#: Bytes of a message that may hold very many values: the garbage collector would look through them
#: again and again while they are made, which costs seven times as much as the decoding.
LARGE = 20_000

#: The label of a CONNECT whose ``auth`` is over its bounds.
AUTH = "auth"


class Decoded(NamedTuple):
    """A whole packet, its text if it has one, and its attachments."""

    packet: Any
    text: str | None
    attachments: list[bytes]
    #: The bytes of memory of the packet, roughly.
    size: int


class PartialState(Struct):
    """A `Partial` for another process, which decodes the text again."""

    announced: int
    text: str
    held: int
    dropped: bool
    attachments: list[bytes]
    size: int


class Partial:
    """A packet whose attachments are still to come."""

    __slots__ = ("announced", "attachments", "dropped", "held", "packet", "raw", "size")

    def __init__(self, announced: int, raw: bytes, pkt: Any, held: int) -> None:
        self.announced = announced
        #: Its text as bytes: one character may make a string of it four times as large.
        self.raw = raw
        #: `None`: not decoded yet, because it would be large and its attachments may never come.
        self.packet = pkt
        #: Whether it is refused: its attachments still have to be read, before the next packet.
        self.dropped = False
        self.attachments: list[bytes] = []
        #: The bytes received, and the bytes of memory when decoded.
        self.size = len(raw) if raw.isascii() else len(self.text)
        self.held = held

    @property
    def text(self) -> str:
        """Its text."""
        return self.raw.decode()

    def state(self) -> PartialState:
        """What another process has to know of it."""
        attachments = list(self.attachments)
        return PartialState(
            self.announced, self.text, self.held, self.dropped, attachments, self.size
        )

    @classmethod
    def of(cls, state: PartialState) -> Partial:
        """One that has begun in another process."""
        made = cls(state.announced, state.text.encode(), None, state.held)
        made.dropped, made.size = state.dropped, state.size
        made.attachments = state.attachments
        return made


class Form(enum.Enum):
    """The encoding of a server's packets."""

    TEXT = enum.auto()  #: a head and JSON, attachments in messages of their own
    PACKED = enum.auto()  #: MessagePack
    FOREIGN = enum.auto()  #: the encoding of the app's own packet class


def form_of(packet_class: Any) -> Form:
    """The encoding of packets of ``packet_class``."""
    if packet_class.decode is packet.Packet.decode and packet_class.uses_binary_events:
        return Form.TEXT
    # By its name: to import the module takes an extra.
    stock = packet_class.decode.__module__ == "socketio.msgpack_packet"
    return Form.PACKED if stock else Form.FOREIGN


class Decoder:
    """Decodes the messages of one server's clients."""

    def __init__(
        self,
        packet_class: Any,
        *,
        limits_of: Callable[[str], Limits],
        max_size: int,
        refuse: Callable[[Any, Head | None, str], None],
    ) -> None:
        self.packet_class = packet_class
        self.form = form_of(packet_class)
        #: Whether only our own code decodes packets.
        self.stock = packet_class is TextPacket
        self.limits_of = limits_of
        self.max_size = max_size
        #: Called for each message that is over a bound: ``(link, head, label)``.
        self.refuse = refuse
        self.settle()

    def settle(self) -> None:
        """Reads the limits of ``"/"`` again after a change."""
        self._depth, self._values = _bounds(_USUAL, self.limits_of("/"))
        #: Values that an event in ``"/"`` may have, whatever its levels.
        self._few = min(_least(self._depth, SURE), _least(self._values, SURE))

    def event(self, message: bytes) -> tuple[int | None, list[Any], int] | None:
        """The usual event of ``"/"``, small and without attachments; `None`: use `decode`.

        A short way for a text message when no attachments are missing: the number of the
        acknowledgement or `None`, the name and the arguments, and the size as in `Decoded`.
        """
        start = message.find(b"[", 2, 22)  # after the number, if there is one
        length = len(message)
        if start < 0 or message[1] != _EVENT or not self.stock or length > LARGE:
            return None
        number = None
        if start > 2:
            digits = message[2:start]
            if not digits.isdigit():
                return None
            number = int(digits)
        # One pass, which takes less than half the time of three `count`.
        most = length - len(message.translate(None, _BEFORE_VALUES))
        if most > self._few and self._may_be_over(message, most):
            return None
        try:
            data = orjson.loads(message[start:])
        except ValueError:  # `decode` says what is wrong, or reads what orjson does not
            return None
        return number, data, length + VALUE_BYTES * most

    def _may_be_over(self, message: bytes, most: int) -> bool:
        """Whether an event of ``most`` values may be over a bound; `decode` looks closely."""
        depth = self._depth
        if most > _least(self._values, SURE):
            return True
        return depth is not None and message.count(b"[") + message.count(b"{") > depth

    @staticmethod
    def whole(message: bytes, number: int | None, data: list[Any], size: int) -> Decoded:
        """What `event` has found in a message, as a packet."""
        pkt = TextPacket(packet.EVENT, data, "/", number, binary=False)
        return Decoded(pkt, message[1:].decode(), [], size)

    def decode(self, link: Any, message: bytes, binary: bool) -> Decoded | None:
        """The packet that ``message`` completes; `None`: attachments are missing, or it is refused.

        ``link.partial`` is the packet that waits for attachments.
        """
        if len(message) > LARGE and self.form is not Form.FOREIGN and collects():
            with uncollected():
                return self.decode(link, message, binary)
        try:
            if link.partial is not None:
                return self._attach(link, link.partial, message, binary)
            if binary and self.packet_class.uses_binary_events:
                raise ProtocolError("binary")
            if self.form is Form.TEXT:
                if message == b"40" and self.stock:  # CONNECT without ``auth``
                    pkt = TextPacket(packet.CONNECT, namespace="/", binary=False)
                    return Decoded(pkt, None, [], 2)
                return self._text(link, message[1:])
            if self.form is Form.PACKED and binary:
                return self._packed(link, message)
            return self._foreign(link, message if binary else message[1:].decode())
        except ProtocolError:
            raise
        # python-socketio's decoders let through the exceptions of their parsers.
        except Exception as error:
            raise ProtocolError("undecodable") from error

    # -- acknowledgements, apart from what came before them ----------------------------------------

    def acknowledges(self, message: bytes, binary: bool) -> bool:
        """Whether it begins an acknowledgement. Runs no code of the app's.

        `False` for each `Form.FOREIGN` message: only the app's own code knows that.
        """
        if self.form is Form.TEXT:
            return not binary and message[1:2] in _ACK_TYPES
        if self.form is not Form.PACKED or not binary:
            return False
        try:
            return packed_head(message).kind in ACKS
        except ProtocolError:  # it is refused when it is decoded
            return False

    def announced(self, link: Any, message: bytes) -> Partial | None:
        """An acknowledgement whose attachments are to come; `None`: it has none.

        Runs no code of the app's.
        """
        if message[1:2] != _BINARY_ACK:
            return None
        with _readable():
            raw = message[1:]
            head = head_of(raw)
            limits = self.limits_of(head.namespace)
            check_attachments(head.attachments, limits.max_attachments)
            weight = weigh(raw[head.start :], *_bounds(head, limits))
            held = VALUE_BYTES * weight.values
            raw.decode()  # it is no UTF-8, perhaps
            partial = Partial(head.attachments, raw, None, held)
        if not head.attachments:
            return None
        partial.dropped = self._over(link, head, limits, weight, len(raw) - head.start)
        return partial

    def apart(self, link: Any, whole: bytes | Partial) -> Decoded | None:
        """Decodes an acknowledgement, whatever attachments an earlier packet waits for."""
        with _readable():
            if isinstance(whole, Partial):
                return self._whole(whole)
            if self.form is Form.PACKED:
                return self._packed(link, whole)
            return self._text(link, whole[1:])

    # -- each form -------------------------------------------------------------------------------

    def _text(self, link: Any, raw: bytes) -> Decoded | None:
        head = head_of(raw)
        limits = self.limits_of(head.namespace)
        check_attachments(head.attachments, limits.max_attachments)
        size = len(raw) - head.start
        weight = weigh(raw[head.start :], *_bounds(head, limits))
        bounded = weight.excess is not None or head.kind == packet.CONNECT
        if bounded and self._over(link, head, limits, weight, size):
            if head.attachments:
                link.partial = Partial(head.attachments, b"", None, 0)
                link.partial.dropped, link.partial.size = True, len(raw)
            return None
        held = VALUE_BYTES * weight.values
        if self.stock and head.kind in _PLAIN:
            return self._plain(head, raw, held)
        text = raw.decode()
        if self.stock and weight.values > SURE and head.attachments:
            link.partial = Partial(head.attachments, raw, None, held)
            return None
        pkt = self._parsed(text)
        if not head.attachments:
            return Decoded(pkt, text, [], len(raw) + held)
        kept = pkt if weight.values <= SURE and len(raw) <= LARGE else None
        link.partial = Partial(head.attachments, raw, kept, held)
        return None

    def _plain(self, head: Head, raw: bytes, held: int) -> Decoded:
        """An event or acknowledgement without attachments, as python-socketio decodes it."""
        data = FastJson.loads(raw[head.start :])
        if type(data) is not list:
            raise ProtocolError("payload")
        pkt = TextPacket(head.kind, data, head.namespace, head.id, binary=False)
        if head.kind == packet.ACK and head.id is None:
            raise ProtocolError("id")
        # Only the relay needs the text: in the inbox it would be kept twice.
        relayed = bool(data) and data[0] == RtcioEvents.MESSAGE
        return Decoded(pkt, raw.decode() if relayed else None, [], len(raw) + held)

    def _packed(self, link: Any, message: bytes) -> Decoded | None:
        try:
            head = packed_head(message)
        except OverBound as error:
            self.refuse(link, None, error.reason)
            return None
        limits = self.limits_of(head.namespace)
        size = len(message) - len(head.namespace) - PACKED_HEAD
        if self._over(link, head, limits, Weight(0, None), size):
            return None
        depth, values = _bounds(head, limits)
        data = None
        try:
            room = None if values is None else values + PACKED_HEAD
            fields = unpack(message, self.packet_class.ext_hook, room)
            data = fields.get("data")
            weight = measure(data, depth, values)
        except OverBound as error:
            weight = Weight(0, error.reason)
        if self._over(link, head, limits, weight, size):
            return None
        kind, number = fields["type"], fields.get("id")
        pkt = self.packet_class(kind, data=data, namespace=head.namespace, id=number)
        _check(pkt)
        return Decoded(pkt, None, [], len(message) + VALUE_BYTES * weight.values)

    def _foreign(self, link: Any, message: Any) -> Decoded | None:
        """A packet of the app's own class: its values are counted after it is decoded."""
        text = message if isinstance(message, str) else None
        announced = announced_attachments(text) if text is not None else 0
        pkt = self._parsed(message)
        head = Head(pkt.packet_type, announced, pkt.namespace or "/", 0)
        limits = self.limits_of(head.namespace)
        check_attachments(announced, limits.max_attachments)
        weight = measure(pkt.data, *_bounds(head, limits))
        over = self._over(link, head, limits, weight, len(message))
        held = VALUE_BYTES * weight.values
        if text is not None and pkt.attachment_count:
            link.partial = Partial(pkt.attachment_count, text.encode(), pkt, held)
            link.partial.dropped = over
            return None
        return None if over else Decoded(pkt, text, [], len(message) + held)

    def _attach(self, link: Any, partial: Partial, message: bytes, binary: bool) -> Decoded | None:
        if not self.gather(partial, message, binary):
            return None
        link.partial = None
        return self._whole(partial)

    def gather(self, partial: Partial, message: bytes, binary: bool) -> bool:
        """Takes an attachment; `True`: it was the last. Runs no code of the app's."""
        if not binary:
            raise ProtocolError("attachments")
        partial.size += len(message)
        if partial.size > self.max_size:
            raise ProtocolError("too-long")
        partial.attachments.append(b"" if partial.dropped else message)
        return len(partial.attachments) >= partial.announced

    def _whole(self, partial: Partial) -> Decoded | None:
        if partial.dropped:
            return None
        text = partial.text
        pkt = self._parsed(text) if partial.packet is None else partial.packet
        unknown = self.form is Form.TEXT and not self.stock
        if unknown and not placeholders_fit(pkt.data, partial.announced):
            raise ProtocolError("attachments")
        for each in partial.attachments[:-1]:
            pkt.add_attachment(each)
        try:
            pkt.add_attachment(partial.attachments[-1])
        except ValueError:  # ours looks only now whether the placeholders fit
            raise ProtocolError("attachments") from None
        return Decoded(pkt, text, partial.attachments, partial.size + partial.held)

    # -- for all encodings -----------------------------------------------------------------------

    def _parsed(self, message: Any) -> Any:
        pkt = self.packet_class(encoded_packet=message)
        _check(pkt)
        return pkt

    def _over(self, link: Any, head: Head, limits: Limits, weight: Weight, size: int) -> bool:
        """Whether a packet is over a bound; then it is refused."""
        label = weight.excess
        if head.kind == packet.CONNECT:
            bound = limits.max_auth_bytes
            if label is not None or (bound is not None and size > bound):
                label = AUTH
        if label is None:
            return False
        if head.kind not in (packet.CONNECT, *_LISTS):
            raise ProtocolError("payload")
        self.refuse(link, head, label)
        return True


@contextmanager
def _readable() -> Iterator[None]:
    """Raises `ProtocolError` for whatever exception a parser lets through."""
    try:
        yield
    except ProtocolError:
        raise
    except Exception as error:
        raise ProtocolError("undecodable") from error


def _bounds(head: Head, limits: Limits) -> tuple[int | None, int | None]:
    """The bounds on the levels and the values of a packet's data."""
    depth, values = limits.max_depth, limits.max_values
    if head.kind == packet.CONNECT:
        return depth, _least(values, limits.max_auth_values)
    # The array of an event's arguments and its name do not count.
    return None if depth is None else depth + 1, None if values is None else values + 2


@overload
def _least(one: int | None, other: int) -> int: ...
@overload
def _least(one: int | None, other: int | None) -> int | None: ...
def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _check(pkt: Any) -> None:
    """Checks the data of each packet type (Socket.IO v5, "Packet types"); or `ProtocolError`."""
    kind, data = pkt.packet_type, pkt.data
    if kind in _LISTS:
        fits = isinstance(data, list)
    elif kind == packet.CONNECT:
        fits = data is None or isinstance(data, dict)
    else:
        fits = kind == packet.DISCONNECT and data is None
    if not fits or (pkt.namespace is not None and not isinstance(pkt.namespace, str)):
        raise ProtocolError("payload")
    # That of an event goes back to its client, whatever it is.
    if type(pkt.id) is not int and (kind in ACKS or (kind in EVENTS and pkt.id is not None)):
        raise ProtocolError("id")
