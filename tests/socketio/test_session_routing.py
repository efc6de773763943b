"""A client on polling that comes back here, and whose session another worker has."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from rtcio_sync import Server
from rtcio_sync.cluster.messages import decoded
from rtcio_sync.engineio.state import State
from rtcio_sync.errors import CannotMove
from rtcio_sync.socketio.session_routing import POLLS, Moved, Moving, Named, Polls
from tests.clients import Polling, WebSocket
from tests.timing import until

PID = "bbbb" + "x" * 20


class Exchange:
    """Notes what other workers are told."""

    def __init__(self) -> None:
        self.inline: dict[str, Callable[[str, int, bytes], None]] = {}
        self.on_joined: list[Callable[[str], None]] = []
        self.on_died: list[Callable[..., None]] = []
        self.arrivals = SimpleNamespace()
        self.told: list[tuple[str, str, bytes]] = []

    def tell(self, node: str, what: str, about: bytes) -> None:
        self.told.append((node, what, about))


class Scene:
    """A client that names a session of another worker, and whose connection is not idle yet."""

    def __init__(self) -> None:
        self.server = Server(connection_state_recovery=True)
        self.exchange: Any = Exchange()
        self.given: list[tuple[str, bytes]] = []
        owner: Any = lambda pid: "bbbb" if pid == PID else None  # noqa: E731
        sessions = self.server.departing
        moving = Moving(self.server, owner, exchange=self.exchange, sessions=sessions)
        moving.give = self._give
        self.server.reconnect.elsewhere = moving.move  # type: ignore[union-attr]
        self.client = Polling(self.server)
        self.client.ask_to_join(auth={"pid": PID})
        self.link = self.client.link
        self.link.posting = True  # something of it is under way
        until(lambda: self.link.frozen and self.link.inbox is None)
        assert not self.exchange.told

    def _give(self, node: str, fd: int, about: bytes) -> bool:
        self.given.append((node, about))
        return True


def test_a_worker_that_leaves_does_not_take_it_without_its_connect() -> None:
    scene = Scene()
    scene.link.posting = False  # it ends while nobody looks
    with pytest.raises(CannotMove) as refused:
        scene.server.departing.pack(scene.client.eio_sid)
    assert refused.value.later
    until(lambda: scene.exchange.told)
    ((node, what, about),) = scene.exchange.told
    assert (node, what) == ("bbbb", POLLS)
    assert decoded(Named, decoded(Polls, about).connect).auth == {"pid": PID}


def test_a_client_that_upgrades_later_than_most_goes_with_its_websocket() -> None:
    scene = Scene()
    websocket = WebSocket(scene.server, upgrading=scene.client)
    websocket.say("2probe")
    assert websocket.more() == ["3probe"]
    websocket.say("5")
    until(lambda: scene.link.state is State.WEBSOCKET)
    scene.link.posting = False
    until(lambda: scene.link.closed)
    assert not scene.exchange.told
    ((node, about),) = scene.given
    moved = decoded(Moved, about)
    assert (node, moved.sid, moved.auth) == ("bbbb", scene.client.eio_sid, {"pid": PID})
