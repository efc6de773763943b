"""RFC 6455 on the server's side, without I/O: bytes in, messages out; messages in, frames out.

This package has its own parser because every relayed message is parsed and framed here: one
unmasking and one slice to read a message, one allocation to write one, and no object for an idle
connection. It has no extensions and no subprotocols. `websocket_handshake` has the opening
handshake.

To use a `Parser`, `feed` it a chunk, call `next` until it returns None, then feed it again.
"""

from __future__ import annotations

import struct
from io import BytesIO

from ..errors import FrameError
from .fragments import INVALID_DATA, TEXT, HalfMessage, Message, apply_mask
from .packing import Struct

# Opcodes, RFC 6455 5.2.
CONTINUATION = 0x0
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

# Close codes, RFC 6455 7.4.1.
NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
NO_STATUS = 1005  # never on the wire: means a close frame without a code
POLICY_VIOLATION = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013

_FIN = 0x80
_RSV = 0x70
_OPCODE = 0x0F
_CONTROL = 0x08
_WHOLE_TEXT = _FIN | TEXT
_MASKED = 0x80
_LENGTH = 0x7F
_MAX_CONTROL = 125  # RFC 6455 5.5
_OPCODES = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
# RFC 6455 7.4.1 and the IANA registry: codes allowed in a close frame, below the private ranges.
_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


LONE = 7
"""Bytes of a client's frame with one byte of payload. Such is an Engine.IO PONG."""

_BYTES = tuple(bytes((byte,)) for byte in range(128))
_pack16 = struct.Struct("!HH").pack
_pack64 = struct.Struct("!HQ").pack
_PART = 1 << 16  # characters of a long text that are encoded at a time
_SHORT_TEXT = tuple(bytes((_FIN | TEXT, length)) for length in range(_MAX_CONTROL + 1))
_SHORT_BINARY = tuple(bytes((_FIN | BINARY, length)) for length in range(_MAX_CONTROL + 1))


def frame_text(payload: bytes) -> bytes:
    """An unmasked, final text frame. `payload` must be valid UTF-8: it is not checked."""
    length = len(payload)
    if length < 126:
        return _SHORT_TEXT[length] + payload
    if length < 65536:
        return _pack16(0x817E, length) + payload
    return _pack64(0x817F, length) + payload


def frame_typed(digits: bytes, payload: bytes) -> bytes:
    """`frame_text` of ``digits`` and ``payload`` together, with one copy of a large payload."""
    length = len(digits) + len(payload)
    if length < 126:
        return _SHORT_TEXT[length] + digits + payload
    if length < 65536:
        return _pack16(0x817E, length) + digits + payload
    return b"".join((_pack64(0x817F, length), digits, payload))


def frame_long(digit: bytes, text: str) -> bytes:
    """`frame_typed` of a text of more than 64 kB, with no second copy of it beside the frame."""
    frame = BytesIO(bytes(11 + len(text)))  # the room for it, if it is ASCII
    frame.write(_pack64(0x817F, 0) + digit)
    for start in range(0, len(text), _PART):
        frame.write(text[start : start + _PART].encode())
    size = frame.tell()
    frame.seek(0)
    frame.write(_pack64(0x817F, size - 10))
    return frame.getvalue()


def frame_binary(payload: bytes) -> bytes:
    """An unmasked, final binary frame."""
    length = len(payload)
    if length < 126:
        return _SHORT_BINARY[length] + payload
    if length < 65536:
        return _pack16(0x827E, length) + payload
    return _pack64(0x827F, length) + payload


def frame_close(code: int = NORMAL, reason: str = "") -> bytes:
    """A close frame (5.5.1). `NO_STATUS` makes an empty one; a long `reason` is cut to fit."""
    if code == NO_STATUS:
        return bytes((_FIN | CLOSE, 0))
    payload = code.to_bytes(2, "big") + reason.encode()[: _MAX_CONTROL - 2]
    while reason and not _is_utf8(payload[2:]):  # cut in the middle of a character
        payload = payload[:-1]
    return bytes((_FIN | CLOSE, len(payload))) + payload


def frame_ping(payload: bytes = b"") -> bytes:
    """A ping of at most 125 bytes (5.5.2)."""
    return bytes((_FIN | PING, len(payload))) + payload


def frame_pong(payload: bytes) -> bytes:
    """The answer to a ping: its own payload (5.5.3)."""
    return bytes((_FIN | PONG, len(payload))) + payload


def close_code(payload: bytes) -> int:
    """The code in the payload of a CLOSE that a `Parser` returned; `NO_STATUS` if it has none."""
    return int.from_bytes(payload[:2], "big") if payload else NO_STATUS


class Unparsed(Struct):
    """Bytes that are not parsed yet, and the message that they continue."""

    held: bytes
    message: HalfMessage | None


class Parser:
    """Cuts the bytes of a client into messages and control frames.

    `max_size`: bytes of payload of one message, all its fragments together. The declared length of
    a frame is checked before any of its payload is kept (1009).

    After a FrameError, and after a CLOSE, ignore what the peer sends: do not feed it.
    """

    __slots__ = ("_max_size", "_message", "_pos", "held")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        #: Bytes that are not parsed yet, from `_pos` on, after bytes that are; empty when all are.
        self.held = b""
        self._pos = 0
        self._message: Message | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream; cheapest when `next` has returned None before."""
        if self.held:
            data = self.held[self._pos :] + data
        self.held = data
        self._pos = 0

    def state(self) -> Unparsed:
        """What was read and not returned yet: for a parser in another process."""
        message = None if self._message is None else self._message.state()
        return Unparsed(self.held[self._pos :], message)

    def restore(self, state: Unparsed) -> None:
        """Goes on where another parser has stopped; nothing was fed to this one."""
        self.held = state.held
        if state.message is not None:
            self._message = Message.of(state.message)

    def lone(self, data: bytes) -> bytes | None:
        """The payload of `LONE` bytes, if they are a whole text message of one ASCII character.

        None otherwise: `feed` them. A shorter way than `feed` and `text`, for what idle clients
        send.
        """
        first, second, mask, _, _, _, masked = data
        if first != _WHOLE_TEXT or second != _MASKED + 1 or self.held or self._message is not None:
            return None
        byte = mask ^ masked
        return _BYTES[byte] if byte < 128 else None

    def whole(self, data: bytes) -> bytes | None:
        """The payload of ``data``, if it is one whole text message, and nothing of it is missing.

        None otherwise: `feed` it. A shorter way than `feed` and `text`, for the usual chunk.

        Raises FrameError with 1007.
        """
        have = len(data)
        if have < 8 or data[0] != _WHOLE_TEXT or self.held or self._message is not None:
            return None
        second = data[1]
        if second < 0xFE:  # without the mask's bit the length would be negative
            start, length = 6, second - _MASKED
        else:
            start, length = 8, data[2] << 8 | data[3]
        if start + length != have or length > self._max_size or second == 0xFF:
            return None
        payload = apply_mask(data[start:], data[start - 4 : start])
        if not payload.isascii():
            _check_utf8(payload)
        return payload

    def next(self) -> tuple[int, bytes] | None:
        """The next message or control frame; None when more bytes are needed.

        `(TEXT, payload)`, the payload being valid UTF-8, `(BINARY, payload)`, `(PING, payload)`,
        `(PONG, payload)`, or `(CLOSE, payload)` with a valid code and reason, or empty.

        Raises FrameError with 1002, 1007 (text or a close reason that is not UTF-8) or 1009.
        """
        payload = self.text()
        if payload is not None:
            return TEXT, payload
        return self._next() if self.held else None

    def text(self) -> bytes | None:
        """The payload of the next frame, if it is a whole text message and complete.

        None otherwise, and for very long frames: `next` takes any frame. This is the fast path for
        the usual frame.

        Raises FrameError with 1007.
        """
        data, pos = self.held, self._pos
        have = len(data)
        if pos + 8 > have or data[pos] != _WHOLE_TEXT or self._message is not None:
            return None
        second = data[pos + 1]
        if second < 0xFE:
            start = pos + 6
            length = second - _MASKED
        else:
            start = pos + 8
            length = data[pos + 2] << 8 | data[pos + 3]
        stop = start + length
        if stop > have or not 0 <= length <= self._max_size or second == 0xFF:
            return None
        payload = apply_mask(data[start:stop], data[start - 4 : start])
        if stop < have:
            self._pos = stop
        else:  # so that an idle connection does not hold its last chunk
            self.held = b""
            self._pos = 0
        if not payload.isascii():
            _check_utf8(payload)
        return payload

    def _next(self) -> tuple[int, bytes] | None:
        while True:
            message = self._message
            if message is None or not message.missing:
                header = self._header()
                if header is None:
                    self._compact()
                    return None
                first, start, length = header
                opcode = first & _OPCODE
                stop = start + length
                if opcode & _CONTROL or (message is None and first & _FIN):
                    if stop <= len(self.held):
                        return self._whole(opcode, start, stop)
                    if opcode & _CONTROL:  # at most 125 bytes: wait until all are there
                        self._compact()
                        return None
                if message is None:
                    message = self._message = Message(opcode)
                message.begin(bool(first & _FIN), length, self.held[start - 4 : start])
                self._pos = start
            message.add(self._take(message.missing))
            if message.missing:
                return None
            if message.final:
                self._message = None
                return message.opcode, bytes(message.payload)

    def _header(self) -> tuple[int, int, int] | None:
        """First byte, start of the payload and its length; None before the mask is there (5.2)."""
        data, pos = self.held, self._pos
        have = len(data) - pos
        if have < 2:
            return None
        first, second = data[pos], data[pos + 1]
        self._check_first(first, second)
        start = pos + 6
        length = second & _LENGTH
        if length == 126:
            start += 2
            if have < 4:
                return None
            length = data[pos + 2] << 8 | data[pos + 3]
        elif length == 127:
            start += 8
            if have < 10:
                return None
            length = int.from_bytes(data[pos + 2 : pos + 10], "big")
        if not first & _CONTROL:
            so_far = 0 if self._message is None else len(self._message.payload)
            if so_far + length > self._max_size:
                raise FrameError(TOO_BIG, f"a message is over {self._max_size} bytes")
        if start - pos > have:
            return None
        return first, start, length

    def _check_first(self, first: int, second: int) -> None:
        opcode = first & _OPCODE
        if first & _RSV:
            raise FrameError(PROTOCOL_ERROR, "a reserved bit is set")  # 5.2
        if opcode not in _OPCODES:
            raise FrameError(PROTOCOL_ERROR, "an opcode is reserved")  # 5.2
        if not second & _MASKED:
            raise FrameError(PROTOCOL_ERROR, "a frame is not masked")  # 5.1
        if opcode & _CONTROL:
            if not first & _FIN:
                raise FrameError(PROTOCOL_ERROR, "a control frame is fragmented")  # 5.5
            if second & _LENGTH > _MAX_CONTROL:
                raise FrameError(PROTOCOL_ERROR, "a control frame is over 125 bytes")  # 5.5
        elif opcode == CONTINUATION:
            if self._message is None:
                raise FrameError(PROTOCOL_ERROR, "nothing to continue")  # 5.4
        elif self._message is not None:
            raise FrameError(PROTOCOL_ERROR, "a message begins within another")  # 5.4

    def _whole(self, opcode: int, start: int, stop: int) -> tuple[int, bytes]:
        data = self.held
        payload = apply_mask(data[start:stop], data[start - 4 : start])
        self._consumed(stop)
        if opcode == TEXT:
            if not payload.isascii():
                _check_utf8(payload)
        elif opcode == CLOSE:
            _check_close(payload)
        return opcode, payload

    def _compact(self) -> None:
        # At most a few bytes are left: do not hold the whole chunk for them.
        self.held = self.held[self._pos :]
        self._pos = 0

    def _take(self, size: int) -> bytes:
        piece = self.held[self._pos : self._pos + size]
        self._consumed(self._pos + len(piece))
        return piece

    def _consumed(self, pos: int) -> None:
        if pos < len(self.held):
            self._pos = pos
        else:  # so that an idle connection does not hold its last chunk
            self.held = b""
            self._pos = 0


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_utf8(payload: bytes) -> None:
    if not _is_utf8(payload):
        raise FrameError(INVALID_DATA, "text is not UTF-8")  # 8.1


def _check_close(payload: bytes) -> None:
    if not payload:
        return
    code = close_code(payload)
    if len(payload) < 2:
        raise FrameError(PROTOCOL_ERROR, "a close code is cut short")  # 5.5.1
    if not _is_utf8(payload[2:]):
        raise FrameError(INVALID_DATA, "a close reason is not UTF-8")  # 8.1
    if code not in _CLOSE_CODES and not 3000 <= code <= 4999:
        raise FrameError(PROTOCOL_ERROR, f"close code {code} must not be sent")  # 7.4
