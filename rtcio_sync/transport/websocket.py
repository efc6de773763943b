"""One WebSocket driven by gevent's hub: no greenlet waits for it, and an idle one takes under 1 kB.

When the socket is readable, the hub calls back. The bytes go through
`protocol.websocket_frames.Parser`, and each message is handed to the `Owner` at once. Sending is
in `outgoing`.

Every callback of the loop catches all exceptions: libev stops a watcher whose callback raised,
without a message.

    OPEN ──close()──────────────────────► CLOSING ──peer's close frame──► LEAVING ─┐
      ├────peer's close frame───────────────────────────────────────────► LEAVING ─┤
      ├────the protocol broken, or a callback raised──► LINGERING ─────────────────┤
      └────TCP ended, abort(), too much waits for the peer─────────────────────────┴─► CLOSED

CLOSING     our close frame is sent; we wait for the peer's.
LEAVING     both close frames were sent: TCP is closed once all is written (RFC 6455 7.1.1).
LINGERING   the connection is failed (7.1.7): we send our close frame, then discard what still comes
            until the peer closes TCP. To close TCP at once would reset the connection, and the peer
            might not read our close frame.
CLOSED      TCP is closed.

CLOSING, LEAVING and LINGERING last `CLOSE_TIMEOUT` seconds at most, and end in `CLOSED`.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from enum import IntEnum

import gevent
from gevent.event import Event
from gevent.hub import get_hub

from ..errors import FrameError
from ..hub.ports import IoWatcher, Watcher
from ..protocol.websocket_frames import (
    BINARY,
    CLOSE,
    GOING_AWAY,
    INTERNAL_ERROR,
    LONE,
    NORMAL,
    PING,
    TOO_BIG,
    Parser,
    close_code,
    frame_close,
    frame_pong,
)
from .outgoing import Outgoing, turn_of
from .ports import Carried, Owner, RawSocket, TlsSocket
from .slow_readers import Backlog
from .tcp import READ, WRITE, reset_at_close, tls_wants

CLOSE_TIMEOUT = 5.0
"""Seconds that closing a connection may take."""

CHUNK = 65536
"""Bytes that are read at a time; other connections have their turn in between."""

_LINGER_LIMIT = 1 << 20  # bytes that are discarded, at most, of a peer that keeps sending

logger = logging.getLogger("rtcio_sync.transport.websocket")


class _State(IntEnum):
    OPEN = 0
    CLOSING = 1
    LEAVING = 2
    LINGERING = 3
    CLOSED = 4


_OPEN, _CLOSING, _LEAVING, _LINGERING, _CLOSED = _State  # as globals: one look-up instead of two


class WebSocket(Outgoing):
    """A WebSocket after its handshake.

    `sock`: the connection makes it non-blocking and closes it. A socket that has a method `pending`
    speaks TLS. `max_size`: bytes of one message. `max_buffered`: bytes that may wait for the peer,
    None for no limit; over it the connection is aborted, and `overflowed` is True. `backlog`:
    counts what waits for all connections, None for none. `unread`: bytes of the peer's frames that
    the server has read already. `reader`: a watcher of `sock` that was stopped, if there is one;
    then `sock` is non-blocking.

    `buffered`: bytes waiting for the peer. `closed`: nothing more will be sent.

    Everything public may be called by the hub or a greenlet, of the thread that made it.
    """

    __slots__ = (
        "_code",
        "_discarded",
        "_flowing",
        "_lost",
        "_owner",
        "_parser",
        "_reader",
        "_state",
        "_timer",
    )

    def __init__(
        self,
        sock: RawSocket,
        owner: Owner | None,
        *,
        max_size: int,
        max_buffered: int | None,
        backlog: Backlog | None = None,
        unread: bytes = b"",
        reader: IoWatcher | None = None,
    ) -> None:
        if reader is None:
            sock.settimeout(0.0)
        super().__init__(sock, turn_of(get_hub()), max_buffered, backlog)
        self._owner = owner
        self._parser = Parser(max_size)
        if unread:
            self._parser.feed(unread)
        self._reader = reader
        self._timer: Watcher | None = None
        self._state = _OPEN
        self._flowing = False  # OPEN, started and not paused: messages may be handed on
        self._code: int | None = None
        self._discarded = 0
        self._lost: Event | None = None

    def start(self) -> None:
        """Begin to read: at once if the hub has a watcher, else in the next turn of the loop."""
        reader = self._reader
        if reader is None or self._parser.held or self._state is not _OPEN:
            self.resume()
        else:
            self._flowing = True
            reader.start(self._readable)

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Send what is buffered and a close frame; close TCP after the peer's, or the time-out.

        Messages that still come are dropped. Does nothing if `closed`.
        """
        if not self.closed:
            self._code = code
            self.send(frame_close(code, reason))
            self._enter(_CLOSING)

    def hang_up(self) -> None:
        """Send what is buffered and nothing more; hand messages on until the peer ends, too.

        Without a close frame: after one, browsers and Node's clients drop what they are told to
        send until TCP ends. So only our half of TCP ends, and what they have sent by then comes.
        """
        if self.closed:
            return
        if self._tls is not None:  # its layer knows no halves
            self._code = GOING_AWAY
            self.send(frame_close(GOING_AWAY, ""))
        self.closed = True
        if self._timer is None:
            self._end_in_time()
        if self._out is None:
            self._written()

    def disown(self) -> None:
        """Call the owner no more: it may have another connection by now."""
        self._owner = None

    def fileno(self) -> int:
        """The descriptor; -1 once TCP is closed."""
        return int(self._sock.fileno())

    def abort(self) -> None:
        """Close TCP at once, with no close frame; what is buffered is lost."""
        self._disconnect()

    def part(self) -> tuple[RawSocket, Carried] | None:
        """Give the TCP socket away, and what was not handled and not sent: it goes on elsewhere.

        None: it cannot be given, because it is closing or speaks TLS. Otherwise nothing is sent or
        read here any more, and the owner is not told.
        """
        self.flush()
        if self._state is not _OPEN or self._tls is not None:
            return None
        carried = Carried(self.unsent(), self._parser.state())
        self._state = _CLOSED
        self.closed = True
        self._flowing = False
        self._owner = None
        self._forget()
        self._drop_writer()
        if self._reader is not None:
            self._reader.stop()
            self._reader.close()
            self._reader = None
        if self._lost is not None:
            self._lost.set()
        return self._sock, carried

    def restore(self, carried: Carried) -> None:
        """Go on where a WebSocket of another process has stopped; this one is not started."""
        self._parser.restore(carried.unparsed)
        for frame in carried.unsent:
            super().send(frame)  # the first one may be the rest of a frame

    def pause(self) -> None:
        """Stop reading: messages wait in the kernel, and then with the peer."""
        if self._flowing:
            self._flowing = False
            if self._reader is not None:
                self._reader.stop()

    def resume(self) -> None:
        """Read on, in the next turn of the loop."""
        if self._state is _OPEN and not self._flowing:
            self._flowing = True
            self._turn.loop.run_callback(self._proceed)

    def when_lost(self) -> Event:
        """Set once TCP is closed: for a request greenlet that has to stay until then."""
        if self._lost is None:
            self._lost = Event()
            if self._state is _CLOSED:
                self._lost.set()
        return self._lost

    # --- reading (hub) ----------------------------------------------------------------------------

    def _proceed(self) -> None:
        """Begin or resume: first with what the parser holds, then with the socket."""
        try:
            if self._parser.held:
                self._parse()
            if self._flowing or self._state in (_CLOSING, _LINGERING):
                if self._reader is None:
                    self._reader = self._turn.loop.io(self._sock.fileno(), READ)
                if not self._reader.active:
                    self._reader.start(self._readable)
                if self._tls is not None:  # it may hold bytes that the kernel no longer has
                    self._readable()
        except FrameError as error:
            self._fail(error.code, error.detail)
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            self.broke(error)

    def _readable(self) -> None:
        try:
            try:
                data = self._sock.recv(CHUNK)
            except OSError as error:
                self._read_failed(error)
                return
            if not data:
                self._disconnect()
                return
            if self._apart:
                self._let_go()
            if not self._flowing:  # bound what we discard from a peer that keeps sending
                self._discard(data)
            if self._state is not _LINGERING:
                parser, payload = self._parser, None
                if self._flowing:  # else it waits in the parser: TLS may read while paused
                    payload = parser.lone(data) if len(data) == LONE else parser.whole(data)
                if payload is None:
                    parser.feed(data)
                    self._parse()
                elif self._owner is not None:
                    self._owner.message_received(payload, False)
            if self._tls is not None:
                self._after_tls(self._tls)
        except FrameError as error:
            self._fail(error.code, error.detail)
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            self.broke(error)

    def _parse(self) -> None:
        parser = self._parser
        while parser.held and (self._flowing or self._state is _CLOSING):
            payload = parser.text()
            if payload is not None:
                if self._flowing and self._owner is not None:
                    self._owner.message_received(payload, False)
                continue
            event = parser.next()
            if event is None:
                return
            opcode, payload = event
            if opcode <= BINARY:
                if self._flowing and self._owner is not None:
                    self._owner.message_received(payload, opcode == BINARY)
            elif opcode == PING:
                self._answer(payload)
            elif opcode == CLOSE:
                self._farewell(payload)

    def _answer(self, ping: bytes) -> None:
        if self._rest is None:
            self.send(frame_pong(ping))
        else:  # the peer is late: only the latest PING needs an answer (RFC 6455 5.5.3)
            self._pong = ping

    def _farewell(self, payload: bytes) -> None:
        """The peer's close frame came: answer it, unless it is an answer itself (5.5.1)."""
        self._code = close_code(payload)
        if self._state is _OPEN:
            self.send(frame_close(self._code))
        # Unread bytes after a close frame would make closing TCP a reset, as LINGERING explains.
        leaving = not self._parser.held
        if leaving:  # flush at once: most connections end here, and then need no timer
            self.flush()
        self._enter(_LEAVING if leaving else _LINGERING)
        self._tell()

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > _LINGER_LIMIT:
            self._disconnect()

    def _read_failed(self, error: OSError) -> None:
        if isinstance(error, BlockingIOError):
            return
        wanted = tls_wants(error) if self._tls is not None else 0
        if wanted == WRITE:
            self._await_room()
        elif not wanted:
            self._disconnect()

    def _after_tls(self, sock: TlsSocket) -> None:
        if self._state is not _CLOSED:
            if self._rest is not None:  # in TLS a write may wait for something to read
                self._writable()
            if sock.pending():
                self._turn.loop.run_callback(self._proceed)

    # --- the end (hub or greenlet) ----------------------------------------------------------------

    def _enter(self, state: _State) -> None:
        """Enter CLOSING, LEAVING or LINGERING, unless the last frame overflowed and closed it."""
        if self._state is _CLOSED:
            return
        self._state = state
        self.closed = True
        self._flowing = False
        if state is _LEAVING and self._out is None:
            self._disconnect()
            return
        if self._timer is None:
            self._end_in_time()
            if self._backlog is not None:  # its session is over: nothing else counts it
                self._backlog.closing.add(self)
        if state is _LEAVING:
            if self._reader is not None:
                self._reader.stop()
        else:  # a paused connection has to resume reading, too
            self._turn.loop.run_callback(self._proceed)
        if self._out is None:
            self._written()

    def _end_in_time(self) -> None:
        self._timer = self._turn.loop.timer(CLOSE_TIMEOUT)
        self._timer.start(self._expired)

    def _written(self) -> None:
        """The kernel has everything, and nothing more will be sent."""
        if self._state is _LEAVING:
            self._disconnect()
        elif self._state is _LINGERING or (self._state is _OPEN and self._tls is None):
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                self._disconnect()

    def _expired(self) -> None:
        try:
            if self._rest is not None:  # the peer does not read
                reset_at_close(self._sock)
            self._disconnect()
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            self.broke(error)

    def _fail(self, code: int, reason: str) -> None:
        self._error = True
        if self._state is not _OPEN:
            self._disconnect()
            return
        self._code = code
        # Node sends 1009 without a reason, and engine.io-client's own tests expect that.
        self.send(frame_close(code, "" if code == TOO_BIG else reason))
        self._enter(_LINGERING)
        self._tell()

    def broke(self, error: BaseException, *, writing: bool = False) -> None:
        """A callback raised: keep it from the loop, and log it where a log handler may block."""
        if isinstance(error, Exception):
            gevent.spawn(logger.error, "A connection failed", exc_info=error)
        else:  # KeyboardInterrupt, SystemExit: gevent raises them in the main greenlet
            get_hub().handle_error(self, type(error), error, error.__traceback__)
        if writing:  # a signal may have interrupted between a send and its bookkeeping
            self._error = True
            self._disconnect()
        else:
            self._fail(INTERNAL_ERROR, "")

    def _disconnect(self) -> None:
        if self._state is _CLOSED:
            return
        self._state = _CLOSED
        self.closed = True
        self._flowing = False
        self._forget()
        if self._timer is not None and self._backlog is not None:
            self._backlog.closing.discard(self)
        for watcher in (self._reader, self._writer, self._timer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._reader = self._writer = self._timer = None
        with suppress(OSError):  # the peer has closed it already
            if self._tls is not None:  # the server still holds the descriptor
                self._sock.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            self._sock.close()
        if self._lost is not None:
            self._lost.set()
        self._tell()

    def _tell(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:  # in a callback of its own: abort() and send() may run anywhere
            self._turn.loop.run_callback(_tell, owner, self._code, self._error)


def _tell(owner: Owner, code: int | None, error: bool) -> None:
    try:
        owner.connection_lost(code, error)
    except Exception as raised:  # noqa: BLE001 - nothing may be raised into the loop
        gevent.spawn(logger.error, "Closing a connection failed", exc_info=raised)
