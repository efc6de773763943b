"""Takes the raw TCP socket of a request over from the WSGI server, for each server in its way.

| server                                  | the socket comes from      | the 101 is sent       |
|-----------------------------------------|----------------------------|-----------------------|
| gevent's pywsgi, `gunicorn -k           | its `WSGIHandler`          | through               |
| gevent_pywsgi`                          |                            | `start_response`      |
| gevent-websocket's handler and gunicorn | the same, and its          | already sent          |
| worker                                  | `WebSocket`                |                       |
| `gunicorn -k gevent`                    | its `Response`, its worker | through               |
|                                         |                            | `start_response`      |
| uWSGI (`--gevent`)                      | `uwsgi.connection_fd()`    | through               |
|                                         |                            | `start_response`      |

`Server.listen` puts an object of its own into the environ of a request (`ports.CONNECTION`). The
others' objects are found on the stack, among the callers of the application: an environ does not
hold all of them, and middlewares copy it and wrap `start_response`.

A plain socket is *detached* from the server's socket object: when the request ends, the server can
neither read nor close it, and the request's greenlet ends at once. (Duplicating the descriptor is
not enough: pywsgi ends a request with one more `recv` on its socket, and would take a frame.) The
state of TLS belongs to the socket object, so with TLS the request's greenlet stays. It also stays
under uWSGI, which has a descriptor and no object. uWSGI does not read from it any more, so a
duplicate is safe there. (uWSGI's own WebSockets need a build with TLS, and do not distinguish text
from binary.)

A server that stops neither waits for what is detached nor tells it: `stopping` does.

Used of gevent's private names, asserted in ``tests/test_upstream.py``:
``Input._chunked_input_error``, which keeps pywsgi from reading the rest of a body.
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

from ..hub.ports import IoWatcher
from .fair_reading import read_fairly
from .ports import CONNECTION, Owner, Served, StartResponse
from .slow_readers import Backlog
from .websocket import WebSocket

SWITCHING = "101 Switching Protocols"


class WebSocketRequest:
    """One WebSocket request, in the greenlet in which the server called the application.

    Call `open` once, start the WebSocket, and end the request with `return request.leave()`.
    `headers_sent` is True if the server has accepted the handshake before it called the
    application: then no other status can be sent. Once open, `parked` is True if the request's
    greenlet has to stay as long as the connection (TLS, uWSGI).
    """

    headers_sent = False
    parked = False
    _opened: WebSocket

    def open(
        self,
        start_response: StartResponse,
        headers: list[tuple[str, str]],
        owner: Owner | None,
        *,
        max_size: int,
        max_buffered: int | None,
        backlog: Backlog | None = None,
        kind: type[WebSocket] = WebSocket,
    ) -> WebSocket:
        """Answer the handshake with `headers` and take the socket. The WebSocket is not started.

        `owner`: None for a WebSocket that is to be closed at once.

        Raises ConnectionResetError if the client has gone; the WSGI server expects it.
        """
        try:
            self._accept(start_response, headers)
        except OSError as error:  # TLS has errors of its own for this, which servers log
            raise ConnectionResetError(errno.ECONNRESET, "The client has gone") from error
        sock, unread, reader = self._parts()
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # Nagle's algorithm would delay a message until the last one is acknowledged. If TCP is
            # reset by now, this fails, and the connection will notice.
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._opened = kind(
            sock,
            owner,
            max_size=max_size,
            max_buffered=max_buffered,
            backlog=backlog,
            unread=unread,
            reader=reader,
        )
        return self._opened

    @property
    def can_be_handed_out(self) -> bool:
        """Whether `hand_out` is possible: not with TLS, under uWSGI, or once 101 is sent."""
        return not (self.parked or self.headers_sent or self._is_tls())

    def _is_tls(self) -> bool:
        return hasattr(self._socket(), "pending")

    def hand_out(
        self, start_response: StartResponse, headers: list[tuple[str, str]]
    ) -> tuple[Any, bytes]:
        """Answers the handshake, and gives the socket and what was read of it, for other uses."""
        self._accept(start_response, headers)
        sock, unread, reader = self._parts()
        if reader is not None:
            reader.close()
        return sock, unread

    def leave_handed_out(self) -> list[bytes]:
        """As `leave`, after `hand_out`."""
        self._end()
        return []

    def _parts(self) -> tuple[Any, bytes, IoWatcher | None]:
        """The socket, bytes that were read of it, and a stopped watcher of it if there is one."""
        sock = self._socket()
        unread = self._unread(sock)
        self.parked = self.parked or hasattr(sock, "pending")
        return (sock if self.parked else _detach(sock)), unread, None

    def leave(self) -> list[bytes]:  # greenlet
        """End the request: gives what the application has to return. Blocks if `parked`."""
        if self.parked:
            try:
                self._opened.when_lost().wait()
            finally:  # the server may kill this greenlet
                self._opened.abort()
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


def find(environ: Mapping[str, Any]) -> WebSocketRequest | None:
    """This request as one for a WebSocket; None if this module does not know its server.

    Call it in the greenlet in which the server called the application.
    """
    served: WebSocketRequest | None = environ.get(CONNECTION)
    if served is not None:
        return served
    if not environ.get("SERVER_PROTOCOL", "").startswith("HTTP/1."):
        return None
    pywsgi, gunicorn = WSGIHandler.handle_one_response.__code__, _gunicorn_code()
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if code is pywsgi:
            handler = frame.f_locals["self"]
            websocket = getattr(handler, "websocket", None)
            return _Pywsgi(handler) if websocket is None else _GeventWebSocket(handler, websocket)
        if code is gunicorn:
            return _Gunicorn(frame.f_locals)
        frame = frame.f_back
    # The module exists only inside uWSGI.
    uwsgi = sys.modules.get("uwsgi")
    return _Uwsgi(uwsgi) if uwsgi is not None and "uwsgi.version" in environ else None


def line(environ: Mapping[str, Any]) -> Any:
    """The server's socket of this request, not to be read or closed; None if unknown.

    Call it where `find` may be called.
    """
    served: Served | None = environ.get(CONNECTION)
    if served is not None:
        return served.socket
    if not environ.get("SERVER_PROTOCOL", "").startswith("HTTP/1."):
        return None
    return _line(sys._getframe())


def writes_twice(environ: Mapping[str, Any]) -> Any:
    """`line`, if the server writes the head of an answer apart from its body; else None."""
    return None if CONNECTION in environ else line(environ)


def current() -> Any:
    """The greenlet of this request, for `line_of`."""
    return gevent.getcurrent()


def line_of(greenlet: Any) -> Any:
    """`line` of a request whose greenlet waits; None if unknown, or if it does not wait."""
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


def read_in_turns(environ: Mapping[str, Any]) -> None:
    """Lets others have their turn while pywsgi reads a body: see `fair_reading`."""
    body = environ.get("wsgi.input")
    if type(body) is Input:
        read_fairly(body.rfile, None)


def leave_body(environ: Mapping[str, Any]) -> bool:
    """Keeps pywsgi from reading a body that the application did not read.

    Gives whether the connection then has to end. pywsgi reads such a body after the answer, without
    a time-out. The server of `listen` has bounds of its own, and gunicorn's gevent worker waits for
    its `keepalive` at most. Call it where `find` may be called.
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
                body._chunked_input_error = True  # pywsgi sets it itself when it cannot read on
            return unread
    return False


def stack(frame: FrameType | None) -> Iterator[FrameType]:
    """``frame``, and those that called it, from the innermost on."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _gunicorn_code() -> CodeType | None:
    """The code of the method in which `gunicorn -k gevent` calls an application; None if absent."""
    module = sys.modules.get("gunicorn.workers.ggevent")
    if module is None:
        return None
    code: CodeType = module.AsyncWorker.handle_request.__code__
    return code


def _detach(sock: Any) -> _socket.socket:
    family, kind, proto = sock.family, sock.type, sock.proto
    return _socket.socket(family, kind, proto, sock.detach())


class _Pywsgi(WebSocketRequest):
    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def _accept(self, start_response: StartResponse, headers: list[tuple[str, str]]) -> None:
        start_response(SWITCHING, headers)
        if self._handler.status is None:  # a middleware holds it back until there is a body
            self._handler.start_response(SWITCHING, headers)
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
        # Else it would send a close frame when the request ends.
        self._websocket.closed = True


class _Gunicorn(WebSocketRequest):
    def __init__(self, request: Mapping[str, Any]) -> None:
        self._request = dict(request)  # the local variables of the worker's `handle_request`
        self._response = request["resp"]
        self._held_back = False

    def _accept(self, start_response: StartResponse, headers: list[tuple[str, str]]) -> None:
        response = self._response
        start_response(SWITCHING, headers)
        if response.status is None:  # a middleware holds it back until there is a body
            self._held_back = True
            response.start_response(SWITCHING, headers)
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
            # request ends here, and its line in the access log is written here.
            worker, request = self._request["self"], self._request
            took = datetime.now() - request["request_start"]
            worker.log.access(self._response, request["req"], request["environ"], took)
            raise StopIteration


class _Uwsgi(WebSocketRequest):
    parked = True

    def __init__(self, uwsgi: Any) -> None:
        self._uwsgi = uwsgi

    def _accept(self, start_response: StartResponse, headers: list[tuple[str, str]]) -> None:
        start_response(SWITCHING, headers)(b"")

    def _socket(self) -> Any:
        return _socket.socket(fileno=os.dup(self._uwsgi.connection_fd()))

    def _unread(self, sock: Any) -> bytes:
        return b""

    def _end(self) -> None:
        """uWSGI closes its own descriptor when the application returns."""
