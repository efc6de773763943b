"""`Namespace`, the result of `Server.of`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import socketio

from ..adapter.recipients import OrderedSet
from ..errors import OptionError
from ..hub.thread import HubThread, any_thread
from ..protocol.names import check_event, check_name, namespace_name
from .dispatch import Callee
from .remote import RemoteSocket
from .socket import BroadcastOperator, Socket

__all__ = ["Namespace", "Rooms"]

Fn = TypeVar("Fn", bound=Callable[..., Any])


class Namespace(socketio.Namespace):
    """One namespace, from `Server.of`. A subclass may have handlers, as in python-socketio."""

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

    @property
    def name(self) -> str:
        """Its name, ``"/"`` for the default one."""
        return str(self.namespace)

    def on(self, event: str, handler: Fn | None = None) -> Any:
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

        def register(fn: Fn) -> Fn:
            self.rtcio_greeters.append(Callee(fn))
            return fn

        return register if handler is None else register(handler)

    def use(self, fn: Fn) -> Fn:
        """Registers ``fn(socket)`` to run before ``connection``.

        To refuse the client, raise `ConnectionRefusedError`; any other exception refuses it too,
        with a general message, and is logged.
        """
        self.rtcio_middlewares.append(Callee(fn))
        return fn

    @property
    def sockets(self) -> dict[str, Socket]:
        """The connected sockets of this process, by sid."""
        return {socket.id: socket for socket in self._sockets()}

    def _sockets(self) -> list[Socket]:
        return BroadcastOperator(self.server, self.name).sockets_here()

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

    def to(self, *rooms: Any) -> BroadcastOperator:
        """The sockets in ``rooms``; see `BroadcastOperator.to`."""
        return BroadcastOperator(self.server, self.name).to(*rooms)

    in_ = to

    def except_(self, *rooms: Any) -> BroadcastOperator:
        """All sockets but those in ``rooms``."""
        return BroadcastOperator(self.server, self.name).except_(*rooms)

    def fetch_sockets(self) -> list[Socket | RemoteSocket]:
        """The connected sockets, also those of other workers: `BroadcastOperator.fetch_sockets`."""
        return BroadcastOperator(self.server, self.name).fetch_sockets()

    def sockets_join(self, *rooms: Any) -> None:
        """Makes all sockets join ``rooms``."""
        BroadcastOperator(self.server, self.name).sockets_join(*rooms)

    def sockets_leave(self, *rooms: Any) -> None:
        """Makes all sockets leave ``rooms``."""
        BroadcastOperator(self.server, self.name).sockets_leave(*rooms)

    def disconnect_sockets(self, close: bool = False) -> None:
        """Disconnects all sockets; ``close``: their connections too."""
        BroadcastOperator(self.server, self.name).disconnect_sockets(close)


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
    def __call__(self, sid: str, namespace: str | None = None) -> list[Any]:
        space = self._space
        return list(space.server.rooms(sid, namespace=namespace or space.namespace))
