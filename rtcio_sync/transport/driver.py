"""A WebSocket of python-engineio's own drivers, as a `ports.Transport`.

For WSGI servers whose socket cannot be taken over: Werkzeug's threads, uWSGI. The request blocks
in `read` (# greenlet or thread), and a task of its own writes, so that `send` never blocks.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

from ..protocol.websocket_frames import GOING_AWAY, INTERNAL_ERROR, TOO_BIG
from .ports import Event, Later, Owner, Tasks
from .slow_readers import ITEM, Backlog
from .tcp import acknowledged, reset_at_close
from .websocket import CLOSE_TIMEOUT

__all__ = ["DriverWebSocket"]

logger = logging.getLogger(__name__)

READ_AHEAD = 100  # messages that simple-websocket may have read before the next is handed on


class DriverWebSocket:
    """One WebSocket that python-engineio's driver ``ws`` reads and writes.

    ``max_size``, ``max_buffered`` and ``backlog`` mean what they mean to a `websocket.WebSocket`.
    ``later`` closes TCP if the peer does not send its close frame in time. ``lock`` is one for
    ``tasks``: whoever waits for it may wait as long as the peer does not read.
    """

    def __init__(
        self,
        ws: Any,
        owner: Owner | None,
        *,
        tasks: Tasks,
        later: Later,
        max_size: int,
        max_buffered: int | None,
        backlog: Backlog,
        lock: AbstractContextManager[Any],
    ) -> None:
        self.ws = ws
        self.owner = owner
        self.overflowed = False
        self.closed = False
        self.buffered = 0
        self.max_buffered = max_buffered
        self._tasks = tasks
        self._later = later
        self._max_size = max_size
        self._backlog = backlog
        # simple-websocket's object, which python-engineio's driver wraps under threads.
        self._simple: Any = getattr(ws, "ws", None)
        self._taken: Event = tasks.create_event()  # set when `read` has taken a message
        self._over = self._failed = False
        self._code = 1000
        self._hung_up = False
        self._ended: Event = tasks.create_event()
        self._frames: deque[bytes | None] = deque()
        self._alarm: Event = tasks.create_event()
        self._flowing: Event = tasks.create_event()
        self._flowing.set()
        if self._simple is not None:  # its thread reads already
            self._simple.sock = _Line(self._simple.sock, lock, self._await_room)

    def start(self) -> None:
        """Starts the writer; `read` has to follow."""
        self._tasks.spawn(self._write)

    def pause(self) -> None:
        """Stops reading: messages wait in the kernel."""
        self._flowing.clear()

    def _await_room(self) -> None:
        """Blocks simple-websocket's own thread, which reads ahead, while `read` is behind.

        Raises `OSError`, which ends that thread, if a message that comes in parts is too long.
        """
        self._flowing.wait()
        while len(self._simple.input_buffer) > READ_AHEAD and not self._over:
            self._taken.wait()
            self._taken.clear()
            self._flowing.wait()
        if self._simple.incoming_message_len > self._max_size and not self._over:
            self._failed = True
            self.close(TOO_BIG)
            self._ended.wait(CLOSE_TIMEOUT)  # the close frame is sent
            raise OSError("a message is too long")

    def resume(self) -> None:
        """Reads on."""
        self._flowing.set()

    def send(self, frame: bytes) -> None:
        """Queues one frame or several, within the same bounds as a `websocket.WebSocket`."""
        size = len(frame)
        with self._tasks.gate:
            if self.closed:  # the writer has ended, or ends after what is queued
                return
            self.buffered += size
            self._frames.append(frame)
            self._backlog.join(self)
            self._backlog.hold(frame, size)
        if self.max_buffered is not None and self.waits() > self.max_buffered:
            self._backlog.on_ceiling(frame, self.max_buffered)
            self.give_up()
        else:
            self._alarm.set()
            self._backlog.check()

    send_now = send

    @property
    def late(self) -> bool:
        """Whether the driver has not taken all that was sent."""
        return self.buffered > 0

    def waits(self) -> int:
        """Bytes of memory that wait for the peer."""
        return self.buffered + ITEM * len(self._frames)

    def taken(self) -> int | None:
        """Bytes that the peer has acknowledged; None if the driver hides its socket."""
        return None if self._simple is None else acknowledged(self._simple.sock)

    def give_up(self) -> None:
        """Ends it, since the peer does not read."""
        self.overflowed = True
        self.close()
        self._forget()
        self._hang_up()
        owner = self.owner
        if owner is not None:
            owner.connection_lost(None, True)

    def _forget(self) -> None:
        """Drops all that waits, once it is closed; the writer then ends."""
        with self._tasks.gate:
            frames, self._frames = self._frames, deque([None])
            for frame in frames:
                if frame is not None:
                    self._let_go(frame)
            self._backlog.leave(self)

    def _let_go(self, frame: bytes) -> None:
        size = len(frame)
        with self._tasks.gate:
            self.buffered -= size
            self._backlog.release(frame, size)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Closes it after what is queued is sent. uWSGI's driver takes no close codes."""
        with self._tasks.gate:
            if self.closed:
                return
            self.closed = True
            self._code = code
            self._frames.append(None)
        self._flowing.set()
        self._alarm.set()
        self._later(CLOSE_TIMEOUT, self._hang_up)

    abort = close

    def hang_up(self) -> None:
        """Closes it: its messages are handed on until the peer has closed."""
        self.close(GOING_AWAY)

    def disown(self) -> None:
        """Calls the owner no more."""
        self.owner = None

    def hold(self, seconds: float) -> None:
        """Does nothing: the writer sends each frame as soon as it can."""

    def fileno(self) -> int:
        """-1: the descriptor is the WSGI server's."""
        return -1

    def _hang_up(self) -> None:
        # If the peer does not read, the writer blocks in `send` and the reader in `wait`: this ends
        # both. Only simple-websocket gives its socket; uWSGI has time-outs of its own.
        if self._simple is not None:
            self._hung_up = True
            with suppress(OSError):  # it is closed already
                if self.overflowed:
                    reset_at_close(self._simple.sock)
                self._simple.sock.shutdown(socket.SHUT_RDWR)
            self._wake_reader()

    def _wake_reader(self) -> None:
        # simple-websocket reads in a thread of its own. When `close` comes before that thread has
        # begun, or as it looks whether to read on, the thread ends without a word to `wait`.
        self._simple.event.set()

    def read(self) -> None:
        """Blocks until the WebSocket is over; hands each message to the owner. # greenlet"""
        error = False
        while True:
            self._flowing.wait()
            try:
                message = self.ws.wait()
                self._taken.set()
            except Exception:  # noqa: BLE001  (each driver has exceptions of its own for the end)
                error = True
                break
            if message is None:
                error = self._failed
                break
            binary = not isinstance(message, str)
            payload = bytes(message) if binary else message.encode()
            if len(payload) > self._max_size:
                error = True
                self.close(TOO_BIG)
                break
            owner = self.owner  # looked up once: the clock's thread may take it away
            try:
                if owner is not None:
                    owner.message_received(payload, binary)
            except Exception as fault:  # ours: it ends this connection alone
                logger.error("A connection failed", exc_info=fault)
                error = True
                self.close(INTERNAL_ERROR)
                break
        self._over = True
        self._taken.set()
        self.close()
        owner = self.owner
        if owner is not None:
            owner.connection_lost(None, error)
        self._leave_nothing()

    def _leave_nothing(self) -> None:
        """Ends TCP under Werkzeug, which would read the peer's last frames as another request.

        The server ends TCP first (RFC 6455 7.1.1). What has come by then is discarded, such as
        frames that a client sent after its close frame. # thread
        """
        if self._simple is not None:
            self._ended.wait(CLOSE_TIMEOUT)
            self._hang_up()
            with suppress(OSError):
                while self._simple.sock.recv(65536):
                    pass

    def _next(self) -> tuple[bytes | None, ...]:
        """The next frame as a tuple of one, `None` in it for the end; empty: nothing waits."""
        with self._tasks.gate:
            if self._frames:
                return (self._frames.popleft(),)
            self._backlog.leave(self)
            return ()

    def _write(self) -> None:
        while True:
            self._alarm.wait()
            self._alarm.clear()
            while following := self._next():
                (frame,) = following
                if frame is None:
                    self._backlog.leave(self)
                    self._end()
                    return
                try:
                    for payload, binary in frames_of(frame):
                        self.ws.send(payload if binary else payload.decode())
                except Exception:  # noqa: BLE001  (see `read`, which reports it)
                    self.closed = True
                    self._forget()
                    self._end()
                    return
                finally:
                    self._let_go(frame)

    def _end(self) -> None:
        try:
            if self._simple is None:
                self.ws.close()
            else:
                self._simple.close(self._code)
        except Exception:  # noqa: BLE001  (it is over in any case)
            pass
        if self._hung_up:
            self._wake_reader()
        self._ended.set()


class _Line:
    """A socket that one task writes to at a time, and to which it writes all of its data.

    simple-websocket answers PING and CLOSE in the task that reads. While the kernel has no room for
    a long message, such an answer would come into the middle of it.

    ``await_room`` is called before something is read: simple-websocket would read without end.
    """

    def __init__(
        self, sock: Any, lock: AbstractContextManager[Any], await_room: Callable[[], None]
    ) -> None:
        self._sock = sock
        self._lock = lock
        self._await_room = await_room

    def recv(self, size: int) -> bytes:
        self._await_room()
        data: bytes = self._sock.recv(size)
        return data

    def send(self, data: bytes) -> int:
        with self._lock:
            self._sock.sendall(data)
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def frames_of(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """The payloads in our own frames, and whether each is binary (RFC 6455 5.2, unmasked)."""
    position = 0
    while position < len(data):
        binary, size = data[position] & 0x0F == 2, data[position + 1]
        position += 2
        if size >= 126:
            extra = 2 if size == 126 else 8
            size = int.from_bytes(data[position : position + extra], "big")
            position += extra
        yield data[position : position + size], binary
        position += size
