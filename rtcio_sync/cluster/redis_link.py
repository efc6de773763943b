"""Connections to Redis: made by redis-py, then read and written by the hub.

redis-py knows addresses, TLS, users, Sentinel and Cluster. It connects in a greenlet, or in a
thread where the standard library is not patched. Then its socket is taken over: that is the private
``_sock`` of redis-py's ``Connection``.
"""

from __future__ import annotations

import _socket
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import gevent
from gevent import monkey
from gevent.event import Event
from gevent.threadpool import ThreadPool

from ..errors import ProtocolError
from ..transport.outgoing import Turn
from ..transport.ports import RawSocket
from ..transport.tcp import READ, tls_wants
from . import redis_resp
from .redis_resp import Reply
from .stream import Outlet

__all__ = ["Door", "Line", "Link", "Opened", "Replied", "Unplaced"]

log = logging.getLogger(__name__)

Replied = Callable[[Reply], None]
"""Gets the reply to a command. # hub"""

CHUNK = 1 << 18  # bytes that are read at a time
PATIENCE = 1.5  # seconds without a reply, after which another connection is tried
GRACE = 0.05  # seconds in which the old one may still answer
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds before a connection is tried again

T = TypeVar("T")


class Unplaced(ConnectionError):
    """It was not known where Redis is; now it is."""


class Opened(Protocol):
    """A connection of redis-py's."""

    _sock: Any

    def disconnect(self) -> None: ...


class Door(Protocol):
    """Knows where Redis is."""

    #: The same for people, without user and password.
    where: str

    def open(self, place: str) -> Opened:
        """Connects to a master, and blocks meanwhile. Raises what redis-py raises, or `OSError`."""

    def place(self, key: str) -> str:
        """The master of a key."""

    def lost(self, place: str) -> None:
        """A master cannot be reached: looks where its keys are now, and blocks meanwhile."""

    def moved(self, error: str) -> bool:
        """Redis says ``MOVED slot address``; `False`: it is not known as a Redis Cluster."""


class Link(Outlet):
    """One connection: commands go out, and each reply goes to its command's function. # hub

    ``ended``: called once, when the connection has ended; no function is called afterwards.
    """

    __slots__ = ("_kept", "_parser", "_waiting", "since")

    def __init__(self, opened: Opened, turn: Turn, ended: Callable[[], None]) -> None:
        self._kept = opened  # redis-py closes the socket when it is collected
        super().__init__(_taken(opened), turn, ended)
        self._parser = redis_resp.parser()
        self._waiting: deque[Replied] = deque()
        #: Since when a reply is awaited.
        self.since = 0.0

    def call(self, command: bytes, replied: Replied) -> bool:
        """Sends a command at the end of the loop's turn. `False`: the connection has ended.

        The only way to send one, so that the replies go to their commands in order.
        """
        if self.closed:
            return False
        if not self._waiting:
            self.since = time.monotonic()
        self._waiting.append(replied)
        self.send(command)
        return True

    @property
    def awaits(self) -> bool:
        """Whether a reply is awaited."""
        return bool(self._waiting)

    def _readable(self) -> None:
        try:
            while True:
                data = self._sock.recv(CHUNK)
                if not data:
                    self._disconnect()
                    return
                self._hand_on(data)
                if self._tls is None or self.closed or not self._tls.pending():
                    return
        except BlockingIOError:
            return
        except OSError as error:
            if self._tls is None or not (wants := tls_wants(error)):
                self._disconnect()
            elif wants != READ:
                self._await_room()
        except ProtocolError:
            gevent.spawn(log.error, "a reply of Redis cannot be read: its connection is closed")
            self._disconnect()
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            self.broke(error)

    def _hand_on(self, data: bytes) -> None:
        waiting = self._waiting
        for reply in self._parser.feed(data):
            if self.closed:
                return
            self.since = time.monotonic()
            waiting.popleft()(reply)

    def broke(self, error: BaseException, *, writing: bool = False) -> None:
        gevent.spawn(log.error, "A connection to Redis failed", exc_info=error)
        self._disconnect()


def _taken(opened: Opened) -> RawSocket:
    """The socket of a connection; from now on the hub's."""
    sock = opened._sock
    if not hasattr(sock, "pending"):  # TLS stays what it is
        sock = _socket.socket(fileno=sock.detach())
    sock.setblocking(False)
    return sock  # type: ignore[no-any-return]


class Line:
    """A connection that is made again when it ends.

    ``up(link)`` is called when it is made, ``down()`` when it has ended, and ``failed(error)`` when
    it could not be made. # greenlet, hub, greenlet
    ``patience``: seconds without the reply that is awaited, after which another one is tried.
    """

    def __init__(
        self,
        door: Door,
        place: str,
        turn: Turn,
        *,
        up: Callable[[Link], None],
        down: Callable[[], None],
        failed: Callable[[Exception], None],
        patience: float = PATIENCE,
    ) -> None:
        self._door = door
        self._place = place
        self._turn = turn
        self._up, self._down, self._failed = up, down, failed
        self._patience = patience
        self._ended = Event()
        self._stopped = False
        # Where the standard library is not patched, redis-py blocks a thread instead of a greenlet.
        self._pool = None if monkey.is_module_patched("socket") else ThreadPool(1)
        #: The connection; `None`: there is none.
        self.link: Link | None = None
        # A connection that was made since this one does not answer.
        self._spare: Opened | None = None
        self._replacing = False
        self._greenlet = gevent.spawn(self._run)

    def check(self) -> None:
        """Tries another connection if this one does not answer. # hub or greenlet"""
        link = self.link
        if link is None or not link.awaits or self._replacing:
            return
        if time.monotonic() - link.since > self._patience:
            self._replacing = True
            gevent.spawn(self._replace, link)

    def cut(self) -> None:
        """Makes the connection anew. # hub or greenlet"""
        link = self.link
        if link is not None:
            link.close()
            self._end(link)

    def move(self, place: str) -> None:
        """What it was connected for is on another master now. # hub or greenlet"""
        if self._place != place:
            self._place = place
            self.cut()

    def stop(self) -> None:
        """Ends for good, and calls nothing more. # hub or greenlet"""
        self._stopped = True
        if self.link is not None:
            self.link.close()
            self.link = None
        self._ended.set()
        self._greenlet.kill(block=False)
        if self._pool is not None:
            gevent.spawn(self._pool.kill)

    def abandon(self) -> int:
        """Connects no more, in a forked child; gives the descriptor, or -1. # after a fork"""
        self._stopped = True
        self._greenlet.kill(block=False)  # it may be connecting, on a descriptor of the parent's
        return self.fileno()

    def fileno(self) -> int:
        return -1 if self.link is None else self.link.fileno()

    # -- greenlet ------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopped:
            opened, self._spare = self._spare, None
            try:
                opened = opened or self._blocking(self._door.open, self._place)
                began = time.monotonic()
                self._use(opened)
            except Exception as error:  # noqa: BLE001  (redis-py's, of sockets, of TLS)
                self._say(error)
            else:
                self._ended.wait()
                if time.monotonic() - began > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
            if self._spare is None:
                gevent.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(2 * pause, LONGEST_PAUSE)

    def _say(self, error: Exception) -> None:
        try:
            self._blocking(self._door.lost, self._place)
        except Exception as more:  # noqa: BLE001
            log.debug("no other address is known: %s", more)
        if not self._stopped:
            self._failed(error)

    def _use(self, opened: Opened) -> None:
        if self._stopped:
            opened.disconnect()
            return
        self._ended.clear()
        link = self.link = Link(opened, self._turn, lambda: self._end(link))
        self._up(link)

    def _end(self, link: Link) -> None:  # hub or greenlet
        if self.link is link:
            self.link = None
            self._down()
            self._ended.set()

    def _replace(self, link: Link) -> None:
        """Redis may only be slow: the old connection goes when the new one answers, and it not."""
        since = link.since
        try:
            spare = self._blocking(self._door.open, self._place)
            gevent.sleep(GRACE)
            if self.link is link and link.awaits and link.since == since:
                self._spare = spare
                self.cut()
            else:
                spare.disconnect()
        except Exception as error:  # noqa: BLE001  (it does not answer either)
            log.debug("another connection to Redis could not be made: %s", error)
        finally:
            self._replacing = False

    def _blocking(self, do: Callable[[str], T], place: str) -> T:
        if self._pool is None:
            return do(place)
        found: T | Exception = self._pool.apply(_result, (do, place))
        if isinstance(found, Exception):
            raise found
        return found


def _result(do: Callable[[str], T], place: str) -> T | Exception:
    try:
        return do(place)
    except Exception as error:  # noqa: BLE001  (gevent prints what a thread of its pool raises)
        return error
