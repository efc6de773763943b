"""What the keeper of a lobby's rooms needs of the lobby: a Protocol."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

from ..cluster.remote_rooms import Ghost
from ..cluster.succession import Lost
from .keeper_messages import Op, Seat

__all__ = ["Table"]


class Table(Protocol):
    """The lobby of this worker, if it is the keeper."""

    def do(self, op: Op, answer: Callable[[Any], None]) -> None:
        """Does what another worker asks; never blocks. # hub or greenlet

        ``answer`` is called with the answer: for ``remove`` and what a keeper confirms once the
        room's peers are told.
        """

    def restore(self, seats: Iterable[Seat], gone: Iterable[Ghost]) -> None:
        """Takes over from another keeper. ``gone``: members that have died with it. # hub"""

    def resume(self, seats: Iterable[Seat], kept: Collection[tuple[str, str]]) -> None:
        """A worker goes on whose seats were ``kept``: these are they now. # hub"""

    def copies(self) -> Any:
        """What the deputy needs of it: as of `Copy`. # hub"""

    def hand_on(self, whole: bool) -> tuple[list[Seat], list[tuple[Seat, Op]]]:
        """Gives up all seats: another worker is the keeper now. # hub or greenlet

        Returns them, and what that one has to be told of them. ``whole``: of the clients of all
        workers; else of this one's, since the others claim theirs.
        """

    def dead(self, lost: Lost) -> None:
        """Clients of another worker have died with it: ``lost(sid)``. # hub"""
