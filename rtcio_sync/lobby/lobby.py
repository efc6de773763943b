"""`Lobby`: ready-made rooms with passwords, presence and media state.

Two things are kept apart, so that a room stays exact while many clients join and leave at once, and
so that no lock is held during a call that can block:

* *Seats* (`admission`) decide: who counts against the cap, whose password owns the room. They
  change under the lobby's lock, in a few plain statements (`joining`, `events`).
* *Steps* (`rooms`) tell: every change appends what has to be emitted to its room's queue, under the
  same lock, and runs it without. So each peer gets a room's events in the order in which they
  happened.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakSet

from socketio import PubSubManager

from ..cluster.exchange import Exchange
from ..errors import OptionError
from ..functions import called, check_plain
from ..hub.thread import HubThread, any_thread
from ..ice import servers_in
from ..logs import plain
from ..protocol.names import FUNCTIONS, NoName, check_sid, namespace_name, text_of
from ..server import Server
from ..socketio.handler_signatures import check_takes
from ..socketio.namespace import Namespace
from ..socketio.socket import Socket
from .events import Events
from .joining import State, token_of
from .keeper import Keeper
from .keeper_messages import Asks, Op
from .keeper_table import Table
from .payloads import room_in
from .ports import IceServers
from .rooms import LobbyRoom

__all__ = ["Lobby"]

log = logging.getLogger(__name__)

T = TypeVar("T")
Authorize = Callable[[Socket, str, "str | None", "str | None"], Any]


#: The namespaces that have a lobby.
_taken: WeakSet[Namespace] = WeakSet()


class Lobby:
    """The application protocol of the public rtc.io server, as one object.

    ``Lobby(server)`` answers ``check-room``, ``join-room``, ``leave-room``, ``media-state``,
    ``chat-message``, ``stopScreenShare`` and ``ask-ice`` of every client of ``namespace``, next to
    the app's own handlers. A room exists while at least one peer is in it. It is also a Socket.IO
    room with the same id, so ``socket.to(room_id)`` and ``relay_scope="room"`` work on it. Because
    of that, a client may ask for any id that is not a sid: an app with rooms of its own in the same
    namespace distinguishes them in `authorize`, or gives the lobby another namespace.

    ``max_peers``: seats in one room, for every room; `None`: the class attribute, by default no
    limit. ``authorize``: called instead of the method of that name. ``ice_servers``: the answer to
    ``ask-ice``, a list of ``RTCIceServer`` objects or a callable that takes the socket and returns
    one (`rtcio_sync.ice_servers`); `None`: an empty list.

    A peer has a seat exactly while it is in the Socket.IO room. It gets no seat if it may not enter
    that room (it is in `Limits.max_rooms_per_socket` already), and it loses its seat when the app
    takes it out of that room (``leave_room``, ``close_room``, ``sockets_leave``), as by `remove`.

    On a server with ``connection_state_recovery``, a peer that loses its connection is gone for the
    others at once. It keeps its seat, its rooms and its media state while it may reconnect.

    A subclass may override `authorize`, `ice_servers` and the attribute `max_peers`. The workers of
    one gunicorn have one lobby, if it is made while the app is loaded, and not in a handler. With a
    client manager that connects several processes, each has its own. The log warns of both. Raises
    `OptionError` (a `ValueError`) for invalid arguments, and for a namespace that has a lobby
    already.
    """

    #: Seats in one room; `None`: no limit.
    max_peers: int | None = None

    def __init__(
        self,
        server: Server,
        *,
        max_peers: int | None = None,
        authorize: Authorize | None = None,
        ice_servers: IceServers | Callable[[Socket], IceServers] | None = None,
        namespace: str = "/",
    ) -> None:
        if not isinstance(server, Server):
            raise OptionError("Lobby(server): give the rtcio_sync.Server, not the app")
        if max_peers is not None:
            self.max_peers = max_peers
        _check_cap(inspect.getattr_static(self, "max_peers"))  # maybe a subclass's
        if authorize is not None and not callable(authorize):
            raise OptionError("authorize must be a callable: (socket, room, name, password)")
        for name, given in (("authorize", authorize), ("ice_servers", ice_servers)):
            if callable(given):
                _check_function(name, given)
            _check_function(name, getattr(self, name))  # a subclass may have its own
        self._authorize = authorize
        self._ice_servers = ice_servers if callable(ice_servers) else _constant(ice_servers)
        self._server = server
        space = server.of(namespace_name(namespace))
        if space in _taken:
            # Both would answer: whom one refuses, the other lets in.
            raise OptionError(
                f"namespace {space.name} already has a Lobby: use that Lobby (RoomPage takes it as "
                "lobby=), or give this Lobby another namespace"
            )
        _taken.add(space)
        state = State(space)
        self._lock, self._seating, self._rooms = state.lock, state.seating, state.rooms
        if isinstance(server.manager, PubSubManager):
            log.warning(
                "Lobby keeps its rooms in this process only: run one process, or send all peers "
                "of a room to the same process"
            )
        self._keeper: Keeper | None = None
        if server.exchange is not None:
            _warn_if_late(server.exchange, space.name)
            self._keeper = Table(server, space, state, server.exchange).keeper
        self._events = Events(server, space, state, self, self._keeper)
        space.on("connection")(self._events.connected)
        server.manager.on_leave.append(self._events.left)
        server.manager.on_lost.append(self._events.lost)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "max_peers":  # here, and not when the next peer joins
            _check_cap(value)
        super().__setattr__(name, value)

    # -- what an app may override, ask and do ------------------------------------------------------

    def authorize(self, socket: Socket, room: str, name: str | None, password: str | None) -> bool:
        """Whether ``socket`` may join ``room``; it may block. Anything false is ``forbidden``.

        Called before a seat is taken, if the room has a free one and the password was right; for a
        socket that is in the room already, if it sends another name. ``name`` and ``password`` are
        what the client sent, a number as text, `None` if it sent none. An exception is handled as
        in every handler, and the client is told ``forbidden``. By default everybody may.
        """
        if self._authorize is None:
            return True
        asked = self._authorize
        return bool(called(asked, socket, room, name, password))

    def ice_servers(self, socket: Socket) -> IceServers:
        """The ``RTCIceServer`` objects for ``socket``; it may block."""
        return self._ice_servers(socket)

    @property
    def _hub_thread(self) -> HubThread:
        thread: HubThread = self._server.eio.hub_thread
        return thread

    @any_thread
    def peers(self, room: str) -> list[str]:
        """The sids that have a seat in ``room``, in the order in which they took it.

        Those that lost their connection and may reconnect are among them. For what is no id of a
        room it is empty.
        """
        room = _plain_text(room)
        if room_in({"roomId": room}) is None:
            return []

        def here() -> list[str]:
            with self._lock:
                return self._seating.sids(room)

        return self._asked(here, Op("peers", room))

    @any_thread
    def stats(self) -> dict[str, int]:
        """``{"rooms": …, "peers": …}``: rooms that have a peer, and seats taken in all rooms."""

        def here() -> tuple[int, int]:
            with self._lock:
                return self._seating.counts()

        rooms, peers = self._asked(here, Op("counts"))
        return {"rooms": rooms, "peers": peers}

    @any_thread
    def remove(self, sid: str, room: str) -> bool:
        """Take ``sid`` out of ``room`` as if it had left; `False` if it was not in it.

        The peer itself is not told: emit an event of the app's own to it, or disconnect it. Raises
        `OptionError` for a `Socket` or a function; of what a client may have sent, all that is no
        sid is in no room.
        """
        if isinstance(sid, (NoName, *FUNCTIONS)):
            check_sid(sid)
        sid, room = _plain_text(sid), _plain_text(room)
        if not isinstance(sid, str) or room_in({"roomId": room}) is None:
            return False
        if self._events.gives_up(sid, room):
            return True

        def here() -> bool:
            if self._events.defers(self.remove, sid, room):
                return self._seating.sits(room, sid)
            with self._lock:
                token = token_of(self._seating.holder(room, sid))
                if not self._seating.vacate(room, sid):
                    return False
                step = self._rooms.append(room, LobbyRoom.depart, sid, True, False, token)
            self._events.run(step)
            return True

        return self._asked(here, Op("remove", room, sid))

    def _asked(self, here: Callable[[], T], op: Op) -> T:
        """Asks the worker that keeps the rooms, which may be this one. # greenlet"""
        if self._keeper is None:
            return here()
        there: Callable[[Asks], T] = lambda ask: ask(op)  # noqa: E731
        return self._keeper.call(here, there)


_late = False


def _warn_if_late(exchange: Exchange, name: str) -> None:
    """Says once that the other workers do not know a lobby that is made while this one serves."""
    global _late
    if exchange.begun and not _late:
        _late = True
        log.warning(
            "the Lobby of %s was made while the server runs, so each worker has rooms of its own "
            "in it, and a reload loses their seats: make each Lobby while the app is loaded, not "
            "in a handler (one Lobby has any number of rooms)",
            plain(name),
        )


def _check_cap(given: Any) -> None:
    if given is None or hasattr(type(given), "__get__"):  # a property: it may not be ready yet
        return
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise OptionError(
            f"max_peers={given!r:.80} must be a number of at least 1, or None for no limit"
        )


def _plain_text(given: Any) -> Any:
    """The text of any kind of `str`, as everywhere; anything else unchanged."""
    return text_of(given) if isinstance(given, str) else given


#: The arguments of the functions that an app may give.
_GIVEN = {"authorize": "socket, room, name, password", "ice_servers": "socket"}


def _check_function(name: str, fn: Callable[..., Any]) -> None:
    if not callable(fn):  # an attribute of a subclass
        raise OptionError(
            f"{name} = {fn!r:.80} is no function: write it as a method, or give Lobby {name}=…"
        )
    # A coroutine function returns a true object: everybody would be authorized.
    try:
        check_plain(fn, may_yield=name == "ice_servers")  # a generator of servers is a list of them
    except TypeError as error:
        raise OptionError(
            f"{name} has to be a plain function, not async and not with a `yield`"
        ) from error
    check_takes(name, fn, _GIVEN[name])


def _constant(servers: IceServers | None) -> Callable[[Socket], IceServers]:
    kept = servers_in(servers)
    return lambda socket: kept
