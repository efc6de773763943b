"""`Server.listen`: a process serves until a signal or `Server.stop`, on gevent's pywsgi."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from gevent.event import Event

from ..errors import NotServing
from ..functions import called
from ..garbage_collector import frozen
from ..hub.forked import serves
from ..starting.addresses import Addresses
from ..starting.wrong_path import warned_of
from ..transport.ports import CONNECTION
from ..transport.server_stop import close_listener
from .idle_connections import Idle
from .listen_on_threads import listen_on_threads
from .listen_options import Listening
from .ports import Application, Engine
from .pywsgi import HttpServer, handler
from .startup_warnings import warn_if_unpatched
from .stop import Stop, on_signals
from .supervised_worker import begin_under_supervisor, inherited
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
    allowed: str = "",
) -> None:
    """Serves ``application`` until a signal or `Server.stop`. # greenlet, the main one

    ``path``: of the Engine.IO endpoint, with the slash at its end; `None`: no request is special.
    ``workers``: joins the other workers of a supervisor, if one has started this process.
    ``allowed``: which pages may connect, in words.
    """
    ready = partial(called, asked.ready) if asked.ready else partial(_tell, asked, allowed)
    if not stop.serving:
        engine.hub_thread.bind(anew=True)
    elif engine.hub_thread.elsewhere():
        raise NotServing(
            "this Server serves in another thread: to listen on a further port, call listen() in "
            "that thread, in a greenlet, or make another Server"
        )
    with frozen():
        if engine.async_mode == "threading":
            listen_on_threads(engine, stop, asked, application, ready)
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
    with stop.listens(event) as first:
        # What there is once in a process is the first one's: another may fail, as on a taken port.
        workers = workers if first else None
        restore = on_signals(stop.end) if first else None
        engine.on_fork = restore or engine.on_fork
        try:
            leave: Callable[[], None] | None = None
            if workers is not None:
                leave = begin_under_supervisor(workers, http, stop.end)
                workers.begin_alone(engine.async_mode)
            http.start()
            serves(engine, http.socket)
            ready(http.server_port or asked.port)
            event.wait()
            _end_accepting(stop, http, leave)
            stop.drain_in_turn(event)
        finally:
            if restore is not None:
                engine.on_fork = None
                restore()
            http.close()
            if workers is not None:
                workers.end()


def _end_accepting(stop: Stop, http: HttpServer, leave: Callable[[], None] | None) -> None:
    """No further clients come. ``leave``: moves those that are there to another worker."""
    if leave is not None:
        leave()
    if stop.is_followed():
        http.stop_accepting()
    else:
        close_listener(http)
    # Before the last requests that came are answered, so that no others come.
    stop.on_drained.insert(0, http.idle.end)


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


def _tell(asked: Listening, allowed: str, port: int) -> None:
    """Says where it listens: in the log, or on stderr if the program has set up none."""
    found = Addresses.of(asked.host, port, tls=asked.tls is not None)
    here = "" if found.here == found.listening else f" (open {found.here})"
    pages = allowed.removesuffix(" may connect")
    said = f"listening on {found.listening}{here}; pages that may connect: {pages}"
    if log.hasHandlers():
        log.info("%s", said)
    else:
        sys.stderr.write(f"rtcio_sync: {said}\n")
        sys.stderr.flush()


def signaling_only(
    path: str, handle_request: Application, turn: Callable[[], None] | None = None
) -> Application:
    """The WSGI application of a server that wraps no app: the Socket.IO path, and a page at ``/``.

    The page says what runs here. All other paths are answered 404. ``turn()`` waits until a request
    for these may be answered.
    """

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        asked = environ.get("PATH_INFO", "")
        if asked == path or asked.startswith(path + "/"):
            return handle_request(environ, start_response)  # at once, as `extension.Endpoint` does
        if turn is not None and CONNECTION not in environ:
            turn()
        if asked in ("", "/") and environ.get("REQUEST_METHOD") in ("GET", "HEAD"):
            start_response("200 OK", _PAGE_HEADERS)
            return [_PAGE.encode()]
        told = warned_of(environ, start_response, path)
        told("404 NOT FOUND", [("Content-Type", "text/plain")])
        return [b"Not Found"]

    return application


# It repeats nothing of the request, and does not tell the version.
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>A signaling server</title>
<h1>A signaling server runs here</h1>
<p>It is the Python package <code>rtcio-sync</code>. This server has no other page.
Pages connect to this address with the <a href="https://docs.rtcio.dev">rtc.io</a> client:
<code>io("http://…")</code>. The command <code>rtcio-sync</code> starts a server with a page for
calls. <code>pydoc rtcio_sync.Server</code> shows all options.</p>
</html>
"""
_PAGE_HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Length", str(len(_PAGE.encode()))),
    ("Content-Security-Policy", "default-src 'none'"),
    ("X-Content-Type-Options", "nosniff"),
]
