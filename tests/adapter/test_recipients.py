"""Whom a call is for: what names everybody, a room, several or none."""

from __future__ import annotations

from typing import Any

import pytest

from rtcio_sync.adapter.recipients import OrderedSet, flat, recipients, rooms_in, skipped
from rtcio_sync.errors import OptionError


@pytest.mark.parametrize(
    ("to", "room", "meant"),
    [
        (None, None, None),
        ("tea", None, "tea"),
        ("", None, ""),
        (0, None, [0]),
        (False, None, [False]),
        (b"tea", None, [b"tea"]),
        ([], None, []),
        ((), None, []),
        (set(), None, []),
        ({}.keys(), None, []),
        (["tea", 0], None, ["tea", 0]),
        (("", "tea"), None, ["", "tea"]),
        (OrderedSet(["b", "a"]), None, ["b", "a"]),
        ({"tea": 1}.keys(), None, ["tea"]),
        (None, "tea", "tea"),
        (None, [], []),
        ([], "tea", []),
        ("", "tea", ""),
        ("tea", [], "tea"),
    ],
)
def test_only_none_is_everybody_and_to_wins_over_room(to: Any, room: Any, meant: Any) -> None:
    assert recipients(to, room) == meant


@pytest.mark.parametrize(
    ("given", "out"),
    [
        (None, []),
        ([], []),
        ("", [""]),
        ("sid", ["sid"]),
        (0, [0]),
        ({"tea"}, ["tea"]),
        (["a", None, "b"], ["a", "b"]),
    ],
)
def test_whom_to_skip_is_a_room_a_sid_several_or_nobody(given: Any, out: list[Any]) -> None:
    assert skipped(given) == out


def test_rooms_given_singly_and_in_lists_are_one_list() -> None:
    assert flat(["a", ["b", 0], ("c",), []]) == ["a", "b", 0, "c"]


@pytest.mark.parametrize(
    "wrong",
    [{"room": "tea"}, bytearray(b"tea"), [["tea"]], ["tea", {}], ["tea", None], iter("ab"), ({},)],
    ids=range(7),
)
def test_what_names_no_room_raises(wrong: Any) -> None:
    for reading in (recipients, rooms_in):
        with pytest.raises(OptionError, match="room"):
            reading(wrong)
    with pytest.raises(OptionError, match="room"):
        flat([wrong])


def test_a_set_of_rooms_is_a_set_that_may_be_changed() -> None:
    rooms = OrderedSet(["c", "a", "b"])
    assert list(rooms) == ["c", "a", "b"]
    rooms.discard("a")
    rooms.add("d")
    assert list(rooms) == ["c", "b", "d"]
    assert rooms == {"b", "c", "d"}
    assert rooms | {"e"} == {"b", "c", "d", "e"}
    assert rooms <= {"b", "c", "d", "e"}
    rooms.update(["c"])
    assert sorted(rooms) == ["b", "c", "d"]
    assert len(rooms) == 3
    with pytest.raises(TypeError):
        rooms - ["c"]  # type: ignore[operator]


def test_what_is_left_of_a_set_of_rooms_is_in_the_order_of_joining() -> None:
    rooms = OrderedSet(["room 9", "a", 7, "z"])
    assert list(rooms - {"a"}) == ["room 9", 7, "z"]
    assert list(rooms & {"z", "room 9"}) == ["room 9", "z"]
    assert isinstance(rooms - {"a"}, set)
