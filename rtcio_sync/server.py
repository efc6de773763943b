"""`Server`: its options, and its methods for serving an app.

Its other methods are in `socketio.node_api` and `socketio.python_api`. `server_parts` makes its
parts, `server_cluster` connects it with other servers.

Overridden of ``socketio.Server``, each asserted in ``tests/test_upstream.py``:
``_engineio_server_class`` (our engine), ``reserved_events``, and what `socketio.server_hooks` and
the two API modules list.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from . import prometheus
from .adapter.emit import RoomIndex
from .adapter.session_store import Recovery
from .cluster.pubsub_manager import graft
from .cluster.redis_options import VARIABLE, cluster_of
from .cluster.totals import between_hosts
from .config.option_names import METHODS
from .config.option_values import check_json
from .config.origins import described_origins
from .engineio import server as engine
from .errors import NotServing, OptionError
from .flask import extension
from .flask.context import handler_context, report
from .hub.thread import HubThread, any_thread
from .metrics import Counters
from .options import Options, engineio_options
from .parser.packet import is_stock, packet_class
from .server_cluster import ClusteredServer
from .server_options import ServerOptions
from .serving.gunicorn import heed_shortage, keep_addresses, on_worker
from .serving.gunicorn_http import answer_directly
from .serving.listen import listen, signaling_only
from .serving.listen_options import Listening
from .serving.stop import Stop
from .socketio import handler_call
from .socketio.default_listeners import add_default_listeners
from .socketio.handler_call import Dispatcher
from .socketio.server_arguments import named, upstream_logger, upstream_options
from .socketio.server_engine import EngineView
from .testing import TestClient

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Server"]

Fn = TypeVar("Fn", bound=Callable[..., Any])


class Server(ClusteredServer):
    """The signaling server for rtc.io clients: a `socketio.Server` with the default listeners.

    Every option of ``socketio.Server`` and ``engineio.Server`` is accepted, and ours; each is
    described below. Raises `OptionError` for an unknown option, for an invalid value and for two
    options that contradict each other. Every public method may be called from any thread; it raises
    `NotServing` when the server has stopped or does not answer for 5 s.
    """

    #: The events that a catch-all handler does not see: upstream's list, and ours.
    reserved_events = ["connect", "disconnect", "disconnecting"]  # noqa: RUF012

    def __init__(self, *args: Any, **options: Unpack[ServerOptions]) -> None:
        given = named(args, dict(options), extension.is_app)
        self.options = Options.of(given, upstream_options())
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
        #: The Engine.IO server as Node's users know it: `EngineView`.
        self.engine = EngineView(
            self.eio.sockets, self.dispatcher, take_turn=self.eio.turn_of_request
        )
        self.engine.begin = self._watch_engine
        self._stop = Stop(self.eio, drain_seconds=chosen.drain_seconds)
        check_json(chosen.json)
        late = chosen.json is not None or not is_stock(self.packet_class)
        self.packet_class: Any = packet_class(self.packet_class, chosen.json)
        self._build(late=late)
        self._connect_parts()
        self.eio.on_first_request = self._first_request
        self.eio.app_log = self._app_log
        add_default_listeners(self)
        on_worker(heed_shortage)
        on_worker(keep_addresses)
        self._join_workers()
        if chosen.app is not None:
            self.init_app(chosen.app)

    if not TYPE_CHECKING:  # a type checker would take every name for one that there is

        def __getattr__(self, name: str) -> Any:
            if name in METHODS:
                raise AttributeError(f"Server has no {name!r}; {METHODS[name]}")
            return object.__getattribute__(self, name)  # raises as if this method were not here

    def _app_log(self) -> logging.Logger:
        log: logging.Logger = handler_call.log if self.app is None else self.app.logger
        return log

    def _first_request(self, environ: dict[str, Any]) -> None:  # greenlet
        self._check_hosts()
        self._stop.first_request(environ)
        if self._workers is not None:
            self._workers.begin_alone(self.eio.async_mode)
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

    def _watch_engine(self) -> None:
        self.eio.watcher = self.engine

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
            self._use_cluster(cluster_of(self.options.cluster, app.config.get(VARIABLE)))

    def listen(self, port: int | str, host: str = "0.0.0.0", **options: Any) -> None:
        """Serves until SIGTERM, SIGINT or `stop`; then ends connections so that clients reconnect.

        ``app``: the WSGI application to serve beside the Socket.IO path; by default the first
        wrapped Flask app. An application that already contains this server is served unchanged.
        ``port``: a number; 0: any free port. ``host``: a name or an address. ``ready(port)`` is
        called once clients can connect; by default a line says where it listens and which pages may
        connect, in the log, or on stderr if none is set up. TLS: ``ssl_context``, ``(certfile,
        keyfile)`` or an `ssl.SSLContext`; or ``certfile`` and ``keyfile`` (and ``ca_certs``,
        ``cert_reqs``, ``ciphers``). The other ``options`` go to gevent's ``pywsgi.WSGIServer``
        (``backlog``, ``spawn``, ``log``, ``error_log``, ``handler_class``, ``environ``). Raises
        `OptionError` for an invalid argument, `OSError` if the address is not available, and
        `NotServing` if this server has stopped before. To serve on several ports, call it for each
        in a greenlet of the same thread (on threads: in a thread).
        """
        if self.eio.stopping:
            raise NotServing("this Server has stopped, and does not serve again: make another one")
        threads = self.eio.async_mode == "threading"
        known = {each.name for each in fields(Options)}
        asked = Listening.of(port, host, options, threads=threads, of_server=known)
        self._check_hosts()
        app = asked.app if asked.app is not None else self.app
        if app is None:
            application = signaling_only(self.path, self.handle_request, self.turn_of_request)
        else:
            application = extension.with_signaling(self, app)
        allowed = described_origins(self.options.cors_allowed_origins)
        listen(self.eio, self._stop, asked, application, f"{self.path}/", self._workers, allowed)

    def stop(self) -> None:
        """Ends each `listen`. Any greenlet or thread may call it, any number of times."""
        self._stop.ask()

    def close(self) -> None:
        """Ends `listen`, as `stop`, or, if it was not called, each connection.

        The clients come back, as those of Node's ``io.close()`` do. Under gunicorn it ends the
        connections of this worker, and the worker serves on.
        """
        if self._stop.listening:
            self.stop()
        else:
            self._end_connections()

    @any_thread
    def _end_connections(self) -> None:
        self._send_all_on()

    def attach(self, app: Any) -> None:
        """Wraps a Flask app: `init_app`, with Node's name. Raises `OptionError` for a port."""
        if isinstance(app, (int, str)):
            raise OptionError(f"attach({app!r}): to serve on a port, write listen({app!r})")
        self.init_app(app)

    def test_client(self, app: Any = None, namespace: str = "/", **options: Any) -> TestClient:
        """A connected client without sockets, for tests of an app's own handlers.

        ``app``: the Flask app in whose contexts handlers run; `None`: the first wrapped one.
        For ``options`` see `rtcio_sync.testing.TestClient`.
        """
        return TestClient(self, app if app is not None else self.app, namespace, **options)

    @property
    def metrics_app(self) -> Callable[..., Iterable[bytes]]:
        """A WSGI application with the `stats` of this host's workers as Prometheus metrics.

        Raises `RuntimeError` without the extra ``prometheus``.
        """
        made: Callable[..., Iterable[bytes]] | None = self._metrics
        if made is None:
            made = self._metrics = prometheus.metrics_app(partial(self.stats, cluster="host"))
        return made

    @any_thread
    def stats(self, *, cluster: bool | Literal["host"] = False) -> dict[str, Any]:
        """Counters since the start, and current numbers; without names and ids.

        ``cluster``: ``"host"``: of all workers of this host together, also of those that have died;
        `True`: of those of all hosts that live, too. Waits for the others, at most 5 s, and raises
        `NotServing` in the hub. `False`: of this process.

        ``connected``, ``away``, ``connections``, ``rooms``, ``send_buffer_bytes``,
        ``recovery_bytes``, ``greenlets``, ``hub_lag_seconds`` (the maximum of the last 15 s),
        ``workers`` (those of this host that are one server, this one included), ``nodes`` (the same
        of all hosts), ``degraded`` (whether the cluster's Redis does not answer, or refuses),
        ``cluster_oldest_seconds`` (how long the oldest message for another host waits to be
        acknowledged) and ``cluster_round_trip_seconds`` (to Redis and back) are current numbers;
        the others count since the start. The dicts ``disconnects_by_reason``, ``dropped``,
        ``closed`` and ``cluster_dropped`` have a count for each reason.
        """
        if cluster not in (False, True, "host"):
            raise OptionError(f"stats(cluster={cluster!r:.100}): give True, False or 'host'")
        if self._totals is None or not cluster:
            return self._figures()
        return self._totals.of_all(self.manager, hosts=cluster is True)

    def _figures(self) -> dict[str, Any]:
        count = self.counters
        rooms = sum(len(rooms) - 1 for rooms in list(self.manager.rooms.values()))
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
            **between_hosts(self._node),
        }

    @any_thread(in_hub="spawn")
    def shutdown(self) -> None:
        """Ends each connection so that its client comes back, waits for handlers, stops timers."""
        self._stop.drain()


if Server.__doc__ and Options.__doc__:  # without -OO: help(Server) has the options, too
    Server.__doc__ += Options.__doc__.partition("\n")[2]
