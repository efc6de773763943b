"""Sends connections to the workers that own their sessions, and takes those of others.

# greenlet: all of it. A stream of descriptors is its own, so that a worker whose pool is full can
stop to read it without missing messages.
"""

from __future__ import annotations

import _socket
import logging
import os
import socket
import stat
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import gevent
from gevent.lock import RLock
from gevent.socket import socket as GreenSocket

from ..cluster.frames import Frame, Frames, frame
from ..cluster.messages import Struct, decoded, encoded
from ..errors import ProtocolError
from .reread_socket import Reread

__all__ = ["Arrived", "Giver", "Taker"]

log = logging.getLogger(__name__)

WITHIN = 1.0  # seconds in which a connection has to be on its way
LONGEST_READ = 1_000_000  # bytes that may have been read of a request that is handed over
MOST_DESCRIPTORS = 64  # in one message of the kernel

CONNECTION = 32  #: the kind of frame that carries a new connection
OPEN = 33  #: the same for a WebSocket that is open
SESSION = 34  #: the same for the WebSocket of a session that moves


class Handed(Struct):
    """A connection: the index of the listening socket that it came to, and what was read of it."""

    listener: int
    read: bytes


class Carrier(Protocol):
    """What opens streams of descriptors: `cluster.local_bus.Mesh`."""

    def connect(self, node: str) -> Any:
        """A new stream to a node. Raises `OSError`."""


class Arrived(Reread):
    """A connection that another worker has accepted.

    It has no attribute ``pending``: that would mean TLS.
    """

    def __init__(self, fd: int, read: bytes) -> None:
        super().__init__(_socket.socket(fileno=fd), read)


class Giver:
    """Sends connections to other nodes. ``carrier()``: `None` while there are none."""

    def __init__(self, carrier: Callable[[], Carrier | None]) -> None:
        self._carrier = carrier
        self._streams: dict[str, GreenSocket] = {}
        self._locks: dict[str, RLock] = {}

    def give(self, node: str, fd: int, listener: int, read: bytes = b"") -> bool | None:
        """Sends a new connection; the caller closes its own descriptor then, without shutdown.

        `False`: it was not possible in time. `None`: the node is dead.
        """
        return self._give(node, fd, CONNECTION, encoded(Handed(listener, read)))

    def give_open(self, node: str, fd: int, about: bytes) -> bool:
        """The same for a WebSocket that is open; ``about``: what the node has to know of it."""
        return bool(self._give(node, fd, OPEN, about))

    def give_session(self, node: str, fd: int, about: bytes) -> bool:
        """The same for a session that moves; ``about``: the id of its connection."""
        return bool(self._give(node, fd, SESSION, about))

    def _give(self, node: str, fd: int, kind: int, body: bytes) -> bool | None:
        if len(body) > LONGEST_READ:
            return False
        message = frame(kind, body)
        try:
            with gevent.Timeout(WITHIN, TimeoutError), self._locks.setdefault(node, RLock()):
                self._send(node, fd, message)
        except TimeoutError:
            self._drop(node)  # half a message may have been sent
            return False
        except ProcessLookupError:
            self._drop(node)
            return None
        except OSError:
            self._drop(node)
            return False
        return True

    def forget(self, node: str) -> None:
        """A node is dead. # hub or greenlet"""
        self._locks.pop(node, None)
        self._drop(node)

    def _send(self, node: str, fd: int, message: bytes) -> None:
        stream = self._streams.get(node)
        if stream is None:
            stream = self._streams[node] = self._connect(node)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fd.to_bytes(4, _ORDER))]
        sent = stream.sendmsg([message], rights)
        if sent < len(message):
            stream.sendall(message[sent:])

    def _connect(self, node: str) -> GreenSocket:
        carrier = self._carrier()
        if carrier is None:
            raise ProcessLookupError(node)
        while True:
            try:
                return GreenSocket(fileno=carrier.connect(node).detach())
            except BlockingIOError:
                gevent.sleep(0.02)

    def _drop(self, node: str) -> None:
        stream = self._streams.pop(node, None)
        if stream is not None:
            stream.close()


class Taker:
    """Reads the streams of others.

    ``serve(listener, connection)`` serves a new connection, and may block; ``go_on(fd, about)``
    goes on with a WebSocket, ``attach(fd, about)`` with that of a session that moves.
    """

    def __init__(
        self,
        serve: Callable[[int, Arrived], None],
        go_on: Callable[[int, bytes], None],
        attach: Callable[[int, bytes], None],
    ) -> None:
        self._serve = serve
        self._open = {OPEN: go_on, SESSION: attach}

    def take(self, node: str, sock: Any) -> None:
        """Reads a stream until its end. # hub"""
        gevent.spawn(self._read, GreenSocket(fileno=sock.detach()))

    def _read(self, stream: GreenSocket) -> None:
        waiting: deque[int] = deque()
        frames = Frames()
        space = socket.CMSG_SPACE(4 * MOST_DESCRIPTORS)
        try:
            while True:
                data, rights, _, _ = stream.recvmsg(65536, space)
                waiting += _descriptors(rights)
                if not data:
                    return
                for each in frames.feed(data):
                    if each.kind not in (CONNECTION, *self._open) or not waiting:
                        raise ProtocolError("channel")
                    self._arrive(waiting.popleft(), each)
        except ProtocolError as error:
            log.error("a connection of another worker cannot be taken: %s", error.reason)
        except OSError:
            return
        finally:
            stream.close()
            for fd in waiting:
                os.close(fd)

    def _arrive(self, fd: int, message: Frame) -> None:
        go_on = self._open.get(message.kind)
        if go_on is not None:
            go_on(fd, message.body)  # which closes it
            return
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                raise ProtocolError("channel")
            handed = decoded(Handed, message.body)
            connection = Arrived(fd, handed.read)
        except BaseException:
            with suppress(OSError):
                os.close(fd)
            raise
        try:
            self._serve(handed.listener, connection)
        except OSError:  # the client has gone
            connection.close()
        except Exception:
            log.exception("a connection of another worker cannot be served")
            connection.close()


_ORDER: Final = sys.byteorder


def _descriptors(rights: list[tuple[int, int, bytes]]) -> list[int]:
    found: list[int] = []
    for level, kind, data in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            for start in range(0, len(data) - len(data) % 4, 4):
                found.append(int.from_bytes(data[start : start + 4], _ORDER))
    return found
