"""Handlers as Flask-SocketIO has them: without a sid, with ``@on_error``. # greenlet"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

import flask
from socketio import exceptions

from ..errors import ConnectionRefusedError, OptionError
from ..flask.context import handler_context, save_session
from ..functions import called, check_plain
from ..protocol.names import check_event, namespace_name
from ..socketio.handler_call import Callee
from ..socketio.handler_signatures import warn_of_sid_before_data
from .namespace import Namespace

__all__ = ["Handlers"]

#: What refuses a client; the built-in error of that name may come from a database.
_REFUSALS = (ConnectionRefusedError, exceptions.ConnectionRefusedError)

Fn = TypeVar("Fn", bound=Callable[..., Any])


class Handlers:
    """The part of `SocketIO` that registers and runs the app's handlers."""

    #: The server of the app that was given last; `None`: there was none yet.
    server: Any

    def __init__(self) -> None:
        #: Handlers by namespace and event, as the server gets them. Each server gets all.
        self.handlers: dict[tuple[str, str], Callable[..., Any]] = {}
        #: Class-based namespaces by their names.
        self.namespace_handlers: dict[str, Namespace] = {}
        self.exception_handlers: dict[str, Callable[[Exception], Any]] = {}
        self.default_exception_handler: Callable[[Exception], Any] | None = None
        #: `False`: each event opens and saves the session of the app, as an HTTP request does.
        self.manage_session = True

    def on(self, message: str, namespace: str | None = None) -> Callable[[Fn], Fn]:
        """A decorator: registers a handler of an event, in ``"/"`` or another namespace.

        A handler gets what the client sent: arguments that it does not declare are cut off, and
        those that the client did not send are the declared default or `None`. ``"connect"``: it
        gets the client's ``auth``; if it returns `False` or raises `ConnectionRefusedError`, the
        client is refused. ``"disconnect"``: it gets the reason. ``"*"``: it gets the name of the
        event first, and is for events without a handler. ``namespace="*"``: for any namespace.
        What a handler returns is the acknowledgement. Raises `TypeError` for an object that cannot
        be a handler.
        """
        check_event(message, "socketio")
        if callable(namespace):
            raise OptionError(
                f"write socketio.on_event({message!r}, handler), or @socketio.on({message!r}) "
                "above the handler"
            )
        name = namespace_name(namespace, catch_all=True)

        def register(handler: Fn) -> Fn:
            heard = self._heard(message, name, Callee(handler))
            if message == "connection":
                text = "clients send no event 'connection': write @socketio.on('connect')"
                warnings.warn(text, UserWarning, stacklevel=2)
                return handler
            self.handlers[name, message] = heard
            if self.server is not None:
                self.server.on(message, heard, namespace=name)
            return handler

        return register

    def on_event(
        self, message: str, handler: Callable[..., Any], namespace: str | None = None
    ) -> None:
        """As `on`, without a decorator."""
        self.on(message, namespace=namespace)(handler)

    def event(self, *args: Any, **kwargs: Any) -> Any:
        """As `on`, with the function's name as the event: ``@event``, ``@event(namespace=…)``."""
        if len(args) == 1 and not kwargs and callable(args[0]):
            return self.on(args[0].__name__)(args[0])

        def register(handler: Fn) -> Fn:
            return self.on(handler.__name__, *args, **kwargs)(handler)

        return register

    def on_namespace(self, namespace_handler: Namespace) -> None:
        """Registers a class-based namespace. Raises `ValueError` for anything else."""
        if not isinstance(namespace_handler, Namespace):
            raise ValueError(
                "on_namespace takes an object of a class that is derived from "
                f"rtcio_sync.flask_socketio.Namespace, not {namespace_handler!r:.100}"
            )
        namespace_handler.socketio = self
        self.namespace_handlers[str(namespace_handler.namespace)] = namespace_handler
        if self.server is not None:
            self.server.register_namespace(namespace_handler)

    def on_error(self, namespace: str | None = None) -> Callable[[Fn], Fn]:
        """A decorator: ``fn(exception)`` for what the handlers of one namespace raise.

        What it returns is the acknowledgement. A client whose ``connect`` handler raised is refused
        whatever it returns.
        """
        if callable(namespace):
            raise OptionError("write it with parentheses: @socketio.on_error()")
        name = namespace_name(namespace)

        def register(handler: Fn) -> Fn:
            self.exception_handlers[name] = _callable(handler)
            return handler

        return register

    def on_error_default(self, handler: Fn) -> Fn:
        """A decorator: as `on_error`, for the namespaces that have no such handler."""
        self.default_exception_handler = _callable(handler)
        return handler

    # -- running them ------------------------------------------------------------------------------

    def serve_handlers(self, server: Any) -> None:
        """Registers everything with a server, and has it make the contexts of handlers."""
        server.dispatcher.context = self.context
        for (namespace, message), heard in self.handlers.items():
            server.on(message, heard, namespace=namespace)
        for space in self.namespace_handlers.values():
            server.register_namespace(space)

    def context(
        self, environ: Any, sid: str, namespace: str, event: str | None, args: tuple[Any, ...]
    ) -> AbstractContextManager[None]:
        """The contexts of the app in which an event is handled."""
        keeps = self.manage_session
        return handler_context(environ, sid, namespace, event, args, keeps_session=keeps)

    def _heard(self, message: str, namespace: str, callee: Callee) -> Callable[..., Any]:
        """The handler that the server gets: with a sid, and what "*" puts before it."""
        before = 1 + (message == "*") + (namespace == "*")

        def heard(*given: Any) -> Any:
            args = given[before:]
            return self.run_handler(callee, message, (given[0], *args) if message == "*" else args)

        return heard

    def run_handler(
        self,
        callee: Callee,
        message: str | None,
        args: tuple[Any, ...],
        on_error: Callable[[Exception], Any] | None = None,
    ) -> Any:
        """Calls a handler in the contexts of its event; ``message``: `None` for a callback.

        ``on_error``: what gets the exception if no handler of errors takes it.
        """
        request: Any = flask.request
        request.event = {"message": message, "args": args}
        if message == "connect":
            args = args[1:]  # the environ of the handshake is before `auth`
        if len(args) < callee.least:
            # The one for `sid` is probably the data.
            warn_of_sid_before_data(callee.fn, "SocketIO", "flask.request.sid for the sid")
        try:
            answer = callee(*args)
        except _REFUSALS:
            raise
        except Exception as raised:  # noqa: BLE001  (its handlers of errors get it)
            try:
                answer = self._failed(raised)
            except Exception as again:
                if on_error is None:
                    raise
                answer = on_error(again)
            return False if message == "connect" else answer
        if not self.manage_session:
            save_session()
        return answer

    def _failed(self, raised: Exception) -> Any:
        namespace: str = flask.request.namespace  # type: ignore[attr-defined]
        known = self.exception_handlers.get(namespace, self.default_exception_handler)
        if known is None:
            raise raised
        return called(known, raised)

    def in_this_context(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """``callback`` in the contexts of the client whose event is handled now, if there is one.

        It is not called any more when that client has left.
        """
        sid = getattr(flask.request, "sid", None) if flask.has_request_context() else None
        if sid is None:
            return callback
        namespace: str = flask.request.namespace  # type: ignore[attr-defined]
        callee, server = Callee(callback), self.server
        environ = server.get_environ(sid, namespace=namespace)

        def answered(*args: Any) -> Any:
            # One that goes on in another worker is still there, and raises `KeyError`.
            with suppress(KeyError):
                if server.get_environ(sid, namespace=namespace) is None:
                    return None
            with self.context(environ, sid, namespace, None, args):
                return self.run_handler(callee, None, args)

        return answered


def _callable(handler: Fn) -> Fn:
    if not callable(handler):
        raise ValueError(f"a handler of errors has to be callable, not {handler!r:.100}")
    check_plain(handler)
    return handler
