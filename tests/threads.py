"""Two threads that come to the same few lines of a server at once.

A test has the second thread come in the middle of what the first one does. Where a gate keeps it
out, it waits for the first to be done; without one it is done before the first goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rtcio_sync import Server
from rtcio_sync.adapter.member import Member, Stage
from rtcio_sync.transport.driver import frames_of
from tests.clients import Client, Polling
from tests.timing import DEADLINE, wait_until

MOMENT = 0.3  # seconds: that the second thread gets, if nothing keeps it out


class Second:
    """Another thread, that comes when it is called, once.

    ``waits``: the first waits until it is done. Otherwise only for a `MOMENT`, since a gate that
    the first holds may keep it out.
    """

    def __init__(self, do: Callable[[], Any], *, waits: bool = False) -> None:
        self._do = do
        self._patience = DEADLINE if waits else MOMENT
        self.thread: threading.Thread | None = None

    def comes(self) -> None:
        if self.thread is None:
            self.thread = threading.Thread(target=self._do, daemon=True)
            self.thread.start()
            self.thread.join(self._patience)

    def ends(self) -> None:
        """Waits until it came, for a test may ask before the first got there, and is done."""
        wait_until(lambda: self.thread is not None)
        assert self.thread is not None
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive()


def slowed(thing: Any, name: str, second: Second) -> None:
    """Has ``second`` come right after an attribute of ``thing`` was read."""
    held = getattr(thing, name)

    def read(self: Any) -> Any:
        value = held
        second.comes()
        return value

    def write(self: Any, value: Any) -> None:
        nonlocal held
        held = value

    kind = type(thing)
    thing.__class__ = type(kind.__name__, (kind,), {"__slots__": (), name: property(read, write)})


def joined(server: Server, *rooms: str) -> Client:
    client = Polling(server)
    client.join()
    for room in rooms:
        server.enter_room(client.sids["/"], room)
    return client


def away(server: Server, *rooms: str) -> Member:
    """A client that has lost its connection, and may come back."""
    client = joined(server, *rooms)
    member: Member = server.manager.member(client.sid, "/")
    client.link.close(abort=True, reason="transport close")
    wait_until(lambda: member.stage is Stage.AWAY)
    return member


class Wire:
    """The server's side of a WebSocket, which keeps what is sent."""

    late = closed = overflowed = False
    reads = owned = True
    max_buffered: int | None = None

    def __init__(self) -> None:
        self.sent: list[str] = []

    def pause(self) -> None:
        self.reads = False

    def resume(self) -> None:
        self.reads = True

    def close(self, code: int = 1000) -> None:
        self.closed = True

    def disown(self) -> None:
        self.owned = False

    def send(self, frame: bytes) -> None:
        if not self.closed:
            self.sent.extend(payload.decode() for payload, _ in frames_of(frame))

    send_now = send

    def start(self) -> None:
        pass

    def hold(self, seconds: float) -> None:
        pass

    def waits(self) -> int:
        return 0


def comes_on_a_wire(server: Server) -> tuple[Client, Wire]:
    """A client that has a WebSocket, and has not joined yet."""
    client, wire = Polling(server), Wire()
    client.link.transport = wire
    return client, wire
