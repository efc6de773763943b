"""What other processes ask of this one: its sockets, and the handlers of server-side events."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from socketio import exceptions

from ..adapter.emit import RoomIndex
from ..cluster import messages
from ..cluster.remote_events import values_in
from ..cluster.shared_rooms import SharedRooms, body_of
from ..errors import OptionError
from ..parser.packet import TextPacket
from .emit_with_ack import check_wait
from .handler_call import Callee, Dispatcher, first_answer
from .ports import Host
from .socket import BroadcastOperator

__all__ = ["ServerSide", "describe", "do_here"]

Fn = TypeVar("Fn", bound=Callable[..., Any])


def do_here(
    server: Host,
    what: str,
    namespace: str,
    rooms: list[Any] | None,
    skip: list[Any],
    named: Any,
    attempt: Callable[..., None] | None = None,
) -> None:
    """As `BroadcastOperator.do_here`."""
    where = None if rooms is None else tuple(rooms)
    BroadcastOperator(server, namespace, where, tuple(skip)).do_here(what, named, attempt)


def describe(server: Host, body: bytes) -> bytes:
    """The sockets of this process, for one that fetches them. # greenlet"""
    which = messages.decoded(messages.Which, body)
    where = None if which.rooms is None else tuple(messages.rooms_of(which.rooms))
    out = tuple(messages.rooms_of(which.skip))
    found = []
    for socket in BroadcastOperator(server, which.namespace, where, out).sockets_here():
        handshake = socket.handshake
        texts = {key: each for key, each in handshake.environ.items() if type(each) is str}
        rooms = [each for each in socket.rooms if each != socket.id]
        given = socket.id, rooms, socket.data, texts, handshake.auth, handshake.issued
        found.append(messages.Described(*given))
    return messages.sockets_sent(found)


class ServerSide:
    """The server-side events of one server: handlers here, calls there."""

    #: The name of the question to other processes.
    WHAT = "event"

    def __init__(self, manager: RoomIndex, dispatcher: Dispatcher) -> None:
        self._manager = manager
        self._dispatcher = dispatcher
        self._handlers: dict[tuple[str, str], list[Callee]] = {}

    def on(self, namespace: str, event: str, fn: Fn) -> Fn:
        self._handlers.setdefault((namespace, event), []).append(Callee(fn))
        return fn

    def emit(self, namespace: str, event: str, args: tuple[Any, ...]) -> None:
        manager = self._manager
        body = self._encoded(namespace, event, args)  # also alone: its errors show before it is not
        if isinstance(manager, SharedRooms):
            manager.tell(self.WHAT, body)

    def call(self, namespace: str, event: str, args: tuple[Any, ...], timeout: float) -> list[Any]:
        """Raises `socketio.exceptions.TimeoutError` if a process does not answer in time."""
        check_wait(timeout)
        manager = self._manager
        body = self._encoded(namespace, event, args)
        if not isinstance(manager, SharedRooms):
            return []
        nodes = list(manager.bus.nodes)
        replies = manager.ask(nodes, self.WHAT, body, timeout)
        silent = [each for each in nodes if each in manager.bus.nodes and each not in replies]
        if silent:
            raise exceptions.TimeoutError(
                f"{len(silent)} of {len(nodes)} workers did not answer {event!r} in {timeout:g} s"
            )
        return [self._answer_in(body) for body in replies.values() if body is not None]

    def answer(self, body: bytes) -> bytes:
        """Runs the handlers of an event of another process. # greenlet"""
        message = messages.decoded(messages.Event, body)
        args = values_in(message.body, message.attachments)
        answers: list[Any] = []
        for callee in tuple(self._handlers.get((message.namespace, message.event), ())):
            answers += self._dispatcher.answers(None, message.event, callee, *args)
        # A result that cannot be sent is the handler's error, as for a client's event.
        encode, answer = partial(body_of, TextPacket), first_answer(answers)
        sent = self._dispatcher.answers(None, message.event, encode, [answer])
        made, attachments = sent[0] if sent else body_of(TextPacket, [None])
        return messages.encoded(messages.Answer(0, made, attachments))

    @staticmethod
    def _encoded(namespace: str, event: str, args: tuple[Any, ...]) -> bytes:
        if not isinstance(event, str):
            raise OptionError(f"an event's name is a string, not {type(event).__name__}")
        try:
            body, attachments = body_of(TextPacket, list(args))
        except (TypeError, ValueError):
            body_of(TextPacket, [event, *args])  # its error names the event
            raise
        return messages.encoded(messages.Event(namespace, event, body, attachments))

    @staticmethod
    def _answer_in(body: bytes) -> Any:
        message = messages.decoded(messages.Answer, body)
        (answer,) = values_in(message.body, message.attachments)
        return answer
