"""What the peers of a lobby's rooms are told, and in which order.

`joining` and `events` decide under the lobby's lock, and append a *step* to the room for what has
to be emitted. A caller that finds the room idle takes the steps off one by one and runs them
without the lock. ``told`` is what the room's peers know: only steps read and write it, so only one
greenlet or thread at a time does.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from ..errors import ProtocolError
from ..events import RtcioEvents
from ..hub import interrupts
from ..socketio.namespace import Namespace
from ..socketio.socket import Socket
from .keeper_messages import Seat
from .payloads import Name, state_in

__all__ = ["Arriving", "LobbyRoom", "LobbyRooms", "Local", "stays", "tell"]

log = logging.getLogger(__name__)


class LobbyRooms:
    """The rooms that have peers, or steps to run."""

    def __init__(self, namespace: Namespace, lock: AbstractContextManager[Any]) -> None:
        self._namespace = namespace
        self._lock = lock
        self._rooms: dict[str, LobbyRoom] = {}
        #: Has a client of another worker leave a Socket.IO room: ``(sid, room, token)``; `False`:
        #: it is none of another worker.
        self.takes_out_elsewhere: Callable[[str, str, int], bool] = lambda sid, room, token: False
        #: Whether another worker keeps the rooms now: then this one has forgotten them.
        self.deposed: Callable[[], bool] = lambda: False
        #: Called in the turn of the loop in which a room's peers are told of a sid: ``(room, sid,
        #: known)``. ``known``: the sid's own worker knows what has changed.
        self.changed: Callable[[str, str, bool], None] = lambda room, sid, known: None

    def __len__(self) -> int:
        return len(self._rooms)

    def append(self, room: str, step: Callable[..., None], *args: Any) -> LobbyRoom:
        """The room with one more step to run. # lock held"""
        found = self._found(room)
        found.steps.append(partial(step, found, *args))
        return found

    def _found(self, room: str) -> LobbyRoom:
        found = self._rooms.get(room)
        if found is None:
            found = self._rooms[room] = LobbyRoom(room, self._namespace, self)
        return found

    def restore(self, seat: Seat, later: Collection[str] = ()) -> LobbyRoom | None:
        """A peer that is in a room already, and whom another worker's lobby has announced.

        ``later``: the sids of peers here that got their seats after it did. Returns the room if it
        has a step to run: this one's worker was late, and peers that arrived meanwhile know nothing
        of it. # lock held
        """
        found = self._found(seat.room)
        card: dict[str, Any] = {"id": seat.sid}
        if seat.name is not None:
            card["name"] = seat.name
        media = seat.media if type(seat.media) is dict else {}
        presence = _Presence(card, found.place_before(later), media)
        if seat.away:
            found.away[seat.sid] = presence
            return None
        found.told[seat.sid] = presence
        if later:
            found.sort()
        if not found.newcomers:
            return None
        found.steps.append(partial(LobbyRoom.introduce, found, seat.sid, dict(found.newcomers)))
        return found

    def forget(self) -> dict[LobbyRoom, list[partial[None]]]:
        """Another worker keeps the rooms now. # lock held

        Returns the steps that are left for it, in order; and a peer that is about to arrive.
        """
        found = {}
        for each in self._rooms.values():
            arrives = each.running is not None and each.running.func is LobbyRoom.arrive
            begun = [each.running] if arrives and each.running is not None else []
            found[each] = [*begun, *each.steps]
            each.steps.clear()
            each.forgotten = True
        self._rooms.clear()
        return found

    def presence(self, room: str, sid: str) -> tuple[bool, bool, dict[str, Any]]:
        """Whether a peer is announced, whether it is away, and its media state."""
        found = self._rooms.get(room)
        if found is None:
            return False, False, {}
        known = found.told.get(sid) or found.away.get(sid)
        return known is not None, sid in found.away, known.media if known is not None else {}

    def takes_out(self, room: str, sid: str) -> bool:
        """Whether a step is taking ``sid`` out of the Socket.IO room at this moment."""
        found = self._rooms.get(room)
        return found is not None and found.leaving == sid

    def arrives(self, room: str, sid: str) -> bool:
        """Whether ``sid`` has a seat, and is to enter the Socket.IO room. # lock held"""
        found = self._rooms.get(room)
        if found is None:
            return False
        steps = [found.running, *found.steps] if found.running is not None else found.steps
        return any(
            step.func is LobbyRoom.arrive and step.args[1].id == sid
            for step in steps
            if step is not None
        )

    def run(self, room: LobbyRoom) -> None:
        """Runs the room's steps until none is left, unless another caller is doing so."""
        while True:
            with self._lock:
                if room.busy:
                    return
                if not room.steps:
                    if not (room.told or room.away) and self._rooms.get(room.id) is room:
                        del self._rooms[room.id]
                    return
                room.busy = True
                step = room.running = room.steps.popleft()
            try:
                # What is done is confirmed in any case.
                if step.func is LobbyRoom.answer or not room.is_over():
                    step()
            except ProtocolError as error:  # what a client said cannot be told to other workers
                self._namespace.server.drop(error.reason)
            except BaseException as error:  # a failed emit must not stop the steps after it
                log.exception("an event could not be sent to the peers of a room")
                interrupts.heed(error)
            finally:
                with self._lock:
                    room.busy, room.running = False, None


class Arriving(Protocol):
    """A peer that has a seat, and is to enter the room."""

    @property
    def id(self) -> str:
        """Its sid."""

    @property
    def token(self) -> int:
        """Of its seat (`keeper.Seat.token`); 0: it is of this process."""

    def emit(self, event: str, payload: dict[str, Any]) -> None: ...

    def enter(self, room: LobbyRoom) -> bool:
        """Enters the Socket.IO room; `False`: it has left. Raises `ProtocolError`."""

    def hear(self, room: LobbyRoom) -> None:
        """Waits until all that was emitted to it is on its way to the client, and nothing else
        can come before it."""


@dataclass(frozen=True)
class Local:
    """A peer of this process."""

    socket: Socket
    namespace: Namespace
    token: int = 0
    #: Asks for its seat again: another worker keeps the room since it was given.
    again: Callable[[], None] | None = None

    @property
    def id(self) -> str:
        return self.socket.id

    def emit(self, event: str, payload: dict[str, Any]) -> None:
        tell(self.namespace, self.id, event, payload)

    def enter(self, room: LobbyRoom) -> bool:
        return room.enter(self.socket)

    def hear(self, room: LobbyRoom) -> None:
        pass  # its queue is here


@dataclass(eq=False)
class LobbyRoom:
    """One room. ``steps`` and ``busy`` are used under the lock, the rest by the running step."""

    id: str
    namespace: Namespace
    rooms: LobbyRooms
    steps: deque[partial[None]] = field(default_factory=deque)
    busy: bool = False
    running: partial[None] | None = None
    #: Whether another worker keeps it since a step has begun.
    forgotten: bool = False
    #: The sid that the running step takes out of the Socket.IO room.
    leaving: str | None = None
    #: The sid that the running step has told of its peers; they may know nothing of it yet.
    greeted: str | None = None
    came: Iterator[int] = field(default_factory=itertools.count)
    #: Whom this worker's lobby has told of its peers first, and the place in the order of joining.
    newcomers: dict[str, int] = field(default_factory=dict)
    told: dict[str, _Presence] = field(default_factory=dict)
    #: The peers that lost their connection and may reconnect; the others were told that they left.
    away: dict[str, _Presence] = field(default_factory=dict)

    def place_before(self, later: Collection[str]) -> float:
        """A place in the order of joining, before these sids. # lock held"""
        known = {sid: each.number for sid, each in {**self.told, **self.away}.items()}
        known.update(self.newcomers)
        after = min((known[sid] for sid in later if sid in known), default=None)
        if after is None:
            return next(self.came)
        before = max((each for each in known.values() if each < after), default=after - 1)
        return (before + after) / 2

    def sort(self) -> None:
        """The next peer that joins is told of all in the order of joining."""
        self.told = dict(sorted(self.told.items(), key=lambda item: item[1].number))

    # -- steps: one at a time. # greenlet or thread ------------------------------------------------

    def is_over(self) -> bool:
        """Whether another worker keeps the room, and tells its peers."""
        self.rooms.deposed()
        return self.forgotten

    def arrive(
        self,
        socket: Arriving,
        name: Name | None,
        refuse: Callable[[BaseException | None], bool],
        greeted: bool = False,
    ) -> None:
        """The peer enters the Socket.IO room, and everybody is told.

        ``refuse(error)`` gives back the seat of a peer that could not enter; `True`: it had one.
        ``error`` `None`: it left meanwhile, and is told nothing. ``greeted``: the peer itself is
        told already.
        """
        sid = socket.id
        known = self.told.get(sid)
        number = next(self.came)
        self.greeted = None
        try:
            enters = known is not None or socket.enter(self)
            if self.is_over():  # while it was waited for
                return
            if not enters:
                refuse(None)
                return
            if not greeted:
                self._greet(socket)
                if known is None:
                    self.newcomers[sid] = number
            self.greeted = sid
            # The others answer with offers, which come from their own workers: the peer has to know
            # of them before.
            socket.hear(self)
            if self.is_over():
                return
        except BaseException as error:
            if known is None:
                self.newcomers.pop(sid, None)
                try:
                    had_a_seat = refuse(error)
                except BaseException:  # it has none any more, and could not be told
                    self._take_out(sid, socket.token)
                    raise
                if had_a_seat:
                    self._take_out(sid, socket.token)
            if isinstance(error, ProtocolError):  # the client's, and counted
                return
            raise
        card: dict[str, Any] = {"id": sid} if name is None else {"id": sid, "name": name}
        if sid in self.away:  # it was lost since it asked; the others keep their calls with it
            self.away[sid].card = card
            self.come_back(sid)
        elif known is None:
            self.told[sid] = _Presence(card, number)
            self.rooms.changed(self.id, sid, False)
            self._tell_others(sid, "user-connected", card)
            self._tell_others(sid, RtcioEvents.INIT_OFFER, {"source": sid})
        elif card != known.card:
            # No second offer: it would replace the connection that the two peers have.
            known.card = card
            self.rooms.changed(self.id, sid, True)
            self._tell_others(sid, "user-connected", card)

    def _greet(self, socket: Arriving) -> None:
        for other, presence in self.told.items():
            if other != socket.id:
                socket.emit("user-connected", presence.card)
                if presence.media:
                    socket.emit("media-state", self._state(other, presence))
        socket.emit("join-ok", {"roomId": self.id})

    def introduce(self, sid: str, newcomers: dict[str, int]) -> None:
        """Those ``newcomers`` that are still here are told of a peer that was here before."""
        presence = self.told.get(sid)
        if presence is None:
            return
        for each, number in newcomers.items():
            if self.newcomers.get(each) == number:
                tell(self.namespace, each, "user-connected", presence.card)
                if presence.media:
                    tell(self.namespace, each, "media-state", self._state(sid, presence))

    def _state(self, sid: str, presence: _Presence) -> dict[str, Any]:
        return {**presence.media, "id": sid, "roomId": self.id}

    def depart(self, sid: str, leave: bool = False, returns: bool = False, token: int = 0) -> None:
        """The others are told. ``leave``: it leaves the Socket.IO room, too.

        ``token``: of the seat that it has given up.
        """
        presence = self.told.pop(sid, None)
        if presence is not None and returns:
            self.away[sid] = presence
        elif presence is None and not returns:
            self.away.pop(sid, None)
        if not returns:
            self.newcomers.pop(sid, None)
        if leave:
            self._take_out(sid, token)
        if presence is not None:
            self._tell_others(sid, "user-disconnected", {"id": sid})
        self.rooms.changed(self.id, sid, returns)

    def come_back(self, sid: str) -> None:
        # The others were told that it left, or joined later and do not know of it. None is told to
        # make an offer: the calls with those that were there go on, and those that joined meanwhile
        # were announced to the peer that is back.
        presence = self.away.pop(sid, None)
        if presence is not None:
            self.told[sid] = presence
            self.sort()
            self.rooms.changed(self.id, sid, True)
            self._tell_others(sid, "user-connected", presence.card)
            if presence.media:
                self._tell_others(sid, "media-state", self._state(sid, presence))

    def show(self, sid: str, fields: dict[str, Any]) -> None:
        presence = self.told.get(sid) or self.away.get(sid)
        if presence is not None:
            presence.media = state_in(fields, presence.media)
            self.rooms.changed(self.id, sid, True)
            if sid in self.told:  # else the others are told when it comes back
                self.pass_on(sid, "media-state", fields)

    def pass_on(self, sid: str, event: str, fields: dict[str, Any]) -> None:
        # What it had sent before its connection was lost may have its turn only now.
        if sid in self.told or sid in self.away:
            self._tell_others(sid, event, {**fields, "id": sid})

    def enter(self, socket: Socket) -> bool:
        """A peer of this process enters the Socket.IO room; `False`: it has left."""
        # The peer may leave while it enters. Nobody knows of it yet, so nobody is told that it
        # left, not by peer-left either: that goes to the rooms which a leaving socket is still in.
        socket.join(self.id)
        if stays(socket):
            return True
        self._take_out(socket.id)
        return False

    def bid_farewell(self, sid: str) -> None:
        """A peer has died with the worker that kept this room: the others are told."""
        if sid not in self.told:
            self._tell_others(sid, "user-disconnected", {"id": sid})

    def answer(self, answer: Callable[[], None], told_again: bool) -> None:
        """Calls ``answer()``: the steps before are done.

        ``told_again``: whoever told of the last one tells the next keeper, unless it was.
        """
        answer()

    def _take_out(self, sid: str, token: int = 0) -> None:
        if self.rooms.takes_out_elsewhere(sid, self.id, token):
            return
        self.leaving = sid
        try:
            self.namespace.server.leave_room(sid, self.id, namespace=self.namespace.name)
        finally:
            self.leaving = None

    def _tell_others(self, sid: str, event: str, payload: dict[str, Any]) -> None:
        tell(self.namespace, self.id, event, payload, out=sid)


@dataclass(eq=False)
class _Presence:
    """What a new peer is told of another: ``user-connected`` and its last ``media-state``."""

    card: dict[str, Any]
    #: Its place in the order of joining.
    number: float
    media: dict[str, Any] = field(default_factory=dict)


def stays(socket: Socket) -> bool:
    """Whether the socket is connected, or may reconnect."""
    return socket.connected or socket.may_return


def tell(
    namespace: Namespace, to: str, event: str, payload: dict[str, Any], *, out: str | None = None
) -> None:
    """Emits to a room or a sid, except to a sid ``out``, as the library and not as the app.

    So the app's handlers that see it (`Socket.on_any_outgoing`) run after it, and one that does not
    return holds up nobody.
    """
    manager, name = namespace.server.manager, namespace.name
    manager.emit(event, payload, namespace=name, room=to, skip_sid=out, own=False)
