"""The parts of a server: made here, and connected."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .adapter.drops import Drops
from .adapter.emit import RoomIndex
from .adapter.recovery_options import RecoveryOptions
from .adapter.session_store import NoRecovery, Recovery
from .flask import context
from .metrics import Counters
from .parser.packet import event_pieces
from .relay.relay import Relay
from .socketio.connect import Connecting
from .socketio.connection_members import ConnectionMembers
from .socketio.disconnect import Disconnecting
from .socketio.dynamic_namespaces import Parents
from .socketio.emit_with_ack import Gatherer
from .socketio.handler_registry import Registry
from .socketio.handler_run import Handling
from .socketio.node_api import NodeApi
from .socketio.overdue_handlers import Overdue
from .socketio.overflow_warning import Overflow
from .socketio.receive import Receiver
from .socketio.recovery import Reconnect
from .socketio.remote_requests import ServerSide
from .socketio.session_transfer import Departing
from .warned import warn

__all__ = ["ServerParts"]


class ServerParts(NodeApi):
    """The part of `server.Server` that makes its parts."""

    counters: Counters
    packet_class: Any
    #: The Flask app that it wraps, or the first of several; `None`: none.
    app: Any
    turn_of_request: Callable[[], None]  # of the engine, for `flask.ports.Signaling`

    def _build(self, *, late: bool) -> None:
        """Makes the parts, each with what it needs of the others. ``late``: see `Receiver`."""
        self._make_relay(late=late)
        self._make_handling()
        self._make_connecting()
        self.receiver = Receiver(
            self.eio,
            self.manager,
            relay=self.relay,
            drop=self.drop,
            handling=self.handling,
            connecting=self.connecting,
            disconnecting=self.disconnecting,
            connect=self._receive_connect,
            spawn_event=self.start_background_task,
            packet_class=self.packet_class,
            limits_of=self.registry.limits_of,
            max_size=self.options.max_http_buffer_size,
            late=late,
        )

    def _make_relay(self, *, late: bool) -> None:
        chosen, eio, manager = self.options, self.eio, self.manager
        self.registry = Registry(
            self.handlers, self.namespace_handlers, lambda: self.namespaces, chosen.limits
        )
        manager.json = self.packet_class.json
        manager.late = late
        manager.limits_of = self.registry.limits_of
        manager.recovery = self._make_recovery()
        self.gatherer = Gatherer(
            manager,
            create_event=eio.create_event,
            spawn=eio.spawn,
            now=eio.heartbeat.now,
            later=eio.heartbeat.later,
        )
        self.gatherer.take_turn, self.gatherer.own_turn = eio.take_turn, eio.own_turn
        self.drop = Drops(self.counters, eio.spawn)
        self.relay = Relay(manager, self.counters, self.drop, scope=chosen.relay_scope)

    def _make_handling(self) -> None:
        eio, manager = self.eio, self.manager
        self.server_side = ServerSide(manager, self.dispatcher)
        self.overdue = Overdue(later=eio.heartbeat.later, spawn=eio.spawn)
        self.handling = Handling(
            self,
            eio,
            manager,
            registry=self.registry,
            dispatcher=self.dispatcher,
            overdue=self.overdue,
            async_handlers=bool(self.options.async_handlers),
            relay=self.relay,
            drop=self.drop,
            counters=self.counters,
        )
        manager.show = self.handling.show
        manager.unheard = self._nobody_in
        self.parents = Parents(
            self.registry,
            manager,
            relay=self.relay,
            dispatcher=self.dispatcher,
            space=self.space,
        )

    def _make_connecting(self) -> None:
        recovery = self.manager.recovery
        members = ConnectionMembers(self.eio, self.registry)
        self.disconnecting = Disconnecting(
            self,
            self,
            registry=self.registry,
            members=members,
            handling=self.handling,
            relay=self.relay,
            counters=self.counters,
        )
        self.connecting = Connecting(
            self,
            self,
            registry=self.registry,
            parents=self.parents,
            members=members,
            disconnecting=self.disconnecting,
            handling=self.handling,
            overdue=self.overdue,
            drop=self.drop,
            counters=self.counters,
        )
        self.reconnect = None
        self._receive_connect = self.connecting.receive
        if isinstance(recovery, Recovery):
            self.reconnect = Reconnect(
                self,
                recovery,
                members=members,
                connecting=self.connecting,
                disconnecting=self.disconnecting,
                handling=self.handling,
                counters=self.counters,
            )
            self._receive_connect = self.reconnect.receive
        self.departing = Departing(
            self, members=members, connecting=self.connecting, counters=self.counters
        )
        self.departing.parts[self.parents.WHAT] = self.parents
        self.departing.of_environ = context.carried
        self.departing.into_environ = partial(context.restore, lambda: self.app)

    def _nobody_in(self, namespace: str) -> None:
        """The app emits to a namespace in which nobody is: warns if nobody can be."""
        alone = type(self.manager) is RoomIndex  # other processes may have others
        if alone and not self.parents.all and not self.registry.knows(namespace):
            warn(
                f"an event for {namespace!r:.80} reaches nobody, because no client can join this "
                f"namespace: open it with server.of({namespace!r:.80}), or correct its name"
            )

    def _make_recovery(self) -> Recovery | NoRecovery:
        options = RecoveryOptions.of(self.options.connection_state_recovery)
        if options is None:
            return NoRecovery()
        return Recovery(
            options.within(self.options.limits.max_buffered_bytes),
            now=self.eio.heartbeat.now,
            later=self.eio.heartbeat.later,
            end=lambda member: self.disconnecting.end(member),
            drop=self._count_drop,
            gate=lambda: self.eio.gate,
            threaded=lambda: self.eio.threaded,
        )

    def _count_drop(self, label: str) -> None:
        self.counters.dropped[label] += 1

    def _connect_parts(self) -> None:
        """Connects the parts in the order of a message's way: engine, relay, receiver."""
        self.relay.textual = self.packet_class.uses_binary_events
        self.relay.encode = partial(event_pieces, self.packet_class)
        self.relay.bound([self.options.limits])
        self.relay.ordinary = self.receiver.take
        self.turn_of_request = self.eio.turn_of_request
        self.eio.arrive = self.relay.arrive
        self.eio.work = self.receiver.work
        self.eio.lost = self._lost
        overflow = Overflow(now=self.eio.heartbeat.now, spawn=self.eio.spawn)
        self.eio.backlog.on_ceiling = overflow.ceiling
        self.eio.backlog.on_total = overflow.total
