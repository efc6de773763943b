"""What a lobby does for each client: its handlers, and how its seats end.

Each change is made under the lock, with the step that tells the room of it (`rooms`); the step runs
without the lock.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec.structs import replace

from ..adapter.member import Member, Stage
from ..errors import OptionError, ProtocolError
from ..ice import servers_in
from ..protocol.envelope import Drop
from ..server import Server
from ..socketio.namespace import Namespace
from ..socketio.socket import Socket
from .joining import Joining, Part, Peer, State
from .keeper import Keeper
from .keeper_messages import Op, Seat
from .payloads import object_in, room_in, state_in
from .ports import Rules
from .rooms import LobbyRoom

__all__ = ["Events"]


class Events(Part):
    """The handlers of one lobby. # greenlet (or thread) of the client's handlers"""

    def __init__(
        self,
        server: Server,
        namespace: Namespace,
        state: State,
        rules: Rules,
        keeper: Keeper | None,
    ) -> None:
        super().__init__(server, namespace, state, rules, keeper)
        self._joining = Joining(server, namespace, state, rules, keeper)

    def connected(self, socket: Socket) -> None:
        """A client has connected to the lobby's namespace, or recovered its session there."""
        peer = Peer(socket)
        handlers: dict[str, Callable[..., Any]] = {
            "check-room": self._joining.check,
            "join-room": self._joining.join,
            "leave-room": self._leave_room,
            "media-state": self._media_state,
            "chat-message": partial(self._pass_on, "chat-message"),
            "stopScreenShare": partial(self._pass_on, "stopScreenShare"),
            "ask-ice": self._ask_ice,
            "disconnecting": self._disconnecting,
        }
        for event, handler in handlers.items():
            socket.on(event)(partial(handler, peer))
        socket.on_session_end(partial(self._session_end, peer.sid))
        if socket.recovered and not socket.moved:
            self._recovered(peer)

    def _ask_ice(self, peer: Peer) -> dict[str, Any]:
        return {"iceServers": servers_in(self._rules.ice_servers(peer.socket))}

    def _leave_room(self, peer: Peer, payload: Any = None) -> None:
        room = room_in(object_in(payload))
        if room is not None:
            self._joining.withdraw(peer, room)
            self._rules.remove(peer.sid, room)

    # -- what a peer tells the others of its room --------------------------------------------------

    def _media_state(self, peer: Peer, payload: Any = None) -> None:
        fields = object_in(payload)
        seat = self._seat_elsewhere(peer.sid, fields.get("roomId"))
        if seat is not None:
            self._say(seat, Op("show", seat.room, seat.sid, fields))
            seat.media = state_in(fields, seat.media or {})
        else:
            self._tell(peer, fields.get("roomId"), LobbyRoom.show, fields)

    def _pass_on(self, event: str, peer: Peer, payload: Any = None) -> None:
        fields = object_in(payload)
        seat = self._seat_elsewhere(peer.sid, fields.get("roomId"))
        if seat is not None:
            self._say(seat, Op("pass on", seat.room, seat.sid, [event, fields]))
        else:
            self._tell(peer, fields.get("roomId"), LobbyRoom.pass_on, event, fields)

    # -- the seats that another worker keeps -------------------------------------------------------

    def _seat_elsewhere(self, sid: str, room: Any) -> Seat | None:
        return None if self._keeper is None else self._keeper.seat(sid, room)

    def _rooms_elsewhere(self, sid: str) -> list[str]:
        return [] if self._keeper is None else self._keeper.rooms(sid)

    def _say(self, seat: Seat, op: Op) -> None:
        """Tells of what a peer does, or of a change to its seat, which was ``seat`` before."""
        if self._keeper is not None:
            try:
                self._keeper.tell(seat, op)
            except OptionError as error:  # of a value that JSON has and UTF-8 has not, as a rule
                raise ProtocolError(Drop.MALFORMED) from error

    def gives_up(self, sid: str, room: str) -> bool:
        """A client of this worker leaves a room that another one keeps, and waits for nobody.

        `False`: it has no seat there, or is about to enter. # hub or greenlet
        """
        seat = self._seat_elsewhere(sid, room)
        if seat is None or not seat.entered:
            return False
        self._server.leave_room(sid, room, namespace=self._namespace.name)  # `left` tells of it
        self._departs(sid, room)  # if it was not in the Socket.IO room
        return True

    def _departs(self, sid: str, room: str) -> bool:
        """Gives up a seat that another worker keeps; `False`: there was none. # hub or greenlet"""
        seat = None if self._keeper is None else self._keeper.drop(sid, room)
        if seat is None:
            return False
        self._say(seat, Op("depart", room, sid, [False, False]))
        return True

    def _tell(self, peer: Peer, room: Any, step: Callable[..., None], *args: Any) -> None:
        with self._lock:
            if not self._seating.sits(room, peer.sid):
                return
            appended = self._rooms.append(room, step, peer.sid, *args)
        self._rooms.run(appended)

    # -- who goes, and who comes back --------------------------------------------------------------

    def lost(self, member: Member) -> None:
        """The connection of a client is lost that may come back. # hub or greenlet

        A handler of the app may still run and never return, so that `_disconnecting` never runs.
        """
        if member.namespace != self._namespace.name or member.stage is Stage.CONNECTED:
            return  # it is back already
        if not self.defers(self.lost, member):
            self._goes(member.sid, returns=True)

    def _disconnecting(self, peer: Peer) -> None:
        """As `lost`, for what the client has sent before its loss, and was handled since."""
        if not self.defers(self._disconnecting, peer):
            self._goes(peer.sid, returns=peer.socket.may_return)

    def _goes(self, sid: str, *, returns: bool) -> None:
        """All rooms are told that a client has left, or is away."""
        for room in self._rooms_elsewhere(sid):
            seat = self._seat_elsewhere(sid, room)
            if not returns:
                self._departs(sid, room)
            elif seat is not None and not seat.away:
                before, seat.away = replace(seat), True
                self._say(before, Op("depart", room, sid, [False, True]))
        with self._lock:
            rooms = self._seating.rooms(sid)
            if not returns:
                self._vacate(rooms, sid)
            appended = [
                self._rooms.append(room, LobbyRoom.depart, sid, False, returns) for room in rooms
            ]
        for each in appended:
            self.run(each)

    def _recovered(self, peer: Peer) -> None:
        inside = peer.socket.rooms
        for room in self._rooms_elsewhere(peer.sid):
            seat = self._seat_elsewhere(peer.sid, room)
            if room not in inside and (seat is None or seat.entered):
                self._departs(peer.sid, room)
            elif seat is not None:  # it is there, or is still to enter
                before, seat.away = replace(seat), False
                self._say(before, Op("back", room, peer.sid))
        with self._lock:
            rooms = self._seating.rooms(peer.sid)
            # The app may have taken it out of some while it was away. Some it may still enter.
            here = self._server.manager.get_rooms(peer.sid, self._namespace.name)
            lost = [
                room
                for room in rooms
                if room not in here and not self._rooms.arrives(room, peer.sid)
            ]
            self._vacate(lost, peer.sid)
            appended = [
                self._rooms.append(
                    room, LobbyRoom.depart if room in lost else LobbyRoom.come_back, peer.sid
                )
                for room in rooms
            ]
        self._run(appended)

    def _session_end(self, sid: str) -> None:
        if self.defers(self._session_end, sid):
            return
        for room in self._rooms_elsewhere(sid):
            self._departs(sid, room)
        with self._lock:
            rooms = self._seating.rooms(sid)
            self._vacate(rooms, sid)
            appended = [self._rooms.append(room, LobbyRoom.depart, sid) for room in rooms]
        self._run(appended)

    def left(self, member: Member, room: Any) -> None:
        """A socket has left a Socket.IO room, by itself or by the app. # hub or greenlet"""
        if member.namespace != self._namespace.name:
            return
        if self.defers(self.left, member, room):
            return
        if type(room) is str and self._departs(member.sid, room):
            return
        with self._lock:
            if type(room) is not str or self._rooms.takes_out(room, member.sid):
                return  # a step of ours: the seat is given back already, or taken again
            if not self._seating.vacate(room, member.sid):
                return
            appended = self._rooms.append(room, LobbyRoom.depart, member.sid)
        self.run(appended)

    def run(self, appended: LobbyRoom) -> None:
        """Runs the steps of a room. # hub or greenlet"""
        engine = self._server.eio
        # Encoding may run the app's code, and a step before may wait for another worker.
        waits = self._server.manager.late or self._keeper is not None
        if engine.hub_thread.in_hub and waits:
            engine.spawn(self._rooms.run, appended)
        else:
            self._rooms.run(appended)

    def _vacate(self, rooms: list[str], sid: str) -> None:  # lock held
        for room in rooms:
            self._seating.vacate(room, sid)

    def _run(self, appended: list[LobbyRoom]) -> None:
        for each in appended:
            self._rooms.run(each)
