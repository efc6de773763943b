"""`Namespace`, the result of `Server.of`."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any, TypeVar, overload

import socketio

from ..adapter.member import Stage
from ..adapter.recipients import OrderedSet
from ..errors import OptionError
from ..hub.thread import HubThread, any_thread
from ..protocol.names import NoName, check_event, check_name, namespace_name
from .handler_call import Callee
from .handler_signatures import check_middleware, warn_of_sid
from .handler_types import Answer
from .remote_socket import RemoteSocket
from .socket import BroadcastOperator, Socket, socket_of
from .throttle import check_made

__all__ = ["ConnectFn", "ConnectionFn", "DefaultSockets", "Namespace", "Rooms"]

Fn = TypeVar("Fn", bound=Callable[..., Any])
#: A handler of ``"connection"``; with the namespace first for those of ``"*"``.
ConnectionFn = TypeVar(
    "ConnectionFn",
    bound=Callable[[Socket], Answer] | Callable[[], Answer] | Callable[[str, Socket], Answer],
)
#: A middleware that runs before.
ConnectFn = TypeVar("ConnectFn", bound=Callable[[Socket], Answer] | Callable[[], Answer])


class Namespace(socketio.Namespace, NoName):
    """One namespace, from `Server.of`. A subclass may have handlers, as in python-socketio."""

    rtcio_instead = "it is no room: write namespace.emit(…), or namespace='/name' beside the room"

    def __init__(self, namespace: str | None = None) -> None:
        super().__init__(namespace_name(namespace, catch_all=True))
        #: Its ``connection`` handlers, and the middlewares that run before them.
        self.rtcio_greeters: list[Callee] = []
        self.rtcio_middlewares: list[Callee] = []

    def rtcio_share(self, other: Namespace) -> None:
        """Shares the handlers and middlewares of two objects of the same namespace."""
        self.rtcio_greeters += other.rtcio_greeters
        self.rtcio_middlewares += other.rtcio_middlewares
        other.rtcio_greeters, other.rtcio_middlewares = self.rtcio_greeters, self.rtcio_middlewares

    def rtcio_copy(self, parent: Namespace) -> None:
        """Adds the handlers and middlewares of the dynamic namespace that it is a child of."""
        self.rtcio_greeters += parent.rtcio_greeters
        self.rtcio_middlewares += parent.rtcio_middlewares

    @property
    def name(self) -> str:
        """Its name, ``"/"`` for the default one."""
        return str(self.namespace)

    @overload
    def on(self, event: str) -> Callable[[ConnectionFn], ConnectionFn]: ...
    @overload
    def on(self, event: str, handler: ConnectionFn) -> ConnectionFn: ...
    def on(self, event: str, handler: Any = None) -> Any:
        """Registers a ``"connection"`` handler ``fn(socket)``: a decorator, or a call.

        It runs when a client is connected to the namespace. Raises `OptionError` for any other
        event: those go to ``socket.on`` or ``server.on(event, namespace=…)``.
        """
        check_event(event, "namespace")
        if event not in ("connection", "connect"):
            raise OptionError(
                f"a namespace has only the event 'connection'; register {event!r} with socket.on "
                f"in it, or with server.on({event!r}, namespace={self.name!r})"
            )

        def register(fn: ConnectionFn) -> ConnectionFn:
            self.rtcio_greeters.append(Callee(fn))
            warn_of_sid(fn)
            return fn

        return register if handler is None else register(handler)

    def off(self, event: str = "connection", handler: Callable[..., Any] | None = None) -> None:
        """Removes a ``"connection"`` handler, or all of them."""
        check_event(event, "namespace", "off")
        kept = [each for each in self.rtcio_greeters if handler is not None and each.fn != handler]
        self.rtcio_greeters[:] = kept if event in ("connection", "connect") else self.rtcio_greeters

    def listeners(self, event: str = "connection") -> list[Callable[..., Any]]:
        """The ``"connection"`` handlers, in the order in which they run."""
        check_event(event, "namespace", "listeners")
        known = self.rtcio_greeters if event in ("connection", "connect") else []
        return [each.fn for each in known]

    def use(self, fn: ConnectFn) -> ConnectFn:
        """Registers ``fn(socket)`` to run before ``connection``.

        To refuse the client, raise `ConnectionRefusedError`, or return `False` for a general
        message; any other exception refuses it too, with a general message, and is logged. Raises
        `TypeError` for a function that needs more than the socket, such as Node's ``next``.
        """
        callee = Callee(fn)
        check_middleware(fn, callee.least)
        check_made(fn)
        warn_of_sid(fn, "a middleware")
        self.rtcio_middlewares.append(callee)
        return fn

    @property
    def sockets(self) -> dict[str, Socket]:
        """The connected sockets of this process, by sid."""
        return {socket.id: socket for socket in self._sockets()}

    def _sockets(self) -> list[Socket]:
        return self._operator().sockets_here()

    @property
    def rooms(self) -> Rooms:
        """The rooms and their sids, in the order of joining, with the own rooms of the sids.

        ``rooms(sid)`` is python-socketio's method.
        """
        return Rooms(self)

    def emit(self, event: str, *args: Any, **options: Any) -> None:
        """Sends an event to all sockets of the namespace.

        With python-socketio's keywords (``to``, ``room``, ``skip_sid``, ``namespace``,
        ``callback``, ``ignore_queue``, ``data``) it is python-socketio's method. Raises
        `OptionError` for a reserved event name.
        """
        check_name(event)
        several = len(args) == 1 and isinstance(args[0], tuple)  # python-socketio's own spelling
        data = options.pop("data", args[0] if several else args)
        options["namespace"] = options.get("namespace") or self.namespace
        self.server.emit(event, data, **options)

    def send(self, data: Any, *more: Any, **options: Any) -> None:
        """Sends an event ``message``; ``options`` are python-socketio's keywords, as in `emit`.

        Raises `OptionError` for a second argument: in Node it is data, in python-socketio a room.
        """
        if more:
            raise OptionError(
                "send takes one argument here: write send(data, to=room) for a room, and "
                "emit('message', 1, 2) for several arguments"
            )
        super().send(data, **options)

    def call(
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        sid: Any = None,
        namespace: str | None = None,
        timeout: float | None = 60,
        ignore_queue: bool = False,
    ) -> Any:
        """As `Server.call`, for this namespace."""
        # python-socketio's waits for any time, unless it is told for how long: a client that never
        # answers would hold the handler until it leaves.
        return super().call(event, data, to, sid, namespace, timeout, ignore_queue)

    def _operator(self) -> BroadcastOperator:
        """All sockets."""
        return BroadcastOperator(self.server, self.name)

    def to(self, *rooms: Any) -> BroadcastOperator:
        """The sockets in ``rooms``; see `BroadcastOperator.to`."""
        return self._operator().to(*rooms)

    in_ = to

    def except_(self, *rooms: Any) -> BroadcastOperator:
        """All sockets but those in ``rooms``."""
        return self._operator().except_(*rooms)

    def timeout(self, seconds: float) -> BroadcastOperator:
        """All sockets, with ``seconds`` to acknowledge: `BroadcastOperator.timeout`."""
        return self._operator().timeout(seconds)

    @property
    def volatile(self) -> BroadcastOperator:
        """All sockets for which no other data waits: `BroadcastOperator.volatile`."""
        return self._operator().volatile

    @property
    def local(self) -> BroadcastOperator:
        """The sockets of this process."""
        return self._operator().local

    def compress(self, compress: bool) -> BroadcastOperator:
        """All sockets; changes nothing else: `Socket.compress`."""
        return self._operator()

    def on_server_side(self, event: str, handler: Fn | None = None) -> Any:
        """As `Server.on_server_side`, for this namespace."""
        return self.server.on_server_side(event, handler, namespace=self.name)

    def server_side_emit(self, event: str, *args: Any) -> None:
        """As `Server.server_side_emit`, for this namespace."""
        self.server.server_side_emit(event, *args, namespace=self.name)

    def server_side_call(self, event: str, *args: Any, timeout: float = 5) -> list[Any]:
        """As `Server.server_side_call`, for this namespace."""
        answers: list[Any] = self.server.server_side_call(
            event, *args, namespace=self.name, timeout=timeout
        )
        return answers

    def fetch_sockets(self) -> list[Socket | RemoteSocket]:
        """The connected sockets, also those of other workers: `BroadcastOperator.fetch_sockets`."""
        return self._operator().fetch_sockets()

    def sockets_join(self, *rooms: Any) -> None:
        """Makes all sockets join ``rooms``."""
        self._operator().sockets_join(*rooms)

    def sockets_leave(self, *rooms: Any) -> None:
        """Makes all sockets leave ``rooms``."""
        self._operator().sockets_leave(*rooms)

    def disconnect_sockets(self, close: bool = False) -> None:
        """Disconnects all sockets; ``close``: their connections too."""
        self._operator().disconnect_sockets(close)


class DefaultSockets(Namespace, Mapping[str, Socket]):
    """``server.sockets``: the namespace ``"/"``, and its connected sockets here by sid."""

    def __init__(self, space: Namespace) -> None:
        self.__dict__ = space.__dict__  # it is that namespace, under another class

    @property
    def _hub_thread(self) -> HubThread:
        thread: HubThread = self.server.eio.hub_thread
        return thread

    @any_thread
    def __getitem__(self, sid: str) -> Socket:
        member = self.server.manager.member(sid, self.name)
        if member is None or member.stage is not Stage.CONNECTED:
            raise KeyError(sid)
        return socket_of(self.server, member)

    def __iter__(self) -> Iterator[str]:
        return iter(self.sockets)

    def __len__(self) -> int:
        return len(self.sockets)

    # Of one moment, as a `dict` has them: a socket may leave while the app goes through them.

    def keys(self) -> KeysView[str]:
        return self.sockets.keys()

    def values(self) -> ValuesView[Socket]:
        return self.sockets.values()

    def items(self) -> ItemsView[str, Socket]:
        return self.sockets.items()


class Rooms(Mapping[Any, set[str]]):
    """A view of a namespace's rooms and their sids; a call is python-socketio's ``rooms``."""

    def __init__(self, space: Namespace) -> None:
        self._space = space

    @property
    def _hub_thread(self) -> HubThread:
        thread: HubThread = self._space.server.eio.hub_thread
        return thread

    @any_thread
    def _names(self) -> list[Any]:
        found: list[Any] = self._space.server.manager.names_of_rooms(self._space.name)
        return found

    @any_thread
    def __getitem__(self, room: Any) -> set[str]:
        space = self._space
        inside = space.server.manager.sids_in(space.namespace, [room])
        if not inside:  # no room is empty
            raise KeyError(room)
        return OrderedSet(inside)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    @any_thread
    def _now(self) -> dict[Any, set[str]]:
        # Not room by room, as `Mapping` does it: for another thread one may end meanwhile.
        space = self._space
        inside = ((name, space.server.manager.sids_in(space.namespace, [name])) for name in self)
        return {name: OrderedSet(sids) for name, sids in inside if sids}

    def items(self) -> ItemsView[Any, set[str]]:
        """The rooms and their sids, as they are now."""
        return self._now().items()

    def values(self) -> ValuesView[set[str]]:
        """The sids of each room, as they are now."""
        return self._now().values()

    @any_thread
    def __call__(self, sid: str, namespace: str | None = None) -> list[Any]:
        space = self._space
        return list(space.server.rooms(sid, namespace=namespace or space.namespace))
