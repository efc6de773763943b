"""What an HTTP request to the Engine.IO endpoint says, and how a refusal is worded.

Pure: an environ, a query or a body in, values out; nothing waits but for the body's own stream.
"""

from __future__ import annotations

import base64
import binascii
import re
import urllib.parse
from collections.abc import Iterable
from typing import Any

from ..errors import ProtocolError

__all__ = [
    "MOST_KEPT",
    "Refused",
    "bad",
    "closes_unsaid",
    "from_base64",
    "jsonp_index",
    "packets_of",
    "query_of",
    "read_body",
    "slim",
]

# What a WSGI server puts into an environ for itself: buffers, sockets, streams. All else, an app's
# own keys included, is kept for the handlers.
_NOT_KEPT = re.compile(
    r"wsgi\.(?!url_scheme|version|multi|run_once)|gunicorn\.|werkzeug\.(?:socket|server)|eventlet\."
    r"|HTTP_SEC_WEBSOCKET|HTTP_UPGRADE|HTTP_CONNECTION|uwsgi\.|x-wsgiorg"
)


SEPARATOR = b"\x1e"

#: Bytes of the first request of a connection (its fields, its query), which handlers may look at as
#: long as it lives; Node takes 16,384.
MOST_KEPT = 32_768
#: Fields of a query: socket.io-client sends five, an app its own.
MOST_FIELDS = 100
#: Digits of a number in a request.
MOST_DIGITS = 15


class Refused(Exception):
    """A request that is answered with an error; Engine.IO's codes and messages."""

    def __init__(
        self, status: str, code: int, message: str, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = [("Content-Type", "application/json"), *headers]
        self.body = {"code": code, "message": message}


def bad(code: int) -> Refused:
    """The refusal that Engine.IO numbers ``code``."""
    messages = (
        "Transport unknown",
        "Session ID unknown",
        "Bad handshake method",
        "Bad request",
        "Forbidden",
        "Unsupported protocol version",
    )
    return Refused("403 FORBIDDEN" if code == 4 else "400 BAD REQUEST", code, messages[code])


def query_of(text: str) -> dict[str, list[str]]:
    """The values of a query by name, as `urllib.parse.parse_qs` has them. Raises `Refused`."""
    if text.count("&") >= MOST_FIELDS:
        raise bad(3)
    if "%" in text or "+" in text:
        return urllib.parse.parse_qs(text)
    found: dict[str, list[str]] = {}
    for field in text.split("&"):
        name, _, value = field.partition("=")
        if value:
            found.setdefault(name, []).append(value)
    return found


def slim(environ: dict[str, Any]) -> dict[str, Any]:
    """What of an environ handlers may need; the server's buffers and sockets go."""
    return {key: value for key, value in environ.items() if _kept[key]}


class _Kept(dict[str, bool]):
    """Whether a key of an environ is kept: the names that come are mostly the same."""

    MOST = 1000  # clients may make up any number of names

    def __missing__(self, key: str) -> bool:
        kept = _NOT_KEPT.match(key) is None
        if len(self) < self.MOST:
            self[key] = kept
        return kept


_kept = _Kept()


def closes_unsaid(environ: dict[str, Any], *, stopping: bool = False) -> bool:
    """Whether the connection ends after the answer and the server leaves it to us to say so."""
    # RFC 9112 9.6: whoever is asked to close says that it will. gevent's server closes and leaves
    # the word to the application, to which other servers forbid it (PEP 3333, hop-by-hop headers).
    gevents_own: bool = environ.get("SERVER_SOFTWARE", "").startswith("gevent/")
    # gunicorn's workers on that server wait, up to graceful_timeout, for each kept connection.
    asked = str(environ.get("HTTP_CONNECTION")).lower() == "close"
    return gevents_own and (asked or stopping)


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
