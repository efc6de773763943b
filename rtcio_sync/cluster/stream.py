"""One stream between two nodes, written or read by the hub. # hub or greenlet: all of it"""

from __future__ import annotations

import _socket
import logging
import socket
from collections.abc import Callable

import gevent

from ..errors import ProtocolError, RtcioError
from ..hub.ports import IoWatcher, Loop
from ..protocol.envelope import Drop
from ..transport.outgoing import Outgoing, Turn
from ..transport.ports import RawSocket
from ..transport.tcp import READ
from .frames import HEAD, Frame, Frames, frame
from .messages import DROPPABLE

__all__ = ["MOST_NEEDED", "MOST_WAITING", "Full", "Inlet", "Outlet", "Stranger", "first_io"]

log = logging.getLogger(__name__)

#: Bytes that wait for a node that does not read: of all messages, and of those that may not be
#: dropped on top of them.
MOST_WAITING = 64_000_000
MOST_NEEDED = 64_000_000

LONGEST_HELLO = 200  # bytes of the first frame
CHUNK = 1 << 18  # bytes that are read at a time
BUFFER = 1 << 20  # bytes that the kernel is asked to hold for a stream

# Streams are read before clients, so that a node knows what another told it before that one
# answered a client.
FIRST = 2


def first_io(loop: Loop, fd: int) -> IoWatcher:
    """A watcher that is called before those of clients."""
    return loop.io(fd, READ, priority=FIRST)


class Full(RtcioError):
    """A message that may not be dropped has no room: the node cannot be kept up to date."""


class Outlet(Outgoing):
    """What this node sends to another. ``ended``: called once, when the stream has ended."""

    __slots__ = ("_end", "_ended", "_watch")

    def __init__(self, sock: RawSocket, turn: Turn, ended: Callable[[], None]) -> None:
        super().__init__(sock, turn, None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._ended = ended
        self._end = False
        self._watch = first_io(turn.loop, sock.fileno())
        self._watch.start(self._readable)

    def fileno(self) -> int:
        return self._sock.fileno()

    def post(self, kind: int, body: bytes, key: bytes, *, now: bool) -> bool:
        """`False`: too much waits for the node. Raises `Full` for what may not be dropped."""
        made = frame(kind, body, key)
        if self.closed:
            return False
        waiting = self.buffered + len(made)
        if waiting > MOST_WAITING:
            if kind in DROPPABLE:
                return False
            if waiting > MOST_WAITING + MOST_NEEDED:
                raise Full
        self.send(made)
        if now:
            self.flush()
        return True

    def close(self) -> None:
        self._ended = _nothing
        self._disconnect()

    def _readable(self) -> None:
        # The other node sends nothing here: the stream has ended.
        try:
            if self._sock.recv(1):
                said = "a worker sent data on a stream that only this worker writes: it is closed"
                gevent.spawn(log.error, said)
            self._disconnect()
        except BlockingIOError:
            pass
        except OSError:
            self._disconnect()
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            self.broke(error)

    def _written(self) -> None:
        """Nothing: it is closed at once."""

    def broke(self, error: BaseException, *, writing: bool = False) -> None:
        gevent.spawn(log.error, "A stream to another worker failed", exc_info=error)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._end:
            return
        self._end = self.closed = True
        self._forget()
        self._drop_writer()
        self._watch.stop()
        self._watch.close()
        self._sock.close()
        self._turn.loop.run_callback(self._ended)


class Stranger:
    """A stream that was opened a moment ago. ``met(frame, sock)`` gets its first frame, once.

    Nothing after that frame is read here, since a descriptor may come along with it.
    """

    def __init__(
        self,
        sock: _socket.socket,
        loop: Loop,
        met: Callable[[Frame, _socket.socket], None],
        ended: Callable[[Stranger], None],
    ) -> None:
        self._sock = sock
        self._met = met
        self._ended = ended
        self._watch = first_io(loop, sock.fileno())
        self._watch.start(self.look)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._stop()
        self._sock.close()

    def _stop(self) -> None:
        self._watch.stop()
        self._watch.close()
        self._ended(self)

    def look(self) -> None:
        """Reads its first frame, if it has come."""
        try:
            begun = self._sock.recv(HEAD.size, socket.MSG_PEEK)
            if len(begun) < HEAD.size:
                raise ProtocolError(Drop.CHANNEL)
            length = 4 + HEAD.unpack(begun)[0]
            if length > LONGEST_HELLO:
                raise ProtocolError(Drop.CHANNEL)
            (first,) = Frames().feed(self._sock.recv(length))
            self._stop()
            self._met(first, self._sock)
        except BlockingIOError:
            return
        except (OSError, ValueError):  # gone, or no worker of ours
            self.close()
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            gevent.spawn(
                log.error,
                "The connection to another worker failed",
                exc_info=error,
            )
            self.close()


class Inlet:
    """What another node sends to this one.

    ``received(frame)`` may raise `ProtocolError`: then the stream ends. ``ended()`` is called once,
    at the end.
    """

    def __init__(
        self,
        sock: RawSocket,
        loop: Loop,
        received: Callable[[Frame], None],
        ended: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._received = received
        self._ended = ended
        self._frames = Frames()
        self._watch = first_io(loop, sock.fileno())
        self._watch.start(self._readable)
        self.closed = False

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        if not self.closed:
            self._stop()
            self._sock.close()

    def _stop(self) -> None:
        self.closed = True
        self._watch.stop()
        self._watch.close()

    def _readable(self) -> None:
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        try:
            for each in self._frames.feed(data):
                self._hand_on(each)
                if self.closed:
                    return
        except ProtocolError as error:
            said = "a message of another worker cannot be read (%s): its stream is closed"
            gevent.spawn(log.error, said, error.reason)
            self._end()

    def _hand_on(self, each: Frame) -> None:
        try:
            self._received(each)
        except ProtocolError:
            raise
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            gevent.spawn(log.error, "A message from another worker failed", exc_info=error)

    def _end(self) -> None:
        self.close()
        self._ended()


def _nothing() -> None:
    """Does nothing."""
