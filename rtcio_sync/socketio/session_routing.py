"""A client that comes back reaches any worker: its connection goes to the one with its session.

The session's key begins with the id of its worker. Its WebSocket goes there as an open descriptor,
before CONNECT is answered, so nothing but the connection itself has to move. A client that begins
on polling is waited for until it has upgraded. If it stays on polling, its connection is made anew
there, and its requests are passed on (`cluster.stray_polls`).
"""

from __future__ import annotations

import _socket
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from ..cluster.exchange import Exchange
from ..cluster.messages import Struct, decoded, encoded
from ..cluster.ports import Sessions
from ..cluster.stray_polls import Strays
from ..engineio.socket import Socket as Link
from ..engineio.state import State
from ..errors import CannotMove, OptionError
from ..logs import tell
from ..transport.ports import Carried
from . import inbox_items
from .ports import Host
from .recovery import without_session

__all__ = ["Moving"]

log = logging.getLogger(__name__)

_MOVED = "connection %(rtcio_connection)s goes to the worker that has its session"

_UNSENDABLE = "connection %(rtcio_connection)s cannot go to another worker: its auth cannot be sent"

PROBE_WITHIN = 0.3  # seconds in which a client on polling begins to upgrade
UPGRADE_WITHIN = 5.0  # seconds in which it has done so
LOOK_EACH = 0.01
IDLE_WITHIN = 5.0  # seconds in which the POST with its CONNECT has ended

POLLS = "polls"  # what is told to the worker with the session


class Moved(Struct):
    """An open WebSocket, and the CONNECT that its client has sent on it."""

    sid: str
    environ: dict[str, Any]
    carried: Carried
    namespace: str
    auth: Any


class Polls(Struct):
    """A connection on polling as bytes (`session_transfer`), and the `Named` of its CONNECT."""

    state: bytes
    connect: bytes


class Named(Struct):
    """A CONNECT that names a session."""

    namespace: str
    auth: Any


class Moving:
    """Moves the connections of one server.

    ``owner(pid)``: the other worker that has a session, if one does.
    """

    def __init__(
        self,
        host: Host,
        owner: Callable[[str], str | None],
        *,
        exchange: Exchange,
        sessions: Sessions,
    ) -> None:
        self._host = host
        self._engine: Any = host.eio
        self._owner = owner
        self._exchange = exchange
        self._sessions = sessions
        self.strays = Strays(exchange, self._engine.sockets.__contains__)
        exchange.inline[POLLS] = self._take_polling
        #: Sends a descriptor to another worker: ``(node, fd, about)``.
        self.give: Callable[[str, int, bytes], bool] = _give_nothing

    def move(self, link: Link, namespace: str, auth: Any) -> bool:
        """Sends a connection to the worker of the session that its client names. # greenlet"""
        pid = auth.get("pid") if isinstance(auth, dict) else None
        node = self._owner(pid) if isinstance(pid, str) else None
        if node is None or link.joined:
            return False
        parted = self._part(link)
        if parted is None:
            return link.closed or self._polls_on(link, node, namespace, auth)
        sock, carried = parted
        kept = self._host.environ.pop(link.sid, None) or {}
        environ = {key: each for key, each in kept.items() if type(each) in (str, int, bool)}
        try:
            about = encoded(Moved(link.sid, environ, carried, namespace, auth))
            if self.give(node, sock.fileno(), about):
                tell(log, _MOVED, connection=link.sid)
        except OptionError:  # of an `auth` that JSON has and UTF-8 has not
            tell(log, _UNSENDABLE, connection=link.sid)
        finally:  # if it was not possible, the client comes again
            sock.close()
        return True

    def _part(self, link: Link) -> Any:
        """Takes the socket out of a connection, once it is on WebSocket."""
        begun = time.monotonic()
        while not link.closed:
            parted = link.part()
            if parted is not None:
                return parted
            waited = time.monotonic() - begun
            probes = link.state is not State.POLLING or link.websocket is not None
            if waited > (UPGRADE_WITHIN if probes else PROBE_WITHIN):
                return None
            self._engine.sleep(LOOK_EACH)
        return None

    def _polls_on(self, link: Link, node: str, namespace: str, auth: Any) -> bool:
        """The same for a connection that stays on polling, once nothing of it is under way."""
        try:
            connect = encoded(Named(namespace, auth))
        except OptionError:
            tell(log, _UNSENDABLE, connection=link.sid)
            return False
        if link.state is not State.POLLING:
            return False
        self._sessions.freeze(link.sid)
        # It counts as busy, so that a worker that leaves does not take it without its CONNECT.
        link.tasks += 1
        self._engine.spawn(self._send_polling, link, node, connect)
        return True

    def _send_polling(self, link: Link, node: str, connect: bytes) -> None:
        until = time.monotonic() + IDLE_WITHIN
        while True:
            link.tasks -= 1
            if not self._sessions.busy(link.sid) or time.monotonic() > until:
                break
            link.tasks += 1
            self._engine.sleep(LOOK_EACH)
        if link.closed:
            return
        if link.state is State.WEBSOCKET:  # it has upgraded after all
            named = decoded(Named, connect)
            if not self.move(link, named.namespace, named.auth):
                self._begin_anew(link, named)
            return
        try:
            if link.joined:  # with another CONNECT, its sockets would have to move, too
                raise CannotMove("it has joined a namespace")
            state = self._sessions.pack(link.sid).state
        except CannotMove:
            self._begin_anew(link, decoded(Named, connect))
            return
        # Both before the open poll is answered: the next one goes there.
        self.strays.give(link.sid, node)
        self._exchange.tell(node, POLLS, encoded(Polls(state, connect)))
        tell(log, _MOVED, connection=link.sid)

    def _begin_anew(self, link: Link, named: Named) -> None:
        """It stays here: the client gets a new session."""
        link.enqueue(inbox_items.Connect(named.namespace, without_session(named.auth)))
        self._sessions.thaw(link.sid)

    def _take_polling(self, node: str, number: int, about: bytes) -> None:  # hub
        polls = decoded(Polls, about)
        named = decoded(Named, polls.connect)
        eio_sid, _ = self._sessions.adopt(polls.state)
        self.strays.take(eio_sid)
        link = self._engine.sockets[eio_sid]
        link.enqueue(inbox_items.Connect(named.namespace, named.auth))
        self._sessions.attach(eio_sid, -1)

    def go_on(self, fd: int, about: bytes) -> None:
        """Goes on with a connection of another worker. # greenlet"""
        sock = _socket.socket(fileno=fd)  # from now on, nobody else closes it
        with contextlib.ExitStack() as stack:
            stack.callback(sock.close)
            moved = decoded(Moved, about)
            if self._engine.stopping:  # its client comes again, and reaches another worker
                return
            link = self._engine.transfer.welcome(moved.sid, moved.environ, sock, moved.carried)
            stack.pop_all()
        link.enqueue(inbox_items.Connect(moved.namespace, moved.auth))


def _give_nothing(node: str, fd: int, about: bytes) -> bool:
    return False
