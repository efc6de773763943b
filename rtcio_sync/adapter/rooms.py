"""Members and rooms of each namespace: python-socketio's manager, with an index by sid.

Upstream loops over all rooms of the server for ``rooms(sid)`` and for each disconnect, and over all
pending sids for each packet. Here each sid has a `Member` that knows its rooms, so that the cost
depends on that socket's rooms alone.

Overridden of upstream (``tests/test_upstream.py`` asserts each): of ``BaseManager`` and ``Manager``
``get_participants``, ``pre_connect``, ``connect``, ``is_pre_connected``, ``is_connected``,
``sid_from_eio_sid``, ``eio_sid_from_sid``, ``pre_disconnect``, ``basic_disconnect``,
``basic_enter_room``, ``basic_leave_room``, ``basic_close_room``, ``is_sid_room`` and ``get_rooms``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..errors import LimitExceeded, ProtocolError
from ..options import Limits
from ..protocol.names import check_sid
from .callbacks import Callbacks
from .member import Member, Stage, ending
from .recipients import recipients
from .session_store import NoRecovery, Recovery

__all__ = ["Rooms"]

DEPARTED_KEPT = 1000  # sids that left lately: for them `enter_room` is no error, only late


class Rooms(Callbacks):
    """`socketio.Manager` with the index."""

    def __init__(self) -> None:
        super().__init__()
        self.start_index()

    def start_index(self) -> None:
        """Makes the index of a manager without clients."""
        self.members: dict[str, dict[str, Member]] = {}
        self._by_eio_sid: dict[str, dict[str, Member]] = {}
        self._departed: dict[str, None] = {}
        self._came = itertools.count()  # numbers for sockets and rooms, in the order of creation
        #: Called with a member and a room that it has left, for whatever reason. # hub or greenlet
        self.on_leave: list[Callable[[Member, Any], None]] = []
        #: Called with a member whose connection is lost, if its client may come back.
        self.on_lost: list[Callable[[Member], None]] = []
        #: The sessions that outlive their connection.
        self.recovery: Recovery | NoRecovery = NoRecovery()
        #: Whether encoding an event runs the app's code, which must not run in the hub.
        self.late = False
        #: Called with the name of a namespace whose last socket has left. # hub or greenlet
        self.on_empty: Callable[[str], None] | None = None
        #: The sockets of which the app sees what is sent to them, by sid; most often none.
        self.watched: dict[str, Member] = {}
        #: Shows an event, name and arguments, to the app's handlers. # hub or greenlet
        #: Its third argument: whether the app's own code sends it, and may wait for them.
        self.show: Callable[[Member, list[Any], bool], None] = _unseen
        #: Sends the acknowledgement of a socket that has moved: ``(member, number, arguments)``.
        self.ack_elsewhere: Callable[[Member, int, list[Any]], None] = _nowhere
        #: The limits that hold in a namespace.
        self.limits_of: Callable[[str], Limits] = lambda namespace: Limits()

    def leave_sockets(self) -> None:
        """Knows no socket, in a forked child: all are the parent's. # after a fork"""
        self.rooms: dict[str, dict[Any, Any]] = {}
        self.members, self._by_eio_sid = {}, {}

    def member(self, sid: Any, namespace: str) -> Member | None:
        """The member ``sid`` of this process, in any stage. Raises `OptionError` for a list."""
        try:
            return self.members.get(namespace, {}).get(sid)
        except TypeError:
            check_sid(sid)
            raise

    def member_of(self, eio_sid: str, namespace: str) -> Member | None:
        """The member of a connection in a namespace."""
        return self._by_eio_sid.get(namespace, {}).get(eio_sid)

    def members_of(self, eio_sid: str) -> list[Member]:
        """The members of one connection, in all its namespaces."""
        found = []
        for by_eio_sid in list(self._by_eio_sid.values()):
            member = by_eio_sid.get(eio_sid)
            if member is not None:
                found.append(member)
        return found

    # -- connecting and leaving ----------------------------------------------------------------

    def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        if eio_sid in self._by_eio_sid.get(namespace, _NONE):
            return None
        sid: str = self.server.eio.generate_id()
        self._add(Member(sid, eio_sid, namespace))
        return sid

    def _add(self, member: Member) -> None:
        namespace, sid, eio_sid = member.namespace, member.sid, member.eio_sid
        member.number = next(self._came)
        with self.server.eio.gate:  # another thread may be about to drop the namespace
            member.peers = self.members.setdefault(namespace, {})
            member.peers[sid] = member
            self._by_eio_sid.setdefault(namespace, {})[eio_sid] = member
            self.rooms.setdefault(namespace, {}).setdefault(None, {})[sid] = eio_sid

    def connect(self, sid: str, namespace: str) -> str | None:
        member = self.members.get(namespace, _NONE).get(sid)
        if member is None:
            # Upstream's short form: ``sid`` is a connection's, nothing was pre-connected.
            made = self.pre_connect(sid, namespace)
            member = self.member(made, namespace)
        if member is None:
            return None
        if member.stage is Stage.CONNECTING:
            member.enter(Stage.CONNECTED)
        return member.sid

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        member = self.member(sid, namespace)
        return member is not None and member.stage is Stage.CONNECTING

    def is_connected(self, sid: str, namespace: str) -> bool:
        member = self.member(sid, namespace)
        return member is not None and member.stage is Stage.CONNECTED

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        member = self.member_of(eio_sid, namespace)
        return member.sid if member is not None else None

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        member = self.member(sid, namespace)
        return member.eio_sid if member is not None else None

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        member: Member | None = self.members.get(namespace, _NONE).get(sid)
        if member is None:
            return None
        member.enter(Stage.LEAVING)
        return member.eio_sid

    def take_out(self, member: Member) -> None:
        """Removes a member that goes on in another process; nobody is told. # hub or greenlet"""
        if member.enter(Stage.MOVED):
            member.departed = True
            namespace, sid = member.namespace, member.sid
            del self.rooms[namespace][None][sid]
            for room in member.rooms or ():
                self._drop(namespace, room, sid)
            self.callbacks.pop(sid, None)
            with self.server.eio.gate:
                self._forget(member)

    def take_in(self, member: Member, rooms: list[Any]) -> None:
        """Adds one that comes from another process, with its rooms. # hub or greenlet"""
        self._add(member)
        member.rooms = dict.fromkeys(rooms) or None
        for room in rooms:
            self._enter(member, room)

    def basic_disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        member = self.member(sid, namespace)
        if member is None:
            return
        if not member.departed or sid in self.callbacks:
            self.withdraw(member)
        member.rooms = None
        member.held = None
        with self.server.eio.gate:
            if self._forget(member):
                self._departed[sid] = None
                if len(self._departed) > DEPARTED_KEPT:
                    del self._departed[next(iter(self._departed))]

    def _forget(self, member: Member) -> bool:  # gate held
        """Removes a member from the index; `False`: another thread was faster."""
        namespace = member.namespace
        if self.members.get(namespace, {}).pop(member.sid, None) is None:
            return False
        self._by_eio_sid[namespace].pop(member.eio_sid, None)
        if not self.members[namespace]:
            del self.members[namespace], self._by_eio_sid[namespace], self.rooms[namespace]
            if self.on_empty is not None:
                self.on_empty(namespace)
        if self.watched:
            self.watched.pop(member.sid, None)
        return True

    def withdraw(self, member: Member) -> None:
        """Removes a member that has left from all rooms, once; it keeps the names of its rooms.

        # hub or greenlet
        """
        sid, namespace = member.sid, member.namespace
        with self.server.eio.gate:  # another thread may have it enter a room, or forget it
            departed, member.departed = member.departed, True
            rooms = [] if departed else list(member.rooms or ())
            if not departed:
                del self.rooms[namespace][None][sid]
            for room in rooms:
                self._drop(namespace, room, sid)
        if rooms:  # other processes are told, too
            if self.on_leave and self.late:  # emitting runs the app's code
                self.server.eio.spawn(self._left_all, member, rooms)
            else:
                self._left_all(member, rooms)
        if sid in self.callbacks:
            self.end_callbacks(sid)

    def _left_all(self, member: Member, rooms: list[Any]) -> None:
        for room in rooms:
            self._left(member, room)

    def park(self, member: Member) -> None:
        """Removes its connection; it stays in its rooms."""
        self._by_eio_sid[member.namespace].pop(member.eio_sid, None)

    def move(self, member: Member, eio_sid: str) -> None:
        """Gives it another connection."""
        namespace, sid = member.namespace, member.sid
        self._by_eio_sid[namespace].pop(member.eio_sid, None)
        self._by_eio_sid[namespace][eio_sid] = member
        member.eio_sid = eio_sid
        for room in (None, *(member.rooms or ())):
            self.rooms[namespace][room][sid] = eio_sid

    # -- rooms -----------------------------------------------------------------------------------

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: Any = None) -> None:
        if room is None:
            return  # the room of everybody
        member = self.member(sid, namespace)
        if member is None:
            if sid in self._departed:
                return  # it left while its handler ran
            raise ValueError("sid is not connected to requested namespace")
        with self.server.eio.gate:  # another thread may have it leave just now
            if room == sid or (member.rooms and room in member.rooms):
                return
            self._may_enter(member, room)
            if not member.departed:
                self._enter(member, room)
            if member.rooms is None:
                member.rooms = {}
            member.rooms[room] = None  # also after it has left: the room then gets peer-left

    def _enter(self, member: Member, room: Any) -> None:
        with self.server.eio.gate:  # another thread may be about to drop the room
            rooms = self.rooms[member.namespace]
            if room not in rooms:
                rooms[room] = _Room(next(self._came))
            rooms[room][member.sid] = member.eio_sid

    def may_enter(self, sid: str, namespace: str, room: Any) -> None:
        """Raises `ProtocolError` or `LimitExceeded` for a room that a socket may not enter."""
        member = self.member(sid, namespace)
        if member is not None and room not in (member.rooms or ()):
            self._may_enter(member, room)

    def _may_enter(self, member: Member, room: Any) -> None:
        # Apps join rooms that clients name, so an invalid room is the client's fault, not the
        # app's. A sid that left lately is refused too: messages to it are for nobody else.
        if self.is_sid_room(member.namespace, room) or room in self._departed:
            raise ProtocolError("sid-room", "this name is the sid of another socket")
        limits = self.limits_of(member.namespace)
        longest, bound = limits.max_room_name, limits.max_rooms_per_socket
        if longest is not None and isinstance(room, (str, bytes)) and len(room) > longest:
            raise LimitExceeded(
                "room-name", f"the room's name has over {longest} characters: Limits.max_room_name"
            )
        if bound is not None and member.rooms is not None and len(member.rooms) >= bound:
            raise LimitExceeded(
                "rooms",
                f"the socket is in {bound} rooms already: Limits.max_rooms_per_socket",
                sid=member.sid,
            )

    def basic_leave_room(self, sid: str, namespace: str, room: Any) -> None:
        member = self.member(sid, namespace)
        if member is not None:
            with self.server.eio.gate:  # another thread may take it out, too
                inside = member.rooms is not None and room in member.rooms
                if inside and member.rooms is not None:
                    del member.rooms[room]
                    self._drop(namespace, room, sid)
            if inside:
                self._left(member, room)

    def _left(self, member: Member, room: Any) -> None:
        for listener in self.on_leave:
            listener(member, room)

    def _drop(self, namespace: str, room: Any, sid: str) -> None:
        with self.server.eio.gate:
            inside = self.rooms.get(namespace, {}).get(room)  # its last member may have left
            if inside is not None:
                inside.pop(sid, None)
                if not inside:
                    del self.rooms[namespace][room]

    def basic_close_room(self, room: Any, namespace: str) -> None:
        if self.is_sid_room(namespace, room):
            raise ValueError("cannot close a sid room")
        for sid in list(self.rooms.get(namespace, {}).get(room, ())):
            self.basic_leave_room(sid, namespace, room)

    def is_sid_room(self, namespace: str, room: Any) -> bool:
        return room in self.members.get(namespace, ())

    def get_rooms(self, sid: str, namespace: str) -> list[Any]:
        member = self.member(sid, namespace)
        if member is None:
            return []
        if member.departed:
            told = ending.get()
            if told is None or told[0] is not member:
                return []
        return [sid, *(member.rooms or ())]

    def created(self, room: Any, namespace: str) -> float:
        """The place of a room, or of a socket's own, in the order of creation; inf: it is gone."""
        member = self.member(room, namespace)
        found = member or self.rooms.get(namespace, {}).get(room)
        return float(getattr(found, "number", math.inf))

    def names_of_rooms(self, namespace: str) -> list[Any]:
        """The rooms of a namespace, those of the sids included, in the order of creation."""
        inside = list(self.members.get(namespace, {}).values())
        named = [(each.number, each.sid) for each in inside if not each.departed]
        rooms = self.rooms.get(namespace, {}).copy().items()
        named += [(found.number, room) for room, found in rooms if room is not None]
        return [name for _, name in sorted(named, key=lambda each: each[0])]

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        yield from self.sids_in(namespace, recipients(room)).items()

    def sids_in(self, namespace: str, rooms: Any) -> dict[str, str]:
        """The sids in the result of `recipients`, and their connections, each once, in order."""
        if isinstance(rooms, (list, tuple)) and len(rooms) != 1:
            merged: dict[str, str] = {}
            for each in rooms:
                merged.update(self._inside(namespace, each))
            return merged
        if rooms is None:
            return dict(self.rooms.get(namespace, {}).get(None, ()))
        one = rooms[0] if isinstance(rooms, (list, tuple)) else rooms
        return dict(self._inside(namespace, one))

    def recipients_in(self, namespace: str, rooms: Any) -> list[str]:
        """The sids in the result of `recipients`, each once, in order."""
        if type(rooms) is str:
            return list(self._inside(namespace, rooms))
        if isinstance(rooms, list) and len(rooms) == 1:
            return list(self._inside(namespace, rooms[0]))
        return list(self.sids_in(namespace, rooms))

    def _inside(self, namespace: str, room: Any) -> Mapping[str, str]:
        """The sids in a room, not copied; in the room `None` is nobody."""
        member = self.members.get(namespace, _NONE).get(room)
        if member is not None:
            return _NOBODY if member.departed else {member.sid: member.eio_sid}
        if room is None:
            return _NOBODY
        inside: Mapping[str, str] = self.rooms.get(namespace, _NONE).get(room, _NOBODY)
        return inside


def _nowhere(member: Member, number: int, arguments: list[Any]) -> None:
    """No other process is there."""


def _unseen(member: Member, arguments: list[Any], own: bool) -> None:
    """The default, until a server sets its own."""


_NONE: dict[Any, Any] = {}
_NOBODY: Mapping[str, str] = {}


class _Room(dict[str, str]):
    """The sids in a room, in the order of joining, and their connections."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        #: Its place among the sockets and rooms of its namespace, in the order of creation.
        self.number = number  # before another thread can find the room
