"""A manager whose sockets and rooms are those of all nodes. # hub or greenlet

`SharedRooms` replaces the class of a `RoomIndex` when the first other node appears (`share`): a
server that is alone runs none of this. What it asks of other nodes is done there by `exchange`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from types import MethodType
from typing import Any, Protocol

from ..adapter.callbacks import MAX_CALLBACKS
from ..adapter.emit import RoomIndex, arguments_of, polite
from ..adapter.member import Member
from ..adapter.recipients import recipients, rooms_in, skipped
from ..adapter.server_call import Waiter
from ..engineio import ids
from ..hub.thread import refuse_in_hub
from ..parser.packet import TextPacket, event_pieces
from . import messages
from .id_owners import Heirs
from .messages import Kind, encoded
from .ports import Bus
from .remote_callbacks import Callbacks, Questions
from .remote_rooms import Replica

__all__ = ["SharedRooms", "body_of", "share"]

ANSWER_WITHIN = 5.0  # seconds that another node may take to answer a question


class Others(Protocol):
    """The other nodes, and what this one knows of them: `exchange.Exchange`."""

    @property
    def bus(self) -> Bus: ...

    @property
    def replica(self) -> Replica: ...

    @property
    def questions(self) -> Questions: ...

    @property
    def heirs(self) -> Heirs: ...

    def send(
        self, node: str, kind: int, body: bytes, key: bytes = b"", *, now: bool = False
    ) -> bool:
        """As `Bus.post`, for members."""


class SharedRooms(RoomIndex):
    """The rooms of all nodes."""

    bus: Bus
    replica: Replica
    asked: Callbacks
    questions: Questions
    heirs: Heirs
    send: Callable[..., bool]

    # -- where somebody is -----------------------------------------------------------------------

    def node_of(self, sid: Any) -> str | None:
        """Where to send what is for a sid of another node; `None`: it is none of another node."""
        if isinstance(sid, str) and len(sid) == ids.SID:
            return self.heirs.holder(sid)
        return None

    def is_elsewhere(self, sid: Any) -> bool:
        return self.node_of(sid) is not None

    def nodes_of(self, namespace: str, rooms: Any) -> list[str]:
        """Where to send what is for sockets of other nodes in ``rooms``, as of `recipients`.

        Raises `OptionError` for a room that no other node can know, so that nobody is in it.
        """
        nodes = self.heirs.nodes
        if rooms is None:
            return [each for each in self.bus.nodes if nodes.get(each) == each]
        found: dict[str, None] = {}
        for room in [rooms] if type(rooms) is str else rooms_in(rooms):
            if type(room) is not str and self.bus.nodes:
                messages.check_room(room)
            node = self.node_of(room)
            if node is None:
                for each in self.replica.nodes_in(namespace, room):
                    found[nodes.get(each, each)] = None
            elif self.member(room, namespace) is None:
                found[node] = None
        return [each for each in found if each in self.bus.nodes]

    def holders_of(self, namespace: str, rooms: Any) -> list[str]:
        """The other nodes that may have them: those that leave still have some."""
        found: dict[str, None] = {}
        for node in self.nodes_of(namespace, rooms):
            found[node] = None
            found.update(dict.fromkeys(self.heirs.sources(node)))
        return list(found)

    def is_sid_room(self, namespace: str, room: Any) -> bool:
        return super().is_sid_room(namespace, room) or self.node_of(room) is not None

    def get_rooms(self, sid: str, namespace: str) -> list[Any]:
        if self.node_of(sid) is not None and self.member(sid, namespace) is None:
            rooms = self.replica.rooms_of(sid)
            return [sid, *rooms] if rooms else []
        return super().get_rooms(sid, namespace)

    def count_rooms(self, nodes: Collection[str]) -> int:
        """How many rooms have members here, or at any of these other nodes."""
        here = {
            (namespace, room)
            for namespace, rooms in self.rooms.items()
            for room in rooms
            if room is not None
        }
        return len(here | self.replica.places(nodes))

    def _post(
        self, nodes: Iterable[str], kind: int, message: messages.Struct, *, now: bool
    ) -> None:
        """To nodes, about this one's members."""
        nodes = list(nodes)
        if not nodes:  # all others have died, or nobody is concerned
            return
        body = encoded(message)
        for node in nodes:
            self.bus.post(node, kind, body, now=now)

    def _send(
        self, nodes: Iterable[str], kind: int, message: messages.Struct, *, sid: str = "", now: bool
    ) -> None:
        """To members of other nodes; ``sid``: to that one alone."""
        nodes = list(nodes)
        if not nodes:
            return
        body, key = encoded(message), sid.encode()
        for node in nodes:
            self.send(node, kind, body, key, now=now)

    # -- events ------------------------------------------------------------------------------------

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
        """As `RoomIndex.emit`, to the sockets of all nodes. ``ignore_queue``: of this one alone."""
        rooms = recipients(to, room)
        if not kwargs.get("ignore_queue"):
            nodes = self.nodes_of(namespace, rooms)
            if nodes:
                arguments = [event, *arguments_of(data)]
                skip, volatile = skipped(skip_sid), bool(kwargs.get("volatile"))
                self._emit_elsewhere(nodes, namespace, rooms, skip, arguments, callback, volatile)
        super().emit(event, data, namespace, rooms, skip_sid, callback, **kwargs)

    def _emit_elsewhere(
        self,
        nodes: list[str],
        namespace: str,
        rooms: Any,
        skip: list[Any],
        arguments: list[Any],
        callback: Callable[..., Any] | None,
        volatile: bool,
    ) -> None:
        if callback is None:
            polite(arguments, self.recovery)
        body, attachments = body_of(self.server.packet_class, arguments)
        where = None if rooms is None else rooms_in(rooms)
        number = None
        if callback is not None:
            sources = [each for node in nodes for each in self.heirs.sources(node)]
            number = self.asked.ask(callback, [*nodes, *sources])
        waits = isinstance(callback, Waiter)
        made = messages.Emit(namespace, where, skip, body, attachments, number, waits, volatile)
        unsent = set(nodes)
        try:
            message = encoded(made)
            for node in nodes:
                if self.send(node, Kind.EMIT, message):
                    unsent.discard(node)
        finally:  # it may be too long, or a room may be none that can be sent
            if number is not None:
                for node in unsent:
                    self.asked.lost(node, number)

    def announce(
        self,
        event: str,
        payload: Any,
        namespace: str,
        rooms: list[Any],
        told: set[str],
        told_rooms: set[Any],
    ) -> set[str]:
        """Each node knows the rooms of the socket, and whom it has told before."""
        sid: str = payload["id"]
        self._post(self.bus.nodes, Kind.TOLD, messages.Member(namespace, sid), now=True)
        return super().announce(event, payload, namespace, rooms, told, told_rooms)

    def nobody_answers(self, room: Any, namespace: str) -> bool:
        if self.nodes_of(namespace, room):
            return False
        return super().nobody_answers(room, namespace)

    def forget(self, waiter: Waiter, room: Any) -> None:
        self.asked.forget(waiter)
        super().forget(waiter, room)

    def publish_relay(self, message: dict[str, Any], done: Callable[[], None]) -> bool:
        target = message["target"]
        node = self.node_of(target)
        if node is None:
            return False
        made = messages.Forward(
            message["namespace"], target, message["rooms"], message["raw"], message["attachments"]
        )
        if self.send(node, Kind.FORWARD, encoded(made), target.encode()):
            done()
        return True

    # -- rooms -------------------------------------------------------------------------------------

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: Any = None) -> None:
        member = self.member(sid, namespace)
        before = len(member.rooms or ()) if member is not None else 0
        body = b""
        if member is not None and not member.departed and self.bus.nodes:
            messages.check_plain(room)  # before anything is changed
            body = encoded(messages.Joined(namespace, sid, [room], member.relays))
        super().basic_enter_room(sid, namespace, room, eio_sid)
        if body and member is not None and len(member.rooms or ()) > before:
            for node in list(self.bus.nodes):
                self.bus.post(node, Kind.JOINED, body, now=True)

    def _left(self, member: Member, room: Any) -> None:
        super()._left(member, room)
        self._tell_left(member, [room])

    def _left_all(self, member: Member, rooms: list[Any]) -> None:
        for room in rooms:
            super()._left(member, room)
        if rooms:
            self._tell_left(member, rooms)

    def _tell_left(self, member: Member, rooms: list[Any]) -> None:
        message = messages.Left(member.namespace, member.sid, rooms)
        self._post(self.bus.nodes, Kind.LEFT, message, now=True)

    def move(self, member: Member, eio_sid: str) -> None:
        super().move(member, eio_sid)
        self._post(
            self.bus.nodes, Kind.BACK, messages.Member(member.namespace, member.sid), now=True
        )

    def enter_room(self, sid: str, namespace: str, room: Any, eio_sid: Any = None) -> None:
        node = self.node_of(sid)
        if node is None or self.member(sid, namespace) is not None:
            super().enter_room(sid, namespace, room, eio_sid=eio_sid)
        else:
            self._check_names(namespace, [sid], [room])
            number = self.replica.expected.begin([node], namespace, [room])
            enter = messages.Enter(namespace, sid, room, number)
            self._send([node], Kind.ENTER, enter, sid=sid, now=True)

    def _check_names(self, namespace: str, inside: list[Any] | None, named: Iterable[Any]) -> None:
        """Raises what the nodes of sockets would refuse by its name: nobody hears of it there.

        A socket may enter its own room. How many rooms it is in, only its node knows.
        """
        for room in named:
            messages.check_room(room)
            if inside != [room]:
                self._may_enter(Member("", "", namespace), room)

    def leave_room(self, sid: str, namespace: str, room: Any) -> None:
        node = self.node_of(sid)
        if node is None or self.member(sid, namespace) is not None:
            super().leave_room(sid, namespace, room)
        else:
            self._send([node], Kind.LEAVE, messages.Leave(namespace, sid, room), sid=sid, now=True)

    def close_room(self, room: Any, namespace: str) -> None:
        if type(room) is not str and self.bus.nodes:
            messages.check_room(room)
        super().close_room(room, namespace)
        holders = self.heirs.nodes
        inside = {holders.get(each, each) for each in self.replica.nodes_in(namespace, room)}
        self._send(inside, Kind.CLOSE, messages.Close(namespace, room), now=True)

    def can_disconnect(self, sid: str, namespace: str) -> bool:
        """Whether this node has to disconnect it; one of another node is disconnected there."""
        node = self.node_of(sid)
        if node is None or self.member(sid, namespace) is not None:
            return self.is_connected(sid, namespace)
        self._send([node], Kind.DISCONNECT, messages.Member(namespace, sid), sid=sid, now=True)
        return False

    # -- several sockets ---------------------------------------------------------------------------

    def elsewhere(
        self, what: str, namespace: str, rooms: Any, skip: list[Any], *named: Any
    ) -> None:
        nodes = self.nodes_of(namespace, recipients(rooms))
        where = None if rooms is None else rooms_in(rooms)
        expected = self.replica.expected
        if what == "join" and nodes:
            self._check_names(namespace, where, named)
        number = expected.begin(nodes, namespace, named) if what == "join" else 0
        message = messages.Many(namespace, where, list(skip), what, list(named), number)
        self._send(nodes, Kind.MANY, message, now=True)

    def fetch_elsewhere(
        self, namespace: str, rooms: Any, skip: list[Any]
    ) -> list[messages.Described]:
        nodes = self.holders_of(namespace, recipients(rooms))
        where = None if rooms is None else rooms_in(rooms)
        about = encoded(messages.Which(namespace, where, list(skip)))
        replies = self.ask(nodes, "sockets", about)
        found = [each for body in replies.values() if body for each in messages.sockets_in(body)]
        return list({each.sid: each for each in found}.values())

    def ask_about(self, sid: str, what: str, about: bytes) -> bytes | None:
        """Asks the node of a socket something about it, and waits for the reply. # greenlet"""
        node = self.node_of(sid)
        if node is None:
            return None

        def send(node: str, number: int) -> bool:
            body = encoded(messages.Ask(number, what, about))
            return self.send(node, Kind.ASK, body, sid.encode(), now=True)

        replies = self.questions.ask([node], send, ANSWER_WITHIN, any_node=True)
        return next(iter(replies.values()), None)

    def ask(
        self, nodes: Iterable[str], what: str, about: bytes, seconds: float = ANSWER_WITHIN
    ) -> dict[str, bytes | None]:
        """Asks other nodes, and waits for their replies. # greenlet"""

        refuse_in_hub()
        return self.questions.wait(self.begin_to_ask(nodes, what, about), seconds)

    def begin_to_ask(self, nodes: Iterable[str], what: str, about: bytes) -> int:
        """Asks other nodes; `Questions.wait` waits for the replies. # hub or greenlet"""

        def send(node: str, number: int) -> bool:
            return self.bus.post(
                node, Kind.ASK, encoded(messages.Ask(number, what, about)), now=True
            )

        return self.questions.begin(nodes, send)

    def tell(self, what: str, about: bytes) -> None:
        """Tells all other nodes something that needs no reply."""
        self._post(self.bus.nodes, Kind.ASK, messages.Ask(0, what, about), now=False)


def body_of(kind: Any, arguments: list[Any]) -> tuple[str, list[bytes]]:
    """The JSON of an event's name and arguments, and its attachments.

    ``kind``: the server's packet class. Raises `TypeError` and `ValueError` as it does.
    """
    textual = isinstance(kind, type) and issubclass(kind, TextPacket)
    first, *rest = event_pieces(kind if textual else TextPacket, "/", arguments)
    text = str(first)
    return text[text.index("[") :], [bytes(each) for each in rest]  # type: ignore[arg-type]


def share(manager: RoomIndex, others: Others) -> SharedRooms:
    """Makes ``manager`` one of all nodes."""
    if isinstance(manager, SharedRooms):
        return manager
    _bind_anew(manager)
    assert isinstance(manager, SharedRooms)
    counters = manager.server.counters

    def forgot() -> None:
        counters.dropped["unanswered"] += 1

    manager.bus, manager.replica, manager.questions = others.bus, others.replica, others.questions
    manager.heirs, manager.send = others.heirs, others.send
    manager.asked = Callbacks(MAX_CALLBACKS, forgot)
    return manager


def _bind_anew(manager: RoomIndex) -> None:
    """Changes the class, also of the methods that are kept as attributes of the manager.

    python-socketio's Admin UI keeps those that it wraps there, as they were.
    """
    manager.__class__ = SharedRooms
    for name, kept in list(vars(manager).items()):
        if isinstance(kept, MethodType) and kept.__self__ is manager:
            setattr(manager, name, getattr(type(manager), kept.__name__).__get__(manager))
