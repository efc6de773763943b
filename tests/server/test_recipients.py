"""Whom a call is for: on both idioms, alone and over a pub/sub back end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
import socketio

from rtcio_sync import Namespace, OptionError, Server, Socket, TestClient
from rtcio_sync.adapter.recipients import OrderedSet
from tests.bus import Bus
from tests.clients import Polling
from tests.timing import DEADLINE, settle, until

#: Client 0 is in the room 0, client 1 in "", client 2 in "tea", client 3 in none.
ROOMS: tuple[Any, ...] = (0, "", "tea")

EVERYBODY, NOBODY = [0, 1, 2, 3], []


class Array:
    """As one of numpy: it compares each of its elements, and is neither true nor false."""

    def __init__(self, *rooms: Any) -> None:
        self.rooms = rooms

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rooms)

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")


WHOM: dict[str, tuple[Any, list[int]]] = {
    "None": (None, EVERYBODY),
    "an empty list": ([], NOBODY),
    "an empty tuple": ((), NOBODY),
    "an empty set": (set(), NOBODY),
    "an empty frozenset": (frozenset(), NOBODY),
    "no keys of a dict": ({}.keys(), NOBODY),
    "0": (0, [0]),
    "0 in a list": ([0], [0]),
    "an empty text": ("", [1]),
    "an empty text in a list": ([""], [1]),
    "a room": ("tea", [2]),
    "several in a list": ([0, "tea"], [0, 2]),
    "several in a tuple": (("", "tea"), [1, 2]),
    "several in a set": ({0, "", "tea"}, [0, 1, 2]),
    "the keys of a dict": ({"tea": 1, "": 2}.keys(), [1, 2]),
    "the values of a dict": ({1: "tea", 2: ""}.values(), [1, 2]),
    "a set of rooms": (OrderedSet(["tea", 0]), [0, 2]),
    "an array": (Array("tea", 0), [0, 2]),
    "a room that nobody is in": ("coffee", NOBODY),
    "nobody's room among others": (["coffee", "tea"], [2]),
}

Emit = Callable[[Server, Any], None]


class Classes(socketio.Namespace):
    """python-socketio's class of handlers."""


def plain_class(server: Server) -> Classes:
    made = Classes("/")
    made._set_server(server)
    return made


#: Each call that takes recipients, with what they are as its one argument.
CALLS: dict[str, Emit] = {
    "server.emit(to=)": lambda server, to: server.emit("news", to=to),
    "server.emit(room=)": lambda server, to: server.emit("news", room=to),
    "server.emit positionally": lambda server, to: server.emit("news", None, to),
    "server.send(to=)": lambda server, to: server.send("news", to=to),
    "server.send(room=)": lambda server, to: server.send("news", room=to),
    "manager.emit(room=)": lambda server, to: server.manager.emit("news", 1, "/", room=to),
    "manager.emit(to=)": lambda server, to: server.manager.emit("news", 1, "/", to=to),
    "of().emit(to=)": lambda server, to: server.of("/").emit("news", to=to),
    "of().emit(room=)": lambda server, to: server.of("/").emit("news", room=to),
    "of().send(to=)": lambda server, to: server.of("/").send("news", to=to),
    "Namespace.emit(to=)": lambda server, to: plain_class(server).emit("news", to=to),
    "Namespace.emit(room=)": lambda server, to: plain_class(server).emit("news", room=to),
    "Namespace.send(room=)": lambda server, to: plain_class(server).send("news", room=to),
    "server.to": lambda server, to: server.to(to).emit("news"),
    "server.in_": lambda server, to: server.in_(to).emit("news"),
    "of().to": lambda server, to: server.of("/").to(to).emit("news"),
    "of().in_": lambda server, to: server.of("/").in_(to).emit("news"),
    "except_().to": lambda server, to: server.except_().to(to).emit("news"),
    "except_([]).to": lambda server, to: server.except_([]).to(to).emit("news"),
}


def several(**options: Any) -> tuple[Server, list[TestClient], list[Socket]]:
    server = Server(**options)
    clients = [server.test_client() for _ in range(4)]
    sockets = [server.sockets[client.sid] for client in clients if client.sid]
    for socket, room in zip(sockets, ROOMS, strict=False):
        socket.join(room)
    return server, clients, sockets


def hearing(clients: list[TestClient]) -> list[int]:
    """Which of them heard something, each exactly once."""
    counts = [len(client.received()) for client in clients]
    assert set(counts) <= {0, 1}, "heard twice"
    return [number for number, count in enumerate(counts) if count]


@pytest.mark.parametrize("whom", WHOM)
@pytest.mark.parametrize("call", CALLS)
def test_only_none_is_everybody(call: str, whom: str) -> None:
    to, expected = WHOM[whom]
    server, clients, _ = several()
    CALLS[call](server, to)
    assert hearing(clients) == expected


@pytest.mark.parametrize("whom", WHOM)
def test_a_socket_leaves_itself_out_and_only_none_is_everybody_else(whom: str) -> None:
    to, expected = WHOM[whom]
    for number in (2, 3):
        _, clients, sockets = several()
        for operator in (sockets[number].to(to), sockets[number].in_(to)):
            operator.emit("news")
            assert hearing(clients) == [each for each in expected if each != number]


@pytest.mark.parametrize("whom", WHOM)
def test_what_is_done_to_sockets_is_done_to_those_alone(whom: str) -> None:
    to, expected = WHOM[whom]
    server, clients, sockets = several()
    found = [sockets.index(each) for each in server.in_(to).fetch_sockets()]
    assert sorted(found) == expected
    server.in_(to).sockets_join("new")
    assert [n for n, each in enumerate(sockets) if "new" in each.rooms] == expected
    server.in_(to).sockets_leave("new")
    assert not any("new" in each.rooms for each in sockets)
    server.in_(to).disconnect_sockets()
    assert [n for n, client in enumerate(clients) if not client.connected] == expected


@pytest.mark.parametrize(
    ("to", "room", "expected"),
    [
        ([], "tea", NOBODY),
        (0, "tea", [0]),
        ("", "tea", [1]),
        (None, "tea", [2]),
        (None, [], NOBODY),
        ("tea", [], [2]),
        ("tea", None, [2]),
    ],
)
def test_to_wins_over_room_unless_it_is_none(to: Any, room: Any, expected: list[int]) -> None:
    server, clients, _ = several()
    for emit in (
        lambda: server.emit("news", to=to, room=room),
        lambda: server.send("news", to=to, room=room),
        lambda: server.of("/").emit("news", to=to, room=room),
        lambda: plain_class(server).emit("news", to=to, room=room),
        lambda: server.manager.emit("news", None, "/", to=to, room=room),
    ):
        emit()
        assert hearing(clients) == expected


@pytest.mark.parametrize(
    ("skip", "expected"),
    [
        (None, EVERYBODY),
        ([], EVERYBODY),
        ((), EVERYBODY),
        (set(), EVERYBODY),
        (0, [1, 2, 3]),
        ("", [0, 2, 3]),
        ([0, "tea"], [1, 3]),
        ({"tea"}, [0, 1, 3]),
        ([None], EVERYBODY),
        ("coffee", EVERYBODY),
    ],
)
def test_whom_to_skip_is_said_the_same_way(skip: Any, expected: list[int]) -> None:
    server, clients, _ = several()
    for emit in (
        lambda: server.emit("news", skip_sid=skip),
        lambda: server.send("news", skip_sid=skip),
        lambda: server.of("/").emit("news", skip_sid=skip),
    ):
        emit()
        assert hearing(clients) == expected


def test_except_nobody_leaves_out_nobody() -> None:
    server, clients, sockets = several()
    server.except_().emit("news")
    assert hearing(clients) == EVERYBODY
    server.of("/").except_([]).emit("news")
    assert hearing(clients) == EVERYBODY
    sockets[0].except_(None).emit("news")
    assert hearing(clients) == [1, 2, 3]


def test_an_empty_list_adds_no_room_to_others() -> None:
    server, clients, sockets = several()
    for operator in (
        server.to("tea").to([]),
        server.to([]).to("tea"),
        server.to("tea", []),
        server.to("tea").to(None),
        sockets[0].to([]).in_(["tea"]),
    ):
        operator.emit("news")
        assert hearing(clients) == [2]


@pytest.mark.parametrize("verb", ["to", "in_"])
def test_a_chain_without_a_room_raises_and_names_the_fix(verb: str) -> None:
    server, _, sockets = several()
    for owner in (server, server.of("/"), sockets[0], sockets[0].broadcast, server.to("tea")):
        with pytest.raises(OptionError, match="need a room"):
            getattr(owner, verb)(*[])


@pytest.mark.parametrize("nobody", [None, [], (), set()])
@pytest.mark.parametrize("name", ["to", "sid"])
def test_nobody_cannot_be_called(name: str, nobody: Any) -> None:
    server, _, _ = several()
    for owner in (server, server.of("/"), plain_class(server)):
        with pytest.raises(OptionError, match="broadcast"):
            owner.call("question", **{name: nobody})
    with pytest.raises(ValueError):
        server.call("question")


def test_a_call_goes_to_to_before_sid() -> None:
    server = Server()
    a, b = Polling(server).join(), Polling(server).join()
    asking = gevent.spawn(server.call, "question", to=[a.sid], sid=b.sid, timeout=DEADLINE)
    number = a.next()[1:].partition("[")[0]
    a.send(f"3{number}[42]")
    assert asking.get(timeout=DEADLINE) == 42
    assert b.events() == []


WRONG: dict[str, Any] = {
    "a dict": {"room": "tea"},
    "a bytearray": bytearray(b"tea"),
    "a list in a list": [["tea"]],
    "a dict in a list": ["tea", {}],
    "None in a list": ["tea", None],
    "a generator": (room for room in "tea"),
    "a tuple with a dict": ({},),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("call", CALLS)
def test_what_names_no_room_raises_at_once(call: str, wrong: str) -> None:
    server, clients, _ = several()
    with pytest.raises(OptionError, match="room"):
        CALLS[call](server, WRONG[wrong])
    with pytest.raises(OptionError, match="room"):
        CALLS[call](Server(), WRONG[wrong])  # with nobody connected, too
    assert hearing(clients) == NOBODY


@pytest.mark.parametrize("wrong", [each for each in WRONG if "None" not in each])
def test_what_names_no_room_is_neither_skipped_nor_entered_nor_left(wrong: str) -> None:
    server, _, sockets = several()
    given, sid = WRONG[wrong], sockets[0].id
    for call in (
        lambda: server.emit("news", skip_sid=given),
        lambda: server.except_(given),
        lambda: server.enter_room(sid, given),
        lambda: server.leave_room(sid, given),
        lambda: server.close_room(given),
        lambda: sockets[0].join(given),
        lambda: sockets[0].leave(given),
        lambda: server.sockets_join(given),
        lambda: server.in_("tea").sockets_leave(given),
        lambda: server.call("question", to=given),
    ):
        with pytest.raises(OptionError, match="room"):
            call()
    assert list(sockets[0].rooms) == [sid, 0]


@pytest.mark.parametrize("several_rooms", [["a", "b"], ("a", "b"), {"a"}, []])
def test_one_room_is_entered_and_left_at_a_time(several_rooms: Any) -> None:
    server, _, sockets = several()
    for call in (server.enter_room, server.leave_room, plain_class(server).enter_room):
        with pytest.raises(OptionError, match="one name"):
            call(sockets[0].id, several_rooms)


def test_a_room_that_is_0_or_empty_is_entered_left_and_closed() -> None:
    for room in (0, "", False, 0.5, b"bytes", 7):
        server, _, sockets = several()
        sid = sockets[3].id
        server.enter_room(sid, room)
        assert server.rooms(sid) == [sid, room]
        server.leave_room(sid, room)
        assert server.rooms(sid) == [sid]
        server.enter_room(sid, room)
        server.close_room(room)
        assert server.rooms(sid) == [sid]


# -- callbacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "expected"), [(None, EVERYBODY), ([], NOBODY), ("tea", [2]), (["tea", ""], [1, 2])]
)
def test_a_callback_is_asked_of_each_recipient(to: Any, expected: list[int]) -> None:
    server, clients, _ = several()
    server.emit("news", to=to, callback=lambda *answer: None)
    assert hearing(clients) == expected


# -- over a pub/sub back end -----------------------------------------------------------------------


class Pair:
    """Two servers on one back end: clients 0 and 1 are the first one's, 2 and 3 the other's."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.here, self.there = (Server(client_manager=bus.manager()) for _ in range(2))
        servers = (self.here, self.here, self.there, self.there)
        self.clients = [Polling(server).join() for server in servers]
        for client, room in zip(self.clients, ROOMS, strict=False):
            client.server.enter_room(client.sid, room)

    def hearing(self) -> list[int]:
        # What was published so far has crossed when one more message has.
        for server, other in ((self.here, self.clients[2]), (self.there, self.clients[0])):
            server.emit("crossed", to=other.sid)
            other.next(lambda packet: packet == '2["crossed"]')
        counts = [len(client.events()) for client in self.clients]
        assert set(counts) <= {0, 1}, "heard twice"
        return [number for number, count in enumerate(counts) if count]


@pytest.fixture
def pair(bus: Bus) -> Pair:
    return Pair(bus)


@pytest.mark.parametrize("whom", WHOM)
@pytest.mark.parametrize(
    "call",
    ["server.emit(to=)", "server.emit(room=)", "of().emit(to=)", "server.to", "manager.emit(to=)"],
)
def test_only_none_is_everybody_across_processes(pair: Pair, call: str, whom: str) -> None:
    to, expected = WHOM[whom]
    CALLS[call](pair.here, to)
    assert pair.hearing() == expected
    CALLS[call](pair.there, to)
    assert pair.hearing() == expected


@pytest.mark.parametrize(
    ("skip", "expected"),
    [(None, EVERYBODY), ([], EVERYBODY), (0, [1, 2, 3]), ("", [0, 2, 3]), ({0, "tea"}, [1, 3])],
)
def test_whom_to_skip_is_skipped_across_processes(
    pair: Pair, skip: Any, expected: list[int]
) -> None:
    for server in (pair.here, pair.there):
        server.emit("news", skip_sid=skip)
        assert pair.hearing() == expected
        server.except_(skip).emit("news")
        assert pair.hearing() == expected


def test_an_emit_to_nobody_is_not_published(pair: Pair) -> None:
    settle()
    pair.bus.published.clear()
    pair.here.emit("news", to=[])
    pair.here.to([]).emit("news")
    settle()
    assert pair.bus.published == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"room": []}, NOBODY),
        ({"room": 0}, [0]),
        ({"room": ""}, [1]),
        ({"room": ["tea", 0]}, [0, 2]),
        ({"room": None}, EVERYBODY),
        ({"to": [], "room": "tea"}, [2]),  # python-socketio's own reading, in its own process
        ({"room": None, "skip_sid": []}, EVERYBODY),
        ({"room": None, "skip_sid": "tea"}, [0, 1, 3]),
    ],
)
def test_a_program_of_python_socketios_means_what_it_publishes(
    pair: Pair, given: dict[str, Any], expected: list[int]
) -> None:
    pair.bus.manager(write_only=True).emit("news", {"a": 1}, **given)
    until(lambda: [each for each in pair.bus.published if each.get("event") == "news"])
    assert pair.hearing() == expected


def test_rooms_are_entered_left_and_closed_across_processes(pair: Pair) -> None:
    there, sid = pair.there, pair.clients[3].sid
    for room in (0, "", "tea"):
        pair.here.enter_room(sid, room)
        until(lambda room=room: room in there.rooms(sid))  # type: ignore[misc]
        pair.here.leave_room(sid, room)
        until(lambda room=room: room not in there.rooms(sid))  # type: ignore[misc]
    for room in ("tea", ""):
        pair.here.close_room(room)
    until(lambda: there.rooms(pair.clients[2].sid) == [pair.clients[2].sid])
    assert pair.here.rooms(pair.clients[1].sid) == [pair.clients[1].sid]


def test_a_room_that_other_processes_cannot_know_is_refused_at_once(pair: Pair) -> None:
    here, far = pair.here, pair.clients[3].sid
    here.enter_room(pair.clients[0].sid, b"bytes")  # nothing crosses
    for call in (
        lambda: here.emit("news", to=b"bytes"),
        lambda: here.emit("news", to=["tea", object]),
        lambda: here.emit("news", skip_sid=b"bytes"),
        lambda: here.to(b"bytes").emit("news"),
        lambda: here.close_room(b"bytes"),
        lambda: here.enter_room(far, b"bytes"),
        lambda: here.leave_room(far, b"bytes"),
    ):
        with pytest.raises(OptionError, match="string or a number"):
            call()
    here.emit("news", to=b"bytes", ignore_queue=True)
    assert pair.hearing() == [0]


def test_a_handler_that_joins_what_is_no_room_has_failed() -> None:
    # The app's error, and not the client's: logged, counted, and the client stays.
    server = Server()

    @server.on("connection")
    def connection(socket: Socket) -> None:
        socket.on("join", lambda room: socket.join(room))

    server.on("enter", lambda sid, room: server.enter_room(sid, room))
    client = Polling(server).join()
    client.emit("join", {"a": 1})
    client.emit("enter", ["a", "b"])
    until(lambda: server.stats()["handler_errors"] == 2)
    assert server.rooms(client.sid) == [client.sid]
    assert server.stats()["dropped"] == {}


# -- the order of joining --------------------------------------------------------------------------


def test_the_rooms_of_a_socket_are_in_the_order_of_joining() -> None:
    server = Server()
    client = server.test_client()
    socket = server.sockets[client.sid or ""]
    names = ["room 9", "a", 7, "z", "b", "", 0.5, "room 1"]
    for name in names:
        socket.join(name)
    socket.leave("z")
    socket.join("z", "a")
    expected = [socket.id, "room 9", "a", 7, "b", "", 0.5, "room 1", "z"]
    assert list(socket.rooms) == server.rooms(socket.id) == expected
    assert list(socket.rooms - {socket.id}) == expected[1:]
    assert list(socket.rooms & {"z", "b", "a"}) == ["a", "b", "z"]
    assert socket.rooms == set(expected)
    assert set(expected) == socket.rooms
    assert isinstance(socket.rooms, set)


def test_the_sockets_in_a_room_and_the_rooms_are_in_the_order_of_joining() -> None:
    server = Server()
    sockets = []
    for number in range(20):
        server.test_client()
        sockets.append(list(server.sockets.values())[-1])
        if number == 10:
            sockets[3].join("first")
            sockets[2].join("second")
    order = [sockets[number] for number in (7, 3, 12, 19, 0, 11)]
    for socket in order:
        socket.join("tea")
    rooms = server.of("/").rooms
    assert list(rooms["tea"]) == [each.id for each in order]
    assert server.in_("tea").fetch_sockets() == order
    assert server.fetch_sockets() == sockets
    order[1].leave("tea")
    order[1].join("tea")
    assert list(rooms["tea"]) == [order[number].id for number in (0, 2, 3, 4, 5, 1)]
    sids = [each.id for each in sockets]
    assert list(rooms) == [*sids[:11], "first", "second", *sids[11:], "tea"]


def test_our_own_class_of_handlers_reaches_the_same(pair: Pair) -> None:
    class Calls(Namespace):
        pass

    calls = Calls("/")
    pair.here.register_namespace(calls)
    for to, expected in ((None, EVERYBODY), ([], NOBODY), (0, [0]), (["tea"], [2])):
        calls.emit("news", {"a": 1}, to=to)
        assert pair.hearing() == expected
