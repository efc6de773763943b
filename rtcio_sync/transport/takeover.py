"""The raw TCP socket out of a WSGI environ: what each WSGI server needs for that, in one place.

| server                                  | who is asked               | the 101               |
|-----------------------------------------|----------------------------|-----------------------|
| gevent's pywsgi, `gunicorn -k           | its `WSGIHandler`          | through               |
| gevent_pywsgi`                          |                            | `start_response`      |
| gevent-websocket's handler and gunicorn | the same, and its          | already sent          |
| worker                                  | `WebSocket`                |                       |
| `gunicorn -k gevent`                    | its `Response`, its worker | through               |
|                                         |                            | `start_response`      |
| uWSGI (`--gevent`)                      | `uwsgi.connection_fd()`    | through               |
|                                         |                            | `start_response`      |

Those objects are found on the stack, above the application: an environ does not hold all of them,
and middlewares copy it and wrap `start_response`.

A plain socket is *detached*: the server's object is left empty, so that the server can neither read
nor close what is ours when the request ends, and the request's greenlet ends at once. (A duplicated
descriptor would not do: pywsgi ends a request with one more `recv` on its socket, and swallows a
frame.) The state of TLS is bound to the socket object: there the request's greenlet stays. So it
does under uWSGI, which has a descriptor and no object; it does not read on it either, so that there
a duplicate is safe. (Its own WebSockets will not do: they need a uWSGI built with TLS, and do not
tell text from binary.)

A server that stops neither waits for what is detached nor tells it: `stopping` does.
"""

from __future__ import annotations

import _socket  # the bare class: gevent's holds two watchers, of which a connection needs neither
import errno
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from types import CodeType, FrameType
from typing import Any

import gevent
from gevent.pywsgi import Input, WSGIHandler

from .backlog import Backlog
from .base import Owner, StartResponse
from .websocket import Connection

_SWITCHING = "101 Switching Protocols"


class Seat:
    """One WebSocket request, in the greenlet in which the server called the application.

    `open` once, then start the connection, then end the request with `return seat.leave()`.
    `headers_sent` is True where the server has accepted the handshake before the application was
    called: then no status can be answered any more. `parked` is True, once open, where the
    request's greenlet has to stay as long as the connection (TLS, uWSGI).
    """

    headers_sent = False
    parked = False
    _connection: Connection

    def open(
        self,
        start_response: StartResponse,
        headers: list[tuple[str, str]],
        owner: Owner | None,
        *,
        max_size: int,
        max_buffered: int | None,
        backlog: Backlog | None = None,
    ) -> Connection:
        """Answer the handshake with `headers` and take the socket. The connection is not started.

        `owner`: None for one that is only to be closed.

        Raises ConnectionResetError when the client has gone: let it pass to the server, which
        expects it.
        """
        try:
            self._accept(start_response, headers)
        except OSError as error:  # TLS has errors of its own for this, which servers log
            raise ConnectionResetError(errno.ECONNRESET, "The client has gone") from error
        sock = self._socket()
        unread = self._unread(sock)
        self.parked = self.parked or hasattr(sock, "pending")
        if not self.parked:
            sock = _detach(sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # Nagle's algorithm would hold one message back until the last is acknowledged. A socket
            # that is reset by now refuses: the connection will find out.
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = Connection(
            sock,
            owner,
            max_size=max_size,
            max_buffered=max_buffered,
            backlog=backlog,
            unread=unread,
        )
        return self._connection

    def leave(self) -> list[bytes]:  # greenlet
        """End the request: what the application returns. Waits, if `parked`."""
        if self.parked:
            try:
                self._connection.when_lost().wait()
            finally:  # the server may kill its greenlets
                self._connection.abort()
        self._end()
        return []

    def _accept(self, start_response: StartResponse, headers: list[tuple[str, str]]) -> None:
        raise NotImplementedError

    def _socket(self) -> Any:
        raise NotImplementedError

    def _unread(self, sock: Any) -> bytes:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError


def find(environ: Mapping[str, Any]) -> Seat | None:
    """The seat of this request; None under a server that this module does not know.

    Call it where the server called the application: in the same greenlet, further down the stack.
    """
    if not environ.get("SERVER_PROTOCOL", "").startswith("HTTP/1."):
        return None
    pywsgi, gunicorn = WSGIHandler.handle_one_response.__code__, _gunicorn_code()
    for frame in stack(sys._getframe()):
        if frame.f_code is pywsgi:
            handler = frame.f_locals["self"]
            websocket = getattr(handler, "websocket", None)
            return _Pywsgi(handler) if websocket is None else _GeventWebSocket(handler, websocket)
        if frame.f_code is gunicorn:
            return _Gunicorn(frame.f_locals)
    # The module exists only inside uWSGI, and a loop of its own is there with `--gevent`.
    uwsgi = sys.modules.get("uwsgi")
    return _Uwsgi(uwsgi) if uwsgi is not None and "uwsgi.version" in environ else None


def line(environ: Mapping[str, Any]) -> Any:
    """The server's own socket of this request, to look at and never to read; None if unknown.

    Call it where `find` may be called.
    """
    if not environ.get("SERVER_PROTOCOL", "").startswith("HTTP/1."):
        return None
    return _line(sys._getframe())


def current() -> Any:
    """The greenlet of this request, for `line_of`."""
    return gevent.getcurrent()


def line_of(greenlet: Any) -> Any:
    """The same of a request whose greenlet waits; None if unknown, or if it does not wait."""
    return _line(greenlet.gr_frame)


def _line(innermost: FrameType | None) -> Any:
    pywsgi, gunicorn = WSGIHandler.handle_one_response.__code__, _gunicorn_code()
    frame = innermost
    while frame is not None:
        code = frame.f_code
        if code is pywsgi:
            return frame.f_locals["self"].socket
        if code is gunicorn:
            return frame.f_locals["sock"]
        frame = frame.f_back
    return None


def leave_body(environ: Mapping[str, Any]) -> bool:
    """Have pywsgi not wait for a body that nobody has read; whether the connection has to end.

    pywsgi reads such a body when the answer is out, for as long as it takes. That of `listen` has
    bounds of its own, and gunicorn's gevent worker waits for its `keepalive` at most. Call it where
    `find` may be called.
    """
    if getattr(environ.get("wsgi.input"), "bounded", False):
        return False
    for frame in stack(sys._getframe()):
        if frame.f_code is WSGIHandler.handle_one_response.__code__:
            body: Any = frame.f_locals["self"].wsgi_input
            kind: type = type(body)
            if kind is not Input:
                return False
            chunks_left = body.chunked_input and body.chunk_length != 0
            unread: bool = chunks_left or body.position < (body.content_length or 0)
            if unread:
                body._chunked_input_error = True  # what pywsgi sets where it cannot read on either
            return unread
    return False


def stack(frame: FrameType | None) -> Iterator[FrameType]:
    """``frame``, and those that called it, from the innermost on."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _gunicorn_code() -> CodeType | None:
    """Of the method in which `gunicorn -k gevent` calls an application; None if not loaded."""
    module = sys.modules.get("gunicorn.workers.ggevent")
    if module is None:
        return None
    code: CodeType = module.AsyncWorker.handle_request.__code__
    return code


def _detach(sock: Any) -> _socket.socket:
    family, kind, proto = sock.family, sock.type, sock.proto
    return _socket.socket(family, kind, proto, sock.detach())


class _Pywsgi(Seat):
    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def _accept(self, start_response: StartResponse, headers: list[tuple[str, str]]) -> None:
        start_response(_SWITCHING, headers)
        if self._handler.status is None:  # a middleware holds it back until there is a body
            self._handler.start_response(_SWITCHING, headers)
        self._handler.write(b"")

    def _socket(self) -> Any:
        return self._handler.socket

    def _unread(self, sock: Any) -> bytes:
        sock.settimeout(0.0)
        try:
            return bytes(self._handler.rfile.peek())
        except OSError:  # TLS has nothing to read, or the client has gone
            return b""

    def _end(self) -> None:
        self._handler.close_connection = True


class _GeventWebSocket(_Pywsgi):
    headers_sent = True

    def __init__(self, handler: Any, websocket: Any) -> None:
        super().__init__(handler)
        self._websocket = websocket

    def _accept(self, start_response: StartResponse, headers: list[tuple[str, str]]) -> None:
        # Else it would write a close frame of its own when the request ends.
        self._websocket.closed = True


class _Gunicorn(Seat):
    def __init__(self, request: Mapping[str, Any]) -> None:
        self._request = dict(request)  # the local variables of the worker's `handle_request`
        self._response = request["resp"]
        self._held_back = False

    def _accept(self, start_response: StartResponse, headers: list[tuple[str, str]]) -> None:
        response = self._response
        start_response(_SWITCHING, headers)
        if response.status is None:  # a middleware holds it back until there is a body
            self._held_back = True
            response.start_response(_SWITCHING, headers)
        response.chunked = False  # gunicorn 23 would send a 101 in chunks
        response.write(b"")
        response.force_close()

    def _socket(self) -> Any:
        return self._request["sock"]

    def _unread(self, sock: Any) -> bytes:
        unread: bytes = self._request["req"].unreader.buf.getvalue()
        return unread

    def _end(self) -> None:
        if self._held_back:
            # The middleware would start the response a second time, which gunicorn refuses. So the
            # request ends here; its line in the access log would be lost, too.
            worker, request = self._request["self"], self._request
            took = datetime.now() - request["request_start"]
            worker.log.access(self._response, request["req"], request["environ"], took)
            raise StopIteration


class _Uwsgi(Seat):
    parked = True

    def __init__(self, uwsgi: Any) -> None:
        self._uwsgi = uwsgi

    def _accept(self, start_response: StartResponse, headers: list[tuple[str, str]]) -> None:
        start_response(_SWITCHING, headers)(b"")

    def _socket(self) -> Any:
        return _socket.socket(fileno=os.dup(self._uwsgi.connection_fd()))

    def _unread(self, sock: Any) -> bytes:
        return b""

    def _end(self) -> None:
        """uWSGI closes its own descriptor when the application returns."""
