"""What an HTTP request to the Engine.IO endpoint says, and how a refusal is worded.

Pure: an environ or a query in, values out.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable
from typing import Any

__all__ = [
    "MOST_KEPT",
    "Refused",
    "bad",
    "closes_unsaid",
    "query_of",
    "slim",
]

# What a WSGI server puts into an environ for itself: buffers, sockets, streams. All else, an app's
# own keys included, is kept for the handlers.
_NOT_KEPT = re.compile(
    r"wsgi\.(?!url_scheme|version|multi|run_once)|gunicorn\.|werkzeug\.(?:socket|server)|eventlet\."
    r"|HTTP_SEC_WEBSOCKET|HTTP_UPGRADE|HTTP_CONNECTION|uwsgi\.|x-wsgiorg"
)


#: Bytes of the first request of a connection (its fields, its query), which handlers may look at as
#: long as it lives; Node takes 16,384.
MOST_KEPT = 32_768
#: Fields of a query: socket.io-client sends five, an app its own.
MOST_FIELDS = 100


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
