"""`RemoteSocket`: a socket of another process."""

from __future__ import annotations

from typing import Any

from ..adapter.recipients import OrderedSet, flat
from ..cluster.messages import Described, rooms_of
from ..hub.thread import HubThread, any_thread
from ..protocol.names import NoName, check_name
from .broadcast import PLAIN, OneSocket
from .handshake import Handshake
from .ports import Host

__all__ = ["RemoteSocket"]


class RemoteSocket(NoName):
    """A socket of another process, as `Server.fetch_sockets` gives it.

    ``id``, ``rooms``, ``data`` and ``handshake`` are as they were when it was fetched; a change to
    ``data`` changes only this copy. The methods act on the socket itself, and do not wait for it.
    """

    __slots__ = ("_namespace", "_server", "data", "handshake", "id", "rooms")

    def __init__(self, server: Host, namespace: str, found: Described) -> None:
        self._server = server
        self._namespace = namespace
        #: The sid.
        self.id = found.sid
        #: Data of the app, without values that cannot be sent to another process.
        self.data: dict[str, Any] = found.data if isinstance(found.data, dict) else {}
        #: Its rooms, its own (named by its sid) first.
        self.rooms: set[Any] = OrderedSet([found.sid, *rooms_of(found.rooms)])
        #: The data that the client sent when it connected.
        self.handshake = Handshake(found.environ, found.auth, found.issued)

    @property
    def _hub_thread(self) -> HubThread:
        return self._server.eio.hub_thread

    @property
    def namespace(self) -> str:
        """The name of its namespace."""
        return self._namespace

    @any_thread
    def emit(self, event: str, *args: Any) -> None:
        """Sends an event to this client. Raises `OptionError` for a reserved event name."""
        check_name(event)
        self._server.manager.emit(event, args, namespace=self._namespace, room=self.id)

    def timeout(self, seconds: float) -> OneSocket:
        """The client has ``seconds`` to acknowledge: ``.emit(…, callback=…)``, ``.call(…)``."""
        return self._emitter().timeout(seconds)

    def _emitter(self) -> OneSocket:
        return OneSocket(self._server, self._namespace, self.id, PLAIN, (self.id,))

    def call(self, event: str, *args: Any, timeout: float = 60) -> Any:
        """Sends an event and waits for its acknowledgement: as `Socket.call`."""
        return self._emitter().call(event, *args, timeout=timeout)

    emit_with_ack = call

    @any_thread
    def join(self, *rooms: Any) -> None:
        """Has it join rooms, given one by one or in lists."""
        self._do("join", flat(rooms))

    @any_thread
    def leave(self, *rooms: Any) -> None:
        """Has it leave rooms, given one by one or in lists."""
        self._do("leave", flat(rooms))

    @any_thread
    def disconnect(self, close: bool = False) -> None:
        """Disconnects it; ``close``: its connection too, with all other namespaces."""
        self._do("close" if close else "disconnect", [])

    def _do(self, what: str, named: list[Any]) -> None:
        self._server.manager.elsewhere(what, self._namespace, [self.id], [], *named)
