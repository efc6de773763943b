"""Whom a call is for: what names everybody, a room, several or none."""

from __future__ import annotations

import dataclasses
import enum
from collections import UserList, deque
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from rtcio_sync.adapter.recipients import OrderedSet, flat, recipients, rooms_in, skipped
from rtcio_sync.errors import OptionError


class Text(str):
    """As `markupsafe.Markup` and ``numpy.str_`` are."""


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass(frozen=True)
class Table:
    number: int


@dataclasses.dataclass(frozen=True)
class Seats:
    """Two with the same names are the same room."""

    names: tuple[str, ...]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)


class OfOne(Mapping[str, str]):
    """A mapping with the hash of any object."""

    __hash__ = object.__hash__

    def __init__(self, kept: dict[str, str]) -> None:
        self.kept = kept

    def __getitem__(self, key: str) -> str:
        return self.kept[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.kept)

    def __len__(self) -> int:
        return len(self.kept)


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
        ({"a": "tea", "b": 0}.values(), None, ["tea", 0]),
        ({}.values(), None, []),
        (range(2), None, [0, 1]),
        (deque(["tea"]), None, ["tea"]),
        (UserList(["tea"]), None, ["tea"]),
        (Colour.RED, None, [Colour.RED]),
        (Table(1), None, [Table(1)]),
        (Seats(("a", "b")), None, [Seats(("a", "b"))]),
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
        ({1: "a", 2: "b"}.values(), ["a", "b"]),
        (range(2), [0, 1]),
    ],
)
def test_whom_to_skip_is_a_room_a_sid_several_or_nobody(given: Any, out: list[Any]) -> None:
    assert skipped(given) == out


def test_a_text_of_a_class_of_its_own_counts_as_its_text() -> None:
    given = Text("tea")
    for read in (recipients(given), recipients([given]), skipped(given), flat([given, [given]])):
        assert {(type(each), each) for each in read} == {(str, "tea")}


def test_rooms_given_singly_and_in_lists_are_one_list() -> None:
    assert flat(["a", ["b", 0], ("c",), [], {1: "d"}.values()]) == ["a", "b", 0, "c", "d"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"room": "tea"},
        bytearray(b"tea"),
        [["tea"]],
        ["tea", {}],
        ["tea", None],
        iter("ab"),
        ({},),
        memoryview(b"tea"),
        memoryview(bytearray(b"tea")),
        [{}.values()],
        OfOne({"room": "tea"}),
    ],
    ids=range(11),
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
