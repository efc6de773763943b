"""Rooms and recipients in the arguments of calls.

One rule holds for every call with recipients, in both idioms and over a pub/sub back end. Only
`None`, or no argument, means everybody. A list, tuple, set or the like (``dict.values()``) names
any number of rooms; an empty one names nobody. Any other hashable value names one room, ``0`` and
``""`` too. A sid names the room of its socket alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..protocol.names import check_room, is_several

__all__ = ["OrderedSet", "flat", "recipients", "rooms_in", "skipped"]


def recipients(to: Any, room: Any = None) -> Any:
    """The meaning of ``to`` and ``room``: `None` for everybody, one room, or a list of rooms.

    ``to`` takes precedence unless it is `None`. Raises `OptionError` for an invalid room.
    """
    given = room if to is None else to
    if given is None or type(given) is str:
        return given
    if type(given) is tuple and len(given) == 1 and type(given[0]) is str:  # most are so
        return [given[0]]
    return rooms_in(given)


def rooms_in(given: Any) -> list[Any]:
    """The rooms in ``given``, one or a list. Raises `OptionError` for an invalid room."""
    rooms = given
    if type(given) is not list:
        rooms = list(given) if is_several(given) else [given]
    return [each if type(each) is str else check_room(each) for each in rooms]


def flat(given: Iterable[Any]) -> list[Any]:
    """Rooms that are given one by one or in lists. Raises `OptionError` as `rooms_in`."""
    found: list[Any] = []
    for each in given:
        if type(each) is str:
            found.append(each)
        else:
            found += rooms_in(each)
    return found


def skipped(given: Any) -> list[Any]:
    """The rooms or sids to leave out: one or a list; `None` and an empty list: none."""
    if given is None:
        return []
    if type(given) is str:
        return [given]
    if type(given) is list and len(given) == 1 and type(given[0]) is str:
        return given
    several = given if type(given) is list or is_several(given) else (given,)
    return rooms_in([each for each in several if each is not None])


class OrderedSet(set[Any]):
    """A `set` that iterates in the order of insertion, which is the order of joining."""

    __slots__ = ("_order",)

    def __init__(self, members: Iterable[Any] = ()) -> None:
        self._order = tuple(members)
        super().__init__(self._order)

    def __iter__(self) -> Iterator[Any]:
        # Any method of `set` may have changed it since.
        kept = [each for each in dict.fromkeys(self._order) if each in self]
        return iter([*kept, *self.difference(self._order)])

    def __sub__(self, other: Any) -> Any:
        return self._only(super().__sub__(other))

    def __and__(self, other: Any) -> Any:
        return self._only(super().__and__(other))

    def _only(self, kept: Any) -> Any:
        return kept if kept is NotImplemented else OrderedSet(x for x in self if x in kept)
