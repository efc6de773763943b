"""Engine.IO packets, each encoded once for all sockets that receive it."""

from __future__ import annotations

import base64
from typing import Any, Protocol

from engineio import packet

from ..protocol.websocket_frames import frame_binary, frame_long, frame_text, frame_typed
from ..transport.driver import frames_of

__all__ = [
    "AnyPacket",
    "Packet",
    "frame_of",
    "frame_of_pieces",
    "packet_cost",
    "packet_of",
    "packet_size",
    "packets_in",
    "packets_of",
    "size_of",
]

_LONG = 1_000_000  # characters of a text that is framed without a second copy of it
PACKET = 600  # bytes of a packet's object, with its attributes


class AnyPacket(Protocol):
    """An Engine.IO packet: one of ours, or any of python-engineio's."""

    packet_type: int
    data: Any

    def encode(self, b64: bool = False) -> Any:
        """The packet as text, or as bytes; ``b64``: always as text."""


#: The first byte of a packet of each type.
_DIGITS = tuple(str(kind).encode() for kind in range(7))


class Packet(packet.Packet):
    """An Engine.IO packet that is encoded once for each transport.

    python-engineio keeps one encoding for both transports: a binary packet that was sent to a
    polling client first reaches WebSockets as base64.
    """

    encode_cache: Any

    def encode(self, b64: bool = False) -> Any:
        if b64 and self.binary:
            return "b" + base64.b64encode(self.data).decode()
        if self.encode_cache is None:
            self.encode_cache = super().encode(b64=False)
        return self.encode_cache

    def frame(self) -> bytes:
        """The packet as a WebSocket frame."""
        frame: bytes | None = self.__dict__.get("_frame")
        if frame is None:
            # The text is not kept beside the frame: packets that wait take less memory.
            self.encode_cache = None
            data = self.data
            if type(data) is str:
                digit = _DIGITS[self.packet_type]
                if len(data) < _LONG:
                    frame = frame_typed(digit, data.encode())
                else:
                    frame = frame_long(digit, data)
            elif self.binary:
                frame = frame_binary(data)
            else:
                frame = frame_text(super().encode().encode())
                self.encode_cache = None
            self._frame = frame
        return frame


def packets_of(pieces: list[str | bytes]) -> list[Packet]:
    """The packets of several messages."""
    return [Packet(packet.MESSAGE, piece) for piece in pieces]


def packets_in(frame: bytes) -> list[Packet]:
    """The packets of messages whose frames were made before."""
    return [packet_of(*each) for each in frames_of(frame)]


def frame_of_pieces(pieces: list[str | bytes]) -> bytes:
    """The frames of several messages, as one piece of bytes."""
    if len(pieces) > 1:
        return b"".join([frame_of_pieces([piece]) for piece in pieces])
    piece, digit = pieces[0], _DIGITS[packet.MESSAGE]
    if not isinstance(piece, str):
        return frame_binary(piece)
    return frame_typed(digit, piece.encode()) if len(piece) < _LONG else frame_long(digit, piece)


def packet_of(payload: bytes, binary: bool) -> Packet:
    """The packet of a WebSocket message that was already framed."""
    return Packet(packet.MESSAGE, payload if binary else payload[1:].decode())


def size_of(data: Any) -> int:
    """The bytes of a packet's data."""
    if isinstance(data, str):
        return len(data) if data.isascii() else len(data.encode(errors="replace"))
    return len(data) if isinstance(data, bytes) else 16


def packet_size(pkt: AnyPacket) -> int:
    """The bytes of a packet's data, computed once."""
    size: int | None = pkt.__dict__.get("_size")
    if size is None:
        size = pkt.__dict__["_size"] = size_of(pkt.data)
    return size


def packet_cost(pkt: AnyPacket) -> int:
    """The memory that a packet takes: its data, and the frame that is made of it."""
    return 2 * packet_size(pkt) + PACKET


def frame_of(pkt: AnyPacket) -> bytes:
    """The WebSocket frame of any python-engineio packet."""
    if isinstance(pkt, Packet):
        return pkt.frame()
    text = pkt.encode()
    return frame_text(text.encode()) if isinstance(text, str) else frame_binary(bytes(text))
