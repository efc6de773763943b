"""The handshake of a client, as the app sees it."""

from __future__ import annotations

import email.utils
import time
import urllib.parse
from typing import Any

from werkzeug.wrappers import Request

__all__ = ["Handshake"]


class Handshake:
    """The data that a client sent when it connected.

    ``auth``: the ``auth`` option of its socket.io-client, ``{}`` if it had none. ``headers``: by
    lower-case name. ``query``: the last value of each parameter. ``address``: the peer's address
    from the WSGI server (or werkzeug's ProxyFix). ``environ``: the handshake's WSGI environ without
    the server's own streams and sockets. ``issued``: when the app first got the socket, most often
    in its ``connection`` handler, in seconds as of `time.time`. ``time``: the same as text.
    ``url``: the path and the query. ``secure``: whether it came over TLS. ``xdomain``: whether a
    browser named an origin.
    """

    __slots__ = ("auth", "environ", "issued")

    def __init__(self, environ: Any, auth: Any, issued: float | None = None) -> None:
        self.environ: dict[str, Any] = environ if isinstance(environ, dict) else {}
        self.auth: Any = {} if auth is None else auth
        self.issued: float = time.time() if issued is None else issued

    @property
    def headers(self) -> dict[str, str]:
        found = {
            key[5:].replace("_", "-").lower(): value
            for key, value in self.environ.items()
            if key.startswith("HTTP_")
        }
        for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if self.environ.get(key):
                found[key.replace("_", "-").lower()] = self.environ[key]
        return found

    @property
    def query(self) -> dict[str, str]:
        text = self.environ.get("QUERY_STRING", "")
        return dict(urllib.parse.parse_qsl(text, keep_blank_values=True))

    @property
    def address(self) -> str:
        return str(self.environ.get("REMOTE_ADDR", ""))

    @property
    def time(self) -> str:
        return email.utils.formatdate(self.issued, usegmt=True)

    @property
    def url(self) -> str:
        return url_of(self.environ)

    @property
    def secure(self) -> bool:
        return self.environ.get("wsgi.url_scheme") in ("https", "wss")

    @property
    def xdomain(self) -> bool:
        return bool(self.environ.get("HTTP_ORIGIN"))

    @property
    def request(self) -> Request:
        """The request as Werkzeug reads it: ``headers``, ``args``, ``cookies``, ``environ``."""
        return Request(self.environ, populate_request=False, shallow=True)


def url_of(environ: dict[str, Any]) -> str:
    """The path and the query of a request."""
    path = urllib.parse.quote(
        f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}".encode(
            "latin-1", "replace"
        ),
        safe="/:@!$&'()*+,;=~",
    )
    query = environ.get("QUERY_STRING", "")
    return f"{path}?{query}" if query else path
