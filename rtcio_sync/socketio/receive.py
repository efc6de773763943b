"""What a client sent, sorted: relays at once, acknowledgements at once, the rest into the inbox.

The engine hands each message here that the relay's short way left (``# hub`` or greenlet). It is
decoded at once, so that what cannot be read ends the connection at once, and so that a relay that
is not plain need not wait for an app's handler. What an app has to see goes into the connection's
inbox and is worked off there in order (``# greenlet``).
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from socketio import packet

from ..adapter.member import Member, Stage
from ..engineio.socket import Socket
from ..errors import ProtocolError
from ..events import RESERVED_EVENTS, RtcioEvents
from ..hub import interrupts
from ..logs import about, harmless, tell
from ..parser.decoder import ACKS, AUTH, EVENTS, Decoded, Decoder, Form
from ..parser.weight import Head
from ..protocol.envelope import Drop, read
from ..relay.relay import Passage

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["Inbound"]

log = logging.getLogger(__name__)

_UNREADABLE = "connection %(rtcio_connection)s sent what cannot be read: %(rtcio_reason)s"


class Inbound:
    """Sorts the messages of a server's clients."""

    def __init__(self, server: Server, *, late: bool) -> None:
        self.server = server
        # An app's own JSON module or packet class is the app's code: it never runs in the hub, so
        # there a message is decoded when the inbox comes to it.
        self.late = late
        self.decoder = Decoder(
            server.packet_class,
            limits_of=server.limits_of,
            max_size=server.options.max_http_buffer_size,
            refuse=self._too_much,
        )

    # -- hub or greenlet -----------------------------------------------------------------------

    def take(self, link: Socket, message: bytes, binary: bool) -> None:
        """Takes one message: an Engine.IO packet's bytes, or a binary message's."""
        if self.late:
            if not binary and self.decoder.form is Form.TEXT and message[1:2] == b"3":
                # An acknowledgement: a handler in the inbox may be waiting for it.
                self.server.eio.spawn(self.work, link, ("message", message, binary, []))
            else:
                item = ("message", message, binary, self._hold_relays(link))
                link.enqueue(item, len(message))
            return
        try:
            decoded = self.decoder.decode(link, message, binary)
            if decoded is not None:
                self._sort(link, decoded)
        except ProtocolError as error:
            self._refuse(link, error)
        link.stand_back()

    def _refuse(self, link: Socket, error: ProtocolError) -> None:
        spawn, reason = self.server.eio.spawn, error.reason
        tell(log, _UNREADABLE, spawn=spawn, connection=link.sid, reason=reason)
        link.fail("packet", "parse error", 1002)

    def _too_much(self, link: Socket, head: Head | None, label: str) -> None:
        """A packet is over what `Limits` allows: it is counted, and the connection goes on."""
        namespace = "/" if head is None else head.namespace
        member = self.server.manager.member_of(link.sid, namespace)
        known = {} if member is not None else {"connection": link.sid, "namespace": namespace}
        self.server.relay.drop(label, member, **known)
        if label == AUTH:
            link.enqueue(("then", partial(self.server.sessions.refuse_auth, link.sid, namespace)))

    def _sort(self, link: Socket, decoded: Decoded) -> None:
        pkt = decoded.packet
        namespace = pkt.namespace or "/"
        kind = pkt.packet_type
        if kind in ACKS:
            self.server._acknowledged(link, namespace, pkt.id, pkt.data)
        elif kind in EVENTS:
            self._event(link, namespace, decoded)
        else:
            if kind == packet.DISCONNECT:
                member = self.server.manager.member_of(link.sid, namespace)
                if member is not None:
                    self.server.sessions.leaving(member, "client namespace disconnect")
            link.enqueue(("packet", decoded), decoded.size)

    def _event(self, link: Socket, namespace: str, decoded: Decoded) -> None:
        member = self.server.manager.member_of(link.sid, namespace)
        name = decoded.packet.data[0] if decoded.packet.data else None
        relay = self.server.relay
        if not isinstance(name, str) or name in RESERVED_EVENTS:
            known = {"connection": link.sid, "namespace": namespace, "event": name}
            relay.drop(Drop.RESERVED_EVENT, member, **known)
        elif member is None and link.inbox is None:
            relay.drop(Drop.NOT_CONNECTED, connection=link.sid, namespace=namespace, event=name)
        elif name != RtcioEvents.MESSAGE:
            # Its text is for the relay alone: waiting for a handler, it would be kept twice.
            if decoded.text is not None:
                decoded = decoded._replace(text=None)
            link.enqueue(("packet", decoded), decoded.size)
        elif member is None or not relay.serves(member):
            link.enqueue(("packet", decoded), decoded.size)
        elif member.stage in (Stage.LEAVING, Stage.GONE):
            relay.drop(Drop.NOT_CONNECTED, member, event=name)
        elif member.ready and not member.observed and not member.waiting and relay.scope != "room":
            relay.forward(member, passage_of(decoded))
        else:
            item = ("relay", member, passage_of(decoded), decoded.packet)
            member.waiting += 1
            relay.settle(member)
            link.enqueue(item, decoded.size)

    def _hold_relays(self, link: Socket) -> list[Member]:
        """A message of unknown content goes into the inbox: no relay may overtake it."""
        held: list[Member] = self.server.manager.members_of(link.sid)
        for member in held:
            member.waiting += 1
            self.server.relay.settle(member)
        return held

    def _let_relays_go(self, held: list[Member]) -> None:
        for member in held:
            member.waiting -= 1
            self.server.relay.settle(member)

    # -- greenlet ------------------------------------------------------------------------------

    def work(self, link: Socket, item: tuple[Any, ...]) -> bool:
        """Does one thing from the inbox; `True`: its greenlet was killed meanwhile."""
        kind = item[0]
        try:
            if kind == "packet":
                self._packet(link, item[1])
            elif kind == "relay":
                self._relay(*item[1:])
            elif kind == "message":
                self._message(link, *item[1:])
            elif kind == "then":
                item[1]()
            else:
                # Not `_handle_eio_disconnect` itself: the Admin UI's instrumentation counts here.
                self.server.eio.handlers["disconnect"](link.sid, item[1])
        except ProtocolError as error:  # read anew for the relay, which is stricter
            self._refuse(link, error)
        except BaseException as error:
            # What is the app's is guarded where it is called: this one is ours.
            with harmless():
                log.exception("a message could not be handled", extra=about(connection=link.sid))
            link.fail("internal", "transport error", 1011)
            interrupts.heed(error)
        return interrupts.was_killed()

    def _packet(self, link: Socket, decoded: Decoded) -> None:
        pkt, server = decoded.packet, self.server
        namespace = pkt.namespace or "/"
        if pkt.packet_type == packet.CONNECT:
            server._handle_connect(link.sid, namespace, pkt.data)
        elif pkt.packet_type == packet.DISCONNECT:
            server._handle_disconnect(link.sid, namespace, "client namespace disconnect")
        else:
            if _is_relay(pkt):
                member = server.manager.member_of(link.sid, namespace)
                if member is not None and server.relay.serves(member):
                    server._handle_relay(member, passage_of(decoded), pkt)
                    return
            server._handle_event(link.sid, namespace, pkt.id, pkt.data)

    def _relay(self, member: Member, passage: Passage, pkt: Any) -> None:
        """A relay that something of the app's sees first, or that waited for it."""
        try:
            self.server._handle_relay(member, passage, pkt)
        finally:
            self._let_relays_go([member])

    def _message(self, link: Socket, message: bytes, binary: bool, held: list[Member]) -> None:
        """The late way: decode now, and do at once what the inbox is for."""
        try:
            decoded = self.decoder.decode(link, message, binary)
            if decoded is None:
                return
            pkt = decoded.packet
            if pkt.packet_type in ACKS:
                self.server._acknowledged(link, pkt.namespace or "/", pkt.id, pkt.data)
            elif pkt.packet_type in EVENTS and _unfit(pkt):
                self.server.relay.drop(Drop.RESERVED_EVENT, connection=link.sid)
            else:
                self._packet(link, decoded)
        except ProtocolError as error:
            self._refuse(link, error)
        finally:
            self._let_relays_go(held)


def _is_relay(pkt: Any) -> bool:
    return bool(pkt.data) and pkt.data[0] == RtcioEvents.MESSAGE


def _unfit(pkt: Any) -> bool:
    name = pkt.data[0] if pkt.data else None
    return not isinstance(name, str) or name in RESERVED_EVENTS


def passage_of(decoded: Decoded) -> Passage:
    """The envelope of a relayed event, with its own characters where the packet is text.

    Raises `ProtocolError` for text that is not JSON to its last character.
    """
    if decoded.text is None:
        arguments = decoded.packet.data
        return Passage(arguments[1] if len(arguments) > 1 else None, None, [])
    envelope = read(decoded.text)
    if envelope is None:
        raise ProtocolError("json")
    return Passage(envelope.payload, envelope.raw, decoded.attachments)
