"""Names of namespaces and rooms: one spelling everywhere, and what is none is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import socketio

from rtcio_sync import (
    Lobby,
    Namespace,
    OptionError,
    ParentNamespace,
    ProtocolError,
    Server,
    add_default_listeners,
)
from tests.clients import Polling
from tests.timing import until


@pytest.mark.parametrize("given", [3, "", [""], [None], [3], b"/a", {"/a": 1}, True, "/a,/b"])
def test_the_option_namespaces_refuses_what_it_cannot_read(given: Any) -> None:
    with pytest.raises(OptionError):
        Server(namespaces=given)


@pytest.mark.parametrize("given", ["/calls", "calls", ["calls"], ["/calls"]])
def test_a_part_of_an_accepted_name_is_not_accepted(given: Any) -> None:
    server = Server(namespaces=given)
    assert Polling(server).join("/calls")
    for other in ("/c", "/call", "/calls2"):
        assert server.test_client(namespace=other).error == {"message": "Invalid namespace"}


# -- every call that takes a namespace -------------------------------------------------------------


def test_handlers_are_registered_without_the_slash() -> None:
    server = Server()
    heard: list[Any] = []
    server.on("a", lambda sid: heard.append("a"), namespace="calls")

    @server.event(namespace="calls")
    def b(sid: str) -> None:
        heard.append("b")

    @server.on("connection", namespace="calls")
    def on_connection(socket: Any) -> None:
        heard.append(socket.namespace)

    client = server.test_client(namespace="/calls")
    for event in ("a", "b"):
        client.emit(event)
    assert heard == ["/calls", "a", "b"]
    assert set(server.handlers) == {"/calls"}


@pytest.mark.parametrize("base", [Namespace, socketio.Namespace])
def test_a_class_of_handlers_is_named_without_the_slash(base: Any) -> None:
    class Calls(base):  # type: ignore[misc]
        def on_ask(self, sid: str) -> Any:
            self.emit("told", 1, to=sid)
            self.enter_room(sid, "tea")
            with self.session(sid) as session:
                session["name"] = "ada"
            return [self.rooms(sid)[1:], self.get_session(sid)]

    server = Server()
    server.register_namespace(Calls("calls"))
    client = server.test_client(namespace="calls")
    assert client.call("ask") == [["tea"], {"name": "ada"}]
    assert client.received("told") == [1]


CALLS: dict[str, Callable[[Server, str], Any]] = {
    "emit": lambda server, sid: server.emit("a", 1, to=sid, namespace="calls"),
    "send": lambda server, sid: server.send(1, to=sid, namespace="calls"),
    "of": lambda server, sid: server.of("calls").emit("a", 1),
    "of, another": lambda server, sid: server.of("/").emit("a", 1, namespace="calls"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_is_sent_to_a_namespace_without_the_slash_arrives(call: Any) -> None:
    server = Server(namespaces=["calls"])
    client = server.test_client(namespace="calls")
    call(server, client.sid)
    assert len(client.received()) == 1


def test_rooms_and_sessions_are_found_without_the_slash() -> None:
    server = Server(namespaces=["calls"])
    sid = server.test_client(namespace="calls").sid
    assert sid is not None
    for room in ("tea", "milk"):
        server.enter_room(sid, room, namespace="calls")
    assert set(server.rooms(sid, namespace="calls")) == {sid, "tea", "milk"}
    assert set(server.of("calls").rooms(sid, namespace="calls")) == {sid, "tea", "milk"}
    server.leave_room(sid, "tea", namespace="calls")
    server.close_room("milk", namespace="calls")
    assert server.rooms(sid, namespace="/calls") == [sid]
    server.save_session(sid, {"name": "ada"}, namespace="calls")
    assert server.get_session(sid, namespace="/calls") == {"name": "ada"}
    with server.session(sid, namespace="calls") as session:
        session["seen"] = True
    assert server.get_session(sid, "calls") == {"name": "ada", "seen": True}
    assert server.transport(sid, namespace="calls") == "polling"
    assert server.get_environ(sid, namespace="calls")["HTTP_HOST"] == "localhost"
    server.disconnect(sid, namespace="calls")
    assert server.of("calls").sockets == {}


def test_a_client_is_asked_in_a_namespace_without_the_slash() -> None:
    server = Server(namespaces=["calls"])
    client = server.test_client(namespace="calls")

    def ask(sid: str) -> Any:
        return server.call("q", to=client.sid, namespace="calls", timeout=0.01)

    with pytest.raises(socketio.exceptions.TimeoutError):
        ask("")
    assert client.received("q") == [[]]


def test_limits_listeners_and_a_lobby_find_their_namespace_without_the_slash() -> None:
    server = Server()
    Lobby(server, namespace="calls")
    add_default_listeners(server, namespace="calls")
    assert "/calls" in server.relay.namespaces
    assert "calls" not in server.relay.namespaces
    plain = socketio.Server(async_mode="threading")
    add_default_listeners(plain, namespace="calls")
    assert plain.rtcio_listeners.namespaces == {"/calls"}


NAMED: dict[str, Callable[[Server, Any], Any]] = {
    "on": lambda server, name: server.on("a", print, namespace=name),
    "connection": lambda server, name: server.on("connection", print, namespace=name),
    "of": lambda server, name: server.of(name),
    "emit": lambda server, name: server.emit("a", namespace=name),
    "send": lambda server, name: server.send("a", namespace=name),
    "call": lambda server, name: server.call("a", to="x", namespace=name),
    "disconnect": lambda server, name: server.disconnect("x", namespace=name),
    "enter_room": lambda server, name: server.enter_room("x", "a", namespace=name),
    "leave_room": lambda server, name: server.leave_room("x", "a", namespace=name),
    "close_room": lambda server, name: server.close_room("a", namespace=name),
    "rooms": lambda server, name: server.rooms("x", namespace=name),
    "get_session": lambda server, name: server.get_session("x", namespace=name),
    "save_session": lambda server, name: server.save_session("x", {}, namespace=name),
    "test_client": lambda server, name: server.test_client(namespace=name),
    "Namespace": lambda server, name: Namespace(name),
    "register_namespace": lambda server, name: server.register_namespace(socketio.Namespace(name)),
    "add_default_listeners": lambda server, name: add_default_listeners(server, namespace=name),
    "Lobby": lambda server, name: Lobby(server, namespace=name),
}


@pytest.mark.parametrize(
    "name",
    [re.compile("/calls-.*"), lambda name: True, 3, ["/a"]],
    ids=["pattern", "function", "number", "list"],
)
@pytest.mark.parametrize("call", NAMED.values(), ids=NAMED)
def test_every_call_refuses_what_is_no_name(call: Any, name: Any) -> None:
    if call is NAMED["of"] and (isinstance(name, re.Pattern) or callable(name)):
        assert isinstance(call(Server(), name), ParentNamespace)
        return
    with pytest.raises(OptionError, match="a namespace is a string"):
        call(Server(), name)


@pytest.mark.parametrize("call", [NAMED[each] for each in ("of", "emit", "enter_room", "Lobby")])
def test_a_call_about_one_namespace_refuses_any(call: Any) -> None:
    with pytest.raises(OptionError, match=re.escape("server.on(event, namespace='*')")):
        call(Server(), "*")


# -- any namespace ---------------------------------------------------------------------------------


def test_handlers_of_any_namespace_get_its_name_first() -> None:
    server = Server(namespaces="*")
    heard: list[Any] = []
    server.on("connect", lambda name, sid, environ: heard.append(("connect", name)), namespace="*")
    server.on("a", lambda name, sid, data: heard.append((name, data)), namespace="*")
    server.on("*", lambda event, name, sid, data: heard.append((event, name, data)), namespace="*")
    server.on("disconnect", lambda name, sid, reason: heard.append((name, reason)), namespace="*")
    server.on("a", lambda sid, data: heard.append(("own", data)), namespace="/own")
    client, own = server.test_client(namespace="/x"), server.test_client(namespace="own")
    client.emit("a", 1)
    client.emit("b", 2)
    own.emit("a", 3)
    client.disconnect()
    assert heard == [
        ("connect", "/x"),
        ("connect", "/own"),
        ("/x", 1),
        ("b", "/x", 2),
        ("own", 3),
        ("/x", "transport close"),
    ]


@pytest.mark.parametrize("base", [Namespace, socketio.Namespace])
def test_a_class_of_handlers_of_any_namespace_gets_its_name_first(base: Any) -> None:
    heard: list[Any] = []

    class Any_(base):  # type: ignore[misc]
        def on_connect(self, namespace: str, sid: str, environ: Any) -> None:
            heard.append(("connect", namespace))

        def on_chat(self, namespace: str, sid: str, data: Any) -> Any:
            heard.append((namespace, data))
            return data

        def on_disconnect(self, namespace: str, sid: str, reason: str) -> None:
            heard.append((namespace, reason))

    server = Server(namespaces="*")
    server.register_namespace(Any_("*"))
    client = server.test_client(namespace="/x")
    assert client.call("chat", 1) == 1
    client.disconnect()
    assert heard == [("connect", "/x"), ("/x", 1), ("/x", "transport close")]


def test_the_connection_of_any_namespace_without_its_own_handler_is_greeted() -> None:
    server = Server(namespaces="*")
    heard: list[Any] = []
    server.on("connection", lambda socket: heard.append(socket.namespace), namespace="*")
    server.on("connection", lambda name, socket: heard.append((name, socket.id)), namespace="*")
    server.on("connection", lambda socket: heard.append("own"), namespace="/own")
    clients = [server.test_client(namespace=each) for each in ("/x", "/own", "/")]
    assert heard == ["/x", ("/x", clients[0].sid), "own", "/", ("/", clients[2].sid)]


def test_a_handler_of_any_namespace_does_not_open_any() -> None:
    server = Server()
    server.on("connection", lambda socket: None, namespace="*")
    server.on("a", lambda name, sid: None, namespace="*")
    for name in ("/x", "/*"):
        assert not server.test_client(namespace=name).connected
    assert server.test_client().connected


# -- rooms -----------------------------------------------------------------------------------------

NO_ROOMS = [["a", "b"], ("a", "b"), {"a"}, frozenset("a"), {"room": "a"}, None, bytearray(b"a")]


@pytest.mark.parametrize("room", NO_ROOMS, ids=repr)
@pytest.mark.parametrize("call", ["enter_room", "leave_room", "close_room"])
def test_what_is_no_room_is_refused_with_the_fix(call: str, room: Any) -> None:
    server = Server()
    sid = server.test_client().sid
    given = (room,) if call == "close_room" else (sid, room)
    with pytest.raises(OptionError, match="a room is one name"):
        getattr(server, call)(*given)


@pytest.mark.parametrize("idiom", ["server.on", "socket.on"])
@pytest.mark.parametrize("room", [{"room": "a"}, None], ids=repr)
def test_a_handler_that_joins_no_room_fails_as_an_apps_handler(
    caplog: pytest.LogCaptureFixture, idiom: str, room: Any
) -> None:
    server = Server()
    if idiom == "server.on":
        server.on("enter", lambda sid: server.enter_room(sid, room))
    else:
        server.on("connection", lambda socket: socket.on("enter", lambda: socket.join(room)))
    client = Polling(server).join()
    client.emit("enter", number=1)
    until(lambda: server.stats()["handler_errors"] == 1)
    assert server.stats()["dropped"] == {}
    (record,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert "a room is one name" in str(record.exc_info and record.exc_info[1])


def test_a_room_that_is_another_sockets_own_is_told_to_the_app_and_blamed_on_the_client() -> None:
    server = Server()
    told: list[Any] = []
    other = server.test_client()

    @server.on("enter")
    def enter(sid: str, room: str) -> None:
        try:
            server.enter_room(sid, room)
        except ProtocolError as error:
            told.append((error.reason, str(error)))
            raise

    client = Polling(server).join()
    client.emit("enter", other.sid)
    until(lambda: told)
    ((reason, message),) = told
    assert reason == "sid-room"
    assert "the sid of another socket" in message
    assert server.stats()["handler_errors"] == 0
    assert server.stats()["dropped"] == {"sid-room": 1}


def test_several_rooms_are_joined_in_one_call_on_the_socket() -> None:
    server = Server()
    seen: list[Any] = []

    @server.on("connection")
    def on_connection(socket: Any) -> None:
        socket.join(["a", "b"], "c")
        seen.append(set(socket.rooms) - {socket.id})
        socket.leave(["a"], "b")
        seen.append(set(socket.rooms) - {socket.id})

    server.test_client()
    assert seen == [{"a", "b", "c"}, {"c"}]
