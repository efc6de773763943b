"""Who is connected and who is in which room: the index alone."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtcio_sync.adapter import rooms as module
from rtcio_sync.adapter.emit import RoomIndex
from rtcio_sync.adapter.member import Member, Stage, ending
from rtcio_sync.errors import LimitExceeded, ProtocolError
from rtcio_sync.options import Limits
from tests.collecting import at_each_collection
from tests.members import FakeServer


class Rooms(RuleBasedStateMachine):
    """The index against two plain dicts: who is connected, who is in which room."""

    names = st.sampled_from(["tea", "coffee", 7])
    picks = st.integers(0, 9)

    def __init__(self) -> None:
        super().__init__()
        self.index = FakeServer().index
        self.inside: dict[str, set[Any]] = {}
        self.made = 0

    def pick(self, number: int) -> str | None:
        sids = list(self.inside)
        return sids[number % len(sids)] if sids else None

    @rule()
    def connect(self) -> None:
        self.made += 1
        sid = self.index.pre_connect(f"eio{self.made}", "/")
        assert sid is not None
        self.inside[sid] = set()
        if self.made % 3:
            assert self.index.connect(sid, "/") == sid

    @rule(number=picks, room=names)
    def enter(self, number: int, room: Any) -> None:
        sid = self.pick(number)
        if sid is not None:
            self.index.enter_room(sid, "/", room)
            self.inside[sid].add(room)

    @rule(number=picks, room=names)
    def leave(self, number: int, room: Any) -> None:
        sid = self.pick(number)
        if sid is not None:
            self.index.leave_room(sid, "/", room)
            self.inside[sid].discard(room)

    @rule(room=names)
    def close(self, room: Any) -> None:
        self.index.close_room(room, "/")
        for rooms in self.inside.values():
            rooms.discard(room)

    @rule(number=picks)
    def disconnect(self, number: int) -> None:
        sid = self.pick(number)
        if sid is not None:
            self.index.disconnect(sid, "/")
            del self.inside[sid]

    @invariant()
    def the_index_is_right(self) -> None:
        for sid, rooms in self.inside.items():
            found = self.index.get_rooms(sid, "/")
            assert len(found) == len(set(found))
            assert set(found) == {sid, *rooms}
        for room in ("tea", "coffee", 7):
            members = {sid for sid, _ in self.index.get_participants("/", room)}
            assert members == {sid for sid, rooms in self.inside.items() if room in rooms}
        assert {sid for sid, _ in self.index.get_participants("/", None)} == set(self.inside)

    @invariant()
    def nothing_empty_is_kept(self) -> None:
        rooms = self.index.rooms.get("/", {})
        assert all(rooms.values())
        taken = {room for each in self.inside.values() for room in each}
        assert set(rooms) == ({None} | taken if self.inside else set())
        assert bool(self.index.members) is bool(self.inside)


TestRooms = Rooms.TestCase
TestRooms.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def sids_in(index: RoomIndex, room: Any, namespace: str = "/") -> list[str]:
    return [sid for sid, _ in index.get_participants(namespace, room)]


def test_a_sid_is_no_room_to_enter_or_to_close() -> None:
    fake = FakeServer()
    a, b = fake.joined(), fake.joined()
    with pytest.raises(ValueError, match="sid"):
        fake.enter(a, b.sid)
    with pytest.raises(ValueError, match="sid"):
        fake.index.close_room(b.sid, "/")
    fake.enter(a, a.sid)
    assert fake.rooms(a) == []


def test_a_room_named_like_one_that_left_is_entered_by_nobody() -> None:
    fake = FakeServer()
    gone, other = fake.joined(), fake.joined()
    fake.index.disconnect(gone.sid, "/")
    with pytest.raises(ValueError, match="sid"):
        fake.enter(other, gone.sid)


def test_a_room_of_several_is_each_of_its_sockets_once() -> None:
    fake = FakeServer()
    a, b = fake.joined(), fake.joined()
    fake.enter(a, "tea", "coffee")
    fake.enter(b, "coffee")
    assert list(fake.index.get_participants("/", ["tea", "coffee", b.sid])) == [
        (a.sid, a.eio_sid),
        (b.sid, b.eio_sid),
    ]


def test_a_handler_that_outlives_its_socket_enters_nothing() -> None:
    fake = FakeServer()
    gone = fake.joined()
    fake.index.disconnect(gone.sid, "/")
    fake.enter(gone, "tea")
    assert not fake.index.rooms
    assert fake.index.get_rooms(gone.sid, "/") == []


def test_a_sid_that_never_was_is_a_mistake() -> None:
    fake = FakeServer()
    with pytest.raises(ValueError, match="not connected"):
        fake.index.enter_room("nobody", "/", "tea")


def test_no_more_than_the_last_departed_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEPARTED_KEPT", 3)
    fake = FakeServer()
    members = [fake.joined() for _ in range(5)]
    for member in members:
        fake.index.disconnect(member.sid, "/")
    for member in members[2:]:
        fake.enter(member, "tea")
    for member in members[:2]:
        with pytest.raises(ValueError):
            fake.enter(member, "tea")


def test_a_connection_has_one_socket_in_each_namespace() -> None:
    index = FakeServer().index
    root = index.pre_connect("eio", "/")
    calls = index.pre_connect("eio", "/calls")
    assert calls is not None
    assert index.pre_connect("eio", "/") is None
    assert {member.sid for member in index.members_of("eio")} == {root, calls}
    assert index.sid_from_eio_sid("eio", "/calls") == calls
    assert index.eio_sid_from_sid(calls, "/calls") == "eio"
    assert index.eio_sid_from_sid(calls, "/") is None


def test_a_connection_that_left_a_namespace_may_come_back() -> None:
    index = FakeServer().index
    first = index.connect("eio", "/")
    assert first is not None
    index.disconnect(first, "/")
    second = index.connect("eio", "/")
    assert second is not None and second != first
    assert index.is_connected(second, "/")


def test_the_stages_of_a_socket() -> None:
    index = FakeServer().index
    sid = index.pre_connect("eio", "/")
    assert sid is not None
    stages = []

    def note() -> None:
        member = index.member(sid, "/")
        assert member is not None
        stages.append(
            (member.stage, index.is_pre_connected(sid, "/"), index.is_connected(sid, "/"))
        )

    note()
    index.connect(sid, "/")
    note()
    index.pre_disconnect(sid, "/")
    note()
    index.connect(sid, "/")
    note()
    assert stages == [
        (Stage.CONNECTING, True, False),
        (Stage.CONNECTED, False, True),
        (Stage.LEAVING, False, False),
        (Stage.LEAVING, False, False),
    ]


def test_rooms_and_who_is_in_them_are_in_the_order_of_joining() -> None:
    fake = FakeServer()
    a, b, c = (fake.joined() for _ in range(3))
    for member in (c, a, b):
        fake.enter(member, "z", 7, "a")
    fake.index.leave_room(a.sid, "/", "z")
    fake.enter(a, "z")
    assert fake.rooms(a) == [7, "a", "z"]
    assert sids_in(fake.index, "z") == [c.sid, b.sid, a.sid]
    assert fake.index.names_of_rooms("/") == [a.sid, b.sid, c.sid, "z", 7, "a"]


def test_rooms_may_come_while_their_names_are_read() -> None:
    fake = FakeServer()
    a, more = fake.joined(), itertools.count()
    fake.enter(a, *range(60))
    with at_each_collection(lambda: fake.enter(fake.joined(), f"more {next(more)}")):
        names = fake.index.names_of_rooms("/")
    assert names[:61] == [a.sid, *range(60)]


def test_a_room_is_of_one_namespace() -> None:
    fake = FakeServer()
    here, there = fake.joined(), fake.joined("/calls")
    fake.enter(here, "tea")
    fake.enter(there, "tea")
    assert sids_in(fake.index, "tea") == [here.sid]
    fake.index.close_room("tea", "/")
    assert fake.rooms(there) == ["tea"]


def test_a_room_that_nobody_is_in_any_more_is_gone_from_the_names() -> None:
    fake = FakeServer()
    a = fake.joined()
    fake.enter(a, "tea")
    fake.index.leave_room(a.sid, "/", "tea")
    fake.index.leave_room(a.sid, "/", "tea")
    assert fake.index.names_of_rooms("/") == [a.sid]


def test_over_the_limits_of_rooms_a_socket_enters_no_other() -> None:
    fake = FakeServer()
    fake.limits = Limits(max_rooms_per_socket=2, max_room_name=3)
    a = fake.joined()
    fake.enter(a, "tea", 7, "tea")
    for room, reason in (("x", "rooms"), ("long", "room-name"), (b"long", "room-name")):
        with pytest.raises(LimitExceeded) as caught:
            fake.enter(a, room)
        assert caught.value.reason == reason
        with pytest.raises(ProtocolError):
            fake.index.may_enter(a.sid, "/", room)
    fake.index.may_enter(a.sid, "/", "tea")
    assert fake.rooms(a) == ["tea", 7]


def test_who_has_left_is_seen_by_nobody_and_its_own_handlers_see_its_rooms() -> None:
    fake = FakeServer()
    a, b = fake.joined(), fake.joined()
    fake.enter(a, "tea")
    fake.enter(b, "tea")
    fake.index.withdraw(a)
    assert sids_in(fake.index, "tea") == sids_in(fake.index, None) == [b.sid]
    assert sids_in(fake.index, a.sid) == []
    assert fake.index.get_rooms(a.sid, "/") == []
    token = ending.set((a, "disconnect"))
    try:
        assert fake.rooms(a) == ["tea"]
    finally:
        ending.reset(token)


def test_whoever_listens_hears_of_each_room_that_is_left_once() -> None:
    fake = FakeServer()
    left: list[tuple[Member, Any]] = []
    fake.index.on_leave.append(lambda member, room: left.append((member, room)))
    a = fake.joined()
    fake.enter(a, "tea", "coffee", "cake")
    fake.index.leave_room(a.sid, "/", "tea")
    fake.index.leave_room(a.sid, "/", "tea")
    fake.index.close_room("coffee", "/")
    fake.index.withdraw(a)
    fake.index.disconnect(a.sid, "/")
    assert left == [(a, "tea"), (a, "coffee"), (a, "cake")]


def test_one_that_waits_for_its_client_stays_in_its_rooms_and_moves_with_it() -> None:
    fake = FakeServer()
    a = fake.joined()
    fake.enter(a, "tea")
    fake.index.park(a)
    assert fake.index.member_of(a.eio_sid, "/") is None
    assert sids_in(fake.index, "tea") == [a.sid]
    fake.index.move(a, "another connection")
    assert list(fake.index.get_participants("/", "tea")) == [(a.sid, "another connection")]
    assert fake.index.member_of("another connection", "/") is a
