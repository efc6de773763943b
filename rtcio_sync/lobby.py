"""`Lobby`: rooms, passwords, presence and media state, for apps that want them ready-made.

Three things are kept apart, so that a room stays exact when many come and go at once and no lock is
ever held over what can block:

* *Seats* decide: who counts against the cap, whose password owns the room. They change under the
  lobby's lock, in a few plain statements.
* *Steps* tell: every change appends what has to be emitted to its room's queue, under the same
  lock; whoever finds the queue idle takes the steps off one by one and runs them without the lock.
  So each peer hears a room's events in the order in which they happened.
* *Told* is what the room's peers have heard. Only steps read and write it, hence only one greenlet
  or thread at a time.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from socketio import PubSubManager

from .errors import OptionError
from .events import RtcioEvents
from .server import Server
from .sockets import Socket

__all__ = ["Lobby"]

logger = logging.getLogger(__name__)

#: Characters that the id of a room may have; a longer one is an ``invalid-room``.
MAX_ROOM_ID = 256
#: Characters of a peer's name that the others get; the rest is cut off.
MAX_NAME = 256
#: Characters that a password may have; a longer one is a ``wrong-password``.
MAX_PASSWORD = 1024

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

    A subclass may override `authorize`, `ice_servers` and the attribute `max_peers`. Rooms are kept
    in this process: behind a client manager that joins several, each has its own lobby. Raises
    `OptionError` (a `ValueError`) for arguments that cannot be meant.
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
        self._authorize = authorize
        self._ice_servers = ice_servers if callable(ice_servers) else _constant(ice_servers)
        self._server = server
        self._namespace = server.of(namespace)
        self._lock = threading.Lock()
        self._rooms: dict[str, _Room] = {}
        # Passwords are kept as keyed digests: all of one length, none readable in a core dump.
        self._key = os.urandom(32)
        if isinstance(server.manager, PubSubManager):
            logger.warning(
                "Lobby keeps its rooms in this process alone: run one worker, or send all peers "
                "of a room to the same one"
            )
        self._namespace.on("connection")(self._connected)

    # -- what an app may override, ask and do ------------------------------------------------------

    def authorize(self, socket: Socket, room: str, name: str | None, password: str | None) -> bool:
        """Whether ``socket`` may join ``room``; it may block. Anything false is ``forbidden``.

        Called before a seat is taken, on a room that has one for it and whose password it knows,
        and never for a socket that is in the room. ``name`` and ``password`` are what the client
        sent, `None` where it sent none. What it raises goes to the server's handling of errors, and
        the client is told ``forbidden``. By default everybody may.
        """
        if self._authorize is None:
            return True
        return bool(self._authorize(socket, room, name, password))

    def ice_servers(self, socket: Socket) -> IceServers:
        """The ``RTCIceServer`` objects for ``socket``; it may block."""
        return self._ice_servers(socket)

    def peers(self, room: str) -> list[str]:
        """The sids that have a seat in ``room``, in the order in which they took it."""
        with self._lock:
            found = self._rooms.get(room)
            return list(found.seats) if found else []

    def stats(self) -> dict[str, int]:
        """``{"rooms": …, "peers": …}``: rooms with somebody in them, and seats taken in all."""
        with self._lock:
            taken = [len(room.seats) for room in self._rooms.values() if room.seats]
        return {"rooms": len(taken), "peers": sum(taken)}

    def remove(self, sid: str, room: str) -> bool:
        """Take ``sid`` out of ``room`` as if it had left; `False` if it was not in it.

        The peer itself is not told: say so in an event of the app's own, or disconnect it.
        """
        with self._lock:
            found = self._rooms.get(room)
            peer = found.seats.get(sid) if found else None
            if found is None or peer is None:
                return False
            self._vacate(found, peer)
            found.steps.append(partial(self._depart, found, peer, leave=True))
        self._run(found)
        return True

    # -- the events of one client; greenlet (or thread) of its handlers ----------------------------

    def _connected(self, socket: Socket) -> None:
        peer = _Peer(socket)
        handlers: dict[str, Callable[..., Any]] = {
            "check-room": self._on_check_room,
            "join-room": self._on_join_room,
            "leave-room": self._on_leave_room,
            "media-state": self._on_media_state,
            "chat-message": partial(self._on_forward, "chat-message"),
            "stopScreenShare": partial(self._on_forward, "stopScreenShare"),
            "disconnecting": self._on_disconnecting,
        }
        for event, handler in handlers.items():
            socket.on(event)(partial(handler, peer))
        socket.on("ask-ice")(partial(self._on_ask_ice, socket))

    def _on_ask_ice(self, socket: Socket) -> dict[str, Any]:
        return {"iceServers": [dict(server) for server in self.ice_servers(socket)]}

    def _on_check_room(self, peer: _Peer, payload: Any = None) -> None:
        fields = _object(payload)
        room_id, secret = fields.get("roomId"), self._digest(_password(fields))
        if not self._is_room_id(room_id):
            return _refuse(peer, "invalid-room", fields)
        limit = self.max_peers
        with self._lock:
            reason = self._obstacle(room_id, peer, secret, limit)
            room = self._rooms.get(room_id)
            required = room is not None and room.secret is not None
        if reason is not None:
            return _refuse(peer, reason, fields)
        peer.socket.emit("room-check-ok", {"roomId": room_id, "passwordRequired": required})
        return None

    def _on_join_room(self, peer: _Peer, payload: Any = None) -> None:
        fields = _object(payload)
        room_id, name, password = fields.get("roomId"), _name(fields), _password(fields)
        if not self._is_room_id(room_id):
            return _refuse(peer, "invalid-room", fields)
        attempt = _Attempt(room_id, name, self._digest(password), self.max_peers)
        with self._lock:
            reason = self._obstacle(room_id, peer, attempt.secret, attempt.limit)
            seated = room_id in peer.rooms
            if reason is None:
                peer.attempts[room_id] = attempt
        # A first look spares `authorize` (a database, maybe) what cannot succeed. It reserves
        # nothing: whoever is not let in must not have kept others out meanwhile.
        if reason is None and not seated:
            reason = self._judge(peer, attempt, password)
        if reason is None:
            reason = self._sit(peer, attempt)
        if reason is not None:
            _refuse(peer, reason, fields)
        return None

    def _on_leave_room(self, peer: _Peer, payload: Any = None) -> None:
        room_id = _object(payload).get("roomId")
        if type(room_id) is not str:
            return
        with self._lock:
            peer.attempts.pop(room_id, None)
        self.remove(peer.sid, room_id)

    def _on_media_state(self, peer: _Peer, payload: Any = None) -> None:
        fields = _object(payload)
        state = {key: fields[key] for key in ("mic", "cam") if type(fields.get(key)) is bool}
        if state:
            self._say(peer, "media-state", fields.get("roomId"), state)

    def _on_forward(self, event: str, peer: _Peer, payload: Any = None) -> None:
        fields = _object(payload)
        self._say(peer, event, fields.get("roomId"), fields)

    def _on_disconnecting(self, peer: _Peer) -> None:
        with self._lock:
            peer.gone = True
            rooms = [self._rooms[room_id] for room_id in peer.rooms]
            for room in rooms:
                self._vacate(room, peer)
                room.steps.append(partial(self._depart, room, peer, leave=False))
        for room in rooms:
            self._run(room)

    # -- who may sit where; those marked "lock" run under it ---------------------------------------

    def _is_room_id(self, value: Any) -> bool:
        # A room named like a sid would hear what is meant for that one socket.
        return (
            type(value) is str
            and 0 < len(value) <= MAX_ROOM_ID
            and not self._server.manager.is_connected(value, self._namespace.name)
        )

    def _digest(self, password: str | None) -> bytes | None:
        if password is None or password == "":
            return None if password is None else b""
        text = password.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()

    def _obstacle(  # lock
        self, room_id: str, peer: _Peer, secret: bytes | None, limit: int | None
    ) -> str | None:
        """Why the peer may not sit down in the room now, or `None`."""
        if room_id in peer.rooms:
            return None
        if secret is None:
            return "wrong-password"
        room = self._rooms.get(room_id)
        if room is None:
            return None
        if room.secret is not None and not hmac.compare_digest(room.secret, secret):
            return "wrong-password" if secret else "password-required"
        if limit is not None and len(room.seats) >= limit:
            return "room-full"
        return None

    def _judge(self, peer: _Peer, attempt: _Attempt, password: str | None) -> str | None:
        try:
            allowed = self.authorize(peer.socket, attempt.room_id, attempt.name, password or None)
        except Exception:
            if self._withdraw(peer, attempt):
                _refuse(peer, "forbidden", {"roomId": attempt.room_id})
            raise
        if allowed or not self._withdraw(peer, attempt):
            return None
        return "forbidden"

    def _withdraw(self, peer: _Peer, attempt: _Attempt) -> bool:
        with self._lock:
            if peer.attempts.get(attempt.room_id) is not attempt:
                return False
            del peer.attempts[attempt.room_id]
            return True

    def _sit(self, peer: _Peer, attempt: _Attempt) -> str | None:
        """Take the seat, or say why not. What left, went or asked anew meanwhile gets no answer."""
        room_id = attempt.room_id
        with self._lock:
            if peer.attempts.get(room_id) is not attempt or peer.gone:
                return None
            del peer.attempts[room_id]
            reason = self._obstacle(room_id, peer, attempt.secret, attempt.limit)
            if reason is not None:
                return reason
            room = self._rooms.setdefault(room_id, _Room(room_id))
            if not room.seats:
                room.secret = attempt.secret or None
            room.seats[peer.sid] = peer
            peer.rooms.add(room_id)
            room.steps.append(partial(self._arrive, room, peer, attempt.name))
        self._run(room)
        return None

    def _vacate(self, room: _Room, peer: _Peer) -> None:  # lock
        del room.seats[peer.sid]
        peer.rooms.discard(room.id)
        if not room.seats:
            room.secret = None

    def _say(self, peer: _Peer, event: str, room_id: Any, fields: dict[str, Any]) -> None:
        with self._lock:
            if type(room_id) is not str or room_id not in peer.rooms:
                return
            room = self._rooms[room_id]
            room.steps.append(partial(self._tell, room, peer, event, fields))
        self._run(room)

    # -- steps: one greenlet or thread per room at a time ------------------------------------------

    def _run(self, room: _Room) -> None:
        """Run the room's steps until none is left, unless somebody else is at it."""
        while True:
            with self._lock:
                if room.busy:
                    return
                if not room.steps:
                    if not room.seats and self._rooms.get(room.id) is room:
                        del self._rooms[room.id]
                    return
                room.busy = True
                step = room.steps.popleft()
            try:
                step()
            except Exception:  # one failed emit must not keep the rest from the room
                logger.exception("a room could not be told everything")
            finally:
                with self._lock:
                    room.busy = False

    def _arrive(self, room: _Room, peer: _Peer, name: str | None) -> None:
        known = peer.sid in room.told
        if not known and not self._enter(room, peer):
            return
        for sid, presence in room.told.items():
            if sid != peer.sid:
                peer.socket.emit("user-connected", presence.card(sid))
                if presence.media:
                    state = {"id": sid, "roomId": room.id, **presence.media}
                    peer.socket.emit("media-state", state)
        if not known:
            room.told[peer.sid] = _Presence(name)
        peer.socket.emit("join-ok", {"roomId": room.id})
        if not known:
            others = self._namespace.to(room.id).except_(peer.sid)
            others.emit("user-connected", room.told[peer.sid].card(peer.sid))
            others.emit(RtcioEvents.INIT_OFFER, {"source": peer.sid})

    def _enter(self, room: _Room, peer: _Peer) -> bool:
        # The peer may have gone while it was being let in. Nobody has heard of it, so nobody is
        # told; asked again after `join`, because the library tells the rooms of a leaving socket.
        socket = peer.socket
        if socket.connected:
            socket.join(room.id)
            if socket.connected:
                return True
        with self._lock:
            if room.seats.get(peer.sid) is peer:
                self._vacate(room, peer)
        return False

    def _depart(self, room: _Room, peer: _Peer, *, leave: bool) -> None:
        if leave:
            peer.socket.leave(room.id)
        if room.told.pop(peer.sid, None) is not None:
            others = self._namespace.to(room.id).except_(peer.sid)
            others.emit("user-disconnected", {"id": peer.sid})

    def _tell(self, room: _Room, peer: _Peer, event: str, fields: dict[str, Any]) -> None:
        presence = room.told.get(peer.sid)
        if presence is None:
            return
        if event == "media-state":
            presence.media.update(fields)
            fields = {"id": peer.sid, "roomId": room.id, **fields}
        payload = {**fields, "id": peer.sid}
        self._namespace.to(room.id).except_(peer.sid).emit(event, payload)


@dataclass(eq=False)
class _Peer:
    """One connection. All but ``socket`` is the lock's."""

    socket: Socket
    gone: bool = False
    rooms: set[str] = field(default_factory=set)
    #: The latest ``join-room`` for each room that has no answer yet; leaving withdraws it.
    attempts: dict[str, _Attempt] = field(default_factory=dict)

    @property
    def sid(self) -> str:
        return self.socket.id


@dataclass(frozen=True, eq=False)
class _Attempt:
    room_id: str
    name: str | None
    secret: bytes | None
    limit: int | None


@dataclass(eq=False)
class _Room:
    """Everything but ``told`` is the lock's; ``told`` is the running step's."""

    id: str
    seats: dict[str, _Peer] = field(default_factory=dict)
    #: The first joiner's password, digested; `None`: the room is open.
    secret: bytes | None = None
    steps: deque[Callable[[], None]] = field(default_factory=deque)
    busy: bool = False
    told: dict[str, _Presence] = field(default_factory=dict)


@dataclass
class _Presence:
    name: str | None
    media: dict[str, bool] = field(default_factory=dict)

    def card(self, sid: str) -> dict[str, str]:
        return {"id": sid} if self.name is None else {"id": sid, "name": self.name}


def _object(payload: Any) -> dict[str, Any]:
    return payload if type(payload) is dict else {}


def _name(fields: dict[str, Any]) -> str | None:
    name = fields.get("name")
    return name[:MAX_NAME] if type(name) is str else None


def _password(fields: dict[str, Any]) -> str | None:
    """The password without the white space around it, ``""`` for none, `None` for no password.

    What is no text is refused rather than taken for none: who sends it means to close the room.
    """
    password = fields.get("password")
    if password is None:
        return ""
    if type(password) is not str or len(password) > MAX_PASSWORD:
        return None
    return password.strip()


def _refuse(peer: _Peer, reason: str, fields: dict[str, Any]) -> None:
    error: dict[str, Any] = {"reason": reason}
    # The client's own words, where they are a plain value; what was absent stays absent.
    if isinstance(fields.get("roomId", b""), (str, int, float, type(None))):
        error["roomId"] = fields["roomId"]
    peer.socket.emit("join-error", error)


def _constant(servers: IceServers | None) -> Callable[[Socket], IceServers]:
    kept = [dict(server) for server in servers or ()]
    return lambda socket: kept
