"""Sorts the messages of clients: relays and acknowledgements at once, the rest into the inbox.

The engine hands over each message that the relay's short way does not take (``# hub`` or greenlet).
It is decoded at once, so that an unreadable message ends the connection at once, and so that a
relay on the full way does not wait for an app's handler. Messages for the app go into the
connection's inbox, and are handled there in order (``# greenlet``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from socketio import packet

from ..adapter.drops import Drops
from ..adapter.emit import RoomIndex
from ..adapter.gathering import OneAnswer
from ..adapter.member import Member, Stage
from ..adapter.server_call import Waiter
from ..engineio.inbox import Running
from ..engineio.socket import Socket
from ..errors import ProtocolError
from ..events import RESERVED_EVENTS, RtcioEvents
from ..functions import called
from ..hub import interrupts
from ..logs import about, harmless, tell
from ..options import Limits
from ..parser.decoder import ACKS, AUTH, EVENTS, Decoded, Decoder, Partial
from ..parser.message_bounds import Head
from ..protocol.envelope import Drop, read
from ..relay.relay import Passage, Relay
from . import inbox_items
from .connect import Connecting
from .disconnect import Disconnecting
from .handler_run import Handling
from .ports import Engine

__all__ = ["Receiver"]

#: Bytes of usual events after which the hub looks whether the turn's time is used up, and the bytes
#: that each counts in addition: 20 small events take less than a millisecond. After any other
#: message it looks at once.
UNLOOKED = 10_000
MESSAGE = 500

log = logging.getLogger(__name__)

#: Events that not only go into the inbox.
_SORTED_OUT = RESERVED_EVENTS | {RtcioEvents.MESSAGE}

_UNREADABLE = "connection %(rtcio_connection)s sent an unreadable message: %(rtcio_reason)s"


class Receiver:
    """Sorts the messages of a server's clients.

    ``connect(eio_sid, namespace, auth)`` answers a CONNECT. ``late``: the app's own code decodes
    messages. It never runs in the hub, so a message is decoded when its turn in the inbox comes.
    """

    def __init__(
        self,
        engine: Engine,
        manager: RoomIndex,
        *,
        relay: Relay,
        drop: Drops,
        handling: Handling,
        connecting: Connecting,
        disconnecting: Disconnecting,
        connect: Callable[[str, str, Any], None],
        spawn_event: Callable[..., Any],
        packet_class: Any,
        limits_of: Callable[[str], Limits],
        max_size: int,
        late: bool,
    ) -> None:
        self._engine = engine
        self._manager = manager
        self._relay = relay
        self._drop = drop
        self._handling = handling
        self._connecting = connecting
        self._disconnecting = disconnecting
        self._connect = connect
        self._spawn_event = spawn_event
        self.late = late
        self._unlooked = 0
        self.decoder = Decoder(
            packet_class, limits_of=limits_of, max_size=max_size, refuse=self._too_much
        )
        self._do: dict[type, Callable[[Socket, Any], Running | None]] = {
            inbox_items.Event: self._do_event,
            inbox_items.Connect: self._do_connect,
            inbox_items.Disconnect: self._do_disconnect,
            inbox_items.MaybeRelay: self._do_maybe_relay,
            inbox_items.Relay: self._do_relay,
            inbox_items.Undecoded: self._do_undecoded,
            inbox_items.Ack: self._do_ack,
            inbox_items.Then: self._do_then,
            inbox_items.Lost: self._do_lost,
        }

    # -- hub or greenlet -----------------------------------------------------------------------

    def take(self, link: Socket, message: bytes, binary: bool) -> None:
        """Takes one message: an Engine.IO packet's bytes, or a binary message's."""
        if self.late:
            try:
                self._put_off(link, message, binary)
            except ProtocolError as error:
                self._refuse(link, error)
            return
        try:
            found = None if binary or link.partial is not None else self.decoder.event(message)
            if found is not None:
                number, data, size = found
                self._unlooked += len(message) + MESSAGE
                name = data[0] if data else None
                if link.root is not None and type(name) is str and name not in _SORTED_OUT:
                    link.enqueue(inbox_items.Event("/", number, data), size)  # most are so
                else:
                    self._event(link, "/", number, data, size, message)
            else:
                self._unlooked = UNLOOKED + 1
                decoded = self.decoder.decode(link, message, binary)
                if decoded is not None:
                    self._take_packet(link, decoded)
        except ProtocolError as error:
            self._refuse(link, error)
        if self._unlooked > UNLOOKED:
            self._unlooked = 0
            link.stand_back()

    def _take_packet(self, link: Socket, decoded: Decoded) -> None:
        pkt = decoded.packet
        namespace = pkt.namespace or "/"
        if pkt.packet_type in EVENTS:
            self._event(link, namespace, pkt.id, pkt.data, decoded.size, decoded)
        else:
            self._sort(link, namespace, decoded)

    def _put_off(self, link: Socket, message: bytes, binary: bool) -> None:
        decoder = self.decoder
        if link.ack is not None:
            if decoder.gather(link.ack, message, binary):
                whole, link.ack = link.ack, None
                self._apart(link, whole)
        elif decoder.acknowledges(message, binary):
            link.ack = decoder.announced(link, message)
            if link.ack is None:
                self._apart(link, message)
        else:
            with self._engine.gate:  # or a socket could be made ready just before
                item = inbox_items.Undecoded(message, binary, self._hold_relays(link))
                link.enqueue(item, len(message))

    def _apart(self, link: Socket, whole: bytes | Partial) -> None:
        """Has an acknowledgement decoded now: a handler in the inbox may be waiting for it."""
        self._engine.spawn(self.work, link, inbox_items.Ack(whole))

    def _refuse(self, link: Socket, error: ProtocolError) -> None:
        spawn, reason = self._engine.spawn, error.reason
        tell(log, _UNREADABLE, spawn=spawn, connection=link.sid, reason=reason)
        link.fail("packet", "parse error", 1002)

    def _too_much(self, link: Socket, head: Head | None, label: str) -> None:
        """Counts a packet that is over the `Limits`; the connection goes on."""
        namespace = "/" if head is None else head.namespace
        member = self._member(link, namespace)
        known = {} if member is not None else {"connection": link.sid, "namespace": namespace}
        self._drop(label, member, **known)
        if label == AUTH:
            link.enqueue(
                inbox_items.Then(partial(self._connecting.refuse_auth, link.sid, namespace))
            )

    def _sort(self, link: Socket, namespace: str, decoded: Decoded) -> None:
        pkt = decoded.packet
        kind = pkt.packet_type
        if kind in ACKS:
            self.acknowledged(link, namespace, pkt.id, pkt.data, decoded.size)
        elif kind == packet.CONNECT:
            link.enqueue(inbox_items.Connect(namespace, pkt.data), decoded.size)
        else:
            member = self._member(link, namespace)
            if member is not None:
                self._disconnecting.leaving(member, "client namespace disconnect")
            link.enqueue(inbox_items.Disconnect(namespace), decoded.size)

    def acknowledged(
        self, link: Socket, namespace: str, id: int, data: list[Any], size: int
    ) -> None:
        """Handles an acknowledgement at once: `call` may wait for it in a handler.

        ``size``: the bytes of memory of its packet.
        """
        member = self._member(link, namespace)
        callback = self._manager.take_callback(member.sid, id) if member is not None else None
        if isinstance(callback, Waiter):
            if isinstance(callback, OneAnswer):  # it may be kept until others have answered
                running = Running(link)
                running.begin(size)
                callback.hold(running.end)
            callback(*data)
        elif callback is not None:
            guarded = self._handling.guarded
            link.aside(size, guarded, member, "ack", tuple(data), called, callback, *data)

    def _event(
        self,
        link: Socket,
        namespace: str,
        number: int | None,
        data: list[Any],
        size: int,
        whole: bytes | Decoded,
    ) -> None:
        """Puts an event into the inbox, or relays it. ``whole``: its message, or its packet."""
        name = data[0] if data else None
        member: Member | None = link.root if namespace == "/" else None
        if member is None:
            member = self._member(link, namespace)
        if not isinstance(name, str) or name in RESERVED_EVENTS:
            self._drop_event(Drop.RESERVED_EVENT, link, namespace, name, member)
        elif member is None and link.inbox is None and self._member(link, namespace) is None:
            # Looked up once more: another thread may have handled its CONNECT just now.
            self._drop_event(Drop.NOT_CONNECTED, link, namespace, name)
        elif name != RtcioEvents.MESSAGE:
            link.enqueue(inbox_items.Event(namespace, number, data), size)
        else:
            self._unlooked = UNLOOKED + 1
            if isinstance(whole, bytes):
                whole = self.decoder.whole(whole, number, data, size)
            if member is not None and self._relay.serves(member):
                self._relayed(link, member, whole)
            else:
                self._maybe_relayed(link, namespace, member, whole, size)

    def _member(self, link: Socket, namespace: str) -> Member | None:
        """The socket that a connection has in a namespace."""
        found: Member | None
        if namespace == "/":
            found = link.root
        else:
            found = link.members.get(namespace) if link.members else None
        # A connection that ended before its CONNECT was handled has no member of its own.
        return found or self._manager.member_of(link.sid, namespace)

    def _drop_event(
        self, reason: str, link: Socket, namespace: str, event: Any, member: Member | None = None
    ) -> None:
        known: dict[str, Any] = {"connection": link.sid, "namespace": namespace, "event": event}
        self._drop(reason, member, **known)

    def _relayed(self, link: Socket, member: Member, decoded: Decoded) -> None:
        relay = self._relay
        if member.stage in (Stage.LEAVING, Stage.GONE):
            self._drop(Drop.NOT_CONNECTED, member, event=RtcioEvents.MESSAGE)
        elif member.ready and not member.observed and not member.waiting and relay.scope != "room":
            relay.forward(member, passage_of(decoded))
        else:
            args = tuple(decoded.packet.data[1:])
            item = inbox_items.Relay(member, passage_of(decoded), args)
            relay.hold(member)
            link.enqueue(item, decoded.size)

    def _maybe_relayed(
        self, link: Socket, namespace: str, member: Member | None, decoded: Decoded, size: int
    ) -> None:
        """Puts a relay of a socket that has no listeners yet into the inbox: it may get them."""
        with self._engine.gate:  # or the socket could be made ready just before
            member = member or self._member(link, namespace)
            held = [] if member is None else [member]
            for each in held:
                self._relay.hold(each)
            link.enqueue(inbox_items.MaybeRelay(namespace, decoded, held), size)

    def _hold_relays(self, link: Socket) -> list[Member]:
        """Lets relays wait for a message of unknown content that goes into the inbox."""
        held: list[Member] = self._manager.members_of(link.sid)
        for member in held:
            self._relay.hold(member)
        return held

    def _let_relays_go(self, held: list[Member]) -> None:
        for member in held:
            self._relay.let_go(member)

    # -- greenlet ------------------------------------------------------------------------------

    def work(self, link: Socket, item: inbox_items.Item) -> Running | bool:
        """Handles one item of the inbox; `True`: its greenlet was killed meanwhile.

        Gives an event that runs on beside the inbox.
        """
        running = None
        try:
            running = self._do[type(item)](link, item)
        except ProtocolError as error:  # the relay reads the text again, and is stricter
            self._refuse(link, error)
        except BaseException as error:
            # The app's code is guarded where it is called, so this is an error of ours.
            with harmless():
                log.exception("a message could not be handled", extra=about(connection=link.sid))
            link.fail("internal", "transport error", 1011)
            interrupts.heed(error)
        return running or (interrupts.killed.get() and interrupts.was_killed())

    def _do_event(self, link: Socket, item: inbox_items.Event) -> Running | None:
        namespace = item.namespace
        member: Member | None = link.root if namespace == "/" else None
        if member is None:
            member = self._member(link, namespace)
        if member is None or member.stage is Stage.GONE:  # the app has disconnected it
            self._drop_event(Drop.NOT_CONNECTED, link, namespace, item.data[0], member)
        elif self._handling.async_handlers and self._handling.spawns_events and not link.tested:
            given = member, item.number, item.data, member.returns
            running = Running(link)
            self._spawn_event(running.run, self._event_aside, *given)
            return running
        else:
            self._handling.event(member, item.number, item.data)
        return None

    def _event_aside(
        self, member: Member, number: int | None, data: list[Any], returns: int
    ) -> None:
        """Runs an event in a greenlet of its own, unless its socket has left meanwhile.

        If it has come back meanwhile, the number means nothing on its new connection.
        """
        if self._manager.member(member.sid, member.namespace) is member:
            self._handling.event(member, number if member.returns == returns else None, data)

    def _do_maybe_relay(self, link: Socket, item: inbox_items.MaybeRelay) -> Running | None:
        member, pkt = self._member(link, item.namespace), item.decoded.packet
        try:
            if member is None or member.stage is Stage.GONE or not self._relay.serves(member):
                return self._do_event(link, inbox_items.Event(item.namespace, pkt.id, pkt.data))
            self._handling.relay(member, passage_of(item.decoded), tuple(pkt.data[1:]))
            return None
        finally:
            self._let_relays_go(item.held)

    def _do_connect(self, link: Socket, item: inbox_items.Connect) -> None:
        if not link.closed or self._connecting.may_join_late(link, item.namespace):
            self._connect(link.sid, item.namespace, item.auth)

    def _do_disconnect(self, link: Socket, item: inbox_items.Disconnect) -> None:
        member = self._member(link, item.namespace)
        if member is not None:
            self._disconnecting.disconnect(member, "client namespace disconnect")

    def _do_relay(self, link: Socket, item: inbox_items.Relay) -> None:
        try:
            if self._was_put_out(item.member):
                self._drop(Drop.NOT_CONNECTED, item.member, event=RtcioEvents.MESSAGE)
            else:
                self._handling.relay(item.member, item.passage, item.args)
        finally:
            self._let_relays_go([item.member])

    def _was_put_out(self, member: Member) -> bool:
        """Whether the app has refused or disconnected a socket while its relay waited.

        Not one whose connection was lost: what it sent before is handled before its end.
        """
        if member.stage is Stage.LEAVING:
            return self._manager.member(member.sid, member.namespace) is not member
        return member.stage is Stage.GONE

    def _do_undecoded(self, link: Socket, item: inbox_items.Undecoded) -> Running | None:
        """Decodes a message now, and handles it at once."""
        try:
            decoded = self.decoder.decode(link, item.message, item.binary)
            return None if decoded is None else self._do_decoded(link, decoded)
        except ProtocolError as error:
            self._refuse(link, error)
            return None
        finally:
            self._let_relays_go(item.held)

    def _do_ack(self, link: Socket, item: inbox_items.Ack) -> None:
        decoded = self.decoder.apart(link, item.whole)
        if decoded is not None:
            self._do_decoded(link, decoded)

    def _do_decoded(self, link: Socket, decoded: Decoded) -> Running | None:
        pkt = decoded.packet
        namespace, kind = pkt.namespace or "/", pkt.packet_type
        if kind in ACKS:
            self.acknowledged(link, namespace, pkt.id, pkt.data, decoded.size)
        elif kind == packet.CONNECT:
            self._do_connect(link, inbox_items.Connect(namespace, pkt.data))
        elif kind == packet.DISCONNECT:
            self._do_disconnect(link, inbox_items.Disconnect(namespace))
        elif _unfit(pkt):
            self._drop(Drop.RESERVED_EVENT, connection=link.sid)
        elif pkt.data[0] == RtcioEvents.MESSAGE:
            return self._do_maybe_relay(link, inbox_items.MaybeRelay(namespace, decoded, []))
        else:
            return self._do_event(link, inbox_items.Event(namespace, pkt.id, pkt.data))
        return None

    def _do_then(self, link: Socket, item: inbox_items.Then) -> None:
        item.do()

    def _do_lost(self, link: Socket, item: inbox_items.Lost) -> None:
        # Through the engine's registry, because the Admin UI's instrumentation counts there.
        self._engine.handlers["disconnect"](link.sid, item.reason)


def _unfit(pkt: Any) -> bool:
    name = pkt.data[0] if pkt.data else None
    return not isinstance(name, str) or name in RESERVED_EVENTS


def passage_of(decoded: Decoded) -> Passage:
    """The envelope of a relayed event, with its text if the packet is text.

    Raises `ProtocolError` for text that is not JSON to its last character.
    """
    if decoded.text is None:
        arguments = decoded.packet.data
        return Passage(arguments[1] if len(arguments) > 1 else None, None, [])
    envelope = read(decoded.text)
    if envelope is None:
        raise ProtocolError("json")
    return Passage(envelope.payload, envelope.raw, decoded.attachments)
