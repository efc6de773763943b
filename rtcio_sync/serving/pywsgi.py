"""The HTTP server of `listen`: gevent's pywsgi, with bounds on what a client may hold open.

A head that a proxy in front might read in another way is refused (`protocol.http_head`). A client
has `handshake_timeout` seconds for a request. Of a body that no application has read, only a
bounded part is read. A client that reads its answer too slowly, or not at all, is closed.

Requests to the Socket.IO path do not come here, unless they need care: `http`.
"""

from __future__ import annotations

import _socket
import errno
import logging
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import gevent
from gevent import pywsgi

from ..logs import tell
from ..protocol.http_head import Head, asks_to_close, without_authority
from ..transport.descriptor_shortage import Shortage, heed
from ..transport.fair_reading import read_fairly
from ..transport.tcp import reset_at_close
from .http import HEAD, Connection, accept, first_line
from .idle_connections import KEEP_ALIVE, Idle
from .reread_socket import Reread

__all__ = ["UNREADABLE", "Handler", "HttpServer", "Parting", "handler"]

log = logging.getLogger(__name__)

UNREADABLE = "a request of %(rtcio_address)s could not be read"

SHORT = 16384  # bytes of an answer that is copied, to be written together with its head

PIECE = 1 << 17  # bytes of an answer that are sent at a time
TAKEN_WITHIN = 60.0  # seconds that a client may take for so many

# The rest of a body that no application has read, once the answer is sent.
KEPT = 65536  # bytes that are read, so that the connection can be used for the next request
LINGER = 16_000_000  # bytes that are discarded before the end, so that a client reads the answer
GRACE = 0.5  # seconds for that, at least; else the rest of the time for the request


class _Slow(Exception):
    """A client took too long over its request."""


class _Shaking:
    """A connection whose TLS handshake is not over (`idle_connections.Waiting`)."""

    def __init__(self, sock: Any) -> None:
        self.socket = sock


class HttpServer(pywsgi.WSGIServer):
    """``patience``: seconds that a client may take for the TLS handshake; `None`: no limit."""

    patience: float | None = None
    #: The connections that wait for a request.
    idle: Idle
    #: How requests begin that `http.Connection` answers; empty: pywsgi answers all.
    beginnings: tuple[bytes, ...] = ()
    #: As `http.Entrance.elsewhere`.
    elsewhere: Callable[[Connection, str], bool] | None = None
    leaves = False
    #: The Engine.IO server announces the end of a connection.
    ending = False
    is_plain = None
    first_line: re.Pattern[str]
    longest = HEAD
    #: As `http.Entrance.serve`.
    serve: Callable[..., Any]

    def answer_directly(self, path: str, spawn: Callable[..., Any]) -> None:
        """Has requests to ``path`` answered by `http.Connection`. ``spawn`` makes greenlets."""
        self.beginnings, self.first_line = first_line(path)
        self.serve = spawn

    # -- accepting: hub ----------------------------------------------------------------------------

    def init_socket(self) -> None:
        super().init_socket()
        if self.socket.family in (socket.AF_INET, socket.AF_INET6):
            # Connections inherit it: Nagle's algorithm would delay messages.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.beginnings:
            gevents: Any = self  # which calls both for each connection
            gevents.do_read = partial(accept, self.socket, self)
            gevents.do_handle = Connection.readable
            self.shortage = Shortage(self)
        else:
            heed(self)

    def hand_over(self, sock: _socket.socket, address: Any, data: bytes) -> None:
        """Serves a connection of which ``data`` was read. # hub"""
        if self.closed:  # the process is about to end
            sock.close()
        else:
            super().do_handle(Reread(sock, data), address)

    def failed(self, environ: dict[str, Any], error: BaseException) -> None:
        """Reports an exception, as pywsgi does."""
        if not isinstance(error, gevent.GreenletExit):
            context = self.secure_environ_class(environ)
            self.loop.handle_error(context, type(error), error, error.__traceback__)

    def close(self) -> None:
        super().close()
        self.idle.stop()

    # -- TLS ---------------------------------------------------------------------------------------

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> None:
        try:
            secure = self._secured(client_socket)
        except (_Slow, OSError):  # not TLS, too slow, or gone: gevent would print a traceback
            tell(log, UNREADABLE, address=address[0] if address else None)
            return
        try:
            self.handle(secure, address)
        finally:
            secure.close()

    def _secured(self, client_socket: Any) -> Any:
        """The connection after its TLS handshake, until which it waits as an idle one."""
        server: Any = self
        arguments = {**server.ssl_args, "do_handshake_on_connect": False}
        secure = server.wrap_socket(client_socket, **arguments)
        shaking = _Shaking(secure)
        self.idle.add(shaking)
        try:
            if server.ssl_args.get("do_handshake_on_connect", True):
                with gevent.Timeout(self.patience, _Slow):
                    secure.do_handshake()
        except BaseException:
            secure.close()
            raise
        finally:
            self.idle.discard(shaking)
        return secure


class Body(pywsgi.Input):
    """A request's body that knows how much of it was not read."""

    __slots__ = ()  # so that an `Input` can become a `Body`

    #: The rest of it is read within bounds: see `takeover.leave_body`.
    bounded = True

    @property
    def broken(self) -> bool:
        """Whether reading it failed half-way: the start of the next request is then unknown."""
        return self._chunked_input_error

    def _do_read(self, *args: Any, **options: Any) -> Any:
        try:
            return super()._do_read(*args, **options)  # type: ignore[misc]
        except BaseException:
            self._chunked_input_error = True
            raise

    def _chunked_read(self, *args: Any, **options: Any) -> Any:
        try:
            return super()._chunked_read(*args, **options)  # type: ignore[misc]
        except BaseException:
            self._chunked_input_error = True
            raise

    def _discard(self) -> None:
        """pywsgi calls it while the answer is sent: does nothing, `discard` is called later."""

    @property
    def unread(self) -> int | None:
        """Bytes that were not read; `None` for chunks: how many follow is unknown."""
        if self.chunked_input:
            return 0 if self.chunk_length == 0 else None
        return (self.content_length or 0) - self.position

    @property
    def ends_the_connection(self) -> bool:
        """Whether so much is left that closing the connection costs less than reading it."""
        # A client that waits for "100 Continue" may send the body after the answer, or never.
        expects = self.socket is not None
        return bool(self.broken or (self.unread != 0 and expects) or (self.unread or 0) > KEPT)

    def discard(self, bound: int) -> bool:
        """Reads what is left, up to ``bound`` bytes; `True`: that was all. # greenlet"""
        self.send_100_continue_enabled = False
        while bound > 0:
            data = self.read(min(bound, 16384))
            if not data:
                return True
            bound -= len(data)
        return self.unread == 0


class Parting:
    """A mixin for pywsgi's handlers: a client that has gone is no error, and nothing is logged.

    gevent would print a traceback for one that goes in the middle of its request, or before it is
    refused. Errors of the application do not come here. And none keeps others from their turn.
    """

    rfile: Any
    socket: Any

    def handle(self) -> None:
        read_fairly(self.rfile, self.socket)
        with suppress(OSError):
            super().handle()  # type: ignore[misc]

    def read_request(self, raw_requestline: str) -> Any:
        try:
            return super().read_request(raw_requestline)  # type: ignore[misc]
        except OSError:
            return False

    def _sendall(self, data: bytes | bytearray) -> None:
        try:
            super()._sendall(data)  # type: ignore[misc]
        except OSError as error:  # TLS and lost networks have others, which pywsgi would log
            raise ConnectionResetError(errno.ECONNRESET, "The client has gone") from error


class Handler(Parting, pywsgi.WSGIHandler):
    """One HTTP connection; `handler` makes the class for a server."""

    #: Seconds that a client has for a request; `None`: no limit.
    seconds: float | None = None
    #: Whether requests are logged.
    logs = False
    #: The server's connections that wait for a request.
    idle: Idle

    asked = False
    #: The host that the request's target names itself.
    authority: str | None = None
    corked: bytearray | None = None
    due: float | None = None

    def MessageClass(self, fp: Any, *args: Any) -> Any:
        return Head(fp, self.request_version)

    def handle(self) -> None:
        try:
            super().handle()
        finally:
            self.idle.discard(self)

    # -- a request, in time ------------------------------------------------------------------------

    def read_requestline(self) -> Any:
        wait = KEEP_ALIVE if self.asked and self.seconds is not None else self.seconds
        self.asked = True
        self.idle.add(self)  # until its head was read
        try:
            with gevent.Timeout(wait, _Slow):
                return super().read_requestline()
        except _Slow:
            return ""

    def read_request(self, raw_requestline: str) -> Any:
        try:
            with gevent.Timeout(self.seconds, _Slow):
                read = super().read_request(raw_requestline)
        # pywsgi looks for the minor version of "HTTP/1", which has none.
        except (_Slow, IndexError):
            return False
        finally:
            self.idle.discard(self)
        if not read:  # the client has gone
            return False
        head: Any = self.headers
        target: Any = self.path
        # RFC 9112 3.2: the older versions need no Host.
        if head.get("host") is None and self.request_version not in ("HTTP/0.9", "HTTP/1.0"):
            raise ValueError("the request has no Host")
        if asks_to_close(head.get("connection", "")):
            self.close_connection = True
        self.authority, self.path = without_authority(target)
        return read

    def _headers(self) -> Any:
        head: Any = self.headers
        return head.environ()

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        if self.authority is not None:  # RFC 9112 3.2.2: it counts, and not the field
            environ["HTTP_HOST"] = self.authority
        given: Any = self.wsgi_input
        if self.content_length or given.chunked_input:
            self.due = None if self.seconds is None else time.monotonic() + self.seconds
            given.__class__ = Body  # in the environ as well
        return environ

    # -- the rest of its body ----------------------------------------------------------------------

    def handle_one_response(self) -> None:
        super().handle_one_response()
        body = self.wsgi_input
        if isinstance(body, Body) and body.unread != 0 and self.code != 101:
            self._leave(body)

    def _leave(self, body: Body) -> None:
        """Discards what was not read, within bounds, or closes the connection."""
        over = self.close_connection
        if body.broken:
            self.close_connection = True
            return
        if over and not hasattr(self.socket, "pending"):  # not TLS: tell the client to stop
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
        left = None if self.due is None else max(self.due - time.monotonic(), GRACE)
        self.idle.add(self)
        try:
            with gevent.Timeout(left, _Slow):
                whole = body.discard(LINGER if over else KEPT)
        except (_Slow, OSError):
            whole = False
        finally:
            self.idle.discard(self)
        self.close_connection = over or not whole

    # -- the answer --------------------------------------------------------------------------------

    def _has_no_body(self) -> bool:
        """RFC 9110 6.4.1: an answer to HEAD, and a 1xx, 204 or 304, has no body."""
        code = int(self.code or 0)
        return self.command == "HEAD" or code in (204, 304) or 100 <= code < 200

    def write(self, data: bytes) -> None:
        super().write(b"" if data and self._has_no_body() else data)

    def finalize_headers(self) -> None:
        super().finalize_headers()
        if self._has_no_body():
            self.response_use_chunked = False
        body = self.wsgi_input
        if self.code != 101 and isinstance(body, Body) and body.ends_the_connection:
            self.close_connection = True
        if self.close_connection and self.code != 101:  # RFC 9112 9.6
            headers: Any = self.response_headers
            kept = [each for each in headers if each[0].lower() != b"connection"]
            headers[:] = [*kept, (b"Connection", b"close")]

    # A short answer is written together with its head: pywsgi makes two writes.

    def _write_with_headers(self, data: bytes) -> None:
        self.corked = answer = bytearray() if len(data) < SHORT else None
        try:
            super()._write_with_headers(data)  # type: ignore[misc]
        finally:
            self.corked = None
        if answer is not None:
            self._sendall(answer)

    def _sendall(self, data: bytes | bytearray) -> None:
        if self.corked is not None:
            self.corked += data
        elif len(data) <= PIECE:
            self._send_in_time(data)
        else:
            view = memoryview(data)
            for at in range(0, len(view), PIECE):
                self._send_in_time(view[at : at + PIECE])

    def _send_in_time(self, piece: Any) -> None:
        """Sends a piece of an answer. A client that does not read waits as an idle one."""
        self.idle.add(self)
        try:
            with gevent.Timeout(None if self.seconds is None else TAKEN_WITHIN, _Slow):
                super()._sendall(piece)
        except (_Slow, OSError):
            reset_at_close(self.socket)  # or the kernel would keep what it has taken
            raise ConnectionResetError(errno.ECONNRESET, "The client has gone") from None
        finally:
            self.idle.discard(self)

    # -- logs --------------------------------------------------------------------------------------

    def log_request(self) -> None:
        if self.logs:  # pywsgi would format the line even if it is not written
            super().log_request()

    def log_error(self, msg: str, *args: Any) -> None:
        # pywsgi's errors here are caused by clients, and it quotes their requests with the
        # session ids in them.
        address = self.client_address[0] if self.client_address else None
        tell(log, UNREADABLE, address=address)


def handler(seconds: float | None, idle: Idle, *, logs: bool) -> type[Handler]:
    """A handler class for pywsgi. A client has ``seconds`` for a request; `None`: no limit.

    ``idle``: the connections that wait for a request. ``logs``: whether requests are logged.
    """
    attributes = {"seconds": seconds, "logs": logs, "idle": idle}
    return type("Handler", (Handler,), attributes)
