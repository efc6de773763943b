"""Sends events to sockets, with one encoding for all recipients.

Overridden of upstream's ``Manager``: ``emit``. Used as they are: the server's
``_send_eio_packet`` and ``_send_packet``. ``tests/test_upstream.py`` asserts each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from socketio import packet

from ..engineio.packet import Packet, frame_of_pieces, packet_cost, packets_in, packets_of
from ..events import RtcioEvents
from ..parser.packet import event_frame, event_pieces, numbered
from .gathering import Gathering
from .member import Member, Stage
from .recipients import recipients, skipped
from .rooms import Rooms
from .server_call import Waiter
from .session_log import Kept, Session, Stamp
from .session_store import NoRecovery, Recovery

__all__ = ["Pieces", "RoomIndex", "arguments_of", "polite"]

log = logging.getLogger(__name__)

#: The stages of members that are sent events, at once or after their CONNECT packet.
_SENT_TO = (Stage.CONNECTING, Stage.CONNECTED)

#: An event as the messages that carry it: its packet, then its attachments.
Pieces = list[str | bytes]
#: An event as these, or as their frame alone.
Encoded = Pieces | bytes


class RoomIndex(Rooms):
    """A manager that sends. # hub or greenlet"""

    #: Whether it is the app that sends, if a caller of `emit` does not say so.
    emits_for_app = True
    #: As upstream's client managers say it: this process has clients.
    write_only = False
    #: Called with the name of a namespace without a socket to which the app emits.
    unheard: Callable[[str], None] | None = None

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
        """As upstream's, with one encoding for all recipients on both transports.

        For ``to``, ``room`` and ``skip_sid`` see `recipients`. ``own=False``: it is not the app
        that sends it.
        """
        named = type(room) is str and type(skip_sid) is str and to is None
        plain = named and callback is None and not (kwargs and kwargs.get("volatile"))
        if plain and self._emit_to_others(event, data, namespace, room, skip_sid):
            return
        own = kwargs.get("own", self.emits_for_app)
        everybody = recipients(to, room)
        skip_sid = skipped(skip_sid)
        if namespace not in self.members:
            if own and self.unheard is not None:
                self.unheard(namespace)
            return
        arguments = [event, *arguments_of(data)]
        those = self.recipients_in(namespace, everybody)
        if skip_sid:
            those = self.without(namespace, those, skip_sid)
        if kwargs.get("volatile"):
            those = self.ready_among(namespace, those)
        if callback is not None:
            if self.watched:
                self.show_watched(namespace, those, arguments, own=own)
            if isinstance(callback, Waiter):  # all, before the first of them may leave
                callback.asked += those
            encode = numbered(self.server.packet_class, namespace, arguments)
            for sid in those:
                self.send_with_callback(namespace, sid, callback, encode)
        elif kwargs.get("volatile"):
            if self.watched:
                self.show_watched(namespace, those, arguments, own=own)
            if those:
                self.send_pieces(namespace, those, self._encode(namespace, arguments))
        elif those:
            self._emit(event, arguments, namespace, those, own=own)

    def _emit_to_others(
        self, event: str, data: Any, namespace: str, room: str, sender: str
    ) -> bool:
        """The short way of `emit`, for the usual event: to a room, except to its sender.

        `False`: nothing was sent, because more has to be done for this one.
        """
        # Both dicts may vanish when the last member leaves.
        members = self.members.get(namespace, {})
        inside = self.rooms.get(namespace, {}).get(room)
        if inside is None or room in members or sender not in members:
            return False
        if self.watched or self.recovery.numbers or event == RtcioEvents.INIT_OFFER:
            return False
        frame = event_frame(self.server.packet_class, namespace, [event, *arguments_of(data)])
        if frame is None:
            return False
        others = []
        for sid in list(inside):
            if sid == sender:
                continue
            member = members.get(sid)
            if member is None:
                continue
            link = member.link
            # Looked up once: another thread may close the connection.
            transport = None if link is None or member.held is not None else link.transport
            if transport is None:
                others.append(sid)
            else:
                transport.send(frame)
        if others:
            self._send_to_all(namespace, others, frame)
        return True

    def send_with_callback(
        self,
        namespace: str,
        sid: str,
        callback: Callable[..., Any],
        encode: Callable[[int], Pieces],
    ) -> None:
        """Sends one event to one socket; ``encode`` makes its pieces from its number."""
        number = self.keep_callback(sid, callback)
        try:
            pieces = encode(number)
        except BaseException:  # data that cannot be sent, so nobody can answer
            self.take_callback(sid, number)
            raise
        self._send_to_all(namespace, [sid], pieces)
        member = self.member(sid, namespace)
        # It may have left since the recipients were chosen; then nobody else ends the callback.
        if member is None or member.departed:
            self.end_callbacks(sid)
        elif member.stage not in _SENT_TO:
            self.end_calls(sid)

    def announce(
        self,
        event: str,
        payload: Any,
        namespace: str,
        rooms: list[Any],
        told: set[str],
        told_rooms: set[Any],
    ) -> set[str]:
        """Emits to the rooms, except to sids in ``told``; returns ``told`` with the new ones.

        ``told_rooms``: the rooms of the sids in ``told``.
        """
        everybody = self.sids_in(namespace, rooms)
        recipients = [sid for sid in everybody if sid not in told]
        if "emit" in self.__dict__:  # the Admin UI's instrumentation
            out = list(told)
            self.emit(
                event, payload, namespace, room=rooms, skip_sid=out, ignore_queue=True, own=False
            )
        elif recipients:
            self._emit(event, [event, payload], namespace, recipients)
        return told.union(everybody)

    def _emit(
        self,
        event: str,
        arguments: list[Any],
        namespace: str,
        recipients: list[str],
        *,
        own: bool = False,
    ) -> None:
        """Encodes once for all; with recovery, all sessions keep one frame with one offset."""
        recovery = self.recovery
        if self.watched:
            self.show_watched(namespace, recipients, arguments, own=own)
        if event == RtcioEvents.INIT_OFFER:
            polite(arguments, recovery)
        if recovery.numbers:
            encode = partial(self._numbered, namespace, arguments)
            recovery.send(encode, partial(self._send_to_all, namespace, recipients))
        else:
            self._send_to_all(namespace, recipients, self._encoded(namespace, arguments))

    def ready_among(self, namespace: str, sids: list[str]) -> list[str]:
        """Those of the sockets for which nothing waits."""
        return [sid for sid in sids if _is_ready(self.member(sid, namespace))]

    def send_pieces(self, namespace: str, sids: list[str], pieces: Pieces) -> None:
        """Sends an event that no session keeps."""
        self._send_to_all(namespace, sids, pieces)

    def gather(
        self,
        gathering: Gathering,
        namespace: str,
        rooms: Any,
        skip: list[Any],
        encode: Callable[[int], Pieces],
        arguments: list[Any] | None = None,
        *,
        own: bool = False,
        volatile: bool = False,
    ) -> None:
        """Sends an event to the sockets in ``rooms`` that may answer, and has them asked for it.

        ``arguments``: of the event, for handlers that see what is sent (`show_watched`: ``own``).
        ``volatile``: a socket for which other data waits gets nothing, and counts as silent.
        """
        those = self.recipients_in(namespace, rooms) if namespace in self.members else []
        if those and skip:
            those = self.without(namespace, those, skip)
        asked = [(sid, gathering.ask(sid)) for sid in those]
        if volatile:
            those = self.ready_among(namespace, those)
        sent = set(those)
        if self.watched and arguments is not None:
            self.show_watched(namespace, those, arguments, own=own)
        for sid, callback in asked:
            member = self.member(sid, namespace) if sid in sent else None
            if member is not None and member.stage in _SENT_TO:
                self.send_with_callback(namespace, sid, callback, encode)
            else:
                gathering.lost(sid)
        gathering.settle()

    def forget_gathering(self, gathering: Gathering) -> None:
        """Removes the callbacks of those that have not answered."""
        for waiter in list(gathering.waiting.values()):  # an answer may come meanwhile
            super().forget(waiter, [])

    # -- handlers that see what is sent ----------------------------------------------------------

    def watch(self, member: Member, *, on: bool) -> None:
        """Whether handlers of the app see what is sent to a socket."""
        with self.server.eio.gate:  # another thread may be about to remove the member
            if on and self.member(member.sid, member.namespace) is member:
                self.watched[member.sid] = member
            elif self.watched.get(member.sid) is member:
                del self.watched[member.sid]

    def show_watched(
        self, namespace: str, sids: list[str], arguments: list[Any], *, own: bool = False
    ) -> None:
        """Shows an event to the handlers of those of the sockets that have some.

        ``own``: the app's code sends it, so that the handlers run before it goes. Otherwise they
        run in another greenlet: a handler that waits must not stop a heartbeat or a listener.
        """
        inside = set(sids)
        for sid, member in self.watched.copy().items():
            if sid in inside and member.namespace == namespace and member.stage in _SENT_TO:
                self.show(member, list(arguments), own)

    def send_to_several(
        self, namespace: str, sids: list[str], encode: Callable[[str | None], Pieces]
    ) -> None:
        """Sends one event to several sockets; ``encode`` makes its pieces from its offset."""
        self.recovery.send(encode, partial(self._send_to_all, namespace, sids))

    def emit_here(self, event: str, payload: Any, namespace: str, sids: list[str]) -> None:
        """Emits to these sockets of this process."""
        self._emit(event, [event, payload], namespace, sids)

    def _numbered(self, namespace: str, arguments: list[Any], offset: str | None) -> Encoded:
        return self._encoded(namespace, arguments if offset is None else [*arguments, offset])

    def _encoded(self, namespace: str, arguments: list[Any]) -> Encoded:
        """As its frame alone if it has no attachments: most often nothing else is needed."""
        frame = event_frame(self.server.packet_class, namespace, arguments)
        return frame or self._encode(namespace, arguments)

    def _send_to_all(
        self, namespace: str, recipients: list[str], encoded: Encoded, stamp: Stamp | None = None
    ) -> None:
        """`hand_over` to each; most recipients get the same frame directly.

        ``stamp``: the stamp under which sessions keep the event.
        """
        members = self.members.get(namespace, {})  # the dict may vanish when the last member leaves
        # Each is made when the first recipient needs it: a large event is not encoded for nothing.
        frame, pkts = None if stamp is None else _frame_of(encoded), None
        sessions: list[Session] = []
        for sid in recipients:
            member = members.get(sid)
            if member is None:
                continue
            if stamp is not None and member.session is not None:
                sessions.append(member.session)
            link = member.link
            transport = link.transport if member.held is None and link is not None else None
            if transport is not None:
                if frame is None:
                    frame = _frame_of(encoded)
                transport.send(frame)
            elif member.stage is not Stage.AWAY or member.held is not None:
                if pkts is None:
                    pkts = _packets_of(encoded)
                self.hand_over(member, pkts)
        if stamp is not None and frame is not None:
            self.recovery.keep(Kept(*stamp, frame), sessions)

    def without(self, namespace: str, those: list[str], out: list[Any]) -> list[str]:
        """The sids of ``those`` that are not in the rooms ``out``, where a sid is a room too."""
        # Both dicts may vanish when the last member leaves.
        if len(out) == 1 and out[0] in self.members.get(namespace, ()):  # most often: the sender
            if out[0] in those:
                those.remove(out[0])
            return those
        known = self.rooms.get(namespace, {})
        inside = [known[each] for each in out if each in known]
        left_out = set(out).union(*inside)
        return [sid for sid in those if sid not in left_out]

    def _encode(self, namespace: str, arguments: list[Any]) -> Pieces:
        return event_pieces(self.server.packet_class, namespace, arguments)

    def send_to(self, member: Member, encode: Callable[[str | None], list[Packet]]) -> list[Packet]:
        """Sends one event to one socket; ``encode`` makes its packets from its offset."""
        if member.session is None:
            pkts = encode(None)
            self.hand_over(member, pkts)
            return pkts
        return self.recovery.send(encode, partial(self._keep_and_hand_over, member))

    def _keep_and_hand_over(
        self, member: Member, pkts: list[Packet], stamp: Stamp | None
    ) -> list[Packet]:
        if stamp is not None:
            member.session.keep(Kept(*stamp, b"".join([pkt.frame() for pkt in pkts])))
        self.hand_over(member, pkts)
        return pkts

    def send_ack(self, member: Member, number: int, answer: Any) -> None:
        """Sends the acknowledgement of an event: a tuple is several arguments, `None` is none.

        Raises `TypeError` and `ValueError` for values that cannot be sent.
        """
        if isinstance(answer, tuple):
            arguments = list(answer)
        else:
            arguments = [] if answer is None else [answer]
        kind, namespace = self.server.packet_class, member.namespace
        if member.stage is Stage.MOVED:
            self.ack_elsewhere(member, number, arguments)
            return
        link = member.link  # before `held`: after a return to another connection that is set
        if link is None:  # another package's test client
            pkt = kind(packet.ACK, namespace=namespace, id=number, data=arguments)
            self.server._send_packet(member.eio_sid, pkt)
            return
        pieces = event_pieces(kind, namespace, arguments, number, packet.ACK)
        transport = link.transport if member.held is None else None
        if transport is not None:
            transport.send(frame_of_pieces(pieces))
        else:
            self.hand_over(member, packets_of(pieces))

    def hand_over(self, member: Member, pkts: list[Packet]) -> None:
        """Sends the packets of one event to one socket, after its CONNECT packet."""
        # Without its connection it may be just about to hold: `_hold` looks under the gate.
        may_go = member.held is None and member.link is not None
        if may_go or not self._hold(member, pkts):
            self._pass_on(member, pkts)

    def _pass_on(self, member: Member, pkts: list[Packet]) -> None:
        link = member.link
        if link is None:
            for pkt in pkts:
                self.server._send_eio_packet(member.eio_sid, pkt)
        elif len(pkts) > 1:
            link.send_together(pkts)
        else:
            transport = link.transport  # looked up once: another thread may close the connection
            if transport is not None:
                transport.send(pkts[0].frame())
            else:
                link.send(pkts[0])

    def _hold(self, member: Member, pkts: list[Packet]) -> bool:
        """Keeps packets until CONNECT was sent; they count as data that waits for the client.

        `False`: it has been sent meanwhile.
        """
        with self.server.eio.gate:
            if member.held is None:
                return False
            member.held.append(pkts)
            member.held_bytes += sum(map(packet_cost, pkts))
            link = member.link
            ceiling = link.limits.max_buffered_bytes if link is not None else None
            if link is None or ceiling is None or member.held_bytes <= ceiling:
                return True
            member.held, member.held_bytes = [], 0
        self.server.eio.backlog.on_ceiling(pkts[0].data, ceiling)
        link.fail("slow-reader", "transport error")
        return True

    def release(self, member: Member) -> None:
        """Sends the packets that waited for the CONNECT packet."""
        with self.server.eio.gate:
            for pkts in member.held or ():
                self._pass_on(member, pkts)
            # Only now: a thread that finds it sends at once, and behind all these.
            member.held, member.held_bytes = None, 0

    def nobody_answers(self, room: Any, namespace: str) -> bool:
        """Whether all sockets in ``room`` (a room or a list) have left or are away.

        A socket of another process may always answer.
        """
        found = [self.member(sid, namespace) for sid in self.sids_in(namespace, room)]
        return not any(each is None or each.stage in _SENT_TO for each in found)

    def publish_relay(self, message: dict[str, Any], done: Callable[[], None]) -> bool:
        """Hands a relay to the other processes; `False`: there are none.

        ``done`` is called once it is published.
        """
        return False

    def elsewhere(
        self, what: str, namespace: str, rooms: Any, skip: list[Any], *named: Any
    ) -> None:
        """Has other processes do something to their sockets in ``rooms``; here there are none."""

    def fetch_elsewhere(self, namespace: str, rooms: Any, skip: list[Any]) -> Sequence[Any]:
        """The sockets of other processes in ``rooms``; here there are none. # greenlet"""
        return ()

    def is_elsewhere(self, sid: Any) -> bool:
        """Whether it is the sid of a client of another process that this one knows."""
        return False


def _frame_of(encoded: Encoded) -> bytes:
    return encoded if isinstance(encoded, bytes) else frame_of_pieces(encoded)


def _packets_of(encoded: Encoded) -> list[Packet]:
    return packets_in(encoded) if isinstance(encoded, bytes) else packets_of(encoded)


def _is_ready(member: Member | None) -> bool:
    if member is None or member.stage is not Stage.CONNECTED or member.held is not None:
        return False
    return member.link is None or member.link.writable


def polite(arguments: list[Any], recovery: Recovery | NoRecovery) -> None:
    """Adds to the arguments of an offer what keeps an offset from being taken for its options."""
    if arguments[0] == RtcioEvents.INIT_OFFER and len(arguments) == 2 and recovery.numbers:
        # The rtc.io client takes the second argument as options; an offset there would make
        # both sides impolite, and a collision of two offers would never be resolved.
        arguments.append({"polite": True})


def arguments_of(data: Any) -> list[Any]:
    # python-socketio: a tuple is several arguments, None is none.
    if isinstance(data, tuple):
        return list(data)
    return [] if data is None else [data]
