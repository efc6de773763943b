"""Socket.IO's server API as in Node: ``on("connection")``, ``of``, ``to`` and so on.

Overridden of ``socketio.Server``, each asserted in ``tests/test_upstream.py``: ``on`` and
``register_namespace``. Used as it is: ``Namespace._set_server``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import socketio

from ..errors import OptionError
from ..hub.thread import any_thread
from ..options import Limits
from ..protocol.names import check_event, namespace_name
from .departing import Departing
from .dispatch import Callee
from .elsewhere import ServerSide
from .namespace import Namespace
from .python_api import PythonApi
from .receive import Receiver
from .registry import Registry
from .remote import RemoteSocket
from .signatures import handler_names, method_of, warn_of_missing_sid, warn_of_unheard
from .socket import BroadcastOperator, Socket

__all__ = ["NodeApi"]

Fn = TypeVar("Fn", bound=Callable[..., Any])


class NodeApi(PythonApi):
    """The methods of a `Server` that Socket.IO's users know from Node."""

    departing: Departing
    receiver: Receiver
    registry: Registry
    server_side: ServerSide

    def on(self, event: str, handler: Fn | None = None, namespace: str | None = None) -> Any:
        """Registers a handler: a decorator, or a call with ``handler``.

        ``"connection"``: ``fn(socket)``, for each client of the namespace; several may be
        registered. Any other event: python-socketio's handlers, ``fn(sid, …)``. A handler gets the
        arguments that it declares. ``namespace="*"``: for any namespace without a handler of its
        own for the event; such a handler gets the namespace before the sid (and after the event's
        name, in a handler of ``"*"``). A ``"connection"`` handler gets ``(socket)`` there too, or
        ``(namespace, socket)`` if it declares two. Raises `TypeError` for an object that cannot be
        a handler.
        """
        name = namespace_name(namespace, catch_all=True)
        check_event(event, "server")
        if event == "connection":
            return self._space(name).on(event, handler)

        def register(fn: Fn) -> Fn:
            self.dispatcher.callee(fn)
            if name != "*":
                warn_of_missing_sid(event, fn)
            self.handlers.setdefault(name, {})[event] = fn
            self.handling.observe_all()
            return fn

        return register if handler is None else register(handler)

    def of(self, namespace: str, *, limits: Limits | None = None) -> Namespace:
        """The namespace with this name; clients may connect to it from now on.

        ``limits``: its own limits; give them before clients connect. `Limits` describes which a
        namespace may have, and the limits of a connection in several. `None`: the server's, or
        those given before. Raises `OptionError` for a name that is not a string, and for ``"*"``.
        """
        name = namespace_name(namespace)
        if limits is not None:
            if not isinstance(limits, Limits):
                raise OptionError("limits: give a Limits(...), or None for the server's")
            self.registry.own_limits[name] = limits
            self.relay.bound(self.registry.all_limits())
            self.receiver.decoder.settle()
        return self._space(name)

    def _space(self, name: str) -> Namespace:
        known = self.registry.spaces.get(name)
        if known is None:
            known = self.registry.spaces[name] = Namespace(name)
            known._set_server(self)
        return known

    def register_namespace(self, namespace_handler: Any) -> None:
        """Registers a class-based namespace, python-socketio's or ours; other handlers stay.

        Raises `ValueError` for anything else, and `TypeError` for a method that cannot be a
        handler.
        """
        if isinstance(namespace_handler, type) and issubclass(
            namespace_handler, socketio.Namespace
        ):
            kind = namespace_handler.__name__
            raise OptionError(f"register an object of the class: register_namespace({kind}('/'))")
        if isinstance(namespace_handler, socketio.Namespace):
            own = namespace_name(namespace_handler.namespace, catch_all=True)
            namespace_handler.namespace = own
            plain = type(namespace_handler).trigger_event is socketio.Namespace.trigger_event
            for event in handler_names(namespace_handler):
                method = self.dispatcher.callee(method_of(namespace_handler, event)).fn
                if plain and event == "connection":
                    warn_of_unheard(method)
                elif plain and own != "*":
                    warn_of_missing_sid(event, method)
        super().register_namespace(namespace_handler)
        if isinstance(namespace_handler, Namespace):
            known = self.registry.spaces.get(namespace_handler.name)
            if known is not None and known is not namespace_handler:
                known.rtcio_share(namespace_handler)
            self.registry.spaces[namespace_handler.name] = namespace_handler
        self.handling.observe_all()

    def on_moved(self, handler: Fn) -> Fn:
        """Registers ``handler(socket)`` for sockets that go on in another worker: a decorator.

        A worker that leaves hands its clients to another one, with their connections. In the old
        worker neither ``disconnecting`` nor ``disconnect`` handlers run, but these do, after the
        socket has left: to free what the app keeps for it here. Its ``id`` and ``data`` are still
        there, and what is emitted to it reaches the client through the other worker. In that one,
        ``connection`` handlers run, with `Socket.moved`. Raises `TypeError` for an object that
        cannot be a handler.
        """
        self.departing.handlers.append(Callee(handler))
        return handler

    def use(self, fn: Fn) -> Fn:
        """Registers ``fn(socket)`` to run before ``connection`` in ``"/"``; see `Namespace.use`."""
        return self.of("/").use(fn)

    def to(self, *rooms: Any) -> BroadcastOperator:
        """The sockets in ``rooms`` of ``"/"``."""
        return self.of("/").to(*rooms)

    in_ = to

    def except_(self, *rooms: Any) -> BroadcastOperator:
        """The sockets of ``"/"`` that are in none of ``rooms``."""
        return self.of("/").except_(*rooms)

    @property
    def sockets(self) -> dict[str, Socket]:
        """The connected sockets of ``"/"`` in this process, by sid."""
        return self.of("/").sockets

    def fetch_sockets(self) -> list[Socket | RemoteSocket]:
        """The connected sockets of ``"/"``, also those of other workers."""
        return self.of("/").fetch_sockets()

    def on_server_side(self, event: str, handler: Fn | None = None, *, namespace: str = "/") -> Any:
        """Registers a handler of a server-side event: a decorator, or a call with ``handler``.

        It runs when another worker calls `server_side_emit` or `server_side_call`, with the
        arguments that it declares. Raises `TypeError` for an object that cannot be a handler.
        """
        name = namespace_name(namespace)
        if not isinstance(event, str):
            raise OptionError(f"an event's name is a string, not {type(event).__name__}")

        def register(fn: Fn) -> Fn:
            return self.server_side.on(name, event, fn)

        return register if handler is None else register(handler)

    @any_thread
    def server_side_emit(self, event: str, *args: Any, namespace: str = "/") -> None:
        """Sends an event to all other workers, for the handlers of `on_server_side`.

        Does nothing in a server that is alone. Raises `TypeError` and `ValueError` for arguments
        that cannot be sent.
        """
        self.server_side.emit(namespace_name(namespace), event, args)

    @any_thread(in_hub="refuse")
    def server_side_call(
        self, event: str, *args: Any, namespace: str = "/", timeout: float = 5
    ) -> list[Any]:
        """As `server_side_emit`, and waits for the answers: one for each other worker.

        The answer of a worker is the first result of its handlers that is not `None`; a worker that
        dies meanwhile has none. ``timeout`` is in seconds. Raises
        `socketio.exceptions.TimeoutError` if a worker does not answer in time.
        """
        return self.server_side.call(namespace_name(namespace), event, args, timeout)

    def sockets_join(self, *rooms: Any) -> None:
        """Makes all sockets of ``"/"`` join ``rooms``."""
        self.of("/").sockets_join(*rooms)

    def sockets_leave(self, *rooms: Any) -> None:
        """Makes all sockets of ``"/"`` leave ``rooms``."""
        self.of("/").sockets_leave(*rooms)

    def disconnect_sockets(self, close: bool = False) -> None:
        """Disconnects all sockets of ``"/"``; ``close``: their connections too."""
        self.of("/").disconnect_sockets(close)
