"""Does what other nodes ask for, and keeps what they tell. # hub, unless it says greenlet

Nothing here waits. What runs code of the app is spawned. The messages of one node are handled in
their order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..adapter.calls import Waiter
from ..adapter.emit import Pieces, RoomIndex
from ..errors import ProtocolError
from ..events import RtcioEvents
from ..metrics import Counters
from ..parser.packet import FastJson, TextPacket, event_pieces
from ..protocol.envelope import Drop, filled, placeholders_fit
from . import wire
from .asks import Questions, RemoteWaiter
from .channel import check_relay
from .ports import Bus, Relays, Tasks
from .replica import Ghost, Replica
from .shared import SharedRooms, body_of, share
from .wire import Kind, decoded, encoded, room_of, rooms_of

__all__ = ["Exchange", "values_in"]

#: The label under which messages are counted that were dropped since too much waits for a node.
OVERFLOW = "worker-overflow"

AT_A_TIME = 100  # dead sockets whose peers are told in one turn of the loop


class Exchange:
    """The messages of one server's bus: its `ports.Handlers`.

    ``guard(environ, event, callback, *args)`` calls the app's code. ``disconnect(sid, namespace)``
    and ``do_here(what, namespace, rooms, skip, named)`` are for sockets of this node.
    """

    bus: Bus

    def __init__(
        self,
        manager: RoomIndex,
        *,
        tasks: Tasks,
        relays: Relays,
        counters: Counters,
        guard: Callable[..., Any],
        disconnect: Callable[[str, str], None],
        do_here: Callable[..., None],
    ) -> None:
        self._manager = manager
        self._tasks = tasks
        self._guard = guard
        self._disconnect_here = disconnect
        self._do_here = do_here
        self._relays = relays
        self._counters = counters
        self.replica = Replica()
        self.questions = Questions(tasks.create_event)
        #: Answers questions of other nodes: by name, ``(about) -> reply``. # greenlet
        self.answers: dict[str, Callable[[bytes], bytes]] = {}
        #: The same in the hub, for what has to be done in order: ``(node, number, about)``. They
        #: answer through `reply`, unless the number is 0.
        self.inline: dict[str, Callable[[str, int, bytes], None]] = {}
        #: Called before the first node is met, with a secret that all nodes know.
        self.on_begin: list[Callable[[bytes], None]] = []
        #: Called with a node that lives, that has said how old it is, and that is dead; and with
        #: the members that died with it.
        self.on_joined: list[Callable[[str], None]] = []
        self.on_met: list[Callable[[str], None]] = []
        self.on_died: list[Callable[[str, list[Ghost]], None]] = []
        #: Called in a greenlet when another node has told this node's peers that it is dead.
        self.on_given_up: Callable[[str], None] = lambda node: None
        #: The nodes that have said that they stop.
        self.going: set[str] = set()
        self._do: dict[int, Callable[[str, Any], None]] = {
            Kind.GOING: self._going,
            Kind.FORWARD: self._forward,
            Kind.EMIT: self._emit,
            Kind.JOINED: self._joined,
            Kind.LEFT: self._left,
            Kind.TOLD: self._told,
            Kind.BACK: self._back,
            Kind.ANSWER: self._answer,
            Kind.LOST: self._lost,
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
    def _shared(self) -> SharedRooms:
        return share(self._manager, self.bus, self.replica, self.questions)

    # -- as `ports.Handlers` ---------------------------------------------------------------------

    def received(self, node: str, kind: int, key: bytes, body: bytes) -> None:
        try:
            self._received(node, kind, key, body)
        except ProtocolError as error:  # one message; the stream can be read further
            self._counters.dropped[error.reason] += 1

    def _received(self, node: str, kind: int, key: bytes, body: bytes) -> None:
        if kind == Kind.RELAY:
            sid, slash, rest = key.decode().partition("/")
            if not slash or not body.startswith(b"42") or not body.endswith(b"]"):
                raise ProtocolError(Drop.CHANNEL)
            self._relays.from_node(sid, slash + rest, body)
            return
        do = self._do.get(kind)
        if do is None:
            raise ProtocolError(Drop.CHANNEL)
        do(node, decoded(_STRUCTURES[kind], body))

    def joined(self, node: str) -> None:
        shared = self._shared
        for namespace, members in shared.members.items():
            for member in members.values():
                if member.rooms and not member.departed:
                    rooms = list(member.rooms)
                    made = wire.Joined(namespace, member.sid, rooms, member.relays)
                    self.bus.post(node, Kind.JOINED, _of_what_can_be_sent(made))
        for each in self.on_joined:
            each(node)

    def met(self, node: str) -> None:
        for each in self.on_met:
            each(node)

    def leave(self) -> None:
        """Tells the other nodes that this one stops. # greenlet"""
        for node in list(self.bus.nodes):
            self.bus.post(node, Kind.GOING, encoded(wire.Going()), now=True)

    def _going(self, node: str, message: wire.Going) -> None:
        self.going.add(node)

    def died(self, node: str) -> None:
        self.going.discard(node)
        shared = self._shared
        ghosts = self.replica.ghosts_of(node)
        self.replica.drop(node)
        shared.asked.died(node)
        self.questions.died(node)
        for each in self.on_died:
            each(node, ghosts)
        if ghosts:
            self._tasks.spawn(self._tell_of_dead, ghosts)

    def overflowed(self) -> None:
        self._counters.dropped[OVERFLOW] += 1

    def given_up(self, node: str) -> None:
        self._tasks.spawn(self.on_given_up, node)

    # -- relays and events -------------------------------------------------------------------------

    def _forward(self, node: str, message: wire.Forward) -> None:
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

    def _emit(self, node: str, message: wire.Emit) -> None:
        message.rooms = None if message.rooms is None else rooms_of(message.rooms)
        message.skip = rooms_of(message.skip)
        if not message.body.startswith("[") or not message.body.endswith("]"):
            raise ProtocolError(Drop.CHANNEL)
        if self._manager.late:  # encoding runs the app's code
            self._tasks.spawn(self._deliver, node, message)
        else:
            self._deliver(node, message)

    def _deliver(self, node: str, message: wire.Emit) -> None:  # hub or greenlet
        manager, namespace = self._manager, message.namespace
        those: list[str] = []
        if namespace in manager.members:
            those = list(manager.sids_in(namespace, message.rooms))
            if message.skip:
                those = manager.without(namespace, those, message.skip)
        if message.number is not None:
            callback = self._callback(node, message.number, len(those), waits=message.waits)
            if not those:
                self._post(node, Kind.LOST, wire.Lost(message.number))
            encode = partial(self._pieces, message)
            for sid in those:
                manager.send_with_callback(namespace, sid, callback, encode)
        elif those:
            encode = partial(self._pieces, message, None)
            manager.send_to_several(namespace, those, encode)

    def _pieces(self, message: wire.Emit, number: int | None, offset: str | None = None) -> Pieces:
        """The packets of an event; the same text for all nodes, but for offset and number."""
        kind, namespace = self._manager.server.packet_class, message.namespace
        if isinstance(kind, type) and issubclass(kind, TextPacket):
            count = len(message.attachments)
            start = f"5{count}-" if count else "2"
            where = "" if namespace == "/" else f"{namespace},"
            body = message.body if offset is None else f'{message.body[:-1]},"{offset}"]'
            text = f"{start}{where}{'' if number is None else number}{body}"
            return [text, *message.attachments]
        arguments = values_in(message.body, message.attachments)
        if offset is not None:
            arguments.append(offset)
        return event_pieces(kind, namespace, arguments, number)

    def _callback(self, node: str, number: int, asked: int, *, waits: bool) -> Callable[..., Any]:
        answer = partial(self._send_answer, node, number)
        lose = partial(self._post, node, Kind.LOST, wire.Lost(number))
        if waits:
            return RemoteWaiter(answer, lose)
        left = asked

        def answered(*args: Any) -> None:  # hub or greenlet
            nonlocal left
            answer(*args)
            left -= 1
            if not left:  # the node that asks need not keep its callback any longer
                lose()

        return answered

    def _send_answer(self, node: str, number: int, *args: Any) -> None:  # hub or greenlet
        body, attachments = body_of(TextPacket, list(args))
        self._post(node, Kind.ANSWER, wire.Answer(number, body, attachments))

    def _answer(self, node: str, message: wire.Answer) -> None:
        callback = self._shared.asked.callback(message.number)
        if callback is None:
            return
        args = values_in(message.body, message.attachments)
        if isinstance(callback, Waiter):
            callback(*args)
        else:
            self._tasks.spawn_in_turn(self._guard, None, "ack", callback, *args)

    def _lost(self, node: str, message: wire.Lost) -> None:
        self._shared.asked.lost(node, message.number)

    def _post(self, node: str, kind: int, message: wire.Struct) -> None:
        self.bus.post(node, kind, encoded(message))

    # -- who is where ------------------------------------------------------------------------------

    def _joined(self, node: str, message: wire.Joined) -> None:
        rooms = rooms_of(message.rooms)
        self.replica.join(node, message.namespace, message.sid, rooms, relays=message.relays)

    def _left(self, node: str, message: wire.Left) -> None:
        self.replica.leave(node, message.sid, rooms_of(message.rooms))

    def _told(self, node: str, message: wire.Member) -> None:
        ghost = self.replica.ghost(message.sid)
        if ghost is not None:
            self._tell_peers(ghost)

    def _back(self, node: str, message: wire.Member) -> None:
        ghost = self.replica.ghost(message.sid)
        if ghost is not None:
            ghost.told_rooms, ghost.told = set(), set()

    def _tell_of_dead(self, ghosts: list[Ghost]) -> None:  # greenlet
        for number, ghost in enumerate(ghosts):
            if ghost.relays or self._relays.serves_namespace(ghost.namespace):
                self._tell_peers(ghost)
            if number % AT_A_TIME == AT_A_TIME - 1:
                self._tasks.sleep(0)

    def _tell_peers(self, ghost: Ghost) -> None:  # hub or greenlet
        """Sends peer-left to the sockets of this node that share a room with a lost one, once."""
        rooms = [room for room in ghost.rooms if room not in ghost.told_rooms]
        if not rooms:
            return
        ghost.told_rooms.update(rooms)
        inside = self._manager.sids_in(ghost.namespace, rooms)
        those = [sid for sid in inside if sid not in ghost.told]
        ghost.told.update(those)
        if those:
            event, payload = RtcioEvents.PEER_LEFT, {"id": ghost.sid}
            send = partial(self._manager.emit_here, event, payload, ghost.namespace, those)
            if self._manager.late:
                self._tasks.spawn(send)
            else:
                send()

    # -- what is to be done to sockets of this node ------------------------------------------------

    def _enter(self, node: str, message: wire.Enter) -> None:
        room = room_of(message.room)
        self._guarded(self._shared.enter_room, message.sid, message.namespace, room)
        self._post(node, Kind.DONE, wire.Done(message.number))

    def _leave(self, node: str, message: wire.Leave) -> None:
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

    def _close(self, node: str, message: wire.Close) -> None:
        room = room_of(message.room)
        if not self._manager.is_sid_room(message.namespace, room):
            self._manager.basic_close_room(room, message.namespace)

    def _disconnect(self, node: str, message: wire.Member) -> None:
        self._tasks.spawn_in_turn(self._disconnect_here, message.sid, message.namespace)

    def _many(self, node: str, message: wire.Many) -> None:
        rooms = None if message.rooms is None else rooms_of(message.rooms)
        what, named = message.what, rooms_of(message.named)
        given = what, message.namespace, rooms, rooms_of(message.skip), named
        if what in ("join", "leave"):  # at once: what follows may go to these rooms
            try:
                self._do_here(*given)
            except ProtocolError as error:
                self._counters.dropped[error.reason] += 1
            self._post(node, Kind.DONE, wire.Done(message.number))
        elif what in ("disconnect", "close"):
            self._tasks.spawn_in_turn(self._do_here, *given)
        else:
            raise ProtocolError(Drop.CHANNEL)

    def _done(self, node: str, message: wire.Done) -> None:
        self.replica.expected.done(node, message.number)

    # -- questions ---------------------------------------------------------------------------------

    def _ask(self, node: str, message: wire.Ask) -> None:
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
            self._post(node, Kind.REPLY, wire.Reply(message.number, b"", failed=True))
        elif answer is not None:
            self._tasks.spawn_in_turn(self._reply_with, node, message.number, answer, message.body)

    def tell(self, node: str, what: str, about: bytes) -> None:
        """Tells a node something that needs no reply, before anything that is sent to a client."""
        self.bus.post(node, Kind.ASK, encoded(wire.Ask(0, what, about)), now=True)

    def reply(self, node: str, number: int, body: bytes | None) -> None:
        """Answers a question; `None`: there is no answer."""
        self._post(node, Kind.REPLY, wire.Reply(number, body or b"", failed=body is None))

    def _reply_with(
        self, node: str, number: int, answer: Callable[[bytes], bytes], about: bytes
    ) -> None:  # greenlet
        reply = wire.Reply(number, b"", failed=True)
        try:
            reply = wire.Reply(number, answer(about))
        except ProtocolError as error:
            self._counters.dropped[error.reason] += 1
        finally:
            if number:
                self._post(node, Kind.REPLY, reply)

    def _reply(self, node: str, message: wire.Reply) -> None:
        self.questions.replied(node, message.number, None if message.failed else message.body)


def _of_what_can_be_sent(made: wire.Joined) -> bytes:
    """The body; a room that another worker cannot know by its name is left out."""
    made.rooms = [room for room in made.rooms if wire.can_be_sent(room)]
    return encoded(made)


_STRUCTURES: dict[int, Any] = {
    Kind.GOING: wire.Going,
    Kind.FORWARD: wire.Forward,
    Kind.EMIT: wire.Emit,
    Kind.JOINED: wire.Joined,
    Kind.LEFT: wire.Left,
    Kind.TOLD: wire.Member,
    Kind.BACK: wire.Member,
    Kind.ANSWER: wire.Answer,
    Kind.LOST: wire.Lost,
    Kind.ENTER: wire.Enter,
    Kind.LEAVE: wire.Leave,
    Kind.CLOSE: wire.Close,
    Kind.DISCONNECT: wire.Member,
    Kind.MANY: wire.Many,
    Kind.ASK: wire.Ask,
    Kind.REPLY: wire.Reply,
    Kind.DONE: wire.Done,
}


def values_in(body: str, attachments: list[bytes]) -> list[Any]:
    """The values in a body. Raises `ProtocolError` for what is not JSON, or does not match."""
    try:
        found = FastJson.loads(body)
    except (ValueError, RecursionError):
        raise ProtocolError(Drop.CHANNEL) from None
    if not isinstance(found, list) or (
        attachments and not placeholders_fit(found, len(attachments))
    ):
        raise ProtocolError(Drop.CHANNEL)
    made: list[Any] = filled(found, attachments) if attachments else found
    return made
