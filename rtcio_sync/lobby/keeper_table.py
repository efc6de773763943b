"""What the keeper of a lobby's rooms does for the clients of other workers. # hub, unless it says

Each change is made under the lock, with the step that tells the room of it, as for the clients of
this worker (`joining`, `events`); a greenlet runs the steps, since a step may ask a worker whether
its client has entered the room.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from ..cluster.exchange import Exchange
from ..cluster.messages import decoded, encoded
from ..cluster.remote_rooms import Ghost
from ..cluster.shared_rooms import SharedRooms
from ..cluster.succession import Lost
from ..errors import LimitExceeded, ProtocolError
from ..server import Server
from ..socketio.namespace import Namespace
from ..socketio.socket import socket_of
from .admission import Obstacle
from .joining import Attempt, State, since_of, token_of
from .keeper import Keeper
from .keeper_messages import MOVES, Op, Seat, plain
from .keeper_steps import Left
from .rooms import Arriving, LobbyRoom, Local, stays, tell
from .seat_transfer import Carrying

__all__ = ["Table"]

ENTERED, LEFT = "entered", "left"


class Table:
    """The seats of a lobby, for other workers."""

    def __init__(
        self, server: Server, namespace: Namespace, state: State, exchange: Exchange
    ) -> None:
        self._server = server
        self._namespace = namespace
        self._lock, self._seating, self._rooms = state.lock, state.seating, state.rooms
        self._enters = f"lobby enters {namespace.name}"
        self.keeper = Keeper(server, exchange, f"lobby {namespace.name}", self)
        server.departing.parts[f"lobby {namespace.name}"] = Carrying(
            self.keeper, self, namespace.name
        )
        self._leaves = f"lobby leaves {namespace.name}"
        self._hears = f"lobby hears {namespace.name}"
        exchange.answers[self._enters] = self._enter
        exchange.inline[self._hears] = self._hear
        exchange.inline[self._leaves] = self._leave
        self._exchange = exchange
        self._rooms.takes_out_elsewhere = self._takes_out
        self._rooms.deposed = self.keeper.deposed
        self._rooms.changed = self._changed
        exchange.on_begin.append(self._seating.rekey)

    # -- what other workers ask --------------------------------------------------------------------

    def do(self, op: Op, answer: Callable[[Any], None]) -> None:
        """As `keeper.Table.do`. Raises `ProtocolError` for what no worker of ours asks."""
        does = {
            "check": self._check,
            "sit": self._sit,
            "peers": self._peers,
            "counts": self._counts,
        }.get(op.what)
        tells = {
            "depart": self._depart,
            "back": self._back,
            "remove": self._remove,
            "show": self._show,
            "pass on": self._pass_on,
        }.get(op.what)
        try:
            if tells is not None:
                self._tell(op, tells(op.room, op.sid, op.given), answer)
                return
            if does is None:
                raise ProtocolError("channel")
            found = does(op.room, op.sid, op.given)
        except (TypeError, ValueError, KeyError):
            raise ProtocolError("channel") from None
        if not self.keeper.deposed():  # else it is asked for again
            answer(found)

    def _tell(self, op: Op, told: bool, answer: Callable[[Any], None]) -> None:
        """Answers when the steps that are there have run."""
        if not told:
            answer(False)
            return
        with self._lock:
            again = op.number > 0 or op.what in MOVES
            room = self._rooms.append(op.room, LobbyRoom.answer, partial(answer, True), again)
        self._run(room)

    def _check(self, room: str, sid: str, given: Any) -> Any:
        secret, limit = given
        with self._lock:
            reason = self._seating.obstacle(room, sid, secret, limit)
            return [reason, self._seating.closed(room)]

    def _sit(self, room: str, sid: str, given: Any) -> Any:
        name, secret, limit, token = given
        attempt = Attempt(room, name, secret, limit, token)
        with self._lock:
            reason = self._seating.obstacle(room, sid, secret, limit)
            if reason is not None:
                return [reason, 0]
            before = self._seating.holder(room, sid)
            if before is not None and token and before.token == token:
                return [None, before.since]  # the last keeper gave it the seat
            if before is not None and name is None:
                attempt = replace(before, token=token)
            attempt.sits(before)
            self._seating.sit(room, sid, secret, attempt)
            self._arrives(attempt, sid)
        return [None, attempt.since]

    def _arrives(self, attempt: Attempt, sid: str, greeted: bool = False) -> None:  # lock held
        member = self._server.manager.member(sid, self._namespace.name)
        peer: Arriving = _Elsewhere(self, sid, attempt.token)
        if member is not None:
            peer = Local(socket_of(self._server, member), self._namespace)
        refuse = partial(self._give_back, sid, attempt)
        given = peer, attempt.name, refuse, greeted
        self._run(self._rooms.append(attempt.room, LobbyRoom.arrive, *given))

    def _give_back(self, sid: str, attempt: Attempt, error: BaseException | None) -> bool:
        with self._lock:
            if not self._seating.vacate(attempt.room, sid, attempt):
                return False
        if error is not None:
            limit = isinstance(error, LimitExceeded)
            reason = Obstacle.TOO_MANY_ROOMS if limit else Obstacle.FORBIDDEN
            self.emit(sid, "join-error", {"reason": reason, "roomId": attempt.room})
        return True

    def _depart(self, room: str, sid: str, given: Any) -> bool:
        leave, returns = given
        with self._lock:
            if not self._seating.sits(room, sid):
                return False
            token = token_of(self._seating.holder(room, sid))
            if not returns:
                self._seating.vacate(room, sid)
            how = bool(leave), bool(returns), token
            self._rooms.append(room, LobbyRoom.depart, sid, *how)
        return True

    def _back(self, room: str, sid: str, given: Any) -> bool:
        self._step(room, sid, LobbyRoom.come_back)
        return True

    def _show(self, room: str, sid: str, given: Any) -> bool:
        if type(given) is dict:
            self._step(room, sid, LobbyRoom.show, given)
        return True

    def _pass_on(self, room: str, sid: str, given: Any) -> bool:
        event, fields = given
        if type(event) is str and type(fields) is dict:
            self._step(room, sid, LobbyRoom.pass_on, event, fields)
        return True

    def _step(self, room: str, sid: str, step: Any, *args: Any) -> None:
        with self._lock:
            if self._seating.sits(room, sid):
                self._run(self._rooms.append(room, step, sid, *args))

    def _remove(self, room: str, sid: str, given: Any) -> bool:
        with self._lock:
            token = token_of(self._seating.holder(room, sid))
            if not self._seating.vacate(room, sid):
                return False
            self._rooms.append(room, LobbyRoom.depart, sid, True, False, token)
        return True

    def _peers(self, room: str, sid: str, given: Any) -> list[str]:
        with self._lock:
            return self._seating.sids(room)

    def _counts(self, room: str, sid: str, given: Any) -> Any:
        with self._lock:
            return list(self._seating.counts())

    def _run(self, room: LobbyRoom) -> None:
        self._server.eio.spawn(self._rooms.run, room)

    # -- a peer of another worker: greenlet --------------------------------------------------------

    def emit(self, sid: str, event: str, payload: dict[str, Any]) -> None:
        tell(self._namespace, sid, event, payload)

    def has_entered(self, sid: str, room: str) -> bool:
        """Has a client of another worker enter the Socket.IO room; `False`: it has left."""
        manager = self._server.manager
        if not isinstance(manager, SharedRooms):
            return False
        about = encoded(Op(self._enters, room, sid))
        said = (manager.ask_about(sid, self._enters, about) or b"").decode()
        if said not in (ENTERED, LEFT, ""):
            raise LimitExceeded(said) if said.startswith("room") else ProtocolError(said)
        return said == ENTERED

    def wait_until_heard(self, sid: str, room: str) -> None:
        """Returns when a client's worker has handled what was emitted to it, or does not answer."""
        manager = self._server.manager
        if isinstance(manager, SharedRooms):
            manager.ask_about(sid, self._hears, encoded(Op(self._hears, room, sid)))

    def _hear(self, node: str, number: int, about: bytes) -> None:  # hub
        """The keeper has told a client of this worker of its peers; it wants to know when."""
        if about:
            op = decoded(Op, about)
            seat = self.keeper.seat(op.sid, op.room)
            if seat is not None:  # noted now: the next message may be that the keeper is dead
                seat.greeted = True
        self._server.eio.spawn_in_turn(self._exchange.reply, node, number, b"")

    def _takes_out(self, sid: str, room: str, token: int) -> bool:
        """Has a client of another worker leave the Socket.IO room; `False`: it is none."""
        manager = self._server.manager
        node = manager.node_of(sid) if isinstance(manager, SharedRooms) else None
        if node is None:
            return False
        op = Op(self._leaves, room, sid, token)
        self._exchange.tell(node, self._leaves, encoded(op))
        return True

    def _leave(self, node: str, number: int, about: bytes) -> None:  # hub
        """The keeper has taken the seat of a client of this worker, which may sit again since."""
        if self.keeper.is_late(node):
            return
        op = decoded(Op, about)
        seat = self.keeper.drop(op.sid, op.room)
        if self._server.manager.member(op.sid, self._namespace.name) is not None:
            self._server.manager.leave_room(op.sid, self._namespace.name, op.room)
        if seat is not None and type(op.given) is int and seat.token > op.given:
            seat.entered = False
            self.keeper.add(seat)

    def _enter(self, about: bytes) -> bytes:
        """The keeper has a client of this worker enter a room."""
        op = decoded(Op, about)
        member = self._server.manager.member(op.sid, self._namespace.name)
        seat = self.keeper.seat(op.sid, op.room)
        if member is None or seat is None:
            return LEFT.encode()
        socket = socket_of(self._server, member)
        try:
            socket.join(op.room)
        except ProtocolError as error:
            self._server.drop(error.reason, member, event="join-room")
            self.keeper.drop(op.sid, op.room)
            return error.reason.encode()
        if stays(socket):
            seat.entered = True
            return ENTERED.encode()
        self._server.leave_room(op.sid, op.room, namespace=self._namespace.name)
        return LEFT.encode()

    # -- another keeper ----------------------------------------------------------------------------

    def restore(self, seats: Iterable[Seat], gone: Iterable[Ghost]) -> None:
        """As `keeper.Table.restore`."""
        found = sorted(seats, key=lambda each: each.since)
        with self._lock:
            for seat in found:
                if not self._seating.sits(seat.room, seat.sid):
                    self._restore(seat)
            for ghost in gone:
                for room in ghost.rooms if ghost.namespace == self._namespace.name else ():
                    if type(room) is str and self._seating.sids(room):
                        self._run(self._rooms.append(room, LobbyRoom.bid_farewell, ghost.sid))
        for seat in found:
            self._changed(seat.room, seat.sid)

    def _restore(self, seat: Seat) -> None:  # lock held
        known = seat.room, seat.name, seat.secret, None
        attempt = Attempt(*known, token=seat.token, since=seat.since)
        self._seating.sit(seat.room, seat.sid, seat.secret, attempt)
        later = self._seating.rank(seat.room, seat.sid, since_of)
        if seat.entered:
            room = self._rooms.restore(seat, later)
            if room is not None:
                self._run(room)
        if seat.arriving or not seat.entered:
            self._arrives(attempt, seat.sid, seat.greeted)

    def resume(self, seats: Iterable[Seat], kept: Collection[tuple[str, str]]) -> None:
        """As `keeper.Table.resume`."""
        with self._lock:
            now = {(seat.room, seat.sid): seat for seat in seats}
            for room, sid in kept:
                if not self._seating.sits(room, sid):  # it was taken out meanwhile
                    now.pop((room, sid), None)
                elif (room, sid) not in now:  # it has left
                    self._seating.vacate(room, sid)
                    self._run(self._rooms.append(room, LobbyRoom.depart, sid))
                elif self._rooms.presence(room, sid)[0]:
                    del now[room, sid]
            for place, seat in now.items():
                if place in kept or not self._seating.sits(*place):
                    self._restore(seat)
        for place in now:
            self._changed(*place)

    def hand_on(self, whole: bool) -> tuple[list[Seat], list[tuple[Seat, Op]]]:
        """As `keeper.Table.hand_on`."""
        with self._lock:
            seats = {(each[0], each[1]): self._seat(*each) for each in self._seating.all()}
            left = Left(self._rooms.forget(), lambda *place: seats.get(place))
            self._seating.clear()
        for place, again in left.again.items():
            if not seats[place].entered:
                del seats[place]
            self._server.eio.spawn(again)
        for place, greeted in left.arriving.items():
            if place in seats and place not in left.again:
                seats[place].arriving, seats[place].greeted = True, greeted
        if whole:
            return [*seats.values(), *left.seats], left.ops
        own = [seat for seat in seats.values() if self._is_own(seat.sid)]
        return own, [each for each in left.ops if self._is_own(each[0].sid)]

    def _is_own(self, sid: str) -> bool:
        here = self._server.manager.member(sid, self._namespace.name) is not None
        return here or self._exchange.heirs.has(sid)

    def copies(self) -> Any:
        """As `keeper.Table.copies`."""
        seats, others = [], []
        with self._lock:
            for room, sid, secret in self._seating.all():
                if self._rooms.presence(room, sid)[0]:
                    if self._is_own(sid) or not self.keeper.claims(sid):
                        seats.append(plain(self._seat(room, sid, secret)))
                    else:
                        others.append((room, sid, secret))
        return seats, others

    def _changed(self, room: str, sid: str, known: bool = False) -> None:
        """What the peers of a room know of ``sid`` changes, as of `LobbyRooms.changed`."""
        if not self.keeper.has_deputy:
            return
        whole, given = self._is_own(sid) or not self.keeper.claims(sid), None
        if known and not whole:
            return
        with self._lock:
            if self._seating.sits(room, sid) and self._rooms.presence(room, sid)[0]:
                secret = self._seating.secret(room)
                given = plain(self._seat(room, sid, secret)) if whole else secret
        self.keeper.copy(room, sid, given)

    def seats_of(self, sid: str) -> list[Seat]:
        """The seats of a client that this table has."""
        with self._lock:
            rooms = self._seating.rooms(sid)
            return [self._seat(room, sid, self._seating.secret(room)) for room in rooms]

    def _seat(self, room: str, sid: str, secret: bytes) -> Seat:  # lock held
        entered, away, media = self._rooms.presence(room, sid)
        holder = self._seating.holder(room, sid)
        name, since = (None, 1) if holder is None else (holder.name, holder.since)
        return Seat(room, sid, name, secret, since, entered, away, media, token_of(holder))

    def dead(self, lost: Lost) -> None:
        """As `keeper.Table.dead`."""
        with self._lock:
            for room, sid, _ in self._seating.all():
                if lost(sid):
                    self._seating.vacate(room, sid)
                    self._run(self._rooms.append(room, LobbyRoom.depart, sid))


class _Elsewhere:
    """A peer of another worker, for `rooms.Arriving`. # greenlet"""

    def __init__(self, table: Table, sid: str, token: int) -> None:
        self._table = table
        self.id = sid
        self.token = token

    def emit(self, event: str, payload: dict[str, Any]) -> None:
        self._table.emit(self.id, event, payload)

    def enter(self, room: LobbyRoom) -> bool:
        return self._table.has_entered(self.id, room.id)

    def hear(self, room: LobbyRoom) -> None:
        self._table.wait_until_heard(self.id, room.id)
