"""`Namespace`: class-based namespaces as Flask-SocketIO has them. # greenlet"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import socketio

from ..protocol.names import namespace_name
from ..socketio.handler_signatures import method_of
from .current import namespace_now

__all__ = ["Namespace"]


class Namespace(socketio.Namespace):
    """Handlers of one namespace as methods: ``on_x(self, data)`` for the event ``x``.

    Register an object with `SocketIO.on_namespace`. A method ``error(self, exception)`` gets what
    the others raise, if no ``@on_error`` handler does; what it returns is the acknowledgement.
    """

    def __init__(self, namespace: str | None = None) -> None:
        super().__init__(namespace_name(namespace, catch_all=True))
        #: The `SocketIO` that it is registered with. Any, for its class is in a higher module.
        self.socketio: Any = None

    def trigger_event(self, event: str, *args: Any) -> Any:
        """Calls the method of an event; may be overridden for other rules."""
        method = method_of(self, event)
        if method is None:
            return None
        callee = self.socketio.server.dispatcher.callee(method)
        args = args[2:] if self.namespace == "*" else args[1:]
        on_error = getattr(self, "error", None)
        return self.socketio.run_handler(callee, event, args, on_error)

    def emit(
        self,
        event: str,
        data: Any = None,
        room: Any = None,
        include_self: bool = True,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        *,
        to: Any = None,
        skip_sid: Any = None,
    ) -> None:
        """`SocketIO.emit` in this namespace."""
        self.socketio.emit(
            event,
            data,
            to=to or room,
            include_self=include_self,
            skip_sid=skip_sid,
            namespace=self._name(namespace),
            callback=callback,
        )

    def send(
        self,
        data: Any,
        room: Any = None,
        include_self: bool = True,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        *,
        to: Any = None,
        skip_sid: Any = None,
    ) -> None:
        """`SocketIO.send` in this namespace."""
        skipped = skip_sid if include_self else None
        self.emit("message", data, room, include_self, namespace, callback, to=to, skip_sid=skipped)

    def close_room(self, room: Any, namespace: str | None = None) -> None:
        """`SocketIO.close_room` in this namespace."""
        self.socketio.close_room(room, namespace=self._name(namespace))

    def _name(self, given: str | None) -> str:
        return given or (namespace_now() if self.namespace == "*" else str(self.namespace))
