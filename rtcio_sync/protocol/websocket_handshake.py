"""The opening handshake of a WebSocket, the server's side, from a WSGI environ (RFC 6455 4.2)."""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from ..errors import HandshakeError

__all__ = ["handshake"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
_VERSION = "13"
_is_key = re.compile(r"[A-Za-z0-9+/]{22}==").fullmatch  # the base64 of 16 bytes
_is_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch


def handshake(environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The headers of the 101 that accepts the handshake in a WSGI environ (RFC 6455 4.2).

    A client that offers subprotocols fails without one of them: it gets the first, as from Node.

    Raises HandshakeError: 426 when `Sec-WebSocket-Version` is not 13 (4.2.2), otherwise 400. A
    handshake with a body is refused too: the bytes after its headers have to be frames.
    """
    if environ.get("REQUEST_METHOD") != "GET":
        raise _bad("the method is not GET")
    version = environ.get("SERVER_PROTOCOL", "")
    if version != "HTTP/1.1" and not _can_upgrade(version):
        raise _bad("only HTTP/1.1 can be upgraded")
    upgrade, connection = environ.get("HTTP_UPGRADE", ""), environ.get("HTTP_CONNECTION", "")
    if upgrade != "websocket" and "websocket" not in _tokens(upgrade):
        raise _bad("the Upgrade header does not name websocket")
    if connection != "Upgrade" and "upgrade" not in _tokens(connection):
        raise _bad("the Connection header does not name upgrade")
    if environ.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in environ:
        raise _bad("the handshake has a body")
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION", "").strip() != _VERSION:
        raise HandshakeError(
            "426 Upgrade Required",
            [("Sec-WebSocket-Version", _VERSION)],
            f"Sec-WebSocket-Version is not {_VERSION}",
        )
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "").strip()
    if _is_key(key) is None:
        raise _bad("Sec-WebSocket-Key is not the base64 of 16 bytes")
    offered = environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL")
    chosen = [] if offered is None else [("Sec-WebSocket-Protocol", _first(offered))]
    digest = hashlib.sha1(key.encode("ascii") + _GUID).digest()
    accept = binascii.b2a_base64(digest, newline=False)
    return [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept.decode("ascii")),
        *chosen,
    ]


def _first(offered: str) -> str:
    """The first of the subprotocols that a client offers (RFC 6455 4.1)."""
    names = [each.strip(" \t") for each in offered.split(",")]
    if len(set(names)) < len(names) or not all(map(_is_token, names)):
        raise _bad("Sec-WebSocket-Protocol is no list of different names")
    return names[0]


def _bad(reason: str) -> HandshakeError:
    return HandshakeError("400 Bad Request", [], reason)


def _can_upgrade(protocol: str) -> bool:
    # HTTP/2 has no Upgrade header (RFC 9113 8.2.2), HTTP/1.0 ignores it (RFC 9110 7.8).
    major, _, minor = protocol.partition(".")
    return major == "HTTP/1" and minor.isdecimal() and int(minor) >= 1


def _tokens(value: str) -> set[str]:
    return {token.strip() for token in value.lower().split(",")}
