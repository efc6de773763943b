"""One worker keeps the rooms of a lobby for all: who it is, and what the others ask of it.

The *keeper* is the worker that has lived longest. It alone has the table of seats and the steps
that tell rooms, so caps, passwords and the order of events are exact whichever worker a client is
on. The others keep the seats of their own clients too (`Keeper.seats`). When the keeper dies, or an
older worker appears, each sends its seats to the next keeper (a *claim*). That one begins once all
workers that live have sent theirs; what it is asked meanwhile waits. What clients do in their rooms
is told to the next keeper again, until one has confirmed that the room's peers know
(`keeper_changes`). A keeper that gives way to an older worker hands on its whole table, with what
it has not told the peers (`keeper_steps`).

The *deputy* is another worker of the keeper's host, which has a copy of the table. It takes over if
the keeper stands still (`keeper_watch`, `keeper_fence`), and has the seats of that one's clients
from the copy until they are claimed. It does so only if all workers know of this
(`keeper_releases`).

A worker that is alone is its own keeper, and runs none of this.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec.structs import replace
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
from .keeper_changes import Change, Changes, Done
from .keeper_fence import Takeovers
from .keeper_messages import MOVES, Asks, Gone, Op, Seat, plain
from .keeper_releases import Releases
from .keeper_watch import Deputy, Watch
from .payloads import state_in

__all__ = ["Keeper"]

T = TypeVar("T")

ANSWER_WITHIN = 5.0  # seconds in which a keeper answers, also if the next one has to
CLAIMS_WITHIN = 5.0  # seconds in which all workers send their seats to a new keeper
COPIED_WITHIN = 1.0  # the same for one that has the others' from a copy
MOST_HELD = 10_000  # operations that wait until it is known who keeps the rooms
AGAIN = 0.05  # seconds until a keeper that has just died is replaced, and asked again

#: In place of a worker that has to send its seats: what has come from the last keeper is read.
_READ = ""


class _Claim(NamedTuple):
    """``source``: the keeper that has confirmed the seats; the claiming worker: all of a table."""

    source: str
    seats: list[Seat]
    #: As `Changes.first`.
    first: int = 0


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

    def hand_on(self, taken: bool) -> tuple[list[Seat], list[tuple[Seat, Op]]]:
        """Gives up all seats: another worker is the keeper now. # hub or greenlet

        Returns them, and what that one has to be told of them. ``taken``: it has taken over, and
        wants what is of this worker's clients.
        """

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
        self._claims: dict[str, _Claim] = {}
        self._gone: list[Ghost] = []
        #: The seats of this worker's clients while another keeps the rooms.
        self.seats: dict[str, dict[str, Seat]] = {}
        self._changes = Changes()
        self._tokens = itertools.count(1)
        #: If this worker keeps the rooms: what it has done, and whose changes it has dropped.
        self._done = Done()
        self._missed: set[str] = set()
        #: The keeper that has confirmed ``seats``; `None`: this worker has the table; "": nobody.
        self._source: str | None = None
        #: The workers that have handed on their tables to this one.
        self._whole: set[str] = set()
        #: The notes of workers that have kept the rooms, with their claims.
        self._notes: dict[str, Any] = {}
        #: Whether another worker has kept the rooms since this one's table was right.
        self._stale = False
        #: The workers that stand still: the rooms and sids of their seats from the copy.
        self._kept: dict[str, set[tuple[str, str]]] = {}
        self._asking: set[int] = set()
        #: How often another worker has become the keeper.
        self._reigns = 0
        bus = lambda: exchange.bus  # noqa: E731
        later, knows = server.eio.heartbeat.later, f"{what} numbers"
        say = lambda node: exchange.tell(node, knows, b"")  # noqa: E731
        self._releases = Releases(bus, later, say, self._look)
        self._takeovers = Takeovers(bus, what, lambda: not self._releases.mixed)
        self._deputy = Deputy(bus, partial(self._post, now=False), table.copies)
        keeper = lambda: self._node if self._settled else None  # noqa: E731
        self._watch = Watch(bus, later, self._post, keeper, self._take_over)
        exchange.inline[what] = self._heard
        exchange.inline[knows] = self._knows
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

    # -- who is it: hub ----------------------------------------------------------------------------

    def _joined(self, node: str) -> None:
        self._releases.joined(node)
        self._look()

    def _knows(self, node: str, number: int, about: bytes) -> None:
        """A worker is of this release, or a later one."""
        if self._takeovers.latest[1] == self._own:
            self._post(node, Op("takes over", given=self._takeovers.latest[0]))
        self._releases.said(node)

    def _look(self, node: str = "") -> None:
        """A worker has appeared, has said how old it is, or has taken over."""
        self._stale = self._stale or self.is_deposed
        chosen = self._takeovers.chosen()
        keeper = None if chosen == self._own else chosen
        if chosen is None or (keeper not in (None, self._node) and self._releases.unsure(chosen)):
            self._settled = False  # not all have said how old they are, or which release it is
        elif self._stale and keeper is None:  # the worker that has taken over is dead by now
            self._hand_on(True)
            self._source = ""
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
        claims, knows = self._seats(), self._releases.knows(keeper)
        if self._node is None:
            taken = self._stale
            claims += self._hand_on(taken)
            if taken:
                self._source = ""
            elif knows:
                self._post(keeper, Op("notes", given=self._done.hand_on()))
            self._claims.clear()
        elif self._node in self._exchange.bus.nodes:
            self._post(self._node, Op("unclaim"))
        self._node = keeper
        self._awaited = set()
        self._gone.clear()  # the new keeper tells of them
        self._change(keeper)
        claimed = [plain(each) for each in self._changes.claims(claims)]
        source = self._own if self._source is None else self._source
        claim = Op("claim", sid=source, given=claimed, number=self._changes.first)
        self._post(keeper, claim)
        self._source = keeper
        self._settle()

    def _hand_on(self, taken: bool) -> list[Seat]:
        """Gives up the table: what the next keeper needs of it. Keeps this worker's clients' seats.

        ``taken``: as of `Table.hand_on`.
        """
        handed, left = self._table.hand_on(taken)
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

    def _change(self, keeper: str | None) -> None:
        """What was asked of the last keeper is asked again at the next one."""
        self._reigns += 1
        self._watch.follow(keeper)
        self._stale = False
        self._deputy.node = None
        self._kept.clear()
        self._missed.clear()
        for number in self._asking:
            self._exchange.questions.give_up(number)

    def _begin(self, stopped: str | None = None) -> None:
        """This worker keeps the rooms from now on. ``stopped``: it takes over from that one."""
        self._node = None
        self._settled = False
        self._whole.clear()
        self._change(None)
        self._awaited = set(self._exchange.bus.nodes) - set(self._claims) - {stopped}
        within = CLAIMS_WITHIN
        if self._watch.copy is not None:
            within = COPIED_WITHIN
            self._awaited.add(_READ)
        if self._awaited:
            self._wait_for_claims(within)
        self._finish()

    def _wait_for_claims(self, seconds: float) -> None:
        self._turns += 1
        later = self._server.eio.heartbeat.later
        later(seconds, self._enough, self._turns)
        later(AGAIN, self._has_read, self._turns)

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
        own = _Claim(self._source or "", self._changes.claims(self._seats()))
        claims, self._claims = {self._own: own, **self._claims}, {}
        self.seats.clear()
        self._source = None
        kept = self._read_copy(claims)
        self._whole.update(node for node, each in claims.items() if each.source == node)
        self._read_notes(claims)
        seats = [
            seat
            for node, each in claims.items()
            if each.source == node or each.source not in self._whole
            for seat in each.seats
        ]
        gone, self._gone = self._gone, []
        self._table.restore([*seats, *kept], gone)
        self._settle()

    def _read_copy(self, claims: dict[str, _Claim]) -> list[Seat]:
        """Has the copy say what the claims do not: the seats of those that stand still, too."""
        copy, self._watch.copy = self._watch.copy, None
        if copy is None:
            return []
        for node, each in claims.items():
            if node != copy.source:  # which has said itself what it knows
                copy.amend(each.seats)
        still = set(self._exchange.bus.nodes) - set(claims)
        kept = copy.of(lambda sid: self._holder(sid) in still)
        self._kept = {node: set() for node in still}
        for seat in kept:
            self._kept[self._holder(seat.sid)].add((seat.room, seat.sid))
        return kept

    def _read_notes(self, claims: dict[str, _Claim]) -> None:
        """What the workers that have handed on their tables have done."""
        notes, self._notes = self._notes, {}
        for node, given in notes.items():
            if node in self._whole:
                with suppress(TypeError, ValueError):
                    self._done.take(given)
        for node, each in claims.items():
            self._done.settled(node, each.first)

    def _holder(self, sid: str) -> str:
        return self._exchange.heirs.holder(sid) or ""

    def _seats(self) -> list[Seat]:
        return [seat for inside in self.seats.values() for seat in inside.values()]

    def _settle(self) -> None:
        self._settled = True
        if self._node is None:
            self._appoint()
            for node in self._missed:  # it has not noticed that another one kept them meanwhile
                self._post(node, Op("again"))
            self._missed.clear()
        self._tell_all()
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            event.set()
        held, self._held = self._held, []
        for node, number, op in held:
            with suppress(ProtocolError):  # one of them; the others go on
                self._do(node, number, op)

    def _died(self, node: str, ghosts: list[Ghost], lost: Lost) -> None:
        for each in (self._claims, self._kept, self._notes):
            each.pop(node, None)
        self._whole.discard(node)
        self._done.died(node)
        self._releases.died(node)
        self._missed.discard(node)
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

    def _appoint(self) -> None:
        """Sees to it that another worker of this host has a copy of the table. # hub"""
        near = self._exchange.bus.neighbours
        able = [each for each in near if each not in self._kept and self._releases.knows(each)]
        if self._releases.mixed:
            self._deputy.end()
        elif self._takeovers.possible and self._releases.all_know:
            self._deputy.appoint(able)

    @property
    def has_deputy(self) -> bool:
        return self._deputy.node is not None

    def claims(self, sid: str) -> bool:
        """Whether another worker has sent the seats of a client, or would."""
        holder = self._holder(sid)
        return bool(holder) and holder not in self._kept

    def copy(self, room: str, sid: str, given: Any) -> None:
        """As `Deputy.copy`. # hub or greenlet"""
        self._deputy.copy(room, sid, given)

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
        if not self._releases.all_know:
            return
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
            "notes": self._noted,
            "unclaim": self._unclaimed,
            "confirmed": self._confirmed,
            "again": self._told_again,
            "copy": self._copied,
            "no copy": self._watch.dismissed,
            "copied": self._watch.changed,
            "takes over": self._taken_over,
            "runs": self._runs,
            "runs yes": self._watch.answered,
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
        if op.number:
            self._changes.confirmed(op.number)
        elif not self.is_late(node):
            self._changes.confirmed_move(op.sid, op.room)

    def _told_again(self, node: str, op: Op) -> None:
        """The keeper was none for a while, and has dropped what it was told then."""
        if node == self._node and self._settled:
            self._changes.tell_again()
            self._tell_all()

    def _unclaimed(self, node: str, op: Op) -> None:
        """It follows another keeper, and tells that one what it has told here."""
        self._claims.pop(node, None)
        held, self._held = self._held, []
        for each in held:
            if each[0] == node and each[2].number:
                self._done.missed(node, each[2].number)
            else:
                self._held.append(each)

    def _taken_over(self, node: str, op: Op) -> None:
        self._takeovers.heard(int(op.given), node)
        # What the last keeper has confirmed is read before.
        self._server.eio.heartbeat.later(AGAIN, self._look)

    def _copied(self, node: str, op: Op) -> None:
        if self._node is not None and not self.is_late(node):
            self._watch.copied(node, op)

    def _runs(self, node: str, op: Op) -> None:
        self._post(node, Op("runs yes"))
        if self._node is None and self._settled:
            self._appoint()

    def _noted(self, node: str, op: Op) -> None:
        self._notes[node] = op.given

    def _claimed(self, node: str, op: Op) -> None:
        claim = _Claim(op.sid, msgspec.convert(op.given, list[Seat]), op.number)
        self._missed.discard(node)
        self.deposed()
        if self._node is None and self._settled and node in self._kept:
            self._table.resume(claim.seats, self._kept.pop(node))
            self._appoint()
            return
        self._claims[node] = claim
        if self._node is None and self._settled:  # it has appeared, or gone on
            self._awaited = self._others_of(claim)
            if self._awaited:
                self._settled = False
                self._wait_for_claims(CLAIMS_WITHIN)
            self._finish()
        elif node in self._awaited:
            self._awaited.discard(node)
            self._finish()

    def _others_of(self, claim: _Claim) -> set[str]:
        """The keeper that a late claim is of, if it lives and its table is not known."""
        known = {"", self._own, *self._whole, *self._claims}
        return {claim.source} & set(self._exchange.bus.nodes) - known

    def _do(self, node: str, number: int, op: Op) -> None:
        if self.deposed() and not self._settled and node != self._own:
            self._hold(node, number, op)
        elif self._node is not None:
            self._cannot(node, number, op)
        elif not op.number or self._done.begin(node, op.number):
            try:
                self._table.do(op, partial(self._answer, node, number, op))
            except ProtocolError:  # it would be told again and again
                self._answer(node, 0, op, False)
                raise
        elif self._done.has(node, op.number):
            self._confirm(node, op.number)

    def _cannot(self, node: str, number: int, op: Op) -> None:
        """Another worker keeps the rooms."""
        if number:  # it asks again when it knows the new keeper
            self._exchange.reply(node, number, None)
        elif node == self._own:
            return  # it is told again
        elif node in self._claims:  # it knows already that this one will be the keeper
            self._hold(node, number, op)
        elif op.number:  # it tells the new keeper
            self._done.missed(node, op.number)
            self._missed.add(node)
        elif self._node is not None:
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
        elif op.number:
            self._done.end(node, op.number)
            self._confirm(node, op.number)
        elif op.what in MOVES:
            manager = self._server.manager  # another worker may have passed the operation on
            owner = manager.node_of(op.sid) if isinstance(manager, SharedRooms) else None
            if owner is None:
                self._changes.confirmed_move(op.sid, op.room)
            else:
                self._post(owner, Op("confirmed", op.room, op.sid), now=False)

    def _confirm(self, node: str, number: int) -> None:
        if node == self._own:
            self._changes.confirmed(number)
        else:
            self._post(node, Op("confirmed", number=number), now=False)
