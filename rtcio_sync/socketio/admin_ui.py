"""python-socketio's Admin UI: what it watches goes on, whatever there is to report.

Upstream reports an event before the app's handler runs. If it cannot report it, the handler does
not run: so for the end of a client that has come back to its session, or that had connected before
`Server.instrument` was called. It also counts a client that is refused among the connected ones,
for ever, and an invalid command of an admin ends as an error of a handler.

Overridden of ``socketio.admin.InstrumentedServer``, each asserted in ``tests/test_upstream.py``:
``instrument``, ``uninstrument``, ``serialize_socket``, ``_trigger_event``, ``_basic_enter_room``,
``_basic_leave_room``, ``_emit_server_stats`` and the methods of the commands. Used as they are:
``_check_for_upgrade`` and, of the manager, ``_timestamps``.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from socketio.admin import InstrumentedServer

from ..adapter.member import Member
from ..config.option_values import is_number
from ..errors import OptionError, ProtocolError
from ..functions import called, check_plain
from ..protocol.envelope import Drop
from ..protocol.names import namespace_name
from .handler_signatures import check_takes
from .socket import BroadcastOperator

__all__ = ["AdminUI"]

log = logging.getLogger(__name__)


class AdminUI(InstrumentedServer):
    """The Admin UI of one server. Raises `OptionError` for invalid arguments."""

    sio: Any
    mode: str
    admin_namespace: str
    server_id: str
    server_stats_interval: float
    stop_stats_event: Any
    event_buffer: Any
    #: The server's own method, which runs the handlers.
    _runs: Callable[..., Any]

    def __init__(
        self,
        server: Any,
        auth: Any,
        mode: str,
        read_only: bool,
        server_id: str | None,
        namespace: str,
        server_stats_interval: float,
    ) -> None:
        if "_ok" in vars(server.eio):  # each would report the reports of the other, endlessly
            raise OptionError("the server has an Admin UI already: call instrument() once")
        _check(mode, read_only, server_id, server_stats_interval)
        asked = _auth(auth)
        name = namespace_name(namespace)
        #: Whether no other worker of this host has this id: by default it is the host's name.
        self._has_id = server_id is not None or hasattr(server.manager, "host_id")
        super().__init__(server, asked, mode, read_only, server_id, name, server_stats_interval)

    def instrument(self) -> None:
        self._runs = self.sio._trigger_event
        super().instrument()
        if self.mode == "development":
            manager = self.sio.manager
            manager.basic_disconnect = self._basic_disconnect
            manager.move = self._move

    def uninstrument(self) -> None:
        super().uninstrument()
        del self.sio.eio._ok
        if self.mode == "development":
            del self.sio.manager.basic_disconnect, self.sio.manager.move

    # -- what it reports ---------------------------------------------------------------------------

    def _trigger_event(self, event: str, namespace: str, *args: Any) -> Any:
        with _reporting():
            self._report(event, namespace, *args)
        return self._runs(event, namespace, *args)

    def _report(self, event: str, namespace: str, sid: str, *args: Any) -> None:
        if event == "connect":
            self._connected(sid, namespace)
        elif event == "disconnect":
            self._disconnected(sid, namespace, args[0])
        else:
            self._emits("event_received", namespace, sid, (event, *args))

    def _connected(self, sid: str, namespace: str) -> None:
        manager = self.sio.manager
        eio_sid = manager.eio_sid_from_sid(sid, namespace)
        manager._timestamps[sid] = time.time()
        self._emits("socket_connected", self.serialize_socket(sid, namespace, eio_sid))
        link = self.sio.eio.sockets.get(eio_sid)
        if link is not None and not link.upgraded:
            given = eio_sid, sid, namespace
            self.sio.start_background_task(self._check_for_upgrade, *given)

    def _disconnected(self, sid: str, namespace: str, reason: str) -> None:
        self.sio.manager._timestamps.pop(sid, None)
        self._emits("socket_disconnected", namespace, sid, reason)

    def _emits(self, event: str, *args: Any) -> None:
        now = datetime.now(timezone.utc).isoformat()
        self.sio.emit(event, (*args, now), namespace=self.admin_namespace)

    def _basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: Any = None) -> None:
        manager = self.sio.manager
        type(manager).basic_enter_room(manager, sid, namespace, room, eio_sid)
        with _reporting():
            self._emits("room_joined", namespace, room, sid)

    def _basic_leave_room(self, sid: str, namespace: str, room: Any) -> None:
        manager = self.sio.manager
        type(manager).basic_leave_room(manager, sid, namespace, room)
        with _reporting():
            self._emits("room_left", namespace, room, sid)

    def _basic_disconnect(self, sid: str, namespace: str, **options: Any) -> None:
        """Also reports the end of a socket of which no handler is told. # hub or greenlet

        It was refused, or it was away, and an admin that came meanwhile was told of it.
        """
        manager = self.sio.manager
        member: Member | None = manager.member(sid, namespace)
        untold = sid in manager._timestamps or (member is not None and member.session is not None)
        type(manager).basic_disconnect(manager, sid, namespace, **options)
        if untold:
            self.sio.eio.spawn(self._gone, sid, namespace)

    def _gone(self, sid: str, namespace: str) -> None:
        with _reporting():
            self._disconnected(sid, namespace, "gone")

    def _move(self, member: Member, eio_sid: str) -> None:
        """Also reports that a client has come back to its session: no handler is told."""
        manager = self.sio.manager
        type(manager).move(manager, member, eio_sid)
        self.sio.eio.spawn(self._came_back, member.sid, member.namespace)

    def _came_back(self, sid: str, namespace: str) -> None:
        if self.sio.manager.is_connected(sid, namespace):
            with _reporting():
                self._connected(sid, namespace)

    def serialize_socket(self, sid: str, namespace: str, eio_sid: str | None = None) -> Any:
        """As upstream's, also for a socket whose connection has ended."""
        if eio_sid in self.sio.eio.sockets:
            return super().serialize_socket(sid, namespace, eio_sid)
        rooms = self.sio.manager.get_rooms(sid, namespace)
        handshake = {"address": "", "headers": {}, "query": {}, "secure": False, "url": ""}
        return {
            "id": sid,
            "clientId": eio_sid,
            "transport": "polling",
            "nsp": namespace,
            "data": {},
            "handshake": {**handshake, "issued": 0, "time": ""},
            "rooms": rooms,
        }

    def _emit_server_stats(self) -> None:
        """As upstream's, with the namespaces of both idioms, also those that are made later."""
        begun = time.time()
        while not self.stop_stats_event.is_set():
            self.sio.sleep(self.server_stats_interval)
            with _reporting():
                given = self._stats(time.time() - begun)
                self.sio.emit("server_stats", given, namespace=self.admin_namespace)

    def _stats(self, uptime: float) -> dict[str, Any]:
        server, links = self.sio, list(self.sio.eio.sockets.values())
        names = {*server.handlers, *server.namespace_handlers, *server.registry.spaces}
        names = {*names, *server.manager.members} - {"*"}
        pid = os.getpid()  # not of a master that has loaded the app
        return {
            "serverId": self.server_id if self._has_id else f"{self.server_id}#{pid}",
            "hostname": socket.gethostname(),
            "pid": pid,
            "uptime": uptime,
            "clientsCount": len(links),
            "pollingClientsCount": sum(not each.upgraded for each in links),
            "aggregatedEvents": self.event_buffer.get_and_clear(),
            "namespaces": [
                {"name": name, "socketsCount": len(server.manager.members.get(name, ()))}
                for name in sorted(names)
            ],
        }

    # -- what an admin may do ----------------------------------------------------------------------

    def admin_emit(
        self, _: str, namespace: Any = None, to: Any = None, event: Any = None, *data: Any
    ) -> None:
        with _of_a_client():
            super().admin_emit(_, namespace, to, event, *data)

    def admin_enter_room(
        self, _: str, namespace: Any = None, room: Any = None, to: Any = None
    ) -> None:
        with _of_a_client():
            self._those(namespace, to).sockets_join(room)

    def admin_leave_room(
        self, _: str, namespace: Any = None, room: Any = None, to: Any = None
    ) -> None:
        with _of_a_client():
            self._those(namespace, to).sockets_leave(room)

    def admin_disconnect(
        self, _: str, namespace: Any = None, close: Any = False, to: Any = None
    ) -> None:
        with _of_a_client():
            self._those(namespace, to).disconnect_sockets(bool(close))

    def _those(self, namespace: Any, to: Any) -> BroadcastOperator:
        return BroadcastOperator(self.sio, namespace_name(namespace)).to(to)


@contextmanager
def _reporting() -> Iterator[None]:
    """What cannot be reported, such as what a client sent and JSON has not, is left out."""
    try:
        yield
    except Exception:  # the handlers have to run, whatever it is
        log.debug("an event could not be reported to the Admin UI", exc_info=True)


@contextmanager
def _of_a_client() -> Iterator[None]:
    """An invalid command is counted as a drop, as what any client sends."""
    try:
        yield
    except ProtocolError:
        raise
    except (TypeError, ValueError) as error:
        raise ProtocolError(Drop.MALFORMED) from error


def _check(mode: Any, read_only: Any, server_id: Any, interval: Any) -> None:
    if mode not in ("development", "production"):
        raise OptionError(f"mode={mode!r:.80}: give 'development' or 'production'")
    if not isinstance(read_only, bool):
        raise OptionError(f"read_only={read_only!r:.80}: give True or False")
    if not (server_id is None or isinstance(server_id, str)):
        raise OptionError(f"server_id={server_id!r:.80}: give text, or None for a name of its own")
    if not is_number(interval, above=0):
        raise OptionError(f"server_stats_interval={interval!r:.80}: give seconds above 0")


def _auth(auth: Any) -> Any:
    """``auth`` as upstream takes it. Raises `OptionError`, for what would let everybody in, too."""
    if auth is False:
        return auth
    if callable(auth) and not isinstance(auth, type):
        check_plain(auth)
        check_takes("auth", auth, "login")
        return lambda login: called(auth, login)
    logins = auth if isinstance(auth, list) else [auth]
    if logins and all(isinstance(each, dict) and each for each in logins):
        return auth
    raise OptionError(
        "auth must be specified: give the login that is asked for, like "
        "{'username': …, 'password': …}, a list of several, a function of the login, or False: "
        "everybody may use the Admin UI"
    )
