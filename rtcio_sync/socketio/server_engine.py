"""`EngineView`, the Engine.IO server as Node's users know it: ``server.engine``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, overload

from werkzeug.wrappers import Request

from ..engineio.socket import Socket as Link
from ..errors import OptionError, Refused
from .handler_call import Callee, Dispatcher

__all__ = ["EngineError", "EngineView"]

Fn = TypeVar("Fn", bound=Callable[..., Any])

EVENTS = ("connection_error", "initial_headers", "headers")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 5.5


class EngineError(NamedTuple):
    """Why a request was refused: the argument of ``connection_error`` handlers."""

    #: Engine.IO's number: 0 an unknown transport, 1 an unknown session, 2 a wrong method, 3 a bad
    #: request, 4 forbidden, 5 an unsupported version of the protocol.
    code: int
    message: str
    #: The refused request. Everything in it is the client's: log it with care.
    request: Request
    #: ``{"status": …}``, the status of the answer.
    context: dict[str, Any]


class EngineView:
    """The Engine.IO server, its clients and its events."""

    def __init__(
        self,
        sockets: Mapping[str, Link],
        dispatcher: Dispatcher,
        *,
        take_turn: Callable[[], None],
    ) -> None:
        self._sockets = sockets
        self._dispatcher = dispatcher
        self._take_turn = take_turn  # a client may send many requests at once
        self._handlers: dict[str, list[Callee]] = {event: [] for event in EVENTS}
        #: Called when the first handler is registered: from then on the engine calls `refused` and
        #: `headers`.
        self.begin: Callable[[], None] = lambda: None

    @property
    def clients_count(self) -> int:
        """How many connections this process has."""
        return len(self._sockets)

    @overload
    def on(self, event: str) -> Callable[[Fn], Fn]: ...
    @overload
    def on(self, event: str, handler: Fn) -> Fn: ...
    def on(self, event: str, handler: Fn | None = None) -> Any:
        """Registers a handler: a decorator, or a call with ``handler``.

        ``"connection_error"``: ``fn(error)`` with an `EngineError`, for each request that is
        refused before there is a socket. ``"initial_headers"``: ``fn(headers, request)``, for the
        answer that opens a connection; ``"headers"``: for each answer, and for the WebSocket's.
        ``headers`` is a dict to add header fields to. They run while the client waits for the
        answer. Raises `OptionError` for any other event.
        """
        if event not in EVENTS:
            raise OptionError(
                f"the engine has the events {', '.join(map(repr, EVENTS))}, not {event!r}"
            )

        def register(fn: Fn) -> Fn:
            self._handlers[event].append(Callee(fn))
            self.begin()
            return fn

        return register if handler is None else register(handler)

    # -- what the engine calls: greenlet ---------------------------------------------------------

    def refused(self, environ: dict[str, Any], refusal: Refused) -> None:
        """A request is refused."""
        event, context = "connection_error", {"status": refusal.status}
        if self._handlers[event]:
            self._take_turn()
        error = EngineError(refusal.code, refusal.message, _request(environ), context)
        for callee in tuple(self._handlers[event]):
            self._dispatcher.guarded(environ, event, callee, error)

    def headers(self, environ: dict[str, Any], *, opens: bool) -> list[tuple[str, str]]:
        """The app's own header fields for an answer. ``opens``: it opens a connection."""
        found: list[tuple[str, str]] = []
        for event in EVENTS[1:] if opens else EVENTS[2:]:
            if self._handlers[event]:
                self._take_turn()
            for callee in tuple(self._handlers[event]):
                found += self._dispatcher.guarded(environ, event, _fields, callee, environ) or []
        return found


def _fields(callee: Callee, environ: dict[str, Any]) -> list[tuple[str, str]]:
    """The fields that a handler adds. Raises `OptionError` for what is no field of HTTP."""
    headers: dict[str, str] = {}
    callee(headers, _request(environ))
    for name, value in headers.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise OptionError(f"a header field is text, not {name!r:.80}: {value!r:.80}")
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise OptionError(f"the header field {name!r:.80} has characters that HTTP forbids")
    return list(headers.items())


def _request(environ: dict[str, Any]) -> Request:
    return Request(environ, populate_request=False, shallow=True)
