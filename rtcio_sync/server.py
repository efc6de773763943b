"""`Server`: puts the house together, on python-socketio's interface: what people call.

Overridden of ``socketio.Server``, each asserted in ``tests/test_upstream.py``:
``_engineio_server_class`` (our engine), ``reserved_events``, ``emit`` (to an empty list it goes to
nobody), and what `server_hooks` lists. Used as they are: ``_send_packet``, ``_handle_connect`` and
``Namespace._set_server``.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import engineio
import socketio
from socketio import exceptions, packet

from . import prometheus
from .adapter.calls import DisconnectedError, Waiter
from .adapter.drops import Drops
from .adapter.emit import RoomIndex
from .adapter.member import Stage
from .adapter.recipients import recipients
from .adapter.recovery import NoRecovery, Recovery
from .adapter.recovery_options import RecoveryOptions
from .cluster.pubsub import graft
from .config.names import METHODS
from .config.values import check_json
from .engineio import server as engine
from .errors import OptionError
from .flask import extension as flask
from .hub.thread import HubThread, any_thread
from .logs import OwnLevel, UpstreamLogger
from .metrics import Counters
from .options import Limits, Options, engineio_options
from .parser.packet import event_pieces, packet_class
from .protocol.names import check_event, check_room, namespace_name
from .relay.relay import Relay
from .serving import listen as serving
from .serving.options import Listening
from .socketio.acks import UNWANTED, Ack, answering
from .socketio.dispatch import Dispatcher
from .socketio.handling import Handling
from .socketio.lifecycle import Lifecycle
from .socketio.listeners import add_default_listeners
from .socketio.namespace import Namespace
from .socketio.overdue import Overdue
from .socketio.overflow import Overflow
from .socketio.receive import Receiver
from .socketio.reconnect import NoReconnect, Reconnect
from .socketio.registry import Registry
from .socketio.server_hooks import ServerHooks
from .socketio.signatures import (
    check_handler,
    check_plain,
    handler_names,
    method_of,
    warn_of_missing_sid,
    warn_of_unheard,
)
from .socketio.socket import BroadcastOperator, Socket
from .testing import TestClient

__all__ = ["Server"]

Fn = TypeVar("Fn", bound=Callable[..., Any])


class Server(ServerHooks):
    """The signaling server for rtc.io clients: a `socketio.Server` with the default listeners.

    Every option of ``socketio.Server`` and ``engineio.Server`` is accepted, and ours; each is
    described in `rtcio_sync.options.Options`. Raises `OptionError` for an unknown option, for an
    invalid value and for two options that contradict each other. Every public method may be called
    from any thread; it raises `NotServing` when the server has stopped or does not answer for 5 s.
    """

    #: Upstream's list of the events that a catch-all handler does not see, and ours.
    reserved_events = ["connect", "disconnect", "disconnecting"]  # noqa: RUF012

    def __init__(self, *args: Any, **options: Any) -> None:
        self.options = Options.of(_named(args, options), _upstream_options())
        self.counters = Counters()
        self.dispatcher = Dispatcher(self.counters)
        self.dispatcher.context = flask.handler_context
        self.dispatcher.report = flask.report
        self.path = "/" + self.options.path.strip("/")
        #: The Flask app that it wraps; the first, if there are several; `None`: none.
        self.app: Any = None
        self._stop: Any = None
        self._metrics: Any = None
        chosen = self.options
        super().__init__(
            client_manager=graft(chosen.client_manager or RoomIndex()),
            logger=_logger("rtcio_sync.upstream.socketio", chosen.logger),
            serializer=chosen.serializer,
            async_handlers=chosen.async_handlers is not False,
            always_connect=chosen.always_connect,
            namespaces=chosen.namespaces,
            **self._engine_options(),
        )
        self._hub_thread: HubThread = self.eio.hub_thread
        check_json(chosen.json)
        self.packet_class: Any = packet_class(self.packet_class, chosen.json)
        self._build(late=chosen.json is not None or chosen.serializer not in ("default", "msgpack"))
        self._connect_parts()
        add_default_listeners(self)
        serving.warn_of_many_workers(self)
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
            self.handlers, self.namespace_handlers, self.namespaces, chosen.limits
        )
        recovery = self._make_recovery()
        manager.json = self.packet_class.json
        manager.late = late
        manager.limits_of = self.registry.limits_of
        manager.recovery = recovery
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
        self.receiver = Receiver(
            eio,
            manager,
            relay=self.relay,
            drop=self.drop,
            handling=self.handling,
            lifecycle=self.lifecycle,
            connect=self._handle_connect,
            packet_class=self.packet_class,
            limits_of=self.registry.limits_of,
            max_size=chosen.max_http_buffer_size,
            late=late,
        )

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
        self.eio.on_first_request = lambda environ: serving.on_first_request(self, environ)

    def _engine_options(self) -> dict[str, Any]:
        chosen = self.options
        return {
            **engineio_options(chosen),
            **chosen.passed,
            "engineio_logger": _logger("rtcio_sync.upstream.engineio", chosen.engineio_logger),
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
        """The sessions that outlive their connection; `None`: there are none."""
        found = self.manager.recovery
        return found if isinstance(found, Recovery) else None

    # -- the app -----------------------------------------------------------------------------------

    def init_app(self, app: Any) -> None:
        """Wraps a Flask app: its ``wsgi_app`` also serves the Socket.IO path from now on.

        Handlers then run in contexts of that app. Several apps may share a server, and each app
        has one: it is ``app.extensions["rtcio"]``. Raises `OptionError` when it is another.
        """
        flask.init_app(self, app)
        if self.app is None:
            self.app = app

    def listen(self, port: int | str, host: str = "0.0.0.0", **options: Any) -> None:
        """Serves until SIGTERM, SIGINT or `stop`; then closes every client so that it comes back.

        ``app``: the WSGI application that is served beside the Socket.IO path, by default the first
        Flask app it wraps; one that leads to this server already is served as it is. ``port``: a
        number, 0 for any free one. ``host``: a name or an address. ``ready(port)`` is called once
        clients can connect. TLS: ``ssl_context``, ``(certfile, keyfile)`` or an `ssl.SSLContext`;
        or ``certfile`` and ``keyfile`` (and ``ca_certs``, ``cert_reqs``, ``ciphers``). The other
        ``options`` go to gevent's ``pywsgi.WSGIServer`` (``backlog``, ``spawn``, ``log``,
        ``error_log``, ``handler_class``, ``environ``). Raises `OptionError` for an argument that
        cannot be meant, and `OSError` when the address cannot be had.
        """
        threads = self.async_mode == "threading"
        serving.listen(self, Listening.of(port, host, options, threads=threads))

    def stop(self) -> None:
        """Ends `listen`; from any greenlet or thread, and as often as one likes."""
        if self._stop is not None and not self._hub_thread.ended:
            self._set_stop()

    @any_thread
    def _set_stop(self) -> None:
        self._stop.set()

    def test_client(self, app: Any = None, namespace: str = "/", **options: Any) -> TestClient:
        """A connected client without sockets, for tests of an app's own handlers.

        ``app``: the Flask app in whose contexts they run; `None`: the first one the server wraps.
        For ``options`` see `rtcio_sync.testing.TestClient`.
        """
        return TestClient(self, app if app is not None else self.app, namespace, **options)

    @property
    def metrics_app(self) -> Callable[..., Iterable[bytes]]:
        """A WSGI application with `stats` as Prometheus metrics; needs the extra ``prometheus``.

        Raises `RuntimeError` without it.
        """
        made: Callable[..., Iterable[bytes]] | None = self._metrics
        if made is None:
            made = self._metrics = prometheus.metrics_app(self)
        return made

    @any_thread
    def stats(self) -> dict[str, Any]:
        """What was counted since the start, and how many there are now; no names, no ids.

        ``connected``, ``away``, ``connections``, ``rooms``, ``send_buffer_bytes``,
        ``recovery_bytes``, ``greenlets`` and ``hub_lag_seconds`` (the worst of the last 15 s) are
        of this moment. The dicts ``disconnects_by_reason``, ``dropped`` and ``closed`` have a count
        for each reason.
        """
        count = self.counters
        rooms = sum(len(rooms) - 1 for rooms in self.manager.rooms.values())
        return {
            "connected": count.connects - count.disconnects,
            "away": self.manager.recovery.away,
            "connections": len(self.eio.sockets),
            "rooms": max(0, rooms),
            "connects": count.connects,
            "recoveries": count.recoveries,
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
        }

    # -- Socket.IO's own idiom ---------------------------------------------------------------------

    def on(self, event: str, handler: Fn | None = None, namespace: str | None = None) -> Any:
        """Registers a handler: a decorator, or a call with ``handler``.

        ``"connection"``: ``fn(socket)``, for each client of the namespace; several may be
        registered. Any other event: python-socketio's handlers, ``fn(sid, …)``. A handler gets the
        arguments it declares. ``namespace="*"``: of any namespace that has no handler of its own
        for it; such a handler gets the namespace first, before the sid (after the event's name, in
        a handler of ``"*"``). A ``"connection"`` handler gets ``(socket)`` there too, or
        ``(namespace, socket)`` if it declares two. Raises `TypeError` for what can't be a handler.
        """
        name = namespace_name(namespace, catch_all=True)
        check_event(event, "server")
        if event == "connection":
            return self._space(name).on(event, handler)

        def register(fn: Fn) -> Fn:
            self.dispatcher.callee(fn)
            if name != "*":
                warn_of_missing_sid(event, fn)
            self.handlers.setdefault(name, {})[event] = fn
            self.handling.observe_all()
            return fn

        return register if handler is None else register(handler)

    def of(self, namespace: str, *, limits: Limits | None = None) -> Namespace:
        """The namespace of that name; clients may connect to it from now on.

        ``limits``: its own; `Limits` says which a namespace may have, and what a connection in
        several has. Given before clients come. `None`: the server's, or what was given before.
        Raises `OptionError` for a name that is no string, and for ``"*"``.
        """
        name = namespace_name(namespace)
        if limits is not None:
            if not isinstance(limits, Limits):
                raise OptionError("limits: give a Limits(...), or None for the server's")
            self.registry.own_limits[name] = limits
            self.relay.bound(self.registry.all_limits())
            self.receiver.decoder.settle()
        return self._space(name)

    def _space(self, name: str) -> Namespace:
        known = self.registry.spaces.get(name)
        if known is None:
            known = self.registry.spaces[name] = Namespace(name)
            known._set_server(self)
        return known

    def register_namespace(self, namespace_handler: Any) -> None:
        """Registers a class-based namespace, python-socketio's or ours; handlers it has stay.

        Raises `ValueError` for anything else, and `TypeError` for a method that can't be a handler.
        """
        if isinstance(namespace_handler, type) and issubclass(
            namespace_handler, socketio.Namespace
        ):
            kind = namespace_handler.__name__
            raise OptionError(f"register an object of the class: register_namespace({kind}('/'))")
        if isinstance(namespace_handler, socketio.Namespace):
            own = namespace_name(namespace_handler.namespace, catch_all=True)
            namespace_handler.namespace = own
            plain = type(namespace_handler).trigger_event is socketio.Namespace.trigger_event
            for event in handler_names(namespace_handler):
                method = self.dispatcher.callee(method_of(namespace_handler, event)).fn
                if plain and event == "connection":
                    warn_of_unheard(method)
                elif plain and own != "*":
                    warn_of_missing_sid(event, method)
        super().register_namespace(namespace_handler)
        if isinstance(namespace_handler, Namespace):
            known = self.registry.spaces.get(namespace_handler.name)
            if known is not None and known is not namespace_handler:
                known.share(namespace_handler)
            self.registry.spaces[namespace_handler.name] = namespace_handler
        self.handling.observe_all()

    def use(self, fn: Fn) -> Fn:
        """Registers ``fn(socket)`` to run before ``connection`` in ``"/"``; see `Namespace.use`."""
        return self.of("/").use(fn)

    def to(self, *rooms: Any) -> BroadcastOperator:
        """The sockets in ``rooms`` of ``"/"``."""
        return self.of("/").to(*rooms)

    in_ = to

    def except_(self, *rooms: Any) -> BroadcastOperator:
        """The sockets of ``"/"`` that are in none of ``rooms``."""
        return self.of("/").except_(*rooms)

    @property
    def sockets(self) -> dict[str, Socket]:
        """The connected sockets of ``"/"`` in this process, by sid."""
        return self.of("/").sockets

    def fetch_sockets(self) -> list[Socket]:
        """The connected sockets of ``"/"`` in this process."""
        return self.of("/").fetch_sockets()

    def sockets_join(self, *rooms: Any) -> None:
        """Makes all sockets of ``"/"`` join ``rooms``."""
        self.of("/").sockets_join(*rooms)

    def sockets_leave(self, *rooms: Any) -> None:
        """Makes all sockets of ``"/"`` leave ``rooms``."""
        self.of("/").sockets_leave(*rooms)

    def disconnect_sockets(self, close: bool = False) -> None:
        """Disconnects all sockets of ``"/"``; ``close``: their connections too."""
        self.of("/").disconnect_sockets(close)

    # -- python-socketio's idiom -------------------------------------------------------------------
    #
    # A namespace may be named without its slash; a room is one name. Upstream checks neither.

    def emit(
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        room: Any = None,
        skip_sid: Any = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
    ) -> None:
        """Emits an event to the sockets in ``to``: a room, a sid, or a list of them.

        ``to`` `None`, or left out: ``room``, which says the same; both `None`: everybody in the
        namespace. An empty list: nobody. ``skip_sid``: whom to leave out, a sid, a room or a list
        of them; `None`: nobody. ``data``: the argument; a tuple: several; `None`: none.
        ``callback(*answer)`` runs for each client that acknowledges it; for one that does not, the
        latest 10,000 are kept until it leaves. ``ignore_queue``: not in other processes. Raises
        `OptionError` for what names no room, and `NotServing` as every call from another thread
        does (`rtcio_sync.errors`).
        """
        # `any_thread`, without its call: the way of most events. Before anything is served: here.
        if self._hub_thread.elsewhere() and self._hub_thread.serving:
            return self._hub_thread.run(
                self.emit, event, data, to, room, skip_sid, namespace, callback, ignore_queue
            )
        namespace = namespace_name(namespace)
        if callback is not None and type(callback) is not Waiter:
            check_handler(callback)
        room = room if to is None else to
        who = "all" if room is None else room
        self.logger.info('emitting event "%s" to %s [%s]', event, who, namespace)
        self.manager.emit(
            event,
            data,
            namespace,
            room=room,
            skip_sid=skip_sid,
            callback=callback,
            ignore_queue=ignore_queue,
        )
        return None

    @any_thread
    def enter_room(self, sid: str, room: Any, namespace: str | None = None) -> None:
        """Lets a client join a room.

        Raises `ValueError` for a sid that is unknown and for a room that is another client's own,
        and `OptionError` for what is no room: several of them, `None`.
        """
        check_room(room)
        super().enter_room(sid, room, namespace=namespace_name(namespace))

    @any_thread
    def leave_room(self, sid: str, room: Any, namespace: str | None = None) -> None:
        """Lets a client leave a room; no peer-left is sent. Raises `OptionError` for no room."""
        check_room(room)
        super().leave_room(sid, room, namespace=namespace_name(namespace))

    @any_thread
    def close_room(self, room: Any, namespace: str | None = None) -> None:
        """Lets all clients leave a room. Raises `ValueError` for a client's own and for none."""
        check_room(room)
        super().close_room(room, namespace=namespace_name(namespace))

    @any_thread
    def rooms(self, sid: str, namespace: str | None = None) -> list[Any]:
        """The rooms that a client is in, its own (named by its sid) included."""
        found: list[Any] = super().rooms(sid, namespace=namespace_name(namespace))
        return found

    @any_thread
    def transport(self, sid: str, namespace: str | None = None) -> str:
        """``"polling"`` or ``"websocket"``."""
        return str(super().transport(sid, namespace=namespace_name(namespace)))

    @any_thread
    def get_environ(self, sid: str, namespace: str | None = None) -> Any:
        """The WSGI environ of a client's handshake."""
        return super().get_environ(sid, namespace=namespace_name(namespace))

    @any_thread
    def start_background_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs ``target(*args, **kwargs)`` in a greenlet (or thread) that it returns.

        Another thread than the main one may start it before anything is served: it begins with the
        first request or `listen` then, and `None` is returned. Raises `TypeError` for a coroutine
        function, which nothing would await.
        """
        check_plain(target)
        return super().start_background_task(target, *args, **kwargs)

    def defer_ack(self) -> Ack:
        """Takes over the acknowledgement of the event whose handler calls it.

        What the handlers return is then not sent. ``ack = server.defer_ack()``: ``ack(*answer)``
        sends the acknowledgement, once, whenever that is, from any thread; never called, it is
        withheld. ``ack.wanted`` tells whether the client asked for one. In both idioms; raises
        `OptionError` anywhere else than in a handler of a client's event, before it returns.
        """
        ack = answering.get()
        if ack is None or ack.late:
            raise OptionError(
                "defer_ack() takes over the acknowledgement of the event that is being handled: "
                "call it in the event's handler, before that returns"
            )
        if ack is UNWANTED:
            return Ack(self._hub_thread, self.manager.send_ack, None, None)
        ack.taken = True
        return ack

    @any_thread(in_hub="refuse")
    def call(
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        sid: Any = None,
        namespace: str | None = None,
        timeout: float = 60,
        ignore_queue: bool = False,
    ) -> Any:
        """Emits to one client and waits for its acknowledgement; works inside handlers.

        ``to``: its sid; ``sid`` says the same. ``timeout`` is in seconds. Raises
        `socketio.exceptions.TimeoutError` after it; `DisconnectedError`, a kind of it, as soon as
        the client has left or lost its connection; `OptionError` (a `ValueError`) without a
        recipient; and `NotServing` in the hub, where nothing may wait. Of a client of another
        process nobody hears whether it has left: there the time-out is what ends the wait.
        """
        to = recipients(to, sid)
        if to is None or to == []:
            raise OptionError("Cannot use call() to broadcast: give the sid of a client as to=")
        namespace = namespace_name(namespace)
        if self.manager.nobody_answers(to, namespace):
            raise DisconnectedError(f"{event!r} has nobody to answer it: the client has left")
        waiter = Waiter(self.eio.create_event())
        try:
            self.emit(
                event,
                data=data,
                to=to,
                namespace=namespace,
                callback=waiter,
                ignore_queue=ignore_queue,
            )
            answered = waiter.event.wait(timeout=timeout)
        finally:
            self.manager.forget(waiter, to)
        if waiter.left:
            raise DisconnectedError(f"the client left before it answered {event!r}")
        if not answered:
            raise exceptions.TimeoutError()
        answer = waiter.answer
        return answer if len(answer) > 1 else answer[0] if answer else None

    @any_thread(in_hub="spawn")
    def disconnect(
        self, sid: str, namespace: str | None = None, ignore_queue: bool = False
    ) -> None:
        """Disconnects one client from a namespace; its connection stays for the others.

        One that is still being let in (in a ``connect`` handler, a middleware, or while one runs)
        is refused: its client gets ``connect_error``.
        """
        namespace = namespace_name(namespace)
        member = self.manager.member(sid, namespace)
        if member is not None and member.stage in (Stage.LEAVING, Stage.GONE, Stage.AWAY):
            self.lifecycle.end(member)
            return
        if member is not None and member.stage is Stage.CONNECTING:
            self.lifecycle.kick(member)
            return
        here = self.manager.is_connected if ignore_queue else self.manager.can_disconnect
        if not here(sid, namespace):
            return
        self._send_packet(
            self.manager.eio_sid_from_sid(sid, namespace),
            self.packet_class(packet.DISCONNECT, namespace=namespace),
        )
        found = self.manager.member(sid, namespace)
        self.lifecycle.disconnect(found, "server namespace disconnect")

    @any_thread
    def get_session(self, sid: str, namespace: str | None = None) -> dict[str, Any]:
        """The app's own data of one client; until its last ``disconnect`` handler has run.

        Raises `KeyError` for a client that is not connected to the namespace.
        """
        name = namespace_name(namespace)
        kept: dict[str, Any] = self._kept(sid, name).setdefault(name, {})
        return kept

    @any_thread
    def save_session(self, sid: str, session: dict[str, Any], namespace: str | None = None) -> None:
        """Replaces what `get_session` gives. Raises `KeyError` as it does."""
        name = namespace_name(namespace)
        self._kept(sid, name)[name] = session

    def _kept(self, sid: str, namespace: str) -> dict[str, Any]:
        # By the member: the engine forgets a connection before its `disconnect` handlers run.
        member = self.manager.member(sid, namespace)
        if member is None:
            raise KeyError("Session not found")
        link = member.link
        kept: dict[str, Any] = (
            link.session if link is not None else self.eio.get_session(member.eio_sid)
        )
        return kept

    @any_thread(in_hub="spawn")
    def shutdown(self) -> None:
        """Closes every client so that it comes back, lets handlers finish, and stops the clock."""
        serving.drain(self)


#: The order of python-socketio's own positional arguments.
_POSITIONS = (
    "client_manager",
    "logger",
    "serializer",
    "json",
    "async_handlers",
    "always_connect",
    "namespaces",
)


def _named(args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    """``Server(app)``, as other Flask extensions are written, and python-socketio's positions."""
    names = ("app",) if args and isinstance(args[0], flask.Flask) else _POSITIONS
    if len(args) > len(names):
        raise OptionError("Server(): give options by their names, like Server(app=app)")
    twice = [name for name in names[: len(args)] if name in options]
    if twice:
        raise OptionError(f"Server(): {twice[0]} is given twice")
    return {**dict(zip(names, args, strict=False)), **options}


def _upstream_options() -> set[str]:
    """The options that the installed python-socketio and python-engineio accept."""
    found: set[str] = set()
    for each in (*socketio.Server.__mro__, *engineio.Server.__mro__):
        if "__init__" in vars(each) and each is not object:
            parameters = inspect.signature(vars(each)["__init__"]).parameters.values()
            found.update(one.name for one in parameters if one.kind is not one.VAR_KEYWORD)
    return found - {"self", "args"}


def _logger(name: str, asked: Any) -> Any:
    """The logger for one of upstream's layers; a handler is never added to it."""
    if asked is not None and not isinstance(asked, bool):
        return UpstreamLogger(asked) if hasattr(asked, "info") else asked
    level = logging.INFO if asked else logging.ERROR
    return UpstreamLogger(OwnLevel(logging.getLogger(name), level))
