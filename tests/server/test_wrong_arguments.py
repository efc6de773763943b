"""Arguments of an invalid type: refused by the call itself, with the fix, on every public name."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import socketio

from rtcio_sync import (
    Emitter,
    Limits,
    Lobby,
    OptionError,
    RemoteSocket,
    Server,
    ice_servers,
    throttle,
    turn_credentials,
)
from rtcio_sync.cluster.messages import Described
from rtcio_sync.testing import TestClient

# -- names of events -------------------------------------------------------------------------------

#: For socket.io-client they are an error of the server: it closes its connection.
UNREADABLE = [
    None, True, {}, {"a": 1}, [], b"x", 7,
    "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener",
]  # fmt: skip


class Upstreams(socketio.Namespace):
    """python-socketio's class, whose `emit` and `call` are those of the server."""


@pytest.mark.parametrize("name", UNREADABLE, ids=repr)
def test_an_event_that_would_close_its_clients_is_not_sent(name: Any) -> None:
    server = Server()
    upstreams = Upstreams("/")
    server.register_namespace(upstreams)
    client = server.test_client()
    for send in (server.emit, upstreams.emit):
        with pytest.raises(OptionError, match="name"):
            send(name, {"a": 1})
    for ask in (server.call, upstreams.call):
        with pytest.raises(OptionError, match="name"):
            ask(name, to=client.sid, timeout=0.1)
    assert client.received() == []


@pytest.mark.parametrize("name", ["connection", "*", "message", ""])
def test_an_event_that_its_clients_can_read_is_sent(name: str) -> None:
    server = Server()
    client = server.test_client()
    server.emit(name, 1)
    assert client.received() == [(name, [1])]


# -- sids ------------------------------------------------------------------------------------------

WITH_A_SID: dict[str, Callable[[Server, Any], Any]] = {
    "enter_room": lambda server, sid: server.enter_room(sid, "tea"),
    "leave_room": lambda server, sid: server.leave_room(sid, "tea"),
    "rooms": lambda server, sid: server.rooms(sid),
    "transport": lambda server, sid: server.transport(sid),
    "get_environ": lambda server, sid: server.get_environ(sid),
    "get_session": lambda server, sid: server.get_session(sid),
    "save_session": lambda server, sid: server.save_session(sid, {}),
    "session": lambda server, sid: server.session(sid).__enter__(),
    "disconnect": lambda server, sid: server.disconnect(sid),
    "sockets.get": lambda server, sid: server.sockets.get(sid),
}


@pytest.mark.parametrize("sid", [[], ["a"], {"a": 1}, set()], ids=repr)
@pytest.mark.parametrize("call", WITH_A_SID)
def test_a_sid_that_is_none_is_named(call: str, sid: Any) -> None:
    with pytest.raises(OptionError, match=f"a sid is a string, not {type(sid).__name__}"):
        WITH_A_SID[call](Server(), sid)


@pytest.mark.parametrize("sid", [None, 7, b"a"], ids=repr)
@pytest.mark.parametrize("call", [each for each in WITH_A_SID if each != "sockets.get"])
def test_a_sid_that_is_no_text_is_named(call: str, sid: Any) -> None:
    with pytest.raises(OptionError, match=f"a sid is a string, not {type(sid).__name__}"):
        WITH_A_SID[call](Server(), sid)


#: Calls that take a sid or a room, with a `Socket` or a `RemoteSocket` instead.
WITH_A_SOCKET: dict[str, Callable[[Server, Any], Any]] = {
    **{name: call for name, call in WITH_A_SID.items() if name != "sockets.get"},
    "emit(to=)": lambda server, socket: server.emit("news", to=socket),
    "emit(to=[])": lambda server, socket: server.emit("news", to=[socket]),
    "emit(skip_sid=)": lambda server, socket: server.emit("news", skip_sid=socket),
    "call(to=)": lambda server, socket: server.call("news", to=socket, timeout=0.1),
    "to": lambda server, socket: server.to(socket),
    "in_": lambda server, socket: server.of("/").in_([socket]).disconnect_sockets(),
    "except_": lambda server, socket: server.except_(socket),
    "socket.to": lambda server, socket: next(iter(server.sockets.values())).to(socket),
    "socket.join": lambda server, socket: next(iter(server.sockets.values())).join(socket),
    "sockets_join": lambda server, socket: server.sockets_join(socket),
    "enter_room(room=)": lambda server, socket: server.enter_room(socket.id, socket),
    "close_room": lambda server, socket: server.close_room(socket),
}


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("call", WITH_A_SOCKET)
def test_a_socket_that_is_given_for_its_sid_is_refused_with_the_fix(
    call: str, remote: bool
) -> None:
    server = Server()
    client = server.test_client()
    assert client.sid
    described = Described(client.sid, [], {}, {}, None)
    socket = RemoteSocket(server, "/", described) if remote else server.sockets[client.sid]
    with pytest.raises(OptionError, match=r"write socket\.id"):
        WITH_A_SOCKET[call](server, socket)
    assert client.connected
    assert client.received() == []


#: Other objects that are easily given for a room or a sid, and the fix.
NO_ROOMS: dict[str, tuple[Callable[[Server, TestClient], Any], str]] = {
    "test client": (lambda server, client: client, r"write client\.sid"),
    "operator": (lambda server, client: server.to("tea"), "recipients already"),
    "emitter": (lambda server, client: server.sockets[client.sid].volatile, "recipients already"),
    "namespace": (lambda server, client: server.of("/"), r"write namespace\.emit"),
    "sockets": (lambda server, client: server.sockets, r"write namespace\.emit"),
}  # fmt: skip


@pytest.mark.parametrize("what", NO_ROOMS)
@pytest.mark.parametrize("call", [each for each in WITH_A_SOCKET if each != "enter_room(room=)"])
def test_another_object_that_is_given_for_a_room_is_refused_with_the_fix(
    call: str, what: str
) -> None:
    server = Server()
    client = server.test_client()
    make, fix = NO_ROOMS[what]
    with pytest.raises(OptionError, match=fix):
        WITH_A_SOCKET[call](server, make(server, client))
    assert client.connected
    assert client.received() == []
    assert set(server.of("/").rooms) == {client.sid}


# -- namespaces ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "emit",
    [
        lambda server: server.emit("news", 1, namespace="/clals"),
        lambda server: server.emit("news", 1, to="tea", namespace="clals"),
        lambda server: server.send("news", namespace="/clals"),
    ],
    ids=["emit", "to a room", "send"],
)
def test_an_event_for_a_namespace_that_no_client_can_join_is_warned_of(emit: Any) -> None:
    server = Server()
    server.of("/calls")
    with pytest.warns(UserWarning, match=r"no client can join .*server\.of\('/clals'\)") as caught:
        emit(server)
    (warning,) = caught
    assert warning.filename == __file__


def test_an_event_for_a_namespace_where_nobody_is_yet_is_not_warned_of() -> None:
    server = Server(namespaces=["/", "/option"])
    server.of("/space")
    server.on("chat", lambda sid: None, namespace="/handler")
    server.register_namespace(Upstreams("/class"))
    dynamic, any_name = Server(), Server(namespaces="*")
    dynamic.of(lambda name, auth: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("/", "/option", "/space", "/handler", "/class"):
            server.emit("news", namespace=name)
        dynamic.emit("news", namespace="/room-1")
        any_name.emit("news", namespace="/room-1")
        Server(client_manager=socketio.PubSubManager()).emit("news", namespace="/elsewhere")


# -- handlers --------------------------------------------------------------------------------------


@dataclasses.dataclass  # it has no hash
class Chat:
    heard: list[Any]

    def __call__(self, sid: str, data: Any = None) -> Any:
        self.heard.append(data)
        return data


def test_a_handler_without_a_hash_is_called() -> None:
    server = Server()
    first, second = Chat([]), Chat([])
    server.on("first", first)
    server.on("second", second)
    client = server.test_client()
    assert client.call("first", 1) == 1
    assert client.call("second", 2) == 2
    assert (first.heard, second.heard) == ([1], [2])


@pytest.mark.parametrize("handler", [[], {}, ["chat"], 3])
def test_a_handler_that_is_none_is_named(handler: Any) -> None:
    with pytest.raises(TypeError, match="a handler has to be callable, not"):
        Server().on("chat", handler)


def _chat(sid: str, data: Any) -> str:
    return f"chat {data}"


@pytest.mark.parametrize(
    "given",
    [("chat",), (3,), (None,), (functools.partial(_chat),), (lambda sid: None,), (_chat, _chat)],
)
def test_what_is_no_function_with_a_name_is_refused_as_an_event(given: tuple[Any, ...]) -> None:
    with pytest.raises(OptionError, match=r"server\.event takes"):
        Server().event(*given)
    with pytest.raises(OptionError, match=r"server\.event takes"):
        Server().event()("chat")


@pytest.mark.parametrize("namespace", [None, "/", "calls"])
@pytest.mark.parametrize("way", ["plain", "called", "given"])
def test_a_function_is_the_handler_of_the_event_with_its_name(
    namespace: str | None, way: str
) -> None:
    server = Server()
    if way == "plain" and namespace is None:
        assert server.event(_chat) is _chat
    elif way == "given":
        assert server.event(_chat, namespace=namespace) is _chat
    else:
        assert server.event(namespace=namespace)(_chat) is _chat
    assert server.test_client(namespace=namespace or "/").call("_chat", 1) == "chat 1"


# -- other arguments -------------------------------------------------------------------------------

LOBBYS = [
    3, True, "stun:a.example", b"x", {"urls": "stun:a.example"}, ["stun:a.example"], [None], [{}],
]  # fmt: skip


@pytest.mark.parametrize("servers", LOBBYS, ids=repr)
def test_a_lobby_refuses_ice_servers_that_are_none(servers: Any) -> None:
    with pytest.raises(OptionError, match="give a list of dicts with 'urls'"):
        Lobby(Server(), ice_servers=servers)


def test_ice_servers_that_a_function_gives_are_checked_too() -> None:
    server = Server()
    Lobby(server, ice_servers=lambda socket: {"urls": "stun:a.example"})
    with pytest.raises(OptionError, match="give a list of dicts with 'urls'"):
        server.test_client().emit("ask-ice")


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "stun None": (lambda: ice_servers(stun=None), "stun takes a host or several, not None"),  # type: ignore[arg-type]
    "turn number": (lambda: ice_servers(turn=3, secret="s"), "turn takes a host or several"),  # type: ignore[arg-type]
    "secret": (lambda: turn_credentials("\ud800"), "secret must be text"),
    "now": (lambda: turn_credentials("s", now=3), "now=3: give a function"),  # type: ignore[arg-type]
    "clock": (lambda: throttle(3, clock=3), "clock=3: give a function"),  # type: ignore[arg-type]
    "address None": (lambda: Emitter(None), "the address of Redis is text"),  # type: ignore[arg-type]
    "address bytes": (lambda: Emitter(b"redis://a"), "text, like 'redis://host:6379/0', not bytes"),  # type: ignore[arg-type]
    "emitter's room": (lambda: Emitter("redis://localhost:1").to(UUID(int=1)), "by its name"),
    "emitter's rooms": (lambda: Emitter("redis://localhost:1").sockets_join(2**70), "by its name"),
    "stats": (lambda: Server().stats(cluster="hosts"), "give True, False or 'host'"),  # type: ignore[arg-type]
    "stats list": (lambda: Server().stats(cluster=[]), "give True, False or 'host'"),  # type: ignore[arg-type]
    "limits without a name": (lambda: Limits(100), r"Limits\(100\): name the limit"),
    "namespace of on": (lambda: Server().on("x", namespace="/a?b"), r"give the name before it"),
    "namespace of of": (lambda: Server().of("a?b"), r"no client can join '/a\?b'"),
    "namespace of a class": (lambda: Server().register_namespace(Upstreams("/a?b")), "before it"),
    "namespaces": (lambda: Server(namespaces=["/a?b"]), "give the name before it"),
    "test client of a namespace": (lambda: Server().test_client("/calls"), "write namespace="),
    "test client's headers": (lambda: TestClient(Server(), headers=[("a", "b")]), "give a dict"),  # type: ignore[arg-type]
    "test client's header": (lambda: TestClient(Server(), headers={"a": 5}), "not 'a': 5"),  # type: ignore[dict-item]
    "test client's header's name": (lambda: TestClient(Server(), headers={5: "a"}), "not 5: 'a'"),  # type: ignore[dict-item]
    "test client's parameter": (lambda: TestClient(Server(), query={"a": None}), "not 'a': None"),
    "test client's parameters": (lambda: TestClient(Server(), query={"a": [{}]}), "list of texts"),
    "test client's token": (lambda: Server().test_client(auth="me"), "auth='me': give a dict"),
    "test client's auth": (lambda: Server().test_client(auth=[1]), r"auth=\[1\]: give a dict"),
    "test client's query": (lambda: TestClient(Server(), query="a=b"), "give a dict"),  # type: ignore[arg-type]
    "test client's cookies": (
        lambda: TestClient(Server(), flask_test_client=object()),
        "flask_test_client=.*: give app.test_client",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_an_argument_of_a_wrong_type_is_refused(what: str) -> None:
    call, message = REFUSED[what]
    with pytest.raises(OptionError, match=message):
        call()


def test_auth_of_a_test_client_that_cannot_be_sent_is_named() -> None:
    with pytest.raises(TypeError, match=r"^auth cannot be sent: b'x' is binary"):
        Server().test_client(auth=b"x")
