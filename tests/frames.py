"""Bytes that a client sends: masked frames, valid or not, and the opening handshake."""

from __future__ import annotations

import struct

from websockets.utils import apply_mask

MASK = b"\x17\xa4\x02\xff"

#: The example of RFC 6455 1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def masked(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes = MASK
) -> bytes:
    """One frame of a client; `rsv` is the three reserved bits as a number."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    return header(first, len(payload)) + mask + apply_mask(payload, mask)


def header(first: int, length: int, *, mask_bit: int = 0x80) -> bytes:
    """A frame up to its masking key."""
    if length < 126:
        return bytes((first, mask_bit | length))
    if length < 65536:
        return struct.pack("!BBH", first, mask_bit | 126, length)
    return struct.pack("!BBQ", first, mask_bit | 127, length)


def upgrade_request(path: str = "/", more: str = "") -> bytes:
    """The opening handshake; `more` are further header lines."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{more}\r\n"
    ).encode()
