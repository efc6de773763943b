"""Does what other nodes ask for, and keeps what they tell. # hub, unless it says greenlet

Nothing here waits. What runs code of the app is spawned. The messages of one node are handled in
their order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from ..adapter.emit import RoomIndex
from ..adapter.member import Member
from ..errors import OptionError, ProtocolError
from ..metrics import Counters
from ..protocol.envelope import Drop
from ..transport.ports import Later
from . import handover_messages, messages
from .held_messages import Message
from .held_streams import HeldStreams
from .id_owners import Heirs
from .messages import Kind, decoded, encoded, room_of, rooms_of
from .ports import Bus, Relays, Tasks
from .pubsub_checks import check_relay
from .remote_callbacks import Questions
from .remote_events import RemoteEvents
from .remote_presence import Presence
from .remote_rooms import Ghost
from .shared_rooms import SharedRooms, share
from .succession import Lost, Succession

__all__ = ["Exchange"]

log = logging.getLogger(__name__)

STRUCTURES = {**messages.STRUCTURES, **handover_messages.STRUCTURES}

#: The label under which messages are counted that were dropped since too much waits for a node.
OVERFLOW = "worker-overflow"


class Exchange:
    """The messages of one server's bus: its `ports.Handlers`.

    ``guard(environ, event, callback, *args)`` calls the app's code. ``disconnect(sid, namespace)``
    and ``do_here(what, namespace, rooms, skip, named, attempt)`` are for sockets of this node;
    ``attempt(change, sid, namespace, room)`` guards each change of rooms. ``later`` calls back
    after some seconds.
    """

    def __init__(
        self,
        manager: RoomIndex,
        *,
        tasks: Tasks,
        later: Later,
        relays: Relays,
        counters: Counters,
        guard: Callable[..., Any],
        disconnect: Callable[[str, str], None],
        do_here: Callable[..., None],
    ) -> None:
        self._manager = manager
        self._tasks = tasks
        self._disconnect_here = disconnect
        self._do_here = do_here
        self._relays = relays
        self._counters = counters
        self._bus: Bus | None = None
        self.presence = Presence(manager, tasks, relays)
        self.replica = self.presence.replica
        self.questions = Questions(tasks.create_event)
        self.succession = Succession(
            manager,
            self.replica,
            tasks,
            later,
            handle=self.handle,
            post=self._post,
            overflowed=self.overflowed,
            bury=self._bury,
            tell_joined=self._tell_joined,
            tell=self.tell,
            lost=self.presence.lost,
            failed=self._failed,
        )
        self.leaving, self.arrivals = self.succession.leaving, self.succession.arrivals
        self._fronts, self.claims = self.arrivals.fronts, self.succession.claims
        self._claims_open = self.claims.open
        self._streams = HeldStreams(
            self.received,
            later,
            lambda: self.bus.nodes,
            overflowed=self.overflowed,
            failed=self._failed,
        )
        self._held = self._streams.held
        self.events = RemoteEvents(
            manager,
            tasks,
            guard=guard,
            post=self._post,
            asked=lambda: self._shared.asked,
            hidden_from=self._hidden_from,
        )
        self.leaving.settled = lambda: not self.events.waiting
        #: Answers questions of other nodes: by name, ``(about) -> reply``. # greenlet
        self.answers: dict[str, Callable[[bytes], bytes]] = {}
        #: The same in the hub, for what has to be done in order: ``(node, number, about)``. They
        #: answer through `reply`, unless the number is 0.
        self.inline: dict[str, Callable[[str, int, bytes], None]] = {**self.claims.inline}
        #: Called before the first node is met, with a secret that all nodes know.
        self.on_begin: list[Callable[[bytes], None]] = []
        #: Called with a node that lives, that has said how old it is, and that is dead; and with
        #: its members that died with it, and whether that holds for a sid.
        self.on_joined: list[Callable[[str], None]] = []
        self.on_met: list[Callable[[str], None]] = []
        self.on_died: list[Callable[[str, list[Ghost], Lost], None]] = []
        #: Called in a greenlet when another node has told this node's peers that it is dead.
        self.on_given_up: Callable[[str], None] = lambda node: None
        self._do = self._handlers()

    def _handlers(self) -> dict[int, Callable[[str, Any], None]]:
        """What to call for each kind of message: ``(node, structure)``."""
        return {
            **self.succession.handlers,
            Kind.BARRIER: self._barrier,
            Kind.AFTER: self._streams.after,
            Kind.GOING: self._going,
            Kind.FORWARD: self._forward,
            Kind.EMIT: self.events.emit,
            Kind.ANSWER: self.events.answer,
            Kind.LOST: self.events.lost,
            Kind.PARTED: self.events.parted,
            Kind.JOINED: self._joined,
            Kind.LEFT: self.presence.left,
            Kind.TOLD: self.presence.told,
            Kind.BACK: self.presence.back,
            Kind.ENTER: self._enter,
            Kind.LEAVE: self._leave,
            Kind.CLOSE: self._close,
            Kind.DISCONNECT: self._disconnect,
            Kind.MANY: self._many,
            Kind.ASK: self._ask,
            Kind.REPLY: self._reply,
            Kind.DONE: self._done,
        }

    @property
    def begun(self) -> bool:
        """Whether this node may have met others."""
        return self._bus is not None

    @property
    def bus(self) -> Bus:
        assert self._bus is not None
        return self._bus

    @bus.setter
    def bus(self, bus: Bus) -> None:
        self._bus = bus
        self.succession.begin(bus)

    def begin_anew(self) -> None:
        """The bus has another id, and knows no other node."""
        self.succession.begin_anew()

    @property
    def heirs(self) -> Heirs:
        return self.succession.heirs

    @property
    def _shared(self) -> SharedRooms:
        return share(self._manager, self)

    # -- as `ports.Handlers` ---------------------------------------------------------------------

    def received(self, node: str, kind: int, key: bytes, body: bytes) -> None:
        if self._held and node in self._held:
            self._streams.keep(node, kind, key, body)
            return
        try:
            if (self._fronts or self._claims_open or self.leaving.begun) and self.succession.takes(
                (node, kind, key, body)
            ):
                return
            self._handle(node, kind, key, body)
        except (ProtocolError, UnicodeDecodeError) as error:  # the stream can be read further
            self._drop(error)

    def _drop(self, error: ProtocolError | UnicodeDecodeError) -> None:
        """One message could not be read, or may not be followed."""
        reason = error.reason if isinstance(error, ProtocolError) else Drop.CHANNEL
        self._counters.dropped[reason] += 1

    def handle(self, message: Message, *, only: Collection[str] | None = None) -> None:
        """Does what a message says that did not come directly. ``only``: to these members."""
        node, kind, key, body = message
        try:
            if only is None:
                self._handle(node, kind, key, body)
            else:
                self._handle_for(only, node, kind, body)
        except (ProtocolError, UnicodeDecodeError) as error:
            self._drop(error)
        except Exception as error:  # noqa: BLE001 - others of the same node wait behind it
            self._failed("A message from another worker failed", error)

    def _failed(self, what: str, error: Exception) -> None:
        self._tasks.spawn(partial(log.error, what, exc_info=error))

    def _handle(self, node: str, kind: int, key: bytes, body: bytes) -> None:
        if kind == Kind.RELAY:
            sid, slash, rest = key.decode().partition("/")
            if not slash or not body.startswith(b"42") or not body.endswith(b"]"):
                raise ProtocolError(Drop.CHANNEL)
            self._relays.from_node(sid, slash + rest, body)
            return
        do = self._do.get(kind)
        if do is None:
            raise ProtocolError(Drop.CHANNEL)
        do(node, decoded(STRUCTURES[kind], body))

    def _handle_for(self, only: Collection[str], node: str, kind: int, body: bytes) -> None:
        message = decoded(STRUCTURES[kind], body)
        if isinstance(message, messages.Emit):
            self.events.emit(node, message, only)
        elif isinstance(message, messages.Close):
            inside = self._manager.sids_in(message.namespace, [room_of(message.room)])
            for sid in [each for each in inside if each in only]:
                self._manager.basic_leave_room(sid, message.namespace, room_of(message.room))
        elif isinstance(message, messages.Many):
            self._many(node, message, only)

    def joined(self, node: str) -> None:
        shared = self._shared
        self.succession.joined(node)
        for members in shared.members.values():
            for member in members.values():
                if member.rooms and not member.departed:
                    self.bus.post(node, Kind.JOINED, _rooms_of(member))
        for each in self.on_joined:
            each(node)

    def _tell_joined(self, namespace: str, sid: str) -> None:
        member = self._manager.member(sid, namespace)
        if member is not None and member.rooms:
            body = _rooms_of(member)
            for node in list(self.bus.nodes):
                self.bus.post(node, Kind.JOINED, body)

    def _joined(self, node: str, message: messages.Joined) -> None:
        # One that has moved on meanwhile has told its rooms from there.
        if self.heirs.nodes.get(message.sid, node) == node and message.sid not in self.heirs.own:
            self.presence.joined(node, message)

    def _hidden_from(self, node: str) -> Collection[str]:
        hidden = self.arrivals.hidden_from(node)
        return {*hidden, *self.claims.switchover.hidden_from(node)} if self._claims_open else hidden

    def met(self, node: str) -> None:
        for each in self.on_met:
            each(node)

    def leave(self) -> None:
        """Tells the other nodes that this one stops. # greenlet"""
        self.leaving.say_going(serves=False)

    def _going(self, node: str, message: messages.Going) -> None:
        leaving = self.leaving
        for nodes, among in ((leaving.going, not message.stays), (leaving.serving, message.serves)):
            (nodes.add if among else nodes.discard)(node)

    def _barrier(self, node: str, message: handover_messages.Barrier) -> None:
        if not message.via:  # it comes from the node that leaves itself
            self._streams.barrier(node, message.number)
        self.arrivals.barrier(node, message)

    def died(self, node: str) -> None:
        self._streams.died(node)
        self.questions.died(node)
        self.replica.expected.drop(node)
        self.succession.died(node)

    def _bury(self, node: str, ids: Collection[str], lost: Lost) -> None:
        self._shared.asked.died(node, ids)
        ghosts = self.presence.died(node)
        for each in self.on_died:
            each(node, ghosts, lost)

    def refused(self) -> None:
        """A message from outside could not be read."""
        self._counters.dropped[Drop.CHANNEL] += 1

    def overflowed(self) -> None:
        self._counters.dropped[OVERFLOW] += 1

    def given_up(self, node: str) -> None:
        self.leaving.given_up()
        self._tasks.spawn(self.on_given_up, node)

    # -- what this node sends ----------------------------------------------------------------------

    def send(
        self, node: str, kind: int, body: bytes, key: bytes = b"", *, now: bool = False
    ) -> bool:
        """As `Bus.post`, for members: it is held back while they move. # hub or greenlet"""
        if self._fronts and self.arrivals.hold(node, kind, key, body):
            return True
        if not self.bus.post(node, kind, body, key, now=now):
            return False
        if self._claims_open:
            self.claims.sent(node, kind, key, body)
        return True

    def _post(self, node: str, kind: int, message: messages.Struct) -> bool:
        if node == self.bus.node:  # the answer to what this node has asked for itself
            self._do[kind](node, message)
            return True
        return self.bus.post(node, kind, encoded(message))

    # -- relays ------------------------------------------------------------------------------------

    def _forward(self, node: str, message: messages.Forward) -> None:
        relay = {
            "namespace": message.namespace,
            "target": message.target,
            "rooms": None if message.rooms is None else rooms_of(message.rooms),
            "raw": message.raw,
            "attachments": message.attachments,
        }
        limits = self._manager.limits_of(message.namespace)
        attachments = check_relay(relay, limits.max_attachments)
        self._relays.from_elsewhere({**relay, "attachments": attachments})

    # -- what is to be done to sockets of this node ------------------------------------------------

    def _enter(self, node: str, message: messages.Enter) -> None:
        room = room_of(message.room)
        self._guarded(self._shared.enter_room, message.sid, message.namespace, room)
        self._post(node, Kind.DONE, messages.Done(message.number))

    def _leave(self, node: str, message: messages.Leave) -> None:
        room = room_of(message.room)
        self._guarded(self._shared.leave_room, message.sid, message.namespace, room)

    def _guarded(self, change: Callable[..., Any], sid: str, namespace: str, room: Any) -> None:
        """Does it if the socket is still here; what it may not do is counted."""
        if self._manager.member(sid, namespace) is None:
            return
        try:
            change(sid, namespace, room)
        except ProtocolError as error:
            self._counters.dropped[error.reason] += 1
        except ValueError:  # it has just left
            pass

    def _close(self, node: str, message: messages.Close) -> None:
        room = room_of(message.room)
        if not self._manager.is_sid_room(message.namespace, room):
            self._manager.basic_close_room(room, message.namespace)

    def _disconnect(self, node: str, message: messages.Member) -> None:
        if self._manager.member(message.sid, message.namespace) is None:
            return  # it has just left
        self._tasks.spawn_in_turn(self._disconnect_here, message.sid, message.namespace)

    def _many(self, node: str, message: messages.Many, only: Collection[str] | None = None) -> None:
        rooms = None if message.rooms is None else rooms_of(message.rooms)
        what, named, skip = message.what, rooms_of(message.named), rooms_of(message.skip)
        if only is not None:
            inside = self._manager.sids_in(message.namespace, rooms)
            rooms = [sid for sid in inside if sid in only]
        given = what, message.namespace, rooms, skip, named
        if what in ("join", "leave"):  # at once: what follows may go to these rooms
            self._do_here(*given, self._guarded)
            if only is None:
                self._post(node, Kind.DONE, messages.Done(message.number))
        elif what in ("disconnect", "close"):
            self._tasks.spawn_in_turn(self._do_here, *given)
        else:
            raise ProtocolError(Drop.CHANNEL)

    def _done(self, node: str, message: messages.Done) -> None:
        self.replica.expected.done(node, message.number)
        asked = self.heirs.nodes.get(node, node)
        if asked != node:  # its heir was asked, and has passed it on
            self.replica.expected.done(asked, message.number)

    # -- questions ---------------------------------------------------------------------------------

    def _ask(self, node: str, message: messages.Ask) -> None:
        inline = self.inline.get(message.what)
        if inline is not None:
            try:
                inline(node, message.number, message.body)
            except ProtocolError:
                if message.number:  # whoever asks need not wait for its time-out
                    self.reply(node, message.number, None)
                raise
            return
        answer = self.answers.get(message.what)
        if answer is None and message.number:
            self._post(node, Kind.REPLY, messages.Reply(message.number, b"", failed=True))
        elif answer is not None:
            self._tasks.spawn_in_turn(self._reply_with, node, message.number, answer, message.body)

    def tell(self, node: str, what: str, about: bytes) -> None:
        """Tells a node something that needs no reply, before anything that is sent to a client."""
        self.bus.post(node, Kind.ASK, encoded(messages.Ask(0, what, about)), now=True)

    def reply(self, node: str, number: int, body: bytes | None) -> None:
        """Answers a question; `None`: there is no answer."""
        self._post_reply(node, messages.Reply(number, body or b"", failed=body is None))

    def _post_reply(self, node: str, reply: messages.Reply) -> None:
        try:
            self._post(node, Kind.REPLY, reply)
        except OptionError as error:  # it is too long: whoever asks need not wait for its time-out
            self._failed("A reply to another worker could not be sent", error)
            self._post(node, Kind.REPLY, messages.Reply(reply.number, b"", failed=True))

    def _reply_with(
        self, node: str, number: int, answer: Callable[[bytes], bytes], about: bytes
    ) -> None:  # greenlet
        reply = messages.Reply(number, b"", failed=True)
        try:
            reply = messages.Reply(number, answer(about))
        except ProtocolError as error:
            self._counters.dropped[error.reason] += 1
        finally:
            if number:
                self._post_reply(node, reply)

    def _reply(self, node: str, message: messages.Reply) -> None:
        self.questions.replied(node, message.number, None if message.failed else message.body)


def _rooms_of(member: Member) -> bytes:
    """The body of JOINED; a room that another worker cannot know by its name is left out."""
    rooms = [room for room in member.rooms or () if messages.can_be_sent(room)]
    return encoded(messages.Joined(member.namespace, member.sid, rooms, member.relays))
