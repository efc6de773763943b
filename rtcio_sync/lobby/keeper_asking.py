"""The clients of a worker that does not keep their rooms: their seats, and what it tells and asks.

`Asking` is the half of `keeper.Keeper` that its own clients use.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace
from socketio import exceptions

from ..cluster.exchange import Exchange
from ..cluster.messages import Ask as Question
from ..cluster.messages import Kind, decoded, encoded
from ..cluster.shared_rooms import SharedRooms
from ..errors import OptionError
from ..hub.thread import refuse_in_hub
from ..server import Server
from .keeper_changes import Change, Changes
from .keeper_messages import MOVES, Asks, Gone, Op, Seat
from .keeper_ports import Table
from .keeper_releases import Releases
from .payloads import state_in

__all__ = ["AGAIN", "Asking"]

T = TypeVar("T")

ANSWER_WITHIN = 5.0  # seconds in which a keeper answers, also if the next one has to
AGAIN = 0.05  # seconds until a keeper that has just died is replaced, and asked again


class Asking:
    """What a worker knows of its clients, tells the keeper and asks it."""

    def __init__(self, server: Server, exchange: Exchange, what: str, table: Table) -> None:
        self._server = server
        self._exchange = exchange
        self._what = what
        self._table = table
        #: The worker that keeps the rooms; `None`: this one.
        self._node: str | None = None
        #: Whether it is known who does, and that one has all that it needs.
        self._settled = True
        self._waiting: list[Any] = []  # events of greenlets
        #: The seats of this worker's clients while another keeps the rooms.
        self.seats: dict[str, dict[str, Seat]] = {}
        self._changes = Changes()
        self._tokens = itertools.count(1)
        self._asking: set[int] = set()
        #: How often another worker has become the keeper.
        self._reigns = 0
        bus = lambda: exchange.bus  # noqa: E731
        self._knows = f"{what} numbers"
        say = lambda node: exchange.tell(node, self._knows, b"")  # noqa: E731
        self._releases = Releases(bus, server.eio.heartbeat.later, say, self._look)

    def _look(self, node: str = "") -> None:
        """Sees which worker keeps the rooms. # hub or greenlet"""
        raise NotImplementedError

    def _do(self, node: str, number: int, op: Op) -> None:
        """Does as the keeper what a worker asks. # hub or greenlet"""
        raise NotImplementedError

    def deposed(self) -> bool:
        """Whether this worker has kept the rooms, stood still, and another one keeps them now.

        Then it follows that one from now on. # hub or greenlet, no lock held
        """
        raise NotImplementedError

    # -- the clients of this worker ----------------------------------------------------------------

    def seat(self, sid: str, room: Any) -> Seat | None:
        """The seat of a client of this worker that another one keeps."""
        self.deposed()
        return self.seats[sid].get(room) if sid in self.seats and type(room) is str else None

    def rooms(self, sid: str) -> list[str]:
        """The rooms in which it has such seats."""
        self.deposed()
        return list(self.seats.get(sid, ()))

    def add(self, seat: Seat) -> None:
        self.seats.setdefault(seat.sid, {})[seat.room] = seat

    def new_token(self) -> int:
        """The token of a new ``sit``."""
        return next(self._tokens)

    def drop(self, sid: str, room: str) -> Seat | None:
        """Forgets a seat, and returns it; `None`: there was none."""
        self.deposed()
        inside = self.seats.get(sid, {})
        found = inside.pop(room, None)
        if not inside:
            self.seats.pop(sid, None)
        return found

    def take_in(self, seats: list[Seat]) -> None:
        """The seats of a client that has come from another worker."""
        self.deposed()
        if self._node is None and self._settled:
            self._table.restore(seats, ())  # but for those that it has: they were given here
        else:
            for seat in seats:
                self.add(seat)
            newest = max((seat.token for seat in seats), default=0)
            self._tokens = itertools.count(max(newest + 1, next(self._tokens)))

    # -- asking the keeper -------------------------------------------------------------------------

    def call(self, here: Callable[[], T], there: Callable[[Asks], T]) -> T:
        """Calls ``here()`` if this worker keeps the rooms, else ``there(ask)``. # greenlet

        ``ask(op)`` asks the keeper and waits; if it has died, `call` begins again. Raises
        `socketio.exceptions.TimeoutError` if the keeper stands still: it does not answer within
        `ANSWER_WITHIN` seconds, and may still do what it was asked, when it goes on.
        """
        end = time.monotonic() + ANSWER_WITHIN
        while time.monotonic() < end:
            node = self._wait(end)
            if node is None and self.deposed():
                continue
            with suppress(Gone):
                return here() if node is None else there(partial(self._ask, node, end))
            self._server.eio.sleep(AGAIN)
        raise exceptions.TimeoutError()

    def _ask(self, node: str, end: float, op: Op) -> Any:
        manager = self._server.manager
        assert isinstance(manager, SharedRooms)
        refuse_in_hub()
        if node != self._node or not self._settled:
            raise Gone
        number = manager.begin_to_ask([node], self._what, encoded(op))
        self._asking.add(number)
        reigns = self._reigns
        seconds = max(0.0, end - time.monotonic())
        try:
            reply = self._exchange.questions.wait(number, seconds).get(node)
        finally:
            self._asking.discard(number)
        if reply is None or (op.what == "sit" and reigns != self._reigns):
            raise Gone  # the seat was not claimed for the next keeper
        return msgspec.msgpack.decode(reply)

    def tell(self, seat: Seat, op: Op) -> None:
        """Tells the keeper, in order: again the next one, unless it is confirmed.

        ``seat``: as it was before. Raises `OptionError` for a value that cannot be sent.
        # hub or greenlet
        """
        if op.what not in MOVES and self._changes.full:
            self._exchange.overflowed()
            return
        change = self._changes.add(seat, op)
        if self._settled:
            self._tell(change)

    def _tell(self, change: Change) -> None:
        change.told = True
        node = self._node
        if node is None:
            self._do(self._own, 0, decoded(Op, change.body))
        elif self._releases.knows(node):
            self._send(node, change.body)
        else:  # it confirms moves, and no numbers
            self._post(node, replace(decoded(Op, change.body), number=0))
            if change.what not in MOVES:
                self._changes.confirmed(change.number)

    def _tell_all(self) -> None:
        for change in self._changes:
            if not change.told:
                self._tell(change)

    def waits(self, sid: str) -> bool:
        """Whether something that a client did has not been confirmed, and may soon be."""
        return self._changes.waits(sid, ANSWER_WITHIN)

    @property
    def _own(self) -> str:
        return self._exchange.bus.node

    def _post(self, node: str, op: Op, *, now: bool = True) -> None:
        self._send(node, encoded(op), now=now)

    def _send(self, node: str, body: bytes, *, now: bool = True) -> None:
        question = Question(0, self._what, body)
        self._exchange.bus.post(node, Kind.ASK, encoded(question), now=now)

    def _wait(self, end: float) -> str | None:
        while not self._settled:
            refuse_in_hub()
            event = self._server.eio.create_event()
            self._waiting.append(event)
            if not event.wait(max(0.0, end - time.monotonic())):
                with suppress(ValueError):  # it was settled at this moment
                    self._waiting.remove(event)
                raise exceptions.TimeoutError()
        return self._node

    def _seats(self) -> list[Seat]:
        return [seat for inside in self.seats.values() for seat in inside.values()]

    def _hand_on(self, whole: bool) -> list[Seat]:
        """Gives up the table: what the next keeper needs of it. Keeps this worker's clients' seats.

        ``whole``: as of `Table.hand_on`.
        """
        handed, left = self._table.hand_on(whole)
        own = {
            (seat.sid, seat.room): replace(seat)
            for seat in handed
            if self._exchange.heirs.has(seat.sid)
        }
        for before, op in left:
            with suppress(OptionError):
                self._changes.add(before, op)
            seat = own.get((before.sid, before.room))
            if seat is None:
                continue
            if op.what in MOVES:
                seat.away = op.what == "depart"
                if seat.away and not op.given[1]:
                    del own[before.sid, before.room]
            elif op.what == "show":
                seat.media = state_in(op.given, seat.media or {})
        for seat in own.values():
            self.add(seat)
        return handed
