"""Socket, Namespace and BroadcastOperator: Socket.IO's server API as Node's users know it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import pytest
import socketio
from gevent.event import Event

from rtcio_sync import (
    BroadcastOperator,
    DisconnectedError,
    Handshake,
    Namespace,
    OptionError,
    Server,
    Socket,
    TestClient,
)
from rtcio_sync.events import RESERVED_EVENTS
from tests.clients import Polling, WebSocket
from tests.timing import DEADLINE, until


def several(number: int = 4, **options: Any) -> tuple[Server, list[TestClient], list[Socket]]:
    """A server, its clients and their sockets: rooms ``0``, ``0 1``, ``1`` and none."""
    server = Server(**options)
    clients = [server.test_client() for _ in range(number)]
    sockets = [server.sockets[client.sid] for client in clients if client.sid]
    for number, rooms in enumerate((["0"], ["0", "1"], ["1"])):
        sockets[number].join(*rooms)
    return server, clients, sockets


def hearing(clients: list[TestClient], emit: Callable[[], Any]) -> list[int]:
    """Which clients hear what ``emit`` sends, each exactly once."""
    for client in clients:
        client.received()
    emit()
    counts = [len(client.received("news")) for client in clients]
    assert set(counts) <= {0, 1}, "heard twice"
    return [number for number, count in enumerate(counts) if count]


# -- whom a broadcast reaches ----------------------------------------------------------------------

#: Sockets 0 and 1 are in room "0", 1 and 2 in room "1", 3 in none.
REACHES: dict[str, tuple[Callable[[Server, list[Socket]], BroadcastOperator], list[int]]] = {
    "server.to": (lambda server, s: server.to("0"), [0, 1]),
    "server.in_": (lambda server, s: server.in_("0"), [0, 1]),
    "two rooms": (lambda server, s: server.to("0", "1"), [0, 1, 2]),
    "two rooms, chained": (lambda server, s: server.to("0").to("1"), [0, 1, 2]),
    "two rooms in a list": (lambda server, s: server.to(["0", "1"]), [0, 1, 2]),
    "a room and a sid": (lambda server, s: server.to("0", s[3].id), [0, 1, 3]),
    "a room and a sid in it": (lambda server, s: server.to("0", s[0].id), [0, 1]),
    "an empty room": (lambda server, s: server.to("nobody"), []),
    "server.except_": (lambda server, s: server.except_("0"), [2, 3]),
    "all but a sid": (lambda server, s: server.except_(s[1].id), [0, 2, 3]),
    "a room less another": (lambda server, s: server.to("0").except_("1"), [0]),
    "less another, the other way": (lambda server, s: server.except_("1").to("0"), [0]),
    "all but several": (lambda server, s: server.except_(["0"], s[3].id), [2]),
    "socket.to": (lambda server, s: s[1].to("0"), [0]),
    "socket.in_": (lambda server, s: s[1].in_("0", "1"), [0, 2]),
    "socket.to a room it is not in": (lambda server, s: s[3].to("0"), [0, 1]),
    "socket.except_": (lambda server, s: s[0].except_("1"), [3]),
    "socket.broadcast": (lambda server, s: s[0].broadcast, [1, 2, 3]),
    "socket.broadcast.to": (lambda server, s: s[0].broadcast.to("0"), [1]),
    "namespace.to": (lambda server, s: server.of("/").to("1"), [1, 2]),
    "namespace.in_": (lambda server, s: server.of("/").in_("1"), [1, 2]),
    "namespace.except_": (lambda server, s: server.of("/").except_("1"), [0, 3]),
    "another namespace": (lambda server, s: server.of("/calls").to("0"), []),
}


@pytest.mark.parametrize("reach", REACHES)
def test_a_broadcast_reaches(reach: str) -> None:
    operator, heard = REACHES[reach]
    server, clients, sockets = several()
    assert hearing(clients, lambda: operator(server, sockets).emit("news")) == heard


@pytest.mark.parametrize("reach", REACHES)
def test_the_plural_verbs_act_on_whom_a_broadcast_reaches(reach: str) -> None:
    operator, heard = REACHES[reach]
    server, clients, sockets = several()
    found = operator(server, sockets).fetch_sockets()
    assert {sockets.index(each) for each in found} == set(heard)
    operator(server, sockets).sockets_join("new", ["newer"])
    inside = [number for number, each in enumerate(sockets) if {"new", "newer"} <= each.rooms]
    assert inside == heard
    operator(server, sockets).sockets_leave("new")
    assert not any("new" in each.rooms for each in sockets)
    operator(server, sockets).disconnect_sockets()
    assert [number for number, client in enumerate(clients) if not client.connected] == heard


def test_an_operator_is_never_changed() -> None:
    server, clients, _ = several()
    first = server.to("0")
    first.to("1")
    first.in_("1")
    first.except_("0")
    assert hearing(clients, lambda: first.emit("news")) == [0, 1]
    with pytest.raises(AttributeError):
        first.more = 1  # type: ignore[attr-defined]


def test_server_and_namespace_reach_all() -> None:
    server, clients, _ = several()
    assert hearing(clients, lambda: server.emit("news")) == [0, 1, 2, 3]
    assert hearing(clients, lambda: server.of("/").emit("news")) == [0, 1, 2, 3]
    assert {each.id for each in server.fetch_sockets()} == {client.sid for client in clients}
    server.sockets_join("all")
    assert all("all" in each.rooms for each in server.fetch_sockets())
    server.sockets_leave("all")
    assert "all" not in server.of("/").rooms
    server.disconnect_sockets()
    assert server.fetch_sockets() == []


@pytest.mark.parametrize(
    "args", [(), (1,), (1, "two"), (None,), ([1, 2],), ({"a": 1}, None), (b"x",)]
)
@pytest.mark.parametrize("way", ["operator", "namespace", "socket"])
def test_arguments_arrive_as_they_were_given(way: str, args: tuple[Any, ...]) -> None:
    server, (client,), (socket,) = several_of_one()
    emitters = {"operator": server.to(socket.id), "namespace": server.of("/"), "socket": socket}
    emitters[way].emit("news", *args)  # type: ignore[attr-defined]
    assert client.received() == [("news", list(args))]


def several_of_one() -> tuple[Server, list[TestClient], list[Socket]]:
    server = Server()
    client = server.test_client()
    return server, [client], list(server.sockets.values())


@pytest.mark.parametrize("name", [*sorted(RESERVED_EVENTS), 7, None])
def test_a_reserved_name_is_never_emitted(name: Any) -> None:
    server, _, (socket,) = several_of_one()
    for emitter in (socket, socket.broadcast, server.to("0"), server.of("/")):
        with pytest.raises(OptionError):
            emitter.emit(name)  # type: ignore[attr-defined]
    with pytest.raises(OptionError):
        socket.call(name)


# -- a socket --------------------------------------------------------------------------------------


def test_a_socket_knows_its_rooms() -> None:
    _, (client,), (socket,) = several_of_one()
    assert socket.rooms == {client.sid}
    socket.join("tea", ["coffee", "cake"])
    socket.leave(["cake"], "nowhere")
    assert socket.rooms == {client.sid, "tea", "coffee"}
    socket.join("tea")
    assert len(socket.rooms) == 3


def test_a_socket_that_has_left_joins_nothing() -> None:
    server, (client,), (socket,) = several_of_one()
    client.disconnect()
    socket.join("tea")
    socket.leave("tea")
    socket.emit("news")
    socket.disconnect()
    assert socket.rooms == set()
    assert not socket.connected
    assert not server.manager.rooms


def test_a_room_that_is_another_socket_is_refused() -> None:
    _server, _clients, sockets = several()
    with pytest.raises(ValueError):
        sockets[0].join(sockets[1].id)


def test_a_socket_is_one_object_wherever_it_is_met() -> None:
    server = Server()
    met: list[Socket] = []
    server.use(met.append)
    server.on("connection", met.append)
    client = server.test_client()
    met += server.fetch_sockets()
    met.append(server.of("/").sockets[client.sid or ""])
    assert len({id(each) for each in met}) == 1
    assert met[0].id == client.sid
    assert met[0].namespace == "/"
    assert not met[0].recovered


def test_the_apps_own_data_stays_with_the_socket() -> None:
    server = Server()

    @server.on("connection")
    def connection(socket: Socket) -> None:
        socket.data["name"] = "ann"
        socket.on("name", lambda: socket.data["name"])

    client = server.test_client()
    assert client.call("name") == "ann"
    assert server.fetch_sockets()[0].data == {"name": "ann"}


def test_a_handshake_tells_what_the_client_said() -> None:
    server = Server()
    found: list[Handshake] = []
    server.on("connection", lambda socket: found.append(socket.handshake))
    client = Polling(server, headers={"X-Tea": "green"}, query={"room": "a b", "empty": ""})
    client.join(auth={"token": "secret"})
    until(lambda: found)
    (handshake,) = found
    assert handshake.auth == {"token": "secret"}
    assert handshake.headers["x-tea"] == "green"
    assert handshake.headers["host"] == "localhost"
    assert (handshake.query["room"], handshake.query["empty"]) == ("a b", "")
    assert handshake.query["transport"] == "polling"
    assert handshake.address == "192.0.2.7"
    assert handshake.environ["PATH_INFO"] == "/socket.io/"
    assert not [key for key in handshake.environ if key in ("wsgi.input", "werkzeug.socket")]


def test_a_handshake_without_auth_has_an_empty_one() -> None:
    assert Handshake({}, None).auth == {}
    _, _, (socket,) = several_of_one()
    assert socket.handshake.auth == {}


def test_a_handshake_is_there_without_any_connection_handler() -> None:
    server = Server()
    server.test_client(auth={"token": "secret"}, headers={"X-Tea": "green"})
    (socket,) = server.fetch_sockets()
    assert socket.handshake.auth == {"token": "secret"}
    assert socket.handshake.headers["x-tea"] == "green"


def test_the_last_of_several_query_parameters_counts() -> None:
    handshake = Handshake({"QUERY_STRING": "a=1&a=2&b=%C3%A9"}, None)
    assert handshake.query == {"a": "2", "b": "é"}


def test_content_headers_are_headers_too() -> None:
    environ = {"CONTENT_TYPE": "text/plain", "CONTENT_LENGTH": "", "HTTP_ACCEPT_LANGUAGE": "de"}
    headers = Handshake(environ, None).headers
    assert headers == {"content-type": "text/plain", "accept-language": "de"}


def test_a_namespace_may_be_left_alone_or_with_the_connection() -> None:
    server = Server()
    server.of("/calls")
    client = Polling(server).join().join("/calls")
    calls = server.of("/calls").sockets[client.sids["/calls"]]
    calls.disconnect()
    assert client.next() == "1/calls,"
    assert client.events() == []
    server.sockets[client.sid].disconnect(True)
    until(lambda: client.link is None or client.link.closed)


# -- handlers --------------------------------------------------------------------------------------


def with_socket(register: Callable[[Socket], Any]) -> tuple[Server, TestClient]:
    server = Server()
    server.on("connection", register)
    return server, server.test_client()


def test_handlers_of_one_event_run_in_the_order_of_their_registration() -> None:
    order: list[int] = []

    def register(socket: Socket) -> None:
        for number in range(3):
            socket.on("chat", lambda number=number: order.append(number))

    _, client = with_socket(register)
    client.emit("chat")
    assert order == [0, 1, 2]


@pytest.mark.parametrize(
    ("answers", "acknowledged"),
    [([None, 1, 2], 1), ([0, 1], 0), ([None, None], None), ([(1, 2)], (1, 2)), ([[1]], [1])],
)
def test_the_first_answer_that_is_not_none_is_the_acknowledgement(
    answers: list[Any], acknowledged: Any
) -> None:
    def register(socket: Socket) -> None:
        for answer in answers:
            socket.on("ask", lambda answer=answer: answer)

    _, client = with_socket(register)
    assert client.call("ask") == acknowledged


def test_a_handler_that_raises_does_not_keep_the_others() -> None:
    def register(socket: Socket) -> None:
        socket.on("ask", lambda: 1 / 0)
        socket.on("ask", lambda: "answer")

    server = Server()
    server.on("connection", register)
    client = server.test_client(raise_exceptions=False)
    assert client.call("ask") == "answer"
    assert server.stats()["handler_errors"] == 1


def test_once_is_once() -> None:
    heard: list[int] = []

    def register(socket: Socket) -> None:
        socket.once("chat", heard.append)
        socket.on("chat", lambda number: None)

    _, client = with_socket(register)
    client.emit("chat", 1)
    client.emit("chat", 2)
    assert heard == [1]


def test_once_that_emits_to_itself_is_once() -> None:
    heard: list[int] = []
    server = Server()

    @server.on("connection")
    def connection(socket: Socket) -> None:
        def handler(number: int) -> None:
            heard.append(number)
            if number < 3:
                client.emit("chat", number + 1)

        socket.once("chat", handler)

    client = server.test_client()
    client.emit("chat", 1)
    assert heard == [1]


class Chat:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_chat(self, text: str) -> None:
        self.heard.append(text)


def test_off_takes_away_one_handler_or_all() -> None:
    heard: list[str] = []
    chat = Chat()
    server, client = with_socket(lambda socket: None)
    (socket,) = server.fetch_sockets()
    first = socket.on("chat", lambda text: heard.append("first"))
    socket.on("chat", lambda text: heard.append("second"))
    socket.on("chat", chat.on_chat)
    socket.off("chat", first)
    socket.off("chat", chat.on_chat)
    client.emit("chat", "one")
    assert heard == ["second"]
    assert chat.heard == []
    socket.off("chat")
    socket.off("never registered")
    client.emit("chat", "two")
    assert heard == ["second"]


def test_on_any_sees_every_event_before_its_handlers_and_answers_none() -> None:
    order: list[Any] = []

    def register(socket: Socket) -> None:
        socket.on("chat", lambda *args: order.append(("chat", *args)) or "answer")
        socket.on_any(lambda *args: order.append(("any", *args)) or "any's answer")

    _, client = with_socket(register)
    assert client.call("chat", 1) == "answer"
    client.emit("unheard of", 2)
    assert order == [("any", "chat", 1), ("chat", 1), ("any", "unheard of", 2)]


def test_a_middleware_sees_each_event_first_and_drops_one_by_raising() -> None:
    order: list[Any] = []

    def register(socket: Socket) -> None:
        socket.on("chat", lambda *args: order.append(("chat", *args)) or "answer")

        @socket.use
        def use(event: str, args: list[Any]) -> None:
            order.append(("use", event, list(args)))
            args.clear()
            if event == "secret":
                raise PermissionError

        socket.use(lambda event, args: order.append(("second", event)))

    server, client = with_socket(register)
    server.on("secret", lambda sid: order.append("never"))
    assert client.call("chat", 1) == "answer"
    client.emit("secret")
    # What it changed in the arguments is what the handlers get.
    assert order == [("use", "chat", [1]), ("second", "chat"), ("chat",), ("use", "secret", [])]
    assert server.stats()["dropped"] == {"middleware": 1}
    assert server.stats()["handler_errors"] == 0


def test_disconnecting_still_has_the_rooms_and_disconnect_a_reason() -> None:
    told: list[Any] = []

    def register(socket: Socket) -> None:
        socket.join("tea")
        socket.on("disconnecting", lambda reason: told.append((reason, "tea" in socket.rooms)))
        socket.on("disconnect", lambda reason: told.append((reason, socket.connected)))

    _, client = with_socket(register)
    client.disconnect()
    assert told == [("transport close", True), ("transport close", False)]


# -- both idioms on one event ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("servers", "sockets", "acknowledged"),
    [
        ("server's", "socket's", "server's"),
        (None, "socket's", "socket's"),
        ("server's", None, "server's"),
        (0, "socket's", 0),
        (None, None, None),
    ],
)
def test_both_idioms_run_the_servers_first(servers: Any, sockets: Any, acknowledged: Any) -> None:
    order: list[Any] = []
    server = Server()

    @server.on("connection")
    def connection(socket: Socket) -> None:
        @socket.on("ask")
        def ask(number: int) -> Any:
            order.append(("socket", number))
            return sockets

    @server.on("ask")
    def ask(sid: str, number: int) -> Any:
        order.append(("server", sid, number))
        return servers

    client = server.test_client()
    assert client.call("ask", 7) == acknowledged
    assert order == [("server", client.sid, 7), ("socket", 7)]


@pytest.mark.parametrize("raising", ["server", "socket"])
def test_one_idiom_that_raises_does_not_keep_the_other(raising: str) -> None:
    server = Server()
    server.on("ask", lambda sid: 1 / 0 if raising == "server" else "server's")

    @server.on("connection")
    def connection(socket: Socket) -> None:
        socket.on("ask", lambda: 1 / 0 if raising == "socket" else "socket's")

    client = server.test_client(raise_exceptions=False)
    assert client.call("ask") == ("socket's" if raising == "server" else "server's")


# -- acknowledgements ------------------------------------------------------------------------------


def test_a_callback_gets_what_it_declares_of_the_answer() -> None:
    _, (client,), (socket,) = several_of_one()
    results: list[Any] = []
    socket.emit("q", callback=lambda *answer: results.append(answer))
    socket.emit("q", callback=lambda one: results.append(one))
    socket.emit("q", callback=lambda: results.append("nothing"))
    socket.emit("q", callback=lambda one, two, three: results.append((one, two, three)))
    for _ in range(4):
        client.acknowledge("q", 1, 2)
    until(lambda: len(results) == 4)
    assert results == [(1, 2), 1, "nothing", (1, 2, None)]


@pytest.mark.parametrize("way", ["emit", "send", "class"])
def test_a_callback_of_python_socketios_api_does_so_too(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, (client,), _ = several_of_one()
    space = Namespace("/")
    server.register_namespace(space)
    emit = {
        "emit": partial(server.emit, "q"),
        "send": server.send,
        "class": partial(space.emit, "q"),
    }
    results: list[Any] = []
    callbacks: list[Any] = [
        lambda *answer: results.append(answer),
        lambda one: results.append(one),
        lambda: results.append("nothing"),
        lambda one, two, three: results.append((one, two, three)),
    ]
    for callback in callbacks:
        emit[way](7, to=client.sid, callback=callback)
        client.acknowledge("message" if way == "send" else "q", 1, 2)
    until(lambda: len(results) == 4)
    assert results == [(1, 2), 1, "nothing", (1, 2, None)]
    assert server.stats()["handler_errors"] == 0 and not caplog.records


def test_what_cannot_be_a_callback_is_refused_at_once() -> None:
    _, _, (socket,) = several_of_one()
    with pytest.raises(TypeError):
        socket.emit("q", callback=7)  # type: ignore[arg-type]


def test_a_call_waits_for_its_answer_and_no_longer_than_it_may() -> None:
    server = Server()
    client = Polling(server).join()
    socket = server.sockets[client.sid]
    asking = gevent.spawn(socket.call, "q", 1, 2, timeout=DEADLINE)
    asked = client.next()
    assert asked.endswith('["q",1,2]')
    client.send(f"3{asked[1 : asked.index('[')]}[42]")
    assert asking.get(timeout=DEADLINE) == 42
    with pytest.raises(socketio.exceptions.TimeoutError):
        socket.call("q", timeout=0.01)


def test_a_socket_may_be_called_inside_its_own_handler() -> None:
    server = Server()
    answers: list[Any] = []

    @server.on("connection")
    def connection(socket: Socket) -> None:
        socket.on("ask me", lambda: answers.append(socket.call("q", timeout=DEADLINE)))

    client = Polling(server).join()
    client.emit("ask me")
    asked = client.next()
    client.send(f"3{asked[1 : asked.index('[')]}[42]")
    until(lambda: answers)
    assert answers == [42]


def test_send_is_an_event_named_message() -> None:
    _, (client,), (socket,) = several_of_one()
    socket.send("hello", 1)
    assert client.received() == [("message", ["hello", 1])]


def test_a_message_may_be_acknowledged() -> None:
    server = Server()
    client = Polling(server).join()
    socket = server.sockets[client.sid]
    answers: list[Any] = []
    for sender in (socket, socket.timeout(DEADLINE)):
        sender.send("hello", callback=lambda *answer: answers.append(answer[-1]))
        asked = client.next()
        assert asked.endswith('["message","hello"]')
        client.send(f"3{asked[1 : asked.index('[')]}[42]")
    until(lambda: len(answers) == 2)
    assert answers == [42, 42]


def test_a_message_to_a_namespace_has_one_argument() -> None:
    """A second one is data in Node, and in python-socketio the room that alone gets the event."""
    server = Server()
    a, b = server.test_client(), server.test_client()
    for space in (server.of("/"), server.sockets):
        with pytest.raises(OptionError, match="to=room"):
            space.send("hello", "tea")
    for sent, got in ((("x", "y"), ["x", "y"]), (["x"], [["x"]]), (None, [])):
        server.of("/").send(sent)
        assert a.received() == b.received() == [("message", got)]
    server.of("/").send("hello", to=a.sid)
    server.of("/").send(data="all others", skip_sid=a.sid)
    assert a.received() == [("message", ["hello"])]
    assert b.received() == [("message", ["all others"])]


# -- namespaces ------------------------------------------------------------------------------------


def test_a_namespace_is_the_same_however_it_is_spelt() -> None:
    server = Server()
    assert server.of("/calls") is server.of("calls") is server.of("/calls")
    assert server.of("calls").name == "/calls"


@pytest.mark.parametrize("event", ["chat", "disconnect", "disconnecting"])
def test_a_namespace_has_no_events_but_connection(event: str) -> None:
    with pytest.raises(OptionError, match=r"server\.on"):
        Server().of("/calls").on(event)


def test_a_namespace_hears_its_own_connections_alone() -> None:
    server = Server()
    met: list[str] = []
    server.of("/calls").on("connection", lambda socket: met.append(socket.namespace))
    server.on("connection", lambda socket: met.append(socket.namespace), namespace="/other")
    server.test_client()
    server.test_client(namespace="/calls")
    server.test_client(namespace="/other")
    assert met == ["/calls", "/other"]


def test_the_rooms_of_a_namespace_are_a_mapping_and_python_socketios_method() -> None:
    server, clients, _sockets = several()
    a, b, c, d = (client.sid for client in clients)
    rooms = server.of("/").rooms
    assert {room: sids for room, sids in rooms.items() if room in ("0", "1")} == {
        "0": {a, b},
        "1": {b, c},
    }
    assert rooms[a] == {a}
    assert set(rooms) == {"0", "1", a, b, c, d}
    assert len(rooms) == 6
    assert "nowhere" not in rooms
    assert None not in rooms
    with pytest.raises(KeyError):
        rooms["nowhere"]
    assert set(rooms(b)) == set(server.rooms(b)) == {b, "0", "1"}


def test_the_sockets_of_a_namespace_are_those_that_are_connected() -> None:
    server, clients, sockets = several()
    clients[0].disconnect()
    assert server.of("/").sockets == {each.id: each for each in sockets[1:]}
    assert server.sockets == server.of("/").sockets
    assert server.of("/calls").sockets == {}


def test_a_socket_that_is_still_being_asked_is_not_fetched() -> None:
    server = Server()
    entered, release = Event(), Event()

    @server.use
    def use(socket: Socket) -> None:
        entered.set()
        release.wait(DEADLINE)

    client = Polling(server)
    client.ask_to_join()
    assert entered.wait(DEADLINE)
    assert server.fetch_sockets() == []
    release.set()
    client.joined()
    assert len(server.fetch_sockets()) == 1


@pytest.mark.parametrize(
    "options", [{"to": "0"}, {"room": "0"}, {"to": "0", "namespace": "/"}, {"skip_sid": "1"}]
)
def test_a_namespace_emits_as_python_socketios_does(options: dict[str, Any]) -> None:
    server, clients, _ = several()
    expected = [0, 3] if "skip_sid" in options else [0, 1]
    assert hearing(clients, lambda: server.of("/").emit("news", 1, **options)) == expected
    assert hearing(clients, lambda: server.of("/").emit("news", data=1, **options)) == expected


def test_a_namespace_waits_for_an_answer_as_long_as_its_server_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """python-socketio's waits for ever, and so does the handler of who never answers."""
    server = Server()
    seconds: list[Any] = []
    monkeypatch.setattr(server, "call", lambda *_, **given: seconds.append(given["timeout"]))
    server.of("/").call("question", to="sid")
    server.of("/").call("question", to="sid", timeout=1)
    server.of("/").call("question", to="sid", timeout=None)
    assert seconds == [60, 1, None]


# -- class-based namespaces ------------------------------------------------------------------------


@pytest.mark.parametrize("base", [socketio.Namespace, Namespace])
def test_a_class_of_handlers_keeps_working(base: Any) -> None:
    log: list[Any] = []

    class Calls(base):  # type: ignore[misc]
        def on_connect(self, sid: str, environ: Any) -> None:
            log.append("connect")
            self.enter_room(sid, "tea")
            self.save_session(sid, {"name": "ann"})

        def on_disconnect(self, sid: str) -> None:
            log.append(("disconnect", self.get_session(sid)))

        def on_chat(self, sid: str, text: str) -> Any:
            self.emit("said", text, room="tea")
            self.emit("two", (1, 2), to=sid)
            return self.rooms(sid)

    server = Server()
    server.register_namespace(Calls("/calls"))
    client = server.test_client(namespace="/calls")
    assert client.call("chat", "hello", "surplus") == [client.sid, "tea"]
    assert client.received() == [("said", ["hello"]), ("two", [1, 2])]
    client.disconnect()
    assert log == ["connect", ("disconnect", {"name": "ann"})]


@pytest.mark.parametrize("base", [socketio.Namespace, Namespace])
def test_a_class_may_route_its_events_itself(base: Any) -> None:
    log: list[Any] = []

    class Calls(base):  # type: ignore[misc]
        def trigger_event(self, event: str, *args: Any) -> Any:
            log.append((event, len(args)))
            return "answer" if event == "chat" else None

    server = Server()
    server.register_namespace(Calls("/calls"))
    client = server.test_client(namespace="/calls")
    assert client.call("chat", 1) == "answer"
    client.disconnect()
    assert log == [("connect", 3), ("chat", 2), ("disconnecting", 2), ("disconnect", 2)]


def test_our_class_has_both_idioms() -> None:
    class Calls(Namespace):
        def on_chat(self, sid: str, text: str) -> str:
            return f"class: {text}"

    server = Server()
    calls = Calls("/calls")
    server.register_namespace(calls)
    assert server.of("/calls") is calls
    met: list[Socket] = []

    @calls.on("connection")
    def connection(socket: Socket) -> None:
        met.append(socket)
        socket.on("chat", lambda text: "socket")

    client = server.test_client(namespace="/calls")
    assert client.call("chat", "hello") == "class: hello"
    assert calls.sockets == {client.sid: met[0]}


@pytest.mark.parametrize("times", [1, 2])
def test_a_class_takes_no_connection_handlers_away(times: int) -> None:
    server = Server()
    met: list[str] = []
    before = server.of("/calls")
    before.use(lambda socket: met.append("use"))
    before.on("connection", lambda socket: met.append("before"))
    calls = type("Calls", (Namespace,), {})("/calls")
    for _ in range(times):
        server.register_namespace(calls)
    calls.on("connection", lambda socket: met.append("after"))
    before.on("connection", lambda socket: met.append("on the old one"))
    server.test_client(namespace="/calls")
    assert met == ["use", "before", "after", "on the old one"]


def test_a_catch_all_handler_gets_the_events_name() -> None:
    server = Server()
    log: list[Any] = []
    server.on("*", lambda event, sid, *args: log.append((event, *args)) or "answer")
    client = server.test_client()
    assert client.call("chat", 1) == "answer"
    client.disconnect()
    assert log == [("chat", 1)]


def test_what_is_no_namespace_is_refused() -> None:
    with pytest.raises(ValueError):
        Server().register_namespace(object())


def test_a_call_fails_at_once_if_its_client_leaves_while_handlers_see_the_question() -> None:
    server = Server()
    entered, release = Event(), Event()

    @server.on("connection")
    def connection(socket: Socket) -> None:
        @socket.on_any_outgoing
        def see(event: str) -> None:
            entered.set()
            assert release.wait(DEADLINE)

    client = WebSocket(server).join()
    sid = client.sid
    call = gevent.spawn(server.call, "question", to=sid, timeout=2 * DEADLINE)
    assert entered.wait(DEADLINE)
    client.close()
    until(lambda: server.manager.member(sid, "/") is None)
    release.set()
    with pytest.raises(DisconnectedError):
        call.get(timeout=DEADLINE)
    assert not server.manager.callbacks
