"""WSGI requests as a WSGI server makes them, without one."""

from __future__ import annotations

import io
import sys
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

from tests.frames import KEY

#: The header fields of a WebSocket's opening handshake.
WEBSOCKET = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def environ_of(
    method: str,
    query: Mapping[str, str],
    *,
    path: str = "/socket.io/",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    named = {f"HTTP_{key.upper().replace('-', '_')}": each for key, each in (headers or {}).items()}
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": urllib.parse.urlencode({"EIO": "4", "transport": "polling", **query}),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        "HTTP_HOST": "localhost",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.input": io.BytesIO(body),
        **named,
    }


def request(application: Any, environ: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one WSGI request."""
    told: dict[str, Any] = {}

    def start_response(
        status: str, headers: Iterable[tuple[str, str]], exc_info: Any = None
    ) -> Any:
        told.update(status=status, headers=dict(headers))
        return lambda data: None

    body = b"".join(application(environ, start_response))
    return int(told["status"][:3]), told["headers"], body
