"""The part of `Socket` that registers handlers: ``on``, ``use``, ``on_any`` and so on.

A mixin, not an attribute: a second object for each client would cost memory while it is idle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from ..adapter.member import Member
from ..events import RESERVED_EVENTS, RtcioEvents
from ..hub.thread import HubThread, any_thread
from ..protocol.names import check_event
from .handler_call import Callee, SocketCallee
from .handler_signatures import check_event_middleware, warn_of_ack, warn_of_event
from .handler_types import EventFn, UseFn
from .ports import Host
from .socket_handlers import CHANGING, SocketHandlers, without
from .throttle import check_made

__all__ = ["SocketEvents"]


class SocketEvents:
    """The handlers of a `Socket`, as an app registers and removes them."""

    __slots__ = ()

    handlers: SocketHandlers
    _member: Member
    _server: Host

    @property
    def _hub_thread(self) -> HubThread:
        return self._server.eio.hub_thread

    @overload
    def on(self, event: str) -> Callable[[EventFn], EventFn]: ...
    @overload
    def on(self, event: str, handler: EventFn) -> EventFn: ...
    def on(self, event: str, handler: EventFn | None = None) -> Any:
        """Registers a handler of an event: a decorator, or a call with ``handler``.

        The handlers of an event get the client's arguments. The first result that is not `None` is
        the acknowledgement (to send it later or never: `Server.defer_ack`). Handlers of
        ``"disconnecting"`` (the rooms still exist) and ``"disconnect"`` get ``(reason)``, one of
        `DisconnectReason`. Handlers of ``"error"`` get ``(exception)`` when a middleware of `use`
        drops an event. Several handlers of one event run in the order of registration. Raises
        `TypeError` for an object that cannot be a handler.
        """
        return self._register(event, handler, once=False)

    @overload
    def once(self, event: str) -> Callable[[EventFn], EventFn]: ...
    @overload
    def once(self, event: str, handler: EventFn) -> EventFn: ...
    def once(self, event: str, handler: EventFn | None = None) -> Any:
        """Like `on`, for the next such event only."""
        return self._register(event, handler, once=True)

    def _register(self, event: str, handler: EventFn | None, *, once: bool) -> Any:
        check_event(event, "socket")

        def register(fn: EventFn) -> EventFn:
            callee = SocketCallee(fn)
            warn_of_ack(fn)
            with CHANGING:
                self.handlers.add(event, callee, once=once)
            if event == RtcioEvents.MESSAGE:
                self._observe()
            elif event in RESERVED_EVENTS:
                warn_of_event(event, "socket")
            return fn

        return register if handler is None else register(handler)

    def off(self, event: str, handler: Callable[..., Any] | None = None) -> None:
        """Removes a handler of an event, or all of them."""
        check_event(event, "socket", "off")
        with CHANGING:
            self.handlers.remove(event, handler)
        self._observe()

    def remove_all_listeners(self, event: str | None = None) -> None:
        """Removes all handlers of an event; `None`: of all events. Middlewares stay."""
        if event is None:
            with CHANGING:
                self.handlers.events.clear()
        else:
            check_event(event, "socket", "remove_all_listeners")
            with CHANGING:
                self.handlers.remove(event, None)
        self._observe()

    def listeners(self, event: str) -> list[Callable[..., Any]]:
        """The handlers of an event, in the order in which they run."""
        check_event(event, "socket", "listeners")
        return self.handlers.of(event)

    def event_names(self) -> list[str]:
        """The events that have a handler."""
        return self.handlers.names()

    # -- every event -------------------------------------------------------------------------------

    def on_any(self, handler: EventFn) -> EventFn:
        """Registers a handler ``(event, *args)`` of every event; it runs before the others."""
        callee = Callee(handler)
        with CHANGING:
            self.handlers.any += (callee,)
        self._observe()
        return handler

    def prepend_any(self, handler: EventFn) -> EventFn:
        """Like `on_any`, before those that are registered already."""
        callee = Callee(handler)
        with CHANGING:
            self.handlers.any = (callee, *self.handlers.any)
        self._observe()
        return handler

    def off_any(self, handler: Callable[..., Any] | None = None) -> None:
        """Removes a handler of `on_any`, or all of them."""
        with CHANGING:
            self.handlers.any = without(self.handlers.any, handler)
        self._observe()

    def listeners_any(self) -> list[Callable[..., Any]]:
        """The handlers of `on_any`, in the order in which they run."""
        return [each.fn for each in self.handlers.any]

    def on_any_outgoing(self, handler: EventFn) -> EventFn:
        """Registers a handler ``(event, *args)`` of every event that is sent to this client.

        It runs before the event is sent, or, if another worker or the library itself sends it, soon
        after. Acknowledgements are no events. Relays are not shown: the server passes them on
        without reading them.
        """
        callee = Callee(handler)
        with CHANGING:
            self.handlers.outgoing += (callee,)
        self._watch()
        return handler

    def prepend_any_outgoing(self, handler: EventFn) -> EventFn:
        """Like `on_any_outgoing`, before those that are registered already."""
        callee = Callee(handler)
        with CHANGING:
            self.handlers.outgoing = (callee, *self.handlers.outgoing)
        self._watch()
        return handler

    def off_any_outgoing(self, handler: Callable[..., Any] | None = None) -> None:
        """Removes a handler of `on_any_outgoing`, or all of them."""
        with CHANGING:
            self.handlers.outgoing = without(self.handlers.outgoing, handler)
        self._watch()

    def listeners_any_outgoing(self) -> list[Callable[..., Any]]:
        """The handlers of `on_any_outgoing`, in the order in which they run."""
        return [each.fn for each in self.handlers.outgoing]

    @any_thread
    def _watch(self) -> None:
        self._server.handling.watch(self._member)

    # -- before and after ------------------------------------------------------------------------

    def use(self, fn: UseFn) -> UseFn:
        """Registers ``fn(event, args)`` to run before each event.

        To drop it, raise an exception, or return `False`. A fault of ``fn`` (a `NameError`,
        `AttributeError`, `TypeError`, `ImportError` or `NotImplementedError`) drops it, too, and is
        logged and counted as a handler's. ``args`` is the list of the event's arguments. ``fn`` may
        change it; the next middleware and the handlers get the changed list. A changed relay is
        checked by the same rules and sent on as changed. Handlers of ``"error"`` get the exception.
        `rtcio_sync.throttle` makes one that bounds the rate. Raises `TypeError` for a function
        that takes Node's ``next``.
        """
        callee = Callee(fn)
        check_event_middleware(fn, callee.least)
        check_made(fn)
        with CHANGING:
            self.handlers.uses += (callee,)
        self._observe()
        return fn

    def on_session_end(self, handler: EventFn) -> EventFn:
        """Registers ``handler()`` for the end of the session of a client that did not come back."""
        callee = Callee(handler)
        with CHANGING:
            self.handlers.ends += ((callee, False),)
        return handler

    def session_end(self, handler: EventFn) -> EventFn:
        """Registers ``handler()`` to run once, when the client has left and cannot return.

        That is after its ``disconnect`` handlers, or, if it may come back to its session
        (``connection_state_recovery``), when the time for that is over. It does not run for a
        socket that goes on in another worker (`Server.on_moved`); it is to be registered there.
        """
        callee = Callee(handler)
        with CHANGING:
            self.handlers.ends += ((callee, True),)
        return handler

    @any_thread
    def _observe(self) -> None:
        self._server.handling.observe(self._member)
