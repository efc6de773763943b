"""`add_default_listeners` on a server that is not ours: relay and peer-left work there too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.clients import Driver
from tests.integration.servers import Running, assert_clean, running


@pytest.fixture(
    scope="module",
    params=[
        ("plain", "first", "werkzeug"),
        ("plain", "last", "pywsgi-geventwebsocket"),
        ("flask-socketio", "first", "pywsgi-geventwebsocket"),
        ("flask-socketio", "last", "werkzeug"),
    ],
    ids=lambda param: "-".join(param),
)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    host, hook, way = request.param
    environ = {"RTCIO_TEST_HOST": host, "RTCIO_TEST_HOOK": hook}
    with running(way, "listeners", environ=environ, clean_log=False) as server:
        yield server
        # python-engineio's own server says so of a poll that its client has left behind.
        assert_clean(server.log(), allowed="Session is disconnected")


def test_messages_are_relayed_and_forged_ones_dropped(server: Running, node: Driver) -> None:
    a = node.connect(server.url, transports=["websocket"])
    b = node.connect(server.url, transports=["polling"])
    for client in (a, b):
        assert client.call("join-room", {"roomId": "attic"}) is True
    data = {"description": {"sdp": "v=0"}, "blob": b"\x00\x01"}
    a.emit("#rtcio:message", {"source": b.id, "target": b.id, "data": "forged"})
    a.emit("#rtcio:message", {"source": a.id, "target": "attic", "data": "to a room"})
    a.emit("#rtcio:message", {"source": a.id, "target": None, "data": "to all"})
    a.emit("#rtcio:message")
    a.emit("#rtcio:message", a.envelope(b, data), "an extra argument")
    b.wait_for("#rtcio:message")
    b.relay(a, data)
    a.wait_for("#rtcio:message")
    assert (a.relayed(), b.relayed()) == ([data], [data])
    assert b.received("#rtcio:message") == [[a.envelope(b, data)]]


def test_the_room_is_told_once_and_the_own_handler_runs(server: Running, node: Driver) -> None:
    a, b, c = (node.connect(server.url, transports=["websocket"]) for _ in range(3))
    for client in (a, b):
        for room in ("kitchen", "cellar"):
            assert client.call("join-room", {"roomId": room}) is True
    gone = a.id
    a.kill()
    assert b.wait_for("#rtcio:peer-left") == [{"id": gone}]
    heard = server.eventually("/heard", lambda heard: any(gone in entry for entry in heard))
    rooms = next(entry[2] for entry in heard if entry[1] == gone)
    assert sorted(rooms) == sorted([gone, "kitchen", "cellar"])
    c.fence(b)
    assert len(b.received("#rtcio:peer-left")) == 1
    assert c.received("#rtcio:peer-left") == []
