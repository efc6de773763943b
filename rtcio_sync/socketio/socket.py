"""Socket.IO's server API without async: one `Socket`, and `BroadcastOperator` for several."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from werkzeug.wrappers import Request

from ..adapter.member import Member, Stage, ending
from ..adapter.recipients import OrderedSet, flat
from ..errors import LimitExceeded
from ..hub.thread import any_thread
from ..hub.turns import LAST
from ..logs import tell
from ..protocol.names import NoName, check_name
from .broadcast import Broadcast, Flags, OneSocket, named_rooms
from .handler_call import Callee
from .handshake import Handshake
from .ports import Engine, Host
from .remote_socket import RemoteSocket
from .socket_conn import Client, Connection
from .socket_events import SocketEvents
from .socket_handlers import SocketHandlers

__all__ = ["BroadcastOperator", "Handshake", "Socket", "SocketEmitter", "in_turn", "socket_of"]

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that `in_turn` waits for the app's code before it goes on to the next."""

_LEFT_OUT = "%(rtcio_sid)s was not joined to a room: %(rtcio_reason)s"


class Socket(SocketEvents, NoName):
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

    @property
    def nsp(self) -> Space:
        """Its namespace."""
        found: Space = self._server.view(self._member.namespace)
        return found

    @property
    def conn(self) -> Connection:
        """Its Engine.IO connection: the transport, and the handlers of its upgrade.

        While it is asked whether a client may come back to its session, the new connection.
        """
        member = self._member
        back = member.returning
        if back is not None:
            return Connection(self._server, back, back.sid, self.handshake)
        return Connection(self._server, member.link, member.eio_sid, self.handshake)

    @property
    def client(self) -> Client:
        """Its connection, with Node's name: ``client.conn`` is `conn`."""
        return Client(self.conn)

    @property
    def request(self) -> Request:
        """The client's first request, as Werkzeug reads it: `Handshake.request`."""
        return self.handshake.request

    @property
    def disconnected(self) -> bool:
        """Whether the socket is not connected (any more)."""
        return not self.connected

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

    def send(self, *args: Any, callback: Callable[..., Any] | None = None) -> None:
        """Sends an event ``message``, as `emit`."""
        self.emit("message", *args, callback=callback)

    def timeout(self, seconds: float) -> SocketEmitter:
        """The client has ``seconds`` to acknowledge what is sent with the result.

        ``socket.timeout(5).emit("x", callback=fn)`` calls ``fn(error, *answer)``, and
        ``socket.timeout(5).call("x")`` waits for 5 s at most. Raises `OptionError` for seconds that
        are not a number above 0.
        """
        return self._emitter(Flags()).timeout(seconds)

    @property
    def volatile(self) -> SocketEmitter:
        """What is sent with it is dropped if other data waits for the client.

        It waits if the client does not read, has no poll open, or is away from its session.
        """
        return self._emitter(Flags(volatile=True))

    def compress(self, compress: bool) -> Socket:
        """Changes nothing, and is there for code of Node: returns the socket itself.

        A WebSocket is never compressed here; for polling, the options ``http_compression`` and
        ``compression_threshold`` decide.
        """
        return self

    def _emitter(self, flags: Flags) -> SocketEmitter:
        return SocketEmitter(self._server, self._member.namespace, self.id, flags, (self.id,))

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

    emit_with_ack = call

    @any_thread(in_hub="spawn")
    def disconnect(self, close: bool = False) -> None:
        """Disconnects the socket; ``close``: its connection too, with all other namespaces."""
        back = self._member.returning
        self._server.disconnect(self.id, namespace=self._member.namespace)
        if close:
            old = self._member.eio_sid
            for eio_sid in {old: None} if back is None else {old: None, back.sid: None}:
                self._server.disconnecting.leave_all(eio_sid)
                self._server.eio.disconnect(eio_sid)

    # -- towards others --------------------------------------------------------------------------

    def to(self, *rooms: Any) -> BroadcastOperator:
        """The sockets in ``rooms`` except this one; see `BroadcastOperator.to`."""
        named = named_rooms(rooms)
        return BroadcastOperator(self._server, self._member.namespace, named, (self.id,))

    in_ = to

    def except_(self, *rooms: Any) -> BroadcastOperator:
        """All sockets except this one and those in ``rooms``."""
        return self.broadcast.except_(*rooms)

    @property
    def broadcast(self) -> BroadcastOperator:
        """All sockets of the namespace except this one."""
        return BroadcastOperator(self._server, self._member.namespace, None, (self.id,))

    @property
    def local(self) -> BroadcastOperator:
        """All sockets of the namespace in this process except this one."""
        return self.broadcast.local

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


class SocketEmitter(OneSocket):
    """Sends events as was chosen: what `Socket.timeout` and `Socket.volatile` return.

    Immutable: each method that chooses something returns a new one.
    """

    __slots__ = ()

    def to(self, *rooms: Any) -> BroadcastOperator:
        """As `Socket.to`."""
        return self.broadcast.to(*rooms)

    in_ = to

    def except_(self, *rooms: Any) -> BroadcastOperator:
        """As `Socket.except_`."""
        return self.broadcast.except_(*rooms)

    @property
    def broadcast(self) -> BroadcastOperator:
        """As `Socket.broadcast`."""
        return BroadcastOperator(self._server, self._namespace, None, self._excepted, self._flags)

    @property
    def local(self) -> BroadcastOperator:
        """As `Socket.local`."""
        return self.broadcast.local


class BroadcastOperator(Broadcast):
    """Sockets of one namespace: those in any of its rooms (without `to`: all), except some.

    Immutable: ``to``, ``in_``, ``except_`` and the methods that choose how to send return a new
    one. A room may also be a sid.
    """

    __slots__ = ()

    @any_thread
    def fetch_sockets(self) -> list[Socket | RemoteSocket]:
        """The connected sockets: a `Socket` for each of this process, then those of others.

        Those of other workers are `RemoteSocket` objects. Waits for their processes, at most 5 s;
        raises `NotServing` in the hub, where nothing may wait.
        """
        server, namespace, out = self._server, self._namespace, list(self._except)
        if self._flags.local:
            return list(self.sockets_here())
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
        """Joins the sockets to ``rooms``, given one by one or in lists.

        A socket that is in `Limits.max_rooms_per_socket` rooms already is left out, and counted as
        a drop ``rooms``.
        """
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
        self.tell_others(what, named)
        self.do_here(what, named)

    def do_here(
        self, what: str, named: list[Any], attempt: Callable[..., None] | None = None
    ) -> None:
        """Has the sockets of this process ``"join"`` or ``"leave"`` rooms, or disconnects them.

        ``"close"``: disconnects their connections too. Waits only to disconnect.
        ``attempt(change, sid, namespace, room)``: does each change of rooms, and handles its error;
        without it, a socket that is full is left out, and any other error is raised.
        """
        attempt = attempt or self._attempt
        if what in ("join", "leave"):
            change = self._change(what)
            for member in self.members():
                for room in named:
                    attempt(change, member.sid, self._namespace, room)
            return
        in_turn(self._server.eio, self.ends(close=what == "close"))

    def ends(self, *, close: bool) -> list[Callable[[], None]]:
        """What disconnects each of the sockets of this process, those that connect too."""
        members = self.members(connecting=True)
        return [partial(socket_of(self._server, each).disconnect, close) for each in members]

    def tell_others(self, what: str, named: list[Any]) -> None:
        """Has other processes do it, unless only the sockets of this one are meant."""
        if not self._flags.local:
            out = list(self._except)
            self._server.manager.elsewhere(what, self._namespace, self._rooms, out, *named)

    def _attempt(
        self, change: Callable[[str, str, Any], Any], sid: str, namespace: str, room: Any
    ) -> None:
        try:
            change(sid, namespace, room)
        except LimitExceeded as error:
            if error.sid is None:  # any socket would be refused
                raise
            self._server.dispatcher.counters.dropped[error.reason] += 1
            known = {"sid": sid, "namespace": namespace, "reason": error.reason}
            tell(log, _LEFT_OUT, spawn=self._server.eio.spawn, **known)

    def _change(self, what: str) -> Callable[[str, str, Any], Any]:
        if self._hub_thread.in_hub:  # the server's methods write to its logger, which may wait
            manager = self._server.manager
            inner = manager.enter_room if what == "join" else manager.leave_room
            return lambda sid, namespace, room: inner(sid, namespace, room)
        change = self._server.enter_room if what == "join" else self._server.leave_room
        return lambda sid, namespace, room: change(sid, room, namespace=namespace)


def in_turn(engine: Engine, tasks: list[Callable[[], None]]) -> None:
    """Runs the app's code one after the other. One that does not return holds up no other."""
    late: list[Any] = []
    errors: list[BaseException] = []

    def run(task: Callable[[], None], ended: Any) -> None:
        try:
            task()
        except BaseException as error:  # noqa: BLE001  (it is the caller's)
            errors.append(error)
        finally:
            ended.set()

    for task in tasks:
        engine.take_turn(LAST)
        if len(tasks) == 1:
            task()
            return
        ended = engine.create_event()
        # In the same context: a test may want the exceptions of its handlers.
        engine.spawn(contextvars.copy_context().run, run, task, ended)
        if not ended.wait(PATIENCE):
            late.append(ended)
    for ended in late:
        ended.wait()
    if errors:
        raise errors[0]


class Space(Protocol):
    """A `Namespace`, as `Socket.nsp` gives it."""

    @property
    def name(self) -> str: ...

    @property
    def sockets(self) -> dict[str, Socket]: ...

    @property
    def rooms(self) -> Any: ...

    def on(self, event: str, handler: Any = None) -> Any: ...

    def use(self, fn: Any) -> Any: ...

    def emit(self, event: str, *args: Any, **options: Any) -> None: ...

    def to(self, *rooms: Any) -> BroadcastOperator: ...

    def in_(self, *rooms: Any) -> BroadcastOperator: ...

    def except_(self, *rooms: Any) -> BroadcastOperator: ...

    @property
    def volatile(self) -> BroadcastOperator: ...

    @property
    def local(self) -> BroadcastOperator: ...

    def timeout(self, seconds: float) -> BroadcastOperator: ...

    def fetch_sockets(self) -> list[Socket | RemoteSocket]: ...


def socket_of(server: Host, member: Member) -> Socket:
    """The `Socket` of a member; made when the app first needs it."""
    known: Socket | None = member.socket
    if known is None:
        with server.eio.gate:  # or two threads could make two, and the handlers of one be lost
            known = member.socket
            if known is None:
                environ = server.environ.get(member.eio_sid)
                known = member.socket = Socket(server, member, Handshake(environ, member.auth))
    return known
