"""The test client: what people test their own handlers with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest

from rtcio_sync import ConnectionRefusedError, RtcioError, Server, TestClient
from tests.timing import DEADLINE


def test_a_client_is_connected_when_it_is_there() -> None:
    server = Server()
    client = server.test_client()
    assert client.connected
    assert server.manager.is_connected(client.sid, "/")
    assert client.error is None


def test_everything_that_an_event_sets_off_has_happened() -> None:
    server = Server()
    done: list[str] = []

    @server.on("chat")
    def chat(sid: str) -> None:
        server.emit("said", 1, to=sid)
        done.append("handler")

    client = server.test_client()
    client.emit("chat")
    assert done == ["handler"]
    assert client.received() == [("said", [1])]


def test_handlers_that_run_beside_each_other_end_before_the_clients_call_does_too() -> None:
    server = Server(async_handlers=True)
    ran: list[int] = []
    server.on("note", lambda sid, number: ran.append(number))
    server.on("double", lambda sid, number: 2 * number)
    server.on("fail", lambda sid: {}["nothing"])
    client = server.test_client()
    client.emit("note", 1)
    assert ran == [1]
    assert client.call("double", 2) == 4
    with pytest.raises(KeyError, match="nothing"):
        client.emit("fail")


def test_what_was_received_is_taken_away() -> None:
    server = Server()
    client = server.test_client()
    for event, data in (("a", 1), ("b", ()), ("a", (1, 2)), ("a", None)):
        server.emit(event, data)
    assert client.received("a") == [1, [1, 2], []]
    assert client.received("a") == []
    assert client.received() == [("b", [])]
    assert client.received() == []


@pytest.mark.parametrize(
    ("answer", "got"), [(None, None), (1, 1), ((1, 2), (1, 2)), ([1], [1]), (b"\x00", b"\x00")]
)
def test_a_call_gives_the_acknowledgement(answer: Any, got: Any) -> None:
    server = Server()
    server.on("ask", lambda sid: answer)
    client = server.test_client()
    assert client.call("ask") == got
    answers: list[Any] = []
    client.emit("ask", callback=lambda *args: answers.append(args))
    assert answers == [got if isinstance(got, tuple) else (got,)]


def test_a_call_that_nobody_acknowledges_is_told() -> None:
    server = Server()
    server.on("fail", lambda sid: 1 / 0)
    client = server.test_client(raise_exceptions=False)
    for event in ("nobody", "fail"):
        with pytest.raises(RtcioError, match=event):
            client.call(event)


# -- what handlers raise ---------------------------------------------------------------------------


def fail(*args: Any) -> Any:
    raise LookupError("the app's own")


RAISING: dict[str, Callable[[Server, Any], Any]] = {
    "server.on": lambda server, client: client.emit("fail"),
    "server.on, asked": lambda server, client: client.call("fail"),
    "server.on, answered": lambda server, client: client.emit("fail", callback=print),
    "socket.on": lambda server, client: client.emit("fail too"),
    "catch-all": lambda server, client: client.emit("anything else"),
    "disconnect": lambda server, client: client.disconnect(),
    "disconnect by the server": lambda server, client: (
        server.disconnect(client.sid, namespace=client.namespace),
        client.received(),
    ),
    "callback": lambda server, client: (
        server.emit("q", to=client.sid, namespace=client.namespace, callback=fail),
        client.acknowledge("q"),
    ),
    "socket's callback": lambda server, client: (
        server.of(client.namespace).sockets[client.sid].emit("q", callback=fail),
        client.acknowledge("q"),
    ),
}


@pytest.mark.parametrize("recovery", [False, True])
@pytest.mark.parametrize("namespace", ["/", "/calls"])
@pytest.mark.parametrize("way", RAISING)
def test_what_a_handler_raises_is_raised_in_the_test(
    way: str, namespace: str, recovery: bool
) -> None:
    server = Server(connection_state_recovery=recovery)
    for event in ("fail", "disconnect", *(["*"] if way == "catch-all" else [])):
        server.on(event, fail, namespace=namespace)
    server.on("connection", lambda socket: socket.on("fail too", fail), namespace=namespace)
    client = server.test_client(namespace=namespace)
    with pytest.raises(LookupError, match="the app's own"):
        RAISING[way](server, client)
    assert server.stats()["handler_errors"] == 1


@pytest.mark.parametrize("kind", [gevent.Timeout, gevent.GreenletExit])
def test_what_is_no_exception_but_ends_a_handler_is_raised_too(kind: Any) -> None:
    def failing(sid: str) -> None:
        raise kind()

    server = Server()
    server.on("fail", failing)
    client = server.test_client()
    with pytest.raises(kind):
        client.emit("fail")


@pytest.mark.parametrize("where", ["connect", "connection", "use"])
def test_what_is_raised_while_connecting_is_raised_by_the_client(where: str) -> None:
    server = Server()
    server.use(fail) if where == "use" else server.on(where, fail)
    with pytest.raises(LookupError, match="the app's own"):
        server.test_client()
    quiet = server.test_client(raise_exceptions=False)
    assert quiet.connected == (where == "connection")


@pytest.mark.parametrize("where", ["connect", "use"])
def test_a_refusal_is_raised_by_nobody(where: str) -> None:
    def refuse(*args: Any) -> None:
        raise ConnectionRefusedError("not you", {"code": 3})

    server = Server()
    server.use(refuse) if where == "use" else server.on(where, refuse)
    client = server.test_client()
    assert client.error == {"message": "not you", "data": {"code": 3}}


def test_after_an_exception_the_client_goes_on() -> None:
    server = Server()
    server.on("fail", fail)
    server.on("ask", lambda sid: "answer")
    client = server.test_client()
    with pytest.raises(LookupError):
        client.emit("fail")
    assert client.call("ask") == "answer"


def test_what_a_clients_handler_raises_is_not_raised_by_another_client() -> None:
    server = Server()
    server.on("fail", fail)
    quiet, other = server.test_client(raise_exceptions=False), server.test_client()
    quiet.emit("fail")
    assert other.received() == []


def test_the_servers_questions_are_answered_in_their_order_and_at_once() -> None:
    server = Server()
    client = server.test_client()
    answers: list[Any] = []
    for number in range(2):
        server.emit(
            "q",
            number,
            to=client.sid,
            callback=lambda *a, number=number: answers.append((number, a)),
        )
    client.acknowledge("q", "first")
    client.acknowledge("q", "second", 2)
    assert answers == [(0, ("first",)), (1, ("second", 2))]
    with pytest.raises(RtcioError, match="does not wait for an acknowledgement of 'q'"):
        client.acknowledge("q")


def test_the_servers_call_is_answered_from_another_greenlet() -> None:
    server = Server()
    client = server.test_client()
    asking = gevent.spawn(server.call, "q", to=client.sid, timeout=DEADLINE)
    gevent.sleep(0)
    client.acknowledge("q", 42)
    assert asking.get(timeout=DEADLINE) == 42


def test_bytes_travel_both_ways() -> None:
    server = Server()
    server.on("echo", lambda sid, *args: args)
    client = server.test_client()
    assert client.call("echo", b"\x00\xff", {"a": [b"x"]}) == (b"\x00\xff", {"a": [b"x"]})


def test_what_the_client_says_when_it_connects_is_there() -> None:
    server = Server()
    seen: list[Any] = []
    server.on("connection", lambda socket: seen.append(socket.handshake))
    server.test_client(auth={"token": 1}, headers={"X-Tea": "green"}, query={"room": "a b"})
    (handshake,) = seen
    assert handshake.auth == {"token": 1}
    assert handshake.headers["x-tea"] == "green"
    assert handshake.query["room"] == "a b"
    assert handshake.address == "127.0.0.1"


def test_a_parameter_may_have_several_values() -> None:
    server = Server()
    seen: list[Any] = []
    server.on("connection", lambda socket: seen.append(socket.request.args.getlist("room")))
    server.test_client(query={"room": ["tea", "a b"], "page": 2})
    assert seen == [["tea", "a b"]]


def test_a_refused_client_has_the_error_and_may_try_again_on_its_connection() -> None:
    server = Server()
    refuse = [True]

    @server.use
    def use(socket: Any) -> None:
        if refuse.pop():
            raise ConnectionRefusedError("full", {"seats": 4})

    client = server.test_client()
    assert not client.connected
    assert client.sid is None
    assert client.error == {"message": "full", "data": {"seats": 4}}
    with pytest.raises(RtcioError, match="not connected"):
        client.emit("chat")
    refuse.append(False)
    client.connect()
    assert client.connected
    assert client.error is None
    assert server.stats()["connections"] == 1


ENDS: dict[str, Callable[[Server, TestClient], Any]] = {
    "client.disconnect": lambda server, client: client.disconnect(),
    "server.disconnect": lambda server, client: server.disconnect(client.sid or ""),
    "socket.disconnect(True)": lambda server, client: server.sockets[client.sid or ""].disconnect(
        True
    ),
    "the server stops": lambda server, client: server.eio.close_all(),
    "a packet that cannot be read": lambda server, client: client._link.receive(b"4x", False),  # type: ignore[union-attr]
}


@pytest.mark.parametrize("end", ENDS)
def test_a_client_that_is_gone_knows_it_and_may_come_back(end: str) -> None:
    server = Server()
    left: list[str] = []
    server.on("disconnect", lambda sid: left.append(sid))
    client = server.test_client()
    sid = client.sid
    ENDS[end](server, client)
    assert not client.connected
    assert client.sid is None
    assert left == [sid]
    with pytest.raises(RtcioError):
        client.emit("chat")
    client.connect()
    assert client.connected
    assert client.sid != sid


def test_connecting_twice_is_once() -> None:
    server = Server()
    client = server.test_client()
    sid = client.sid
    client.connect()
    assert client.sid == sid
    assert server.stats()["connects"] == 1


def test_a_client_hears_its_own_namespace_alone() -> None:
    server = Server()
    server.of("/calls")
    client = server.test_client(namespace="/calls")
    server.emit("news", 1)
    server.emit("news", 2, namespace="/calls")
    assert client.received("news") == [2]


def test_a_handler_that_emits_as_its_own_client_waits_for_its_end() -> None:
    # As over a network: an event that a handler sets off comes after it.
    server = Server()
    order: list[str] = []

    @server.on("first")
    def first(sid: str) -> None:
        client.emit("second")
        order.append("first")

    server.on("second", lambda sid: order.append("second"))
    client = server.test_client()
    client.emit("first")
    assert order == ["first", "second"]


def test_a_client_that_leaves_in_its_own_connect_handler_leaves_nothing() -> None:
    server = Server()
    clients: list[TestClient] = []

    class Leaving(TestClient):
        def connect(self) -> None:
            clients.append(self)
            super().connect()

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        clients[0].disconnect()

    client = Leaving(server)
    assert not client.connected
    assert server.manager.rooms == {}
    assert server.stats()["connected"] == 0


def test_two_clients_relay_and_hear_that_one_left() -> None:
    server = Server()
    a, b = server.test_client(), server.test_client()
    for client in (a, b):
        server.enter_room(client.sid, "tea")
    envelope = {"source": a.sid, "target": b.sid, "data": 1}
    left = {"id": a.sid}
    a.emit("#rtcio:message", envelope)
    a.disconnect()
    assert b.received() == [("#rtcio:message", [envelope]), ("#rtcio:peer-left", [left])]


def test_no_greenlet_is_needed_and_none_is_left() -> None:
    server = Server()
    server.on("chat", lambda sid: "answer")
    before = server.eio.heartbeat._running
    client = server.test_client()
    client.call("chat")
    client.disconnect()
    assert server.eio.heartbeat._running is before is False
