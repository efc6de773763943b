"""Reading an HTTP request to the Engine.IO endpoint, and the errors that refuse one.

Pure: takes an environ or a query, gives values.
"""

from __future__ import annotations

import re
import urllib.parse

from ..errors import Refused
from ..protocol.http_head import asks_to_close
from ..transport.ports import Environ

__all__ = [
    "MARK",
    "MOST_KEPT",
    "SENT_ON",
    "accepted",
    "bad",
    "closes_unsaid",
    "is_kept",
    "most_packets",
    "query_of",
    "takes_text_alone",
]

#: The field that a host adds to a request that it sends on to another one: how often that was done.
#: While a session moves from one host to another, each may still believe that the other one has it.
MARK = "Rtcio-Sent-On"
#: Its key in an environ.
SENT_ON = f"HTTP_{MARK.upper().replace('-', '_')}"

# Keys that a WSGI server puts into an environ for its own use: buffers, sockets, streams. All other
# keys, an app's own included, are kept for the handlers. So are the subprotocols of a WebSocket:
# browsers can put a token in no other field.
_NOT_KEPT = re.compile(
    r"wsgi\.(?!url_scheme|version|multi|run_once)|gunicorn\.|werkzeug\.(?:socket|server)|eventlet\."
    r"|HTTP_SEC_WEBSOCKET(?!_PROTOCOL)|HTTP_UPGRADE|HTTP_CONNECTION|uwsgi\.|x-wsgiorg"
    r"|rtcio_sync\.|" + SENT_ON
)


#: Bytes of a connection's first request (its fields, its query), which is kept for its handlers as
#: long as the connection lives. Node allows 16,384.
MOST_KEPT = 32_768
#: Packets that a client of python-engineio takes in one answer. Over more it closes its connection.
MOST_OF_PYTHON = 16
#: Fields of a query: socket.io-client sends five, an app may add its own.
MOST_FIELDS = 100
#: Encodings that are looked at.
MOST_ENCODINGS = 16

_is_nothing = re.compile(r"q=0(?:\.0*)?").fullmatch  # RFC 9110 12.4.2


def bad(code: int) -> Refused:
    """The refusal that has the number ``code`` in Engine.IO."""
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


def most_packets(query: dict[str, list[str]]) -> int | None:
    """The packets that a client takes in one answer to a poll; `None`: any number.

    ``t``, which keeps caches away, tells python-engineio's clients: theirs is the time in seconds,
    with a fraction. The other clients' has no full stop, since it counts in base 36 or 64.
    """
    return MOST_OF_PYTHON if "." in query.get("t", ("",))[0] else None


def takes_text_alone(environ: Environ) -> bool:
    """Whether the client of a WebSocket's request takes no binary frames: ``b64`` in the query."""
    query = environ.get("QUERY_STRING", "")
    return "b64=" in query and "b64" in query_of(query)


def accepted(encodings: str) -> list[str]:
    """The encodings that the value of Accept-Encoding names, without those of weight 0."""
    found = []
    for each in encodings.lower().split(",", MOST_ENCODINGS)[:MOST_ENCODINGS]:
        name, _, weight = each.partition(";")
        if _is_nothing(weight.strip(" \t")) is None:
            found.append(name.strip(" \t"))
    return found


def is_kept(key: str) -> bool:
    """Whether handlers may need a key of an environ: not the server's buffers and sockets."""
    return _NOT_KEPT.match(key) is None


def closes_unsaid(environ: Environ, *, stopping: bool = False) -> bool:
    """Whether the connection ends after the answer, and the application has to announce it."""
    # RFC 9112 9.6: a server that is asked to close announces it. gevent's server closes and leaves
    # the header to the application; other servers forbid it there (PEP 3333, hop-by-hop headers).
    gevents_own: bool = environ.get("SERVER_SOFTWARE", "").startswith("gevent/")
    # gunicorn's workers on that server wait up to graceful_timeout for each connection kept alive.
    return gevents_own and (
        stopping or ("HTTP_CONNECTION" in environ and asks_to_close(environ["HTTP_CONNECTION"]))
    )
