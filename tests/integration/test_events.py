"""Events, acknowledgements, namespaces and sessions, as handlers and real clients see them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import socketio

from tests.integration.clients import Driver
from tests.integration.servers import Running, running
from tests.timing import DEADLINE


@pytest.fixture(scope="module", params=["listen", "werkzeug"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(request.param) as server:
        yield server


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_what_a_handler_returns_is_the_acknowledgement(
    server: Running, node: Driver, transport: str
) -> None:
    a = node.connect(server.url, transports=[transport])
    values: list[Any] = [1, "two", {"three": [3, None]}, b"\x00four"]
    assert a.answer(a.ask("echo", *values)) == values
    assert a.answer(a.ask("note", "nothing is returned")) == []


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
def test_a_client_may_send_binary_as_text(
    server: Running, node: Driver, transports: list[str]
) -> None:
    a = node.connect(server.url, transports=transports, forceBase64=True)
    values: list[Any] = [b"\x00\xffone", {"two": [b"", 3]}]
    assert a.answer(a.ask("echo", *values)) == values


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_handler_may_wait_for_its_own_client_to_acknowledge(
    server: Running, node: Driver, transport: str
) -> None:
    a = node.connect(server.url, transports=[transport])
    a.answers("question", "forty-two")
    assert a.call("ask-back", {"what": "?"}) == "forty-two"
    assert a.received("question") == [[{"what": "?"}]]


def test_an_error_in_a_handler_is_logged_and_the_connection_kept(
    server: Running, node: Driver
) -> None:
    with running(clean_log=False) as server:
        a = node.connect(server.url, transports=["websocket"])
        a.emit("raise")
        assert a.call("echo", "still here") == "still here"
        log = server.log()
        assert log.count("ValueError: raised on request") == 1
        assert "LOG ERROR calls " in log, "it goes to app.logger"


def test_a_namespace_is_a_world_of_its_own(server: Running, node: Driver) -> None:
    main = node.connect(server.url, transports=["websocket"])
    calls = node.open(server.url, namespace="/calls", shares=main)
    calls.wait("connect")
    other = node.connect(server.url, namespace="/calls", transports=["websocket"])
    assert main.id != calls.id
    assert calls.answer(calls.ask("echo", 1)) == ["calls", 1]
    assert main.answer(main.ask("echo", 1)) == [1]

    # No relay there: `/` alone has the library's listeners by itself.
    calls.relay(other, "in the namespace")
    # Nor does a message of one namespace reach a sid of another.
    main.relay(other, "across")
    main.relay(calls, "across")
    witness = node.connect(server.url, transports=["websocket"])
    main.fence(witness)
    assert calls.answer(calls.ask("echo", 2)) == ["calls", 2]
    assert other.answer(other.ask("echo", 2)) == ["calls", 2]
    assert (calls.received(), other.received()) == ([], [])


def test_a_namespace_that_has_the_listeners_relays_and_tells_of_leaving(node: Driver) -> None:
    with running(environ={"RTCIO_TEST_LISTENERS": "/calls"}) as server:
        a, b = (
            node.connect(server.url, namespace="/calls", transports=["websocket"]) for _ in range(2)
        )
        a.fence(b)
        for client in (a, b):
            assert client.call("join-room", {"roomId": "kitchen"}) is True
        gone = a.id
        a.disconnect()
        assert b.wait_for("#rtcio:peer-left") == [{"id": gone}]


def test_leaving_one_namespace_keeps_the_other(server: Running, node: Driver) -> None:
    main = node.connect(server.url, transports=["websocket"])
    calls = node.open(server.url, namespace="/calls", shares=main)
    calls.wait("connect")
    calls.disconnect()
    calls.wait("disconnect")
    assert main.call("echo", "still here") == "still here"


def test_an_unknown_namespace_is_refused(server: Running, node: Driver) -> None:
    client = node.open(server.url, namespace="/nowhere", transports=["websocket"])
    assert client.wait("connect_error")["message"]


def test_a_refused_connection_tells_why(server: Running, node: Driver) -> None:
    client = node.open(server.url, transports=["websocket"], auth={"refuse": True})
    error = client.wait("connect_error")
    assert (error["message"], error["data"]) == ("not you", {"why": "said so"})


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_who_is_disconnected_with_its_connection_hears_the_last_word_and_the_reason_once(
    server: Running, node: Driver, transport: str
) -> None:
    a = node.connect(server.url, transports=[transport])
    a.emit("kick-out", "go")
    assert a.wait("disconnect")["reason"] == "io server disconnect"
    b = node.connect(server.url, transports=[transport])
    for number in range(20):
        b.call("echo", number)
    assert a.received("word") == [["go"]]
    assert [each["type"] for each in a.reports].count("disconnect") == 1


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_who_is_refused_after_the_welcome_is_disconnected_and_does_not_return(
    node: Driver, transport: str
) -> None:
    with running(always_connect=True) as server:
        client = node.open(
            server.url, transports=[transport], auth={"refuse": True}, reconnectionDelay=10
        )
        client.wait("connect")
        assert client.wait("disconnect")["reason"] == "io server disconnect"
        other = node.connect(server.url, transports=[transport])
        for number in range(20):
            other.call("echo", number)
        assert [each["type"] for each in client.reports].count("connect") == 1


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_the_session_of_a_route_is_readable_in_a_handler(
    server: Running, node: Driver, transport: str
) -> None:
    cookie = (server.get("/login/ada").getheader("Set-Cookie") or "").partition(";")[0]
    headers = {"Cookie": cookie}
    a = node.connect(server.url, transports=[transport], extraHeaders=headers)
    assert a.call("whoami") == "ada"
    # What a handler changes stays with its socket: another with the same cookie sees the cookie's.
    assert a.call("set-user", "grace") is True
    assert a.call("whoami") == "grace"
    b = node.connect(server.url, transports=[transport], extraHeaders=headers)
    assert b.call("whoami") == "ada"
    assert node.connect(server.url, transports=[transport]).call("whoami") is None


@pytest.mark.parametrize("way", ["listen", "werkzeug"])
def test_the_python_client_and_the_node_client_reach_each_other(node: Driver, way: str) -> None:
    # Short pings: on polling, python-socketio's client now and then leaves without a word, when it
    # is told to while it still sends something else.
    with running(way, ping_interval=1, ping_timeout=12) as server:
        b = node.connect(server.url, transports=["websocket"], auth={"rooms": ["kitchen"]})
        for count, transport in enumerate(["websocket", "polling"], start=1):
            with socketio.SimpleClient() as a:
                auth = {"rooms": ["kitchen"]}
                a.connect(server.url, transports=[transport], auth=auth, wait_timeout=DEADLINE)
                gone = a.sid
                data = {"description": {"sdp": "v=0"}, "blob": transport.encode()}
                a.emit("#rtcio:message", {"source": a.sid, "target": b.id, "data": data})
                b.wait_for("#rtcio:message", count=count)
                assert b.relayed()[-1] == data
                b.relay(a.sid, data)
                name, envelope = a.receive(timeout=DEADLINE)
                assert (name, envelope) == ("#rtcio:message", b.envelope(a.sid, data))
                assert a.call("echo", "hello", timeout=DEADLINE) == "hello"
            assert b.wait_for("#rtcio:peer-left", count=count) == [{"id": gone}]
