"""A message of a WebSocket that has not come whole: more frames or more bytes are missing."""

from __future__ import annotations

import codecs
from collections.abc import Callable

from ..errors import FrameError
from .packing import Struct

apply_mask: Callable[[bytes, bytes], bytes]
try:
    from websockets.speedups import apply_mask
except ImportError:  # `websockets` was installed without its C extension
    from websockets.utils import apply_mask

__all__ = ["INVALID_DATA", "TEXT", "HalfMessage", "Message", "apply_mask"]

TEXT = 0x1  # an opcode, RFC 6455 5.2
INVALID_DATA = 1007  # a close code, RFC 6455 7.4.1


class HalfMessage(Struct):
    """A `Message` as another process may go on with it."""

    opcode: int
    payload: bytes
    final: bool
    missing: int
    mask: bytes
    checked: int


class Message:
    """A message that needs more than one frame, or a frame that needs more than one chunk.

    Its payload is unmasked and, if it is text, checked as it comes: invalid UTF-8 fails the
    connection at once (8.1), and each byte is read once. A bytearray grows by a factor, so that
    many tiny chunks do not cost quadratic time.
    """

    __slots__ = ("_mask", "checked", "final", "missing", "opcode", "payload")

    def __init__(self, opcode: int) -> None:
        self.opcode = opcode
        self.payload = bytearray()
        self.final = False
        self.missing = 0  # bytes of the current frame's payload
        self._mask = b""
        self.checked = 0  # bytes that are known to be whole characters

    def begin(self, final: bool, length: int, mask: bytes) -> None:
        self.final = final
        self.missing = length
        self._mask = mask

    def add(self, masked: bytes) -> None:
        piece = apply_mask(masked, self._mask)
        turn = len(piece) & 3  # the next piece starts in the middle of the mask
        self._mask = self._mask[turn:] + self._mask[:turn]
        self.missing -= len(piece)
        self.payload += piece
        if self.opcode == TEXT:
            self._check(piece)

    def _check(self, piece: bytes) -> None:
        size = len(self.payload)
        if self.checked == size - len(piece) and piece.isascii():
            self.checked = size
            return
        ended = self.final and not self.missing
        try:
            self.checked += codecs.utf_8_decode(self.payload[self.checked :], "strict", ended)[1]
        except UnicodeDecodeError:
            raise FrameError(INVALID_DATA, "text is not UTF-8") from None

    def state(self) -> HalfMessage:
        """What is known of it."""
        payload = bytes(self.payload)
        return HalfMessage(self.opcode, payload, self.final, self.missing, self._mask, self.checked)

    @classmethod
    def of(cls, state: HalfMessage) -> Message:
        """A message that was begun in another process."""
        made = cls(state.opcode)
        made.payload += state.payload
        made.begin(state.final, state.missing, state.mask)
        made.checked = state.checked
        return made
