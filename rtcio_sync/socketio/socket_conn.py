"""`Connection`, the Engine.IO connection of a socket as the app sees it: ``socket.conn``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, overload

from werkzeug.wrappers import Request

from ..engineio.socket import Socket as Link
from ..engineio.state import State
from ..errors import OptionError
from ..events import node_reason
from ..hub.thread import HubThread, any_thread
from .handler_call import Callee
from .handshake import Handshake
from .ports import Host

__all__ = ["Client", "Connection", "ConnectionTransport"]

Fn = TypeVar("Fn", bound=Callable[..., Any])

EVENTS = ("upgrade", "close")

_STATES = {State.OPENING: "opening", State.CLOSED: "closed"}


class ConnectionTransport(NamedTuple):
    """The transport of a connection."""

    #: ``"polling"`` or ``"websocket"``.
    name: str


class Connection:
    """The Engine.IO connection of one client, with all its namespaces: ``socket.conn``.

    After the client has come back to its session, ``socket.conn`` is another one.
    """

    __slots__ = ("_handshake", "_link", "_server", "id")

    #: The version of the protocol, Engine.IO's.
    protocol = 4

    def __init__(self, server: Host, link: Link | None, eio_sid: str, handshake: Handshake) -> None:
        self._server = server
        self._link = link
        self._handshake = handshake
        #: Its id, which is not the sid of a socket.
        self.id = eio_sid

    @property
    def _hub_thread(self) -> HubThread:
        return self._server.eio.hub_thread

    @property
    def request(self) -> Request:
        """The client's first request: `Handshake.request`."""
        return self._handshake.request

    @property
    def remote_address(self) -> str:
        """The client's address: `Handshake.address`."""
        return self._handshake.address

    @property
    def transport(self) -> ConnectionTransport:
        """The transport; ``conn.transport.name`` is ``"polling"`` or ``"websocket"``."""
        link = self._link
        websocket = link is not None and link.transport is not None
        return ConnectionTransport("websocket" if websocket else "polling")

    @property
    def upgrading(self) -> bool:
        """Whether it is about to change to a WebSocket."""
        return self._link is not None and self._link.upgrading

    @property
    def upgraded(self) -> bool:
        """Whether it is a WebSocket; one that it was from the beginning counts, too."""
        return self._link is not None and self._link.upgraded

    @property
    def ready_state(self) -> str:
        """``"opening"``, ``"open"`` or ``"closed"``."""
        return "closed" if self._link is None else _STATES.get(self._link.state, "open")

    @any_thread
    def close(self) -> None:
        """Closes it, with the sockets of all namespaces."""
        if self._link is not None:
            self._link.close(reason="forced close")

    @overload
    def on(self, event: str) -> Callable[[Fn], Fn]: ...
    @overload
    def on(self, event: str, handler: Fn) -> Fn: ...
    def on(self, event: str, handler: Fn | None = None) -> Any:
        """Registers a handler: a decorator, or a call with ``handler``.

        ``"upgrade"``: ``fn(transport)``, when it has changed to a WebSocket. ``"close"``:
        ``fn(reason)``, when it has ended. Raises `OptionError` for any other event.
        """
        return self._register(event, handler, once=False)

    @overload
    def once(self, event: str) -> Callable[[Fn], Fn]: ...
    @overload
    def once(self, event: str, handler: Fn) -> Fn: ...
    def once(self, event: str, handler: Fn | None = None) -> Any:
        """Like `on`, for the next such event only."""
        return self._register(event, handler, once=True)

    def _register(self, event: str, handler: Fn | None, *, once: bool) -> Any:
        if event not in EVENTS:
            raise OptionError(
                f"a connection has the events 'upgrade' and 'close', not {event!r}; for messages "
                "of the client use socket.on and socket.on_any"
            )

        def register(fn: Fn) -> Fn:
            callee, link = Callee(fn), self._link
            if link is not None:
                with self._server.eio.gate:  # or a handler of another thread could be lost
                    if not isinstance(link.listeners, _Listeners):
                        link.listeners = _Listeners(self._server, self._handshake.environ)
                    link.listeners.handlers.append((event, callee, once))
            return fn

        return register if handler is None else register(handler)


class _Listeners:
    """The handlers of one connection: an `engineio.ports.Listener`."""

    def __init__(self, server: Host, environ: dict[str, Any]) -> None:
        self._server = server
        self._environ = environ
        #: The event, the handler, and whether it is for one event only.
        self.handlers: list[tuple[str, Callee, bool]] = []

    def upgraded(self) -> None:
        self._happened("upgrade", ConnectionTransport("websocket"))

    def closed(self, reason: str) -> None:
        self._happened("close", node_reason(reason))

    def _happened(self, event: str, value: Any) -> None:  # hub or greenlet
        with self._server.eio.gate:  # another thread may register one
            called = [each for each in self.handlers if each[0] == event]
            self.handlers = [each for each in self.handlers if each not in called or not each[2]]
        guarded = self._server.dispatcher.guarded
        for _, callee, _ in called:
            self._server.eio.spawn_in_turn(guarded, self._environ, event, callee, value)


class Client:
    """The connection of a socket, as Node's ``socket.client``."""

    __slots__ = ("conn",)

    def __init__(self, conn: Connection) -> None:
        self.conn = conn

    @property
    def request(self) -> Request:
        """The client's first request: `Handshake.request`."""
        return self.conn.request
