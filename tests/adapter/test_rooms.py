"""Who is connected and who is in which room, and what a room is sent: the index alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
from gevent.event import Event
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtcio_sync.adapter import rooms as module
from rtcio_sync.adapter.calls import Waiter
from rtcio_sync.adapter.member import Member, Stage, ending
from rtcio_sync.adapter.rooms import RoomIndex
from rtcio_sync.errors import LimitExceeded, OptionError, ProtocolError
from rtcio_sync.options import Limits
from tests.members import FakeServer

# -- what it holds ---------------------------------------------------------------------------------


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


# -- what is sent ----------------------------------------------------------------------------------


@pytest.mark.parametrize("polling", [False, True])
def test_each_recipient_gets_an_event_once(polling: bool) -> None:
    fake = FakeServer()
    a, b, c = (fake.joined(polling=polling) for _ in range(3))
    fake.enter(a, "tea")
    fake.enter(b, "tea", "coffee")
    fake.index.emit("news", {"n": 1}, "/", room=["tea", "coffee"], skip_sid=a.sid)
    assert [each.link.taken() for each in (a, b, c)] == [[], ['2["news",{"n":1}]'], []]
    fake.index.emit("news", (1, b"x"), "/")
    expected = ['51-["news",1,{"_placeholder":true,"num":0}]', b"x"]
    assert [each.link.taken() for each in (a, b, c)] == [expected] * 3


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, '2["news"]'),
        ((), '2["news"]'),
        ((None,), '2["news",null]'),
        ([1, 2], '2["news",[1,2]]'),
        ((1, [2]), '2["news",1,[2]]'),
        (math.nan, '2["news",null]'),
    ],
)
def test_a_tuple_is_several_arguments_and_none_is_no_argument(data: Any, text: str) -> None:
    fake = FakeServer()
    a = fake.joined()
    fake.index.emit("news", data, "/")
    assert a.link.taken() == [text]


def test_the_packets_of_another_namespace_name_it() -> None:
    fake = FakeServer()
    a = fake.joined("/calls")
    fake.index.emit("news", 1, "/calls", room=a.sid)
    fake.index.emit("news", 2, "/")
    assert a.link.taken() == ['2/calls,["news",1]']


def test_what_names_no_room_raises_with_nobody_connected_too() -> None:
    for wrong in ({"room": "tea"}, ["tea", None], (each for each in "ab")):
        with pytest.raises(OptionError, match="room"):
            FakeServer().index.emit("news", 1, "/", room=wrong)


@pytest.mark.parametrize("polling", [False, True])
def test_what_is_sent_before_connect_is_answered_follows_it(polling: bool) -> None:
    fake = FakeServer()
    a = fake.joining(polling=polling)
    a.held = []
    fake.index.emit("one", None, "/")
    fake.index.emit("two", b"x", "/")
    assert a.link.taken() == []
    fake.index.release(a)
    fake.index.emit("three", None, "/")
    expected = ['2["one"]', '51-["two",{"_placeholder":true,"num":0}]', b"x", '2["three"]']
    assert a.link.taken() == expected
    assert a.held_bytes == 0


def test_what_waits_for_connect_counts_as_what_waits_for_a_slow_reader() -> None:
    fake = FakeServer()
    fake.limits = Limits(max_buffered_bytes=10_000)
    a = fake.joining()
    a.held = []
    for _ in range(6):
        fake.index.emit("news", "x" * 1000, "/")
    assert a.link.failed == ["slow-reader"]
    assert fake.over == [10_000]
    assert len(a.held) == 2, "what waited goes, and what comes then waits again"


def test_an_acknowledgement_is_taken_once() -> None:
    fake = FakeServer()
    a = fake.joined()
    answers: list[Any] = []
    fake.index.emit("question", None, "/", room=a.sid, callback=lambda *all_: answers.append(all_))
    assert a.link.taken() == ['21["question"]']
    for sid, number, answer in (
        (a.sid, 1, ["yes"]),
        (a.sid, 1, ["again"]),
        (a.sid, 0, ["the counter"]),
        (a.sid, "1", ["text"]),
        ("nobody", 1, ["nobody"]),
    ):
        fake.index.trigger_callback(sid, number, answer)
    assert answers == [("yes",)]


def test_who_waits_for_an_answer_is_told_when_the_last_that_was_asked_has_left() -> None:
    fake = FakeServer()
    a, b = fake.joined(), fake.joined()
    waiter = Waiter(Event())
    fake.index.emit("question", None, "/", room=[a.sid, b.sid], callback=waiter)
    fake.index.withdraw(a)
    assert not waiter.left
    fake.index.end_calls(b.sid)
    assert waiter.left and waiter.event.is_set()
    assert not fake.index.callbacks.get(a.sid)


def test_who_waits_no_more_is_forgotten_and_others_are_not() -> None:
    fake = FakeServer()
    a = fake.joined()
    answers: list[Any] = []
    waiter = Waiter(Event())
    fake.index.emit("question", None, "/", room=a.sid, callback=waiter)
    fake.index.emit("question", None, "/", room=a.sid, callback=lambda *all_: answers.append(all_))
    fake.index.forget(waiter, a.sid)
    fake.index.trigger_callback(a.sid, 1, ["late"])
    fake.index.trigger_callback(a.sid, 2, ["in time"])
    assert (waiter.answer, answers) == ((), [("in time",)])


def test_a_client_that_answers_nothing_is_asked_on_and_the_oldest_question_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CALLBACKS", 3)
    fake = FakeServer()
    a = fake.joined()
    waiter = Waiter(Event())
    answers: list[int] = []
    fake.index.emit("call", None, "/", room=a.sid, callback=waiter)
    for number in range(2, 7):
        fake.index.emit("ask", None, "/", room=a.sid, callback=lambda n=number: answers.append(n))
    assert dict(fake.counters.dropped) == {"unanswered": 3}
    for number in range(1, 7):
        fake.index.trigger_callback(a.sid, number, [])
    assert answers == [5, 6]
    assert waiter.event.is_set(), "who waits in `call` is never given up"


def test_nobody_can_answer_once_all_have_left_or_are_away() -> None:
    fake = FakeServer()
    a, b = fake.joined(), fake.joining()
    fake.enter(a, "tea")
    assert not fake.index.nobody_answers("tea", "/")
    assert not fake.index.nobody_answers([b.sid], "/")
    a.stage = Stage.AWAY
    assert fake.index.nobody_answers("tea", "/")
    assert fake.index.nobody_answers(["tea", "nowhere"], "/")
    assert not fake.index.nobody_answers(["tea", b.sid], "/")


def test_an_announcement_reaches_each_once_however_often_it_is_made() -> None:
    fake = FakeServer()
    gone, a, b = (fake.joined() for _ in range(3))
    fake.enter(a, "tea", "coffee")
    fake.enter(b, "coffee")
    rooms = fake.index
    told = rooms.announce("left", {"id": gone.sid}, "/", ["tea"], {gone.sid}, set())
    told = rooms.announce("left", {"id": gone.sid}, "/", ["coffee"], told, {"tea"})
    assert told == {gone.sid, a.sid, b.sid}
    for each in (a, b):
        assert each.link.taken() == [f'2["left",{{"id":"{gone.sid}"}}]']


# -- with recovery ---------------------------------------------------------------------------------


def test_with_recovery_each_event_carries_its_offset_and_is_kept_for_who_is_away() -> None:
    fake = FakeServer(recovery=True)
    a, b = fake.joined(), fake.joined(polling=True)
    fake.index.emit("one", 1, "/")
    fake.index.emit("two", None, "/", room=b.sid)
    first, second = fake.recovery.spelt(1), fake.recovery.spelt(2)
    assert a.link.taken() == [f'2["one",1,"{first}"]']
    assert b.link.taken() == [f'2["one",1,"{first}"]', f'2["two","{second}"]']
    assert len(a.session.missed(None) or ()) == 1
    assert len(b.session.missed(None) or ()) == 2
    assert b.session.missed(second) == []


def test_with_recovery_a_question_carries_no_offset_and_is_not_kept() -> None:
    fake = FakeServer(recovery=True)
    a = fake.joined()
    fake.index.emit("question", 1, "/", room=a.sid, callback=lambda: None)
    assert a.link.taken() == ['21["question",1]']
    assert a.session.missed(None) == []


def test_with_recovery_the_offset_of_an_offer_is_not_taken_for_its_options() -> None:
    fake = FakeServer(recovery=True)
    a = fake.joined()
    fake.index.emit("#rtcio:init-offer", {"source": "x"}, "/")
    offset = fake.recovery.spelt(1)
    expected = f'2["#rtcio:init-offer",{{"source":"x"}},{{"polite":true}},"{offset}"]'
    assert a.link.taken() == [expected]
