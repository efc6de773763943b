"""The body of a polling request, and the packets in it (Engine.IO v4, "HTTP long-polling").

Pure: an environ, a query or a body in, values out; nothing waits but for the body's own stream.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from ..errors import ProtocolError
from .requests import bad

__all__ = ["from_base64", "jsonp_index", "packets_of", "read_body"]

SEPARATOR = b"\x1e"  # between two packets

#: Digits of a number in a request.
MOST_DIGITS = 15


def read_body(environ: dict[str, Any], bound: int) -> bytes:
    """The body of a polling request, never more than ``bound`` bytes of it. # greenlet

    Raises `ProtocolError` for one that is longer, whose length is no number or that ends early, and
    the server's own `OSError`, of those servers that notice that it does.
    """
    length = environ.get("CONTENT_LENGTH") or ""
    if length and not (length.isascii() and length.isdigit()):
        raise ProtocolError("length")
    if len(length) > MOST_DIGITS or (length and int(length) > bound):
        raise ProtocolError("too-long")
    body: bytes = environ["wsgi.input"].read(int(length) if length else bound + 1)
    if len(body) > bound:
        raise ProtocolError("too-long")
    if length and len(body) < int(length):
        raise ProtocolError("incomplete")
    return body


def packets_of(body: bytes, bound: int | None) -> list[tuple[bytes, bool]]:
    """The packets of a polling payload (Engine.IO v4, "HTTP long-polling": U+001E between them).

    Each as a WebSocket message would carry it, and whether that is a binary one. Raises
    `ProtocolError` for a payload with one that cannot be read, or with more than ``bound``.
    """
    if body.startswith(b"d="):  # JSONP: a form with one field; any other is not looked at
        body = _unquoted(body[2:].partition(b"&")[0])
    if not body:
        return []
    if bound is not None and body.count(SEPARATOR) >= bound:
        raise ProtocolError("too-many-packets")
    return [_packet(piece) for piece in body.split(SEPARATOR)]


def _unquoted(field: bytes) -> bytes:
    """The value of a form's field (URL Standard, "application/x-www-form-urlencoded parsing").

    By the decoder of quoted-printable, which has ``=41`` for ``%41``: `urllib.parse` takes 100
    times as long.
    """
    field = field.replace(b"+", b" ").replace(b"=", b"=3D").replace(b"%", b"=")
    return binascii.a2b_qp(field)


def from_base64(text: bytes) -> bytes:
    """The bytes of a binary message that came as text. Raises `ProtocolError`."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ProtocolError("base64") from None


def _packet(piece: bytes) -> tuple[bytes, bool]:
    if piece[:1] == b"b":
        return from_base64(piece[1:]), True
    if piece[:1] not in (b"1", b"3", b"4", b"6"):
        raise ProtocolError("packet")
    piece.decode()  # RFC 3629; a ValueError otherwise
    return piece, False


def jsonp_index(query: dict[str, list[str]]) -> int | None:
    """The index of a JSONP request, `None` for any other. Raises `Refused`."""
    if "j" not in query:
        return None
    index = query["j"][0]
    if len(index) > MOST_DIGITS or not (index.isascii() and index.isdigit()):
        raise bad(3)
    return int(index)
