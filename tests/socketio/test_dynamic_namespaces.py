"""Dynamic namespaces: ``server.of(re.compile(…))`` and ``server.of(function)``."""

from __future__ import annotations

import re
from typing import Any

import gevent
import pytest

from rtcio_sync import (
    ConnectionRefusedError,
    Limits,
    Namespace,
    OptionError,
    ParentNamespace,
    Server,
    Socket,
    add_default_listeners,
)
from tests.clients import TRANSPORTS, Polling, still_held
from tests.timing import until
from tests.unrun import UNRUN


def dynamic(**options: Any) -> tuple[Server, ParentNamespace, list[str]]:
    """A server with ``/room-N``, and the namespaces in which somebody connected."""
    server = Server()
    parent = server.of(re.compile(r"^/room-\d+$"), **options)
    joined: list[str] = []
    parent.on("connection", lambda socket: joined.append(socket.nsp.name))
    return server, parent, joined


def test_a_name_that_fits_a_pattern_is_a_namespace() -> None:
    server, parent, joined = dynamic()
    one, two = server.test_client(namespace="/room-1"), server.test_client(namespace="/room-2")
    refused = server.test_client(namespace="/room-x")
    assert one.connected and two.connected
    assert refused.error == {"message": "Invalid namespace"}
    assert joined == ["/room-1", "/room-2"]
    assert list(parent.children) == ["/room-1", "/room-2"]
    server.of("/room-1").emit("news", 1)
    assert (one.received("news"), two.received("news")) == ([1], [])


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_the_end_of_a_pattern_is_the_end_of_the_name(kind: str) -> None:
    server, parent, joined = dynamic()
    client = TRANSPORTS[kind](server)
    client.ask_to_join("/room-1\n")
    assert client.next() == '4/room-1\n,{"message":"Invalid namespace"}'
    client.join("/room-1")
    until(lambda: joined)
    assert joined == ["/room-1"]
    assert list(parent.children) == ["/room-1"]


def test_a_function_accepts_names_with_the_auth_of_the_client() -> None:
    server = Server()
    joined: list[Any] = []

    @server.on_error
    def error(error: Exception) -> None:
        joined.append(type(error))

    def accepts(name: str, auth: Any) -> bool:
        if name == "/broken":
            raise LookupError
        return bool(auth.get("team") == name)

    server.of(accepts, lambda socket: joined.append(socket.namespace))
    assert server.test_client(namespace="/red", auth={"team": "/red"}).connected
    for name in ("/blue", "/broken"):
        client = server.test_client(namespace=name, auth={"team": "/red"})
        assert client.error == {"message": "Invalid namespace"}
    assert joined == ["/red", LookupError]


@pytest.mark.parametrize(
    "match",
    [lambda: True, lambda name: name == "/red", lambda name, auth, more=1: True],
    ids=["nothing", "the name", "both, and a default"],
)
def test_a_function_gets_the_arguments_that_it_declares(match: Any) -> None:
    server = Server()
    server.of(match)
    assert server.test_client(namespace="/red").connected


class Ambiguous:
    """As an array of NumPy is."""

    def __bool__(self) -> bool:
        raise ValueError("its truth value is ambiguous")


@pytest.mark.parametrize("unrun", [*UNRUN.values(), lambda *_: Ambiguous()], ids=[*UNRUN, "array"])
def test_an_answer_that_is_neither_yes_nor_no_accepts_nobody(unrun: Any) -> None:
    server = Server()
    server.of(unrun)
    client = server.test_client(namespace="/red", raise_exceptions=False)
    assert client.error == {"message": "Invalid namespace"}
    assert server.stats()["handler_errors"] == 1


def test_a_pattern_of_bytes_is_refused() -> None:
    server = Server()
    for no_name in (re.compile(b"room"), lambda name, *, auth: True):
        with pytest.raises((OptionError, TypeError)):
            server.of(no_name)  # type: ignore[call-overload]
    assert server.test_client(namespace="/room").error == {"message": "Invalid namespace"}


def test_the_middlewares_of_the_parent_guard_each_child() -> None:
    server, parent, joined = dynamic()

    @parent.use
    def check(socket: Socket) -> None:
        if not socket.handshake.auth.get("token"):
            raise ConnectionRefusedError("no token")

    for _ in range(2):
        assert server.test_client(namespace="/room-1").error == {"message": "no token"}
    assert not parent.children
    assert server.test_client(namespace="/room-1", auth={"token": 1}).connected
    assert server.test_client(namespace="/room-1").error == {"message": "no token"}
    assert joined == ["/room-1"]


def test_an_empty_child_is_removed_and_made_anew() -> None:
    server, parent, joined = dynamic()
    for _ in range(2):
        clients = [server.test_client(namespace="/room-1") for _ in range(2)]
        child = server.registry.spaces["/room-1"]
        clients[0].disconnect()
        assert server.registry.spaces["/room-1"] is child
        clients[1].disconnect()
        assert "/room-1" not in server.registry.spaces
        assert not parent.children
    assert joined == ["/room-1"] * 4
    assert not any(still_held(server).values())


def test_many_names_of_a_client_leave_nothing_behind() -> None:
    server, parent, _ = dynamic(limits=Limits(max_rooms_per_socket=1))
    add_default_listeners(parent)
    for number in range(50):
        server.test_client(namespace=f"/room-{number}").disconnect()
    assert len(server.registry.spaces) <= 1
    assert not server.registry.own_limits
    assert server.relay.namespaces <= {"/", parent.name}


def test_a_child_that_the_app_has_named_stays() -> None:
    server, parent, joined = dynamic()
    early = server.of("/room-1")
    assert early is parent.children["/room-1"]
    client = server.test_client(namespace="/room-1")
    assert joined == ["/room-1"]
    client.disconnect()
    assert server.of("/room-1") is early
    made = parent.create_child("/room-9")
    assert made is server.of("/room-9")
    server.test_client(namespace="/room-9").disconnect()
    assert parent.children["/room-9"] is made


def test_naming_a_namespace_of_a_socket_that_has_left_opens_none() -> None:
    server, parent, _ = dynamic()
    client = server.test_client(namespace="/room-1")
    (socket,) = parent.children["/room-1"].sockets.values()
    client.disconnect()
    assert socket.nsp.name == "/room-1"
    assert "/room-1" not in server.registry.spaces


def test_handlers_that_come_later_are_for_later_children() -> None:
    server, parent, joined = dynamic()
    server.test_client(namespace="/room-1")
    parent.on("connection", lambda socket: joined.append("later"))
    server.test_client(namespace="/room-1")
    server.test_client(namespace="/room-2")
    assert joined == ["/room-1", "/room-1", "/room-2", "later"]


def test_the_parent_emits_to_all_children() -> None:
    server, parent, _ = dynamic()
    clients = [server.test_client(namespace=f"/room-{n}") for n in range(3)]
    outside = server.test_client()
    for number, child in enumerate(parent.children.values()):
        for socket in child.sockets.values():
            socket.join("even" if number % 2 == 0 else "odd")
    parent.emit("news", 1)
    parent.to("even").emit("news", 2)
    parent.except_("even").emit("news", 3)
    parent.local.volatile.emit("news", 4)
    assert [each.received("news") for each in clients] == [[1, 2, 4], [1, 3, 4], [1, 2, 4]]
    assert outside.received("news") == []
    parent.send("hello", 5)
    assert [each.received() for each in clients] == [[("message", ["hello", 5])]] * 3
    parent.to("even").sockets_join("new")
    assert [len(each.to("new").fetch_sockets()) for each in parent.children.values()] == [1, 0, 1]
    parent.to("odd").disconnect_sockets()
    assert [each.connected for each in clients] == [True, False, True]


def test_what_is_of_one_namespace_is_refused_for_several() -> None:
    _, parent, _ = dynamic()
    for call in (
        parent.fetch_sockets,
        parent.to("x").fetch_sockets,
        lambda: parent.timeout(1).call("x"),
        lambda: parent.timeout(1).emit("x", callback=print),
        lambda: parent.emit("x", to="room"),
        lambda: parent.send("x", to="room"),
        lambda: parent.rooms,
        lambda: parent.fetch_sockets(),
        lambda: parent.close_room("room"),
        lambda: parent.disconnect("sid"),
        lambda: parent.enter_room("sid", "room"),
        lambda: parent.leave_room("sid", "room"),
        lambda: parent.call("x", to="sid"),
        lambda: parent.get_session("sid"),
        lambda: parent.save_session("sid", {}),
        lambda: parent.session("sid"),
    ):
        with pytest.raises(OptionError):
            call()


def test_children_have_the_limits_and_the_relay_of_their_parent() -> None:
    server, parent, _ = dynamic(limits=Limits(max_rooms_per_socket=1))
    add_default_listeners(parent)
    one, two = (server.test_client(namespace="/room-1") for _ in range(2))
    one.emit("#rtcio:message", {"source": one.sid, "target": two.sid, "data": {"mid": "0"}})
    assert [each["data"] for each in two.received("#rtcio:message")] == [{"mid": "0"}]
    (socket, _) = parent.children["/room-1"].sockets.values()
    socket.join("a")
    with pytest.raises(ValueError, match="max_rooms_per_socket"):
        socket.join("b")


def test_no_client_takes_the_relay_from_the_children_by_a_parents_name() -> None:
    server = Server()
    parent = server.of(re.compile(r"^/\w+$"))
    add_default_listeners(parent)
    assert server.test_client(namespace=parent.name).error == {"message": "Invalid namespace"}
    with pytest.raises(OptionError, match="choose another"):
        parent.create_child(parent.name)
    a, b = (server.test_client(namespace="/room") for _ in range(2))
    a.emit("#rtcio:message", {"source": a.sid, "target": b.sid, "data": {"mid": "0"}})
    assert len(b.received("#rtcio:message")) == 1


def test_the_same_pattern_is_the_same_parent() -> None:
    server, parent, _ = dynamic()
    assert server.of(re.compile(r"^/room-\d+$")) is parent


def test_a_function_that_waits_lets_two_clients_in() -> None:
    server = Server()
    joined: list[str] = []

    def accepts(name: str, auth: Any) -> bool:
        gevent.sleep(0.01)
        return True

    parent = server.of(accepts)
    parent.on("connection", lambda socket: joined.append(socket.namespace))
    clients = [Polling(server) for _ in range(2)]
    for client in clients:
        client.ask_to_join("/slow")
    for client in clients:
        client.joined("/slow")
    until(lambda: joined == ["/slow", "/slow"])


def test_the_app_may_add_a_pattern_while_its_function_waits() -> None:
    server = Server()

    def accepts(name: str, auth: Any) -> bool:
        server.of(re.compile("^/later"))
        return False

    server.of(accepts)
    server.of(re.compile("^/room"))
    assert server.test_client(namespace="/room-1").connected


def test_clients_may_come_and_go_while_the_app_goes_through_the_children() -> None:
    server, parent, _ = dynamic()
    client = server.test_client(namespace="/room-1")
    server.test_client(namespace="/room-2")
    for name, child in parent.children.items():
        assert child.name == name
        client.disconnect()
        server.test_client(namespace=f"{name}0")
    assert list(parent.children) == ["/room-2", "/room-10", "/room-20"]


def test_a_new_namespace_is_told() -> None:
    server = Server()
    made: list[str] = []

    @server.on_new_namespace
    def new(space: Namespace) -> None:
        made.append(space.name)

    server.of("/calls")
    server.of("/calls")
    server.of(re.compile("room"))
    server.test_client(namespace="/room")
    assert made == ["/calls", "/room"]


def test_a_namespace_is_given_its_handler_at_once() -> None:
    server = Server()
    met: list[Any] = []
    server.of("/calls", met.append)
    server.test_client(namespace="/calls")
    assert [each.namespace for each in met] == ["/calls"]


# -- server.sockets --------------------------------------------------------------------------------


def test_sockets_of_the_server_are_a_mapping_and_the_default_namespace() -> None:
    server = Server()
    clients = [server.test_client() for _ in range(2)]
    sockets = server.sockets
    assert list(sockets) == [each.sid for each in clients]
    assert sockets.get("nobody") is None
    assert "nobody" not in sockets
    assert dict(sockets) == server.of("/").sockets == sockets.sockets
    first = sockets[clients[0].sid or ""]
    first.join("tea")
    assert sockets.in_("tea").fetch_sockets() == [first]
    assert sockets.name == "/"
    sockets.emit("news", 1)
    assert [each.received("news") for each in clients] == [[1], [1]]
    sockets.on("connection", lambda socket: socket.join("late"))
    late = server.test_client()
    assert set(sockets) == {*(each.sid for each in clients), late.sid}
    assert list(sockets.rooms["late"]) == [late.sid]
    clients[1].disconnect()
    assert clients[1].sid is None and len(sockets) == 2


def test_sockets_may_leave_while_the_app_goes_through_them() -> None:
    server = Server()
    clients = [server.test_client() for _ in range(3)]
    for socket in server.sockets.values():
        assert socket.id
        for client in clients:
            client.disconnect()
    clients = [server.test_client() for _ in range(3)]
    for sid, socket in server.sockets.items():
        assert sid == socket.id
        server.disconnect_sockets()


def test_connection_handlers_of_a_namespace_are_listed_and_removed() -> None:
    server = Server()
    calls = server.of("/calls")
    met: list[str] = []

    def first(socket: Socket) -> None:
        met.append("first")

    calls.on("connection", first)
    calls.on("connection", lambda socket: met.append("second"))
    assert calls.listeners()[0] is first
    calls.off("connection", first)
    server.test_client(namespace="/calls")
    assert met == ["second"]
    calls.off("connection")
    server.test_client(namespace="/calls")
    assert (met, calls.listeners()) == (["second"], [])


# -- races and orders ------------------------------------------------------------------------------


def test_a_client_that_comes_while_a_child_is_made_meets_the_middlewares() -> None:
    server, parent, joined = dynamic()
    met: list[Any] = []

    @parent.use
    def deny(socket: Socket) -> None:
        raise ConnectionRefusedError("no")

    @server.on_new_namespace
    def made(namespace: Namespace) -> None:
        if not met:
            met.append(None)
            met.append(server.test_client(namespace="/room-1").error)

    assert server.test_client(namespace="/room-1").error == {"message": "no"}
    assert met[1:] == [{"message": "no"}]
    assert joined == []
    assert not server.manager.members


@pytest.mark.parametrize("always_connect", [False, True])
def test_a_client_is_refused_if_its_namespace_goes_and_is_not_accepted_again(
    always_connect: bool,
) -> None:
    server = Server(always_connect=always_connect)
    answers = [True, False]
    joined: list[str] = []
    server.of(lambda name, auth: answers.pop(0), lambda socket: joined.append(socket.id))

    @server.on_new_namespace
    def made(namespace: Namespace) -> None:
        other = server.test_client(namespace="/x")  # it finds the namespace, and empties it
        assert other.connected
        joined.remove(other.sid or "")
        other.disconnect()

    client = server.test_client(namespace="/x")
    assert answers == []
    assert client.error == {"message": "Invalid namespace"}
    assert (joined, "/x" in server.registry.spaces) == ([], False)
    assert not (server.manager.members or server.manager.rooms)


def test_a_namespace_that_goes_is_made_again_for_a_client_that_still_may_join() -> None:
    server, parent, _ = dynamic()
    met: list[str] = []
    parent.use(lambda socket: met.append(socket.id))
    emptied: list[bool] = []

    @server.on_new_namespace
    def made(namespace: Namespace) -> None:
        if not emptied:
            emptied.append(True)
            server.test_client(namespace="/room-1").disconnect()

    client = server.test_client(namespace="/room-1")
    assert client.connected
    assert met[1:] == [client.sid]


def test_a_handler_that_is_registered_by_name_joins_those_of_the_parent_and_stays() -> None:
    server, parent, joined = dynamic()
    order: list[str] = []
    parent.use(lambda socket: order.append("middleware"))
    server.on("connection", lambda socket: order.append("own"), namespace="/room-1")
    for _ in range(2):
        server.test_client(namespace="/room-1").disconnect()
    assert order == ["middleware", "own"] * 2
    assert joined == ["/room-1"] * 2


def test_a_class_that_is_registered_by_name_has_the_middlewares_of_the_parent() -> None:
    server, parent, _ = dynamic()
    order: list[str] = []
    parent.use(lambda socket: order.append("middleware"))

    class Room(Namespace):
        def on_connect(self, sid: str, environ: Any) -> None:
            order.append("own")

    server.register_namespace(Room("/room-1"))
    for _ in range(2):
        server.test_client(namespace="/room-1").disconnect()
    assert order == ["middleware", "own"] * 2


def test_a_child_is_made_once() -> None:
    server, parent, joined = dynamic()
    assert parent.create_child("/room-1") is parent.create_child("/room-1")
    server.test_client(namespace="/room-1")
    assert joined == ["/room-1"]


def test_limits_by_name_go_before_those_of_the_pattern() -> None:
    server, _, _ = dynamic(limits=Limits(max_rooms_per_socket=1))
    server.of("/room-1", limits=Limits(max_rooms_per_socket=7))
    assert server.registry.limits_of("/room-1").max_rooms_per_socket == 7


def test_a_pattern_can_be_given_limits_later() -> None:
    server, parent, _ = dynamic()
    parent.create_child("/room-1")
    server.of("/room-2", limits=Limits(max_rooms_per_socket=7))
    for bound in (1, 2):
        dynamic_again = server.of(parent.rtcio_match, limits=Limits(max_rooms_per_socket=bound))
        assert dynamic_again is parent
        server.of(parent.rtcio_match)
        found = [server.registry.limits_of(f"/room-{n}").max_rooms_per_socket for n in (1, 2)]
        assert found == [bound, 7]
        client = server.test_client(namespace=f"/room-{10 + bound}")
        assert server.registry.limits_of(f"/room-{10 + bound}").max_rooms_per_socket == bound
        assert client.connected


def test_a_connection_loses_the_wider_limits_of_a_namespace_that_it_leaves() -> None:
    server, _, _ = dynamic(limits=Limits(max_namespaces_per_connection=1000))
    server.of("/")
    client = Polling(server).join()
    link = server.eio.sockets[client.eio_sid]
    before = link.limits
    client.join("/room-1")
    assert link.limits != before
    client.send("1/room-1,")
    until(lambda: "/room-1" not in server.manager.members)
    until(lambda: link.limits == before)


# -- what the app gives by name stays --------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "while it is open"])
def test_a_dynamic_namespace_keeps_the_relay_that_the_app_has_given_it_by_name(when: str) -> None:
    server, _, _ = dynamic()
    if when == "before":
        add_default_listeners(server, "/room-1")
    first = server.test_client(namespace="/room-1")
    if when != "before":
        add_default_listeners(server, "/room-1")
    first.disconnect()
    one, two = (server.test_client(namespace="/room-1") for _ in range(2))
    one.emit("#rtcio:message", {"source": one.sid, "target": two.sid, "data": {"mid": "0"}})
    assert [each["data"] for each in two.received("#rtcio:message")] == [{"mid": "0"}]


def test_the_relay_of_each_new_namespace_ends_with_it() -> None:
    server, _, _ = dynamic()
    server.on_new_namespace(add_default_listeners)
    for number in range(5):
        server.test_client(namespace=f"/room-{number}").disconnect()
    assert server.relay.namespaces == {"/"}


def test_limits_by_name_stay_also_if_they_are_those_of_the_pattern() -> None:
    narrow = Limits(max_rooms_per_socket=1)
    server, parent, _ = dynamic(limits=narrow)
    server.of("/room-1", limits=narrow)
    server.of(parent.rtcio_match, limits=Limits(max_rooms_per_socket=9))
    for _ in range(2):
        server.test_client(namespace="/room-1").disconnect()
        assert server.registry.limits_of("/room-1").max_rooms_per_socket == 1


def test_limits_by_name_go_before_those_of_the_pattern_of_an_open_namespace() -> None:
    server, parent, _ = dynamic(limits=Limits(max_rooms_per_socket=1))
    client = server.test_client(namespace="/room-1")
    server.of("/room-1", limits=Limits(max_rooms_per_socket=7))
    server.of(parent.rtcio_match, limits=Limits(max_rooms_per_socket=2))
    client.disconnect()
    assert server.registry.limits_of("/room-1").max_rooms_per_socket == 7
    assert (
        server.registry.limits_of("/room-2").max_rooms_per_socket == Limits().max_rooms_per_socket
    )


def test_a_namespace_that_goes_and_comes_back_has_the_limits_of_its_parent_again() -> None:
    server, parent, _ = dynamic(limits=Limits(max_rooms_per_socket=1))
    for bound in (1, 2):
        server.of(parent.rtcio_match, limits=Limits(max_rooms_per_socket=bound))
        client = server.test_client(namespace="/room-1")
        assert server.registry.limits_of("/room-1").max_rooms_per_socket == bound
        client.disconnect()
        assert server.registry.limits_of("/room-1") is server.registry.limits


@pytest.mark.parametrize("match", [re.compile(""), lambda name, auth: True])
def test_the_default_namespace_is_never_a_dynamic_one(match: Any) -> None:
    server = Server()
    joined: list[str] = []
    parent = server.of(match, lambda socket: joined.append(socket.nsp.name))
    server.on("connection", lambda socket: joined.append("own"))
    for _ in range(2):
        server.test_client().disconnect()
    assert joined == ["own", "own"]
    one, two = server.test_client(), server.test_client()
    one.emit("#rtcio:message", {"source": one.sid, "target": two.sid, "data": {"mid": "0"}})
    assert len(two.received("#rtcio:message")) == 1
    assert not parent.children
    with pytest.raises(OptionError, match="default namespace"):
        parent.create_child("/")


@pytest.mark.parametrize("name", [5, b"/room-1", "*", re.compile("room"), None])
def test_a_child_is_not_made_for_what_is_no_name(name: Any) -> None:
    server, parent, _ = dynamic()
    with pytest.raises(OptionError):
        parent.create_child(name)
    assert not (parent.children or server.registry.spaces)


def test_a_child_may_be_named_without_the_slash() -> None:
    server, parent, _ = dynamic()
    assert parent.create_child("room-9") is server.of("/room-9")
    assert server.test_client(namespace="/room-9").connected


def test_a_class_that_is_registered_by_name_is_the_child() -> None:
    server, parent, _ = dynamic()
    server.test_client(namespace="/room-1")
    room = Namespace("/room-1")
    server.register_namespace(room)
    assert parent.children["/room-1"] is server.of("/room-1") is room
