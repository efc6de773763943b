"""A client without sockets, for the tests of an app's own handlers.

It hands Socket.IO packets to the server directly: no network, no greenlet, no clock. When an `emit`
returns, all handlers that it made run have ended.

Used of Werkzeug's private names, asserted in ``tests/test_upstream.py``:
``Client._add_cookies_to_wsgi``.
"""

from __future__ import annotations

import itertools
import sys
import urllib.parse
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from socketio import packet

from .engineio.server import Server as Engine
from .engineio.socket import Socket as Link
from .engineio.state import State
from .errors import OptionError, RtcioError
from .flask.context import APP
from .protocol.names import NoName, namespace_name
from .socketio.handler_call import TESTED

__all__ = ["MemoryLink", "TestClient", "add_cookies", "open_link", "send_packet"]


class Served(Protocol):
    """What a `TestClient` needs of a server."""

    @property
    def path(self) -> str: ...

    @property
    def eio(self) -> Engine: ...

    @property
    def packet_class(self) -> Any:
        """python-socketio's ``Packet``, or a class of the app's with its interface."""


class MemoryLink(Link):
    """An Engine.IO connection whose other end is a test client in this process.

    ``hear(data)`` gets each message that the server sends; ``ended()`` is called at the end.
    """

    tested = True  # no clock, no greenlet
    writable = True  # what is sent is heard at once

    def __init__(
        self, engine: Engine, sid: str, hear: Callable[[Any], None], ended: Callable[[], None]
    ) -> None:
        super().__init__(engine, sid)
        self.state = State.POLLING
        self.hear = hear
        self.ended = ended

    def send_together(self, pkts: Sequence[Any]) -> None:
        for pkt in pkts:
            if not self.closed:
                self.hear(pkt.data)

    def close(self, *args: Any, **options: Any) -> None:
        super().close(*args, **options)
        self.ended()

    def aside(self, size: int, target: Callable[..., Any], *args: Any) -> None:
        target(*args)

    def enqueue(self, item: Any, size: int = 0) -> None:
        # In order, as in a real inbox: an event that a handler causes waits until it returns.
        if self.inbox is not None:
            self.inbox.append((item, size))
            return
        self.inbox = deque([(item, size)])
        try:
            while self.inbox:
                self.server.work(self, self.inbox.popleft()[0])
        finally:
            self.inbox = None


class TestClient(NoName):
    """A connected client; made by `Server.test_client`.

    ``auth``: what socket.io-client's ``auth`` option would send. ``headers``: of its handshake.
    ``query``: the handshake's query parameters; a list: each of its values. ``flask_test_client``:
    an ``app.test_client()`` whose cookies, and so whose session, the handshake carries. Raises
    `RtcioError` for an attempt to emit while it is not connected, and `OptionError` for arguments
    that no handshake has.

    What a handler raises for this client (``connect``, ``connection``, ``use``, an event,
    ``disconnect``, the callback of an acknowledgement) is logged and counted as always, and then
    raised by the method of this class that made the handler run; if none did (`Server.disconnect`),
    by the next one that is called. A refusal is in `error` and is not raised.
    ``raise_exceptions=False``: nothing is raised.
    """

    __test__ = False  # pytest: no class of tests

    rtcio_instead = "write client.sid"

    def __init__(
        self,
        server: Served,
        app: Any = None,
        namespace: str = "/",
        *,
        auth: Any = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        flask_test_client: Any = None,
        raise_exceptions: bool = True,
    ) -> None:
        if app is not None and not hasattr(app, "request_context"):
            raise OptionError(
                f"test_client({app!r:.100}): the first argument is the Flask app; write namespace=…"
            )
        for name, given in (("headers", headers), ("query", query)):
            if given is not None and not isinstance(given, Mapping):
                raise OptionError(f"{name}={given!r:.100}: give a dict, or leave it out")
        _check_texts(headers or {}, query or {})
        if isinstance(auth, (str, int, float, list, tuple)):
            raise OptionError(f"auth={auth!r:.80}: give a dict: clients send an object or nothing")
        #: The server; Any, for its class stands above this module.
        self.server: Any = server
        self.namespace = namespace_name(namespace)
        #: The error of a refused connection, `None` otherwise: what ``connect_error`` would get.
        self.error: Any = None
        #: The sid, `None` while it is not connected.
        self.sid: str | None = None
        self._events: list[tuple[str, list[Any]]] = []
        self._answers: dict[int, list[Any]] = {}
        self._asked: list[tuple[str, list[Any], int]] = []
        self._ids = itertools.count(1)
        self._partial: Any = None
        self._auth = auth
        self._pid: str | None = None
        self._offset: str | None = None
        #: Whether the last connection recovered its session (connection state recovery).
        self.recovered = False
        self._environ = _environ(server.path, headers or {}, query or {})
        self._raised: list[BaseException] = []
        if raise_exceptions:
            self._environ[TESTED] = self._raised
        if app is not None:
            self._environ[APP] = app
        if flask_test_client is not None:
            add_cookies(self._environ, flask_test_client)
        self._link: MemoryLink | None = None
        self.connect()

    @property
    def connected(self) -> bool:
        """Whether it is connected to its namespace."""
        return self.sid is not None

    def connect(self) -> None:
        """Connects, or connects again; a refusal is in `error`."""
        if self.connected:
            return
        if self._link is None or self._link.closed:
            self._link = open_link(self.server.eio, self._environ, self._hear, self._ended)
        self.error = None
        # As socket.io-client does: the id and the offset of the session that it had, if any.
        again = {"pid": self._pid, "offset": self._offset} if self._pid is not None else {}
        known = {key: value for key, value in again.items() if value is not None}
        self._send(packet.CONNECT, {**(self._auth or {}), **known} if known else self._auth)

    def _raise(self) -> None:
        """Raises the first of what handlers have raised since the last time."""
        if self._raised:
            first = self._raised[0]
            self._raised.clear()
            raise first

    def disconnect(self) -> None:
        """Loses its connection, as a browser that has no network.

        On a server with connection state recovery, `connect` then recovers the session.
        """
        if self._link is not None:
            self._link.close(abort=True, reason="transport close")
        self._raise()

    def emit(self, event: str, *args: Any, callback: Callable[..., Any] | None = None) -> None:
        """Sends an event; ``callback`` gets the acknowledgement, before this returns."""
        if callback is None:
            self._send(packet.EVENT, [event, *args])
            return
        answer = self.call(event, *args)
        callback(*answer if isinstance(answer, tuple) else (answer,))

    def call(self, event: str, *args: Any) -> Any:
        """Sends an event; the acknowledgement's argument, a tuple of several, `None` without one.

        Raises `RtcioError` when no handler acknowledged it.
        """
        number = next(self._ids)
        self._send(packet.EVENT, [event, *args], number)
        if number not in self._answers:
            raise RtcioError(f"nobody acknowledged {event!r}")
        answer = self._answers.pop(number)
        return tuple(answer) if len(answer) > 1 else answer[0] if answer else None

    def received(self, event: str | None = None) -> list[Any]:
        """What came since the last call; the next call does not give it again.

        With ``event``: the argument of each such event (a list if there was not exactly one).
        Without: pairs of name and arguments.
        """
        self._raise()
        if event is None:
            taken, self._events = self._events, []
            return taken
        mine = [args for name, args in self._events if name == event]
        self._events = [each for each in self._events if each[0] != event]
        return [args[0] if len(args) == 1 else args for args in mine]

    def acknowledge(self, event: str, *answer: Any) -> None:
        """Acknowledges the oldest ``event`` that the server sent with a callback.

        Raises `RtcioError` when there is none.
        """
        for asked in self._asked:
            if asked[0] == event:
                self._asked.remove(asked)
                self._send(packet.ACK, list(answer), asked[2])
                return
        raise RtcioError(f"the server does not wait for an acknowledgement of {event!r}")

    # -- packets ---------------------------------------------------------------------------------

    def _send(self, kind: int, data: Any, number: int | None = None) -> None:
        link = self._link
        if link is None or link.closed or (kind != packet.CONNECT and not self.connected):
            raise RtcioError("the client is not connected")
        kind_of = self.server.packet_class
        send_packet(link, kind_of(kind, data=data, namespace=self.namespace, id=number))
        self._raise()

    def _ended(self) -> None:
        self.sid = None

    def _hear(self, data: Any) -> None:
        if self._partial is not None:
            if self._partial.add_attachment(data):
                pkt, self._partial = self._partial, None
                self._take(pkt)
            return
        pkt = self.server.packet_class(encoded_packet=data)
        if pkt.attachment_count:
            self._partial = pkt
        else:
            self._take(pkt)

    def _take(self, pkt: Any) -> None:
        if (pkt.namespace or "/") != self.namespace:
            return
        kind = pkt.packet_type
        if kind in (packet.EVENT, packet.BINARY_EVENT):
            args = pkt.data[1:]
            if pkt.id is not None:
                self._asked.append((pkt.data[0], args, pkt.id))
            elif self._pid is not None and args and isinstance(args[-1], str):
                self._offset = args.pop()  # the server adds it behind the app's arguments
            self._events.append((pkt.data[0], args))
        elif kind in (packet.ACK, packet.BINARY_ACK):
            self._answers[pkt.id] = pkt.data
        elif kind == packet.CONNECT:
            pid = pkt.data.get("pid")
            self.recovered = pid is not None and pid == self._pid
            if not self.recovered:
                self._offset = None
            self._pid = pid
            self.sid = pkt.data["sid"]
        else:
            self.sid = None
            self.error = pkt.data if kind == packet.CONNECT_ERROR else None


def open_link(
    engine: Engine,
    environ: Mapping[str, Any],
    hear: Callable[[Any], None],
    ended: Callable[[], None],
) -> MemoryLink:
    """A connection without sockets, with the environ of its handshake."""
    link = MemoryLink(engine, engine.generate_id(), hear, ended)
    engine.sockets[link.sid] = link
    engine.handlers["connect"](link.sid, dict(environ))
    return link


def send_packet(link: MemoryLink, pkt: Any) -> None:
    """Hands in what a client sends: a Socket.IO packet."""
    pieces = pkt.encode()
    for piece in pieces if isinstance(pieces, list) else [pieces]:
        text = isinstance(piece, str)
        link.receive(f"4{piece}".encode() if text else bytes(piece), not text)


def add_cookies(environ: dict[str, Any], flask_test_client: Any) -> None:
    """Adds the cookies of an ``app.test_client()``, and with them its session."""
    if not hasattr(flask_test_client, "_add_cookies_to_wsgi"):
        raise OptionError(f"flask_test_client={flask_test_client!r:.100}: give app.test_client()")
    flask_test_client._add_cookies_to_wsgi(environ)


def _check_texts(headers: Mapping[str, str], query: Mapping[str, Any]) -> None:
    """Raises `OptionError` for what no request has: handlers would get what no client sends."""
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise OptionError(f"headers: name and value are text, not {name!r}: {value!r:.80}")
    for name, value in query.items():
        several = value if isinstance(value, (list, tuple)) else [value]
        fits = all(isinstance(each, (str, int, float)) for each in several)
        if not isinstance(name, str) or not fits:
            raise OptionError(
                f"query: give text or a list of texts for each name, not {name!r}: {value!r:.80}"
            )


def _environ(path: str, headers: Mapping[str, str], query: Mapping[str, Any]) -> dict[str, Any]:
    parameters = {"EIO": "4", "transport": "polling", **query}
    named = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": f"{path}/",
        "QUERY_STRING": urllib.parse.urlencode(parameters, doseq=True),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        **named,
    }
