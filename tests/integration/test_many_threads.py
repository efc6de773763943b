"""Every public call from every kind of thread, on real servers, alone and over a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.foreign_threads import KINDS
from tests.integration.clients import Client, Driver, meet
from tests.integration.redis_server import redis_server
from tests.integration.servers import Running, running
from tests.timing import DEADLINE


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(
    scope="module",
    params=[
        "listen",
        "gunicorn-gevent",
        "listen over Redis",
        "gunicorn-geventwebsocket over Redis",
    ],
)
def server(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Running]:
    way, _, redis = request.param.partition(" over ")
    environ = {"RTCIO_TEST_REDIS": redis_url} if redis else {}
    with running(way, "many_threads", environ=environ) as server:
        yield server


@pytest.fixture(params=list(KINDS))
def do(request: pytest.FixtureRequest, server: Running) -> Any:
    def make(call: str, client: Client) -> Any:
        answer = server.get_json(f"/do/{request.param}/{call}/{client.id}")
        assert "error" not in answer, answer
        return answer["result"]

    return make


@pytest.fixture(params=["websocket", "polling"])
def client(request: pytest.FixtureRequest, server: Running, node: Driver) -> Client:
    server.eventually("/stats", lambda stats: stats["connected"] == 0)
    client = node.connect(server.url, transports=[request.param])
    assert client.call("prepare") is True
    return client


@pytest.mark.parametrize("call", ["emit", "socket-emit", "namespace-emit"])
def test_an_event_arrives(do: Any, client: Client, call: str) -> None:
    do(call, client)
    assert client.wait_for("hello") == [call]


@pytest.mark.parametrize("call", ["send", "socket-send"])
def test_a_message_arrives(do: Any, client: Client, call: str) -> None:
    do(call, client)
    assert client.wait_for("message") == [call]


@pytest.mark.parametrize("call", ["call", "socket-call"])
def test_a_question_is_answered(do: Any, client: Client, call: str) -> None:
    client.answers("question", "because")
    assert do(call, client) == "because"


@pytest.mark.parametrize("call", ["enter-room", "join", "sockets-join"])
def test_a_room_is_entered_when_the_call_returns(do: Any, client: Client, call: str) -> None:
    assert do(call, client)[1] == sorted(["cellar", "kitchen", client.id])
    do("room-emit", client)
    assert client.wait_for("hello") == ["room-emit"]


@pytest.mark.parametrize("call", ["leave-room", "leave", "sockets-leave", "close-room"])
def test_a_room_is_left_when_the_call_returns(do: Any, client: Client, call: str) -> None:
    assert do(call, client)[1] == [client.id]


@pytest.mark.parametrize(
    "call",
    ["disconnect", "socket-disconnect", "socket-close", "disconnect-sockets", "engine-disconnect"],
)
def test_who_is_put_out_is_gone_and_its_handlers_have_run(
    do: Any, client: Client, server: Running, node: Driver, call: str
) -> None:
    witness = node.connect(server.url, transports=["websocket"])
    assert witness.call("prepare") is True
    do(call, client)
    witness.wait_for("#rtcio:peer-left")
    assert witness.received("#rtcio:peer-left") == [[{"id": client.id}]]
    server.eventually("/left", lambda left: left.count(client.id) == 1)
    assert do("fetch-sockets", witness) == [witness.id]
    assert sorted(do("namespace-rooms", witness)) == sorted(["cellar", witness.id])


def test_what_is_asked_is_answered(do: Any, client: Client) -> None:
    assert do("fetch-sockets", client) == [client.id]
    assert do("session", client) == {"name": "Ada"}
    assert do("stats", client) == 1


def test_a_background_task_runs_where_it_may_emit(do: Any, client: Client) -> None:
    assert do("background", client) is True
    assert client.wait_for("hello") == ["task"]


def test_somebody_is_taken_out_of_a_lobby(do: Any, client: Client) -> None:
    client.emit("join-room", {"roomId": "tea"})
    client.wait_for("join-ok")
    assert do("lobby-peers", client) == [client.id]
    assert do("lobby-remove", client) is True
    assert do("lobby-peers", client) == []


@pytest.mark.parametrize(("call", "count"), [("numbers", 3000), ("mixed", 300)])
def test_all_events_of_one_thread_arrive_in_order(
    do: Any, client: Client, call: str, count: int
) -> None:
    assert do(call, client) == count
    client.wait_for("number", count=count)
    assert [args[0] for args in client.received("number")] == list(range(count))


def test_events_of_one_thread_keep_their_order_though_another_call_waits(
    do: Any, client: Client
) -> None:
    client.answers("question", "because")
    for _ in range(3):
        do("emit", client)
        assert do("call", client) == "because"
    # The client's report of the last question may come behind its answer.
    client.wait_for("hello", count=3)
    client.wait_for("question", count=3)
    heard = [event for event, _ in client.received()]
    assert heard == ["hello", "question"] * 3


def test_a_mistake_is_raised_to_who_made_it(do: Any, client: Client) -> None:
    assert do("misuse", client) == "TypeError"


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_one_thread_sends_and_all_after_it_reaches_another_process(
    redis_url: str, node: Driver, kind: str
) -> None:
    """One such call once ended all publishing of its process."""
    environ = {"RTCIO_TEST_REDIS": redis_url}
    with (
        running("gunicorn-gevent", "many_threads", environ=environ) as one,
        running("listen", "many_threads", environ=environ) as two,
    ):
        here = node.connect(one.url, transports=["websocket"])
        there = node.connect(two.url, transports=["websocket"])
        meet(here, there)
        for number, each in enumerate([kind, "pool", kind]):
            assert one.get_json(f"/do/{each}/emit/{there.id}") == {"result": None}
            there.wait_for("hello", count=number + 1)
        here.relay(there, "and so do relays")
        there.wait_until(lambda: "and so do relays" in there.relayed(), "relay")


@pytest.mark.parametrize("kind", list(KINDS))
def test_stop_ends_listen_from_any_thread(kind: str) -> None:
    with running("listen", "many_threads") as server:
        assert server.get_json(f"/do/{kind}/stop/-") == {"result": None}
        assert server.process.wait(DEADLINE) == 0
