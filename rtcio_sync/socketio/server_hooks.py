"""The methods of `server.Server` that python-socketio and the engine call.

Overridden of ``socketio.Server``, each asserted in ``tests/test_upstream.py``: ``_handle_connect``,
``_handle_disconnect``, ``_handle_event``, ``_handle_event_internal``, ``_handle_ack``,
``_handle_eio_disconnect`` (order, cleanup, arity), ``_handle_eio_message`` (for callers that hand
in messages themselves) and ``_trigger_event`` (signatures read once). Used as they are:
``_get_event_handler``, ``_get_namespace_handler`` and ``_binary_packet``; by the modules that get a
`ports.Upstream` also ``_send_packet``, ``_send_eio_packet`` and ``_handle_eio_connect``.

All of it runs in greenlets, unless a comment says hub.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import socketio

from ..adapter.drops import Drops
from ..adapter.member import Member
from ..engineio.socket import Socket as Link
from ..events import RESERVED_EVENTS, RtcioEvents
from ..functions import completed
from ..options import Options
from ..protocol.envelope import Drop
from ..relay.relay import Passage, Relay
from . import inbox_items
from .connect import Connecting
from .disconnect import Disconnecting
from .handler_call import Dispatcher, raising
from .handler_run import Handling
from .handler_signatures import method_of
from .recovery import Reconnect

__all__ = ["ServerHooks"]


class ServerHooks(socketio.Server):
    """The methods of a `Server` for python-socketio and the engine."""

    options: Options
    dispatcher: Dispatcher
    handling: Handling
    connecting: Connecting
    disconnecting: Disconnecting
    reconnect: Reconnect | None  # `None`: without recovery
    _receive_connect: Callable[[str, str, Any], None]  # of `Reconnect` or of `Connecting`
    relay: Relay
    drop: Drops

    # -- from the engine ---------------------------------------------------------------------------

    def _lost(self, link: Link, reason: str) -> None:
        """A connection has ended: sends peer-left now; handlers run in their turn. # hub"""
        members = self.manager.members_of(link.sid)
        for member in members:
            self.disconnecting.leaving(member, reason)
        # Bytes count as waiting also for a callback that is about to run beside the inbox.
        busy = link.inbox is not None or link.inbox_bytes
        direct = not busy and self.eio.async_mode != "threading"
        if not direct or any(map(self.handling.hears_of_end, members)):
            link.enqueue(inbox_items.Lost(reason))
        elif members:  # no code of the app runs
            self._remove(link.sid, members, reason, heard=False)
        else:
            self._handle_eio_disconnect(link.sid, reason)

    def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        # The engine does not call this: a caller hands in a message itself, and gets the exceptions
        # of handlers.
        with raising():
            super()._handle_eio_message(eio_sid, data)

    def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        self._remove(eio_sid, self.manager.members_of(eio_sid), reason)

    def _remove(
        self, eio_sid: str, members: list[Member], reason: str, *, heard: bool = True
    ) -> None:
        """Removes a connection that has ended, and its sockets; ``heard``: see `disconnect`."""
        for member in members:
            self.disconnecting.disconnect(member, reason, heard=heard)
        self._binary_packet.pop(eio_sid, None)
        self.environ.pop(eio_sid, None)

    # -- one packet --------------------------------------------------------------------------------

    def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        self._receive_connect(eio_sid, namespace or "/", data)

    def _handle_disconnect(
        self, eio_sid: str, namespace: str | None, reason: str | None = None
    ) -> None:
        member = self.manager.member_of(eio_sid, namespace or "/")
        if member is not None:
            self.disconnecting.disconnect(member, reason or "client namespace disconnect")

    def _handle_ack(self, eio_sid: str, namespace: str | None, id: int, data: list[Any]) -> None:
        member = self.manager.member_of(eio_sid, namespace or "/")
        if member is not None:
            answer = self.manager.trigger_callback
            self.handling.guarded(member, "ack", tuple(data), answer, member.sid, id, data)

    def _handle_event(
        self, eio_sid: str, namespace: str | None, id: int | None, data: list[Any]
    ) -> None:
        namespace = namespace or "/"
        member = self.manager.member_of(eio_sid, namespace)
        if member is None:
            event = data[0] if data else None
            self.drop(Drop.NOT_CONNECTED, connection=eio_sid, namespace=namespace, event=event)
        elif not data or not isinstance(data[0], str) or data[0] in RESERVED_EVENTS:
            self.drop(Drop.RESERVED_EVENT, member, event=data[0] if data else None)
        elif data[0] == RtcioEvents.MESSAGE and self.relay.serves(member):
            args = tuple(data[1:])
            self.handling.relay(member, Passage(args[0] if args else None, None, []), args)
        elif self.handling.spawns_events:
            given = (self, member.sid, eio_sid, data, namespace, id)
            self.start_background_task(self._handle_event_internal, *given)
        else:
            self.handling.event(member, id, data)

    def _handle_event_internal(
        self, server: Any, sid: str, eio_sid: str, data: list[Any], namespace: str, id: int | None
    ) -> None:
        member = self.manager.member(sid, namespace)
        if member is not None:
            self.handling.event(member, id, data)

    def _trigger_event(self, event: str, namespace: str, *args: Any) -> Any:
        """Runs python-socketio's handler of an event, with the arguments that it declares."""
        inside = self.handlers.get(namespace)
        handler = None if inside is None else inside.get(event)
        if handler is not None and event != "disconnect":  # most are so
            return self.dispatcher.callee(handler)(*args)
        if not self.handlers and not self.namespace_handlers:  # an app with the other idiom alone
            return self.not_handled
        handler, fitted = self._get_event_handler(event, namespace, args)
        if handler:
            callee = self.dispatcher.callee(handler)
            if event == "disconnect" and callee.takes_nothing:
                # Flask-SocketIO's wrapper passes the reason to handlers without this parameter, and
                # relies on python-socketio's second call, without the reason.
                fitted = fitted[:-1]
            return callee(*fitted)
        space, fitted = self._get_namespace_handler(namespace, args)
        if space is None:
            return self.not_handled
        if type(space).trigger_event is not socketio.Namespace.trigger_event:
            own = space.trigger_event
            return completed(own, own(event, *fitted))
        method = method_of(space, event)
        return self.not_handled if method is None else self.dispatcher.callee(method)(*fitted)
