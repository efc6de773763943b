"""What a WebSocket offers to the engine, and what it asks of others: Protocols.

A `Transport` has two implementations: `websocket.WebSocket`, which the hub drives, and
`driver.DriverWebSocket`, around a WebSocket of python-engineio's own drivers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ..protocol.packing import Struct
from ..protocol.websocket_frames import Unparsed

__all__ = [
    "CONNECTION",
    "Carried",
    "Environ",
    "Event",
    "Gate",
    "Later",
    "Owner",
    "Queue",
    "RawSocket",
    "Served",
    "StartResponse",
    "Tasks",
    "TlsSocket",
    "Transport",
]

Gate = AbstractContextManager[object, None]
"""Guards lines that two threads must not run at once. On gevent nothing switches inside of them,
and the gate does nothing."""


Environ = dict[str, Any]
"""The environ of a WSGI request (PEP 3333)."""


CONNECTION = "rtcio_sync.connection"
"""The key of a `Served` in an environ of `Server.listen`; it is a `takeover.WebSocketRequest`."""


class Served(Protocol):
    """A request of `Server.listen`, whose TCP connection is known."""

    @property
    def socket(self) -> Any:
        """The socket, not to be read or closed."""


class Event(Protocol):
    """An event as `threading.Event`: of gevent or of threads."""

    def set(self) -> None: ...

    def clear(self) -> None: ...

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until it is set, or for ``timeout`` seconds; whether it is set."""


class Later(Protocol):
    """Calls back after some seconds."""

    def __call__(self, seconds: float, do: Callable[..., Any], *args: Any) -> None:
        """Has ``do(*args)``, which must not block, called after ``seconds``."""


class Tasks(Protocol):
    """Runs tasks: greenlets, or threads under ``async_mode="threading"``."""

    @property
    def gate(self) -> Gate:
        """Guards what two tasks must not do at once."""

    def spawn(self, target: Callable[..., Any], *args: Any) -> None:
        """Runs ``target(*args)`` beside the caller. # any thread"""

    def create_event(self) -> Event:
        """An event for these tasks to wait for."""


class StartResponse(Protocol):
    """What a WSGI server gives an application to begin its answer with (PEP 3333)."""

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]: ...


class Carried(Struct):
    """What a WebSocket takes along into another process."""

    #: What the kernel has not taken yet, in order; the first may be the rest of a frame.
    unsent: list[bytes]
    #: What was read and not handled.
    unparsed: Unparsed


class RawSocket(Protocol):
    """What a WebSocket uses of its TCP socket: of `_socket`'s class, `socket`'s or gevent's."""

    def fileno(self) -> int: ...

    def settimeout(self, seconds: float | None, /) -> None: ...

    def recv(self, size: int, /) -> bytes: ...

    def send(self, data: bytes | memoryview, /) -> int: ...

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...

    def setsockopt(self, level: int, option: int, value: int | bytes, /) -> None: ...

    def shutdown(self, how: int, /) -> None: ...

    def close(self) -> None: ...


class TlsSocket(RawSocket, Protocol):
    """One that speaks TLS."""

    def pending(self) -> int:
        """Bytes that are decrypted, and not read."""


class Queue(Protocol):
    """What waits for one client, as `slow_readers.Backlog` sees it."""

    def waits(self) -> int:
        """The bytes that it holds in memory, those of shared messages included."""

    def taken(self) -> int | None:
        """Bytes that the client has taken so far, from any beginning; None: nobody can tell."""

    def give_up(self) -> None:
        """Close the connection, and count it as that of a slow reader. Lets go of what waits."""


class Owner(Protocol):
    """Whom a transport tells of messages and of its end.

    `websocket.WebSocket` calls both in the hub, where neither may block nor switch greenlets;
    `driver.DriverWebSocket` calls them in the greenlet or thread that reads.
    """

    def message_received(self, payload: bytes, binary: bool) -> None:
        """A whole message. Text is valid UTF-8."""

    def connection_lost(self, code: int | None, error: bool) -> None:
        """Nothing more will be received. Called exactly once, and last; a `DriverWebSocket` that
        gives a peer up may call it twice, from two tasks.

        `code` is that of the peer's close frame, else of ours, else None: TCP just ended. `error`
        means that the connection was failed: a broken protocol, a message too big, a callback that
        raised, or too much waiting for a peer that does not read.
        """


class Transport(Queue, Protocol):
    """One client's WebSocket after its handshake. # hub or greenlet: everything"""

    #: Bytes of memory that may wait for the peer; None for no limit.
    max_buffered: int | None

    @property
    def late(self) -> bool:
        """Whether the kernel has no room for what was sent, so that it waits."""

    @property
    def overflowed(self) -> bool:
        """Whether it was closed because too much waited for the peer."""

    def start(self) -> None:
        """Begin to read."""

    def send(self, frame: bytes) -> None:
        """Send one encoded frame or several. Never blocks; ignored once it is closed."""

    def send_now(self, frame: bytes) -> None:
        """`send` for many peers in a loop: does not wait for the end of the turn, if it can."""

    def hold(self, seconds: float) -> None:
        """Have what is sent from now on read apart from what was sent before, if it can.

        What was sent goes out; the rest waits for `seconds`, or until the client sends something.
        """

    def pause(self) -> None:
        """Stop reading: messages wait in the kernel, and then with the peer."""

    def resume(self) -> None:
        """Read on."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what is buffered, then close. Does nothing if it is closed."""

    def hang_up(self) -> None:
        """End the connection, but hand on what the client sends until it knows."""

    def disown(self) -> None:
        """Tell the owner nothing more: it has another transport by now, perhaps."""

    def fileno(self) -> int:
        """The descriptor; -1 once TCP is closed, or where it belongs to the WSGI server."""
