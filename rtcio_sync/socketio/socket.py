"""Socket.IO's own server API, sync: one `Socket`, and several at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..adapter.member import Member, Stage, ending
from ..adapter.recipients import OrderedSet, flat
from ..errors import OptionError
from ..events import RESERVED_EVENTS, RtcioEvents
from ..hub.thread import HubThread, any_thread
from ..hub.turns import LAST
from ..protocol.names import check_event
from .dispatch import Callee
from .handshake import Handshake
from .ports import Host
from .socket_handlers import SocketHandlers

__all__ = ["BroadcastOperator", "Handshake", "Socket", "check_name", "socket_of"]

Fn = TypeVar("Fn", bound=Callable[..., Any])


class Socket:
    """One client in one namespace, as a ``connection`` handler gets it."""

    __slots__ = ("_member", "_server", "data", "handlers", "handshake", "id")

    def __init__(self, server: Host, member: Member, handshake: Handshake) -> None:
        self._server = server
        self._member = member
        #: What was registered on it.
        self.handlers = SocketHandlers()
        #: The sid.
        self.id: str = member.sid
        #: The app's own, for as long as the socket lives.
        self.data: dict[str, Any] = {}
        #: What the client said when it connected.
        self.handshake = handshake

    @property
    def _hub_thread(self) -> HubThread:
        return self._server.eio.hub_thread

    @property
    @any_thread
    def rooms(self) -> set[Any]:
        """The rooms it is in, its own (named by its sid) first, in the order of joining.

        A copy, and empty once it has left: in a ``disconnecting`` handler they are all there, in a
        ``disconnect`` handler none is, as in Node.
        """
        if ending.get() == (self._member, "disconnect"):
            return OrderedSet()
        return OrderedSet(self._server.manager.get_rooms(self.id, self._member.namespace))

    @property
    def may_return(self) -> bool:
        """Whether its session waits for it: asked in a ``disconnect`` handler."""
        session = self._member.session
        return session is not None and session.open and self._member.stage is not Stage.CONNECTED

    def on_session_end(self, handler: Fn) -> Fn:
        """Registers ``handler()`` to run when a lost client did not come back to its session."""
        self.handlers.ends += (Callee(handler),)
        return handler

    @property
    def connected(self) -> bool:
        """Whether it still is."""
        return self._member.stage is Stage.CONNECTED

    @property
    def recovered(self) -> bool:
        """Whether it came back to an earlier session."""
        return self._member.recovered

    @property
    def namespace(self) -> str:
        """The name of its namespace."""
        return self._member.namespace

    # -- handlers --------------------------------------------------------------------------------

    def on(self, event: str, handler: Fn | None = None) -> Any:
        """Registers a handler of an event: a decorator, or a call with ``handler``.

        An event's handlers get the client's arguments; the first result that is not `None` is the
        acknowledgement (to give it later, or not at all: `Server.defer_ack`). Those of
        ``"disconnecting"`` (the rooms are still there) and ``"disconnect"`` get ``(reason)``, one
        of `DisconnectReason`. Several handlers of one event run in the order they were registered.
        Raises `TypeError` for what can't be a handler.
        """
        return self._register(event, handler, once=False)

    def once(self, event: str, handler: Fn | None = None) -> Any:
        """Like `on`, for the next such event alone."""
        return self._register(event, handler, once=True)

    def _register(self, event: str, handler: Fn | None, *, once: bool) -> Any:
        check_event(event, "socket")

        def register(fn: Fn) -> Fn:
            self.handlers.add(event, Callee(fn), once=once)
            if event == RtcioEvents.MESSAGE:
                self._observe()
            return fn

        return register if handler is None else register(handler)

    def off(self, event: str, handler: Callable[..., Any] | None = None) -> None:
        """Removes a handler of an event, or all of them."""
        self.handlers.remove(event, handler)
        self._observe()

    def on_any(self, handler: Fn) -> Fn:
        """Registers a handler ``(event, *args)`` of every event; it runs before the others."""
        self.handlers.any += (Callee(handler),)
        self._observe()
        return handler

    def use(self, fn: Fn) -> Fn:
        """Registers ``fn(event, args)`` to run before each of its events; to drop one, raise.

        ``args`` is the list of the event's arguments: what ``fn`` changes in it, or puts in their
        place, is what the next middleware and the handlers get. A relayed message that was changed
        is sent on as it is then, under the same rules.
        """
        self.handlers.uses += (Callee(fn),)
        self._observe()
        return fn

    def _observe(self) -> None:
        self._server.handling.observe(self._member)

    def add_default_listeners(self) -> None:
        """Gives this socket alone the relay and peer-left, whatever its namespace has."""
        self._member.relays = True
        self._observe()

    # -- towards the client ----------------------------------------------------------------------

    @any_thread
    def emit(self, event: str, *args: Any, callback: Callable[..., Any] | None = None) -> None:
        """Sends an event to this client.

        ``callback(*answer)`` runs when the client acknowledges it, with the arguments it declares.
        Raises `OptionError` for a reserved event name, `TypeError` for what can't be a handler.
        """
        check_name(event)
        self._server.manager.emit(
            event,
            args,
            namespace=self._member.namespace,
            room=self.id,
            callback=None if callback is None else Callee(callback),
        )

    def send(self, *args: Any) -> None:
        """Sends an event ``message``."""
        self.emit("message", *args)

    def call(self, event: str, *args: Any, timeout: float = 60) -> Any:
        """Sends an event and waits for the acknowledgement: its argument, a tuple of several.

        ``timeout`` is in seconds. Raises `socketio.exceptions.TimeoutError` after it,
        `DisconnectedError` (a kind of it) once the client has left, and `OptionError` for a
        reserved event name. Works inside a handler of the same socket.
        """
        check_name(event)
        return self._server.call(
            event, args, to=self.id, namespace=self._member.namespace, timeout=timeout
        )

    @any_thread(in_hub="spawn")
    def disconnect(self, close: bool = False) -> None:
        """Disconnects it; ``close``: its connection too, with all other namespaces."""
        self._server.disconnect(self.id, namespace=self._member.namespace)
        if close:
            self._server.eio.disconnect(self._member.eio_sid)

    # -- towards others --------------------------------------------------------------------------

    def to(self, *rooms: Any) -> BroadcastOperator:
        """The sockets in ``rooms``, this one left out; see `BroadcastOperator.to`."""
        sockets = BroadcastOperator(self._server, self._member.namespace, None, (self.id,))
        return sockets.to(*rooms)

    in_ = to

    def except_(self, *rooms: Any) -> BroadcastOperator:
        """All sockets but this one and those in ``rooms``."""
        return self.broadcast.except_(*rooms)

    @property
    def broadcast(self) -> BroadcastOperator:
        """All sockets of the namespace but this one."""
        return BroadcastOperator(self._server, self._member.namespace, None, (self.id,))

    # -- rooms -----------------------------------------------------------------------------------

    @any_thread
    def join(self, *rooms: Any) -> None:
        """Joins rooms, each given singly or in a list; nothing, once the client has left.

        Raises `ValueError` for a room that is another socket's own, and `OptionError` (one too)
        for what cannot name a room.
        """
        if self._server.manager.member(self.id, self._member.namespace) is self._member:
            for room in flat(rooms):
                self._server.enter_room(self.id, room, namespace=self._member.namespace)

    @any_thread
    def leave(self, *rooms: Any) -> None:
        """Leaves rooms; no peer-left is sent."""
        for room in flat(rooms):
            self._server.leave_room(self.id, room, namespace=self._member.namespace)


class BroadcastOperator:
    """Some sockets of one namespace: those in any of its rooms (all, before `to`), less some.

    Immutable: each of ``to``, ``in_`` and ``except_`` returns a new one. A room may also be a sid.
    """

    __slots__ = ("_except", "_namespace", "_rooms", "_server")

    def __init__(
        self,
        server: Host,
        namespace: str,
        rooms: tuple[Any, ...] | None = None,
        excepted: tuple[Any, ...] = (),
    ) -> None:
        self._server = server
        self._namespace = namespace
        self._rooms = rooms
        self._except = excepted

    def to(self, *rooms: Any) -> BroadcastOperator:
        """Adds rooms, each given singly or in a list. An empty list adds none: alone, it is nobody.

        `None` alone changes nothing: without rooms, they are all sockets of the namespace. Raises
        `OptionError` without an argument, and for what cannot name a room.
        """
        if not rooms:
            raise OptionError("to() and in_() need a room, a list of rooms, or None for everybody")
        if rooms.count(None) == len(rooms):
            return self
        known = (*(self._rooms or ()), *flat(rooms))
        return BroadcastOperator(self._server, self._namespace, known, self._except)

    in_ = to

    def except_(self, *rooms: Any) -> BroadcastOperator:
        """Leaves out the sockets in ``rooms``, each given singly or in a list; without any, none.

        Raises `OptionError` for what cannot name a room.
        """
        out = flat(each for each in rooms if each is not None)
        return BroadcastOperator(self._server, self._namespace, self._rooms, (*self._except, *out))

    @property
    def _hub_thread(self) -> HubThread:
        return self._server.eio.hub_thread

    @any_thread
    def emit(self, event: str, *args: Any) -> None:
        """Emits to all of them. Raises `OptionError` for a reserved event name."""
        check_name(event)
        self._server.manager.emit(
            event,
            args,
            namespace=self._namespace,
            room=self._rooms,
            skip_sid=list(self._except),
        )

    @any_thread
    def fetch_sockets(self) -> list[Socket]:
        """The sockets themselves, of this process."""
        connected = (each for each in self._members() if each.stage is Stage.CONNECTED)
        return [socket_of(self._server, member) for member in connected]

    @any_thread
    def sockets_join(self, *rooms: Any) -> None:
        """Makes them join ``rooms``, each given singly or in a list."""
        named = flat(rooms)
        for member in self._members():
            for room in named:
                self._server.enter_room(member.sid, room, namespace=self._namespace)

    @any_thread
    def sockets_leave(self, *rooms: Any) -> None:
        """Makes them leave ``rooms``, each given singly or in a list."""
        named = flat(rooms)
        for member in self._members():
            for room in named:
                self._server.leave_room(member.sid, room, namespace=self._namespace)

    @any_thread(in_hub="spawn")
    def disconnect_sockets(self, close: bool = False) -> None:
        """Disconnects them; ``close``: their connections too, with all other namespaces."""
        for member in self._members(connecting=True):
            self._server.eio.take_turn(LAST)  # their handlers run here, one after the other
            socket_of(self._server, member).disconnect(close)

    def _members(self, *, connecting: bool = False) -> list[Member]:
        """Those that are away for a while included: what is done to them holds when they return.

        ``connecting``: those that are being let in, too.
        """
        manager = self._server.manager
        inside = manager.sids_in(self._namespace, self._rooms)
        out = manager.sids_in(self._namespace, self._except)
        found = (manager.member(sid, self._namespace) for sid in inside if sid not in out)
        return [
            each
            for each in found
            if each is not None
            and (each.present or (connecting and each.stage is Stage.CONNECTING))
        ]


def socket_of(server: Host, member: Member) -> Socket:
    """The socket that the app sees for a member; made when it is first asked for."""
    known: Socket | None = member.socket
    if known is None:
        environ = server.environ.get(member.eio_sid)
        known = member.socket = Socket(server, member, Handshake(environ, member.auth))
    return known


def check_name(event: Any) -> None:
    """Raises `OptionError` for what no app may emit."""
    if not isinstance(event, str):
        raise OptionError(f"an event's name is a string, not {type(event).__name__}")
    if event in RESERVED_EVENTS:
        raise OptionError(f"{event!r} is a reserved event name and cannot be emitted")
