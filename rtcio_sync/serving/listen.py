"""`Server.listen`: a process serves until a signal or `Server.stop`, on gevent's pywsgi."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from gevent.event import Event

from ..collector import frozen
from ..hub.forked import serves
from .idle import Idle
from .options import Listening
from .ports import Application, Engine
from .pywsgi import HttpServer, handler
from .stop import Stop, on_signals
from .supervised import begin_under_supervisor, inherited
from .threads import listen_on_threads
from .warnings import warn_if_unpatched
from .workers import Workers

__all__ = ["listen", "signaling_only"]

log = logging.getLogger(__name__)


def listen(
    engine: Engine,
    stop: Stop,
    asked: Listening,
    application: Application,
    path: str | None = None,
    workers: Workers | None = None,
) -> None:
    """Serves ``application`` until a signal or `Server.stop`. # greenlet, the main one

    ``path``: of the Engine.IO endpoint, with the slash at its end; `None`: no request is special.
    ``workers``: joins the other workers of a supervisor, if one has started this process.
    """
    ready = asked.ready or _log_port
    engine.hub_thread.bind(anew=True)
    with frozen():
        if engine.async_mode == "threading":
            listen_on_threads(stop, asked, application, ready)
        else:
            _listen_on_gevent(engine, stop, asked, application, path, ready, workers)


def _listen_on_gevent(
    engine: Engine,
    stop: Stop,
    asked: Listening,
    application: Application,
    path: str | None,
    ready: Callable[[int], Any],
    workers: Workers | None,
) -> None:
    warn_if_unpatched()
    http = _http_server(engine, asked, application, path)
    event = Event()
    stop.listens(event)
    restore = on_signals(event.set)
    engine.on_fork = restore
    try:
        leave: Callable[[], None] | None = None
        if workers is not None:
            leave = begin_under_supervisor(workers, http, event.set)
        http.start()
        serves(engine, http.socket)
        ready(http.server_port or asked.port)
        event.wait()
        if leave is not None:
            leave()
        http.stop_accepting()
        stop.drain()
    finally:
        engine.on_fork = None
        restore()
        http.close()
        if workers is not None:
            workers.end()


def _http_server(
    engine: Engine, asked: Listening, application: Application, path: str | None
) -> HttpServer:
    options = {"log": None, "error_log": logging.getLogger("rtcio_sync.wsgi"), **asked.pywsgi}
    if asked.tls is not None:
        options["ssl_context"] = asked.tls
    patience = engine.limits.handshake_timeout
    idle = Idle(engine.idle_bound, patience)
    logs = options["log"] is not None
    # An app that wants its own handlers, pool or log gets all requests from pywsgi.
    plain = asked.tls is None and not logs and not {"handler_class", "spawn"} & options.keys()
    options.setdefault("handler_class", handler(patience, idle, logs=logs))
    http = HttpServer(inherited() or (asked.host, asked.port), application, **options)
    http.patience, http.idle = patience, idle
    if plain and path is not None:
        http.answer_directly(path, engine.hub_thread.spawn)
    return http


def _log_port(port: int) -> None:
    log.debug("listening on port %s", port)


def signaling_only(path: str, handle_request: Application) -> Application:
    """The WSGI application of a server that wraps no app: 404 outside of the Socket.IO path."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        asked = environ.get("PATH_INFO", "")
        if asked == path or asked.startswith(path + "/"):
            return handle_request(environ, start_response)
        start_response("404 NOT FOUND", [("Content-Type", "text/plain")])
        return [b"Not Found"]

    return application
