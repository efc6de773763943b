"""The index from sid to rooms, and the same over a pub/sub back end."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import engineio
import gevent
import pytest
import socketio
from gevent.event import Event
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from socketio.packet import Packet

import rtcio_sync
from rtcio_sync import Server, add_default_listeners
from rtcio_sync.adapter import emit
from rtcio_sync.adapter import rooms as rooms_module
from rtcio_sync.adapter.emit import RoomIndex
from rtcio_sync.adapter.member import Stage
from rtcio_sync.cluster import pubsub as published
from rtcio_sync.cluster.pubsub import graft
from tests.bus import Bus, BusManager
from tests.timing import DEADLINE, settle, until
from tests.wire import Polling

# -- what it costs ---------------------------------------------------------------------------------


class Walked(dict[Any, Any]):
    """A dict that counts how often somebody walks over all of it."""

    walks = 0

    def _walked(self) -> None:
        self.walks += 1

    def __iter__(self) -> Iterator[Any]:
        self._walked()
        return super().__iter__()

    def keys(self) -> Any:
        self._walked()
        return super().keys()

    def values(self) -> Any:
        self._walked()
        return super().values()

    def items(self) -> Any:
        self._walked()
        return super().items()

    def copy(self) -> Any:
        self._walked()
        return super().copy()


def populated(others: int) -> tuple[Server, str]:
    """A server with one socket in two rooms, each with one peer, and ``others`` in theirs."""
    server = Server()
    manager = server.manager
    sids = [manager.connect(f"eio{number}", "/") for number in range(others + 2)]
    for number, sid in enumerate(sids[2:]):
        server.enter_room(sid, f"room{number}")
        server.enter_room(sid, f"other{number}")
    for sid in sids[:2]:
        server.enter_room(sid, "tea")
        server.enter_room(sid, "coffee")
    for name, inside in (("rooms", manager.rooms), ("members", manager.members)):
        setattr(manager, name, {"/": Walked(inside["/"])})
    manager.rooms["/"][None] = Walked(manager.rooms["/"][None])
    for member in manager.members["/"].values():
        member.peers = manager.members["/"]
    for each in walked(server):
        each.walks = 0
    return server, sids[0]


def walked(server: Server) -> list[Walked]:
    manager = server.manager
    return [manager.rooms["/"], manager.rooms["/"][None], manager.members["/"]]


def lines_of(action: Callable[[], Any]) -> int:
    """How many lines of the library and of python-socketio run in ``action``."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(COUNTED):
            return None
        count += event == "line"
        return trace

    # What the collector finalizes meanwhile is of another test.
    gc.collect()
    gc.disable()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


COUNTED = tuple(str(Path(each.__file__).parent) for each in (rtcio_sync, socketio, engineio))


ACTIONS: dict[str, Callable[[Server, str], Any]] = {
    "rooms": lambda server, sid: server.rooms(sid),
    "enter": lambda server, sid: server.enter_room(sid, "cake"),
    "leave": lambda server, sid: server.leave_room(sid, "tea"),
    "leave another's": lambda server, sid: server.leave_room(sid, "room1"),
    "close": lambda server, sid: server.close_room("tea"),
    "emit to a room": lambda server, sid: server.emit("x", to="tea"),
    "peer-left": lambda server, sid: server.relay.peer_left(server.manager.member(sid, "/")),
    "disconnect": lambda server, sid: server.manager.disconnect(sid, "/"),
    "disconnect, all of it": lambda server, sid: server.disconnect(sid),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_the_cost_does_not_grow_with_the_other_sockets(action: str) -> None:
    costs = []
    for others in (5, 500):
        server, sid = populated(others)
        costs.append(lines_of(lambda server=server, sid=sid: ACTIONS[action](server, sid)))  # type: ignore[misc]
        assert [each.walks for each in walked(server)] == [0, 0, 0]
    assert costs[0] == costs[1] > 0


# -- what it holds ---------------------------------------------------------------------------------


class Rooms(RuleBasedStateMachine):
    """The index against two plain dicts: who is connected, who is in which room."""

    names = st.sampled_from(["tea", "coffee", 7])
    picks = st.integers(0, 9)

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.manager: RoomIndex = self.server.manager
        self.inside: dict[str, set[Any]] = {}
        self.made = 0

    def pick(self, number: int) -> str | None:
        sids = list(self.inside)
        return sids[number % len(sids)] if sids else None

    @rule()
    def connect(self) -> None:
        self.made += 1
        sid = self.manager.pre_connect(f"eio{self.made}", "/")
        assert sid is not None
        self.inside[sid] = set()
        if self.made % 3:
            assert self.manager.connect(sid, "/") == sid

    @rule(number=picks, room=names)
    def enter(self, number: int, room: Any) -> None:
        sid = self.pick(number)
        if sid is not None:
            self.server.enter_room(sid, room)
            self.inside[sid].add(room)

    @rule(number=picks, room=names)
    def leave(self, number: int, room: Any) -> None:
        sid = self.pick(number)
        if sid is not None:
            self.server.leave_room(sid, room)
            self.inside[sid].discard(room)

    @rule(room=names)
    def close(self, room: Any) -> None:
        self.server.close_room(room)
        for rooms in self.inside.values():
            rooms.discard(room)

    @rule(number=picks)
    def disconnect(self, number: int) -> None:
        sid = self.pick(number)
        if sid is not None:
            self.manager.disconnect(sid, "/")
            del self.inside[sid]

    @invariant()
    def the_index_is_right(self) -> None:
        for sid, rooms in self.inside.items():
            found = self.server.rooms(sid)
            assert len(found) == len(set(found))
            assert set(found) == {sid, *rooms}
        for room in ("tea", "coffee", 7):
            members = {sid for sid, _ in self.manager.get_participants("/", room)}
            assert members == {sid for sid, rooms in self.inside.items() if room in rooms}
        assert {sid for sid, _ in self.manager.get_participants("/", None)} == set(self.inside)

    @invariant()
    def nothing_empty_is_kept(self) -> None:
        rooms = self.manager.rooms.get("/", {})
        assert all(rooms.values())
        taken = {room for each in self.inside.values() for room in each}
        assert set(rooms) == ({None} | taken if self.inside else set())
        assert bool(self.manager.members) is bool(self.inside)


TestRooms = Rooms.TestCase
TestRooms.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def connected(server: Server, namespace: str = "/", name: str = "eio") -> str:
    sid = server.manager.connect(name, namespace)
    assert isinstance(sid, str)
    return sid


def test_a_sid_is_no_room_to_enter_or_to_close() -> None:
    server = Server()
    a, b = connected(server, name="a"), connected(server, name="b")
    with pytest.raises(ValueError, match="sid"):
        server.enter_room(a, b)
    with pytest.raises(ValueError, match="sid"):
        server.close_room(b)
    server.enter_room(a, a)
    assert server.rooms(a) == [a]


def test_a_room_named_like_one_that_left_is_entered_by_nobody() -> None:
    server = Server()
    gone, other = connected(server, name="a"), connected(server, name="b")
    server.manager.disconnect(gone, "/")
    with pytest.raises(ValueError, match="sid"):
        server.enter_room(other, gone)


def test_a_room_of_several_is_each_of_its_sockets_once() -> None:
    server = Server()
    a, b = connected(server, name="a"), connected(server, name="b")
    for sid, room in ((a, "tea"), (a, "coffee"), (b, "coffee")):
        server.enter_room(sid, room)
    participants = list(server.manager.get_participants("/", ["tea", "coffee", b]))
    assert sorted(participants) == sorted([(a, "a"), (b, "b")])


def test_a_handler_that_outlives_its_socket_enters_nothing() -> None:
    server = Server()
    sid = connected(server)
    server.manager.disconnect(sid, "/")
    server.enter_room(sid, "tea")
    assert not server.manager.rooms
    assert server.rooms(sid) == []


def test_a_sid_that_never_was_is_a_mistake() -> None:
    server = Server()
    with pytest.raises(ValueError, match="not connected"):
        server.enter_room("nobody", "tea")


def test_no_more_than_the_last_departed_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms_module, "DEPARTED_KEPT", 3)
    server = Server()
    sids = [connected(server, name=f"eio{number}") for number in range(5)]
    for sid in sids:
        server.manager.disconnect(sid, "/")
    for sid in sids[2:]:
        server.enter_room(sid, "tea")
    for sid in sids[:2]:
        with pytest.raises(ValueError):
            server.enter_room(sid, "tea")


def test_a_connection_has_one_socket_in_each_namespace() -> None:
    server = Server()
    manager = server.manager
    root = manager.pre_connect("eio", "/")
    calls = manager.pre_connect("eio", "/calls")
    assert manager.pre_connect("eio", "/") is None
    assert {member.sid for member in manager.members_of("eio")} == {root, calls}
    assert manager.sid_from_eio_sid("eio", "/calls") == calls
    assert manager.eio_sid_from_sid(calls, "/calls") == "eio"
    assert manager.eio_sid_from_sid(calls, "/") is None


def test_a_connection_that_left_a_namespace_may_come_back() -> None:
    server = Server()
    first = connected(server)
    server.manager.disconnect(first, "/")
    second = connected(server)
    assert second != first
    assert server.manager.is_connected(second, "/")


def test_the_stages_of_a_socket() -> None:
    manager = Server().manager
    sid = manager.pre_connect("eio", "/")
    stages = []

    def note() -> None:
        member = manager.member(sid, "/")
        stages.append(
            (member.stage, manager.is_pre_connected(sid, "/"), manager.is_connected(sid, "/"))
        )

    note()
    manager.connect(sid, "/")
    note()
    manager.pre_disconnect(sid, "/")
    note()
    manager.connect(sid, "/")
    note()
    assert stages == [
        (Stage.CONNECTING, True, False),
        (Stage.CONNECTED, False, True),
        (Stage.LEAVING, False, False),
        (Stage.LEAVING, False, False),
    ]


# -- emitting --------------------------------------------------------------------------------------


class Counted(Packet):
    """A packet class of an app's own that counts what it encodes."""

    encoded: ClassVar[list[Any]] = []

    def encode(self) -> Any:
        self.encoded.append(self.data)
        return super().encode()


def test_one_event_is_encoded_once_for_all_its_recipients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Counted, "encoded", [])
    server = Server(serializer=Counted)
    clients = [server.test_client() for _ in range(5)]
    Counted.encoded.clear()
    server.emit("news", {"a": 1})
    assert Counted.encoded == [["news", {"a": 1}]]
    assert [client.received("news") for client in clients] == [[{"a": 1}]] * 5


@pytest.mark.parametrize(
    ("data", "arguments"),
    [(None, []), (1, [1]), ([1, 2], [[1, 2]]), ((1, 2), [1, 2]), ((), []), ((None,), [None])],
)
def test_a_tuple_is_several_arguments(data: Any, arguments: list[Any]) -> None:
    server = Server()
    client = server.test_client()
    server.emit("news", data)
    assert client.received() == [("news", arguments)]


def test_whom_to_skip_may_be_a_sid_a_room_or_several() -> None:
    server = Server()
    a, b, c = (server.test_client() for _ in range(3))
    server.enter_room(b.sid, "tea")

    def heard(skip: Any) -> list[bool]:
        server.emit("news", skip_sid=skip)
        return [bool(client.received("news")) for client in (a, b, c)]

    assert heard(None) == [True, True, True]
    assert heard(a.sid) == [False, True, True]
    assert heard("tea") == [True, False, True]
    assert heard([a.sid, "tea"]) == [False, False, True]
    assert heard(["nobody"]) == [True, True, True]


def test_nobody_is_nobody() -> None:
    server = Server()
    server.emit("news")
    client = server.test_client()
    server.emit("news", to="empty room")
    server.emit("news", namespace="/empty")
    assert client.received() == []


def test_an_acknowledgement_is_taken_once() -> None:
    server = Server()
    server.test_client()
    (sid,) = server.manager.members["/"]
    answers: list[Any] = []
    server.emit("question", to=sid, callback=lambda *answer: answers.append(answer))
    server.manager.trigger_callback(sid, 1, ["yes"])
    server.manager.trigger_callback(sid, 1, ["again"])
    server.manager.trigger_callback(sid, 0, ["the counter"])
    server.manager.trigger_callback(sid, "1", ["text"])
    server.manager.trigger_callback("nobody", 1, ["nobody"])
    assert answers == [("yes",)]


def test_callbacks_go_with_their_socket() -> None:
    server = Server()
    client = server.test_client()
    server.emit("question", to=client.sid, callback=lambda: None)
    client.disconnect()
    assert not server.manager.callbacks


# -- a manager of python-socketio's, grafted -------------------------------------------------------


def test_a_grafted_manager_is_still_what_it_was() -> None:
    mine = BusManager(Bus())
    server = Server(client_manager=mine)
    assert server.manager is mine
    assert isinstance(mine, (BusManager, RoomIndex))
    assert graft(mine) is mine


def test_what_is_no_manager_stays_as_it_is() -> None:
    other = object()
    assert graft(other) is other


@pytest.fixture
def bus() -> Iterator[Bus]:
    made = Bus()
    yield made
    made.close()


@pytest.fixture
def pair(bus: Bus) -> tuple[Server, Server]:
    return Server(client_manager=bus.manager()), Server(client_manager=bus.manager())


def test_messages_cross_in_order_and_byte_for_byte(pair: tuple[Server, Server]) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    sent = [
        f'2["#rtcio:message",{{ "source":"{a.sid}",\t"target":"{b.sid}","data":{number}.0}}]'
        for number in range(100)
    ]
    a.send(*sent)
    until(lambda: len(b.link.outbox or ()) == 100)
    assert b.packets() == sent
    assert here.stats()["relayed"] == 100
    assert there.stats()["relayed"] == 100


def test_attachments_cross(pair: tuple[Server, Server]) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    envelope = f'{{"source":"{a.sid}","target":"{b.sid}","data":{{"_placeholder":true,"num":0}}}}'
    a.send(f'51-7["#rtcio:message",{envelope}]', b"\x01\x02\xff")
    assert b.next() == f'51-["#rtcio:message",{envelope}]'
    assert b.next() == "bAQL/"


def test_nothing_that_is_no_sid_crosses(pair: tuple[Server, Server], bus: Bus) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    there.enter_room(b.sid, "tea")
    for target in ("tea", "rtcio:nobody", "nobody"):
        a.relay(target, 1)
    settle()
    assert b.heard("#rtcio:message") == []


def test_the_rules_are_applied_before_a_message_is_published(
    pair: tuple[Server, Server], bus: Bus
) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    bus.published.clear()
    a.emit("#rtcio:message", {"source": b.sid, "target": b.sid, "data": 1})
    a.emit("#rtcio:message", {"source": a.sid, "target": b.sid})
    settle()
    assert bus.published == []


def test_the_scope_of_a_room_holds_across_processes(bus: Bus) -> None:
    here, there = (Server(client_manager=bus.manager(), relay_scope="room") for _ in range(2))
    a, b = Polling(here).join(), Polling(there).join()
    a.relay(b.sid, "strangers")
    until(lambda: there.stats()["dropped"])
    for server, client in ((here, a), (there, b)):
        server.enter_room(client.sid, "tea")
    a.relay(b.sid, "friends")
    until(lambda: there.stats()["relayed"])
    assert [each["data"] for each in b.heard("#rtcio:message")] == ["friends"]
    assert there.stats()["dropped"] == {"other-room": 1}


def test_a_peer_of_another_process_hears_once_that_one_left(pair: tuple[Server, Server]) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    for room in ("tea", "coffee"):
        here.enter_room(a.sid, room)
        there.enter_room(b.sid, room)
    a.close()
    assert b.next() == f'2["#rtcio:peer-left",{{"id":"{a.sid}"}}]'
    settle()
    assert b.packets() == []


def test_a_room_entered_while_connecting_is_entered_here(bus: Bus) -> None:
    server = Server(client_manager=bus.manager())

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        server.enter_room(sid, "tea")

    client = Polling(server).join()
    assert set(server.rooms(client.sid)) == {client.sid, "tea"}


def test_a_socket_of_another_process_can_be_sent_away(pair: tuple[Server, Server]) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    reasons: list[str] = []
    there.on("disconnect", lambda sid, reason: reasons.append(reason))
    here.disconnect(b.sid)
    assert b.next() == "1"
    until(lambda: reasons)
    assert reasons == ["server disconnect"]
    assert "/" not in there.manager.rooms
    assert a.events() == []


@pytest.mark.parametrize("held_up_by", ["disconnect", "callback"])
def test_no_handler_holds_up_what_crosses(pair: tuple[Server, Server], held_up_by: str) -> None:
    here, there = pair
    a, b, c = Polling(here).join(), Polling(there).join(), Polling(there).join()
    started, release = Event(), Event()

    def block(*args: Any) -> None:
        started.set()
        release.wait()

    if held_up_by == "disconnect":
        there.on("disconnect", block)
        here.disconnect(c.sid)
    else:
        there.emit("question", to=a.sid, callback=block)
        number = a.next()[1:].partition("[")[0]
        a.send(f"3{number}[]")
    assert started.wait(10)
    a.relay(b.sid, "meanwhile")
    assert b.next().endswith('"meanwhile"}]')
    release.set()


def test_a_client_of_another_process_can_be_asked(pair: tuple[Server, Server]) -> None:
    here, there = pair
    Polling(here).join()  # whoever listens has had a client
    b = Polling(there).join()
    asking = gevent.spawn(here.call, "question", "why?", to=b.sid, timeout=10)
    asked = b.next()
    number, _, arguments = asked[1:].partition("[")
    assert arguments == '"question","why?"]'
    b.send(f"3{number}[42]")
    assert asking.get(timeout=10) == 42


def test_a_program_without_clients_can_emit(bus: Bus) -> None:
    server = Server(client_manager=bus.manager())
    client = Polling(server).join()
    bus.manager(write_only=True).emit("news", {"a": 1}, room=client.sid)
    assert client.next() == '2["news",{"a":1}]'


def test_a_plain_server_on_the_channel_hears_nothing_of_relays(bus: Bus) -> None:
    plain = socketio.Server(async_mode="gevent", client_manager=bus.manager())
    plain.manager.initialize()
    sid = plain.manager.connect("eio", "/")
    emitted: list[Any] = []
    plain._send_eio_packet = lambda eio_sid, packet: emitted.append(packet)
    server = Server(client_manager=bus.manager())
    a = Polling(server).join()
    a.relay(sid, 1)
    server.emit("everybody", to=sid)
    until(lambda: emitted)
    assert [packet.data for packet in emitted] == ['2["everybody"]']


def test_a_plain_server_with_the_listeners_shares_the_channel(bus: Bus) -> None:
    plain = socketio.Server(async_mode="gevent", client_manager=bus.manager())
    add_default_listeners(plain)
    plain.manager.initialize()
    sid = plain.manager.connect("eio", "/")
    heard: list[str] = []
    plain._send_eio_packet = lambda eio_sid, packet: heard.append(packet.data)
    server = Server(client_manager=bus.manager())
    a = Polling(server).join()
    a.relay(sid, "there")
    until(lambda: heard)
    envelope = f'{{"source":"{sid}","target":"{a.sid}","data":"and back"}}'
    plain._handle_eio_message("eio", f'2["#rtcio:message",{envelope}]')
    assert a.next() == f'2["#rtcio:message",{envelope}]'
    assert heard[0].endswith('"there"}]')


def test_a_message_that_cannot_be_published_is_logged_and_the_next_one_goes(
    pair: tuple[Server, Server], bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    bus.failures = 1
    a.relay(b.sid, "lost")
    a.relay(b.sid, "goes")
    assert b.next().endswith('"goes"}]')
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "the client manager could not publish"
    ]


def test_a_back_end_that_does_not_keep_up_loses_messages_and_not_memory(
    pair: tuple[Server, Server], bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "MAX_UNPUBLISHED", 5)
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    settle()
    bus.stuck = Event()
    for number in range(8):
        a.relay(b.sid, number)
    assert here.stats()["dropped"] == {"publish-overflow": 3}
    stuck, bus.stuck = bus.stuck, None
    stuck.set()
    until(lambda: there.stats()["relayed"] == 5)
    assert [each["data"] for each in b.heard("#rtcio:message")] == [0, 1, 2, 3, 4]


def test_what_waits_for_a_back_end_is_bounded_in_bytes_too(
    pair: tuple[Server, Server], bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "MAX_UNPUBLISHED_BYTES", 100_000)
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    settle()
    bus.stuck = Event()
    for number in range(8):
        a.relay(b.sid, f"{number}" + "x" * 30_000)
    dropped = here.stats()["dropped"]["publish-overflow"]
    assert dropped == 5, "each has 30 kB and what an object costs"
    here.emit("news", {"words": ["y" * 5000] * 20}, to="elsewhere")
    assert here.stats()["dropped"]["publish-overflow"] == 6
    assert here.stats()["relayed"] == 0, "nothing is published yet"
    stuck, bus.stuck = bus.stuck, None
    stuck.set()
    until(lambda: here.stats()["relayed"] == 8 - dropped)
    assert here.manager._unpublished_bytes == 0


def test_what_was_never_published_counts_as_dropped_and_not_as_relayed(
    pair: tuple[Server, Server], bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    bus.failures = 20
    for number in range(25):
        a.relay(b.sid, number)
    until(lambda: len(b.link.outbox or ()) == 5)
    stats = here.stats()
    assert (stats["relayed"], stats["dropped"]) == (5, {"unpublished": 20})
    said = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 1, "one line a minute, not one a message"


@pytest.mark.parametrize("again", [True, False])
def test_a_back_end_that_gives_up_without_an_exception_says_so_once(
    again: bool,
    pair: tuple[Server, Server],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()

    def of_redis(self: Any, data: Any) -> None:
        # As python-socketio's `RedisManager` does it.
        logger = self._get_logger()
        logger.error("Cannot publish to redis... retrying", extra={"redis_exception": "refused"})
        if again:
            return
        logger.error("Cannot publish to redis... giving up", extra={"redis_exception": "refused"})

    monkeypatch.setattr(BusManager, "_publish", of_redis)
    for number in range(5):
        a.relay(b.sid, number)
    settle()
    stats = here.stats()
    assert stats["relayed"] == (5 if again else 0)
    assert stats["dropped"] == ({} if again else {"unpublished": 5})
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said == ([] if again else ["the client manager could not publish: refused"])


def test_a_client_that_never_acknowledges_is_asked_without_end_and_keeps_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(emit, "MAX_CALLBACKS", 20)
    server = Server()
    client, other = Polling(server).join(), Polling(server).join()
    caller = gevent.spawn(server.call, "question", to=client.sid)
    settle()
    answers: list[Any] = []
    for number in range(100):
        server.emit("question", to=client.sid, callback=lambda *args, n=number: answers.append(n))
    server.emit("question", to=other.sid, callback=lambda *args: answers.append("other"))
    waiting = server.manager.callbacks[client.sid]
    assert len(waiting) <= 21
    assert server.stats()["dropped"] == {"unanswered": 81}
    for number in (1, 2, 101):  # who waits in `call` is not given up, nor what was asked last
        client.send(f'3{number}["yes"]')
    assert caller.get(timeout=DEADLINE) == "yes"
    until(lambda: answers)
    assert answers == [99]
    other.send("31[]")
    until(lambda: len(answers) == 2)
