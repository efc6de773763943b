"""Who is connected and in which rooms: python-socketio's managers, with an index by sid.

Upstream walks all rooms of the server for ``rooms(sid)`` and for each disconnect, and a list of
all pending sids for each packet. Here each sid has a `Member` that knows its rooms, so that all of
it costs in proportion to that socket's own rooms.

Overridden of upstream (``tests/test_upstream.py`` asserts each): of ``BaseManager`` and ``Manager``
``get_participants``, ``pre_connect``, ``connect``, ``is_pre_connected``, ``is_connected``,
``sid_from_eio_sid``, ``eio_sid_from_sid``, ``pre_disconnect``, ``basic_disconnect``,
``basic_enter_room``, ``basic_leave_room``, ``basic_close_room``, ``is_sid_room``, ``get_rooms``,
``emit``, ``trigger_callback``. Used as they are: ``_generate_ack_id`` and the server's
``_send_eio_packet``.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from engineio import packet as eio_packet
from socketio import packet
from socketio.manager import Manager

from ..engineio.packet import Packet, packet_cost
from ..errors import LimitExceeded, ProtocolError
from ..events import RtcioEvents
from ..logs import tell
from ..options import Limits
from ..parser.packet import event_pieces
from .calls import Waiter
from .member import Member, Stage, ending
from .ports import Host
from .recipients import recipients, rooms_in, skipped
from .recovery import NoRecovery, Recovery, Stamp

__all__ = ["RoomIndex", "arguments_of"]

log = logging.getLogger(__name__)

MAX_CALLBACKS = 10_000  # of one client, that wait for its answer; over it the oldest is forgotten
DEPARTED_KEPT = 1000  # sids that left lately: for them `enter_room` is late, not a mistake


class RoomIndex(Manager):
    """`socketio.Manager` with the index."""

    server: Host

    def __init__(self) -> None:
        super().__init__()
        self.start_index()

    def start_index(self) -> None:
        """Makes the index of a manager that nobody has connected to yet."""
        self.members: dict[str, dict[str, Member]] = {}
        self._by_eio_sid: dict[str, dict[str, Member]] = {}
        self._departed: dict[str, None] = {}
        self._came = itertools.count()  # sockets and rooms, in the order of their coming
        #: Called with a member and a room that it has left, for whatever reason. # hub or greenlet
        self.on_leave: list[Callable[[Member, Any], None]] = []
        #: The sessions that outlive their connection.
        self.recovery: Recovery | NoRecovery = NoRecovery()
        #: Whether to encode an event is the app's own code, which must not run in the hub.
        self.late = False
        #: The limits that hold in a namespace.
        self.limits_of: Callable[[str], Limits] = lambda namespace: Limits()

    def member(self, sid: Any, namespace: str) -> Member | None:
        """The socket ``sid`` of this process, in whatever stage."""
        return self.members.get(namespace, {}).get(sid)

    def member_of(self, eio_sid: str, namespace: str) -> Member | None:
        """The socket that a connection has in a namespace."""
        return self._by_eio_sid.get(namespace, {}).get(eio_sid)

    def members_of(self, eio_sid: str) -> list[Member]:
        """The sockets of one connection, in all its namespaces."""
        found = (by_eio_sid.get(eio_sid) for by_eio_sid in self._by_eio_sid.values())
        return [member for member in found if member is not None]

    # -- connecting and leaving ----------------------------------------------------------------

    def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        if self.member_of(eio_sid, namespace) is not None:
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
        member = self.member(sid, namespace)
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
        member = self.member(sid, namespace)
        if member is None:
            return None
        member.enter(Stage.LEAVING)
        return member.eio_sid

    def basic_disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        member = self.member(sid, namespace)
        if member is None:
            return
        self.withdraw(member)
        member.rooms = None
        member.held = None
        with self.server.eio.gate:
            if self.members.get(namespace, {}).pop(sid, None) is None:
                return  # another thread was faster
            self._by_eio_sid[namespace].pop(member.eio_sid, None)
            self._departed[sid] = None
            if len(self._departed) > DEPARTED_KEPT:
                del self._departed[next(iter(self._departed))]
            if not self.members[namespace]:
                del self.members[namespace], self._by_eio_sid[namespace], self.rooms[namespace]

    def withdraw(self, member: Member) -> None:
        """Takes one that has left out of what others see, once; it keeps the names of its rooms.

        # hub or greenlet
        """
        sid, namespace = member.sid, member.namespace
        if not member.departed:
            member.departed = True
            del self.rooms[namespace][None][sid]
            rooms = list(member.rooms or ())
            for room in rooms:
                self._drop(namespace, room, sid)
            if self.on_leave and self.late:  # to emit is the app's code
                self.server.eio.spawn(self._left_all, member, rooms)
            else:
                self._left_all(member, rooms)
        self.end_calls(sid)
        self.callbacks.pop(sid, None)

    def _left_all(self, member: Member, rooms: list[Any]) -> None:
        for room in rooms:
            self._left(member, room)

    def end_calls(self, sid: str) -> None:
        """Nobody waits any longer for an answer of a socket that was lost. # hub or greenlet

        Callbacks stay while it may return: its client may still send what it had to answer.
        """
        waiting = self.callbacks.get(sid, {})
        for number, callback in list(waiting.items()):
            if isinstance(callback, Waiter):
                del waiting[number]
                callback.lose()

    def park(self, member: Member) -> None:
        """Its connection is gone; it stays in its rooms."""
        self._by_eio_sid[member.namespace].pop(member.eio_sid, None)

    def move(self, member: Member, eio_sid: str) -> None:
        """It has another connection from now on."""
        namespace, sid = member.namespace, member.sid
        self._by_eio_sid[namespace].pop(member.eio_sid, None)
        self._by_eio_sid[namespace][eio_sid] = member
        member.eio_sid = eio_sid
        for room in (None, *(member.rooms or ())):
            self.rooms[namespace][room][sid] = eio_sid

    # -- rooms -----------------------------------------------------------------------------------

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: Any = None) -> None:
        if room is None:
            return  # where everybody is
        member = self.member(sid, namespace)
        if member is None:
            if sid in self._departed:
                return  # its handler ran on while it left
            raise ValueError("sid is not connected to requested namespace")
        if room == sid or (member.rooms and room in member.rooms):
            return
        self._may_enter(member, room)
        if not member.departed:
            with self.server.eio.gate:  # another thread may be about to drop the room
                rooms = self.rooms[namespace]
                if room not in rooms:
                    rooms[room] = _Room()
                    rooms[room].number = next(self._came)
                rooms[room][sid] = member.eio_sid
        if member.rooms is None:
            member.rooms = {}
        member.rooms[room] = None  # of one that has left: who is in it hears peer-left

    def may_enter(self, sid: str, namespace: str, room: Any) -> None:
        """Raises `ProtocolError`, or `LimitExceeded`, for a room that a socket may not enter."""
        member = self.member(sid, namespace)
        if member is not None and room not in (member.rooms or ()):
            self._may_enter(member, room)

    def _may_enter(self, member: Member, room: Any) -> None:
        # Apps join what their clients name: what may not be is the client's fault, not the app's.
        # A sid of one that left lately: what is still on its way to it is for nobody else.
        if self.is_sid_room(member.namespace, room) or room in self._departed:
            raise ProtocolError("sid-room", "this room is another socket's own, its sid")
        limits = self.limits_of(member.namespace)
        longest, bound = limits.max_room_name, limits.max_rooms_per_socket
        if longest is not None and isinstance(room, (str, bytes)) and len(room) > longest:
            raise LimitExceeded(
                "room-name", f"the room's name has over {longest} characters: Limits.max_room_name"
            )
        if bound is not None and member.rooms is not None and len(member.rooms) >= bound:
            raise LimitExceeded(
                "rooms", f"the socket is in {bound} rooms already: Limits.max_rooms_per_socket"
            )

    def basic_leave_room(self, sid: str, namespace: str, room: Any) -> None:
        member = self.member(sid, namespace)
        if member is not None and member.rooms and room in member.rooms:
            del member.rooms[room]
            self._drop(namespace, room, sid)
            self._left(member, room)

    def _left(self, member: Member, room: Any) -> None:
        for listener in self.on_leave:
            listener(member, room)

    def _drop(self, namespace: str, room: Any, sid: str) -> None:
        with self.server.eio.gate:
            inside = self.rooms[namespace].get(room)
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

    def names_of_rooms(self, namespace: str) -> list[Any]:
        """The rooms of a namespace, those of the sids among them, in the order of their coming."""
        inside = self.members.get(namespace, {}).values()
        named = [(each.number, each.sid) for each in inside if not each.departed]
        rooms = self.rooms.get(namespace, {})
        named += [(found.number, room) for room, found in rooms.items() if room is not None]
        return [name for _, name in sorted(named, key=lambda each: each[0])]

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        yield from self.sids_in(namespace, recipients(room)).items()

    def sids_in(self, namespace: str, rooms: Any) -> dict[str, str]:
        """The sids in what `recipients` gives, and their connections; each once, as they joined."""
        if type(rooms) is not str and isinstance(rooms, (list, tuple)):
            if len(rooms) == 1:
                return self._inside(namespace, rooms[0])
            merged: dict[str, str] = {}
            for each in rooms:
                merged.update(self._inside(namespace, each))
            return merged
        if rooms is None:
            return dict(self.rooms.get(namespace, {}).get(None, ()))
        return self._inside(namespace, rooms)

    def _inside(self, namespace: str, room: Any) -> dict[str, str]:
        member = self.members.get(namespace, {}).get(room)
        if member is not None:
            return {} if member.departed else {member.sid: member.eio_sid}
        found = self.rooms.get(namespace, {}).get(room, ()) if room is not None else ()
        return dict(found)

    # -- sending: hub or greenlet ----------------------------------------------------------------

    def emit(
        self,
        event: str,
        data: Any,
        namespace: str,
        room: Any = None,
        skip_sid: Any = None,
        callback: Callable[..., Any] | None = None,
        to: Any = None,
        **kwargs: Any,
    ) -> None:
        """Upstream's, with one encoding for all recipients on either transport.

        Whom ``to``, ``room`` and ``skip_sid`` name, `rooms` says.
        """
        everybody = recipients(to, room)
        skip_sid = skipped(skip_sid)
        if namespace not in self.members:
            return
        arguments = [event, *arguments_of(data)]
        those = list(self.sids_in(namespace, everybody))
        if skip_sid:
            out = self._sids_of(namespace, skip_sid)
            those = [sid for sid in those if sid not in out]
        if callback is not None:
            for sid in those:
                number = self._generate_ack_id(sid, callback)
                if isinstance(callback, Waiter):
                    callback.asked.append(sid)
                elif len(self.callbacks[sid]) > MAX_CALLBACKS + 1:  # and the counter
                    self._forget_oldest(self.callbacks[sid])
                self._send_to_all(namespace, [sid], self._encode(namespace, arguments, number))
        elif those:
            self._emit(event, arguments, namespace, those)

    def _forget_oldest(self, waiting: dict[int, Any]) -> None:
        """A client does not acknowledge what it is asked: what it was asked first is given up."""
        for number, callback in waiting.items():
            if number and not isinstance(callback, Waiter):  # 0: the counter; `call` has an end
                del waiting[number]
                self.server.counters.dropped["unanswered"] += 1
                break

    def announce(
        self,
        event: str,
        payload: Any,
        namespace: str,
        rooms: list[Any],
        told: set[str],
        told_rooms: set[Any],
    ) -> set[str]:
        """Emits to the rooms, without those who were ``told``; returns who is told by now.

        ``told_rooms``: the rooms that they were told in.
        """
        everybody = self.sids_in(namespace, rooms)
        recipients = [sid for sid in everybody if sid not in told]
        if "emit" in self.__dict__:  # the Admin UI's instrumentation
            self.emit(event, payload, namespace=namespace, room=rooms, skip_sid=list(told))
        elif recipients:
            self._emit(event, [event, payload], namespace, recipients)
        return told.union(everybody)

    def _emit(
        self, event: str, arguments: list[Any], namespace: str, recipients: list[str]
    ) -> None:
        """One encoding for all; with recovery, one offset, and one frame in all their logs."""
        recovery = self.recovery
        if event == RtcioEvents.INIT_OFFER and len(arguments) == 2 and recovery.numbers:
            # The rtc.io client takes the second argument for its options; there an offset would
            # make both sides impolite, and two offers at once would never settle.
            arguments.append({"polite": True})
        encode = partial(self._numbered, namespace, arguments)
        recovery.send(encode, partial(self._send_to_all, namespace, recipients))

    def _numbered(self, namespace: str, arguments: list[Any], offset: str | None) -> list[Packet]:
        return self._encode(namespace, arguments if offset is None else [*arguments, offset], None)

    def _send_to_all(
        self,
        namespace: str,
        recipients: list[str],
        pkts: list[Packet],
        stamp: Stamp | None = None,
    ) -> None:
        """`hand_over` to each; most of them need nothing but the same frame.

        ``stamp``: under which sessions keep it.
        """
        members = self.members.get(namespace, {})  # the last may go while it is sent to
        frame = b"".join([pkt.frame() for pkt in pkts])
        kept = None if stamp is None else (*stamp, frame)
        for sid in recipients:
            member = members.get(sid)
            if member is None:
                continue
            if kept is not None and member.session is not None:
                member.session.keep(kept)
            wire = member.link.riding if member.held is None and member.link is not None else None
            if wire is not None:
                wire.send(frame)
            else:
                self.hand_over(member, pkts)

    def _sids_of(self, namespace: str, rooms: list[Any]) -> Any:
        """The sids in ``rooms``, the rooms themselves among them, which may be sids."""
        known = self.rooms[namespace]
        inside = [known[each] for each in rooms if each in known]
        return set(rooms).union(*inside) if inside else rooms

    def _encode(self, namespace: str, arguments: list[Any], number: int | None) -> list[Packet]:
        pieces = event_pieces(self.server.packet_class, namespace, arguments, number)
        return [Packet(eio_packet.MESSAGE, piece) for piece in pieces]

    def send_to(self, member: Member, encode: Callable[[str | None], list[Packet]]) -> list[Packet]:
        """Sends one event to one socket; its packets. ``encode`` makes them of its offset."""
        if member.session is None:
            pkts = encode(None)
            self.hand_over(member, pkts)
            return pkts
        return self.recovery.send(encode, partial(self._keep_and_hand_over, member))

    def _keep_and_hand_over(
        self, member: Member, pkts: list[Packet], stamp: Stamp | None
    ) -> list[Packet]:
        if stamp is not None:
            member.session.keep((*stamp, b"".join([pkt.frame() for pkt in pkts])))
        self.hand_over(member, pkts)
        return pkts

    def send_ack(self, member: Member, number: int, answer: Any) -> None:
        """Sends the acknowledgement of an event: a tuple is several arguments, `None` is none.

        Raises `TypeError` and `ValueError` for what cannot be sent.
        """
        if isinstance(answer, tuple):
            arguments = list(answer)
        else:
            arguments = [] if answer is None else [answer]
        kind, namespace = self.server.packet_class, member.namespace
        first, *rest = event_pieces(kind, namespace, arguments, number, packet.ACK)
        pkts = [Packet(eio_packet.MESSAGE, first)]
        for each in rest:
            pkts.append(Packet(eio_packet.MESSAGE, each))
        self.hand_over(member, pkts)

    def hand_over(self, member: Member, pkts: list[Packet]) -> None:
        """Sends the packets of one event to one socket; behind its CONNECT if that is to come."""
        link = member.link
        if member.held is not None:
            self._hold(member, member.held, pkts)
        elif link is None:
            for pkt in pkts:
                self.server._send_eio_packet(member.eio_sid, pkt)
        elif len(pkts) > 1:
            link.send_together(pkts)
        elif link.riding is not None:
            link.riding.send(pkts[0].frame())
        else:
            link.send(pkts[0])

    def _hold(self, member: Member, held: list[list[Any]], pkts: list[Any]) -> None:
        """They wait, and count as anything that waits for a client."""
        held.append(pkts)
        member.held_bytes += sum(map(packet_cost, pkts))
        link = member.link
        ceiling = link.limits.max_buffered_bytes if link is not None else None
        if ceiling is not None and member.held_bytes > ceiling:
            member.held, member.held_bytes = [], 0
            self.server.eio.backlog.on_ceiling(pkts[0].data, ceiling)
            link.fail("slow-reader", "transport error")

    def release(self, member: Member) -> None:
        """CONNECT went out: what waited for it follows."""
        held, member.held, member.held_bytes = member.held, None, 0
        for pkts in held or ():
            self.hand_over(member, pkts)

    def take_callback(self, sid: str, number: Any) -> Callable[..., Any] | None:
        """The callback that an acknowledgement answers, once; `None`: there is none (any more)."""
        waiting = self.callbacks.get(sid)
        if not waiting or not number:  # 0 is where upstream keeps the counter
            return None
        callback: Callable[..., Any] | None = waiting.pop(number, None)
        return callback

    def trigger_callback(self, sid: str, id: Any, data: Iterable[Any]) -> None:
        callback = self.take_callback(sid, id)
        if callback is None:
            tell(log, "%(rtcio_sid)s acknowledged what nobody waits for", sid=sid)
        else:
            callback(*data)

    def nobody_answers(self, room: Any, namespace: str) -> bool:
        """Whether all whom ``room`` names have left, or are away and hear nothing they can answer.

        A list names several. One of another process may always answer.
        """
        found = [self.member(sid, namespace) for sid in self.sids_in(namespace, room)]
        return not any(
            each is None or each.stage in (Stage.CONNECTING, Stage.CONNECTED) for each in found
        )

    def forget(self, waiter: Waiter, room: Any) -> None:
        """Whoever asked ``room`` waits no more."""
        for sid in [*waiter.asked, *rooms_in(room)]:
            waiting = self.callbacks.get(sid, {})
            for number in [each for each, callback in waiting.items() if callback is waiter]:
                del waiting[number]

    def publish_relay(self, message: dict[str, Any], done: Callable[[], None]) -> bool:
        """Hands a relay to the other processes; `False`: there are none.

        ``done`` is called once it is published.
        """
        return False


class _Room(dict[str, str]):
    """The sids in a room, in the order of joining, and their connections."""

    __slots__ = ("number",)

    #: Its place among the sockets and rooms of its namespace.
    number: int


def arguments_of(data: Any) -> list[Any]:
    # python-socketio: a tuple is several arguments, None is none.
    if isinstance(data, tuple):
        return list(data)
    return [] if data is None else [data]
