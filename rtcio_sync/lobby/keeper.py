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

from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from ..cluster.exchange import Exchange
from ..cluster.messages import decoded
from ..cluster.remote_rooms import Ghost
from ..cluster.shared_rooms import SharedRooms
from ..cluster.succession import Lost
from ..errors import ProtocolError
from ..server import Server
from .keeper_asking import AGAIN, Asking
from .keeper_changes import Done
from .keeper_claims import Claim, Claims
from .keeper_copy import Copy
from .keeper_fence import Takeovers, Work
from .keeper_messages import MOVES, Op, Seat, plain
from .keeper_ports import Table
from .keeper_watch import Deputy, Watch

__all__ = ["Keeper"]

CLAIMS_WITHIN = 5.0  # seconds in which all workers send their seats to a new keeper
COPIED_WITHIN = 1.0  # the same for one that has the others' from a copy
MOST_HELD = 10_000  # operations that wait until it is known who keeps the rooms

#: In place of a worker that has to send its seats: what has come from the last keeper is read.
_READ = ""


class Keeper(Asking):
    """Who keeps a lobby's rooms."""

    def __init__(self, server: Server, exchange: Exchange, what: str, table: Table) -> None:
        super().__init__(server, exchange, what, table)
        self._held: list[tuple[str, int, Op]] = []
        #: How often this worker has begun to take over.
        self._turns = 0
        self._awaited: set[str] = set()
        self._claims = Claims()
        self._gone: list[Ghost] = []
        #: If this worker keeps the rooms: what it has done, and whose changes it has dropped.
        self._done = Done()
        self._missed: set[str] = set()
        #: The keeper that has confirmed ``seats``; `None`: this worker has the table; "": nobody.
        self._source: str | None = None
        #: Whether another worker has kept the rooms since this one's table was right.
        self._stale = False
        #: The workers that stand still: the rooms and sids of their seats from the copy.
        self._kept: dict[str, set[tuple[str, str]]] = {}
        #: The copy with which this worker took over, for the claims of those.
        self._copy: Copy | None = None
        bus = lambda: exchange.bus  # noqa: E731
        later = server.eio.heartbeat.later
        self._takeovers = Takeovers(bus, what, lambda: not self._releases.mixed)
        self._work = Work(self._takeovers.fence, lambda: exchange.bus.sent, later)
        self._deputy = Deputy(bus, partial(self._post, now=False), table.copies)
        keeper = lambda: self._node if self._settled else None  # noqa: E731
        self._watch = Watch(bus, later, self._post, keeper, self._take_over)
        exchange.inline[what] = self._heard
        exchange.inline[self._knows] = self._said
        exchange.on_met.append(self._look)
        exchange.on_joined.append(self._joined)
        exchange.on_died.append(self._died)

    # -- who is it: hub ----------------------------------------------------------------------------

    def _joined(self, node: str) -> None:
        self._releases.joined(node)
        self._look()

    def _said(self, node: str, number: int, about: bytes) -> None:
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
            self._hand_on(False)
            self._done.hand_on()
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
        claims = self._seats()
        if self._node is None:
            # Who has taken over has the rest from the copy; an older release takes a late table
            # for new seats.
            whole = not self._stale and self._releases.knows(keeper)
            claims += self._hand_on(whole)
            notes = self._done.hand_on()
            if whole:
                self._post(keeper, Op("notes", given=notes))
            else:
                self._source = ""
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

    def _change(self, keeper: str | None) -> None:
        """What was asked of the last keeper is asked again at the next one."""
        self._reigns += 1
        self._watch.follow(keeper)
        self._stale = False
        self._deputy.node = None
        self._kept.clear()
        self._copy = None
        for number in self._asking:
            self._exchange.questions.give_up(number)

    def _begin(self, stopped: str | None = None) -> None:
        """This worker keeps the rooms from now on. ``stopped``: it takes over from that one."""
        self._node = None
        self._settled = False
        self._claims.begin()
        self._change(None)
        self._awaited = set(self._exchange.bus.nodes) - set(self._claims.nodes) - {stopped}
        within = CLAIMS_WITHIN
        if self._watch.copy is not None:
            within = COPIED_WITHIN
            self._awaited.add(_READ)
        for node in self._awaited - {_READ} if stopped else self._missed & self._awaited:
            self._post(node, Op("again"))
        self._missed.clear()
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
        claimed = {*self._claims.nodes, self._own}
        if self._source is not None:  # it has no table yet
            own = self._changes.claims(self._seats())
            self._claims.add(self._own, Claim(self._source, own, self._changes.first))
            self.seats.clear()
            self._source = None
        copy, self._watch.copy = self._watch.copy, None
        self._copy = copy or self._copy
        seats = self._claims.read(copy, self._done)
        if copy is not None:
            still = set(self._exchange.bus.nodes) - claimed
            kept = copy.of(lambda sid: self._holder(sid) in still)
            self._kept = {node: set() for node in still}
            for seat in kept:
                self._kept[self._holder(seat.sid)].add((seat.room, seat.sid))
            seats += kept
        gone, self._gone = self._gone, []
        self._table.restore(seats, gone)
        self._settle()

    def _holder(self, sid: str) -> str:
        return self._exchange.heirs.holder(sid) or ""

    def _settle(self) -> None:
        self._settled = True
        if self._node is None:
            self._appoint()
        self._tell_all()
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            event.set()
        held, self._held = self._held, []
        for node, number, op in held:
            with suppress(ProtocolError):  # one of them; the others go on
                self._do(node, number, op)

    def _died(self, node: str, ghosts: list[Ghost], lost: Lost) -> None:
        self._claims.drop(node)
        self._kept.pop(node, None)
        self._done.died(node)
        self._releases.died(node)
        self._missed.discard(node)
        was_keeper = node == self._node
        if was_keeper or (
            self._awaited and self._source is not None
        ):  # the table does not have its seats
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
        """The same; then it follows that one from now on. # hub or greenlet, no lock held

        If not, nobody takes over until all that it does next is sent.
        """
        if self._node is None and self.has_deputy:
            self._work.begin()
        if not self.is_deposed:
            return False
        self._look()
        return True

    def is_late(self, node: str) -> bool:
        """Whether a worker that speaks as the keeper no longer is."""
        return self._takeovers.is_late(node)

    def _take_over(self, stopped: str, force: bool) -> None:
        """This worker keeps the rooms in place of one that stands still, if none was quicker.

        ``force``: also if that one has not sent all that it did.
        """
        if not self._releases.all_know:
            return
        if self._takeovers.take(force=force):
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
            except (msgspec.ValidationError, TypeError, ValueError):
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
        if node == self._node:
            self._follow(node)

    def _unclaimed(self, node: str, op: Op) -> None:
        """It follows another keeper, and tells that one what it has told here."""
        self._claims.drop(node)
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
        self._claims.noted(node, op.given)

    def _claimed(self, node: str, op: Op) -> None:
        claim = Claim(op.sid, msgspec.convert(op.given, list[Seat]), op.number)
        self._missed.discard(node)
        self.deposed()
        if self._node is None and self._settled and node in self._kept:
            if self._copy is not None and node != self._copy.source == claim.source:
                self._copy.amend(claim.seats)
            self._table.resume(claim.seats, self._kept.pop(node))
            self._appoint()
            return
        self._claims.add(node, claim)
        if self._node is None and self._settled:  # it has appeared, or gone on
            if claim.seats and self._lacks(claim.source):
                self._awaited = {claim.source}
                self._settled = False
                self._wait_for_claims(CLAIMS_WITHIN)
            self._finish()
        elif node in self._awaited:
            self._awaited.discard(node)
            self._finish()

    def _lacks(self, source: str) -> bool:
        """Whether a worker that has kept the rooms lives, and has not handed on its table."""
        lives = source in self._exchange.bus.nodes and source not in self._kept
        return lives and self._claims.lacks(source)

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
        elif node in self._claims.nodes:  # it knows already that this one will be the keeper
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
