"""`Lobby`: rooms, passwords, presence and media state, for apps that want them ready-made.

Two things are kept apart, so that a room stays exact when many come and go at once and no lock is
ever held over what can block:

* *Seats* (`seating`) decide: who counts against the cap, whose password owns the room. They change
  under the lobby's lock, in a few plain statements.
* *Steps* (`lobby_rooms`) tell: every change appends what has to be emitted to its room's queue,
  under the same lock, and runs it without. So each peer hears a room's events in the order in which
  they happened.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from socketio import PubSubManager

from ..adapter.member import Member
from ..errors import LimitExceeded, OptionError, ProtocolError
from ..hub.thread import HubThread, any_thread
from ..server import Server
from ..socketio.signatures import check_plain
from ..socketio.socket import Socket
from .rooms import LobbyRoom, LobbyRooms, stays
from .seating import Name, Obstacle, Seating, name_in, object_in, password_in, room_in

__all__ = ["Lobby"]

log = logging.getLogger(__name__)

Authorize = Callable[[Socket, str, "str | None", "str | None"], Any]
IceServers = Iterable[Mapping[str, Any]]


class Lobby:
    """The application protocol of the public rtc.io server, as one object.

    ``Lobby(server)`` answers ``check-room``, ``join-room``, ``leave-room``, ``media-state``,
    ``chat-message``, ``stopScreenShare`` and ``ask-ice`` of every client of ``namespace``, next to
    the app's own handlers. A room exists while somebody is in it, under its own id as a Socket.IO
    room too, so ``socket.to(room_id)`` and ``relay_scope="room"`` work on it. For the same reason
    a client may ask for any id that is not a sid: an app that has rooms of its own in the same
    namespace tells them apart in `authorize`, or gives the lobby a namespace.

    ``max_peers``: seats in one room, for every room; `None` leaves it at what the class says, which
    is no limit. ``authorize``: called in place of the method of that name. ``ice_servers``: what
    ``ask-ice`` is answered with, a list of ``RTCIceServer`` objects or a callable that takes the
    socket and makes one (`rtcio_sync.ice_servers`); `None` answers an empty list.

    A seat and the Socket.IO room are one thing: who is not let into the room (it is in
    `Limits.max_rooms_per_socket` already) gets no seat, and whom the app takes out of the room
    (``leave_room``, ``close_room``, ``sockets_leave``) has none any more, as after `remove`.

    On a server with ``connection_state_recovery``, who loses its connection is gone for the others
    at once, and keeps its seat, its rooms and its media state for as long as it may come back.

    A subclass may override `authorize`, `ice_servers` and the attribute `max_peers`. Rooms are kept
    in this process: behind a client manager that joins several, each has its own lobby, and the log
    warns of it. Raises `OptionError` (a `ValueError`) for arguments that cannot be meant.
    """

    #: Seats in one room; `None`: no limit.
    max_peers: int | None = None

    def __init__(
        self,
        server: Server,
        *,
        max_peers: int | None = None,
        authorize: Authorize | None = None,
        ice_servers: IceServers | Callable[[Socket], IceServers] | None = None,
        namespace: str = "/",
    ) -> None:
        if not isinstance(server, Server):
            raise OptionError("Lobby(server): give the rtcio_sync.Server, not the app")
        if max_peers is not None:
            if isinstance(max_peers, bool) or not isinstance(max_peers, int) or max_peers < 1:
                raise OptionError("max_peers must be at least 1, or None for no limit")
            self.max_peers = max_peers
        if authorize is not None and not callable(authorize):
            raise OptionError("authorize must be a callable: (socket, room, name, password)")
        for name, given in (("authorize", authorize), ("ice_servers", ice_servers)):
            if callable(given):
                _check_plain(name, given)
            _check_plain(name, getattr(self, name))  # an heir's own
        self._authorize = authorize
        self._ice_servers = ice_servers if callable(ice_servers) else _constant(ice_servers)
        self._server = server
        self._namespace = server.of(namespace)
        self._lock = threading.Lock()
        self._seating = Seating(os.urandom(32))
        self._rooms = LobbyRooms(self._namespace, self._lock)
        if isinstance(server.manager, PubSubManager):
            log.warning(
                "Lobby keeps its rooms in this process alone: run one, or send all peers of a room "
                "to the same one"
            )
        self._namespace.on("connection")(self._on_connection)
        server.manager.on_leave.append(self._on_left)

    # -- what an app may override, ask and do ------------------------------------------------------

    def authorize(self, socket: Socket, room: str, name: str | None, password: str | None) -> bool:
        """Whether ``socket`` may join ``room``; it may block. Anything false is ``forbidden``.

        Called before a seat is taken, for a room that has one free and whose password was right;
        for a socket that is in it, when it comes with another name. ``name`` and ``password`` are
        what the client sent, a number as a text, `None` where it sent none. What it raises goes
        where all errors of handlers go, and the client is told ``forbidden``. By default everybody
        may.
        """
        if self._authorize is None:
            return True
        return bool(self._authorize(socket, room, name, password))

    def ice_servers(self, socket: Socket) -> IceServers:
        """The ``RTCIceServer`` objects for ``socket``; it may block."""
        return self._ice_servers(socket)

    @property
    def _hub_thread(self) -> HubThread:
        return self._server._hub_thread

    @any_thread
    def peers(self, room: str) -> list[str]:
        """The sids that have a seat in ``room``, in the order in which they took it.

        Among them those who lost their connection and may come back.
        """
        with self._lock:
            return self._seating.sids(room)

    @any_thread
    def stats(self) -> dict[str, int]:
        """``{"rooms": …, "peers": …}``: rooms with somebody in them, and seats taken in all."""
        with self._lock:
            rooms, peers = self._seating.counts()
        return {"rooms": rooms, "peers": peers}

    @any_thread
    def remove(self, sid: str, room: str) -> bool:
        """Take ``sid`` out of ``room`` as if it had left; `False` if it was not in it.

        The peer itself is not told: say so in an event of the app's own, or disconnect it.
        """
        with self._lock:
            if not self._seating.vacate(room, sid):
                return False
            step = self._rooms.append(room, LobbyRoom.depart, sid, True)
        self._rooms.run(step)
        return True

    # -- the events of one client. # greenlet (or thread) of its handlers --------------------------

    def _on_connection(self, socket: Socket) -> None:
        peer = _Peer(socket)
        handlers: dict[str, Callable[..., Any]] = {
            "check-room": self._on_check_room,
            "join-room": self._on_join_room,
            "leave-room": self._on_leave_room,
            "media-state": self._on_media_state,
            "chat-message": partial(self._on_words, "chat-message"),
            "stopScreenShare": partial(self._on_words, "stopScreenShare"),
            "ask-ice": self._on_ask_ice,
            "disconnecting": self._on_disconnecting,
        }
        for event, handler in handlers.items():
            socket.on(event)(partial(handler, peer))
        socket.on_session_end(partial(self._on_session_end, peer.sid))
        if socket.recovered:
            self._on_return(peer)

    def _on_ask_ice(self, peer: _Peer) -> dict[str, Any]:
        return {"iceServers": [dict(server) for server in self.ice_servers(peer.socket)]}

    def _on_check_room(self, peer: _Peer, payload: Any = None) -> None:
        fields = object_in(payload)
        room, secret = self._room_in(fields), self._seating.digest(password_in(fields))
        if room is None:
            _refuse(peer, Obstacle.INVALID_ROOM, fields)
            return
        limit = self.max_peers
        with self._lock:
            reason = self._seating.obstacle(room, peer.sid, secret, limit)
            closed = self._seating.closed(room)
        if reason is None:
            peer.socket.emit("room-check-ok", {"roomId": room, "passwordRequired": closed})
        else:
            _refuse(peer, reason, fields)

    def _on_join_room(self, peer: _Peer, payload: Any = None) -> None:
        fields = object_in(payload)
        room, password = self._room_in(fields), password_in(fields)
        if room is None:
            _refuse(peer, Obstacle.INVALID_ROOM, fields)
            return
        attempt = _Attempt(room, name_in(fields), self._seating.digest(password), self.max_peers)
        with self._lock:
            seat = self._seating.holder(room, peer.sid)
            reason = self._obstacle(peer, attempt)
            if reason is None:
                peer.attempts[room] = attempt
        # A first look spares `authorize` (a database, maybe) what cannot succeed. It reserves
        # nothing: whoever is not let in must not have kept others out meanwhile.
        if reason is None and (seat is None or attempt.name not in (None, seat.name)):
            reason = self._judge(peer, attempt, password)
        if reason is None:
            reason = self._sit(peer, attempt)
        if reason is not None:
            _refuse(peer, reason, fields)

    def _on_leave_room(self, peer: _Peer, payload: Any = None) -> None:
        room = room_in(object_in(payload))
        if room is not None:
            with self._lock:
                peer.attempts.pop(room, None)
            self.remove(peer.sid, room)

    def _on_media_state(self, peer: _Peer, payload: Any = None) -> None:
        fields = object_in(payload)
        self._say(peer, fields.get("roomId"), LobbyRoom.show, fields)

    def _on_words(self, event: str, peer: _Peer, payload: Any = None) -> None:
        fields = object_in(payload)
        self._say(peer, fields.get("roomId"), LobbyRoom.pass_on, event, fields)

    def _on_disconnecting(self, peer: _Peer) -> None:
        returns = peer.socket.may_return
        with self._lock:
            rooms = self._seating.rooms(peer.sid)
            if not returns:
                self._vacate(rooms, peer.sid)
            appended = [
                self._rooms.append(room, LobbyRoom.depart, peer.sid, False, returns)
                for room in rooms
            ]
        for each in appended:
            self._rooms.run(each)

    def _on_return(self, peer: _Peer) -> None:
        inside = peer.socket.rooms
        with self._lock:
            rooms = self._seating.rooms(peer.sid)
            # The app may have taken it out of some while it was away.
            lost = [room for room in rooms if room not in inside]
            self._vacate(lost, peer.sid)
            appended = [
                self._rooms.append(
                    room, LobbyRoom.depart if room in lost else LobbyRoom.come_back, peer.sid
                )
                for room in rooms
            ]
        for each in appended:
            self._rooms.run(each)

    def _on_session_end(self, sid: str) -> None:
        with self._lock:
            rooms = self._seating.rooms(sid)
            self._vacate(rooms, sid)
            appended = [self._rooms.append(room, LobbyRoom.depart, sid) for room in rooms]
        for each in appended:
            self._rooms.run(each)

    def _on_left(self, member: Member, room: Any) -> None:
        """Somebody is no longer in a Socket.IO room, whoever took it out. # hub or greenlet"""
        if member.namespace != self._namespace.name:
            return
        with self._lock:
            if type(room) is not str or self._rooms.takes_out(room, member.sid):
                return  # our own: the seat is given back already, or taken anew
            if not self._seating.vacate(room, member.sid):
                return
            appended = self._rooms.append(room, LobbyRoom.depart, member.sid)
        if self._hub_thread.in_hub and self._server.manager.late:  # to encode is the app's code
            self._server.eio.spawn(self._rooms.run, appended)
        else:
            self._rooms.run(appended)

    def _vacate(self, rooms: list[str], sid: str) -> None:  # lock held
        for room in rooms:
            self._seating.vacate(room, sid)

    # -- from the event to the step ----------------------------------------------------------------

    def _room_in(self, fields: dict[str, Any]) -> str | None:
        room = room_in(fields)
        # A room named like a sid would hear what is meant for that one socket.
        if room is None or self._server.manager.is_sid_room(self._namespace.name, room):
            return None
        return room

    def _judge(self, peer: _Peer, attempt: _Attempt, password: str | None) -> str | None:
        allowed = False
        name = attempt.name if attempt.name is None else str(attempt.name)
        try:
            allowed = self.authorize(peer.socket, attempt.room, name, password or None)
        except BaseException:
            if self._withdraw(peer, attempt):
                _refuse(peer, Obstacle.FORBIDDEN, {"roomId": attempt.room})
            raise
        return Obstacle.FORBIDDEN if not allowed and self._withdraw(peer, attempt) else None

    def _withdraw(self, peer: _Peer, attempt: _Attempt) -> bool:
        with self._lock:
            return self._is_current(peer, attempt)

    @staticmethod
    def _is_current(peer: _Peer, attempt: _Attempt) -> bool:
        """Ends an attempt; `False`: its socket left, went or asked anew meanwhile. # lock held"""
        if peer.attempts.get(attempt.room) is not attempt:
            return False
        del peer.attempts[attempt.room]
        return stays(peer.socket)

    def _sit(self, peer: _Peer, attempt: _Attempt) -> str | None:
        """Takes the seat, or says why not; an attempt that has ended gets no answer."""
        room = attempt.room
        with self._lock:
            if not self._is_current(peer, attempt):
                return None
            reason = self._obstacle(peer, attempt)
            if reason is not None:
                return reason
            before = self._seating.holder(room, peer.sid)
            if before is not None and attempt.name is None:
                attempt = before  # joins again, and goes by its name still
            self._seating.sit(room, peer.sid, attempt.secret, attempt)
            refuse = partial(self._give_back, peer, attempt)
            appended = self._rooms.append(room, LobbyRoom.arrive, peer.socket, attempt.name, refuse)
        self._rooms.run(appended)
        return None

    def _obstacle(self, peer: _Peer, attempt: _Attempt) -> str | None:  # lock held
        """Why a seat may not be taken: the lobby's own rules, and the Socket.IO room's."""
        room = attempt.room
        reason = self._seating.obstacle(room, peer.sid, attempt.secret, attempt.limit)
        if reason is None and not self._seating.sits(room, peer.sid):
            try:
                self._server.manager.may_enter(peer.sid, self._namespace.name, room)
            except ProtocolError as error:
                return self._counted(peer, error)
        return reason

    def _counted(self, peer: _Peer, error: Any) -> str:
        member = self._server.manager.member(peer.sid, self._namespace.name)
        self._server.drop(error.reason, member, event="join-room")
        limit = isinstance(error, LimitExceeded)
        return Obstacle.TOO_MANY_ROOMS if limit else Obstacle.INVALID_ROOM

    def _give_back(self, peer: _Peer, attempt: _Attempt, error: BaseException | None) -> bool:
        """The seat of one who did not get into the Socket.IO room after all."""
        with self._lock:
            if not self._seating.vacate(attempt.room, peer.sid, attempt):
                return False
        if error is not None:
            known = isinstance(error, ProtocolError)
            reason = self._counted(peer, error) if known else Obstacle.FORBIDDEN
            _refuse(peer, reason, {"roomId": attempt.room})
        return True

    def _say(self, peer: _Peer, room: Any, step: Callable[..., None], *args: Any) -> None:
        with self._lock:
            if not self._seating.sits(room, peer.sid):
                return
            appended = self._rooms.append(room, step, peer.sid, *args)
        self._rooms.run(appended)


@dataclass(eq=False)
class _Peer:
    """One connection."""

    socket: Socket
    #: The latest ``join-room`` for each room that has no answer yet; leaving withdraws it.
    #: They are the lock's.
    attempts: dict[str, _Attempt] = field(default_factory=dict)

    @property
    def sid(self) -> str:
        return self.socket.id


@dataclass(frozen=True, eq=False)
class _Attempt:
    room: str
    name: Name | None
    secret: bytes | None
    limit: int | None


def _refuse(peer: _Peer, reason: str, fields: dict[str, Any]) -> None:
    error: dict[str, Any] = {"reason": reason}
    # The client's own words, where they are a plain value; what was absent stays absent.
    if isinstance(fields.get("roomId", b""), (str, int, float, type(None))):
        error["roomId"] = fields["roomId"]
    peer.socket.emit("join-error", error)


def _check_plain(name: str, fn: Callable[..., Any]) -> None:
    # What a coroutine function returns is true: everybody would be authorized.
    try:
        check_plain(fn)
    except TypeError as error:
        raise OptionError(f"{name} has to be a plain function, not async") from error


def _constant(servers: IceServers | None) -> Callable[[Socket], IceServers]:
    kept = [dict(server) for server in servers or ()]
    return lambda socket: kept
