"""What a server does with what its clients send: the app's handlers, in their order.

The half of `server.Server` that the engine and python-socketio call; the other is for people. All
of it runs in greenlets, but where it says hub.

Overridden of ``socketio.Server``, each asserted in ``tests/test_upstream.py``: ``_handle_connect``,
``_handle_disconnect``, ``_handle_event``, ``_handle_event_internal``, ``_handle_ack``,
``_handle_eio_disconnect`` (order, no ghosts, arity), ``_handle_eio_message`` (for those who hand in
messages themselves) and ``_trigger_event`` (signatures read once). Used as they are:
``_get_event_handler``, ``_get_namespace_handler``, ``_send_packet``, ``_send_eio_packet``,
``_handle_eio_connect`` and ``_binary_packet``.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

import socketio
from socketio import packet

from ..adapter.calls import Waiter
from ..adapter.member import Member
from ..adapter.recovery import Recovery
from ..adapter.rooms import RoomIndex, arguments_of
from ..engineio.socket import Socket as Link
from ..events import RESERVED_EVENTS, RtcioEvents
from ..logs import about
from ..metrics import Counters
from ..options import Limits, Options
from ..parser.packet import event_pieces
from ..protocol.envelope import Drop
from ..relay.relay import Passage, Relay
from .acks import UNWANTED, Ack, answering
from .dispatch import NO_CONTEXT, Dispatcher, first_answer, raising
from .handlers import method_of
from .lifecycle import Sessions
from .namespace import Namespace
from .overdue import Overdue
from .receive import Inbound
from .socket import Handshake, Socket

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["Handling"]

log = logging.getLogger(__name__)


class Handling(socketio.Server):
    """The handlers' side of a `Server`."""

    options: Options
    counters: Counters
    dispatcher: Dispatcher
    overdue: Overdue
    sessions: Sessions
    inbound: Inbound
    relay: Relay
    recovery: Recovery | None
    packet_class: Any
    _spaces: dict[str, Namespace]
    _limits: dict[str, Limits]

    # -- what the rest of the house asks -----------------------------------------------------------

    def limits_of(self, namespace: str) -> Limits:
        """The limits that hold in a namespace: its own, or the server's."""
        return self._limits.get(namespace, self.options.limits)

    def _knows(self, namespace: str) -> bool:
        if not namespace.startswith("/"):
            return False
        known: tuple[Any, ...] = (self.handlers, self.namespace_handlers, self._spaces)
        if any(namespace in each for each in known):
            return True
        return self.namespaces == "*" or namespace in self.namespaces

    def _space_with(self, what: str, namespace: str) -> Namespace | None:
        """Whose ``_uses`` or ``_connection`` hold for a namespace: its own, or those of ``"*"``."""
        for name in (namespace, "*"):
            space = self._spaces.get(name)
            if space is not None and getattr(space, what):
                return space
        return None

    def _socket(self, member: Member) -> Socket:
        if member.socket is None:
            environ = self.environ.get(member.eio_sid)
            member.socket = Socket(cast("Server", self), member, Handshake(environ, member.auth))
        return member.socket  # type: ignore[no-any-return]

    def _serve_relays(self, namespace: str) -> None:
        self.relay.namespaces.add(namespace)
        self._observe_all()

    def _observe_all(self) -> None:
        if isinstance(self.manager, RoomIndex):
            for inside in list(self.manager.members.values()):
                for member in list(inside.values()):
                    self._observe(member)

    def _observe(self, member: Member) -> None:
        """Whether something of the app's wants to see this socket's relays first."""
        names = (RtcioEvents.MESSAGE, "*")
        handlers = [self.handlers.get(member.namespace, {}), self.handlers.get("*", {})]
        space = self.namespace_handlers.get(member.namespace, self.namespace_handlers.get("*"))
        member.observed = (
            (member.socket is not None and member.socket._observing)
            or any(name in each for each in handlers for name in names)
            or _catches(space)
            or "_trigger_event" in self.__dict__  # the Admin UI's instrumentation
        )
        self.relay.settle(member)

    def _encode(self, namespace: str, arguments: list[Any]) -> list[Any]:
        return event_pieces(self.packet_class, namespace, arguments)

    def _guarded(
        self, member: Member, event: str, args: tuple[Any, ...], fn: Callable[..., Any], *given: Any
    ) -> Any:
        """Calls ``fn(*given)`` in the context of one event of one socket; never raises."""
        environ = self.environ.get(member.eio_sid)
        who = member.sid, member.namespace
        guarded = self.dispatcher.guarded
        begun = time.perf_counter()
        number = self.overdue.begin(event, member, begun)
        context = self.dispatcher.context(environ, *who, event, args)
        try:
            if context is NO_CONTEXT:
                return guarded(environ, event, fn, *given, who=who)
            inside = partial(guarded, environ, event, fn, *given, who=who)
            return guarded(environ, event, _within, context, inside, who=who)
        finally:
            self.overdue.end(number)
            self.counters.handlers += 1
            self.counters.handler_seconds += time.perf_counter() - begun

    # -- from the engine: greenlet, but where it says hub ------------------------------------------

    def _lost(self, link: Link, reason: str) -> None:
        """A connection is over: peers hear of it now, handlers when their turn comes. # hub"""
        members = self.manager.members_of(link.sid)
        for member in members:
            self.sessions.leaving(member, reason)
        direct = link.inbox is None and self.eio.async_mode != "threading"
        if direct and not any(map(self._hears_of_ends, members)):
            self._handle_eio_disconnect(link.sid, reason)  # no code of the app's: no greenlet
        else:
            link.enqueue(("lost", reason))

    def _hears_of_ends(self, member: Member) -> bool:
        """Whether something of the app's runs when this socket leaves."""
        if member.socket is not None or self.inbound.late or "_trigger_event" in self.__dict__:
            return True
        if self.eio.handlers.get("disconnect") != self._handle_eio_disconnect:
            return True  # the Admin UI's instrumentation
        if self.options.async_handlers:
            return True  # a handler that was spawned a moment ago may still be about to run
        for namespace in (member.namespace, "*"):
            handlers = self.handlers.get(namespace, ())
            if "disconnect" in handlers or "disconnecting" in handlers:
                return True
            if namespace in self.namespace_handlers:
                return True
        return not self._is_plain

    @cached_property
    def _is_plain(self) -> bool:
        """Whether what ends a socket is ours or python-socketio's, and overridden by no app."""
        own, manager = type(self), type(self.manager)
        ends = (own._trigger_event, own._handle_eio_disconnect, manager.disconnect)
        return all(each.__module__.startswith(("rtcio_sync.", "socketio.")) for each in ends)

    def _acknowledged(self, link: Link, namespace: str, id: int, data: list[Any]) -> None:
        """An acknowledgement queues behind nothing: `call` may wait for it in a handler. # hub"""
        member = self.manager.member_of(link.sid, namespace)
        callback = self.manager.take_callback(member.sid, id) if member is not None else None
        if isinstance(callback, Waiter):
            callback(*data)
        elif callback is not None:
            link.aside(self._guarded, member, "ack", tuple(data), callback, *data)

    def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        # The engine's messages go another way: whoever calls this hands one in himself, and gets
        # what a handler raises.
        with raising():
            super()._handle_eio_message(eio_sid, data)

    def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        for member in self.manager.members_of(eio_sid):
            self.sessions.disconnect(member, reason)
        self._binary_packet.pop(eio_sid, None)
        self.environ.pop(eio_sid, None)

    def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        self.sessions.connect(eio_sid, namespace or "/", data)

    def _handle_disconnect(
        self, eio_sid: str, namespace: str | None, reason: str | None = None
    ) -> None:
        member = self.manager.member_of(eio_sid, namespace or "/")
        if member is not None:
            self.sessions.disconnect(member, reason or "client namespace disconnect")

    def _handle_ack(self, eio_sid: str, namespace: str | None, id: int, data: list[Any]) -> None:
        member = self.manager.member_of(eio_sid, namespace or "/")
        if member is not None:
            answer = self.manager.trigger_callback
            self._guarded(member, "ack", tuple(data), answer, member.sid, id, data)

    def _handle_event(
        self, eio_sid: str, namespace: str | None, id: int | None, data: list[Any]
    ) -> None:
        namespace = namespace or "/"
        member = self.manager.member_of(eio_sid, namespace)
        if member is None:
            event = data[0] if data else None
            self.relay.drop(
                Drop.NOT_CONNECTED, connection=eio_sid, namespace=namespace, event=event
            )
        elif not isinstance(data[0], str) or data[0] in RESERVED_EVENTS:
            self.relay.drop(Drop.RESERVED_EVENT, member, event=data[0])
        elif data[0] == RtcioEvents.MESSAGE and self.relay.serves(member):
            payload = data[1] if len(data) > 1 else None
            self._handle_relay(member, Passage(payload, None, []), None, data)
        elif self.options.async_handlers and self.async_handlers:
            given = (self, member.sid, eio_sid, data, namespace, id)
            if member.link is None:
                self.start_background_task(self._handle_event_internal, *given)
            else:
                internal = self._handle_event_internal
                self.start_background_task(member.link.beside, internal, *given)
        else:
            self._handle_event_internal(self, member.sid, eio_sid, data, namespace, id)

    def _handle_event_internal(
        self, server: Any, sid: str, eio_sid: str, data: list[Any], namespace: str, id: int | None
    ) -> None:
        member = self.manager.member(sid, namespace)
        if member is None:
            return
        event, args = data[0], tuple(data[1:])
        ack = UNWANTED if id is None else Ack(self, member, id)
        token = answering.set(ack)
        try:
            answers = self._guarded(member, event, args, self._answers, member, event, args)
        finally:
            answering.reset(token)
            ack.late = id is not None
        if answers and id is not None and not ack.taken:
            # Guarded too: what a handler returns may be nothing that can be encoded.
            answer = first_answer(answers)
            self._guarded(member, event, args, self._send_ack, member, id, answer)

    def _send_ack(self, member: Member, id: int, answer: Any) -> None:
        pkt = self.packet_class(
            packet.ACK, namespace=member.namespace, id=id, data=arguments_of(answer)
        )
        self._send_packet(member.eio_sid, pkt)

    def _answers(
        self, member: Member, event: str, args: tuple[Any, ...], *, passed: bool = False
    ) -> list[Any]:
        """Runs both idioms' handlers of one event: what each returned that did not raise.

        ``passed``: the socket's middlewares have run already.
        """
        socket: Socket | None = member.socket
        if socket is not None and not passed:
            changed = self._passes(socket, event, args)
            if changed is None:
                return []
            args = changed
        environ = self.environ.get(member.eio_sid)
        sid, namespace = who = member.sid, member.namespace
        said = self.dispatcher.answers(
            environ, event, self._trigger_event, event, namespace, sid, *args, who=who
        )
        answers = [each for each in said if each is not self.not_handled]
        return answers if socket is None else answers + socket._receive(event, args)

    def _passes(self, socket: Socket, event: str, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The arguments as the socket's middlewares leave them; `None`: one dropped the event."""
        try:
            return socket._pass(event, args)
        except BaseException as error:  # raising is how a middleware of the app's drops an event
            if not isinstance(error, Exception):
                environ, who = socket.handshake.environ, (socket.id, socket.namespace)
                self.dispatcher.failed(error, environ, event, who)
            fields = about(sid=socket.id, event=event)
            said = "an event of %(rtcio_sid)s was dropped by socket.use: '%(rtcio_event)s'"
            log.debug(said, fields, exc_info=True, extra=fields)
            self.relay.drop(Drop.MIDDLEWARE, socket._member, event=event)
            return None

    def _handle_relay(
        self, member: Member, passage: Passage, pkt: Any, data: list[Any] | None = None
    ) -> None:
        """A relay on the ordinary way: the app's middlewares, the relay, the app's handlers."""
        arguments = data if data is not None else pkt.data
        event, args = arguments[0], tuple(arguments[1:])

        def go() -> None:
            given, sent = args, passage
            if member.socket is not None and member.socket._uses:
                before = copy.deepcopy(args)
                passed = self._passes(member.socket, event, args)
                if passed is None:
                    return
                if passed != before:
                    # Sent on as it is now, under the same rules; else with the characters it had.
                    sent = Passage(passed[0] if passed else None, None, [])
                given = passed
            self.relay.forward(member, sent)
            self._answers(member, event, given, passed=True)

        if member.observed:
            self._guarded(member, event, args, go)
        else:
            self.relay.forward(member, passage)

    def _trigger_event(self, event: str, namespace: str, *args: Any) -> Any:
        """python-socketio's half of an event, each handler with the arguments it declares."""
        handler, fitted = self._get_event_handler(event, namespace, args)
        if handler:
            callee = self.dispatcher.callee(handler)
            if event == "disconnect" and callee.takes_nothing:
                # Flask-SocketIO's wrapper hands the reason on to handlers that never knew one, and
                # counts on python-socketio's second call, without it.
                fitted = fitted[:-1]
            return callee(*fitted)
        space, fitted = self._get_namespace_handler(namespace, args)
        if space is None:
            return self.not_handled
        if type(space).trigger_event is not socketio.Namespace.trigger_event:
            return space.trigger_event(event, *fitted)
        method = method_of(space, event)
        return self.not_handled if method is None else self.dispatcher.callee(method)(*fitted)


def _within(context: AbstractContextManager[Any], fn: Callable[[], Any]) -> Any:
    with context:
        return fn()


def _catches(space: Any) -> bool:
    if space is None:
        return False
    overridden = type(space).trigger_event is not socketio.Namespace.trigger_event
    return overridden or method_of(space, RtcioEvents.MESSAGE) is not None
