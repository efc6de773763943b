"""`Server`: makes the parts and connects them; its methods for serving an app.

Its other methods are in `socketio.node_api` and `socketio.python_api`.

Overridden of ``socketio.Server``, each asserted in ``tests/test_upstream.py``:
``_engineio_server_class`` (our engine), ``reserved_events``, and what `socketio.server_hooks` and
the two API modules list. Used as it is: ``_handle_connect``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from socketio import PubSubManager

from . import prometheus
from .adapter.drops import Drops
from .adapter.emit import RoomIndex
from .adapter.recovery import NoRecovery, Recovery
from .adapter.recovery_options import RecoveryOptions
from .cluster.exchange import Exchange
from .cluster.node import Node
from .cluster.pubsub import graft
from .cluster.shared import SharedRooms
from .cluster.totals import Totals
from .config.names import METHODS
from .config.values import check_json
from .engineio import server as engine
from .flask import context, extension
from .flask.context import handler_context, report
from .hub.thread import HubThread, any_thread
from .metrics import Counters
from .options import Options, engineio_options
from .parser.packet import event_pieces, packet_class
from .relay.relay import Relay
from .serving.gunicorn_http import answer_directly
from .serving.listen import listen, signaling_only
from .serving.options import Listening
from .serving.stop import Stop
from .serving.warnings import warn_of_many_workers
from .serving.workers import Workers, allowed, key_of
from .socketio.construction import named, upstream_logger, upstream_options
from .socketio.departing import ACKNOWLEDGED, Departing
from .socketio.dispatch import Dispatcher
from .socketio.elsewhere import ServerSide, describe, do_here
from .socketio.handling import Handling
from .socketio.lifecycle import Lifecycle
from .socketio.listeners import add_default_listeners
from .socketio.moving import Moving
from .socketio.node_api import NodeApi
from .socketio.overdue import Overdue
from .socketio.overflow import Overflow
from .socketio.receive import Receiver
from .socketio.reconnect import NoReconnect, Reconnect
from .socketio.registry import Registry
from .testing import TestClient

__all__ = ["Server"]

Fn = TypeVar("Fn", bound=Callable[..., Any])


class Server(NodeApi):
    """The signaling server for rtc.io clients: a `socketio.Server` with the default listeners.

    Every option of ``socketio.Server`` and ``engineio.Server`` is accepted, and ours; each is
    described in `rtcio_sync.options.Options`. Raises `OptionError` for an unknown option, for an
    invalid value and for two options that contradict each other. Every public method may be called
    from any thread; it raises `NotServing` when the server has stopped or does not answer for 5 s.
    """

    #: The events that a catch-all handler does not see: upstream's list, and ours.
    reserved_events = ["connect", "disconnect", "disconnecting"]  # noqa: RUF012

    def __init__(self, *args: Any, **options: Any) -> None:
        self.options = Options.of(named(args, options, extension.is_app), upstream_options())
        self.counters = Counters()
        self.dispatcher = Dispatcher(self.counters)
        self.dispatcher.context = handler_context
        self.dispatcher.report = report
        self.path = "/" + self.options.path.strip("/")
        #: The Flask app that it wraps, or the first of several; `None`: none.
        self.app: Any = None
        self._metrics: Any = None
        chosen = self.options
        super().__init__(
            client_manager=graft(chosen.client_manager or RoomIndex()),
            logger=upstream_logger("rtcio_sync.upstream.socketio", chosen.logger),
            serializer=chosen.serializer,
            async_handlers=chosen.async_handlers is not False,
            always_connect=chosen.always_connect,
            namespaces=chosen.namespaces,
            **self._engine_options(),
        )
        self._hub_thread: HubThread = self.eio.hub_thread
        self._stop = Stop(self.eio, drain_seconds=chosen.drain_seconds)
        check_json(chosen.json)
        self.packet_class: Any = packet_class(self.packet_class, chosen.json)
        self._build(late=chosen.json is not None or chosen.serializer not in ("default", "msgpack"))
        self._connect_parts()
        add_default_listeners(self)
        self._node: Node | None = None
        self._workers: Workers | None = None
        self._totals: Totals | None = None
        #: The messages of other workers; `None`: there can be none.
        self.exchange: Exchange | None = None
        self._join_workers()
        if chosen.app is not None:
            self.init_app(chosen.app)

    if not TYPE_CHECKING:  # a type checker would take every name for one that there is

        def __getattr__(self, name: str) -> Any:
            if name in METHODS:
                raise AttributeError(f"Server has no {name!r}; {METHODS[name]}")
            return object.__getattribute__(self, name)  # raises as if this method were not here

    def _build(self, *, late: bool) -> None:
        """Makes the parts, each with what it needs of the others. ``late``: see `Receiver`."""
        chosen, eio, manager = self.options, self.eio, self.manager
        self.registry = Registry(
            self.handlers, self.namespace_handlers, lambda: self.namespaces, chosen.limits
        )
        recovery = self._make_recovery()
        manager.json = self.packet_class.json
        manager.late = late
        manager.limits_of = self.registry.limits_of
        manager.recovery = recovery
        self.server_side = ServerSide(manager, self.dispatcher)
        self.overdue = Overdue(later=eio.heartbeat.later, spawn=eio.spawn)
        self.drop = Drops(self.counters, eio.spawn)
        self.relay = Relay(manager, self.counters, self.drop, scope=chosen.relay_scope)
        shared: Any = {"relay": self.relay, "drop": self.drop, "counters": self.counters}
        self.handling = Handling(
            self,
            eio,
            manager,
            registry=self.registry,
            dispatcher=self.dispatcher,
            overdue=self.overdue,
            async_handlers=bool(chosen.async_handlers),
            **shared,
        )
        self.lifecycle = Lifecycle(
            self,
            self,
            registry=self.registry,
            handling=self.handling,
            overdue=self.overdue,
            **shared,
        )
        self.reconnect = (
            Reconnect(
                self,
                recovery,
                lifecycle=self.lifecycle,
                handling=self.handling,
                counters=self.counters,
            )
            if isinstance(recovery, Recovery)
            else NoReconnect()
        )
        self.departing = Departing(self, lifecycle=self.lifecycle, counters=self.counters)
        self.departing.of_environ = context.carried
        self.departing.into_environ = partial(context.restore, lambda: self.app)
        self.receiver = Receiver(
            eio,
            manager,
            relay=self.relay,
            drop=self.drop,
            handling=self.handling,
            lifecycle=self.lifecycle,
            connect=self._handle_connect,
            spawn_event=self.start_background_task,
            packet_class=self.packet_class,
            limits_of=self.registry.limits_of,
            max_size=chosen.max_http_buffer_size,
            late=late,
        )

    def _join_workers(self) -> None:
        """Makes this server one with the other workers of its host, unless it is to be alone."""
        chosen, eio, manager = self.options, self.eio, self.manager
        if isinstance(manager, PubSubManager):
            return
        if type(manager) is not RoomIndex or not allowed(chosen.cluster):
            warn_of_many_workers()
            return
        exchange = self.exchange = Exchange(
            manager,
            tasks=eio,
            later=eio.heartbeat.later,
            relays=self.relay,
            counters=self.counters,
            guard=self.dispatcher.guarded,
            disconnect=partial(self.disconnect, ignore_queue=True),
            do_here=partial(do_here, self),
        )
        exchange.answers["sockets"] = partial(describe, self)
        exchange.answers[ServerSide.WHAT] = self.server_side.answer
        node = self._node = Node(manager, exchange, eio, self.relay, key=key_of(self.path))
        self._stop.on_drain = node.leave
        exchange.inline[ACKNOWLEDGED] = self.departing.acknowledged
        self.departing.tell = self._tell_owner
        moving = Moving(self, node.owner_of_session, exchange=exchange, sessions=self.departing)
        workers = Workers(
            node, eio.hub_thread, moving.go_on, exchange.arrivals.descriptor, chosen.drain_seconds
        )
        moving.give = workers.giver.give_open
        self.departing.awaited = exchange.events.callback_of
        exchange.succession.enable(self.departing)
        exchange.leaving.give = workers.giver.give_session
        exchange.leaving.on_heir.append(workers.leaves)
        recovery, reconnect = manager.recovery, self.reconnect
        if isinstance(recovery, Recovery) and isinstance(reconnect, Reconnect):
            reconnect.elsewhere = moving.move
            node.strays = moving.strays
            exchange.on_begin.append(lambda _: setattr(recovery, "new_pid", node.new_pid))
        exchange.on_died.append(workers.died)
        exchange.on_given_up = self._stop.give_up
        workers.await_worker()
        self._workers = workers
        self._totals = Totals(exchange, self._figures)

    def _tell_owner(self, sid: str, what: str, about: bytes) -> None:  # hub or greenlet
        """Tells something to the worker that has a socket by now."""
        node = self.manager.node_of(sid) if isinstance(self.manager, SharedRooms) else None
        if node is not None and self.exchange is not None:
            self.exchange.tell(node, what, about)

    def _make_recovery(self) -> Recovery | NoRecovery:
        options = RecoveryOptions.of(self.options.connection_state_recovery)
        if options is None:
            return NoRecovery()
        return Recovery(
            options.within(self.options.limits.max_buffered_bytes),
            now=self.eio.heartbeat.now,
            later=self.eio.heartbeat.later,
            end=lambda member: self.lifecycle.end(member),
            drop=self._count_drop,
            gate=lambda: self.eio.gate,
        )

    def _count_drop(self, label: str) -> None:
        self.counters.dropped[label] += 1

    def _connect_parts(self) -> None:
        """Connects the parts in the order of a message's way: engine, relay, receiver."""
        self.relay.textual = self.packet_class.uses_binary_events
        self.relay.encode = partial(event_pieces, self.packet_class)
        self.relay.bound([self.options.limits])
        self.relay.ordinary = self.receiver.take
        self.eio.arrive = self.relay.arrive
        self.eio.work = self.receiver.work
        self.eio.lost = self._lost
        overflow = Overflow(now=self.eio.heartbeat.now, spawn=self.eio.spawn)
        self.eio.backlog.on_ceiling = overflow.ceiling
        self.eio.backlog.on_total = overflow.total
        self.eio.on_first_request = self._first_request

    def _first_request(self, environ: dict[str, Any]) -> None:  # greenlet
        self._stop.first_request(environ)
        answer_directly(environ, self.eio)

    def _engine_options(self) -> dict[str, Any]:
        chosen = self.options
        return {
            **engineio_options(chosen),
            **chosen.passed,
            "engineio_logger": upstream_logger(
                "rtcio_sync.upstream.engineio", chosen.engineio_logger
            ),
            "limits": chosen.limits,
            "counters": self.counters,
            "max_connections": chosen.max_connections,
            "max_polling_sessions": chosen.max_polling_sessions,
            "max_buffered_total": chosen.max_buffered_total,
            "trusted_proxies": chosen.trusted_proxies,
            "monitor_clients": chosen.monitor_clients,
            "adaptable": chosen.async_mode is None,
        }

    def _engineio_server_class(self) -> Any:
        return engine.Server

    @property
    def recovery(self) -> Recovery | None:
        """The sessions that outlive their connection; `None`: recovery is off."""
        found = self.manager.recovery
        return found if isinstance(found, Recovery) else None

    # -- the app -----------------------------------------------------------------------------------

    def init_app(self, app: Any) -> None:
        """Wraps a Flask app: its ``wsgi_app`` also serves the Socket.IO path from now on.

        Handlers then run in contexts of that app. Several apps may share a server; each app has one
        server, ``app.extensions["rtcio"]``. Raises `OptionError` if the app has another one.
        """
        extension.init_app(self, app)
        if self.app is None:
            self.app = app

    def listen(self, port: int | str, host: str = "0.0.0.0", **options: Any) -> None:
        """Serves until SIGTERM, SIGINT or `stop`; then ends each connection so that it comes back.

        ``app``: the WSGI application to serve beside the Socket.IO path; by default the first
        wrapped Flask app. An application that already contains this server is served unchanged.
        ``port``: a number, 0 for any free one. ``host``: a name or an address. ``ready(port)`` is
        called once clients can connect. TLS: ``ssl_context``, ``(certfile, keyfile)`` or an
        `ssl.SSLContext`; or ``certfile`` and ``keyfile`` (and ``ca_certs``, ``cert_reqs``,
        ``ciphers``). The other ``options`` go to gevent's ``pywsgi.WSGIServer`` (``backlog``,
        ``spawn``, ``log``, ``error_log``, ``handler_class``, ``environ``). Raises `OptionError` for
        an invalid argument, and `OSError` if the address is not available.
        """
        threads = self.eio.async_mode == "threading"
        asked = Listening.of(port, host, options, threads=threads)
        app = asked.app if asked.app is not None else self.app
        if app is None:
            application = signaling_only(self.path, self.handle_request)
        else:
            application = extension.with_signaling(self, app)
        listen(self.eio, self._stop, asked, application, f"{self.path}/", self._workers)

    def stop(self) -> None:
        """Ends `listen`. Any greenlet or thread may call it, any number of times."""
        self._stop.ask()

    def test_client(self, app: Any = None, namespace: str = "/", **options: Any) -> TestClient:
        """A connected client without sockets, for tests of an app's own handlers.

        ``app``: the Flask app in whose contexts handlers run; `None`: the first wrapped one.
        For ``options`` see `rtcio_sync.testing.TestClient`.
        """
        return TestClient(self, app if app is not None else self.app, namespace, **options)

    @property
    def metrics_app(self) -> Callable[..., Iterable[bytes]]:
        """A WSGI application with the `stats` of all workers as Prometheus metrics.

        Raises `RuntimeError` without the extra ``prometheus``.
        """
        made: Callable[..., Iterable[bytes]] | None = self._metrics
        if made is None:
            made = self._metrics = prometheus.metrics_app(partial(self.stats, cluster=True))
        return made

    @any_thread
    def stats(self, *, cluster: bool = False) -> dict[str, Any]:
        """Counters since the start, and current numbers; without names and ids.

        ``cluster``: of all workers together, also of those that have died; waits for the others, at
        most 5 s, and raises `NotServing` in the hub. Otherwise of this process.

        ``connected``, ``away``, ``connections``, ``rooms``, ``send_buffer_bytes``,
        ``recovery_bytes``, ``greenlets``, ``hub_lag_seconds`` (the maximum of the last 15 s) and
        ``workers`` (those that are one server, this one included) are current numbers; the others
        count since the start. The dicts ``disconnects_by_reason``, ``dropped`` and ``closed`` have
        a count for each reason.
        """
        return self._totals.of_all(self.manager) if cluster and self._totals else self._figures()

    def _figures(self) -> dict[str, Any]:
        count = self.counters
        rooms = sum(len(rooms) - 1 for rooms in self.manager.rooms.values())
        return {
            "connected": count.connects + count.arrivals - count.disconnects - count.moves,
            "away": self.manager.recovery.away,
            "connections": len(self.eio.sockets),
            "rooms": max(0, rooms),
            "connects": count.connects,
            "recoveries": count.recoveries,
            "arrivals": count.arrivals,
            "disconnects": count.disconnects,
            "disconnects_by_reason": dict(count.reasons),
            "relayed": count.relayed,
            "relayed_bytes": count.relayed_bytes,
            "dropped": dict(count.dropped),
            "closed": dict(count.closed),
            "handlers": count.handlers,
            "handler_seconds": count.handler_seconds,
            "handler_errors": count.handler_errors,
            "recovery_bytes": self.manager.recovery.bytes,
            "send_buffer_bytes": self.eio.waiting_bytes,
            "greenlets": self.eio.working,
            "hub_lag_seconds": self.eio.heartbeat.lag,
            "workers": 1 if self._node is None else self._node.workers,
        }

    @any_thread(in_hub="spawn")
    def shutdown(self) -> None:
        """Ends each connection so that its client comes back, waits for handlers, stops timers."""
        self._stop.drain()
