"""One worker keeps the rooms of a lobby for all: who it is, and what the others ask of it.

The *keeper* is the worker that has lived longest. It alone has the table of seats and the steps
that tell rooms, so caps, passwords and the order of events are exact whichever worker a client is
on. The others keep the seats of their own clients too (`Keeper.seats`). When the keeper dies, or an
older worker appears, each sends its seats to the next keeper (a *claim*). That one begins once all
workers that live have sent theirs; what it is asked meanwhile waits. What clients do in their rooms
is told to the next keeper again, until one has confirmed that the room's peers know.

The *deputy* is another worker of the keeper's host, which has a copy of the table. It takes over if
the keeper stands still (`keeper_watch`, `keeper_fence`), and has the seats of that one's clients
from the copy until they are claimed.

A worker that is alone is its own keeper, and runs none of this.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
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
from .keeper_changes import Change, Changes
from .keeper_fence import Takeovers
from .keeper_messages import Asks, Gone, Op, Seat
from .keeper_watch import Watch

__all__ = ["Keeper"]

T = TypeVar("T")

ANSWER_WITHIN = 5.0  # seconds in which a keeper answers, also if the next one has to
CLAIMS_WITHIN = 5.0  # seconds in which all workers send their seats to a new keeper
COPIED_WITHIN = 1.0  # the same for one that has the others' from a copy
MOST_HELD = 10_000  # operations that wait until it is known who keeps the rooms
AGAIN = 0.05  # seconds until a keeper that has just died is replaced, and asked again


#: The operations that a keeper confirms, once the room's peers are told.
_CHANGES = ("depart", "back", "show", "pass on")
#: In place of a worker that has to send its seats: what has come from the last keeper is read.
_READ = ""


class Table(Protocol):
    """The lobby of this worker, if it is the keeper."""

    def do(self, op: Op, answer: Callable[[Any], None]) -> None:
        """Does what another worker asks; never blocks. # hub or greenlet

        ``answer`` is called with the answer: for ``remove`` and what a keeper confirms once the
        room's peers are told.
        """

    def restore(
        self, seats: Iterable[Seat], gone: Iterable[Ghost], kept: Iterable[Seat] = ()
    ) -> None:
        """Takes over from another keeper. ``gone``: members that have died with it. # hub

        ``kept``: seats of clients whose worker stands still.
        """

    def resume(self, seats: Iterable[Seat], kept: Collection[tuple[str, str]]) -> None:
        """A worker goes on whose seats were ``kept``: these are they now. # hub"""

    def seats(self) -> list[Seat]:
        """All seats. # hub"""

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
        self._held: list[tuple[str, int, Op]] = []
        #: How often this worker has begun to take over.
        self._turns = 0
        self._awaited: set[str] = set()
        self._claims: dict[str, list[Seat]] = {}
        self._gone: list[Ghost] = []
        #: The seats of this worker's clients while another keeps the rooms.
        self.seats: dict[str, dict[str, Seat]] = {}
        self._changes = Changes()
        self._tokens = itertools.count(1)
        #: Whether another worker has kept the rooms since this one's table was right.
        self._stale = False
        #: The deputy, if this worker is the keeper.
        self._deputy: str | None = None
        #: The workers that stand still: the rooms and sids of their seats from the copy.
        self._kept: dict[str, set[tuple[str, str]]] = {}
        self._asking: set[int] = set()
        bus = lambda: exchange.bus  # noqa: E731
        self._takeovers = Takeovers(bus, what)
        given = bus, server.eio.heartbeat.later, self._post, self._changes
        self._watch = Watch(*given, lambda: self._node if self._settled else None, self._take_over)
        exchange.inline[what] = self._heard
        exchange.on_met.append(self._look)
        exchange.on_joined.append(self._joined)
        exchange.on_died.append(self._died)

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
        seconds = max(0.0, end - time.monotonic())
        try:
            late = self._watch.late(node)
            reply = self._exchange.questions.wait(number, seconds, late).get(node)
        finally:
            self._asking.discard(number)
        if reply is None:
            raise Gone
        return msgspec.msgpack.decode(reply)

    def tell(self, seat: Seat, op: Op) -> None:
        """Tells the keeper, in order: again the next one, unless it is confirmed.

        ``seat``: as it was before. # hub or greenlet
        """
        if op.what in ("show", "pass on") and len(self._changes) >= MOST_HELD:
            self._exchange.overflowed()
            return
        change = Change(seat, op)
        self._changes.add(change)
        if self._settled:
            self._tell(change)

    def _tell(self, change: Change) -> None:
        change.told = time.monotonic()
        try:
            if self._node is None:
                self._do("", 0, change.op)
            else:
                self._post(self._node, change.op)
        except OptionError:  # of a value that cannot be sent
            self._changes.remove(change)
            raise
        self._watch.begin()

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

    def _joined(self, node: str) -> None:
        number, taker = self._takeovers.latest
        if taker == self._exchange.bus.node:
            self._post(node, Op("takes over", given=number))
        self._look()

    def _look(self, node: str = "") -> None:
        """A worker has appeared, has said how old it is, or has taken over."""
        bus = self._exchange.bus
        self._stale = self._stale or self.is_deposed
        chosen = self._takeovers.chosen()
        if chosen is None:  # not all have said how old they are
            self._settled = False
            return
        keeper = None if chosen == bus.node else chosen
        if self._stale and keeper is None:  # the worker that has taken over is dead by now
            self._hand_on()
            self._begin()
        elif keeper == self._node:
            if keeper is not None:
                self._settle()
            elif self._settled:  # it has the seats, and what it was told is under way
                self._appoint()
            else:
                self._finish()
        elif keeper is None:
            self._begin()
        else:
            self._follow(keeper)

    def _follow(self, keeper: str) -> None:
        """Another worker keeps the rooms from now on."""
        claims = self._seats()
        if self._node is None:
            handed, own = self._hand_on()
            # Of others' seats, one that has taken over knows more.
            claims += own if keeper == self._takeovers.latest[1] else handed
            self._claims.clear()
        elif self._node in self._exchange.bus.nodes:
            self._post(self._node, Op("unclaim"))
        self._node = keeper
        self._awaited = set()
        self._gone.clear()  # the new keeper tells of them
        self._change(keeper)
        claims = self._changes.claims(claims)
        self._post(keeper, Op("claim", given=[_plain(each) for each in claims]))
        self._settle()

    def _hand_on(self) -> tuple[list[Seat], list[Seat]]:
        """Gives up the table: all its seats, and those of this worker's clients, which it keeps."""
        handed = self._table.hand_on()
        own = [seat for seat in handed if self._exchange.heirs.has(seat.sid)]
        for seat in own:
            self.add(seat)
        return handed, own

    def _change(self, keeper: str | None) -> None:
        """What was asked of the last keeper is asked again at the next one."""
        self._watch.follow(keeper)
        self._stale = False
        self._deputy = None
        self._kept.clear()
        for number in self._asking:
            self._exchange.questions.give_up(number)

    def _begin(self, stopped: str | None = None) -> None:
        """This worker keeps the rooms from now on. ``stopped``: it takes over from that one."""
        self._node = None
        self._settled = False
        self._change(None)
        self._awaited = set(self._exchange.bus.nodes) - set(self._claims) - {stopped}
        within = CLAIMS_WITHIN
        if self._watch.copy is not None:
            within = COPIED_WITHIN
            self._awaited.add(_READ)
        if self._awaited:
            self._turns += 1
            later = self._server.eio.heartbeat.later
            later(within, self._enough, self._turns)
            later(AGAIN, self._has_read, self._turns)
        self._finish()

    def _enough(self, turn: int) -> None:
        """A worker stands still: its seats come when it goes on."""
        if turn == self._turns and self._node is None and self._awaited:
            self._awaited.clear()
            self._finish()

    def _has_read(self, turn: int) -> None:
        """All that the last keeper had sent before this one took over has been read."""
        if turn == self._turns and self._node is None and _READ in self._awaited:
            self._awaited.discard(_READ)
            self._finish()

    def _finish(self) -> None:
        """Takes over, once all have sent their seats."""
        if self._awaited:
            return
        own = self._changes.claims(self._seats())
        self.seats.clear()
        kept: list[Seat] = []
        copy, self._watch.copy = self._watch.copy, None
        if copy is not None:
            for node, seats in [("", own), *self._claims.items()]:
                if node != copy.source:  # which has said itself what it knows
                    copy.amend(seats)
            kept = copy.of(self._stands_still)
            self._kept = {node: set() for node in set(self._exchange.bus.nodes) - set(self._claims)}
            for seat in kept:
                self._kept[self._holder(seat.sid)].add((seat.room, seat.sid))
        claims = [seat for each in self._claims.values() for seat in each]
        gone, self._gone = self._gone, []
        self._claims.clear()
        self._table.restore([*own, *claims], gone, kept)
        self._settle()

    def _holder(self, sid: str) -> str:
        return self._exchange.heirs.holder(sid) or ""

    def _stands_still(self, sid: str) -> bool:
        holder = self._holder(sid)
        return holder in self._exchange.bus.nodes and holder not in self._claims

    def _seats(self) -> list[Seat]:
        return [seat for inside in self.seats.values() for seat in inside.values()]

    def _settle(self) -> None:
        self._settled = True
        if self._node is None:
            self._appoint()
        for change in self._changes.untold():
            with suppress(OptionError):
                self._tell(change)
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            event.set()
        held, self._held = self._held, []
        for node, number, op in held:
            with suppress(ProtocolError):  # one of them; the others go on
                self._do(node, number, op)

    def _died(self, node: str, ghosts: list[Ghost], lost: Lost) -> None:
        self._claims.pop(node, None)
        self._kept.pop(node, None)
        was_keeper = node == self._node
        if was_keeper or self._awaited:  # the table does not have its seats
            self._gone += ghosts
        elif self._node is None:
            self._table.dead(lost)
        if node in self._awaited:
            self._awaited.discard(node)
            self._finish()
        self._look(node)

    # -- the deputy --------------------------------------------------------------------------------

    def _appoint(self, *, anew: bool = False) -> None:
        """Sees to it that another worker of this host has a copy of the table. # hub"""
        bus = self._exchange.bus
        near = [node for node in bus.neighbours if node not in self._kept]
        if not self._takeovers.possible or (self._deputy in near and not anew):
            return
        if self._deputy not in near:
            self._deputy = min(near, key=lambda node: (bus.born(node), node), default=None)
        for node in bus.neighbours:
            if node != self._deputy:
                self._post(node, Op("no copy"))
        if self._deputy is not None:
            seats = [_plain(each) for each in self._table.seats()]
            self._post(self._deputy, Op("copy", given=seats))

    @property
    def has_deputy(self) -> bool:
        return self._deputy is not None

    def copy(self, room: str, sid: str, seat: Seat | None) -> None:
        """A seat of the table is this now; `None`: it is free. # hub or greenlet"""
        if self._deputy is not None:
            given = None if seat is None else _plain(seat)
            self._post(self._deputy, Op("copied", room, sid, given))

    @property
    def is_deposed(self) -> bool:
        """Whether this worker has kept the rooms, stood still, and another one keeps them now."""
        return self._node is None and self._takeovers.unread

    def deposed(self) -> bool:
        """The same; then it follows that one from now on. # hub or greenlet, no lock held"""
        if not self.is_deposed:
            return False
        self._look()
        return True

    def is_late(self, node: str) -> bool:
        """Whether a worker that speaks as the keeper no longer is."""
        return self._takeovers.is_late(node)

    def _take_over(self, stopped: str) -> None:
        """This worker keeps the rooms in place of one that stands still, if none was quicker."""
        if self._takeovers.take():
            for each in self._exchange.bus.nodes:
                self._post(each, Op("takes over", given=self._takeovers.latest[0]))
            self._begin(stopped)
        else:
            self._look()

    # -- what others ask: hub ----------------------------------------------------------------------

    def _heard(self, node: str, number: int, body: bytes) -> None:
        op = decoded(Op, body)
        does = {
            "claim": self._claimed,
            "unclaim": self._unclaimed,
            "confirmed": self._confirmed,
            "copy": self._copied,
            "no copy": self._copied,
            "copied": self._watch.changed,
            "takes over": self._taken_over,
            **self._watch.handlers,
        }.get(op.what)
        if does is not None:
            try:
                does(node, op)
            except (msgspec.ValidationError, TypeError):
                raise ProtocolError("channel") from None
        elif self._settled:
            self._do(node, number, op)
        else:
            self._hold(node, number, op)

    def _confirmed(self, node: str, op: Op) -> None:
        if not self.is_late(node):
            self._changes.confirmed(op.sid, op.room)

    def _unclaimed(self, node: str, op: Op) -> None:
        self._claims.pop(node, None)

    def _taken_over(self, node: str, op: Op) -> None:
        self._takeovers.heard(int(op.given), node)
        self._look()

    def _copied(self, node: str, op: Op) -> None:
        if self._node is not None and not self.is_late(node):
            self._watch.copied(node, op)

    def _claimed(self, node: str, op: Op) -> None:
        seats = msgspec.convert(op.given, list[Seat])
        self.deposed()
        if self._node is None and self._settled:
            if node in self._kept:
                self._table.resume(seats, self._kept.pop(node))
            else:
                self._table.restore(seats, ())
            self._appoint(anew=True)
            return
        self._claims[node] = seats
        if node in self._awaited:
            self._awaited.discard(node)
            self._finish()

    def _do(self, node: str, number: int, op: Op) -> None:
        if self.deposed() and not self._settled:
            self._hold(node, number, op)
        elif self._node is None:
            self._table.do(op, partial(self._answer, node, number, op))
        elif number:  # it asks again when it knows the new keeper
            self._exchange.reply(node, number, None)
        elif self._takeovers.hold or not node:
            return  # it is told again to that one
        elif node in self._claims:  # it knows already that this one will be the keeper
            self._hold(node, number, op)
        else:
            self._post(self._node, op)

    def _hold(self, node: str, number: int, op: Op) -> None:
        """Keeps an operation until it is known who does it; over `MOST_HELD` it is dropped."""
        if len(self._held) < MOST_HELD:
            self._held.append((node, number, op))
        else:
            self._exchange.overflowed()

    def _answer(self, node: str, number: int, op: Op, answer: Any) -> None:  # hub or greenlet
        if number:
            self._exchange.reply(node, number, msgspec.msgpack.encode(answer))
        elif op.what in _CHANGES:
            manager = self._server.manager  # another worker may have passed the operation on
            owner = manager.node_of(op.sid) if isinstance(manager, SharedRooms) else None
            if owner is None:
                self._changes.confirmed(op.sid, op.room)
            else:
                self._post(owner, Op("confirmed", op.room, op.sid), now=False)


def _plain(seat: Seat) -> Any:
    return msgspec.to_builtins(seat, builtin_types=(bytes,))
