"""Socket.IO's server API as in Node: ``on("connection")``, ``of``, ``to`` and so on.

Overridden of ``socketio.Server``, each asserted in ``tests/test_upstream.py``: ``on`` and
``register_namespace``. Used as it is: ``Namespace._set_server``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, TypeVar, overload

import socketio

from ..errors import OptionError
from ..hub.thread import any_thread
from ..options import Limits
from ..protocol.names import check_event, namespace_name, new_namespace
from .dynamic_namespaces import ParentNamespace, Parents
from .handler_call import Callee, Who
from .handler_registry import Registry
from .handler_signatures import (
    handler_names,
    method_of,
    warn_of_ack,
    warn_of_event,
    warn_of_missing_sid,
    warn_of_second_class,
    warn_of_unheard,
)
from .handler_types import Answer, EventFn
from .namespace import ConnectFn, ConnectionFn, DefaultSockets, Namespace
from .python_api import PythonApi
from .receive import Receiver
from .remote_requests import ServerSide
from .remote_socket import RemoteSocket
from .session_transfer import Departing
from .socket import BroadcastOperator, Socket, socket_of

__all__ = ["NodeApi"]

Fn = TypeVar("Fn", bound=Callable[..., Any])
#: A handler of `Server.on_error`.
ErrorFn = TypeVar(
    "ErrorFn",
    bound=Callable[[Exception, str, Socket | None], Answer]
    | Callable[[Exception, str], Answer]
    | Callable[[Exception], Answer],
)
#: A ``"connection"`` handler as an argument of `Server.of`.
Handler = Callable[[Socket], Answer] | Callable[[], Answer] | None
#: Modules of class-based namespaces whose methods get no sid; each needs a `SocketIO`.
_FLASK_SOCKETIO = {"flask_socketio.namespace", "rtcio_sync.flask_socketio.namespace"}


class NodeApi(PythonApi):
    """The methods of a `Server` that Socket.IO's users know from Node."""

    departing: Departing
    parents: Parents
    receiver: Receiver
    registry: Registry
    server_side: ServerSide

    @overload
    def on(
        self, event: Literal["connection"], handler: None = None, namespace: str | None = None
    ) -> Callable[[ConnectionFn], ConnectionFn]: ...
    @overload
    def on(
        self, event: Literal["connection"], handler: ConnectionFn, namespace: str | None = None
    ) -> ConnectionFn: ...
    @overload
    def on(
        self, event: str, handler: None = None, namespace: str | None = None
    ) -> Callable[[EventFn], EventFn]: ...
    @overload
    def on(self, event: str, handler: EventFn, namespace: str | None = None) -> EventFn: ...
    def on(self, event: str, handler: Any = None, namespace: str | None = None) -> Any:
        """Registers a handler: a decorator, or a call with ``handler``.

        ``"connection"``: ``fn(socket)``, for each client of the namespace; several may be
        registered. Any other event: python-socketio's handlers, ``fn(sid, …)``. A handler gets the
        arguments that it declares. ``namespace="*"``: for any namespace without a handler of its
        own for the event; such a handler gets the namespace before the sid (and after the event's
        name, in a handler of ``"*"``). A ``"connection"`` handler gets ``(socket)`` there too, or
        ``(namespace, socket)`` if it declares two. Raises `TypeError` for an object that cannot be
        a handler.
        """
        name = new_namespace(namespace, catch_all=True)
        check_event(event, "server")
        if isinstance(handler, str):
            raise TypeError(
                "a handler has to be callable, not str: for a namespace write "
                f"namespace={handler!r}"
            )
        if event == "connection":
            return self._named(name).on(event, handler)

        def register(fn: EventFn) -> EventFn:
            self.dispatcher.callee(fn)
            warn_of_event(event, "server")
            warn_of_ack(fn)
            warn_of_missing_sid(event, fn, name)
            handlers = self.handlers.setdefault(name, {})
            replaced, handlers[event] = handlers.get(event), fn
            if replaced is not None and replaced is not fn:
                self.dispatcher.forget(replaced)
            self.handling.observe_all()
            return fn

        return register if handler is None else register(handler)

    @overload
    def of(
        self, namespace: str, handler: Handler = None, *, limits: Limits | None = None
    ) -> Namespace: ...
    @overload
    def of(
        self,
        namespace: re.Pattern[str] | Callable[[str, Any], Any],
        handler: Handler = None,
        *,
        limits: Limits | None = None,
    ) -> ParentNamespace: ...
    def of(
        self, namespace: Any, handler: Handler = None, *, limits: Limits | None = None
    ) -> Namespace:
        """The namespace with this name; clients may connect to it from now on.

        A compiled pattern, or a function ``fn(name, auth)``, stands for all namespaces whose names
        it fits or accepts: a `ParentNamespace`. ``handler(socket)``: for its ``"connection"``.
        ``limits``: its own limits; give them before clients connect. `Limits` describes which a
        namespace may have, and the limits of a connection in several. `None`: the server's, or
        those given before. Raises `OptionError` for any other name, for ``"*"``, and for a limit
        that a namespace cannot have.
        """
        if limits is not None and not isinstance(limits, Limits):
            raise OptionError("limits: give a Limits(...), or None for the server's")
        if limits is not None:
            limits.check_for_namespace(self.options.limits)
        if isinstance(namespace, re.Pattern) or callable(namespace):
            found = self._dynamic(namespace, limits)
        else:
            name = new_namespace(namespace)
            if limits is not None:
                self.registry.limit(name, limits)
            found = self._named(name)
        if limits is not None:
            self.relay.bound([*self.registry.all_limits(), *self.parents.limits()])
            self.receiver.decoder.settle()
        if handler is not None:
            found.on("connection", handler)
        return found

    def _dynamic(self, match: Any, limits: Limits | None) -> Namespace:
        if isinstance(match, re.Pattern) and not isinstance(match.pattern, str):
            raise OptionError(
                "the name of a namespace is text: give a pattern of text, not of bytes"
            )
        made = self.parents.add(match, limits)
        made._set_server(self)
        return made

    def _named(self, name: str) -> Namespace:
        """The namespace that the app names: it stays, and is a child if a pattern fits."""
        return self.parents.named(name) or self.space(name)

    def space(self, name: str, parent: ParentNamespace | None = None) -> Namespace:
        """The namespace with this name; makes one that clients may connect to.

        ``parent``: what a new one is a child of. A client that finds it meets the middlewares.
        """
        known = self.registry.spaces.get(name)
        if known is None:
            made = Namespace(name)
            made._set_server(self)
            if parent is not None:
                made.rtcio_copy(parent)
            known = self.registry.spaces.setdefault(name, made)
            if parent is not None:
                parent.rtcio_children[name] = known
            if known is made:
                for handler in tuple(self.registry.on_new):
                    self.dispatcher.guarded(None, "new_namespace", handler, known)
        return known

    def view(self, name: str) -> Namespace:
        """The namespace with this name, for a socket in it; does not open it to clients."""
        known = self.registry.spaces.get(name)
        if known is None:
            known = Namespace(name)
            known._set_server(self)
        return known

    def on_new_namespace(self, handler: Fn) -> Fn:
        """Registers ``handler(namespace)`` for namespaces that are made from now on: a decorator.

        By `of`, by ``on("connection", namespace=…)``, or for the first client of a dynamic one.
        """
        self.registry.on_new.append(Callee(handler))
        return handler

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
            made_in = {each.__module__ for each in type(namespace_handler).__mro__}
            if made_in & _FLASK_SOCKETIO and getattr(namespace_handler, "socketio", None) is None:
                raise OptionError(
                    f"{type(namespace_handler).__name__} is a Namespace of Flask-SocketIO: "
                    "register it with SocketIO(app).on_namespace, or derive it from "
                    "rtcio_sync.Namespace, whose methods get the sid: on_chat(self, sid, data)"
                )
            own = new_namespace(namespace_handler.namespace, catch_all=True)
            namespace_handler.namespace = own
            plain = type(namespace_handler).trigger_event is socketio.Namespace.trigger_event
            for event in handler_names(namespace_handler):
                method = self.dispatcher.callee(method_of(namespace_handler, event)).fn
                warn_of_ack(method)
                if plain and event == "connection":
                    warn_of_unheard(method)
                elif plain:
                    warn_of_missing_sid(event, method, own)
            replaced = self.namespace_handlers.get(own)
            if replaced is not None and replaced is not namespace_handler:
                warn_of_second_class(own, replaced, namespace_handler)
        super().register_namespace(namespace_handler)
        if isinstance(namespace_handler, Namespace):
            known = self.parents.named(namespace_handler.name)
            if known is not None and known is not namespace_handler:
                known.rtcio_share(namespace_handler)
            self.parents.replace(namespace_handler.name, namespace_handler)
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

    def on_error(self, handler: ErrorFn) -> ErrorFn:
        """Registers ``handler(exception, event, socket)`` for what handlers raise: a decorator.

        Its result is the acknowledgement of the event, if it is one of a client. The exception is
        then counted (`stats`: ``handler_errors``) and not logged. ``event``: the name of the event,
        or ``"connection"``, ``"disconnect"`` and so on. ``socket``: `None` if the handler is not
        one of a client, or if that has left. Of several such handlers, the first result that is not
        `None` counts. If one of them raises, that is logged, with the first exception. It does not
        get what does not derive from `Exception`. Raises `TypeError` for an object that cannot be a
        handler.
        """
        callee = Callee(handler)

        def ask(error: Exception, event: str, who: Who) -> Any:
            member = None if who is None else self.manager.member(*who)
            socket = None if member is None else socket_of(self, member)
            return callee(error, event, socket)

        self.dispatcher.on_error.append(ask)
        return handler

    def use(self, fn: ConnectFn) -> ConnectFn:
        """Registers ``fn(socket)`` to run before ``connection`` in ``"/"``; see `Namespace.use`."""
        return self.of("/").use(fn)

    def to(self, *rooms: Any) -> BroadcastOperator:
        """The sockets in ``rooms`` of ``"/"``."""
        return self.of("/").to(*rooms)

    in_ = to

    def except_(self, *rooms: Any) -> BroadcastOperator:
        """The sockets of ``"/"`` that are in none of ``rooms``."""
        return self.of("/").except_(*rooms)

    def timeout(self, seconds: float) -> BroadcastOperator:
        """All sockets of ``"/"``, with ``seconds`` to acknowledge."""
        return self.of("/").timeout(seconds)

    @property
    def volatile(self) -> BroadcastOperator:
        """All sockets of ``"/"`` for which no other data waits: `BroadcastOperator.volatile`."""
        return self.of("/").volatile

    @property
    def local(self) -> BroadcastOperator:
        """The sockets of ``"/"`` in this process."""
        return self.of("/").local

    def compress(self, compress: bool) -> BroadcastOperator:
        """All sockets of ``"/"``; changes nothing else: `Socket.compress`."""
        return self.of("/").compress(compress)

    @property
    def sockets(self) -> DefaultSockets:
        """The namespace ``"/"``, and a mapping of its connected sockets in this process by sid."""
        return DefaultSockets(self.of("/"))

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
