"""Socket.IO's server API without async: one `Socket`, and `BroadcastOperator` for several."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from ..adapter.member import Member, Stage, ending
from ..adapter.recipients import OrderedSet, flat
from ..errors import OptionError
from ..events import RtcioEvents
from ..hub.thread import HubThread, any_thread
from ..hub.turns import LAST
from ..protocol.names import check_event, check_name
from .dispatch import Callee
from .handshake import Handshake
from .ports import Host
from .remote import RemoteSocket
from .socket_handlers import SocketHandlers

__all__ = ["BroadcastOperator", "Handshake", "Socket", "socket_of"]

Fn = TypeVar("Fn", bound=Callable[..., Any])


class Socket:
    """One client in one namespace, as a ``connection`` handler gets it."""

    __slots__ = ("_member", "_server", "data", "handlers", "handshake", "id")

    def __init__(self, server: Host, member: Member, handshake: Handshake) -> None:
        self._server = server
        self._member = member
        #: The handlers registered on it.
        self.handlers = SocketHandlers()
        #: The sid.
        self.id: str = member.sid
        #: Data of the app, kept as long as the socket lives.
        self.data: dict[str, Any] = {}
        #: The data that the client sent when it connected.
        self.handshake = handshake

    @property
    def _hub_thread(self) -> HubThread:
        return self._server.eio.hub_thread

    @property
    @any_thread
    def rooms(self) -> set[Any]:
        """The rooms of the socket, its own (named by its sid) first, in the order of joining.

        A copy. It is full in a ``disconnecting`` handler and empty in a ``disconnect`` handler, as
        in Node.
        """
        if ending.get() == (self._member, "disconnect"):
            return OrderedSet()
        return OrderedSet(self._server.manager.get_rooms(self.id, self._member.namespace))

    @property
    def may_return(self) -> bool:
        """In a ``disconnect`` handler: whether the client may come back to its session."""
        session = self._member.session
        return session is not None and session.open and self._member.stage is not Stage.CONNECTED

    def on_session_end(self, handler: Fn) -> Fn:
        """Registers ``handler()`` for the end of the session of a client that did not come back."""
        self.handlers.ends.append(Callee(handler))
        return handler

    @property
    def connected(self) -> bool:
        """Whether the socket is connected."""
        return self._member.stage is Stage.CONNECTED

    @property
    def recovered(self) -> bool:
        """Whether the session is an earlier one: its client came back to it, or it has `moved`."""
        return self._member.recovered or self.moved

    @property
    def moved(self) -> bool:
        """Whether the connection has come from another worker, which has ended since.

        Then this is not the first time that ``connection`` handlers run for this client: in the
        other worker they have run before. The client knows of nothing.
        """
        link = self._member.link
        return link is not None and self.id in link.arrived

    @property
    def namespace(self) -> str:
        """The name of its namespace."""
        return self._member.namespace

    # -- handlers --------------------------------------------------------------------------------

    def on(self, event: str, handler: Fn | None = None) -> Any:
        """Registers a handler of an event: a decorator, or a call with ``handler``.

        The handlers of an event get the client's arguments. The first result that is not `None` is
        the acknowledgement (to send it later or never: `Server.defer_ack`). Handlers of
        ``"disconnecting"`` (the rooms still exist) and ``"disconnect"`` get ``(reason)``, one of
        `DisconnectReason`. Several handlers of one event run in the order of registration. Raises
        `TypeError` for an object that cannot be a handler.
        """
        return self._register(event, handler, once=False)

    def once(self, event: str, handler: Fn | None = None) -> Any:
        """Like `on`, for the next such event only."""
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
        """Registers ``fn(event, args)`` to run before each event; raise an exception to drop it.

        ``args`` is the list of the event's arguments. ``fn`` may change it; the next middleware and
        the handlers get the changed list. A changed relay is checked by the same rules and sent on
        as changed.
        """
        self.handlers.uses += (Callee(fn),)
        self._observe()
        return fn

    def _observe(self) -> None:
        self._server.handling.observe(self._member)

    def add_default_listeners(self) -> None:
        """Gives this socket the relay and peer-left, even if its namespace does not have them."""
        self._member.relays = True
        self._observe()

    # -- towards the client ----------------------------------------------------------------------

    @any_thread
    def emit(self, event: str, *args: Any, callback: Callable[..., Any] | None = None) -> None:
        """Sends an event to this client.

        ``callback(*answer)`` runs when the client acknowledges it, with the arguments that it
        declares. Raises `OptionError` for a reserved event name, `TypeError` for an invalid
        callback.
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
        """Sends an event and waits for its acknowledgement: returns one argument, or a tuple.

        ``timeout`` is in seconds. Raises `socketio.exceptions.TimeoutError` after it,
        `DisconnectedError` (a subclass) once the client has left, and `OptionError` for a reserved
        event name. Works inside a handler of the same socket.
        """
        check_name(event)
        return self._server.call(
            event, args, to=self.id, namespace=self._member.namespace, timeout=timeout
        )

    @any_thread(in_hub="spawn")
    def disconnect(self, close: bool = False) -> None:
        """Disconnects the socket; ``close``: its connection too, with all other namespaces."""
        self._server.disconnect(self.id, namespace=self._member.namespace)
        if close:
            self._server.eio.disconnect(self._member.eio_sid)

    # -- towards others --------------------------------------------------------------------------

    def to(self, *rooms: Any) -> BroadcastOperator:
        """The sockets in ``rooms`` except this one; see `BroadcastOperator.to`."""
        sockets = BroadcastOperator(self._server, self._member.namespace, None, (self.id,))
        return sockets.to(*rooms)

    in_ = to

    def except_(self, *rooms: Any) -> BroadcastOperator:
        """All sockets except this one and those in ``rooms``."""
        return self.broadcast.except_(*rooms)

    @property
    def broadcast(self) -> BroadcastOperator:
        """All sockets of the namespace except this one."""
        return BroadcastOperator(self._server, self._member.namespace, None, (self.id,))

    # -- rooms -----------------------------------------------------------------------------------

    @any_thread
    def join(self, *rooms: Any) -> None:
        """Joins rooms, given one by one or in lists. Does nothing after the client has left.

        Raises `ValueError` for another socket's own room, and `OptionError` (a `ValueError` too)
        for an invalid room.
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
    """Several sockets of one namespace: those in any of its rooms (without `to`: all), less some.

    Immutable: ``to``, ``in_`` and ``except_`` return a new one. A room may also be a sid.
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
        """Adds rooms, given one by one or in lists. An empty list alone means nobody.

        `None` alone changes nothing: without rooms, all sockets of the namespace are meant. Raises
        `OptionError` without an argument, and for an invalid room.
        """
        if not rooms:
            raise OptionError("to() and in_() need a room, a list of rooms, or None for everybody")
        if rooms.count(None) == len(rooms):
            return self
        known = (*(self._rooms or ()), *flat(rooms))
        return BroadcastOperator(self._server, self._namespace, known, self._except)

    in_ = to

    def except_(self, *rooms: Any) -> BroadcastOperator:
        """Leaves out the sockets in ``rooms``, given one by one or in lists.

        Raises `OptionError` for an invalid room.
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
    def fetch_sockets(self) -> list[Socket | RemoteSocket]:
        """The connected sockets: a `Socket` for each of this process, then those of others.

        Those of other workers are `RemoteSocket` objects. Waits for their processes, at most 5 s;
        raises `NotServing` in the hub, where nothing may wait.
        """
        server, namespace, out = self._server, self._namespace, list(self._except)
        found = server.manager.fetch_elsewhere(namespace, self._rooms, out)
        others = [RemoteSocket(server, namespace, each) for each in found]
        return [*self.sockets_here(), *others]

    @any_thread
    def sockets_here(self) -> list[Socket]:
        """The connected sockets of this process."""
        connected = (each for each in self.members() if each.stage is Stage.CONNECTED)
        return [socket_of(self._server, member) for member in connected]

    @any_thread
    def sockets_join(self, *rooms: Any) -> None:
        """Joins the sockets to ``rooms``, given one by one or in lists."""
        self._do("join", flat(rooms))

    @any_thread
    def sockets_leave(self, *rooms: Any) -> None:
        """Takes the sockets out of ``rooms``, given one by one or in lists."""
        self._do("leave", flat(rooms))

    @any_thread(in_hub="spawn")
    def disconnect_sockets(self, close: bool = False) -> None:
        """Disconnects the sockets; ``close``: their connections too, with all other namespaces."""
        self._do("close" if close else "disconnect", [])

    def _do(self, what: str, named: list[Any]) -> None:
        out = list(self._except)
        self._server.manager.elsewhere(what, self._namespace, self._rooms, out, *named)
        self.do_here(what, named)

    def do_here(self, what: str, named: list[Any]) -> None:
        """Has the sockets of this process ``"join"`` or ``"leave"`` rooms, or disconnects them.

        ``"close"``: disconnects their connections too. Waits only to disconnect.
        """
        if what in ("join", "leave"):
            change = self._change(what)
            for member in self.members():
                for room in named:
                    change(member.sid, room)
            return
        for member in self.members(connecting=True):
            self._server.eio.take_turn(LAST)  # their handlers run here, one after the other
            socket_of(self._server, member).disconnect(what == "close")

    def _change(self, what: str) -> Callable[[str, Any], Any]:
        manager, namespace = self._server.manager, self._namespace
        if self._hub_thread.in_hub:  # the server's methods write to its logger, which may wait
            inner = manager.enter_room if what == "join" else manager.leave_room
            return lambda sid, room: inner(sid, namespace, room)
        change = self._server.enter_room if what == "join" else self._server.leave_room
        return partial(change, namespace=namespace)

    def members(self, *, connecting: bool = False) -> list[Member]:
        """The members, also those that are away: a change to them holds when they return.

        ``connecting``: also those that are still connecting.
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
    """The `Socket` of a member; made when the app first needs it."""
    known: Socket | None = member.socket
    if known is None:
        environ = server.environ.get(member.eio_sid)
        known = member.socket = Socket(server, member, Handshake(environ, member.auth))
    return known
