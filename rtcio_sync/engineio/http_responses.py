"""Writes the Engine.IO endpoint's answers: on HTTP, or on a WebSocket that is closed at once.

Used as they are of python-engineio's private names: ``Server._gzip``, ``_deflate``,
``_cors_headers``, ``_generate_sid_cookie`` and ``_websocket_wsgi.SimpleWebSocketWSGI``.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import gevent.event
import gevent.lock
import gevent.selectors
from engineio.async_drivers import gevent as gevent_driver
from engineio.async_drivers._websocket_wsgi import SimpleWebSocketWSGI

from ..errors import HandshakeError, Refused
from ..hub import interrupts
from ..protocol.websocket_frames import NORMAL, POLICY_VIOLATION, TRY_AGAIN_LATER, frame_text
from ..protocol.websocket_handshake import handshake
from ..transport import takeover
from ..transport.delivery import Deliveries, Session
from ..transport.driver import DriverWebSocket
from ..transport.ports import Environ, Owner, RawSocket, StartResponse
from ..transport.slow_readers import Backlog
from .admission import Admission
from .http_requests import accepted, closes_unsaid
from .payload import wrapped
from .ports import Watcher

__all__ = ["NOT_STORED", "Answers"]

log = logging.getLogger(__name__)

#: A cache that keeps a polling answer would give a client what another one has got, or twice.
NOT_STORED = ("Cache-Control", "no-store")

SHORT = 16_384  # bytes of a body that is sent together with its head
COMPRESSED_AT_ONCE = 1 << 16  # bytes; it takes some milliseconds

_EXTENSIONS = "HTTP_SEC_WEBSOCKET_EXTENSIONS"  # what a client offers, in an environ

#: `None` where there is none: Linux alone has it.
_CORK = getattr(socket, "TCP_CORK", None)


Application = Callable[[Environ, StartResponse], Iterable[bytes]]
"""A WSGI application."""


class Answer(NamedTuple):
    """An HTTP answer."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes
    #: The polling session whose packets it carries; `None`: nobody's.
    session: Session | None = None
    #: Whether it opens a connection.
    opens: bool = False

    @classmethod
    def of(
        cls,
        made: Mapping[str, Any],
        session: Session | None = None,
        *,
        jsonp: int | None = None,
        opens: bool = False,
    ) -> Answer:
        """The answer that python-engineio ``made``; ``jsonp``: the index of a JSONP request.

        python-engineio's own way of JSONP escapes quotation marks alone.
        """
        body = made["response"] if jsonp is None else wrapped(made["response"], jsonp)
        return cls(made["status"], [*made["headers"], NOT_STORED], body, session, opens)


class Answers(Admission):
    """The part of the Engine.IO server that writes its answers. # greenlet"""

    async_mode: str
    backlog: Backlog
    deliveries: Deliveries
    #: Sees the requests; `None`: the app has no handlers for them.
    watcher: Watcher | None = None
    _async: Any

    def _refusal(
        self, refused: Refused, environ: Environ, start_response: StartResponse
    ) -> Answer | Iterable[bytes]:
        body = json.dumps(refused.body, separators=(",", ":")).encode()
        if environ.get("wsgi.websocket") is None:
            return Answer(refused.status, refused.headers, body)
        # Behind gevent-websocket the 101 is already sent. A socket.io-client whose WebSocket ends
        # before OPEN reconnects only after its own time-out of 20 seconds. So it gets a packet of a
        # type that does not exist, which is an error to it, and it reconnects at once; any packet
        # but OPEN is an error to python-engineio's clients.
        busy = refused.status.startswith(("429", "503"))
        code = TRY_AGAIN_LATER if busy else POLICY_VIOLATION
        return self._turn_away(environ, start_response, [], b"9" + body, code)

    def _turn_away(
        self,
        environ: Environ,
        start_response: StartResponse,
        headers: list[tuple[str, str]],
        message: bytes | None = None,
        code: int = NORMAL,
    ) -> Iterable[bytes]:
        """Accepts a WebSocket, sends ``message`` and closes it."""
        request = takeover.find(environ)
        if request is None:
            return self._driver(self._close_upstream, headers)(environ, start_response)
        websocket = request.open(
            start_response, headers, None, max_size=4096, max_buffered=None, backlog=self.backlog
        )
        if message is not None:
            websocket.send(frame_text(message))
        websocket.close(code)
        return request.leave()

    def _close_upstream(self, ws: Any) -> list[bytes]:
        """`_turn_away` for python-engineio's driver ``ws``; blocks until it is over. # greenlet"""
        websocket = self._driven(ws, None, self.limits.max_buffered_bytes)
        websocket.start()
        websocket.close()
        websocket.read()
        return []

    def _driven(
        self,
        ws: Any,
        owner: Owner | None,
        max_buffered: int | None,
        kind: type[DriverWebSocket] = DriverWebSocket,
    ) -> DriverWebSocket:
        """The WebSocket of python-engineio's driver ``ws``."""
        return kind(
            ws,
            owner,
            tasks=self,
            later=self.heartbeat.later,
            max_size=self.max_http_buffer_size,
            max_buffered=max_buffered,
            backlog=self.backlog,
            lock=threading.Lock() if self.async_mode == "threading" else gevent.lock.Semaphore(),
        )

    def handshake(self, environ: Environ, *, opens: bool) -> list[tuple[str, str]]:
        try:
            headers = handshake(environ)
        except HandshakeError as error:
            raise Refused(error.status, 3, "Bad request", error.headers) from error
        if self.watcher is not None:
            headers += self.watcher.headers(environ, opens=opens)
        return headers

    def _driver(
        self, serve: Callable[[Any], list[bytes]], headers: list[tuple[str, str]]
    ) -> Application:
        """python-engineio's driver, which makes the 101 itself: of ``headers`` the subprotocol.

        simple-websocket below it would agree to compression. Its own bound on messages, with which
        it may leave its reader waiting, is not used: `DriverWebSocket` has one.
        """
        chosen = [value for name, value in headers if name == "Sec-WebSocket-Protocol"]
        more: dict[str, Any] = {"subprotocols": chosen} if chosen else {}
        # If gevent-websocket is installed, python-engineio's gevent driver needs its server, and
        # fails under every other one.
        if self.async_mode == "gevent":
            more["thread_class"] = gevent_driver.Thread
            more["event_class"] = gevent.event.Event
            more["selector_class"] = gevent.selectors.DefaultSelector
        kind = SimpleWebSocketWSGI if self.async_mode == "gevent" else self._async["websocket"]
        application: Application = kind(serve, self, **more)

        def uncompressed(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            given = {name: value for name, value in environ.items() if name != _EXTENSIONS}
            return application(given, start_response)

        return uncompressed

    def _write(
        self, answer: Answer, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        body, headers = answer.body, answer.headers
        if self.http_compression and len(body) >= self.compression_threshold:
            for encoding in accepted(environ.get("HTTP_ACCEPT_ENCODING", "")):
                if encoding in self.compression_methods:
                    body = self._compressed(body, encoding)
                    headers = [*headers, ("Content-Encoding", encoding)]
                    break
        headers = [*headers, ("Content-Length", str(len(body))), *self._cors_headers(environ)]
        if self.watcher is not None and answer.status.startswith("200"):
            headers += self.watcher.headers(environ, opens=answer.opens)
        unread = environ.get("CONTENT_LENGTH") or environ.get("HTTP_TRANSFER_ENCODING")
        ends = closes_unsaid(environ, stopping=self.stopping)
        if ends or (unread and takeover.leave_body(environ)):
            headers.append(("Connection", "close"))
        start_response(answer.status, headers)
        if environ["REQUEST_METHOD"] == "HEAD":  # RFC 9110 9.3.2: GET's head, no body
            return []
        pieces = self.deliveries.send(body, answer.session, environ)
        if len(body) > SHORT and answer.status.startswith("2"):
            return pieces
        line = takeover.writes_twice(environ)
        return pieces if line is None else _InOnePiece(pieces, line)

    def _compressed(self, body: bytes, encoding: str) -> bytes:
        if len(body) <= COMPRESSED_AT_ONCE:
            return getattr(self, f"_{encoding}")(body)  # type: ignore[no-any-return]
        # Ten megabytes take over half a second: other greenlets run between two pieces.
        packer = zlib.compressobj(6, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
        packed = []
        for at in range(0, len(body), COMPRESSED_AT_ONCE):
            packed.append(packer.compress(body[at : at + COMPRESSED_AT_ONCE]))
            self.sleep(0)
        return b"".join([*packed, packer.flush()])

    def _sid_cookie(self, sid: str) -> list[tuple[str, str]] | None:
        """The field that sets the cookie. Its attributes may be the app's functions.

        An `Exception` of theirs passes to the WSGI server, as in a view. Any other would end the
        request's greenlet or the process: it is logged, and the connection is refused.
        """
        if not self.cookie:
            return None
        plain = {"name": self.cookie, "path": "/", "SameSite": "Lax"}
        attributes = self.cookie if isinstance(self.cookie, dict) else plain
        try:
            return [("Set-Cookie", self._generate_sid_cookie(sid, attributes))]
        except Exception:
            raise
        except BaseException as error:
            self.counters.handler_errors += 1
            log.exception("a function in the option cookie raised")
            interrupts.heed(error)
            raise Refused("500 INTERNAL SERVER ERROR", 3, "Internal server error") from None


class _InOnePiece:
    """A body that is sent together with its head.

    gunicorn and pywsgi write the two one after the other, which costs a second packet. And when the
    head is a refusal, aiohttp does not wait for the body and closes the connection;
    python-engineio's `AsyncClient` then fails with an exception of aiohttp's that it does not
    catch, and never reconnects.
    """

    def __init__(self, pieces: Generator[bytes, None, None], line: RawSocket) -> None:
        self._pieces = pieces
        self._line = line
        self._cork(1)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces

    def close(self) -> None:
        """The WSGI server calls this once it has written the body (PEP 3333)."""
        self._pieces.close()
        self._cork(0)

    def _cork(self, on: int) -> None:
        if _CORK is not None:
            with suppress(OSError):  # a Unix socket, or one that is closed by now
                self._line.setsockopt(socket.IPPROTO_TCP, _CORK, on)
