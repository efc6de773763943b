"""What the Socket.IO layer needs from the layers around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ..adapter.emit import RoomIndex
from ..adapter.member import Member
from ..engineio.socket import Socket as Link
from ..hub.thread import HubThread
from .emit_with_ack import Gatherer, Recipients
from .handler_call import Dispatcher

__all__ = ["Clock", "Engine", "Host", "Observer", "Upstream"]


class Clock(Protocol):
    """The time, and calls at a later time."""

    @property
    def now(self) -> Callable[[], float]: ...

    def later(self, seconds: float, do: Callable[..., Any], *args: Any) -> None: ...


class Engine(Protocol):
    """The Engine.IO server: its connections, and how tasks run."""

    async_mode: str
    hub_thread: HubThread
    #: Guards the few lines that two threads must not run at once.
    gate: AbstractContextManager[Any]
    #: python-engineio's handlers; the Admin UI replaces them.
    handlers: MutableMapping[str, Callable[..., Any]]

    @property
    def heartbeat(self) -> Clock: ...

    @property
    def sockets(self) -> Mapping[str, Link]: ...

    def create_event(self) -> Any: ...

    def disconnect(self, sid: str) -> None: ...

    def spawn(self, target: Callable[..., Any], *args: Any) -> None: ...

    def spawn_in_turn(self, target: Callable[..., Any], *args: Any) -> None: ...

    def take_turn(self, since: float | None = None) -> None: ...


class Observer(Protocol):
    """Learns that a handler was registered on a socket, and runs handlers."""

    def observe(self, member: Member) -> None: ...

    def watch(self, member: Member) -> None: ...

    def guarded(
        self, member: Member, event: str, args: tuple[Any, ...], fn: Callable[..., Any], *given: Any
    ) -> Any: ...


class Host(Protocol):
    """What the app's sockets and namespaces need from their server: its methods and its parts."""

    dispatcher: Dispatcher
    environ: dict[str, Any]
    gatherer: Gatherer
    manager: RoomIndex

    @property
    def parents(self) -> Dynamic: ...

    @property
    def eio(self) -> Engine: ...

    @property
    def disconnecting(self) -> Leaver: ...

    @property
    def handling(self) -> Observer: ...

    def call(
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        sid: Any = None,
        namespace: str | None = None,
        timeout: float = 60,
        ignore_queue: bool = False,
    ) -> Any: ...

    def disconnect(
        self, sid: str, namespace: str | None = None, ignore_queue: bool = False
    ) -> None: ...

    def view(self, name: str) -> Any:
        """The `Namespace` with this name; Any, for its class stands above this layer."""

    def enter_room(self, sid: str, room: Any, namespace: str | None = None) -> None: ...

    def leave_room(self, sid: str, room: Any, namespace: str | None = None) -> None: ...


class Dynamic(Protocol):
    """The dynamic namespaces of a server: `dynamic_namespaces.Parents`."""

    def names(self, parent: str) -> list[str]: ...

    def emit(
        self, to: Recipients, event: str, args: tuple[Any, ...], *, volatile: bool
    ) -> None: ...


class Leaver(Protocol):
    """Disconnects sockets: `disconnect.Disconnecting`."""

    def leave_all(self, eio_sid: str) -> None: ...


class Upstream(Protocol):
    """python-socketio's server, whose registries and methods an app may replace.

    Its private names are listed in `server_hooks` and asserted in ``tests/test_upstream.py``.
    """

    environ: dict[str, Any]
    handlers: dict[str, dict[str, Callable[..., Any]]]
    namespace_handlers: dict[str, Any]
    not_handled: object
    always_connect: bool
    async_handlers: bool
    packet_class: Any
    _binary_packet: dict[str, Any]

    def _trigger_event(self, event: str, namespace: str, *args: Any) -> Any: ...

    def _send_packet(self, eio_sid: str, pkt: Any) -> None: ...

    def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None: ...
