"""`SocketIO.run`: `Server.listen`, with Flask's debugger and Werkzeug's reloader if asked for.

Used of Werkzeug's private names, asserted in ``tests/test_upstream.py``: the module ``_reloader``
with ``run_with_reloader`` and ``_get_args_for_reloading``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import flask
from werkzeug._reloader import _get_args_for_reloading, run_with_reloader
from werkzeug.debug import DebuggedApplication

from ..flask.extension import endpoint_of
from ..starting.reload import is_reloaded, reload_on_changes
from .current import check_app

__all__ = ["run"]

AGAIN = 0.2  # seconds after which a server that had not begun to listen is asked to stop again
PATIENCE = 5.0  # seconds more than its drain that a server may take to stop

#: In the environment of a child of Werkzeug's reloader; apps look at it too.
_CHILD = {"WERKZEUG_RUN_MAIN": "true"}


def run(
    server: Any,
    app: flask.Flask,
    host: str | None,
    port: int | None,
    *,
    debug: bool | None = None,
    use_reloader: bool | None = None,
    reloader_options: Mapping[str, Any] | None = None,
    extra_files: Iterable[str] | None = None,
    log_output: bool | None = None,
    allow_unsafe_werkzeug: bool = False,
    **options: Any,
) -> None:
    """Serves ``app``. `None`: as ``debug`` says, and that as the app does."""
    check_app(app)
    if debug is not None:
        app.debug = debug
    endpoint = endpoint_of(server, app)
    if app.debug and endpoint is not None:
        # Inside of the endpoint: only HTTP requests of the app get the debugger.
        endpoint.inner = DebuggedApplication(endpoint.inner, evalex=True)
    logs = app.debug if log_output is None else log_output
    if logs and server.eio.async_mode != "threading":
        options.setdefault("log", "default")
    listen = partial(
        server.listen, port or _port_of(app), host=host or "127.0.0.1", app=app, **options
    )
    if app.debug if use_reloader is None else use_reloader:
        watched = dict(reloader_options or {})
        if extra_files:
            watched["extra_files"] = extra_files
        if _CHILD.items() <= os.environ.items():
            patience = server.options.drain_seconds + PATIENCE
            _listen_until_changed(listen, server.stop, watched, patience)
        else:
            sys.exit(reload_on_changes(_get_args_for_reloading(), _CHILD))
    else:
        listen()


def _listen_until_changed(
    listen: Callable[[], None], stop: Callable[[], None], watched: dict[str, Any], patience: float
) -> None:
    """Serves in a thread until a file has changed, or a signal. The server drains at the end.

    Werkzeug ends the process from the main thread, and the thread would end at once with it.
    """
    is_reloaded()  # it takes the parent's variable out of the app's environment
    begun, ended = threading.Event(), threading.Event()

    def serve() -> None:
        begun.set()
        try:
            listen()
        finally:
            ended.set()

    try:
        run_with_reloader(serve, **watched)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the parent sends it after Ctrl-C as well
        for _ in range(round(patience / AGAIN) if begun.is_set() else 0):
            stop()
            if ended.wait(AGAIN):
                break


def _port_of(app: flask.Flask) -> int:
    name = app.config["SERVER_NAME"]
    return int(name.rsplit(":", 1)[1]) if name and ":" in name else 5000
