"""HTTP/1.1 for the Socket.IO path: the hub reads each request, a greenlet answers it.

A connection costs no greenlet while it waits. What is no plain request to that path is handed over,
with what was read of it, to the WSGI server (`pywsgi`, or gunicorn's worker): other paths, other
methods, chunked or large bodies, "Expect", malformed heads.

Used of gevent's private names, asserted in ``tests/test_upstream.py``: ``socket._accept``, which
does not wait.
"""

from __future__ import annotations

import _socket  # the bare class: gevent's holds two watchers
import errno
import io
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import gevent
from gevent.hub import get_hub

from ..hub.ports import IoWatcher
from ..protocol.http_head import asks_to_close
from ..protocol.http_request import environ_of
from ..transport.descriptor_shortage import Shortage
from ..transport.ports import CONNECTION, Environ
from ..transport.tcp import READ, WRITE
from .http_response import Response
from .idle_connections import Idle
from .ports import Application
from .reread_socket import Reread

__all__ = ["HEAD", "Answer", "Connection", "Entrance", "accept", "first_line", "take_over"]

CHUNK = 16384  # bytes that are read at a time
HEAD = 65536  # bytes of a head, at most
LINE = 8000  # bytes of a first line; servers refuse longer ones, with 414
BODY = 65536  # bytes of a body; a longer one is handed over
READS = 16  # reads of one request; one in more pieces is handed over

Answer = Callable[[Response, Environ], None]
"""What a greenlet does for a request."""

_GONE = (errno.EPIPE, errno.ECONNRESET, errno.EBADF)


class Entrance(Protocol):
    """The server whose connections these are."""

    #: The WSGI application.
    application: Application
    #: How requests to the path begin: "GET /path/?" and so on.
    beginnings: tuple[bytes, ...]
    #: Bytes of a head; a longer one is handed over.
    longest: int
    #: Matches the first line of a request to the path: method, path and query.
    first_line: re.Pattern[str]
    idle: Idle
    #: Takes a connection whose request belongs to another process: ``(connection, query)``;
    #: `False`: it belongs here. `None`: there is no other process. # hub
    elsewhere: Callable[[Connection, str], bool] | None
    #: Whether sessions go to another process now, also between a request and its greenlet.
    leaves: bool
    #: What it does if the process may open no more files.
    shortage: Shortage

    @property
    def ending(self) -> bool:
        """Whether a connection ends behind its next answer."""

    @property
    def loop(self) -> Any:
        """A `hub.ports.Loop`."""

    @property
    def is_plain(self) -> Callable[[Environ], bool] | None:
        """Says whether a request may be answered here, by its environ; `None`: each may. # hub"""

    @property
    def serve(self) -> Callable[[Answer, Response, Environ], object]:
        """Has a greenlet call ``answer(response, environ)``. # hub"""

    def get_environ(self) -> Environ:
        """What the environs of all requests have in common."""

    def hand_over(self, sock: _socket.socket, address: Any, data: bytes) -> None:
        """Has the WSGI server serve a connection of which ``data`` was read. # hub"""

    def failed(self, environ: Environ, error: BaseException) -> None:
        """Reports an exception of the application. # greenlet"""


def first_line(path: str) -> tuple[tuple[bytes, ...], re.Pattern[str]]:
    """How plain requests to ``path`` begin, and their whole first lines."""
    beginnings = tuple(f"{method} {path}?".encode() for method in ("GET", "POST"))
    # No "#": servers differ in what they do with a fragment.
    return beginnings, re.compile(rf"(GET|POST) ({re.escape(path)})\?([!\"$-~]*) HTTP/1\.1")


def accept(listener: Any, entrance: Entrance) -> tuple[Connection] | None:
    """The next connection, for a `gevent.server.StreamServer`; `None`: there is none now. # hub"""
    try:
        fd, address = listener._accept()
    except BlockingIOError:
        return None
    except OSError as error:
        if not entrance.shortage.waits(error):
            raise
        return None
    sock = _socket.socket(listener.family, listener.type, listener.proto, fd)
    sock.setblocking(False)
    return (Connection(entrance, sock, address),)


class Body(io.BytesIO):
    """The body of a request: it was read with the head."""

    #: Nothing of it is left on the connection: see `takeover.leave_body`.
    bounded = True


def take_over(entrance: Entrance, arrived: Reread) -> None:
    """Answers a connection that another process has accepted, and may have read something of."""
    address, data = arrived.getpeername(), arrived.left()
    sock = _socket.socket(fileno=arrived.detach())
    sock.setblocking(False)
    connection = Connection(entrance, sock, address)
    if data:
        connection.take_up(data)
    else:
        connection.readable()


class Connection:
    """One TCP connection. `readable` reads its first request."""

    __slots__ = (
        "_cut", "_data", "_entrance", "_listed", "_reader", "_reads", "address", "asked", "since",
        "socket", "taken",
    )  # fmt: skip

    def __init__(self, entrance: Entrance, sock: _socket.socket, address: Any) -> None:
        self.socket: Any = sock
        self.address = address
        self.since = 0.0
        #: Whether it has become a WebSocket, or is closed.
        self.taken = False
        #: Whether a request has come before.
        self.asked = False
        self._entrance = entrance
        self._reader: IoWatcher | None = entrance.loop.io(sock.fileno(), READ)
        self._data = b""
        #: Where the request ends in the data of one whose session may move meanwhile; 0: none.
        self._cut = 0
        self._reads = 0
        self._listed = False  # whether it is among those that wait for a request

    # -- reading: hub ------------------------------------------------------------------------------

    def take_up(self, data: bytes) -> None:
        """Begins with ``data``, which another process has read of the first request."""
        self._data = data
        self._reads = 1
        self._look()

    def depart(self) -> tuple[_socket.socket, bytes]:
        """Gives the socket away, and what was read of the request: another process answers it."""
        self._leave()
        self.taken = True
        return self.socket, self._data

    def readable(self) -> None:
        """Reads what has come of a request; most clients have sent the first one by now."""
        try:
            try:
                data = self.socket.recv(CHUNK)
            except BlockingIOError:
                self._wait()
                return
            except OSError:
                self.close()
                return
            if not data:
                self._ended()
                return
            self._reads += 1
            self._data += data
            self._look()
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            self._broke(error)

    def _broke(self, error: BaseException) -> None:
        self.close()
        gevent.spawn(self._entrance.failed, {}, error)  # the hub must not wait for a log

    def _wait(self, *, kept: bool = False) -> None:
        """Waits for a request, or for the rest of it; ``kept``: as an idle connection."""
        if not self._listed:
            self._listed = True
            self._entrance.idle.add(self)
            self._entrance.idle.expect(self, kept=kept)
        if self._reader is not None and not self._reader.active:
            self._reader.start(self.readable)

    def _wait_for_rest(self) -> None:
        if self._reads == 1 and self._listed and self.asked:  # on an idle connection
            self._entrance.idle.forget(self)
            self._entrance.idle.expect(self)
        self._wait()

    def _unlist(self) -> None:
        self._listed = False
        self._entrance.idle.discard(self)
        self._entrance.idle.forget(self)

    def _ended(self) -> None:
        if self._data:  # the application has to hear of a request that ended half-way
            self._hand_over()
        else:
            self.close()

    def _look(self) -> None:
        """Begins to answer the request, if all of it is here."""
        data, entrance = self._data, self._entrance
        if not data.startswith(entrance.beginnings):
            if any(each.startswith(data) for each in entrance.beginnings) and self._reads < READS:
                self._wait_for_rest()
            else:
                self._hand_over()
            return
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > entrance.longest or self._reads >= READS or self._is_unusual(data):
                self._hand_over()
            else:
                self._wait_for_rest()
            return
        environ = self._environ(data[:end].decode("latin-1")) if end <= entrance.longest else None
        if environ is None:
            self._hand_over()
            return
        elsewhere = entrance.elsewhere
        if elsewhere is not None and elsewhere(self, environ["QUERY_STRING"]):
            return
        begin = end + 4
        end = begin + int(environ.get("CONTENT_LENGTH") or 0)
        if len(data) < end:
            if end - begin > BODY or self._reads >= READS:
                self._hand_over()
            else:
                self._wait_for_rest()
            return
        environ["wsgi.input"] = Body(data[begin:end])
        if entrance.leaves:
            self._cut = end
        else:
            self._data = data[end:]
        self._reads, self.asked = 0, True
        if self._reader is not None and self._reader.active:
            self._reader.stop()
        if self._listed:
            self._unlist()
        asked = "HTTP_CONNECTION" in environ and asks_to_close(environ["HTTP_CONNECTION"])
        response = Response(self, closes=asked or entrance.ending)
        environ[CONNECTION] = response
        entrance.serve(self.answer, response, environ)

    def _is_unusual(self, data: bytes) -> bool:
        """Whether the head may be over without the usual ends of lines, or has no version."""
        first, ended, _ = data.partition(b"\n")
        if not ended:
            return False
        line = first.decode("latin-1")
        usual = line[-1:] == "\r" and self._entrance.first_line.fullmatch(line[:-1]) is not None
        return not usual or b"\n\n" in data or b"\n\r\n" in data

    def _environ(self, head: str) -> Environ | None:
        first, _, fields = head.partition("\r\n")
        line = self._entrance.first_line.fullmatch(first)
        if line is None or len(first) > LINE:
            return None
        found = environ_of(fields)
        if found is None or "HTTP_HOST" not in found:  # without Host it is refused there
            return None
        environ = self._entrance.get_environ()
        environ.update(found)
        method, path, query = line.groups()
        environ["REQUEST_METHOD"] = method
        environ["SCRIPT_NAME"] = ""
        environ["PATH_INFO"] = path
        environ["QUERY_STRING"] = query
        environ["SERVER_PROTOCOL"] = "HTTP/1.1"
        address = self.address
        if isinstance(address, tuple):
            environ["REMOTE_ADDR"] = str(address[0])
            environ["REMOTE_PORT"] = str(address[1])
        environ["wsgi.input_terminated"] = True
        is_plain = self._entrance.is_plain
        return environ if is_plain is None or is_plain(environ) else None

    def _hand_over(self) -> None:
        self._leave()
        self.taken = True
        self._entrance.hand_over(self.socket, self.address, self._data)

    # -- answering: greenlet -----------------------------------------------------------------------

    def answer(self, response: Response, environ: Environ) -> None:
        """Calls the application and sends its answer. # greenlet"""
        if self._cut and self._moves_on(environ):
            return
        try:
            response.run(self._entrance.application, environ)
        except BaseException as error:  # noqa: BLE001 - it ends with the request
            gone = isinstance(error, OSError) and error.args[:1] and error.args[0] in _GONE
            if not gone:
                self._entrance.failed(environ, error)
            response.fail()
        if not self.taken:
            if response.closes:
                self._discard_and_close()
            else:
                self._next()

    def _moves_on(self, environ: Environ) -> bool:
        """Whether its session has gone to another process since it was read, and it goes there."""
        elsewhere = self._entrance.elsewhere
        if elsewhere is not None and elsewhere(self, environ["QUERY_STRING"]):
            return True
        self._data, self._cut = self._data[self._cut :], 0
        return False

    def _next(self) -> None:
        """Waits for the next request."""
        if self._data:  # it has come already
            self._entrance.loop.run_callback(self._again)
        else:
            self._wait(kept=True)

    def _again(self) -> None:  # hub
        try:
            if not self.taken:
                self._reads = 1
                self._look()
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            self._broke(error)

    def write(self, data: bytes) -> None:
        """Sends all of it; blocks while the client does not read. # greenlet

        Raises `ConnectionResetError` if the client, or the way to it, has gone.
        """
        sock = self.socket
        try:
            try:
                sent = sock.send(data)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                self._write_rest(sock, memoryview(data)[sent:])
        except OSError as error:  # a lost network has others, which an app's own could be, too
            raise ConnectionResetError(errno.ECONNRESET, "The client has gone") from error

    def _write_rest(self, sock: _socket.socket, rest: memoryview) -> None:
        watcher: Any = self._entrance.loop.io(sock.fileno(), WRITE)
        hub: Any = get_hub()
        try:
            while rest:
                hub.wait(watcher)
                try:
                    rest = rest[sock.send(rest) :]
                except BlockingIOError:
                    continue
        finally:
            watcher.close()

    # -- the end: hub or greenlet ------------------------------------------------------------------

    def too_late(self) -> None:
        """The client did not send a request in time. # hub"""
        if self._data.startswith(self._entrance.beginnings):
            self._hand_over()  # it gets some more seconds there, and then an answer
        else:
            self.close()

    def _leave(self) -> None:
        if self._listed:
            self._unlist()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.stop()
            reader.close()

    def _discard_and_close(self) -> None:
        with suppress(OSError):
            self.socket.recv(CHUNK)  # or the client could get a reset instead of the answer
        self.close()

    def close(self) -> None:
        """Closes TCP."""
        self._leave()
        self.taken = True
        self.socket.close()

    def take(self) -> tuple[_socket.socket, bytes, IoWatcher | None]:
        """Gives the socket away, the bytes that were read, and its watcher, which is stopped."""
        reader, self._reader = self._reader, None
        self.taken = True
        return self.socket, self._data, reader
