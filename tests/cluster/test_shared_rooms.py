"""A manager whose other nodes are not there: what it does then."""

from __future__ import annotations

from contextlib import nullcontext
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from rtcio_sync.cluster import shared_rooms
from rtcio_sync.cluster.messages import Kind
from rtcio_sync.errors import LimitExceeded, OptionError, ProtocolError
from tests.cluster.sharing import Bus, sharing


def test_who_joins_a_room_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = Bus("aaaa", "bbbb")
    fake = sharing(bus)
    member = fake.joined()
    made: list[Any] = []
    for module in (shared_rooms, shared_rooms.messages):
        before = module.encoded
        monkeypatch.setattr(
            module, "encoded", lambda each, before=before: made.append(each) or before(each)
        )
    fake.enter(member, "tea")
    assert [type(each).__name__ for each in made] == ["Joined"]
    assert bus.posted == [(node, Kind.JOINED) for node in bus.nodes]


def test_the_last_node_encodes_nothing_for_those_that_have_died(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = sharing(Bus())
    encoded: list[Any] = []
    monkeypatch.setattr(shared_rooms, "encoded", encoded.append)
    member = fake.joined()
    fake.enter(member, "tea", ("cake", 1))
    fake.index.announce("left", {"id": member.sid}, "/", ["tea"], set(), set())
    fake.index.leave_room(member.sid, "/", "tea")
    fake.index.close_room(("cake", 1), "/")
    fake.index.basic_disconnect(member.sid, "/")
    assert encoded == []


def test_a_room_that_others_cannot_know_is_refused_before_anything_is_changed() -> None:
    fake = sharing(Bus("them"))
    member = fake.joined()
    with pytest.raises(OptionError):
        fake.enter(member, frozenset({1}))
    assert fake.rooms(member) == []


@pytest.mark.parametrize("room", [UUID(int=1), 2**70, Decimal(1)], ids=str)
def test_what_is_done_in_a_room_that_others_cannot_know_is_refused(room: Any) -> None:
    alone, fake = sharing(Bus()), sharing(Bus("them"))
    for each, error in ((alone, nullcontext()), (fake, pytest.raises(OptionError, match="name"))):
        index: Any = each.index
        for do in (
            lambda index=index: index.emit("news", 1, "/", room=room),
            lambda index=index: index.emit("news", 1, "/", room=["tea", room]),
            lambda index=index: index.elsewhere("disconnect", "/", [room], []),
            lambda index=index: index.close_room(room, "/"),
        ):
            with error:
                do()


def test_nobody_waits_for_the_answer_to_an_event_that_was_dropped() -> None:
    bus = Bus("them")
    bus.full.add("them")
    fake = sharing(bus)
    answers: list[Any] = []
    fake.index.emit("question", None, "/", room="them" + "x" * 16, callback=answers.append)
    assert len(bus.posted) == 1
    assert fake.index.asked.callback(1) is None
    with pytest.raises(OptionError):
        fake.index.emit("question", None, "/", skip_sid=[object()], callback=answers.append)
    assert fake.index.asked.callback(2) is None
    bus.full.clear()
    fake.index.emit("question", None, "/", room="them" + "x" * 16, callback=answers.append)
    assert fake.index.asked.callback(3) is not None


def test_a_sid_of_a_class_of_its_own_is_sent_to_its_node() -> None:
    class Text(str):
        pass

    bus = Bus("them")
    fake = sharing(bus)
    fake.index.emit("news", None, "/", room=Text("them" + "x" * 16))
    assert bus.posted == [("them", Kind.EMIT)]
    assert not fake.index.can_disconnect(Text("them" + "x" * 16), "/")
    assert bus.posted[1:] == [("them", Kind.DISCONNECT)]


def test_other_nodes_are_told_who_has_left_which_rooms() -> None:
    bus = Bus("them")
    fake = sharing(bus)
    member = fake.joined()
    fake.enter(member, "tea")
    bus.posted.clear()
    fake.index.pre_disconnect(member.sid, "/")
    fake.index.basic_disconnect(member.sid, "/")
    assert bus.posted == [("them", Kind.LEFT)]


@pytest.mark.parametrize("name", ["sid", "long"])
def test_a_room_that_no_socket_may_enter_is_refused_where_it_is_named(name: str) -> None:
    bus = Bus("them")
    fake = sharing(bus)
    sid, other = "themABCDEFGHIJKLMNOP", "themABCDEFGHIJKLMNOQ"
    index, here = fake.index, fake.joined().sid
    limit = index.limits_of("/").max_room_name
    assert limit is not None
    error: Any = ProtocolError if name == "sid" else LimitExceeded
    for room in (other, here) if name == "sid" else ("x" * (limit + 1),):
        for call in (
            lambda room=room: index.enter_room(sid, "/", room),
            lambda room=room: index.elsewhere("join", "/", None, [], "tea", room),
            lambda room=room: index.elsewhere("join", "/", [sid], [], room),
        ):
            with pytest.raises(error):
                call()
    assert bus.posted == []
    index.enter_room(sid, "/", sid)
    index.elsewhere("join", "/", [sid], [], sid, "tea")
