"""Relays an envelope from one client to the socket that it names.

The short way (`Relay.arrive`, # hub): one parse, one decision, the same bytes framed for the
target; no greenlet switch, no re-encoding. The full way (`Relay.forward`, # hub or greenlet)
follows the same rules for all other cases: acknowledgement ids and extra arguments to remove,
attachments, msgpack, a target in another process, or an app that wants to see relays first. Both
drop what `envelope.judge` refuses.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import msgspec
import orjson
from engineio import packet as eio_packet

from ..adapter.drops import Drops
from ..adapter.emit import RoomIndex
from ..adapter.member import Member, Stage
from ..adapter.session_log import Kept, Session
from ..engineio.packet import Packet, size_of
from ..engineio.socket import Socket
from ..events import RtcioEvents
from ..metrics import Counters
from ..options import Limits
from ..parser.encoding import write
from ..protocol.envelope import Drop, filled, head, judge, named_in
from ..protocol.websocket_frames import frame_text

__all__ = ["Passage", "Relay"]

_ROOT = b'42["#rtcio:message",'
_ELSEWHERE = b"42/"
_EVENT = b'["#rtcio:message",'
_END = b"]"
_AFTER_ROOT = len(_ROOT)
_BRACE, _BRACKET = b"}]"  # as numbers, with which `in` is ten times as fast

CONNECTED, AWAY = Stage.CONNECTED, Stage.AWAY
loads = orjson.loads


class _Envelope(msgspec.Struct, gc=False):
    source: str
    target: str
    data: msgspec.Raw  # read to its end, and not decoded


decode = msgspec.json.Decoder(_Envelope).decode

#: Up to so many bytes, msgspec reads a message: in half of orjson's time for a candidate. For a
#: description it is not faster.
SMALL = 1024
#: Means no bound: more levels than any parser accepts.
ANY_DEPTH = 1 << 30

# Exceptions that mean: not for the short way, use the full way.
_LEFT = (ValueError, TypeError, LookupError, AttributeError, RecursionError, msgspec.DecodeError)


class Passage(NamedTuple):
    """A relayed event on the full way."""

    payload: Any
    #: The envelope as it was written; `None`: encode ``payload`` again (msgpack, a direct call).
    raw: str | None
    attachments: list[bytes]


class Relay:
    """The relay of one server."""

    def __init__(self, manager: RoomIndex, counters: Counters, drop: Drops, *, scope: str) -> None:
        self.manager = manager
        self.counters = counters
        self._drop = drop
        self.scope = scope
        #: A message has few levels if no bracket closes before `last`, which counts from its end,
        #: and few values if it has at most `light` bytes: see `bound`.
        self.last = -ANY_DEPTH
        self.light = ANY_DEPTH
        #: Whether packets are text; if not (msgpack), the envelope has to be encoded again.
        self.textual = True
        #: The namespaces whose sockets have the default listeners.
        self.namespaces: set[str] = set()
        #: Those of them that lose them if they are dynamic ones, and empty.
        self._while_open: set[str] = set()
        #: Takes each message that the short way does not take: `(link, message, binary)`.
        self.ordinary: Callable[[Any, Any, bool], None] = _nowhere
        #: Sends a relay to another process: ``(namespace, target, message)``; `None`: the target is
        #: not a socket of one, `False`: it was dropped. Without another process: `None`. # hub
        self.elsewhere: Callable[[str, str, bytes], bool | None] | None = None
        #: Encodes an event for the full way: `(namespace, arguments) -> [piece, …]`.
        self.encode: Callable[[str, list[Any]], list[Any]] = lambda namespace, arguments: []

    def bound(self, limits: Iterable[Limits]) -> None:
        """Sends messages that may be over one of these ``limits`` to the full way, which counts."""
        several = list(limits)
        self.last = -min([each.max_depth or ANY_DEPTH for each in several])
        # A value takes at least two bytes: itself, and the separator before the next.
        self.light = 2 * min([each.max_values or ANY_DEPTH for each in several])

    def _check_depth(self, message: bytes) -> None:
        if message.count(b"}") + message.count(b"]") > -self.last:
            raise LookupError  # the full way counts only real levels, not brackets in strings

    def serve(self, namespace: str, *, while_open: bool = False) -> None:
        """Gives the sockets of a namespace the default listeners.

        ``while_open``: until `closed`, unless it has or gets them for good.
        """
        if not while_open:
            self._while_open.discard(namespace)
        elif namespace not in self.namespaces:
            self._while_open.add(namespace)
        self.namespaces.add(namespace)

    def closed(self, namespace: str) -> None:
        """A dynamic namespace is removed: its last socket has left. # hub or greenlet"""
        if namespace in self._while_open:
            self._while_open.discard(namespace)
            self.namespaces.discard(namespace)

    def serves(self, member: Member) -> bool:
        """Whether ``member`` has the default listeners."""
        return member.relays or member.namespace in self.namespaces

    # -- which way: any thread -------------------------------------------------------------------

    def settle(self, member: Member) -> None:
        """Opens or closes the short way of ``member``; call it after a change of a condition."""
        # Without the gate, a thread that looked before the change could write after it.
        with self.manager.server.eio.gate:
            member.short = (
                member.ready
                and not member.observed
                and not member.waiting
                and member.stage is Stage.CONNECTED
                and self.scope == "namespace"
                and self.serves(member)
            )

    def hold(self, member: Member) -> None:
        """One more message of ``member`` waits in the inbox; the relays behind it wait as well."""
        with self.manager.server.eio.gate:
            member.waiting += 1
            self.settle(member)

    def let_go(self, member: Member) -> None:
        """A message that `hold` counted has been handled."""
        with self.manager.server.eio.gate:
            member.waiting -= 1
            self.settle(member)

    # -- the short way: hub ----------------------------------------------------------------------

    def arrive(self, link: Socket, message: bytes, binary: bool) -> None:
        """Takes each message of a client first; ``message`` is an Engine.IO packet, or binary.

        One function, with the rules of `judge` written out: every relayed message passes here, and
        a call costs as much as a rule.
        """
        if not binary:
            start = _AFTER_ROOT
            if message.startswith(_ROOT):
                member: Member | None = link.root
            elif message.startswith(_ELSEWHERE) and link.members:
                start, member = self._elsewhere(link, message)
            else:
                member = None
            # Only the envelope is parsed: an extra argument, or white space at the end, goes to the
            # full way.
            if member is not None and member.short and message.endswith(_END):
                source = key = None
                try:
                    length = len(message)
                    # Most messages close all arrays and objects in their last bytes: they have
                    # few levels. In the others the closing brackets are counted.
                    if length < SMALL:
                        before = message[: self.last]
                        if _BRACE in before or _BRACKET in before:
                            self._check_depth(message)
                        envelope = decode(message[start:-1])
                        source, key = envelope.source, envelope.target
                    else:
                        last = self.last
                        if message.find(b"}", 0, last) >= 0 or message.find(b"]", 0, last) >= 0:
                            self._check_depth(message)
                        if length > self.light:
                            raise LookupError  # it may hold too many values
                        payload = loads(message[start:-1])
                        payload["data"]  # has to exist
                        source, key = payload["source"], payload["target"]
                    if source == member.sid:
                        target = member.peers[key]
                        if target.stage is CONNECTED:
                            transport = target.link.transport  # type: ignore[union-attr]  # in `_LEFT`
                            if (
                                transport is not None
                                and target is not member
                                and target.held is None
                            ):
                                if target.session is None:
                                    transport.send(frame_text(message))
                                else:
                                    self._stamp(target, target.session, message)
                                counters = self.counters
                                counters.relayed += 1
                                counters.relayed_bytes += length
                                return
                        elif target.stage is AWAY:
                            self._stamp(target, target.session, message)
                            self.counters.relayed += 1
                            self.counters.relayed_bytes += length
                            return
                # Not an object, a missing field, an unknown target, JSON that only `json` reads:
                # the full way decides, and counts a drop.
                except _LEFT:
                    if (
                        self.elsewhere is not None
                        and source == member.sid
                        and type(key) is str
                        and self._cross(self.elsewhere, member, key, message)
                    ):
                        return
        self.ordinary(link, message, binary)

    def _cross(
        self,
        send: Callable[[str, str, bytes], bool | None],
        member: Member,
        key: str,
        message: bytes,
    ) -> bool:
        """Sends a relay to another process; `False`: the target is not a socket of one."""
        sent = None if key in member.peers else send(member.namespace, key, message)
        if sent:
            self.counters.relayed += 1
            self.counters.relayed_bytes += len(message)
        return sent is not None

    def from_node(self, sid: str, namespace: str, message: bytes) -> None:
        """Delivers a relay of another process, which has applied the sender's rules. # hub"""
        target = self.manager.member(sid, namespace)
        if target is None or not target.present or not self.serves(target):
            self._drop(Drop.UNKNOWN_TARGET)
            return
        transport = None if target.link is None else target.link.transport
        if target.held is None and target.session is not None:
            self._stamp(target, target.session, message)
        elif target.held is None and transport is not None:
            transport.send(frame_text(message))
        else:
            self.manager.send_to(target, partial(_as_packets, message))

    def serves_namespace(self, namespace: str) -> bool:
        """Whether the sockets of a namespace have the default listeners."""
        return namespace in self.namespaces

    def _stamp(self, target: Member, session: Session, message: bytes) -> None:
        """Sends a relay with its offset after the envelope, which stays unchanged.

        While the target is away, its session keeps the relay until the return.
        """

        gate = session.gate()
        if gate is None:
            self._keep_and_send(target, session, message)
        else:
            with gate:
                self._keep_and_send(target, session, message)

    def _keep_and_send(self, target: Member, session: Session, message: bytes) -> None:
        # gate held, so that events are kept and sent in the order of their numbers
        (number, now), offset = session.next()
        frame = frame_text(_stamped(message, offset))
        session.keep(Kept(number, now, frame))
        if target.stage is CONNECTED and target.link is not None:
            target.link.send_frames([frame])

    def _elsewhere(self, link: Socket, message: bytes) -> tuple[int, Member | None]:
        """Where the envelope begins in a packet of another namespace, and its sender there."""
        stop = message.find(b",", 3, 512)
        if stop < 0 or not message.startswith(_EVENT, stop + 1):
            return 0, None
        members: dict[str, Member] = link.members or {}
        return stop + 1 + len(_EVENT), members.get(message[2:stop].decode())

    # -- the full way: hub or greenlet ---------------------------------------------------------

    def forward(self, member: Member, passage: Passage) -> None:
        """Applies the rules to one relayed event of ``member``, and delivers or publishes it."""
        payload = passage.payload
        reason = judge(payload, member.sid, recovered=member.recovered)
        number = len(passage.attachments)
        # A packet without attachments is text; a placeholder in it is ordinary data.
        if reason is None and number:
            # An extra argument is removed with its attachments: clients number them in order.
            named = named_in(payload, number)
            if named is None or named != set(range(len(named))):
                reason = Drop.MALFORMED
            else:
                passage = passage._replace(attachments=passage.attachments[: len(named)])
        if reason is not None:
            self._drop(reason, member)
            return
        if "source" not in payload:
            passage = _with_source(passage, member.sid)
        target = self.manager.member(payload["target"], member.namespace)
        if target is None or not target.present:
            raw, attachments = passage.raw, passage.attachments
            if raw is None:
                attachments = []
                try:
                    raw = write(payload, attachments)
                except (TypeError, ValueError):  # a key that is no text, a forged placeholder
                    self._drop(Drop.MALFORMED, member)
                    return
            self._publish(member, payload["target"], raw, attachments)
        elif self.scope == "room" and not _share_a_room(member.rooms, target.rooms):
            self._drop(Drop.OTHER_ROOM, member)
        else:
            self._deliver(target, passage)

    def _deliver(self, target: Member, passage: Passage) -> None:
        pkts = self.manager.send_to(target, partial(self._packets, target.namespace, passage))
        size = sum(size_of(pkt.data) for pkt in pkts)
        self.counters.relayed += 1
        self.counters.relayed_bytes += size

    def _packets(self, namespace: str, passage: Passage, offset: str | None) -> list[Packet]:
        if passage.raw is None:
            arguments = [RtcioEvents.MESSAGE, passage.payload]
            pieces = self.encode(namespace, arguments if offset is None else [*arguments, offset])
        else:
            opening = head(namespace, len(passage.attachments))
            closing = "]" if offset is None else f',"{offset}"]'
            pieces = [f"{opening}{passage.raw}{closing}", *passage.attachments]
        return [Packet(eio_packet.MESSAGE, piece) for piece in pieces]

    # -- across processes ------------------------------------------------------------------------

    def _publish(self, member: Member, target: str, raw: str, attachments: list[bytes]) -> None:
        published = self.manager.publish_relay(
            {
                "event": RtcioEvents.MESSAGE,
                "namespace": member.namespace,
                "target": target,
                "rooms": list(member.rooms or ()) if self.scope == "room" else None,
                "raw": raw,
                "attachments": [base64.b64encode(each).decode() for each in attachments],
            },
            self._count_published,
        )
        if not published:
            self._drop(Drop.UNKNOWN_TARGET, member)

    def _count_published(self) -> None:
        self.counters.relayed += 1

    def from_elsewhere(self, relay: dict[str, Any]) -> None:
        """Delivers a relay of another process, after the target's part of the rules. # greenlet"""
        target = self.manager.member(relay["target"], relay["namespace"])
        if target is None or not target.present or not self.serves(target):
            return  # it is in another process, or has left
        if self.scope == "room" and not _share_a_room(relay["rooms"], target.rooms):
            self._drop(Drop.OTHER_ROOM)
            return
        raw, attachments = relay["raw"], relay["attachments"]
        if self.textual:
            self._deliver(target, Passage(None, raw, attachments))
        else:
            payload = json.loads(raw)
            if attachments:
                payload = filled(payload, attachments)
            self._deliver(target, Passage(payload, None, []))


def _stamped(message: bytes, offset: str) -> bytes:
    """A relay with its offset after the envelope, which stays unchanged."""
    return b'%b,"%b"]' % (message.rstrip()[:-1], offset.encode())


def _as_packets(message: bytes, offset: str | None) -> list[Packet]:
    whole = message if offset is None else _stamped(message, offset)
    return [Packet(eio_packet.MESSAGE, whole[1:].decode())]


def _share_a_room(one: Iterable[Any] | None, other: Iterable[Any] | None) -> bool:
    return bool(one and other and not set(one).isdisjoint(other))


def _with_source(passage: Passage, sid: str) -> Passage:
    # In front, so that the text of the client stays unchanged.
    payload = {"source": sid, **passage.payload}
    raw = passage.raw
    if raw is not None:
        raw = f'{{"source":{json.dumps(sid)},{raw.lstrip()[1:]}'
    return Passage(payload, raw, passage.attachments)


def _nowhere(link: Any, message: Any, binary: bool) -> None:
    """The default, until a server sets its own."""
