"""The answer to one request of a `http.Connection`: the server's half of WSGI (PEP 3333)."""

from __future__ import annotations

import _socket
import time
from contextlib import suppress
from email.utils import formatdate
from typing import Any, Protocol

from ..hub.ports import IoWatcher
from ..transport.ports import Environ, StartResponse
from ..transport.takeover import SWITCHING, WebSocketRequest
from ..transport.tcp import reset_at_close
from .ports import Application

__all__ = ["Response"]


class Line(Protocol):
    """The connection that the answer is sent on."""

    socket: Any
    taken: bool

    def write(self, data: bytes) -> None:
        """Sends all of it; blocks while the client does not read. # greenlet"""

    def take(self) -> tuple[_socket.socket, bytes, IoWatcher | None]:
        """Gives the socket away, the bytes that were read, and its watcher, which is stopped."""


class Response(WebSocketRequest):
    """One answer, which may be that of a WebSocket. # greenlet: everything

    ``closes``: whether the connection ends behind it.
    """

    __slots__ = ("_bodiless", "_headers", "_left", "_line", "_status", "closes", "sent")

    def __init__(self, line: Line, *, closes: bool) -> None:
        self._line = line
        self._status: str | None = None
        self._headers: list[tuple[str, str]] = []
        #: Bytes of the body that are missing; `None`: the body ends with the connection.
        self._left: int | None = None
        self._bodiless = False
        self.closes = closes
        #: Whether the head was sent.
        self.sent = False

    @property
    def socket(self) -> Any:
        """The socket that it is written to, not to be read or closed."""
        return self._line.socket

    # -- WSGI --------------------------------------------------------------------------------------

    def run(self, application: Application, environ: Environ) -> None:
        """Calls the application and sends what it returns."""
        result: Any = application(environ, self.start_response)
        try:
            for piece in result:
                if piece:
                    self.write(piece)
            if not self._line.taken:
                if not self.sent:
                    self.write(b"")
                if self._left:
                    self.closes = True  # the client waits for more than the application gave
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Any:
        """PEP 3333, "The start_response() Callable"."""
        if exc_info is not None:
            try:
                if self.sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._status is not None:
            raise AssertionError("start_response was called twice for one request")
        self._status, self._headers = status, headers
        return self.write

    def write(self, data: bytes) -> None:
        """Sends a piece of the body, the first one together with the head."""
        head = b"" if self.sent else self._head()
        if self._bodiless:
            data = b""
        if self._left is not None:
            if len(data) > self._left:
                self.closes = True
                raise AssertionError("the body is longer than its Content-Length")
            self._left -= len(data)
        piece = head + data
        self.sent = True
        if piece:
            self._line.write(piece)

    def _head(self) -> bytes:
        status = self._status
        if status is None:
            raise AssertionError("write was called before start_response")
        lines = [f"HTTP/1.1 {status}"]
        known = set()
        for name, value in self._headers:
            lines.append(f"{name}: {value}")
            known.add(name.lower())
            if name.lower() == "content-length":
                self._left = int(value)
            elif name.lower() == "connection" and value.lower() == "close":
                self.closes = True
        self._bodiless = status[:1] == "1" or status[:3] in ("204", "304")  # RFC 9110 6.4.1
        if self._bodiless:
            self._left = 0
        elif self._left is None:
            self.closes = True  # the end of the body is the end of the connection
        if "date" not in known and status[:1] != "1":  # RFC 9110 6.6.1: with a 1xx it is optional
            lines.append(f"Date: {_date()}")
        if self.closes and "connection" not in known:
            lines.append("Connection: close")
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
            raise ValueError("a header field contains the end of a line")
        return text.encode("latin-1") + b"\r\n\r\n"

    def fail(self) -> None:
        """Sends 500, if nothing was sent yet; the connection ends."""
        self.closes = True
        if self._line.taken:
            return
        if self.sent and self._left is None:  # the end would look like that of the body
            reset_at_close(self._line.socket)
        elif not self.sent:
            body = b"Internal Server Error"
            self._status, self._left = "500 Internal Server Error", None
            self._headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
            with suppress(BaseException):  # a time-out of the app's, or the client has gone
                self.write(body)

    # -- as a WebSocket ----------------------------------------------------------------------------

    def _accept(self, start_response: StartResponse, headers: list[tuple[str, str]]) -> None:
        start_response(SWITCHING, headers)
        if self._status is None:  # a middleware holds it back until there is a body
            self._status, self._headers = SWITCHING, headers
        if not self.sent:
            head, self.sent = self._head(), True
            self._line.write(head)

    def _parts(self) -> tuple[_socket.socket, bytes, IoWatcher | None]:
        return self._line.take()

    def _is_tls(self) -> bool:
        return False

    def leave(self) -> list[bytes]:
        """The connection is the WebSocket's: there is nothing to end."""
        return []

    leave_handed_out = leave


_dated: tuple[int, str] = (0, "")


def _date() -> str:
    """The value of Date (RFC 9110 6.6.1), made once a second."""
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = now, formatdate(now, usegmt=True)
    return _dated[1]
