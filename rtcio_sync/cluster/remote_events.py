"""Events that other nodes send to sockets of this one, and acknowledgements. # hub"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from ..adapter.emit import Pieces, RoomIndex
from ..adapter.server_call import Waiter
from ..errors import ProtocolError
from ..functions import called
from ..parser.packet import FastJson, TextPacket, event_pieces
from ..protocol.envelope import Drop, filled, placeholders_fit
from . import handover_messages, messages
from .handover_messages import Pending
from .messages import Kind, rooms_of
from .ports import Tasks
from .remote_callbacks import Callbacks, RemoteCallback, RemoteWaiter
from .shared_rooms import body_of

__all__ = ["RemoteEvents", "values_in"]


class RemoteEvents:
    """``guard(environ, event, callback, *args)`` calls the app's code.

    ``hidden_from(node)``: the sids that an event of a node is not for. ``asked()``: the callbacks
    of this node.
    """

    def __init__(
        self,
        manager: RoomIndex,
        tasks: Tasks,
        *,
        guard: Callable[..., Any],
        post: Callable[[str, int, messages.Struct], object],
        asked: Callable[[], Callbacks],
        hidden_from: Callable[[str], Collection[str]],
    ) -> None:
        self._manager = manager
        self._tasks = tasks
        self._guard = guard
        self.post = post
        self._asked = asked
        self._hidden_from = hidden_from
        #: How many events wait for a greenlet that delivers them.
        self.waiting = 0

    def emit(self, node: str, message: messages.Emit, only: Collection[str] | None = None) -> None:
        """``only``: to these of the sockets that it is for."""
        message.rooms = None if message.rooms is None else rooms_of(message.rooms)
        message.skip = rooms_of(message.skip)
        if not message.body.startswith("[") or not message.body.endswith("]"):
            raise ProtocolError(Drop.CHANNEL)
        those = self._recipients(node, message, only)
        apart = only is not None
        if self._manager.late:  # encoding runs the app's code
            self.waiting += 1
            self._tasks.spawn(self._deliver_later, node, message, those, apart)
        else:
            self._deliver(node, message, those, apart)

    def _recipients(
        self, node: str, message: messages.Emit, only: Collection[str] | None
    ) -> list[str]:
        """The sockets that it is for, as it comes: later others may have moved here."""
        manager, namespace = self._manager, message.namespace
        if namespace not in manager.members:
            return []
        those = list(manager.sids_in(namespace, message.rooms))
        if message.skip:
            those = manager.without(namespace, those, message.skip)
        if only is not None:
            return [sid for sid in those if sid in only]
        hidden = self._hidden_from(node)
        return [sid for sid in those if sid not in hidden] if hidden else those

    def _deliver_later(
        self, node: str, message: messages.Emit, those: list[str], apart: bool
    ) -> None:  # greenlet
        try:
            self._deliver(node, message, those, apart)
        finally:
            self.waiting -= 1

    def _deliver(
        self, node: str, message: messages.Emit, those: list[str], apart: bool
    ) -> None:  # hub or greenlet
        if message.number is not None:
            self._deliver_with_callback(node, message, those, apart=apart)
        elif message.volatile:
            those = self._manager.ready_among(message.namespace, those)
            self._show(message, those)
            self._manager.send_pieces(message.namespace, those, self.pieces(message, None))
        elif those:
            self._show(message, those)
            encode = partial(self.pieces, message, None)
            self._manager.send_to_several(message.namespace, those, encode)

    def _show(self, message: messages.Emit, those: list[str]) -> None:
        if self._manager.watched:
            arguments = values_in(message.body, message.attachments)
            self._manager.show_watched(message.namespace, those, arguments)

    def _deliver_with_callback(
        self, node: str, message: messages.Emit, those: list[str], *, apart: bool
    ) -> None:
        """``apart``: each socket answers for itself, since another node answers for the rest."""
        assert message.number is not None
        pending = Pending(node, message.number, "", message.waits)
        if message.volatile:
            those = self._manager.ready_among(message.namespace, those)
        self._show(message, those)
        encode = partial(self.pieces, message)
        send = partial(self._manager.send_with_callback, message.namespace)
        if apart:
            for sid in those:
                self.post(node, Kind.PARTED, handover_messages.Parted(message.number, sid))
                send(sid, self.callback_for(pending, sid), encode)
            return
        callback: Callable[..., Any] = (
            RemoteWaiter(self, pending)
            if message.waits
            else RemoteCallback(self, pending, len(those))
        )
        if not those:
            self.post(node, Kind.LOST, messages.Lost(message.number))
        if isinstance(callback, RemoteWaiter):  # all, before the first of them may leave
            callback.asked += those
        for sid in those:
            send(sid, callback, encode)

    def callback_of(self, pending: Any) -> RemoteCallback | RemoteWaiter:
        """The same, of the state of a session. Raises `TypeError` for what is none."""
        found = Pending(*pending)
        return self.callback_for(found, found.of)

    def callback_for(self, pending: Pending, sid: str) -> RemoteCallback | RemoteWaiter:
        """The callback of another node for one socket, which has moved here with it."""
        own = Pending(pending.node, pending.number, sid, pending.waits)
        if not pending.waits:
            return RemoteCallback(self, own)
        waiter = RemoteWaiter(self, own)
        waiter.asked.append(sid)
        return waiter

    def pieces(
        self, message: messages.Emit, number: int | None, offset: str | None = None
    ) -> Pieces:
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

    # -- acknowledgements: hub or greenlet ---------------------------------------------------------

    def send_answer(self, node: str, number: int, args: tuple[Any, ...]) -> bool:
        """As `remote_callbacks.Answers`."""
        try:
            body, attachments = body_of(TextPacket, list(args))
        except (TypeError, ValueError, RecursionError):  # MessagePack has more than JSON
            self._manager.server.counters.dropped[Drop.MALFORMED] += 1
            return False
        self.post(node, Kind.ANSWER, messages.Answer(number, body, attachments))
        return True

    def answer(self, node: str, message: messages.Answer) -> None:
        callback = self._asked().callback(message.number)
        if callback is None:
            return
        args = values_in(message.body, message.attachments)
        if isinstance(callback, Waiter):
            callback(*args)
        else:
            self._tasks.spawn_in_turn(self._guard, None, "ack", called, callback, *args)

    def lost(self, node: str, message: messages.Lost) -> None:
        self._asked().lost(message.of or node, message.number)

    def parted(self, node: str, message: handover_messages.Parted) -> None:
        self._asked().parted(message.number, message.of)


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
