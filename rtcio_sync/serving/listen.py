"""A server process: what it is told at its start, `listen`, and how it ends.

What a stopping server owes its clients is the same everywhere: a WebSocket is closed with code 1001
(RFC 6455 7.4.1), a poll answered 400. So they all come back. Neither Socket.IO's DISCONNECT nor
Engine.IO's CLOSE packet is sent: after the first no client comes back, after the second no Python
client.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import gevent
from gevent import monkey
from gevent.event import Event
from socketio.pubsub_manager import PubSubManager

from ..flask import extension as flask
from ..hub.forked import serves
from ..logs import tell
from ..transport import stopping
from .options import Listening
from .pywsgi import HttpServer, handler

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["drain", "listen", "on_first_request", "warn_of_many_workers"]

log = logging.getLogger(__name__)

_UNREADABLE = "a request of %(rtcio_address)s could not be read"

AT_ONCE = 100  # clients that are not worth being spread
SPREAD_STEPS = 20
SPREAD = 0.7  # of the drain; the rest is for handlers


def on_first_request(server: Server, environ: dict[str, Any]) -> None:
    """The process has begun to serve. # greenlet"""
    if server.eio.async_mode == "gevent":
        if server._stop is None:  # `listen` has said it
            warn_if_unpatched()
        patience = server.options.drain_seconds + 1
        stopping.watch_stop(environ, lambda: drain(server), patience=patience)
    elif server.eio.async_mode == "threading":
        stopping.watch_worker_on_threads(lambda: drain(server))


def warn_if_unpatched() -> None:
    """Warns of a process whose blocking calls would stop every connection."""
    if not monkey.is_module_patched("socket"):
        log.warning(
            "this process is not monkey-patched, so that one blocking call stops every client: "
            "begin the main module with `from gevent import monkey` and `monkey.patch_all()`, or "
            "run it under `gunicorn -k gevent`, which does it"
        )


def warn_of_many_workers(server: Server) -> None:
    """Warns, in one process of all, of gunicorn workers that cannot see each other's clients."""
    if isinstance(server.manager, PubSubManager):
        return
    frame = sys._getframe()
    while frame is not None:
        owner: Any = frame.f_locals.get("self")
        if type(owner).__module__.startswith(("gunicorn.workers.", "gunicorn.arbiter")):
            cfg = owner.cfg
            # The Arbiter (--preload) has no age; of the workers the first speaks.
            if cfg.workers > 1 and getattr(owner, "age", 1) == 1:
                log.warning(
                    "gunicorn runs %d workers, and clients of one cannot reach those of another: "
                    "use `-w 1`, or Server(client_manager=socketio.RedisManager(url)) behind a "
                    "proxy with sticky sessions",
                    cfg.workers,
                )
            return
        frame = frame.f_back  # type: ignore[assignment]


def drain(server: Server) -> None:
    """Closes every client so that it comes back and lets handlers finish. # greenlet

    Many are closed a few at a time, spread over most of the drain, so that they do not all come
    back to the next worker in one instant.
    """
    eio = server.eio
    eio.stopping = True
    until = time.monotonic() + server.options.drain_seconds
    clients = list(eio.sockets.values())
    steps = SPREAD_STEPS if len(clients) > AT_ONCE else 1
    for step in range(steps):
        for client in clients[step::steps]:
            client.send_on()
        if step + 1 < steps:
            server.sleep(server.options.drain_seconds * SPREAD / steps)
    server.sleep(0.05)  # at least a turn of the loop: the close frames go out in it
    while server.eio.working and time.monotonic() < until:
        server.sleep(0.02)
    server.eio.shutdown()
    server.eio.hub_thread.end()


def listen(server: Server, asked: Listening) -> None:
    """Serves until a signal or `Server.stop`. # greenlet, the main one"""
    app = asked.app if asked.app is not None else server.app
    application = not_found(server) if app is None else flask.serving(server, app)
    ready = asked.ready or _log_port
    server.eio.hub_thread.bind(anew=True)
    if server.async_mode == "threading":
        _listen_on_threads(server, asked, application, ready)
        return
    warn_if_unpatched()
    options = {"log": None, "error_log": logging.getLogger("rtcio_sync.wsgi"), **asked.pywsgi}
    if asked.tls is not None:
        options["ssl_context"] = asked.tls
    patience = server.options.limits.handshake_timeout
    logs = options["log"] is not None
    options.setdefault("handler_class", handler(patience, server.eio.idle_bound, logs=logs))
    http = HttpServer((asked.host, asked.port), application, **options)
    http.patience = patience
    stop = server._stop = Event()
    restore = _on_signals(stop.set)
    server.eio.on_fork = restore
    try:
        http.start()
        serves(server.eio, http.socket)
        ready(http.server_port or asked.port)
        stop.wait()
        http.stop_accepting()
        drain(server)
    finally:
        server.eio.on_fork = None
        restore()
        http.close()


def _on_signals(stop: Callable[[], Any]) -> Callable[[], None]:
    """Has SIGTERM and SIGINT call ``stop``; the result undoes it."""
    watchers = {}
    # Only the main thread may ask for signals; elsewhere `Server.stop` remains.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            watchers[number] = gevent.signal_handler(number, stop)

    def restore() -> None:
        for number, watcher in watchers.items():
            watcher.cancel()
            # libev leaves the system's default behind, which Python does not know of.
            signal.signal(number, signal.getsignal(number) or signal.SIG_DFL)

    return restore


def _log_port(port: int) -> None:
    log.debug("listening on port %s", port)


def _listen_on_threads(
    server: Server, asked: Listening, application: Any, ready: Callable[[int], Any]
) -> None:
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            # Requests, which have the session ids of polling clients in them, are not logged, as
            # they are not on gevent; what Werkzeug calls an error here is a client's.
            if type == "error":
                tell(log, _UNREADABLE, address=self.client_address[0])

    http = make_server(
        asked.host,
        asked.port,
        application,
        threaded=True,
        request_handler=Handler,
        ssl_context=asked.tls,
    )
    stop = server._stop = threading.Event()
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGTERM, signal.SIGINT):
            previous[each] = signal.signal(each, lambda *_: stop.set())
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        ready(http.server_port)
        stop.wait()
        drain(server)
        http.shutdown()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def not_found(server: Server) -> Callable[..., Iterable[bytes]]:
    """The WSGI application of a server that wraps no app."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == server.path or path.startswith(server.path + "/"):
            answer: Iterable[bytes] = server.handle_request(environ, start_response)
            return answer
        start_response("404 NOT FOUND", [("Content-Type", "text/plain")])
        return [b"Not Found"]

    return application
