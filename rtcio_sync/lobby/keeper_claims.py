"""The claims with which other workers tell a new keeper of their seats. # hub or greenlet"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any, NamedTuple

from .keeper_changes import Done
from .keeper_copy import Copy
from .keeper_messages import Seat

__all__ = ["Claim", "Claims"]


class Claim(NamedTuple):
    """``source``: the keeper that has confirmed the seats; the claiming worker: all of a table."""

    source: str
    seats: list[Seat]
    #: As `Changes.first`.
    first: int = 0


class Claims:
    """What has come, and has not been read yet."""

    def __init__(self) -> None:
        self._of: dict[str, Claim] = {}
        #: Notes of workers that have kept the rooms, with their claims: as of `Done`.
        self._notes: dict[str, Any] = {}
        #: The workers that have handed on their tables to this one. What others claim of these
        #: tables is older.
        self._whole: set[str] = set()

    def begin(self) -> None:
        """This worker begins to keep the rooms."""
        self._whole.clear()

    @property
    def nodes(self) -> Collection[str]:
        """Whose claims have come."""
        return self._of

    def add(self, node: str, claim: Claim) -> None:
        self._of[node] = claim

    def noted(self, node: str, notes: Any) -> None:
        """A worker has kept the rooms, and sends its claim next."""
        self._notes[node] = notes

    def drop(self, node: str) -> None:
        """A worker follows another keeper, or is dead."""
        self._of.pop(node, None)
        self._notes.pop(node, None)
        self._whole.discard(node)

    def clear(self) -> None:
        self._of.clear()
        self._notes.clear()

    def lacks(self, node: str) -> bool:
        """Whether the table of a worker, which has kept the rooms, is not known."""
        return node not in self._whole and node not in self._of

    def read(self, copy: Copy | None, done: Done) -> list[Seat]:
        """The seats that they come to, without those that only the copy has."""
        claims, self._of = self._of, {}
        notes, self._notes = self._notes, {}
        self._whole.update(node for node, each in claims.items() if each.source == node)
        for node in self._whole & set(notes):
            with suppress(TypeError, ValueError):
                done.take(notes[node])
        seats = []
        for node, each in claims.items():
            done.settled(node, each.first)
            if copy is not None and node != copy.source:  # which has said itself what it knows
                copy.amend(each.seats)
            if each.source == node or each.source not in self._whole:
                seats += each.seats
        return seats
