"""The body of a polling request, and the packets in it (Engine.IO v4, "HTTP long-polling").

Pure: takes an environ, a query or a body, gives values. It waits for the body's stream alone.
"""

from __future__ import annotations

import base64
import binascii
from json.encoder import encode_basestring_ascii

from ..errors import ProtocolError
from ..transport.ports import Environ
from .http_requests import bad

__all__ = ["from_base64", "jsonp_index", "packets_of", "read_body", "wrapped"]

SEPARATOR = b"\x1e"  # between two packets

_NEVER = b"\xff"  # in no UTF-8

#: Digits of a number in a request.
MOST_DIGITS = 15


def read_body(environ: Environ, bound: int) -> bytes:
    """Reads the body of a polling request, at most ``bound`` bytes and one more. # greenlet

    Raises `ProtocolError` for a body that is longer, whose length is no number or that ends early.
    Some servers notice themselves that it ends early; their `OSError` passes.
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

    Gives each as the WebSocket message that would carry it, and whether that message is binary.
    Raises `ProtocolError` for a packet that cannot be read, and for more than ``bound`` packets.
    """
    if body.startswith(b"d="):  # JSONP: a form whose first field has the payload
        body = _with_newlines(_unquoted(body[2:].partition(b"&")[0]))
    if not body:
        return []
    if bound is not None and body.count(SEPARATOR) >= bound:
        raise ProtocolError("too-many-packets")
    return [_packet(piece) for piece in body.split(SEPARATOR)]


def _unquoted(field: bytes) -> bytes:
    """The value of a form's field (URL Standard, "application/x-www-form-urlencoded parsing").

    Uses the decoder of quoted-printable, where ``=41`` stands for ``%41``: `urllib.parse` takes
    100 times as long.
    """
    field = field.replace(b"+", b" ").replace(b"=", b"=3D").replace(b"%", b"=")
    return binascii.a2b_qp(field)


def _with_newlines(field: bytes) -> bytes:
    """What engine.io-client has put into a form's field, as browsers rewrite the ends of lines.

    It writes a newline as a backslash and an n, and before those two characters of the data it puts
    one more backslash.
    """
    if b"\\" not in field or _NEVER in field:
        return field
    return field.replace(rb"\\n", _NEVER).replace(rb"\n", b"\n").replace(_NEVER, rb"\n")


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
    piece.decode()  # raises ValueError unless it is UTF-8 (RFC 3629)
    return piece, False


def wrapped(payload: bytes, index: int) -> bytes:
    """A payload as the script that a JSONP client runs.

    Nothing in it can end the string: what comes from other clients must not run in a page. All but
    ASCII is escaped, also U+2028 and U+2029, which end a line of older JavaScript.
    """
    return f"___eio[{index}]({encode_basestring_ascii(payload.decode())});".encode()


def jsonp_index(query: dict[str, list[str]]) -> int | None:
    """The index of a JSONP request, `None` for any other. Raises `Refused`."""
    if "j" not in query:
        return None
    index = query["j"][0]
    if len(index) > MOST_DIGITS or not (index.isascii() and index.isdigit()):
        raise bad(3)
    return int(index)
