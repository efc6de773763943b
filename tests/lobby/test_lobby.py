"""The lobby's rules, each seen from its clients."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gevent
import pytest
import socketio
from hypothesis import given, settings
from hypothesis import strategies as st

from rtcio_sync.errors import LimitExceeded, OptionError, ProtocolError
from rtcio_sync.lobby.lobby import Lobby
from rtcio_sync.options import Limits
from rtcio_sync.server import Server
from rtcio_sync.testing import TestClient
from tests.reconnecting import SHORT, Phone, end_all
from tests.timing import DEADLINE, settle, until


@pytest.fixture
def server() -> Server:
    return Server()


def client(server: Server, **options: Any) -> TestClient:
    made = server.test_client(**options)
    assert made.connected
    return made


def join(peer: TestClient, room: Any = "r", **fields: Any) -> None:
    peer.emit("join-room", {"roomId": room, **fields})


def joined(server: Server, room: str = "r", **fields: Any) -> TestClient:
    """A client that is in the room and has taken note of it."""
    peer = client(server)
    join(peer, room, **fields)
    events = peer.received()
    assert events[-1] == ("join-ok", [{"roomId": room}])
    return peer


def announced(peer: TestClient, **fields: Any) -> list[Any]:
    """What the peers of a room hear when ``peer`` joins it."""
    return [
        ("user-connected", [{"id": peer.sid, **fields}]),
        ("#rtcio:init-offer", [{"source": peer.sid}]),
    ]


def refused(reason: str, room: Any = "r") -> list[Any]:
    return [("join-error", [{"reason": reason, "roomId": room}])]


class Gate:
    """An ``authorize`` that waits for the test in the joins of one name."""

    def __init__(self, name: str, answer: bool = True) -> None:
        self.name = name
        self.answer = answer
        self.reached = threading.Event()
        self.open = threading.Event()
        self.asked: list[Any] = []

    def __call__(self, socket: Any, room: str, name: str | None, password: str | None) -> bool:
        self.asked.append((socket.id, room, name, password))
        if name != self.name:
            return True
        self.reached.set()
        assert self.open.wait(DEADLINE)
        return self.answer


class Parallel(Server):
    """With upstream's parallel handlers: the one case in which those of one socket overlap."""

    def __init__(self) -> None:
        super().__init__(async_mode="threading", async_handlers=True)
        self.tasks: list[threading.Thread] = []

    def start_background_task(self, target: Any, *args: Any, **kwargs: Any) -> Any:
        task = super().start_background_task(target, *args, **kwargs)
        self.tasks.append(task)
        return task

    def finish(self, number: int = 0) -> None:
        """Wait for the handlers begun so far, from a ``number`` on."""
        for task in self.tasks[number:]:
            task.join(DEADLINE)
            assert not task.is_alive()


@pytest.fixture
def elsewhere() -> Iterator[Callable[..., Any]]:
    """Runs something in another thread; the test ends when that has."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit


# -- joining ---------------------------------------------------------------------------------------


def test_the_first_joiner_hears_that_it_is_in_and_nothing_else(server: Server) -> None:
    Lobby(server)
    first = client(server)
    join(first, name="Ann")
    assert first.received() == [("join-ok", [{"roomId": "r"}])]


def test_a_newcomer_hears_of_each_present_peer_then_that_it_is_in_and_they_hear_of_it(
    server: Server,
) -> None:
    Lobby(server)
    ann, bob = joined(server, name="Ann"), joined(server, name="Bob")
    ann.emit("media-state", {"roomId": "r", "mic": True, "cam": False})
    ann.received(), bob.received()
    newcomer = client(server)
    join(newcomer, name="Cid")
    assert newcomer.received() == [
        ("user-connected", [{"id": ann.sid, "name": "Ann"}]),
        ("media-state", [{"id": ann.sid, "roomId": "r", "mic": True, "cam": False}]),
        ("user-connected", [{"id": bob.sid, "name": "Bob"}]),
        ("join-ok", [{"roomId": "r"}]),
    ]
    assert ann.received() == bob.received() == announced(newcomer, name="Cid")


def test_peers_of_another_room_hear_nothing_of_a_join(server: Server) -> None:
    Lobby(server)
    other = joined(server, "other")
    joined(server)
    assert other.received() == []


def test_the_room_is_a_socketio_room_of_the_same_name(server: Server) -> None:
    Lobby(server)
    inside = joined(server)
    client(server)
    server.of("/").to("r").emit("news", 1)
    assert inside.received() == [("news", [1])]


@pytest.mark.parametrize(
    "fields",
    [{}, *({"name": name} for name in (None, True, {"a": 1}, ["Ann"], 2**60, 1e300, b"Ann"))],
    ids=str,
)
def test_a_name_that_is_neither_text_nor_number_is_absent_for_the_others(
    server: Server, fields: dict[str, Any]
) -> None:
    Lobby(server)
    present = joined(server, **fields)
    newcomer = client(server)
    join(newcomer, **fields)
    assert newcomer.received("user-connected") == [{"id": present.sid}]
    assert present.received() == announced(newcomer)


@pytest.mark.parametrize("name", [7, 0, -1, 2.5, "", "7"])
def test_a_name_may_be_a_number_and_stays_one(server: Server, name: Any) -> None:
    asked: list[Any] = []
    Lobby(server, authorize=lambda socket, room, name, password: asked.append(name) or True)
    present = joined(server, name=name)
    newcomer = client(server)
    join(newcomer, name=name)
    assert newcomer.received("user-connected") == [{"id": present.sid, "name": name}]
    assert present.received() == announced(newcomer, name=name)
    assert asked == [str(name)] * 2


def test_a_long_name_is_cut(server: Server) -> None:
    Lobby(server)
    present = joined(server)
    newcomer = joined(server, name="n" * 300)
    assert present.received() == announced(newcomer, name="n" * 256)


@pytest.mark.parametrize("event", ["join-room", "check-room"])
@pytest.mark.parametrize("room", [None, "", 5, 1.5, True, "x" * 257])
def test_what_is_no_room_id_is_an_invalid_room(server: Server, event: str, room: Any) -> None:
    lobby = Lobby(server)
    peer = client(server)
    peer.emit(event, {"roomId": room})
    assert peer.received() == refused("invalid-room", room)
    assert lobby.stats() == {"rooms": 0, "peers": 0}


@pytest.mark.parametrize("event", ["join-room", "check-room"])
@pytest.mark.parametrize(
    "args", [(), (None,), ("r",), (5,), ([],), ({},), ({"roomId": ["r"]},), ({"roomId": {}},)]
)
def test_where_there_is_no_plain_room_id_none_is_told_back(
    server: Server, event: str, args: tuple[Any, ...]
) -> None:
    Lobby(server)
    peer = client(server)
    peer.emit(event, *args)
    assert peer.received() == [("join-error", [{"reason": "invalid-room"}])]
    assert peer.connected


def test_a_room_id_may_have_256_characters(server: Server) -> None:
    Lobby(server)
    joined(server, "x" * 256)


def test_the_sid_of_anybody_is_an_invalid_room(server: Server) -> None:
    Lobby(server)
    victim, peer = client(server), client(server)
    for sid in (victim.sid, peer.sid):
        join(peer, sid)
        assert peer.received() == refused("invalid-room", sid)
    server.of("/").to(victim.sid).emit("private")
    assert peer.received() == []


def test_who_joins_twice_is_answered_again_and_nobody_else_hears_of_it(server: Server) -> None:
    lobby = Lobby(server)
    present, peer = joined(server, name="Ann"), joined(server, name="Bob")
    present.received()
    for fields in ({"name": "Bob"}, {}):
        join(peer, **fields)
        peer.received()
    join(peer)
    assert peer.received() == [
        ("user-connected", [{"id": present.sid, "name": "Ann"}]),
        ("join-ok", [{"roomId": "r"}]),
    ]
    assert present.received() == []
    assert lobby.peers("r") == [present.sid, peer.sid]
    newcomer = client(server)
    join(newcomer)
    assert newcomer.received("user-connected")[1] == {"id": peer.sid, "name": "Bob"}


def test_who_joins_again_with_another_name_is_announced_by_it_without_a_second_offer(
    server: Server,
) -> None:
    lobby = Lobby(server)
    present, peer = joined(server, name="Ann"), joined(server, name="Bob")
    present.received()
    for name in ("Bo", 7, "Bob"):
        join(peer, name=name)
        assert peer.received() == [
            ("user-connected", [{"id": present.sid, "name": "Ann"}]),
            ("join-ok", [{"roomId": "r"}]),
        ]
        assert present.received() == [("user-connected", [{"id": peer.sid, "name": name}])]
    newcomer = client(server)
    join(newcomer)
    assert newcomer.received("user-connected")[1] == {"id": peer.sid, "name": "Bob"}
    assert lobby.peers("r") == [present.sid, peer.sid, newcomer.sid]


def test_another_name_is_asked_of_authorize_as_the_first_was(server: Server) -> None:
    lobby = Lobby(server, authorize=lambda socket, room, name, password: name != "admin")
    present, peer = joined(server, name="Ann"), joined(server, name="Bob")
    present.received()
    join(peer, name="admin")
    assert peer.received() == refused("forbidden")
    assert present.received() == []
    assert lobby.peers("r") == [present.sid, peer.sid]
    peer.emit("chat-message", {"roomId": "r", "text": "still here"})
    assert len(present.received("chat-message")) == 1
    newcomer = client(server)
    join(newcomer)
    assert newcomer.received("user-connected")[1] == {"id": peer.sid, "name": "Bob"}


def test_a_socket_may_be_in_several_rooms(server: Server) -> None:
    lobby = Lobby(server)
    both = joined(server, "a")
    join(both, "b")
    assert lobby.stats() == {"rooms": 2, "peers": 2}


def test_the_apps_own_connection_handler_and_handlers_run_too(server: Server) -> None:
    Lobby(server)
    seen = []

    def connection(socket: Any) -> None:
        socket.on("join-room", lambda data: seen.append(data["roomId"]))

    server.on("connection", connection)
    joined(server)
    assert seen == ["r"]


def test_a_lobby_may_have_another_namespace(server: Server) -> None:
    Lobby(server, namespace="/calls")
    outside, inside = client(server), client(server, namespace="/calls")
    join(outside)
    join(inside)
    assert outside.received() == []
    assert inside.received() == [("join-ok", [{"roomId": "r"}])]


# -- passwords -------------------------------------------------------------------------------------


def test_the_first_joiners_password_is_asked_of_the_others(server: Server) -> None:
    Lobby(server)
    joined(server, password="sesame")
    peer = client(server)
    join(peer)
    assert peer.received() == refused("password-required")
    join(peer, password="tahini")
    assert peer.received() == refused("wrong-password")
    join(peer, password="sesame")
    assert peer.received("join-ok") == [{"roomId": "r"}]


def test_the_password_of_a_later_joiner_is_none(server: Server) -> None:
    Lobby(server)
    joined(server)
    joined(server, password="sesame")
    joined(server)


def test_white_space_around_a_password_does_not_count(server: Server) -> None:
    Lobby(server)
    joined(server, password=" sesame\n")
    joined(server, password="sesame")


@pytest.mark.parametrize("password", [None, "", "  "])
def test_an_empty_password_is_none(server: Server, password: Any) -> None:
    Lobby(server)
    joined(server, password=password)
    joined(server)


@pytest.mark.parametrize("password", [5, True, ["sesame"], {"a": 1}, "s" * 1025])
def test_a_password_that_is_no_text_founds_no_room_and_opens_none(
    server: Server, password: Any
) -> None:
    lobby = Lobby(server)
    peer = client(server)
    join(peer, password=password)
    assert peer.received() == refused("wrong-password")
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    joined(server)
    join(peer, password=password)
    assert peer.received() == refused("wrong-password")


@pytest.mark.parametrize("password", ["pässwörd", "🎸", "\ud800"])
def test_any_text_may_be_a_password(server: Server, password: str) -> None:
    Lobby(server)
    joined(server, password=password)
    joined(server, password=password)
    peer = client(server)
    join(peer, password=password + "!")
    assert peer.received() == refused("wrong-password")


@pytest.mark.parametrize("way_out", ["leave", "disconnect"])
def test_a_room_that_emptied_has_forgotten_its_password(server: Server, way_out: str) -> None:
    lobby = Lobby(server)
    first, second = joined(server, password="old"), joined(server, password="old")
    for peer in (first, second):
        assert lobby.stats()["rooms"] == 1
        if way_out == "leave":
            peer.emit("leave-room", {"roomId": "r"})
        else:
            peer.disconnect()
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    joined(server, password="new")
    peer = client(server)
    join(peer, password="old")
    assert peer.received() == refused("wrong-password")


# -- asking first ----------------------------------------------------------------------------------


def test_a_free_or_open_room_needs_no_password(server: Server) -> None:
    Lobby(server)
    peer = client(server)
    peer.emit("check-room", {"roomId": "r", "password": "any"})
    joined(server)
    peer.emit("check-room", {"roomId": "r"})
    answer = ("room-check-ok", [{"roomId": "r", "passwordRequired": False}])
    assert peer.received() == [answer, answer]


def test_a_closed_room_tells_whether_the_password_is_right(server: Server) -> None:
    lobby = Lobby(server)
    joined(server, password="sesame")
    peer = client(server)
    peer.emit("check-room", {"roomId": "r"})
    peer.emit("check-room", {"roomId": "r", "password": "tahini"})
    peer.emit("check-room", {"roomId": "r", "password": "sesame"})
    assert peer.received() == [
        *refused("password-required"),
        *refused("wrong-password"),
        ("room-check-ok", [{"roomId": "r", "passwordRequired": True}]),
    ]
    assert len(lobby.peers("r")) == 1


def test_a_full_room_is_told_to_those_who_know_the_password_only(server: Server) -> None:
    Lobby(server, max_peers=1)
    joined(server, password="sesame")
    peer = client(server)
    peer.emit("check-room", {"roomId": "r"})
    peer.emit("check-room", {"roomId": "r", "password": "sesame"})
    assert peer.received() == [*refused("password-required"), *refused("room-full")]


# -- seats -----------------------------------------------------------------------------------------


def test_a_full_room_refuses_until_somebody_leaves(server: Server) -> None:
    Lobby(server, max_peers=2)
    first = joined(server)
    joined(server)
    late = client(server)
    join(late)
    assert late.received() == refused("room-full")
    joined(server, "other")
    first.emit("leave-room", {"roomId": "r"})
    join(late)
    assert late.received("join-ok") == [{"roomId": "r"}]


def test_who_has_a_seat_in_a_full_room_may_join_it_again(server: Server) -> None:
    Lobby(server, max_peers=1)
    only = joined(server)
    join(only)
    assert only.received() == [("join-ok", [{"roomId": "r"}])]


def test_the_cap_may_be_the_classs(server: Server) -> None:
    class Pairs(Lobby):
        max_peers = 2

    Pairs(server)
    joined(server), joined(server)
    late = client(server)
    join(late)
    assert late.received() == refused("room-full")


def test_seats_and_password_are_exact_when_many_join_at_once(
    server: Server, elsewhere: Callable[..., Any]
) -> None:
    lobby = Lobby(server, max_peers=5)
    peers = [client(server) for _ in range(24)]
    start = threading.Barrier(len(peers))

    def rush(number: int, peer: TestClient) -> None:
        start.wait(DEADLINE)
        join(peer, password=f"password {number % 3}")

    with ThreadPoolExecutor(len(peers)) as pool:
        list(pool.map(rush, range(len(peers)), peers))
    seated = lobby.peers("r")
    assert len(seated) == 5
    numbers = {number % 3 for number, peer in enumerate(peers) if peer.sid in seated}
    assert len(numbers) == 1, "two passwords opened one room"
    for peer in peers:
        answers = [name for name, _ in peer.received() if name.startswith("join-")]
        if peer.sid in seated:
            assert answers == ["join-ok"]
        else:
            assert answers == ["join-error"]
            assert peer.sid not in server.manager.rooms["/"]["r"]


def test_those_who_are_refused_take_no_seat_from_the_others_when_many_join_at_once(
    server: Server,
) -> None:
    lobby = Lobby(server, max_peers=4, authorize=lambda socket, room, name, password: name == "in")
    peers = [client(server) for _ in range(24)]
    start = threading.Barrier(len(peers))

    def rush(number: int, peer: TestClient) -> None:
        start.wait(DEADLINE)
        join(peer, name="in" if number % 6 == 0 else "out")

    with ThreadPoolExecutor(len(peers)) as pool:
        list(pool.map(rush, range(len(peers)), peers))
    assert sorted(lobby.peers("r")) == sorted(str(peer.sid) for peer in peers[::6])


def test_what_each_peer_heard_is_who_is_there_however_many_came_and_went_at_once(
    server: Server,
) -> None:
    lobby = Lobby(server, max_peers=6)
    peers = [client(server, auth={"number": number}) for number in range(12)]

    def wander(number: int, peer: TestClient) -> None:
        chance = random.Random(number)
        for _ in range(40):
            if chance.random() < 0.5:
                join(peer, name=str(number))
            else:
                peer.emit("leave-room", {"roomId": "r"})
        if number % 4 == 0:
            peer.disconnect()

    with ThreadPoolExecutor(len(peers)) as pool:
        list(pool.map(wander, range(len(peers)), peers))
    inside = set(lobby.peers("r"))
    assert inside == set(server.manager.rooms.get("/", {}).get("r", {}))
    for peer in peers:
        sid = str(peer.sid)
        if sid in inside:
            assert _roster(sid, peer.received()) == inside - {sid}


def _roster(sid: str, events: list[Any]) -> set[str]:
    """Who is in the room after all that a peer heard since it last came in."""
    there: set[str] = set()
    offers: set[str] = set()
    since = max(index for index, (name, _) in enumerate(events) if name == "join-ok")
    begin = since
    while begin and events[begin - 1][0] == "user-connected":
        begin -= 1
    for name, args in events[begin:]:
        if name == "user-connected":
            there.add(args[0]["id"])
        elif name == "user-disconnected":
            assert args[0]["id"] in there, "somebody left who had never come"
            there.remove(args[0]["id"])
        elif name == "#rtcio:init-offer":
            offers.add(args[0]["source"])
    assert sid not in there | offers, "it heard of itself"
    return there


# -- authorize -------------------------------------------------------------------------------------


def test_authorize_is_asked_with_socket_room_name_and_password(server: Server) -> None:
    gate = Gate("nobody")
    Lobby(server, authorize=gate)
    first = joined(server, name="Ann", password=" sesame ")
    second = joined(server, password="sesame")
    third = joined(server, "open")
    assert gate.asked == [
        (first.sid, "r", "Ann", "sesame"),
        (second.sid, "r", None, "sesame"),
        (third.sid, "open", None, None),
    ]


@pytest.mark.parametrize("answer", [False, None, 0, ""])
def test_what_authorize_does_not_say_yes_to_is_forbidden(server: Server, answer: Any) -> None:
    lobby = Lobby(server, authorize=lambda socket, room, name, password: answer)
    peer = client(server)
    join(peer, password="sesame")
    assert peer.received() == refused("forbidden")
    assert lobby.stats() == {"rooms": 0, "peers": 0}


def test_authorize_may_be_a_subclasss(server: Server) -> None:
    class Members(Lobby):
        def authorize(self, socket: Any, room: str, name: Any, password: Any) -> bool:
            return bool(socket.handshake.auth.get("member"))

    Members(server)
    stranger, member = client(server), client(server, auth={"member": True})
    join(stranger)
    join(member)
    assert stranger.received() == refused("forbidden")
    assert member.received() == [("join-ok", [{"roomId": "r"}])]


def test_an_authorize_that_raises_lets_nobody_in_and_is_an_error_of_the_app(server: Server) -> None:
    def authorize(*_: Any) -> bool:
        raise RuntimeError("the database is away")

    lobby = Lobby(server, authorize=authorize)
    peer = client(server)
    with pytest.raises(RuntimeError, match="the database is away"):
        join(peer)
    assert peer.received() == refused("forbidden")
    assert peer.connected
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    assert server.stats()["handler_errors"] == 1


def test_authorize_is_not_asked_about_what_cannot_succeed_or_has(server: Server) -> None:
    gate = Gate("nobody")
    Lobby(server, authorize=gate, max_peers=1)
    inside = joined(server, password="sesame")
    gate.asked.clear()
    join(inside)
    peer = client(server)
    join(peer, password="tahini")
    join(peer, password="sesame")
    join(peer, "")
    assert gate.asked == []


def test_while_authorize_thinks_others_come_go_and_talk(
    server: Server, elsewhere: Callable[..., Any]
) -> None:
    gate = Gate("slow")
    lobby = Lobby(server, authorize=gate)
    slow, quick, quicker = client(server), client(server), client(server)
    joining = elsewhere(join, slow, name="slow")
    assert gate.reached.wait(DEADLINE)
    join(quick)
    join(quicker)
    quick.emit("chat-message", {"roomId": "r", "text": "hi"})
    quicker.emit("leave-room", {"roomId": "r"})
    assert quicker.received("chat-message") == [{"roomId": "r", "text": "hi", "id": quick.sid}]
    assert lobby.peers("r") == [quick.sid]
    gate.open.set()
    joining.result()
    assert slow.received() == [
        ("user-connected", [{"id": quick.sid}]),
        ("join-ok", [{"roomId": "r"}]),
    ]


def test_whoever_waits_for_authorize_holds_neither_a_seat_nor_the_password(
    server: Server, elsewhere: Callable[..., Any]
) -> None:
    gate = Gate("stranger", answer=False)
    lobby = Lobby(server, authorize=gate, max_peers=1)
    stranger = client(server)
    joining = elsewhere(join, stranger, name="stranger", password="hijack")
    assert gate.reached.wait(DEADLINE)
    owner = joined(server)
    gate.open.set()
    joining.result()
    assert stranger.received() == refused("forbidden")
    assert lobby.peers("r") == [owner.sid]


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [({}, "room-full"), ({"password": "other"}, "password-required")],
)
def test_what_changed_while_authorize_thought_counts(
    server: Server, elsewhere: Callable[..., Any], meanwhile: dict[str, Any], reason: str
) -> None:
    gate = Gate("slow")
    Lobby(server, authorize=gate, max_peers=1)
    slow = client(server)
    joining = elsewhere(join, slow, name="slow")
    assert gate.reached.wait(DEADLINE)
    joined(server, **meanwhile)
    gate.open.set()
    joining.result()
    assert slow.received() == refused(reason)


def test_who_disconnects_while_authorize_thinks_leaves_no_ghost(
    server: Server, elsewhere: Callable[..., Any]
) -> None:
    gate = Gate("slow")
    lobby = Lobby(server, authorize=gate, max_peers=2)
    present, slow = joined(server), client(server)
    joining = elsewhere(join, slow, name="slow")
    assert gate.reached.wait(DEADLINE)
    slow.disconnect()
    gate.open.set()
    joining.result()
    assert lobby.peers("r") == [present.sid]
    assert present.received() == []
    assert set(server.manager.rooms["/"]["r"]) == {present.sid}
    joined(server)


def test_who_leaves_while_authorize_thinks_is_not_let_in() -> None:
    gate, server = Gate("slow"), Parallel()
    lobby = Lobby(server, authorize=gate)
    present, slow = client(server), client(server)
    join(present)
    server.finish()
    present.received()
    before = len(server.tasks)
    join(slow, name="slow")
    assert gate.reached.wait(DEADLINE)
    slow.emit("leave-room", {"roomId": "r"})
    server.finish(before + 1)
    gate.open.set()
    server.finish()
    assert slow.received() == present.received() == []
    assert lobby.peers("r") == [present.sid]


def test_two_joins_of_one_socket_at_once_are_one() -> None:
    gate, server = Gate("slow"), Parallel()
    lobby = Lobby(server, authorize=gate)
    present, twice = client(server), client(server)
    join(present)
    server.finish()
    present.received()
    before = len(server.tasks)
    join(twice, name="slow")
    assert gate.reached.wait(DEADLINE)
    join(twice, name="quick")
    server.finish(before + 1)
    gate.open.set()
    server.finish()
    assert lobby.peers("r") == [present.sid, twice.sid]
    assert present.received() == announced(twice, name="quick")
    assert twice.received("join-ok") == [{"roomId": "r"}]


# -- the order of what a room hears ----------------------------------------------------------------


class SlowManager(socketio.Manager):  # type: ignore[misc]
    """A client manager that blocks, as one with a network behind it may, where the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks_at: Callable[[str, Any], bool] = lambda step, data: False
        self.reached = threading.Event()
        self.open = threading.Event()

    def emit(self, event: str, data: Any, *args: Any, **options: Any) -> None:
        self._pass(event, data)
        super().emit(event, data, *args, **options)

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: Any = None) -> None:
        self._pass("enter", room)
        super().basic_enter_room(sid, namespace, room, eio_sid)

    def _pass(self, step: str, data: Any) -> None:
        if self.blocks_at(step, data) and not self.reached.is_set():
            self.reached.set()
            assert self.open.wait(DEADLINE)


@pytest.fixture
def slow() -> SlowManager:
    return SlowManager()


def test_a_room_hears_all_in_the_order_it_happened_and_nobody_waits_for_a_slow_emit(
    slow: SlowManager, elsewhere: Callable[..., Any]
) -> None:
    server = Server(client_manager=slow)
    lobby = Lobby(server)
    first, newcomer = joined(server), client(server)
    slow.blocks_at = lambda event, data: event == "join-ok"
    joining = elsewhere(join, newcomer)
    assert slow.reached.wait(DEADLINE)
    first.emit("chat-message", {"roomId": "r", "text": "one"})
    first.emit("media-state", {"roomId": "r", "mic": True})
    first.emit("leave-room", {"roomId": "r"})
    join(first)
    assert lobby.peers("r") == [newcomer.sid, first.sid]
    assert first.received() == [], "it was told before the newcomer was in"
    slow.open.set()
    joining.result()
    assert newcomer.received() == [
        ("user-connected", [{"id": first.sid}]),
        ("join-ok", [{"roomId": "r"}]),
        ("chat-message", [{"roomId": "r", "text": "one", "id": first.sid}]),
        ("media-state", [{"id": first.sid, "roomId": "r", "mic": True}]),
        ("user-disconnected", [{"id": first.sid}]),
        *announced(first),
    ]
    assert first.received() == [
        *announced(newcomer),
        ("user-connected", [{"id": newcomer.sid}]),
        ("join-ok", [{"roomId": "r"}]),
    ]


def test_who_goes_before_the_others_heard_of_it_is_never_heard_of(
    slow: SlowManager, elsewhere: Callable[..., Any]
) -> None:
    server = Server(client_manager=slow)
    lobby = Lobby(server)
    speaker, present, brief = joined(server), joined(server), client(server)
    speaker.received()
    slow.blocks_at = lambda event, data: event == "chat-message"
    speaking = elsewhere(speaker.emit, "chat-message", {"roomId": "r"})
    assert slow.reached.wait(DEADLINE)
    join(brief)
    assert lobby.peers("r")[2:] == [brief.sid]
    brief.disconnect()
    assert lobby.peers("r") == [speaker.sid, present.sid]
    slow.open.set()
    speaking.result()
    assert present.received() == [("chat-message", [{"roomId": "r", "id": speaker.sid}])]
    assert speaker.received() == []


def test_who_goes_while_it_enters_the_room_is_never_heard_of_and_keeps_no_seat(
    slow: SlowManager, elsewhere: Callable[..., Any]
) -> None:
    server = Server(client_manager=slow)
    lobby = Lobby(server)
    present, brief = joined(server), client(server)
    slow.blocks_at = lambda step, data: step == "enter"
    joining = elsewhere(join, brief)
    assert slow.reached.wait(DEADLINE)
    brief.disconnect()
    slow.open.set()
    joining.result()
    assert present.received() == []
    assert lobby.peers("r") == [present.sid]


class Farewell:
    """A ``connection`` handler of the app's: its ``disconnecting`` waits for the test."""

    def __init__(self) -> None:
        self.going = threading.Event()
        self.gone = threading.Event()

    def __call__(self, socket: Any) -> None:
        if socket.handshake.auth.get("brief"):
            socket.on("disconnecting", self.wait)

    def wait(self) -> None:
        self.going.set()
        assert self.gone.wait(DEADLINE)


def test_who_is_going_when_its_turn_to_enter_comes_does_not_enter(
    slow: SlowManager, elsewhere: Callable[..., Any]
) -> None:
    server, farewell = Server(client_manager=slow), Farewell()
    server.on("connection", farewell)
    Lobby(server)
    speaker, present, brief = joined(server), joined(server), client(server, auth={"brief": True})
    slow.blocks_at = lambda event, data: event == "chat-message"
    speaking = elsewhere(speaker.emit, "chat-message", {"roomId": "r"})
    assert slow.reached.wait(DEADLINE)
    join(brief)
    leaving = elsewhere(brief.disconnect)
    assert farewell.going.wait(DEADLINE)
    slow.open.set()
    speaking.result()
    farewell.gone.set()
    leaving.result()
    assert present.received() == [("chat-message", [{"roomId": "r", "id": speaker.sid}])]


def test_who_went_while_authorize_thought_takes_no_seat_for_a_moment_either(
    slow: SlowManager, elsewhere: Callable[..., Any]
) -> None:
    server, gate, farewell = Server(client_manager=slow), Gate("slow"), Farewell()
    server.on("connection", farewell)
    lobby = Lobby(server, authorize=gate)
    speaker, brief = joined(server), client(server, auth={"brief": True})
    joining = elsewhere(join, brief, name="slow")
    assert gate.reached.wait(DEADLINE)
    brief.disconnect()
    gate.open.set()
    assert farewell.going.wait(DEADLINE)
    assert lobby.peers("r") == [speaker.sid]
    farewell.gone.set()
    joining.result()


def test_an_emit_that_fails_keeps_nothing_else_from_the_room(
    slow: SlowManager, elsewhere: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    def trouble(event: str, data: Any) -> bool:
        if event == "stopScreenShare":
            raise ConnectionError("the back end is away")
        return event == "chat-message"

    server = Server(client_manager=slow)
    Lobby(server)
    speaker, other, present = joined(server), joined(server), joined(server)
    slow.blocks_at = trouble
    speaking = elsewhere(speaker.emit, "chat-message", {"roomId": "r", "text": "one"})
    assert slow.reached.wait(DEADLINE)
    other.emit("stopScreenShare", {"roomId": "r"})
    other.emit("chat-message", {"roomId": "r", "text": "two"})
    slow.open.set()
    speaking.result()
    assert [said["text"] for said in present.received("chat-message")] == ["one", "two"]
    assert "the back end is away" in caplog.text


def test_an_empty_room_leaves_nothing_behind(server: Server) -> None:
    lobby = Lobby(server)
    leaver, goer = joined(server), joined(server)
    leaver.emit("leave-room", {"roomId": "r"})
    goer.disconnect()
    assert not lobby._rooms


# -- two books: a seat, and the Socket.IO room -----------------------------------------------------


def limited(rooms: int, **options: Any) -> Server:
    return Server(limits=Limits(max_rooms_per_socket=rooms), **options)


def agree(server: Server, lobby: Lobby, *rooms: str) -> None:
    """Both books say the same of who is where."""
    inside = server.of("/").rooms
    for room in rooms:
        assert lobby.peers(room) == list(inside.get(room, ())), room


def test_who_may_enter_no_more_rooms_gets_no_seat_and_an_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = limited(3)
    lobby = Lobby(server)
    greedy, other = client(server), client(server)
    names = [f"room {number}" for number in range(20)]
    for room in names:
        join(greedy, room, password="mine")
    events = greedy.received()
    assert [name for name, _ in events] == ["join-ok"] * 3 + ["join-error"] * 17
    assert events[3:] == [
        ("join-error", [{"reason": "too-many-rooms", "roomId": room}]) for room in names[3:]
    ]
    assert lobby.stats() == {"rooms": 3, "peers": 3}
    agree(server, lobby, *names)
    assert server.stats()["dropped"] == {"rooms": 17}
    assert server.stats()["handler_errors"] == 0
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []
    join(other, names[5])  # not squatted under the other's password
    assert other.received() == [("join-ok", [{"roomId": names[5]}])]
    greedy.emit("leave-room", {"roomId": names[0]})
    join(greedy, names[19])
    assert greedy.received() == [("join-ok", [{"roomId": names[19]}])]


def test_authorize_is_not_asked_for_one_who_may_enter_no_more_rooms() -> None:
    asked: list[str] = []
    server = limited(1)
    Lobby(server, authorize=lambda socket, room, name, password: asked.append(room) or True)
    peer = joined(server)
    join(peer, "s")
    join(peer, "r")
    assert peer.received("join-error") == [{"reason": "too-many-rooms", "roomId": "s"}]
    assert asked == ["r"]


def test_rooms_of_the_app_count_too(server: Server) -> None:
    server = limited(2)
    lobby = Lobby(server)
    peer = client(server)
    for room in ("app 1", "app 2"):
        server.enter_room(peer.sid, room)
    join(peer)
    assert peer.received() == refused("too-many-rooms")
    server.leave_room(peer.sid, "app 1")
    join(peer)
    assert peer.received() == [("join-ok", [{"roomId": "r"}])]
    agree(server, lobby, "r")


class Refusing(socketio.Manager):  # type: ignore[misc]
    """A client manager that lets nobody into a room once the test says so."""

    error: BaseException | None = None

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: Any = None) -> None:
        if self.error is not None:
            raise self.error
        super().basic_enter_room(sid, namespace, room, eio_sid)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (LimitExceeded("rooms"), "too-many-rooms"),
        (ProtocolError("sid-room"), "invalid-room"),
        (ConnectionError("the back end is away"), "forbidden"),
        (gevent.Timeout(1), "forbidden"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, BaseException) else None,
)
def test_a_seat_is_given_back_when_the_room_is_not_entered_after_all(
    error: BaseException, reason: str
) -> None:
    manager = Refusing()
    server = Server(client_manager=manager)
    lobby = Lobby(server)
    present, peer = joined(server), client(server)
    manager.error = error
    with contextlib.suppress(BaseException):  # a test client hands on what a handler raises
        join(peer, "new", password="mine")
    with contextlib.suppress(BaseException):
        join(peer)
    assert peer.received() == [*refused(reason, "new"), *refused(reason)]
    assert lobby.stats() == {"rooms": 1, "peers": 1}
    manager.error = None
    join(present, "new")  # it is nobody's
    assert present.received()[-1] == ("join-ok", [{"roomId": "new"}])
    assert [name for name, _ in present.received() if name == "user-connected"] == []
    join(peer)
    assert peer.received()[-1] == ("join-ok", [{"roomId": "r"}])
    agree(server, lobby, "r", "new")


TAKEN_OUT: dict[str, Callable[[Server, Lobby, str], Any]] = {
    "leave_room": lambda server, lobby, sid: server.leave_room(sid, "r"),
    "socket.leave": lambda server, lobby, sid: server.sockets[sid].leave("r"),
    "sockets_leave": lambda server, lobby, sid: server.in_(sid).sockets_leave("r"),
    "remove": lambda server, lobby, sid: lobby.remove(sid, "r"),
    "disconnect": lambda server, lobby, sid: server.disconnect(sid),
    "disconnect_sockets": lambda server, lobby, sid: server.in_(sid).disconnect_sockets(True),
}


@pytest.mark.parametrize("how", TAKEN_OUT)
def test_whom_the_app_takes_out_of_the_room_has_no_seat_and_the_others_hear_of_it(
    server: Server, how: str
) -> None:
    lobby = Lobby(server, max_peers=2)
    present, peer, next_one = joined(server), joined(server), client(server)
    present.received()
    sid = str(peer.sid)
    TAKEN_OUT[how](server, lobby, sid)
    assert present.received("user-disconnected") == [{"id": sid}]
    agree(server, lobby, "r")
    if peer.connected:
        peer.received()
        peer.emit("chat-message", {"roomId": "r"})
        assert present.received() == []
    join(next_one)
    assert next_one.received()[-1] == ("join-ok", [{"roomId": "r"}])
    if peer.connected:
        join(peer)
        assert peer.received() == refused("room-full")
    agree(server, lobby, "r")


def test_a_room_that_the_app_closes_is_empty_and_free_of_its_password(server: Server) -> None:
    lobby = Lobby(server)
    peers = [joined(server, password="tea") for _ in range(3)]
    server.close_room("r")
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    assert not lobby._rooms
    newcomer = client(server)
    join(newcomer)
    assert newcomer.received() == [("join-ok", [{"roomId": "r"}])]
    peers[0].received()
    join(peers[0])
    assert peers[0].received()[-1] == ("join-ok", [{"roomId": "r"}])
    agree(server, lobby, "r")


def test_a_room_in_another_namespace_is_another_room(server: Server) -> None:
    lobby = Lobby(server, namespace="/calls")
    caller, chatter = client(server, namespace="/calls"), client(server)
    join(caller)
    server.enter_room(chatter.sid, "r")
    server.leave_room(chatter.sid, "r")
    server.close_room("r")
    assert lobby.peers("r") == [caller.sid]


def test_no_seat_is_kept_when_the_lobby_does_not_hear_of_the_end(server: Server) -> None:
    lobby = Lobby(server)
    present, peer = joined(server), joined(server)
    present.received()
    server.sockets[str(peer.sid)].off("disconnecting")
    gone = peer.sid
    peer.disconnect()
    assert present.received("user-disconnected") == [{"id": gone}]
    agree(server, lobby, "r")


@pytest.mark.parametrize(
    "error",
    [gevent.Timeout(1), gevent.GreenletExit(), KeyError("x")],
    ids=lambda each: type(each).__name__,
)
def test_whatever_authorize_raises_is_answered_and_leaves_the_next_attempt_free(
    server: Server, error: BaseException
) -> None:
    wrong: list[BaseException] = [error]

    def authorize(*args: Any) -> bool:
        if wrong:
            raise wrong.pop()
        return True

    lobby = Lobby(server, authorize=authorize)
    peer = client(server)
    with contextlib.suppress(BaseException):
        join(peer)
    assert peer.received() == refused("forbidden")
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    join(peer)
    assert peer.received() == [("join-ok", [{"roomId": "r"}])]


def test_an_emit_that_is_killed_keeps_nothing_else_from_the_room(
    slow: SlowManager,
) -> None:
    killed: list[str] = []

    def kill(event: str, data: Any) -> bool:
        if event == "chat-message" and not killed:
            killed.append(event)
            other.emit("chat-message", {"roomId": "r", "text": "behind it"})
            raise gevent.GreenletExit
        return False

    server = Server(client_manager=slow)
    Lobby(server)
    speaker, other, present = joined(server), joined(server), joined(server)
    slow.blocks_at = kill
    speaker.emit("chat-message", {"roomId": "r", "text": "lost"})
    assert [each["text"] for each in present.received("chat-message")] == ["behind it"]


# -- leaving ---------------------------------------------------------------------------------------


def test_who_leaves_is_told_of_to_the_others_without_a_peer_left(server: Server) -> None:
    lobby = Lobby(server)
    leaver, present = joined(server), joined(server)
    leaver.received()
    leaver.emit("leave-room", {"roomId": "r"})
    assert present.received() == [("user-disconnected", [{"id": leaver.sid}])]
    assert leaver.received() == []
    assert lobby.peers("r") == [present.sid]
    server.of("/").to("r").emit("news")
    assert leaver.received() == []


def test_who_comes_back_is_announced_anew_without_its_old_media_state(server: Server) -> None:
    Lobby(server)
    leaver, present = joined(server), joined(server)
    leaver.emit("media-state", {"roomId": "r", "mic": True, "cam": True})
    leaver.emit("leave-room", {"roomId": "r"})
    present.received()
    join(leaver)
    assert present.received() == announced(leaver)
    newcomer = client(server)
    join(newcomer)
    assert newcomer.received("media-state") == []


@pytest.mark.parametrize(
    "args", [(), (None,), ({},), ({"roomId": []},), ({"roomId": "r"},), ("r",)]
)
def test_leaving_a_room_one_is_not_in_is_nothing(server: Server, args: tuple[Any, ...]) -> None:
    lobby = Lobby(server)
    present, stranger = joined(server), client(server)
    stranger.emit("leave-room", *args)
    assert present.received() == stranger.received() == []
    assert lobby.peers("r") == [present.sid]
    assert server.stats()["handler_errors"] == 0


def test_who_disconnects_is_told_of_once_in_each_shared_room_and_once_by_the_library(
    server: Server,
) -> None:
    lobby = Lobby(server)
    leaver, both, one = joined(server, "a"), joined(server, "a"), joined(server, "b")
    join(leaver, "b")
    join(both, "b")
    stranger = joined(server, "c")
    both.received(), one.received()
    sid = leaver.sid
    leaver.disconnect()
    assert both.received("#rtcio:peer-left") == one.received("#rtcio:peer-left") == [{"id": sid}]
    assert both.received() == [("user-disconnected", [{"id": sid}])] * 2
    assert one.received() == [("user-disconnected", [{"id": sid}])]
    assert stranger.received() == []
    assert lobby.stats() == {"rooms": 3, "peers": 4}


def test_an_app_may_take_a_peer_out_of_a_room(server: Server) -> None:
    lobby = Lobby(server)
    present, other = joined(server), joined(server)
    present.received()
    assert lobby.remove(str(other.sid), "r")
    assert not lobby.remove(str(other.sid), "r")
    assert not lobby.remove(str(present.sid), "nowhere")
    assert present.received() == [("user-disconnected", [{"id": other.sid}])]
    other.emit("chat-message", {"roomId": "r"})
    assert present.received() == []


# -- talking ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["chat-message", "stopScreenShare"])
def test_what_is_said_reaches_the_others_whole_with_the_speakers_own_id(
    server: Server, event: str
) -> None:
    Lobby(server)
    speaker, present, outside = joined(server), joined(server), client(server)
    speaker.received()
    said = {"roomId": "r", "id": "forged", "text": "hi", "nothing": None, "more": [1, {"a": b"\0"}]}
    speaker.emit(event, said)
    assert present.received() == [(event, [{**said, "id": speaker.sid}])]
    assert speaker.received() == outside.received() == []


@pytest.mark.parametrize("event", ["chat-message", "stopScreenShare", "media-state"])
@pytest.mark.parametrize(
    "payload", [None, "r", 5, [], {}, {"roomId": None}, {"roomId": ["r"]}, {"roomId": "r"}]
)
def test_who_is_not_in_the_room_says_nothing_to_it(
    server: Server, event: str, payload: Any
) -> None:
    Lobby(server)
    present, stranger = joined(server), joined(server, "other")
    state = {"mic": True, "cam": True} if isinstance(payload, dict) else {}
    stranger.emit(event, {**payload, **state} if state else payload)
    assert present.received() == stranger.received() == []
    assert stranger.connected
    assert server.stats()["handler_errors"] == 0


def test_an_apps_own_room_is_no_room_of_the_lobby(server: Server) -> None:
    Lobby(server)
    listener, stranger = client(server), client(server)
    for peer in (listener, stranger):
        server.enter_room(peer.sid, "app")
    stranger.emit("chat-message", {"roomId": "app", "text": "hi"})
    assert listener.received() == []


@pytest.mark.parametrize(
    "sent",
    [
        {"mic": True, "cam": False},
        {"mic": False},
        {"cam": True, "mic": None},
        {"cam": True, "mic": "on"},
        {"cam": True, "id": "forged", "more": 1},
        {"screen": True, "quality": {"cam": [720, 30]}, "none": None},
        {"thumbnail": b"\x89PNG"},
        {},
    ],
    ids=str,
)
def test_a_media_state_reaches_the_others_whole_with_the_speakers_own_id(
    server: Server, sent: dict[str, Any]
) -> None:
    Lobby(server)
    speaker, present = joined(server), joined(server)
    speaker.received()
    speaker.emit("media-state", {"roomId": "r", **sent})
    heard = {**sent, "id": speaker.sid, "roomId": "r"}
    assert present.received() == [("media-state", [heard])]
    assert speaker.received() == []
    newcomer = client(server)
    join(newcomer)
    states = newcomer.received("media-state")
    assert states == ([heard] if set(sent) - {"id"} else [])


@pytest.mark.parametrize(
    "much",
    [
        {"text": "x" * 1100},
        {"bytes": b"x" * 1100},
        {"x" * 1100: 1},
        {"list": [0] * 40},
        {"deep": [[[[[{"a": [0] * 40}]]]]]},
        {str(number): number for number in range(40)},
        {"number": 10**400},
    ],
    ids=lambda much: next(iter(much))[:9],
)
def test_of_a_large_media_state_newcomers_hear_mic_and_cam_alone(
    server: Server, much: dict[str, Any]
) -> None:
    lobby = Lobby(server)
    speaker, present = joined(server), joined(server)
    speaker.emit("media-state", {"roomId": "r", "mic": True, "small": 1})
    present.received()
    speaker.emit("media-state", {"roomId": "r", "cam": False, **much})
    (heard,) = present.received("media-state")
    assert heard == {"id": speaker.sid, "roomId": "r", "cam": False, **much}
    newcomer = client(server)
    join(newcomer)
    assert newcomer.received("media-state") == [
        {"id": speaker.sid, "roomId": "r", "mic": True, "cam": False}
    ]
    assert lobby.stats() == {"rooms": 1, "peers": 3}


def test_the_last_media_state_is_remembered_for_each_room_and_key(server: Server) -> None:
    Lobby(server)
    speaker = joined(server, "a")
    join(speaker, "b")
    speaker.emit("media-state", {"roomId": "a", "mic": True, "cam": True})
    speaker.emit("media-state", {"roomId": "a", "cam": False})
    newcomer = client(server)
    join(newcomer, "a")
    join(newcomer, "b")
    assert newcomer.received("media-state") == [
        {"id": speaker.sid, "roomId": "a", "mic": True, "cam": False}
    ]


# -- who loses the connection and may come back ----------------------------------------------------


@pytest.fixture
def recovering() -> Server:
    return Server(connection_state_recovery=True)


def seated(server: Server, room: str = "r", **fields: Any) -> Phone:
    """A client that is in the room, has taken note of it, and may lose its connection."""
    phone = Phone(server)
    join(phone, room, **fields)
    assert phone.received()[-1] == ("join-ok", [{"roomId": room}])
    return phone


def connected_again(phone: Phone, **fields: Any) -> Any:
    return ("user-connected", [{"id": phone.sid, **fields}])


def polite(offer: Any) -> Any:
    name, args = offer
    return (name, [*args, {"polite": True}]) if name == "#rtcio:init-offer" else offer


def test_the_room_hears_that_one_is_lost_and_that_it_is_back_and_makes_no_new_offer(
    recovering: Server,
) -> None:
    lobby = Lobby(recovering)
    ann, bob = seated(recovering, name="Ann"), seated(recovering, name="Bob")
    bob.emit("media-state", {"roomId": "r", "mic": True})
    ann.received()
    sid = bob.sid
    bob.lose()
    assert ann.received() == [
        ("#rtcio:peer-left", [{"id": sid}]),
        ("user-disconnected", [{"id": sid}]),
    ]
    assert lobby.peers("r") == [ann.sid, sid]
    bob.come_back()
    assert ann.received() == [
        connected_again(bob, name="Bob"),
        ("media-state", [{"id": sid, "roomId": "r", "mic": True}]),
    ]
    assert bob.received() == []
    assert lobby.peers("r") == [ann.sid, sid]
    bob.emit("chat-message", {"roomId": "r", "text": "still in"})
    assert ann.received() == [("chat-message", [{"roomId": "r", "text": "still in", "id": sid}])]
    end_all(recovering, ann, bob)
    assert not lobby._rooms


def test_a_loss_that_nobody_noticed_is_told_to_nobody(recovering: Server) -> None:
    Lobby(recovering)
    ann, bob = seated(recovering, name="Ann"), seated(recovering, name="Bob")
    ann.received()
    bob.forsake()
    bob.come_back()
    assert ann.received() == []
    bob.emit("chat-message", {"roomId": "r"})
    assert ann.received("chat-message") == [{"roomId": "r", "id": bob.sid}]
    end_all(recovering, ann, bob)


def test_who_came_meanwhile_and_the_one_who_is_back_are_brought_together(
    recovering: Server,
) -> None:
    Lobby(recovering)
    ann, bob = seated(recovering, name="Ann"), seated(recovering, name="Bob")
    bob.emit("media-state", {"roomId": "r", "cam": False})
    sid = bob.sid
    bob.lose()
    cid = Phone(recovering)
    join(cid, name="Cid")
    assert cid.received() == [
        ("user-connected", [{"id": ann.sid, "name": "Ann"}]),
        ("join-ok", [{"roomId": "r"}]),
    ], "of the one who is away it hears when that is back"
    bob.come_back()
    assert bob.received() == [polite(each) for each in announced(cid, name="Cid")]
    assert cid.received() == [
        connected_again(bob, name="Bob"),
        ("media-state", [{"id": sid, "roomId": "r", "cam": False}]),
    ]
    bob.relay(cid.sid or "", {"description": {"type": "offer"}})
    assert cid.received("#rtcio:message") == [
        {"source": sid, "target": cid.sid, "data": {"description": {"type": "offer"}}}
    ]
    end_all(recovering, ann, bob, cid)


def test_an_offer_is_asked_for_once_however_often_the_connection_is_lost(
    recovering: Server,
) -> None:
    Lobby(recovering)
    bob = seated(recovering)
    bob.lose()
    cid = seated(recovering)
    for way in (Phone.lose, Phone.forsake, Phone.lose):
        bob.come_back()
        way(bob)
    bob.come_back()
    assert len(bob.received("#rtcio:init-offer")) == 1
    assert cid.received("#rtcio:init-offer") == []
    end_all(recovering, bob, cid)


def test_an_offer_that_got_lost_in_flight_is_asked_for_again(recovering: Server) -> None:
    Lobby(recovering)
    bob = seated(recovering)
    bob.go_deaf()
    cid = seated(recovering)
    bob.lose()
    bob.come_back()
    assert bob.received("#rtcio:init-offer") == [[{"source": cid.sid}, {"polite": True}]]
    end_all(recovering, bob, cid)


def test_two_who_are_away_at_once_find_each_other_again(recovering: Server) -> None:
    Lobby(recovering)
    ann, bob = seated(recovering), seated(recovering)
    ann.received()
    sids = (ann.sid, bob.sid)
    ann.lose(), bob.lose()
    bob.come_back(), ann.come_back()
    heard = [each for each in ann.received() if each[0].startswith("user-")]
    assert heard == [("user-disconnected", [{"id": sids[1]}]), connected_again(bob)]
    heard = [each for each in bob.received() if each[0].startswith("user-")]
    assert heard == [("user-disconnected", [{"id": sids[0]}]), connected_again(ann)]
    end_all(recovering, ann, bob)


def test_newcomers_hear_of_all_in_the_order_of_joining_though_some_were_away(
    recovering: Server,
) -> None:
    lobby = Lobby(recovering)
    phones = [seated(recovering, name=str(number)) for number in range(5)]
    for number in (3, 0):
        phones[number].lose()
    for number in (0, 3):
        phones[number].come_back()
    newcomer = client(recovering)
    join(newcomer)
    heard = [card["id"] for card in newcomer.received("user-connected")]
    assert heard == [phone.sid for phone in phones] == lobby.peers("r")[:5]
    end_all(recovering, *phones)


def test_the_seat_of_one_who_may_come_back_is_kept(recovering: Server) -> None:
    lobby = Lobby(recovering, max_peers=2)
    ann, bob = seated(recovering), seated(recovering)
    bob.lose()
    late = Phone(recovering)
    join(late)
    assert late.received() == refused("room-full")
    assert lobby.stats() == {"rooms": 1, "peers": 2}
    bob.come_back()
    bob.emit("leave-room", {"roomId": "r"})
    join(late)
    assert late.received()[-1] == ("join-ok", [{"roomId": "r"}])
    end_all(recovering, ann, bob, late)
    assert lobby.stats() == {"rooms": 0, "peers": 0}


def test_the_password_of_a_room_is_kept_while_somebody_may_come_back(recovering: Server) -> None:
    lobby = Lobby(recovering)
    bob = seated(recovering, password="sesame")
    bob.lose()
    late = Phone(recovering)
    join(late)
    assert late.received() == refused("password-required")
    join(late, password="sesame")
    assert late.received() == [("join-ok", [{"roomId": "r"}])]
    bob.come_back()
    assert late.received() == [connected_again(bob)]
    end_all(recovering, bob, late)
    assert not lobby._rooms


@pytest.mark.parametrize("how", ["too long away", "put out", "removed from the room"])
def test_the_seat_is_free_when_nobody_comes_back_to_it(how: str) -> None:
    short = {"max_disconnection_duration": SHORT if how == "too long away" else 120}
    server = Server(connection_state_recovery=short)
    lobby = Lobby(server, max_peers=2)
    ann, bob = seated(server), seated(server, password="ignored")
    sid = bob.sid or ""
    bob.lose()
    ann.received()
    if how == "put out":
        server.disconnect(sid)
    elif how == "removed from the room":
        assert lobby.remove(sid, "r")
    until(lambda: lobby.peers("r") == [ann.sid])
    assert ann.received() == [], "it had heard already"
    late = seated(server)
    bob.come_back()
    assert ann.received() == [polite(each) for each in announced(late)]
    assert late.received() == []
    assert bob.received() == []
    assert lobby.peers("r") == [ann.sid, late.sid]
    end_all(server, ann, bob, late)
    until(lambda: lobby.stats() == {"rooms": 0, "peers": 0})
    assert not lobby._rooms


def test_who_leaves_on_purpose_keeps_no_seat(recovering: Server) -> None:
    lobby = Lobby(recovering)
    bob = seated(recovering, password="old")
    bob.leave()
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    end_all(recovering, seated(recovering, password="new"))


@pytest.mark.parametrize("how", ["sockets_leave", "close_room"])
def test_a_room_that_the_app_took_from_one_who_was_away_is_no_seat_any_more(
    recovering: Server, how: str
) -> None:
    lobby = Lobby(recovering)
    ann, bob = seated(recovering), seated(recovering)
    sid = bob.sid or ""
    bob.lose()
    if how == "sockets_leave":
        recovering.in_(sid).sockets_leave("r")
    else:
        recovering.close_room("r")
    ann.received()
    bob.come_back()
    assert ann.received() == []
    assert sid not in lobby.peers("r")
    end_all(recovering, ann, bob)
    assert not lobby._rooms


def test_the_sid_of_one_who_is_away_is_an_invalid_room(recovering: Server) -> None:
    Lobby(recovering)
    bob, other = Phone(recovering), Phone(recovering)
    sid = bob.sid
    bob.lose()
    for event in ("join-room", "check-room"):
        other.emit(event, {"roomId": sid})
        assert other.received() == refused("invalid-room", sid)
    end_all(recovering, bob, other)


def test_a_join_that_the_loss_overtakes_counts_and_is_answered_on_return(
    recovering: Server,
) -> None:
    def authorize(socket: Any, room: str, name: str | None, password: str | None) -> bool:
        if name == "Bob":
            bob.lose()
        return True

    lobby = Lobby(recovering, authorize=authorize)
    ann, bob = seated(recovering), Phone(recovering)
    sid = bob.sid
    join(bob, name="Bob")
    assert lobby.peers("r") == [ann.sid, sid]
    assert [name for name, _ in ann.received()] == [
        "user-connected", "#rtcio:init-offer", "#rtcio:peer-left", "user-disconnected",
    ]  # fmt: skip
    bob.come_back()
    assert bob.received() == [
        ("user-connected", [{"id": ann.sid}]),
        ("join-ok", [{"roomId": "r"}]),
    ]
    assert ann.received() == [connected_again(bob, name="Bob")]
    end_all(recovering, ann, bob)
    assert not lobby._rooms


def test_who_joins_again_on_its_return_is_answered_and_nobody_hears_of_it(
    recovering: Server,
) -> None:
    Lobby(recovering)
    ann, bob = seated(recovering), seated(recovering)
    bob.lose()
    ann.received()
    bob.come_back()
    join(bob)
    assert bob.received() == [
        ("user-connected", [{"id": ann.sid}]),
        ("join-ok", [{"roomId": "r"}]),
    ]
    assert ann.received() == [connected_again(bob)]
    end_all(recovering, ann, bob)


def test_each_of_several_rooms_hears_of_loss_and_return(recovering: Server) -> None:
    lobby = Lobby(recovering)
    bob = seated(recovering, "a")
    join(bob, "b", name="Bob in b")
    friends = [seated(recovering, room) for room in "ab"]
    bob.received()
    bob.lose()
    bob.come_back()
    for friend, fields in zip(friends, ({}, {"name": "Bob in b"}), strict=True):
        heard = [each for each in friend.received() if each[0].startswith("user-")]
        assert heard == [
            ("user-disconnected", [{"id": bob.sid}]),
            connected_again(bob, **fields),
        ]
    end_all(recovering, bob, *friends)
    assert not lobby._rooms


LIVES = st.lists(
    st.tuples(
        st.sampled_from(["join", "leave", "lose", "forsake", "return", "end", "go"]),
        st.integers(0, 3),
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(lives=LIVES)
def test_what_each_peer_heard_is_who_is_there_whoever_was_lost_and_came_back(
    lives: list[tuple[str, int]],
) -> None:
    server = Server(connection_state_recovery=True)
    lobby = Lobby(server)
    people = [Phone(server) for _ in range(4)]
    views: list[dict[str, set[str]]] = [{} for _ in people]

    def note(who: int) -> None:
        phone, inside = people[who], views[who].setdefault("r", set())
        for name, (fields, *_) in phone.received():
            if name == "user-connected":
                inside.add(fields["id"])
            elif name == "user-disconnected":
                assert fields["id"] in inside
                inside.discard(fields["id"])

    for what, who in lives:
        phone = people[who]
        if what == "join" and phone.connected:
            join(phone)
        elif what == "leave" and phone.connected:
            phone.emit("leave-room", {"roomId": "r"})
            note(who)
            views[who].clear()
        elif what in ("lose", "forsake") and phone.connected:
            note(who)
            getattr(phone, what)()
        elif what == "return" and not phone.connected:
            phone.come_back()
            if not phone.recovered:
                views[who].clear()
        elif what == "end" and not phone.connected:
            for session in list(server.recovery._sessions.values()):  # type: ignore[union-attr]
                if session.pid == phone.pid:
                    server.disconnect(session.member.sid)
        elif what == "go" and phone.connected:
            note(who)
            phone.leave()
            views[who].clear()
        settle()
    for who, phone in enumerate(people):
        if not phone.connected:
            phone.come_back()
            if not phone.recovered:
                views[who].clear()
    seats = set(lobby.peers("r"))
    for who, phone in enumerate(people):
        note(who)
        if phone.sid in seats:
            assert views[who]["r"] == seats - {phone.sid}
    end_all(server, *people)
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    assert not lobby._rooms


# -- ask-ice ---------------------------------------------------------------------------------------

SERVERS = [{"urls": ["stun:stun.example.com"]}]


def test_ask_ice_is_answered_with_an_empty_list_by_default(server: Server) -> None:
    Lobby(server)
    assert client(server).call("ask-ice") == {"iceServers": []}


def test_ask_ice_is_answered_with_the_servers_given(server: Server) -> None:
    Lobby(server, ice_servers=SERVERS)
    assert client(server).call("ask-ice", {"surplus": True}) == {"iceServers": SERVERS}


def test_ask_ice_may_be_answered_anew_for_each_client(server: Server) -> None:
    Lobby(server, ice_servers=lambda socket: [{"urls": [f"stun:{socket.id}"]}])
    peer = client(server)
    assert peer.call("ask-ice") == {"iceServers": [{"urls": [f"stun:{peer.sid}"]}]}


def test_ask_ice_may_be_answered_by_a_subclass(server: Server) -> None:
    class Own(Lobby):
        def ice_servers(self, socket: Any) -> Any:
            return SERVERS

    Own(server)
    assert client(server).call("ask-ice") == {"iceServers": SERVERS}


# -- misuse ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_peers", [0, -1, True, 1.5, "8"])
def test_a_cap_that_seats_nobody_is_refused(server: Server, max_peers: Any) -> None:
    with pytest.raises(OptionError, match="at least 1, or None"):
        Lobby(server, max_peers=max_peers)


def test_a_lobby_wants_the_server_and_an_authorize_that_can_be_called(server: Server) -> None:
    with pytest.raises(OptionError, match="not the app"):
        Lobby(object())  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="authorize must be a callable"):
        Lobby(server, authorize=True)  # type: ignore[arg-type]
