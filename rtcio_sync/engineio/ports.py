"""Protocols: what the parts of an Engine.IO connection use of the engine, and the engine of them.

`server.Server` is the engine and `heartbeat.Heartbeat` its clock. Each part names the narrowest
Protocol that it needs, so that it can be read and tested without the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..client_limits import Addresses
from ..errors import Refused
from ..hub.thread import HubThread
from ..hub.turns import Turns
from ..metrics import Counters
from ..options import Limits
from ..transport.ports import Later, Tasks, Transport
from ..transport.slow_readers import Backlog
from .descriptors import Seated
from .packet import AnyPacket

__all__ = [
    "Beside", "Clock", "Engine", "InboxEngine", "Listener", "PingEngine", "Pinged", "Pinger",
    "PollingEngine", "Watcher",
]  # fmt: skip


class Clock(Protocol):
    """The clock of an engine: `heartbeat.Heartbeat`."""

    @property
    def now(self) -> Callable[[], float]:
        """Gives the seconds since some fixed moment."""

    @property
    def later(self) -> Later:
        """Calls back after some seconds."""


class Listener(Protocol):
    """Hears of what happens to one connection. # hub or greenlet"""

    def upgraded(self) -> None:
        """It has changed to a WebSocket."""

    def closed(self, reason: str) -> None:
        """It has ended."""


class Watcher(Protocol):
    """Sees the requests to the endpoint: the app's handlers of the engine's events. # greenlet"""

    def refused(self, environ: dict[str, Any], refusal: Refused) -> None:
        """A request is refused."""

    def headers(self, environ: dict[str, Any], *, opens: bool) -> list[tuple[str, str]]:
        """More header fields for an answer. ``opens``: it opens a connection."""


class Pinged(Protocol):
    """What the heartbeat uses of a connection."""

    sid: str
    #: When it was opened.
    begun_at: float
    #: When the next PING is due, or the last one was.
    ping_at: float
    #: When the PING was sent whose PONG has not come; `None`: there is none.
    pinged_at: float | None

    @property
    def transport(self) -> Transport | None:
        """Its WebSocket; `None`: it is closed, or on polling."""

    @property
    def closed(self) -> bool:
        """Whether it is over."""

    @property
    def joined(self) -> bool:
        """Whether the client is in any namespace."""

    def held_back(self, since: float) -> bool:
        """Whether reading from the client paused after ``since``, which delays its PONG."""

    def send(self, pkt: AnyPacket) -> None:
        """Hands one packet to the transport."""

    def fail(self, label: str, reason: str) -> None:
        """Closes the connection because of its client, and counts that under ``label``."""


class Pinger(Clock, Protocol):
    """The clock, for whoever receives a PONG."""

    def answered(self, socket: Pinged) -> None:
        """A PONG came."""

    def state(self, socket: Pinged) -> Any:
        """Where the heartbeat of a connection stands."""


class PingEngine(Tasks, Protocol):
    """What the heartbeat uses of the engine."""

    #: Seconds between two PINGs.
    ping_every: float
    #: Seconds within which the PONG has to come.
    ping_timeout: float
    #: Whether a client that does not answer is closed.
    gives_up: bool

    @property
    def limits(self) -> Limits: ...

    @property
    def sockets(self) -> Mapping[str, Pinged]:
        """All connections, by their id."""

    def sleep(self, seconds: float) -> None:
        """Blocks the caller."""


class Beside(Protocol):
    """An event that runs beside the inbox."""

    def done_of(self, size: int) -> int:
        """The inbox is done with its item of ``size`` bytes: how many of them count no more."""


class InboxEngine(Tasks, Protocol):
    """What an inbox uses of the engine."""

    #: How many connections have something in their inbox.
    working: int
    hub_thread: HubThread

    @property
    def async_mode(self) -> str: ...

    @property
    def threaded(self) -> bool:
        """Whether tasks are threads."""

    @property
    def heartbeat(self) -> Pinger: ...

    @property
    def turns(self) -> Turns: ...

    @property
    def work(self) -> Callable[[Any, Any], Beside | bool]:
        """Does one item of an inbox: ``(socket, item)``.

        Gives what runs on beside the inbox, or whether its greenlet was killed.
        """

    def own_turn(self, since: float | None = None) -> None:
        """Waits for a turn to run the app's code; nothing is raised into the caller."""

    def disturbed(self, error: BaseException) -> None:
        """Logs an exception that was raised into a greenlet while it waited for its turn."""


class PollingEngine(InboxEngine, Protocol):
    """What the polling transport uses of the engine."""

    #: Seconds that an idle poll waits.
    patience: float
    #: Seconds after which a client that does not come is given up.
    ping_timeout: float
    #: Bytes that the body of a POST may have.
    max_http_buffer_size: int

    @property
    def limits(self) -> Limits: ...

    @property
    def backlog(self) -> Backlog: ...

    def take_turn(self, since: float | None = None) -> None:
        """Waits for a turn to run the app's code; a kill or a time-out is raised to the caller."""

    def sleep(self, seconds: float) -> None:
        """Blocks the caller."""

    def holds(self, socket: Seated) -> None:
        """The session has one descriptor more than before."""

    def rests(self, socket: Seated) -> None:
        """The session has one descriptor less than before."""

    def touches(self, socket: Seated) -> None:
        """The session had a poll that did not wait."""

    def forget(self, socket: Seated) -> None:
        """The session is over, and nothing more will be sent to its client."""


class Engine(PollingEngine, Protocol):
    """What a connection uses of the engine."""

    @property
    def addresses(self) -> Addresses: ...

    @property
    def counters(self) -> Counters: ...

    @property
    def arrive(self) -> Callable[[Any, bytes, bool], None]:
        """Takes each message of a client: ``(socket, message, binary)``."""

    @property
    def lost(self) -> Callable[[Any, str], None]:
        """Is called once a connection is over: ``(socket, reason)``."""
