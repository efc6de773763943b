"""What this folder needs of a server: the narrow types that its modules take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from ..hub.forked import Serving
from ..hub.thread import HubThread
from ..options import Limits

__all__ = ["Application", "Engine", "Event", "Stoppable"]

#: A WSGI application.
Application: TypeAlias = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Event(Protocol):
    """An event of gevent's or of `threading`'s."""

    def set(self) -> Any: ...

    def wait(self) -> Any: ...


class Client(Protocol):
    """One connection."""

    def send_on(self) -> None:
        """Closes it so that the client reconnects."""


class Stoppable(Protocol):
    """What `stop` needs of the Engine.IO server."""

    #: Whether new clients are refused.
    stopping: bool

    @property
    def async_mode(self) -> str: ...

    @property
    def hub_thread(self) -> HubThread: ...

    @property
    def sockets(self) -> Mapping[str, Client]: ...

    @property
    def working(self) -> int:
        """How many connections have something in their inbox."""

    def sleep(self, seconds: float) -> Any: ...

    def shutdown(self) -> None:
        """Stops the clock."""


class Engine(Stoppable, Serving, Protocol):
    """What `listen` needs of the Engine.IO server."""

    #: Called in a forked child.
    on_fork: Callable[[], None] | None

    @property
    def limits(self) -> Limits: ...

    def idle_bound(self) -> int:
        """How many HTTP connections may wait for a request at the moment."""
