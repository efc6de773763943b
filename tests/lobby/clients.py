"""The clients of a lobby, and what they hear of each other."""

from __future__ import annotations

import threading
from typing import Any

from rtcio_sync.server import Server
from rtcio_sync.testing import TestClient
from tests.timing import DEADLINE


def client(server: Server, **options: Any) -> TestClient:
    made = server.test_client(**options)
    assert made.connected
    if isinstance(server, Parallel):  # a test client's events are handled within its calls
        link: Any = made._link
        link.tested = False
    return made


def join(peer: TestClient, room: Any = "r", **fields: Any) -> None:
    peer.emit("join-room", {"roomId": room, **fields})


def joined(server: Server, room: str = "r", **fields: Any) -> TestClient:
    """A client that is in the room and has taken note of it."""
    peer = client(server)
    join(peer, room, **fields)
    events = peer.received()
    assert events[-1] == ("join-ok", [{"roomId": room}])
    return peer


def announced(peer: TestClient, **fields: Any) -> list[Any]:
    """What the peers of a room hear when ``peer`` joins it."""
    return [
        ("user-connected", [{"id": peer.sid, **fields}]),
        ("#rtcio:init-offer", [{"source": peer.sid}]),
    ]


def refused(reason: str, room: Any = "r") -> list[Any]:
    return [("join-error", [{"reason": reason, "roomId": room}])]


class Gate:
    """An ``authorize`` that waits for the test in the joins of one name."""

    def __init__(self, name: str, answer: bool = True) -> None:
        self.name = name
        self.answer = answer
        self.reached = threading.Event()
        self.open = threading.Event()
        self.asked: list[Any] = []

    def __call__(self, socket: Any, room: str, name: str | None, password: str | None) -> bool:
        self.asked.append((socket.id, room, name, password))
        if name != self.name:
            return True
        self.reached.set()
        assert self.open.wait(DEADLINE)
        return self.answer


class NotTimed:
    def begin(self, *_: Any) -> int:
        return -1

    def end(self, number: int) -> None: ...


class Parallel(Server):
    """With upstream's parallel handlers: the one case in which those of one socket overlap."""

    def __init__(self) -> None:
        super().__init__(async_mode="threading", async_handlers=True)
        self.tasks: list[threading.Thread] = []
        start = self.eio.start_background_task

        def started(target: Any, *args: Any, **kwargs: Any) -> Any:
            task = start(target, *args, **kwargs)
            self.tasks.append(task)
            return task

        self.eio.start_background_task = started
        self.handling._overdue = NotTimed()  # its clock would be one of the tasks

    def finish(self, number: int = 0) -> None:
        """Wait for the handlers begun so far, from a ``number`` on."""
        for task in self.tasks[number:]:
            task.join(DEADLINE)
            assert not task.is_alive()
