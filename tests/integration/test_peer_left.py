"""Each peer of a room hears exactly once that a socket left, however it left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.clients import Client, Driver
from tests.integration.servers import Running, complaints, running

#: Seconds; short, so that a half-open connection is noticed soon.
PINGS = {"ping_interval": 1, "ping_timeout": 12}
TWO_ROOMS = {"rooms": ["kitchen", "cellar"]}


@pytest.fixture(scope="module", params=["listen", "werkzeug"])
def _server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(request.param) as server:
        yield server


@pytest.fixture
def server(_server: Running) -> Running:
    """One that nobody of an earlier test is about to leave."""
    _server.eventually("/rooms", lambda rooms: rooms == {})
    return _server


@pytest.fixture(scope="module", params=["listen", "werkzeug"])
def _raising_server(request: pytest.FixtureRequest) -> Iterator[Running]:
    environ = {"RTCIO_TEST_DISCONNECT_RAISES": "RuntimeError"}
    with running(request.param, environ=environ, clean_log=False) as server:
        yield server


@pytest.fixture
def raising_server(_raising_server: Running) -> Running:
    """One whose app raises in its own disconnect handler."""
    _raising_server.eventually("/rooms", lambda rooms: rooms == {})
    return _raising_server


LEAVING: dict[str, Callable[[Client], Any]] = {
    "it disconnects": Client.disconnect,
    "its engine closes": Client.close_engine,
    "its TCP ends without a close frame": Client.kill,
    "its TCP is reset": lambda client: client.kill(reset=True),
}


@pytest.mark.parametrize("leaving", LEAVING)
def test_a_peer_that_shares_two_rooms_is_told_once_when(
    server: Running, node: Driver, leaving: str
) -> None:
    _assert_told_once(server, node, LEAVING[leaving])


@pytest.mark.parametrize("leaving", LEAVING)
def test_a_disconnect_handler_that_raises_changes_nothing_when(
    raising_server: Running, node: Driver, leaving: str
) -> None:
    mark = raising_server.log_mark()
    _assert_told_once(raising_server, node, LEAVING[leaving])
    # The handler ran, and its error was told to the app's log.
    assert any("Traceback" in line for line in complaints(raising_server.log(mark)))


def _assert_told_once(server: Running, node: Driver, leave: Callable[[Client], Any]) -> None:
    a, b = (node.connect(server.url, transports=["websocket"], auth=TWO_ROOMS) for _ in range(2))
    c = node.connect(server.url, transports=["websocket"], auth={"rooms": ["attic"]})
    gone = a.id

    leave(a)

    assert b.wait_for("#rtcio:peer-left") == [{"id": gone}]
    # The app's own handler emits one to each room after it.
    b.wait_for("gone", count=2)
    c.fence(b)
    heard = [event for event, _ in b.received() if event != "#rtcio:message"]
    assert heard == ["#rtcio:peer-left", "gone", "gone"]
    assert c.received("#rtcio:peer-left") == []
    rooms = server.eventually("/rooms", lambda rooms: gone not in str(rooms))
    assert rooms["/ kitchen"] == [b.id]


def test_a_peer_on_polling_that_closes_is_missed_at_once(server: Running, node: Driver) -> None:
    _assert_polling_told_once(server, node, Client.close_engine)


def test_a_peer_on_polling_that_disconnects_is_missed_at_once(
    server: Running, node: Driver
) -> None:
    _assert_polling_told_once(server, node, Client.disconnect)


def _assert_polling_told_once(
    server: Running, node: Driver, leave: Callable[[Client], Any]
) -> None:
    a, b = (node.connect(server.url, transports=["polling"], auth=TWO_ROOMS) for _ in range(2))
    gone = a.id
    leave(a)
    assert b.wait_for("#rtcio:peer-left") == [{"id": gone}]
    b.wait_for("gone", count=2)
    assert len(b.received("#rtcio:peer-left")) == 1


def test_a_socket_that_the_server_disconnects_is_missed(server: Running, node: Driver) -> None:
    a, b = (node.connect(server.url, transports=["websocket"], auth=TWO_ROOMS) for _ in range(2))
    gone = a.id
    b.emit("kick", gone)
    assert b.wait_for("#rtcio:peer-left") == [{"id": gone}]
    assert a.wait("disconnect")["reason"] == "io server disconnect"
    b.wait_for("gone", count=2)
    assert len(b.received("#rtcio:peer-left")) == 1


@pytest.mark.parametrize("way", ["listen", "werkzeug"])
def test_half_open_peers_are_missed(node: Driver, way: str) -> None:
    with running(way, **PINGS) as server, Driver() as other:
        b = node.connect(server.url, transports=["websocket"], auth=TWO_ROOMS)
        gone = [
            other.connect(server.url, transports=[transport], auth=TWO_ROOMS)
            for transport in ("websocket", "polling")
        ]
        for a in gone:
            a.fence(b)
        # Their TCP connections stay, and nobody answers on them.
        other.suspend()
        b.wait_for("#rtcio:peer-left", count=2)
        b.wait_for("gone", count=4)
        told = sorted(args[0]["id"] for args in b.received("#rtcio:peer-left"))
        assert told == sorted(a.id for a in gone)


def test_leaving_a_room_alone_tells_nobody(server: Running, node: Driver) -> None:
    a, b = (node.connect(server.url, transports=["websocket"], auth=TWO_ROOMS) for _ in range(2))
    assert a.call("leave-room", {"roomId": "kitchen"}) is True
    a.fence(b)
    assert b.received("#rtcio:peer-left") == []
    # And a peer that has left every common room is not told later either.
    assert a.call("leave-room", {"roomId": "cellar"}) is True
    c = node.connect(server.url, transports=["websocket"], auth=TWO_ROOMS)
    gone = a.id
    a.emit("join-room", {"roomId": "attic"})
    a.wait_for("join-ok")
    a.disconnect()
    server.eventually("/rooms", lambda rooms: gone not in str(rooms))
    c.fence(b)
    assert b.received("#rtcio:peer-left") == []


def test_everyone_in_the_room_is_told(server: Running, node: Driver) -> None:
    a, *others = (
        node.connect(server.url, transports=["websocket"], auth=TWO_ROOMS) for _ in range(6)
    )
    gone = a.id
    a.disconnect()
    for other in others:
        assert other.wait_for("#rtcio:peer-left") == [{"id": gone}]
        other.wait_for("gone", count=2)
        assert len(other.received("#rtcio:peer-left")) == 1
