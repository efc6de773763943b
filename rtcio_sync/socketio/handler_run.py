"""Runs the app's handlers: one guard and one context for each event. # greenlet

The handlers of both idioms run for each event: python-socketio's ``fn(sid, …)`` first, then those
of the `Socket`. An exception ends only the handler that raised it.
"""

from __future__ import annotations

import copy
import logging
import marshal
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from time import perf_counter
from typing import Any

from ..adapter.drops import Drops
from ..adapter.emit import RoomIndex
from ..adapter.member import Member, Stage
from ..events import RtcioEvents
from ..functions import UnrunError
from ..logs import about
from ..metrics import Counters
from ..protocol.envelope import Drop
from ..relay.relay import Passage, Relay
from .deferred_ack import UNWANTED, Ack, answering
from .handler_call import NO_CONTEXT, Dispatcher, Who
from .handler_registry import Registry
from .overdue_handlers import Overdue
from .ports import Engine, Upstream
from .socket import Socket
from .socket_handlers import CHANGING

__all__ = ["Handling"]

log = logging.getLogger(__name__)

#: What nobody raises to drop an event: a middleware of events that ends so has a fault.
_FAULTS = (NameError, AttributeError, TypeError, ImportError, NotImplementedError)

_DROPPED = "an event of %(rtcio_sid)s was dropped by socket.use: '%(rtcio_event)s'"


class Handling:
    """Runs the app's handlers of one server."""

    def __init__(
        self,
        upstream: Upstream,
        engine: Engine,
        manager: RoomIndex,
        *,
        registry: Registry,
        dispatcher: Dispatcher,
        overdue: Overdue,
        relay: Relay,
        drop: Drops,
        counters: Counters,
        async_handlers: bool,
    ) -> None:
        self._upstream = upstream
        self._engine = engine
        self._manager = manager
        self._registry = registry
        self._dispatcher = dispatcher
        self._overdue = overdue
        self._relay = relay
        self._drop = drop
        self._counters = counters
        self.async_handlers = async_handlers

    # -- which handlers have to run: any thread --------------------------------------------------

    def observe(self, member: Member) -> None:
        """Sets whether handlers of the app have to see this socket's relays first."""
        with self._engine.gate:  # or what a thread has looked up before could be written last
            member.observed = (
                (member.socket is not None and member.socket.handlers.observing)
                or self._registry.sees_relays(member.namespace)
                or self._instrumented
            )
            self._relay.settle(member)

    def watch(self, member: Member) -> None:
        """Sets whether handlers of the app have to see what is sent to this socket."""
        with self._engine.gate:  # as in `observe`
            socket: Socket | None = member.socket
            self._manager.watch(member, on=socket is not None and bool(socket.handlers.outgoing))

    def observe_all(self) -> None:
        """Calls `observe` for each socket, after a handler for all sockets was registered."""
        if isinstance(self._manager, RoomIndex):
            for inside in list(self._manager.members.values()):
                for member in list(inside.values()):
                    self.observe(member)

    def serve_relays(self, namespace: str, *, while_open: bool = False) -> None:
        """Gives the sockets of a namespace the default listeners; ``while_open``: `Relay.serve`."""
        self._relay.serve(namespace, while_open=while_open)
        self.observe_all()

    def hears_of_end(self, member: Member) -> bool:
        """Whether code of the app runs when this socket leaves."""
        if member.socket is not None or self._manager.late:
            return True
        if self._instrumented:
            return True
        if self._engine.handlers.get("disconnect") != self._upstream._handle_eio_disconnect:
            return True  # the Admin UI's instrumentation
        if self.async_handlers:
            return True  # a handler that was spawned a moment ago may still be about to run
        return self._registry.hears_of_ends(member.namespace) or not self._is_plain

    @property
    def spawns_events(self) -> bool:
        """Whether each event runs in its own greenlet; those of test clients never do."""
        return self.async_handlers and self._upstream.async_handlers

    @property
    def _instrumented(self) -> bool:
        return "_trigger_event" in vars(self._upstream)  # the Admin UI's instrumentation

    @cached_property
    def _is_plain(self) -> bool:
        """Whether the methods that end a socket are ours or python-socketio's, not an app's."""
        own: Any = type(self._upstream)
        ends = (own._trigger_event, own._handle_eio_disconnect, type(self._manager).disconnect)
        return all(each.__module__.startswith(("rtcio_sync.", "socketio.")) for each in ends)

    # -- the guard and the context ---------------------------------------------------------------

    def guarded(
        self, member: Member, event: str, args: tuple[Any, ...], fn: Callable[..., Any], *given: Any
    ) -> Any:
        """Calls ``fn(*given)`` in the context of one event of one socket; returns its result.

        An exception is counted and logged, and the result is `None`.
        """
        environ = self._upstream.environ.get(member.eio_sid)
        sid, namespace = member.sid, member.namespace
        begun = perf_counter()
        number = self._overdue.begin(event, member, begun)
        try:
            context = self._dispatcher.context(environ, sid, namespace, event, args)
            if context is NO_CONTEXT:
                return fn(*given)
            return self._within(context, environ, event, (sid, namespace), fn, given)
        except BaseException as error:  # noqa: BLE001  (the app's may raise anything)
            self._dispatcher.failed(error, environ, event, (sid, namespace))
            return None
        finally:
            self._overdue.end(number)
            counters = self._counters
            counters.handlers += 1
            seconds = perf_counter() - begun
            counters.handler_seconds += seconds

    def _within(
        self,
        context: AbstractContextManager[Any],
        environ: Any,
        event: str,
        who: Who,
        fn: Callable[..., Any],
        given: tuple[Any, ...],
    ) -> Any:
        with context:
            try:
                return fn(*given)
            except BaseException as error:  # noqa: BLE001  (logged while the app's context is there)
                self._dispatcher.failed(error, environ, event, who)
                return None

    # -- an event --------------------------------------------------------------------------------

    def event(self, member: Member, number: int | None, data: list[Any]) -> None:
        """Runs the handlers of one event; their result is the acknowledgement.

        ``number``: the acknowledgement's id; `None`: the client asked for none. ``data``: the name
        of the event and its arguments.
        """
        event, args, returns = data[0], tuple(data[1:]), member.returns
        if number is None:
            ack = UNWANTED
        else:
            ack = Ack(self._engine.hub_thread, self._manager.send_ack, member, number)
        token = answering.set(ack)
        try:
            answers = self.guarded(member, event, args, self._answers, member, event, args)
        finally:
            answering.reset(token)
            if number is not None:
                ack.late = True
        # The number is valid on one connection only, and with `async_handlers` it may be another.
        if answers and number is not None and not ack.taken and member.returns == returns:
            found = None
            for answer in answers:  # the first that is not `None`
                if answer is not None:
                    found = answer
                    break
            try:
                self._manager.send_ack(member, number, found)
            except BaseException as error:  # noqa: BLE001  (a result that cannot be encoded)
                self._answer_instead(error, member, number, event)

    def _answer_instead(
        self, error: BaseException, member: Member, number: int, event: str
    ) -> None:
        """Sends what the app's `on_error` gives for a result that cannot be sent, if it has one."""
        for answer in self._failed(error, member, event):
            try:
                self._manager.send_ack(member, number, answer)
            except BaseException as another:  # noqa: BLE001  (it cannot be encoded either)
                self._failed(another, member, event)

    def _answers(
        self, member: Member, event: str, args: tuple[Any, ...], *, passed: bool = False
    ) -> list[Any]:
        """Runs the handlers of both idioms; returns the results of those that did not raise.

        ``passed``: whether the socket's middlewares have run already.
        """
        socket: Socket | None = member.socket
        upstream = self._upstream
        if socket is not None and socket.handlers.uses and not passed:
            changed = self._passed(member, socket, event, args)
            if changed is None:
                return []
            args = changed
        answers: list[Any] = []
        try:
            answer = upstream._trigger_event(event, member.namespace, member.sid, *args)
            if answer is not upstream.not_handled:
                answers.append(answer)
        except BaseException as error:  # noqa: BLE001  (the app's may raise anything)
            answers += self._failed(error, member, event)
        if socket is not None:
            gone = member.stage is Stage.GONE
            for callee in socket.handlers.any:
                try:
                    callee(event, *args)
                except BaseException as error:  # noqa: BLE001  (the app's may raise anything)
                    answers += self._failed(error, member, event)
            if gone or member.stage is not Stage.GONE:  # else one of them has disconnected it
                self._on_socket(member, socket, event, args, answers)
        return answers

    def _failed(self, error: BaseException, member: Member, event: str) -> list[Any]:
        """As `Dispatcher.failed`."""
        environ = self._upstream.environ.get(member.eio_sid)
        return self._dispatcher.failed(error, environ, event, (member.sid, member.namespace))

    def _on_socket(
        self, member: Member, socket: Socket, event: str, args: tuple[Any, ...], answers: list[Any]
    ) -> None:
        """Runs the handlers of the `Socket`, and adds their results to ``answers``."""
        listeners = socket.handlers.events.get(event)
        if not listeners:
            return
        for _, once in listeners:
            if once:
                with CHANGING:  # with `async_handlers` another thread may have run them
                    listeners = socket.handlers.events.get(event, ())
                    socket.handlers.forget_once(event)
                self.observe(member)
                break
        for callee, _ in listeners:
            try:
                answers.append(callee(*args))
            except BaseException as error:  # noqa: BLE001  (the app's may raise anything)
                who = member.sid, member.namespace
                answers += self._dispatcher.failed(error, socket.handshake.environ, event, who)

    def _passed(
        self, member: Member, socket: Socket, event: str, args: tuple[Any, ...]
    ) -> tuple[Any, ...] | None:
        """The arguments after the socket's middlewares; `None`: the event goes no further.

        One has dropped it, or its socket was disconnected meanwhile: as in Node, nothing that such
        a client has sent is handled any more.
        """
        gone = member.stage is Stage.GONE
        try:
            changed = socket.handlers.passed(event, args)
        except BaseException as error:  # a middleware raises to drop an event
            # Not if it could not run, nor with what ends greenlets or the process.
            refuses = isinstance(error, Exception) and not isinstance(error, UnrunError)
            if not refuses or isinstance(error, _FAULTS):
                who = member.sid, member.namespace
                self._dispatcher.failed(error, socket.handshake.environ, event, who)
            fields = about(sid=member.sid, event=event)
            log.debug(_DROPPED, fields, exc_info=True, extra=fields)
            self._drop(Drop.MIDDLEWARE, member, event=event)
            if refuses:
                self._tell_of_refusal(member, socket, event, error)
            return None
        if member.stage is Stage.GONE and not gone:
            self._drop(Drop.NOT_CONNECTED, member, event=event)
            return None
        return changed

    def _tell_of_refusal(
        self, member: Member, socket: Socket, event: str, error: BaseException
    ) -> None:
        """Runs the handlers of ``"error"``: a middleware has dropped an event."""
        who, environ = (member.sid, member.namespace), socket.handshake.environ
        with CHANGING:
            callees = socket.handlers.take("error")
        for callee in callees:
            self._dispatcher.guarded(environ, event, callee, error, who=who)

    # -- an event that is sent -------------------------------------------------------------------

    def show(self, member: Member, arguments: list[Any], own: bool) -> None:
        """Has the handlers of `Socket.on_any_outgoing` see an event. # hub or greenlet

        ``own``: the app's code sends it, and runs them. Otherwise the caller may be the greenlet of
        a heartbeat, or of the pub/sub listener.
        """
        if own and not self._engine.hub_thread.in_hub:
            self._show(member, arguments)
        else:
            self._engine.spawn_in_turn(self._show, member, arguments)

    def _show(self, member: Member, arguments: list[Any]) -> None:
        socket: Socket | None = member.socket
        for callee in () if socket is None else socket.handlers.outgoing:
            self.guarded(member, arguments[0], tuple(arguments[1:]), callee, *arguments)

    # -- a relay that the app wants to see -------------------------------------------------------

    def relay(self, member: Member, passage: Passage, args: tuple[Any, ...]) -> None:
        """A relay on the full way: the app's middlewares, the relay, the app's handlers.

        ``args``: the arguments of the event.
        """
        if member.observed:
            event = RtcioEvents.MESSAGE
            self.guarded(member, event, args, self._observed_relay, member, passage, args)
        else:
            self._relay.forward(member, passage)

    def _observed_relay(self, member: Member, passage: Passage, args: tuple[Any, ...]) -> None:
        event = RtcioEvents.MESSAGE
        if member.socket is not None and member.socket.handlers.uses:
            image = _image(args)
            before = copy.deepcopy(args) if image is None else None
            passed = self._passed(member, member.socket, event, args)
            if passed is None:
                return
            if passed != before if image is None else _image(passed) != image:
                # A changed relay is encoded again and checked again; otherwise its text is kept.
                passage = Passage(passed[0] if passed else None, None, [])
            args = passed
        self._relay.forward(member, passage)
        self._answers(member, event, args, passed=True)


def _image(args: tuple[Any, ...]) -> bytes | None:
    """Bytes that are others after any change; `None`: there are objects in it that need a copy.

    C code makes them; a copy takes steps of Python for each of a client's 100,000 values.
    """
    try:
        return marshal.dumps(args, 2)  # later versions tell equal objects from the same one
    except ValueError:
        return None
