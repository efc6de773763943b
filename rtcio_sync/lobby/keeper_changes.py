"""What workers tell the keeper, and whether the keeper has done it. # hub or greenlet

Each worker numbers its changes, and tells them in this order. It keeps each one until the keeper
has confirmed its number, and tells those that are left to the next keeper, once. The keeper notes
what it has done of each worker, and hands these notes on.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..cluster.messages import encoded
from .keeper_messages import MOVES, Op, Seat

__all__ = ["Change", "Changes", "Done"]

MOST = 10_000  # changes that wait; over that, no further words are taken
MOST_BYTES = 16_000_000  # the same


@dataclass(eq=False)
class Change:
    """A change to a seat, or words to its room. ``seat``: as it was before."""

    number: int
    seat: Seat
    what: str
    #: The encoded `Op`.
    body: bytes
    made: float
    #: Whether the keeper of now has been told.
    told: bool = False


class Changes:
    """What this worker has told, or has to tell, in its order."""

    def __init__(self) -> None:
        self._all: dict[int, Change] = {}
        self._numbers = itertools.count(1)
        self._bytes = 0

    def __iter__(self) -> Iterator[Change]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    @property
    def full(self) -> bool:
        return len(self._all) >= MOST or self._bytes >= MOST_BYTES

    @property
    def first(self) -> int:
        """The smallest number that is not confirmed; 0: all are."""
        return next(iter(self._all), 0)

    def add(self, seat: Seat, op: Op) -> Change:
        """Raises `OptionError` for a value that cannot be sent."""
        op.number = next(self._numbers)
        change = Change(op.number, seat, op.what, encoded(op), time.monotonic())
        self._all[change.number] = change
        self._bytes += len(change.body)
        return change

    def confirmed(self, number: int) -> None:
        """The keeper has done it, and told the room's peers."""
        change = self._all.pop(number, None)
        if change is not None:
            self._bytes -= len(change.body)

    def confirmed_move(self, sid: str, room: str) -> None:
        """A keeper that knows no numbers has done the oldest move of a seat."""
        for change in self:
            if change.what in MOVES and (change.seat.sid, change.seat.room) == (sid, room):
                self.confirmed(change.number)
                return

    def waits(self, sid: str, seconds: float) -> bool:
        """Whether something of a client has waited for less than ``seconds``."""
        after = time.monotonic() - seconds
        return any(each.seat.sid == sid and each.made > after for each in self._all.values())

    def tell_again(self) -> None:
        """The keeper has to be told all of them."""
        for change in self:
            change.told = False

    def claims(self, seats: Iterable[Seat]) -> list[Seat]:
        """The seats as a keeper has confirmed them. The changes since then are told again."""
        found = {(seat.sid, seat.room): seat for seat in seats if seat.since}
        begun: set[tuple[str, str]] = set()
        self.tell_again()
        for change in self:
            place = change.seat.sid, change.seat.room
            if change.what not in MOVES or place in begun:
                continue
            now = found.get(place)
            if now is not None and now.token != change.seat.token:
                self.confirmed(change.number)  # it has left, and got a new seat since
                continue
            begun.add(place)
            found[place] = change.seat
        return list(found.values())


@dataclass
class _Teller:
    #: The largest number that was heard of.
    latest: int = 0
    #: The smaller ones that are not done, and whether each is under way here.
    open: dict[int, bool] = field(default_factory=dict)

    def has(self, number: int) -> bool:
        return number <= self.latest and number not in self.open


class Done:
    """The keeper's notes: which changes of each worker are done."""

    def __init__(self) -> None:
        self._of: dict[str, _Teller] = {}

    def has(self, node: str, number: int) -> bool:
        return node in self._of and self._of[node].has(number)

    def begin(self, node: str, number: int) -> bool:
        """Whether it is to be done now; `False`: it is done, or under way."""
        teller = self._of.setdefault(node, _Teller())
        if teller.has(number) or teller.open.get(number):
            return False
        teller.latest = max(teller.latest, number)
        teller.open[number] = True
        return True

    def end(self, node: str, number: int) -> None:
        """It is done, and the room's peers are told."""
        if node in self._of:
            self._of[node].open.pop(number, None)

    def missed(self, node: str, number: int) -> None:
        """It was heard, and is not done here."""
        teller = self._of.setdefault(node, _Teller())
        if not teller.has(number):
            teller.latest = max(teller.latest, number)
            teller.open[number] = False

    def settled(self, node: str, first: int) -> None:
        """A worker has no change before ``first`` that is not confirmed; 0: none at all."""
        teller = self._of.get(node)
        if teller is not None:
            left = teller.open.items() if first else ()
            teller.open = {number: here for number, here in left if number >= first}

    def died(self, node: str) -> None:
        self._of.pop(node, None)

    def hand_on(self) -> dict[str, Any]:
        """The notes for the next keeper; nothing is under way here any more."""
        for teller in self._of.values():
            teller.open = dict.fromkeys(teller.open, False)
        return {node: [each.latest, [*each.open]] for node, each in self._of.items()}

    def take(self, given: Any) -> None:
        """Takes over the notes of another keeper. Raises `TypeError` and `ValueError`."""
        for node, (latest, left) in dict(given).items():
            mine, other = self._of.get(node, _Teller()), _Teller(latest, dict.fromkeys(left, False))
            both = _Teller(max(mine.latest, latest))
            for number in {*mine.open, *left}:
                if not mine.has(number) and not other.has(number):
                    both.open[number] = mine.open.get(number, False)
            self._of[node] = both
