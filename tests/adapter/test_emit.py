"""What a room is sent, and whose answer is waited for: the index alone."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rtcio_sync.adapter.member import Stage
from rtcio_sync.errors import OptionError
from rtcio_sync.options import Limits
from tests.members import FakeServer


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


@pytest.mark.parametrize("recovery", [None, True])
@pytest.mark.parametrize("data", [{"n": 1}, b"x"], ids=["text", "attachment"])
def test_a_room_hears_its_sender_alike_however_each_is_connected(data: Any, recovery: Any) -> None:
    fake = FakeServer(recovery=recovery)
    sender, a, b, c, waits = (fake.joined(polling=polling) for polling in (0, 0, 1, 1, 0))
    for each in (sender, a, b, c, waits):
        fake.enter(each, "tea")
    waits.held = []
    fake.index.emit("news", data, "/", room="tea", skip_sid=sender.sid)
    heard = a.link.taken()
    assert heard[0].startswith('2["news",' if data != b"x" else '51-["news",')
    assert [each.link.taken() for each in (b, c, waits, sender)] == [heard, heard, [], []]
    fake.index.release(waits)
    assert waits.link.taken() == heard


def test_who_is_left_out_may_be_a_room_or_nobody() -> None:
    fake = FakeServer()
    a, b = fake.joined(), fake.joined()
    fake.enter(a, "tea", "coffee")
    fake.enter(b, "tea")
    for skip in ("coffee", a.sid, "gone"):
        fake.index.emit("news", skip, "/", room="tea", skip_sid=skip)
    assert a.link.taken() == ['2["news","gone"]']
    assert b.link.taken() == ['2["news","coffee"]', f'2["news","{a.sid}"]', '2["news","gone"]']
    fake.index.emit("news", 1, "/", room=b.sid, skip_sid=a.sid)
    fake.index.emit("news", 2, "/", room=b.sid, skip_sid=b.sid)
    fake.index.emit("news", 3, "/", room="nowhere", skip_sid=a.sid)
    fake.index.emit("news", 4, "/nowhere", room="tea", skip_sid=a.sid)
    assert (a.link.taken(), b.link.taken()) == ([], ['2["news",1]'])


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
