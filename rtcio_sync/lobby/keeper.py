"""One worker keeps the rooms of a lobby for all: who it is, and what the others ask of it.

The *keeper* is the worker that has lived longest. It alone has the table of seats and the steps
that tell rooms, so caps, passwords and the order of events are exact whichever worker a client is
on. The others keep the seats of their own clients too (`Keeper.seats`). When the keeper dies, or an
older worker appears, each sends its seats to the next keeper (a *claim*). That one begins once all
workers that live have sent theirs; what it is asked meanwhile waits. Who leaves or comes back is
told to the next keeper again, until one has confirmed that the room's peers know.

A worker that is alone is its own keeper, and runs none of this.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
from socketio import exceptions

from ..cluster.exchange import Exchange
from ..cluster.messages import Ask as Question
from ..cluster.messages import Kind, decoded, encoded
from ..cluster.remote_rooms import Ghost
from ..cluster.shared_rooms import SharedRooms
from ..cluster.succession import Lost
from ..errors import OptionError, ProtocolError
from ..hub.thread import refuse_in_hub
from ..server import Server
from .keeper_messages import Asks, Gone, Op, Seat

__all__ = ["Keeper"]

T = TypeVar("T")

ANSWER_WITHIN = 5.0  # seconds in which a keeper answers, also if the next one has to
CLAIMS_WITHIN = 5.0  # seconds in which all workers send their seats to a new keeper
MOST_HELD = 10_000  # operations that wait until it is known who keeps the rooms
AGAIN = 0.05  # seconds until a keeper that has just died is replaced, and asked again


#: The operations that a keeper confirms, once the room's peers are told.
_CHANGES = ("depart", "back")


@dataclass(eq=False)
class _Change:
    """A change to a seat that no keeper has confirmed. ``seat``: as it was before."""

    seat: Seat
    op: Op
    sent: bool = False


class Table(Protocol):
    """The lobby of this worker, if it is the keeper."""

    def do(self, op: Op, answer: Callable[[Any], None]) -> None:
        """Does what another worker asks; never blocks. # hub or greenlet

        ``answer`` is called with the answer: for ``depart``, ``back`` and ``remove`` once the
        room's peers are told.
        """

    def restore(self, seats: Iterable[Seat], gone: Iterable[Ghost]) -> None:
        """Takes over from another keeper. ``gone``: members that have died with it. # hub"""

    def hand_on(self) -> list[Seat]:
        """Gives up all seats: another worker is the keeper now. # hub"""

    def dead(self, lost: Lost) -> None:
        """Clients of another worker have died with it: ``lost(sid)``. # hub"""


class Keeper:
    """Who keeps a lobby's rooms."""

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
        self._held: list[tuple[str | None, int, Op]] = []
        #: How often this worker has begun to take over.
        self._turns = 0
        self._awaited: set[str] = set()
        self._claims: dict[str, list[Seat]] = {}
        self._gone: list[Ghost] = []
        #: The seats of this worker's clients while another keeps the rooms.
        self.seats: dict[str, dict[str, Seat]] = {}
        self._changes: dict[tuple[str, str], list[_Change]] = {}
        self._tokens = itertools.count(1)
        exchange.inline[what] = self._heard
        exchange.on_met.append(self._look)
        exchange.on_joined.append(self._look)
        exchange.on_died.append(self._died)

    # -- the clients of this worker ----------------------------------------------------------------

    def seat(self, sid: str, room: Any) -> Seat | None:
        """The seat of a client of this worker that another one keeps."""
        return self.seats[sid].get(room) if sid in self.seats and type(room) is str else None

    def rooms(self, sid: str) -> list[str]:
        """The rooms in which it has such seats."""
        return list(self.seats.get(sid, ()))

    def add(self, seat: Seat) -> None:
        self.seats.setdefault(seat.sid, {})[seat.room] = seat

    def new_token(self) -> int:
        """The token of a new ``sit``."""
        return next(self._tokens)

    def drop(self, sid: str, room: str) -> Seat | None:
        """Forgets a seat, and returns it; `None`: there was none."""
        inside = self.seats.get(sid, {})
        found = inside.pop(room, None)
        if not inside:
            self.seats.pop(sid, None)
        return found

    def take_in(self, seats: list[Seat]) -> None:
        """The seats of a client that has come from another worker."""
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
            if node is None:
                return here()
            with suppress(Gone):
                return there(partial(self._ask, node, end))
            self._server.eio.sleep(AGAIN)
        raise exceptions.TimeoutError()

    def _ask(self, node: str, end: float, op: Op) -> Any:
        manager = self._server.manager
        assert isinstance(manager, SharedRooms)
        seconds = max(0.0, end - time.monotonic())
        reply = manager.ask([node], self._what, encoded(op), seconds).get(node)
        if reply is None:
            raise Gone
        return msgspec.msgpack.decode(reply)

    def tell(self, op: Op) -> None:
        """Tells the keeper, in order. # hub or greenlet"""
        if not self._settled:
            self._hold(None, 0, op)
        elif self._node is None:
            self._table.do(op, partial(self._answer, "", 0, op))
        else:
            self._post(self._node, op)

    def tell_of(self, seat: Seat, op: Op) -> None:
        """Tells the keeper of a change to a seat: again the next one, unless it is confirmed.

        ``seat``: as it was before. # hub or greenlet
        """
        self._changes.setdefault((op.sid, op.room), []).append(_Change(seat, op))
        if self._settled:
            self._tell_changes()

    def _tell_changes(self) -> None:
        for changes in list(self._changes.values()):
            for change in list(changes):
                if not change.sent:
                    change.sent = True
                    self.tell(change.op)

    def _confirmed(self, sid: str, room: str) -> None:
        """The keeper has done the oldest change, and told the room's peers."""
        changes = self._changes.get((sid, room))
        if changes:
            del changes[0]
        if not changes:
            self._changes.pop((sid, room), None)

    def _own_claims(self, seats: Iterable[Seat]) -> list[Seat]:
        """The seats as a keeper has confirmed them. The changes since then are told again."""
        found = {(seat.sid, seat.room): seat for seat in seats if seat.since}
        for place, changes in list(self._changes.items()):
            before, now = changes[0].seat, found.get(place)
            if now is not None and now.token != before.token:
                del self._changes[place]  # it has left, and got a new seat since
                continue
            found[place] = before
            for change in changes:
                change.sent = False
        return list(found.values())

    def _post(self, node: str, op: Op, *, now: bool = True) -> None:
        question = Question(0, self._what, encoded(op))
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

    # -- who is it: hub ----------------------------------------------------------------------------

    def _look(self, node: str) -> None:
        """A worker has appeared, or has said how old it is."""
        bus = self._exchange.bus
        eldest = bus.eldest
        if eldest is None:  # not all have said it
            self._settled = False
            return
        keeper = None if eldest == bus.node else eldest
        if keeper == self._node:
            if not self._awaited:
                if keeper is None:
                    self._finish()
                else:
                    self._settle()
        elif keeper is None:
            self._begin()
        else:
            self._follow(keeper)

    def _follow(self, keeper: str) -> None:
        """Another worker keeps the rooms from now on."""
        heirs = self._exchange.heirs
        claims = self._seats()
        if self._node is None:
            handed = self._table.hand_on()
            claims += handed
            self._claims.clear()
            for seat in handed:
                if heirs.has(seat.sid):
                    self.add(seat)
        elif self._node in self._exchange.bus.nodes:
            self._post(self._node, Op("unclaim"))
        self._node = keeper
        self._awaited = set()
        self._gone.clear()  # the new keeper tells of them
        claims = self._own_claims(claims)
        self._post(keeper, Op("claim", given=[_plain(each) for each in claims]))
        self._settle()

    def _begin(self) -> None:
        """This worker keeps the rooms from now on."""
        self._node = None
        self._settled = False
        self._awaited = set(self._exchange.bus.nodes) - set(self._claims)
        if self._awaited:
            self._turns += 1
            self._server.eio.heartbeat.later(CLAIMS_WITHIN, self._enough, self._turns)
        self._finish()

    def _enough(self, turn: int) -> None:
        """A worker stands still: its seats come when it goes on."""
        if turn == self._turns and self._node is None and self._awaited:
            self._awaited.clear()
            self._finish()

    def _finish(self) -> None:
        """Takes over, once all have sent their seats."""
        if self._awaited:
            return
        own = self._own_claims(self._seats())
        self.seats.clear()
        claims = [seat for each in self._claims.values() for seat in each]
        gone, self._gone = self._gone, []
        self._claims.clear()
        self._table.restore([*own, *claims], gone)
        self._settle()

    def _seats(self) -> list[Seat]:
        return [seat for inside in self.seats.values() for seat in inside.values()]

    def _settle(self) -> None:
        self._settled = True
        self._tell_changes()
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            event.set()
        held, self._held = self._held, []
        for node, number, op in held:
            if node is None:
                with suppress(OptionError):  # of a value that cannot be sent: it is dropped
                    self.tell(op)
            else:
                with suppress(ProtocolError):  # one of them; the others go on
                    self._do(node, number, op)

    def _died(self, node: str, ghosts: list[Ghost], lost: Lost) -> None:
        self._claims.pop(node, None)
        was_keeper = node == self._node
        if was_keeper:
            self._gone += ghosts
        elif self._node is None:
            self._table.dead(lost)
        if node in self._awaited:
            self._awaited.discard(node)
            self._finish()
        self._look(node)

    # -- what others ask: hub ----------------------------------------------------------------------

    def _heard(self, node: str, number: int, body: bytes) -> None:
        op = decoded(Op, body)
        if op.what == "claim":
            self._claimed(node, op)
        elif op.what == "unclaim":
            self._claims.pop(node, None)
        elif op.what == "confirmed":
            self._confirmed(op.sid, op.room)
        elif self._settled:
            self._do(node, number, op)
        else:
            self._hold(node, number, op)

    def _hold(self, node: str | None, number: int, op: Op) -> None:
        """Keeps an operation until it is known who does it; over `MOST_HELD` it is dropped."""
        if len(self._held) < MOST_HELD:
            self._held.append((node, number, op))
        else:
            self._exchange.overflowed()

    def _claimed(self, node: str, op: Op) -> None:
        try:
            seats = msgspec.convert(op.given, list[Seat])
        except msgspec.ValidationError:
            raise ProtocolError("channel") from None
        if self._node is None and self._settled:
            self._table.restore(seats, ())
            return
        self._claims[node] = seats
        if node in self._awaited:
            self._awaited.discard(node)
            self._finish()

    def _do(self, node: str, number: int, op: Op) -> None:
        if self._node is not None:  # it asks again when it knows the new keeper
            if number:
                self._exchange.reply(node, number, None)
            elif node in self._claims:  # it knows already that this one will be the keeper
                self._hold(node, number, op)
            else:
                self._post(self._node, op)
            return
        self._table.do(op, partial(self._answer, node, number, op))

    def _answer(self, node: str, number: int, op: Op, answer: Any) -> None:  # hub or greenlet
        if number:
            self._exchange.reply(node, number, msgspec.msgpack.encode(answer))
        elif op.what in _CHANGES:
            manager = self._server.manager  # another worker may have passed the operation on
            owner = manager.node_of(op.sid) if isinstance(manager, SharedRooms) else None
            if owner is None:
                self._confirmed(op.sid, op.room)
            else:
                self._post(owner, Op("confirmed", op.room, op.sid), now=False)


def _plain(seat: Seat) -> Any:
    return msgspec.to_builtins(seat, builtin_types=(bytes,))
