"""Sends events to sockets, with one encoding for all recipients, and keeps callbacks.

Overridden of upstream's ``Manager``: ``emit`` and ``trigger_callback``. Used as they are:
``_generate_ack_id`` and the server's ``_send_eio_packet`` and ``_send_packet``.
``tests/test_upstream.py`` asserts each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from socketio import packet

from ..engineio.packet import Packet, frame_of_pieces, packet_cost, packets_of
from ..events import RtcioEvents
from ..logs import tell
from ..parser.packet import event_pieces
from .calls import Waiter
from .member import Member, Stage
from .recipients import recipients, rooms_in, skipped
from .recovery import NoRecovery, Recovery, Stamp
from .rooms import Rooms

__all__ = ["MAX_CALLBACKS", "Pieces", "RoomIndex", "arguments_of", "polite"]

log = logging.getLogger(__name__)

#: An event as the messages that carry it: its packet, then its attachments.
Pieces = list[str | bytes]

MAX_CALLBACKS = 10_000  # callbacks that wait for one client; over it the oldest is forgotten


class RoomIndex(Rooms):
    """A manager that sends. # hub or greenlet"""

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

        For ``to``, ``room`` and ``skip_sid`` see `recipients`.
        """
        everybody = recipients(to, room)
        skip_sid = skipped(skip_sid)
        if namespace not in self.members:
            return
        arguments = [event, *arguments_of(data)]
        those = self.recipients_in(namespace, everybody)
        if skip_sid:
            those = self.without(namespace, those, skip_sid)
        if callback is not None:
            encode = partial(self._encode, namespace, arguments)
            for sid in those:
                self.send_with_callback(namespace, sid, callback, encode)
        elif those:
            self._emit(event, arguments, namespace, those)

    def send_with_callback(
        self,
        namespace: str,
        sid: str,
        callback: Callable[..., Any],
        encode: Callable[[int], Pieces],
    ) -> None:
        """Sends one event to one socket; ``encode`` makes its pieces from its number."""
        number = self._generate_ack_id(sid, callback)
        if isinstance(callback, Waiter):
            callback.asked.append(sid)
        elif len(self.callbacks[sid]) > MAX_CALLBACKS + 1:  # and the counter
            self._forget_oldest(self.callbacks[sid])
        self._send_to_all(namespace, [sid], encode(number))

    def _forget_oldest(self, waiting: dict[int, Any]) -> None:
        """Forgets the oldest callback of a client that does not acknowledge events."""
        for number, callback in waiting.items():
            if number and not isinstance(callback, Waiter):  # 0: the counter; `call` has a time-out
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
        """Emits to the rooms, except to sids in ``told``; returns ``told`` with the new ones.

        ``told_rooms``: the rooms of the sids in ``told``.
        """
        everybody = self.sids_in(namespace, rooms)
        recipients = [sid for sid in everybody if sid not in told]
        if "emit" in self.__dict__:  # the Admin UI's instrumentation
            out = list(told)
            self.emit(event, payload, namespace, room=rooms, skip_sid=out, ignore_queue=True)
        elif recipients:
            self._emit(event, [event, payload], namespace, recipients)
        return told.union(everybody)

    def _emit(
        self, event: str, arguments: list[Any], namespace: str, recipients: list[str]
    ) -> None:
        """Encodes once for all; with recovery, all sessions keep one frame with one offset."""
        recovery = self.recovery
        if event == RtcioEvents.INIT_OFFER:
            polite(arguments, recovery)
        if recovery.numbers:
            encode = partial(self._numbered, namespace, arguments)
            recovery.send(encode, partial(self._send_to_all, namespace, recipients))
        else:
            self._send_to_all(namespace, recipients, self._encode(namespace, arguments))

    def send_to_several(
        self, namespace: str, sids: list[str], encode: Callable[[str | None], Pieces]
    ) -> None:
        """Sends one event to several sockets; ``encode`` makes its pieces from its offset."""
        self.recovery.send(encode, partial(self._send_to_all, namespace, sids))

    def emit_here(self, event: str, payload: Any, namespace: str, sids: list[str]) -> None:
        """Emits to these sockets of this process."""
        self._emit(event, [event, payload], namespace, sids)

    def _numbered(self, namespace: str, arguments: list[Any], offset: str | None) -> Pieces:
        return self._encode(namespace, arguments if offset is None else [*arguments, offset])

    def _send_to_all(
        self, namespace: str, recipients: list[str], pieces: Pieces, stamp: Stamp | None = None
    ) -> None:
        """`hand_over` to each; most recipients get the same frame directly.

        ``stamp``: the stamp under which sessions keep the event.
        """
        members = self.members.get(namespace, {})  # the dict may vanish when the last member leaves
        # Each is made when the first recipient needs it: a large event is not encoded for nothing.
        frame, pkts = b"" if stamp is None else frame_of_pieces(pieces), None
        kept = None if stamp is None else (*stamp, frame)
        for sid in recipients:
            member = members.get(sid)
            if member is None:
                continue
            if kept is not None and member.session is not None:
                member.session.keep(kept)
            link = member.link
            transport = link.transport if member.held is None and link is not None else None
            if transport is not None:
                if not frame:
                    frame = frame_of_pieces(pieces)
                transport.send(frame)
            else:
                if pkts is None:
                    pkts = packets_of(pieces)
                self.hand_over(member, pkts)

    def without(self, namespace: str, those: list[str], out: list[Any]) -> list[str]:
        """The sids of ``those`` that are not in the rooms ``out``, where a sid is a room too."""
        if len(out) == 1 and out[0] in self.members[namespace]:  # most often: the sender
            if out[0] in those:
                those.remove(out[0])
            return those
        known = self.rooms[namespace]
        inside = [known[each] for each in out if each in known]
        left_out = set(out).union(*inside)
        return [sid for sid in those if sid not in left_out]

    def _encode(self, namespace: str, arguments: list[Any], number: int | None = None) -> Pieces:
        return event_pieces(self.server.packet_class, namespace, arguments, number)

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
            member.session.keep((*stamp, b"".join([pkt.frame() for pkt in pkts])))
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
        if member.link is None:  # another package's test client
            pkt = kind(packet.ACK, namespace=namespace, id=number, data=arguments)
            self.server._send_packet(member.eio_sid, pkt)
            return
        pieces = event_pieces(kind, namespace, arguments, number, packet.ACK)
        transport = member.link.transport if member.held is None else None
        if transport is not None:
            transport.send(frame_of_pieces(pieces))
        else:
            self.hand_over(member, packets_of(pieces))

    def hand_over(self, member: Member, pkts: list[Packet]) -> None:
        """Sends the packets of one event to one socket, after its CONNECT packet."""
        link = member.link
        if member.held is not None:
            self._hold(member, member.held, pkts)
        elif link is None:
            for pkt in pkts:
                self.server._send_eio_packet(member.eio_sid, pkt)
        elif len(pkts) > 1:
            link.send_together(pkts)
        elif link.transport is not None:
            link.transport.send(pkts[0].frame())
        else:
            link.send(pkts[0])

    def _hold(self, member: Member, held: list[list[Packet]], pkts: list[Packet]) -> None:
        """Keeps packets until CONNECT was sent; they count as data that waits for the client."""
        held.append(pkts)
        member.held_bytes += sum(map(packet_cost, pkts))
        link = member.link
        ceiling = link.limits.max_buffered_bytes if link is not None else None
        if link is not None and ceiling is not None and member.held_bytes > ceiling:
            member.held, member.held_bytes = [], 0
            self.server.eio.backlog.on_ceiling(pkts[0].data, ceiling)
            link.fail("slow-reader", "transport error")

    def release(self, member: Member) -> None:
        """Sends the packets that waited for the CONNECT packet."""
        held, member.held, member.held_bytes = member.held, None, 0
        for pkts in held or ():
            self.hand_over(member, pkts)

    def take_callback(self, sid: str, number: Any) -> Callable[..., Any] | None:
        """Removes and returns the callback of an acknowledgement; `None`: there is none."""
        waiting = self.callbacks.get(sid)
        if not waiting or not number:  # upstream keeps the counter under 0
            return None
        callback: Callable[..., Any] | None = waiting.pop(number, None)
        return callback

    def trigger_callback(self, sid: str, id: Any, data: Iterable[Any]) -> None:
        callback = self.take_callback(sid, id)
        if callback is None:
            tell(log, "%(rtcio_sid)s acknowledged an event without a callback", sid=sid)
        else:
            callback(*data)

    def nobody_answers(self, room: Any, namespace: str) -> bool:
        """Whether all sockets in ``room`` (a room or a list) have left or are away.

        A socket of another process may always answer.
        """
        found = [self.member(sid, namespace) for sid in self.sids_in(namespace, room)]
        return not any(
            each is None or each.stage in (Stage.CONNECTING, Stage.CONNECTED) for each in found
        )

    def forget(self, waiter: Waiter, room: Any) -> None:
        """Removes the callbacks of a `Waiter` that does not wait any more."""
        for sid in [*waiter.asked, *rooms_in(room)]:
            waiting = self.callbacks.get(sid, {})
            for number in [each for each, callback in waiting.items() if callback is waiter]:
                del waiting[number]

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
