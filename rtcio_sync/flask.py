"""Flask: the app that a server wraps, and the contexts in which its handlers run.

The one module that imports flask. State: ``app.extensions["rtcio"]`` is the app's `Server`.
"""

from __future__ import annotations

import copy
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import click
import flask
from flask import Flask
from flask.cli import AppGroup, ScriptInfo, pass_script_info
from werkzeug.middleware.proxy_fix import ProxyFix

from . import dispatch
from .errors import OptionError

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Flask", "commands", "handler_context", "init_app", "report"]

EXTENSION = "rtcio"
_APP = "rtcio.app"
_SESSION = "rtcio.session"
_PATCHED = "_RTCIO_PATCHED"


class Endpoint:
    """The WSGI middleware: the Socket.IO path goes to the server, all else to the app."""

    def __init__(self, server: Server, app: flask.Flask, inner: Any) -> None:
        self.server = server
        self.app = app
        self.inner = inner

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        path, base = environ.get("PATH_INFO", ""), self.server.path
        if path == base or path.startswith(base + "/"):
            return self._signal(environ, start_response)
        return self.inner(environ, start_response)  # type: ignore[no-any-return]

    def _signal(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        environ[_APP] = self.app
        fix = _proxy_fix(self.inner)
        if fix is not None and "werkzeug.proxy_fix.orig" not in environ:
            # The app was wrapped in it before it was given to us: it speaks for our requests too.
            fix = copy.copy(fix)
            fix.app = self.server.handle_request
            return fix(environ, start_response)
        answer: Iterable[bytes] = self.server.handle_request(environ, start_response)
        return answer


def _proxy_fix(inner: Any) -> ProxyFix | None:
    """The ProxyFix among the middlewares around an app; they name what they wrap in these ways."""
    while inner is not None and not isinstance(inner, ProxyFix):
        names = ("app", "wsgi_app", "application", "inner")
        attributes = getattr(inner, "__dict__", {})
        inner = next((attributes[name] for name in names if name in attributes), None)
    return inner


def init_app(server: Server, app: flask.Flask) -> None:
    """Wraps ``app``, once. Raises `OptionError` when it has a server already."""
    known = app.extensions.get(EXTENSION)
    if known is server:
        return
    if known is not None:
        raise OptionError(f"{app.name!r} has a Server already: app.extensions[{EXTENSION!r}]")
    app.extensions[EXTENSION] = server
    app.wsgi_app = Endpoint(server, app, app.wsgi_app)  # type: ignore[method-assign]


# -- contexts: greenlet ----------------------------------------------------------------------------


def handler_context(
    environ: Any, sid: str, namespace: str, event: str, args: tuple[Any, ...]
) -> AbstractContextManager[None]:
    """An application context and a request context built from a connection's handshake.

    ``request.sid``, ``request.namespace`` and ``request.event`` are there as Flask-SocketIO has
    them. The session is read from the handshake once; what handlers change in it stays with the
    connection, because no response goes out that could carry it back to the browser.
    """
    app = environ.get(_APP) if isinstance(environ, dict) else None
    if app is None:
        return dispatch.NO_CONTEXT
    return _in_app(app, environ, sid, namespace, event, args)


@contextmanager
def _in_app(
    app: flask.Flask,
    environ: dict[str, Any],
    sid: str,
    namespace: str,
    event: str,
    args: tuple[Any, ...],
) -> Iterator[None]:
    # A copy: werkzeug puts the request itself into its environ.
    request_environ = {**environ, "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr}
    context = app.request_context(request_environ)
    slot = "_session" if hasattr(context, "_session") else "session"
    if _SESSION in environ:
        setattr(context, slot, environ[_SESSION])
    with context:
        environ[_SESSION] = flask.session._get_current_object()  # type: ignore[attr-defined]
        request: Any = flask.request
        request.sid = sid
        request.namespace = namespace
        request.event = {"message": event, "args": args}
        yield


def report(environ: Any, event: str, who: dispatch.Who) -> None:
    """Logs a handler's exception where the app's own errors go."""
    app = environ.get(_APP) if isinstance(environ, dict) else None
    dispatch.report(environ, event, who, dispatch.log if app is None else app.logger)


# -- the command line ------------------------------------------------------------------------------

commands = AppGroup("rtcio", help="Serve the app together with its rtc.io signaling.")


@commands.command("run")
@click.option("--host", "-h", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", "-p", default=5000, show_default=True, help="Port to listen on.")
@pass_script_info
def run(info: ScriptInfo, host: str, port: int) -> None:
    """Serves the app and its signaling on gevent, WebSockets included."""
    if _PATCHED not in os.environ:
        # gevent has to replace sockets, threads and TLS before anything imports them, and `flask`
        # has imported them already: the same command once more, in a process that begins with it.
        start = "from gevent import monkey; monkey.patch_all(); from flask.cli import main; main()"
        os.environ[_PATCHED] = "1"
        os.execv(sys.executable, [sys.executable, "-c", start, *sys.argv[1:]])
    os.environ.pop("FLASK_RUN_FROM_CLI", None)
    app = info.load_app()
    server: Any = app.extensions.get(EXTENSION)
    if server is None:
        raise click.ClickException(
            "the app has no rtcio_sync.Server: write Server(app=app) where the app is made"
        )
    click.echo(f" * Serving {app.name!r} with signaling on http://{host}:{port}{server.path}/")
    try:
        server.listen(port, host=host, app=app)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from error
