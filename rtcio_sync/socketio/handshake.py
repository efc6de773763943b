"""The handshake of a client, as the app sees it."""

from __future__ import annotations

import urllib.parse
from typing import Any

__all__ = ["Handshake"]


class Handshake:
    """The data that a client sent when it connected.

    ``auth``: the ``auth`` option of its socket.io-client, ``{}`` if it had none. ``headers``: by
    lower-case name. ``query``: the last value of each parameter. ``address``: the peer's address
    from the WSGI server (or werkzeug's ProxyFix). ``environ``: the handshake's WSGI environ without
    the server's own streams and sockets.
    """

    __slots__ = ("auth", "environ")

    def __init__(self, environ: Any, auth: Any) -> None:
        self.environ: dict[str, Any] = environ if isinstance(environ, dict) else {}
        self.auth: Any = {} if auth is None else auth

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
