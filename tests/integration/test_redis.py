"""Two processes over a real Redis: the relay, the rooms and the leaving reach across."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
import socketio

from tests.integration.attacks_over_redis import JUNK
from tests.integration.clients import SEQ, Driver, meet
from tests.integration.line import Line
from tests.integration.redis_server import redis_server
from tests.integration.servers import Running, complaints, running


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(scope="module", params=["listen", "werkzeug"])
def servers(
    request: pytest.FixtureRequest, redis_url: str, _driver: Driver
) -> Iterator[list[Running]]:
    environ = {"RTCIO_TEST_REDIS": redis_url}
    with running(request.param, environ=environ) as one, running(environ=environ) as two:
        meet(*(_driver.connect(each.url, transports=["websocket"]) for each in (one, two)))
        _driver.forget_all()
        yield [one, two]


@pytest.fixture
def pair(servers: list[Running], node: Driver) -> list:
    """A client of each process, both in the rooms "kitchen" and "cellar"."""
    for server in servers:
        server.eventually("/rooms", lambda rooms: rooms == {})
    options = {"transports": ["websocket"], "auth": {"rooms": ["kitchen", "cellar"]}}
    clients = [node.connect(server.url, **options) for server in servers]
    clients[0].fence(clients[1])
    clients[1].fence(clients[0])
    return clients


def test_messages_cross_in_order(pair: list) -> None:
    a, b = pair
    a.burst("#rtcio:message", a.envelope(b, SEQ), count=300)
    b.wait_for("#rtcio:message", count=301)
    assert b.relayed() == list(range(300))


def test_a_message_crosses_unchanged_with_its_attachments(pair: list) -> None:
    a, b = pair
    data = {"description": {"sdp": "v=0 é"}, "blob": b"\x00\x01", "none": None, "list": [b"", 1.5]}
    a.emit("#rtcio:message", a.envelope(b, data), "an extra argument")
    b.wait_for("#rtcio:message", count=2)
    assert b.received("#rtcio:message")[-1] == [a.envelope(b, data)]


def test_messages_that_cross_wait_for_no_handler(pair: list, servers: list[Running]) -> None:
    a, b = pair
    for server in servers:
        server.get("/hold").read()
    blocked = [client.ask("block") for client in pair]
    a.burst("#rtcio:message", a.envelope(b, SEQ), count=100)
    b.wait_for("#rtcio:message", count=101)
    assert b.relayed() == list(range(100))
    for server in servers:
        server.release()
    for client, token in zip(pair, blocked, strict=True):
        assert client.answer(token) == ["unblocked"]


def test_forged_messages_do_not_cross(pair: list, servers: list[Running], node: Driver) -> None:
    a, b = pair
    c = node.connect(servers[1].url, transports=["websocket"])
    for envelope in (
        {"source": b.id, "target": b.id, "data": "another's source"},
        {"source": a.id, "target": "kitchen", "data": "a room"},
        {"source": a.id, "target": "cellar", "data": "a room"},
        {"source": a.id, "target": None, "data": "nobody"},
        {"source": a.id, "target": "", "data": "nobody"},
        {"source": a.id, "target": [b.id], "data": "a list"},
        {"source": a.id, "target": "x" * 20, "data": "unknown"},
    ):
        a.emit("#rtcio:message", envelope)
    a.fence(b, c)
    b.fence(a)
    assert [client.relayed() for client in (a, b, c)] == [[], [], []]


def test_a_peer_of_another_process_is_told_once(pair: list, servers: list[Running]) -> None:
    a, b = pair
    gone = a.id
    a.disconnect()
    assert b.wait_for("#rtcio:peer-left") == [{"id": gone}]
    # The app's own handler emits this to both rooms, after it.
    b.wait_for("gone", count=2)
    assert len(b.received("#rtcio:peer-left")) == 1
    for server in servers:
        server.eventually("/rooms", lambda rooms: gone not in str(rooms))


def test_a_peer_that_one_process_kicks_from_another_leaves_no_ghost(
    pair: list, servers: list[Running]
) -> None:
    a, b = pair
    gone = a.id
    b.emit("kick", gone)
    assert a.wait("disconnect")["reason"] == "io server disconnect"
    assert b.wait_for("#rtcio:peer-left") == [{"id": gone}]
    b.wait_for("gone", count=2)
    assert len(b.received("#rtcio:peer-left")) == 1
    for server in servers:
        server.eventually("/rooms", lambda rooms: gone not in str(rooms))
    # And to send to it is to send to nobody.
    b.relay(gone, "to a ghost")
    assert b.call("echo", "still here") == "still here"


def test_a_room_spans_the_processes(pair: list) -> None:
    a, b = pair
    a.emit("say", "kitchen", {"words": "hello"})
    assert b.wait_for("said") == [{"words": "hello"}]


def test_a_program_without_clients_emits_through_redis(pair: list, redis_url: str) -> None:
    outside = socketio.RedisManager(redis_url, write_only=True)
    outside.emit("said", {"words": "from outside"}, room="kitchen")
    for client in pair:
        assert client.wait_for("said") == [{"words": "from outside"}]


@pytest.mark.parametrize(
    ("to", "heard"), [([], False), ("", False), (0, False), (["kitchen", 0], True), (None, True)]
)
def test_only_none_is_everybody_in_another_process(pair: list, to: Any, heard: bool) -> None:
    a, b = pair
    a.emit("say", to, {"words": "hello"})
    a.call("echo", 1)
    a.fence(b)
    assert b.received("said") == ([[{"words": "hello"}]] if heard else [])


@pytest.mark.parametrize("words", [None, [], [1, 2], [None], b"\x00\xff", {"blob": [b""]}])
def test_words_cross_as_they_were_said(pair: list, words: Any) -> None:
    a, b = pair
    a.emit("say", "kitchen", words)
    # python-socketio's `None` is no argument at all.
    assert b.wait_for("said") == ([] if words is None else [words])


def test_junk_on_the_channel_ends_nothing_and_is_warned_of_once(node: Driver) -> None:
    with redis_server() as url:
        options: Any = {"environ": {"RTCIO_TEST_REDIS": url}, "clean_log": False}
        with running("listen", **options) as one, running("werkzeug", **options) as two:
            a, b = (node.connect(each.url, transports=["websocket"]) for each in (one, two))
            meet(a, b)
            with redis.Redis.from_url(url) as client:
                for _ in range(20):
                    for each in JUNK:
                        client.publish("socketio", each)
            a.burst("#rtcio:message", a.envelope(b, SEQ), count=50)
            b.burst("#rtcio:message", b.envelope(a, SEQ), count=50)
            for each in (a, b):
                each.wait_until(lambda each=each: len(each.relayed()) == 50, "50 relays")
                assert each.relayed() == list(range(50))
            for server in (one, two):
                stats = server.get_json("/stats")
                assert stats["dropped"] == {"channel": 20 * len(JUNK)}
                assert stats["handler_errors"] == 0
                (warning,) = complaints(server.log())
                assert "was dropped and counted" in warning


def test_who_is_away_from_one_process_misses_nothing_from_another(
    redis_url: str, node: Driver
) -> None:
    environ, options = {"RTCIO_TEST_REDIS": redis_url}, {"connection_state_recovery": True}
    with (
        running("listen", "recovering", environ=environ, **options) as one,
        running("listen", "recovering", environ=environ, **options) as two,
        Line(one.port) as line,
    ):
        again = {"reconnection": True, "reconnectionDelay": 50, "reconnectionDelayMax": 200}
        auth = {"rooms": ["kitchen"]}
        client = node.connect(line.url, transports=["websocket"], auth=auth, **again)
        other = node.connect(two.url, transports=["websocket"], auth=auth)
        meet(client, other)
        line.cut()
        client.wait("disconnect")
        assert other.wait_for("#rtcio:peer-left") == [{"id": client.id}]
        other.burst("#rtcio:message", other.envelope(client, SEQ), count=20)
        other.burst("say", "kitchen", SEQ, count=20)
        client.burst("#rtcio:message", {"target": other.id, "data": SEQ}, count=20)
        other.call("echo", 1)
        line.mend()
        assert client.wait("connect", count=2)["recovered"]
        other.fence(client)
        client.fence(other)
        assert client.relayed() == list(range(20))
        assert [args[0] for args in client.received("said")] == list(range(20))
        assert other.relayed() == list(range(20))
        assert {args[0]["source"] for args in other.received("#rtcio:message")} == {client.id}
        line.cut()
        client.wait("disconnect", count=2)
        # Put out by the other process while away, it does not come back.
        two.get_json(f"/do/disconnect?sid={client.id}")
        one.eventually("/stats", lambda stats: (stats["connected"], stats["away"]) == (0, 0))
        line.mend()
        assert not client.wait("connect", count=3)["recovered"]
        node.forget_all()
