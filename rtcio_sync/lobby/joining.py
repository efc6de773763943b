"""``check-room`` and ``join-room``: a client asks for a seat, and gets it or a reason why not.

`Lobby.authorize` may block, so a seat is taken in three steps: a look whether it could be had
(under the lock), the call of `authorize` (without it), and the look and the seat together (under
it). An `Attempt` is what the client asks for meanwhile.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from gevent.monkey import get_original
from socketio import exceptions

from ..errors import LimitExceeded, ProtocolError
from ..functions import completed
from ..server import Server
from ..socketio.namespace import Namespace
from ..socketio.socket import Socket
from .admission import Obstacle, Seating
from .keeper import Keeper
from .keeper_messages import Asks, Gone, Op, Seat
from .payloads import Name, name_in, object_in, password_in, room_in
from .ports import Rules
from .rooms import LobbyRoom, LobbyRooms, Local, stays, tell

__all__ = ["Attempt", "Joining", "Part", "Peer", "State", "since_of", "token_of"]

T = TypeVar("T")


class _Lock(get_original("_thread", "RLock")):  # type: ignore[misc]
    """A lock that who holds it may take again.

    For a signal handler of the app, or a ``__del__``: it may come between any two statements, and
    ask for `Lobby.stats`. It is the interpreter's own, which no signal finds half taken; that is no
    matter for greenlets, since none waits while it holds it.
    """

    def is_mine(self) -> bool:
        """Whether the caller's thread holds it."""
        return bool(self._is_owned())


class State:
    """The seats and the rooms of one lobby, and the lock that is held for each change of them."""

    def __init__(self, namespace: Namespace) -> None:
        self.lock = _Lock()
        self.seating = Seating[Attempt](os.urandom(32))
        self.rooms = LobbyRooms(namespace, self.lock)


@dataclass(eq=False)
class Peer:
    """One socket of the lobby's namespace."""

    socket: Socket
    #: The latest ``join-room`` for each room that has no answer yet; leaving withdraws it. To be
    #: read and changed under the lock.
    attempts: dict[str, Attempt] = field(default_factory=dict)

    @property
    def sid(self) -> str:
        return self.socket.id


@dataclass(eq=False)
class Attempt:
    """A ``join-room`` that has no answer yet, and later the seat that it got."""

    room: str
    name: Name | None
    #: The password's digest.
    secret: bytes | None
    #: Seats in the room; `None`: no limit.
    limit: int | None
    #: As `keeper.Seat.token`; 0: of a client of this worker.
    token: int = 0
    #: The token with which another worker was asked for the seat; 0: none was.
    asked: int = 0
    #: When it got the seat: `time.time_ns`, comparable with that of a keeper on another host.
    since: int = 0

    def sits(self, before: Attempt | None) -> None:
        """It gets the seat, or that of an attempt ``before``."""
        self.since = time.time_ns() if before is None else before.since


def since_of(attempt: Attempt | None) -> int:
    """When an attempt got its seat."""
    return 0 if attempt is None else attempt.since


def token_of(attempt: Attempt | None) -> int:
    """The token of the seat that an attempt got."""
    return 0 if attempt is None else attempt.token


class Part:
    """A part of one lobby: what each of them uses."""

    def __init__(
        self,
        server: Server,
        namespace: Namespace,
        state: State,
        rules: Rules,
        keeper: Keeper | None,
    ) -> None:
        self._server = server
        self._namespace = namespace
        self._lock, self._seating, self._rooms = state.lock, state.seating, state.rooms
        self._rules = rules
        self._keeper = keeper

    def defers(self, change: Callable[..., Any], *args: Any) -> bool:
        """Whether the caller has come in the middle of a change, which holds the lock.

        Then ``change(*args)`` runs soon, in a greenlet or thread of its own. # hub or greenlet
        """
        if not self._lock.is_mine():
            return False
        self._server.eio.spawn(change, *args)
        return True


class Joining(Part):
    """Answers ``check-room`` and ``join-room``. # greenlet (or thread) of the client's handlers"""

    def check(self, peer: Peer, payload: Any = None) -> None:
        """``check-room``: whether a seat could be had now."""
        fields = object_in(payload)
        room, secret = self._room_in(fields), self._seating.digest(password_in(fields))
        if room is None:
            self._refuse(peer, Obstacle.INVALID_ROOM, fields)
            return
        reason, closed = self._look(peer, room, secret, self._rules.max_peers)
        if reason is None:
            said = {"roomId": room, "passwordRequired": closed}
            tell(self._namespace, peer.sid, "room-check-ok", said)
        else:
            self._refuse(peer, reason, fields)

    def _look(
        self, peer: Peer, room: str, secret: bytes | None, limit: int | None
    ) -> tuple[str | None, bool]:
        """Why no seat could be had now, and whether the room has a password."""

        def here() -> tuple[str | None, bool]:
            with self._lock:
                reason = self._obstacle(peer, room, secret, limit, "check-room")
                return reason, self._seating.closed(room)

        def there(ask: Asks) -> tuple[str | None, bool]:
            seat = self._kept(peer, room)
            reason, closed = ask(Op("check", room, peer.sid, [secret, limit]))
            if reason is None and seat is None:
                reason = self._may_enter(peer, room, "check-room")
            return reason, closed

        late: tuple[str | None, bool] = Obstacle.TRY_AGAIN, False
        return self._asked(here, there, late)

    def _asked(self, here: Callable[[], T], there: Callable[[Asks], T], late: T) -> T:
        """As `Keeper.call`; ``late``: the result if the keeper stands still."""
        if self._keeper is None:
            return here()
        try:
            return self._keeper.call(here, there)
        except exceptions.TimeoutError:
            return late

    def join(self, peer: Peer, payload: Any = None) -> None:
        """``join-room``: takes a seat, or changes the name of who has one."""
        fields = object_in(payload)
        room, password = self._room_in(fields), password_in(fields)
        if room is None:
            self._refuse(peer, Obstacle.INVALID_ROOM, fields)
            return
        secret = self._seating.digest(password)
        attempt = Attempt(room, name_in(fields), secret, self._rules.max_peers)
        seat, reason = self._first_look(peer, attempt)
        # This first look saves a call of `authorize` (which may ask a database) that cannot
        # succeed. It reserves nothing: a client that `authorize` refuses must not keep others out.
        if reason is None and (seat is None or attempt.name not in (None, seat.name)):
            reason = self._judge(peer, attempt, password)
        if reason is None:
            reason = self._sit(peer, attempt)
        if reason is not None:
            self._refuse(peer, reason, fields)

    def _first_look(self, peer: Peer, attempt: Attempt) -> tuple[Attempt | Seat | None, str | None]:
        """The seat that the peer has, and why it may not have one; begins the attempt if it may."""

        def here() -> tuple[Attempt | Seat | None, str | None]:
            with self._lock:
                seat = self._seating.holder(attempt.room, peer.sid)
                reason = self._obstacle(peer, attempt.room, attempt.secret, attempt.limit)
                if reason is None:
                    peer.attempts[attempt.room] = attempt
                return seat, reason

        def there(ask: Asks) -> tuple[Attempt | Seat | None, str | None]:
            asked = [attempt.secret, attempt.limit]
            seat = self._kept(peer, attempt.room)
            reason, _ = ask(Op("check", attempt.room, peer.sid, asked))
            if reason is None and seat is None:
                reason = self._may_enter(peer, attempt.room)
            if reason is None:
                with self._lock:
                    peer.attempts[attempt.room] = attempt
            return seat, reason

        late: tuple[Attempt | Seat | None, str | None] = None, Obstacle.TRY_AGAIN
        return self._asked(here, there, late)

    def _kept(self, peer: Peer, room: str) -> Seat | None:
        return None if self._keeper is None else self._keeper.seat(peer.sid, room)

    def withdraw(self, peer: Peer, room: str) -> None:
        """The peer leaves ``room``: a ``join-room`` without an answer gets none."""
        with self._lock:
            peer.attempts.pop(room, None)

    def _room_in(self, fields: dict[str, Any]) -> str | None:
        room = room_in(fields)
        # Who is in a room with a sid for its name would get what is sent to that one socket.
        if room is None or self._server.manager.is_sid_room(self._namespace.name, room):
            return None
        return room

    def _refuse(self, peer: Peer, reason: str, fields: dict[str, Any]) -> None:
        """Sends ``join-error`` for the request with these ``fields``."""
        error: dict[str, Any] = {"reason": reason}
        # What the client sent, if it is a plain value; what it did not send is not added.
        if isinstance(fields.get("roomId", b""), (str, int, float, type(None))):
            error["roomId"] = fields["roomId"]
        tell(self._namespace, peer.sid, "join-error", error)

    # -- authorize ---------------------------------------------------------------------------------

    def _judge(self, peer: Peer, attempt: Attempt, password: str | None) -> str | None:
        """Asks `authorize`: why the peer may not join; `None`: it may, or the attempt has ended."""
        allowed = False
        name = attempt.name if attempt.name is None else str(attempt.name)
        try:
            authorize = self._rules.authorize  # maybe a subclass's
            said = authorize(peer.socket, attempt.room, name, password or None)
            allowed = bool(completed(authorize, said))
        except BaseException:
            if self._end(peer, attempt):
                self._refuse(peer, Obstacle.FORBIDDEN, {"roomId": attempt.room})
            raise
        return Obstacle.FORBIDDEN if not allowed and self._end(peer, attempt) else None

    def _end(self, peer: Peer, attempt: Attempt) -> bool:
        with self._lock:
            return self._take_current(peer, attempt)

    @staticmethod
    def _take_current(peer: Peer, attempt: Attempt) -> bool:
        """Ends an attempt; `False`: its peer left, or asked again, meanwhile. # lock held"""
        if peer.attempts.get(attempt.room) is not attempt:
            return False
        del peer.attempts[attempt.room]
        return stays(peer.socket)

    # -- the seat ----------------------------------------------------------------------------------

    def _sit(self, peer: Peer, attempt: Attempt) -> str | None:
        """Takes the seat, or says why not; an attempt that has ended gets no answer."""
        here = partial(self._sit_here, peer, attempt)
        keeper = self._keeper
        if keeper is None:
            return here()
        try:
            return keeper.call(here, partial(self._sit_there, keeper, peer, attempt))
        except exceptions.TimeoutError:
            return self._got_no_answer(keeper, peer, attempt)

    def _got_no_answer(self, keeper: Keeper, peer: Peer, attempt: Attempt) -> str | None:
        """The keeper stands still. It may give the seat when it goes on: then it gets it back."""
        room, sid = attempt.room, peer.sid
        with self._lock:
            if peer.attempts.get(room) is attempt:
                del peer.attempts[room]
        seat = keeper.seat(sid, room)
        if seat is None or not seat.entered:
            keeper.drop(sid, room)
        elif not seat.since:  # the keeper has just gone on, and had it enter before it answered
            seat.since = time.time_ns()
            return None
        return Obstacle.TRY_AGAIN

    def _sit_there(self, keeper: Keeper, peer: Peer, attempt: Attempt, ask: Asks) -> str | None:
        """Asks the keeper for the seat."""
        room, sid = attempt.room, peer.sid
        with self._lock:
            if not self._take_current(peer, attempt):
                return None
        before = keeper.seat(sid, room)
        reason = None if before is not None else self._may_enter(peer, room)
        if reason is not None:
            return reason
        seat = before or Seat(room, sid, attempt.name, attempt.secret or b"")
        # The next keeper knows by it that this is no further ``join-room``.
        token = seat.token = attempt.asked = attempt.asked or keeper.new_token()
        keeper.add(seat)  # now, because the keeper may have the client enter before it answers
        given = [attempt.name, attempt.secret, attempt.limit, token]
        try:
            refused, since = ask(Op("sit", room, sid, given))
        except Gone:
            with self._lock:
                peer.attempts.setdefault(room, attempt)
            raise
        if refused is not None:
            if seat.token == token:
                keeper.drop(sid, room)
            return str(refused)
        seat.since = seat.since or since
        seat.name = attempt.name if attempt.name is not None else seat.name
        if not stays(peer.socket) and keeper.drop(sid, room):  # it has left meanwhile
            keeper.tell(seat, Op("depart", room, sid, [True, False]))
        return None

    def _sit_here(self, peer: Peer, attempt: Attempt) -> str | None:
        """Takes the seat, or says why not; an attempt that has ended gets no answer."""
        room = attempt.room
        with self._lock:
            if not self._take_current(peer, attempt):
                return None
            reason = self._obstacle(peer, room, attempt.secret, attempt.limit)
            if reason is not None:
                return reason
            before, asked = self._seating.holder(room, peer.sid), attempt
            if before is not None and attempt.name is None:
                attempt = before  # it joins again without a name, and keeps the one that it had
            attempt.sits(before)
            self._seating.sit(room, peer.sid, attempt.secret, attempt)
            refuse = partial(self._give_back, peer, attempt)
            arriving = Local(peer.socket, self._namespace, again=partial(self._again, peer, asked))
            appended = self._rooms.append(room, LobbyRoom.arrive, arriving, attempt.name, refuse)
        self._rooms.run(appended)
        return None

    def _again(self, peer: Peer, attempt: Attempt) -> None:
        """Another worker keeps the rooms since a seat was given here, of which nobody was told."""
        with self._lock:
            peer.attempts.setdefault(attempt.room, attempt)
        reason = self._sit(peer, attempt)
        if reason is not None:
            self._server.leave_room(peer.sid, attempt.room, namespace=self._namespace.name)
            self._refuse(peer, reason, {"roomId": attempt.room})

    def _obstacle(
        self,
        peer: Peer,
        room: str,
        secret: bytes | None,
        limit: int | None,
        event: str = "join-room",
    ) -> str | None:  # lock held
        """Why a seat may not be taken: by the lobby's own rules, and by the Socket.IO room's."""
        reason = self._seating.obstacle(room, peer.sid, secret, limit)
        if reason is None and not self._seating.sits(room, peer.sid):
            return self._may_enter(peer, room, event)
        return reason

    def _may_enter(self, peer: Peer, room: str, event: str = "join-room") -> str | None:
        """Why a peer may not enter the Socket.IO room; `None`: it may."""
        try:
            self._server.manager.may_enter(peer.sid, self._namespace.name, room)
        except ProtocolError as error:
            return self._counted(peer, error, event)
        return None

    def _counted(self, peer: Peer, error: ProtocolError, event: str = "join-room") -> str:
        member = self._server.manager.member(peer.sid, self._namespace.name)
        self._server.drop(error.reason, member, event=event)
        limit = isinstance(error, LimitExceeded)
        return Obstacle.TOO_MANY_ROOMS if limit else Obstacle.INVALID_ROOM

    def _give_back(self, peer: Peer, attempt: Attempt, error: BaseException | None) -> bool:
        """Gives back the seat of a peer that could not enter the Socket.IO room after all."""
        with self._lock:
            if not self._seating.vacate(attempt.room, peer.sid, attempt):
                return False
        if error is not None:
            reason = Obstacle.FORBIDDEN
            if isinstance(error, ProtocolError):
                reason = self._counted(peer, error)
            self._refuse(peer, reason, {"roomId": attempt.room})
        return True
