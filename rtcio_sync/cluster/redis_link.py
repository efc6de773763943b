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
from typing import Any, Protocol

import gevent
from gevent import monkey
from gevent.event import Event
from gevent.threadpool import ThreadPool

from ..errors import OptionError, ProtocolError
from ..transport.base import RawSocket
from ..transport.outgoing import READ, Turn, tls_wants
from . import resp
from .resp import Reply
from .stream import Outlet

__all__ = ["Door", "Line", "Link", "Replied", "Url"]

log = logging.getLogger(__name__)

Replied = Callable[[Reply], None]
"""Gets the reply to a command. # hub"""

CHUNK = 1 << 18  # bytes that are read at a time
PATIENCE = 5.0  # seconds without a reply, after which a connection is made anew
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds before a connection is tried again


class Opened(Protocol):
    """A connection of redis-py's."""

    _sock: Any

    def disconnect(self) -> None: ...


class Door(Protocol):
    """Knows where Redis is."""

    def open(self, place: str) -> Opened:
        """Connects to a master, and blocks meanwhile. Raises what redis-py raises, or `OSError`."""

    def place(self, key: str) -> str:
        """The master of a key."""


class Url:
    """One Redis at an address. Raises `OptionError` for one that redis-py cannot read."""

    def __init__(self, url: str) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise OptionError(
                "cluster='redis://…' needs redis-py: pip install 'rtcio-sync[redis]'"
            ) from None
        options: dict[str, Any] = {
            "protocol": 2,
            "socket_timeout": PATIENCE,
            "socket_connect_timeout": PATIENCE,
            "socket_keepalive": True,
            "retry": Retry(NoBackoff(), 0),
        }
        if url.startswith("unix:"):
            del options["socket_keepalive"], options["socket_connect_timeout"]
        try:
            self._pool = redis.ConnectionPool.from_url(url, **options)
        except (ValueError, TypeError) as error:
            raise OptionError(f"cluster: redis-py cannot read the address: {error}") from None

    def open(self, place: str) -> Opened:
        pool = self._pool
        connection: Any = pool.connection_class(**pool.connection_kwargs)
        connection.connect()
        return connection  # type: ignore[no-any-return]

    def place(self, key: str) -> str:
        return ""


class Link(Outlet):
    """One connection: commands go out, and each reply goes to its command's function. # hub

    ``ended``: called once, when the connection has ended; no function is called afterwards.
    """

    __slots__ = ("_kept", "_parser", "_waiting", "since")

    def __init__(self, opened: Opened, turn: Turn, ended: Callable[[], None]) -> None:
        self._kept = opened  # redis-py closes the socket when it is collected
        super().__init__(_taken(opened), turn, ended)
        self._parser = resp.parser()
        self._waiting: deque[Replied] = deque()
        #: Since when a reply is awaited.
        self.since = 0.0

    def call(self, command: bytes, replied: Replied) -> None:
        """Sends a command at the end of the loop's turn."""
        self.expect(replied)
        self.send(command)

    def expect(self, replied: Replied) -> None:
        """The next command, which `send` sends, has its reply go there."""
        if not self._waiting:
            self.since = time.monotonic()
        self._waiting.append(replied)

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


def _opened(door: Door, place: str) -> Opened | Exception:
    try:
        return door.open(place)
    except Exception as error:  # noqa: BLE001  (gevent would print what a thread of its pool raises)
        return error


def _taken(opened: Opened) -> RawSocket:
    """The socket of a connection; from now on the hub's."""
    sock = opened._sock
    if not hasattr(sock, "pending"):  # TLS stays what it is
        sock = _socket.socket(fileno=sock.detach())
    sock.setblocking(False)
    return sock  # type: ignore[no-any-return]


class Line:
    """A connection that is made again when it ends.

    ``up(link)`` is called when it is made, ``down()`` when it has ended. # greenlet, hub
    ``patience``: seconds without the reply that is awaited, after which it is given up.
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
        self.place = place
        self._turn = turn
        self._up, self._down, self._failed = up, down, failed
        self._patience = patience
        self._ended = Event()
        self._stopped = False
        self._pool = None if monkey.is_module_patched("socket") else ThreadPool(1)
        self.link: Link | None = None
        self._greenlet = gevent.spawn(self._run)

    def check(self) -> None:
        """Gives a connection up that does not answer. # hub or greenlet"""
        link = self.link
        if link is not None and link.awaits and time.monotonic() - link.since > self._patience:
            self.cut()

    def cut(self) -> None:
        """Makes the connection anew. # hub or greenlet"""
        link = self.link
        if link is not None:
            link.close()
            self._end(link)

    def stop(self) -> None:
        """Ends for good, and calls nothing more. # hub or greenlet"""
        self._stopped = True
        if self.link is not None:
            self.link.close()
            self.link = None
        self._ended.set()
        self._greenlet.kill(block=False)

    def fileno(self) -> int:
        return -1 if self.link is None else self.link.fileno()

    def _run(self) -> None:  # greenlet
        pause = FIRST_PAUSE
        while not self._stopped:
            try:
                opened = self._open()
            except Exception as error:  # noqa: BLE001  (redis-py's, of sockets, of TLS)
                self._failed(error)
                gevent.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            if self._stopped:
                opened.disconnect()
                return
            began = time.monotonic()
            self._use(opened)
            self._ended.wait()
            if time.monotonic() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            gevent.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _use(self, opened: Opened) -> None:
        self._ended.clear()
        link = self.link = Link(opened, self._turn, lambda: self._end(link))
        self._up(link)

    def _open(self) -> Opened:
        if self._pool is None:
            return self._door.open(self.place)
        found = self._pool.apply(_opened, (self._door, self.place))
        if isinstance(found, Exception):
            raise found
        return found

    def _end(self, link: Link) -> None:
        if self.link is link:
            self.link = None
            self._down()
            self._ended.set()
