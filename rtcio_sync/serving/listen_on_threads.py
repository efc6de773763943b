"""`Server.listen` on threads: Werkzeug's server, with a thread for each request."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from ..hub.forked import serves
from ..logs import tell
from .listen_options import Listening
from .ports import Application, Engine
from .pywsgi import UNREADABLE
from .stop import Stop, on_signals_of_threads

__all__ = ["listen_on_threads"]

log = logging.getLogger(__name__)


def listen_on_threads(
    engine: Engine,
    stop: Stop,
    asked: Listening,
    application: Application,
    ready: Callable[[int], Any],
) -> None:
    """Serves until a signal or `Server.stop`. # the main thread, or another"""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            # Requests are not logged, as on gevent: the session ids of polling clients stand in
            # them. What Werkzeug calls an error here is a client's.
            if type == "error":
                tell(log, UNREADABLE, address=self.client_address[0])

    http = make_server(
        asked.host,
        asked.port,
        application,
        threaded=True,
        request_handler=Handler,
        ssl_context=asked.tls,
    )
    event = threading.Event()
    with stop.listens(event) as first:
        restore = on_signals_of_threads(stop.end)
        if first:
            engine.on_fork = restore
        serves(engine, http.socket)
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        try:
            ready(http.server_port)
            event.wait()
            stop.drain_in_turn(event)
        finally:
            if thread.is_alive():  # in a forked child it is not
                http.shutdown()
                thread.join()  # it closes the port; or else who connects now waits for nothing
            http.server_close()
            if first:
                engine.on_fork = None
            restore()
