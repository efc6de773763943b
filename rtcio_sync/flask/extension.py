"""Flask: the app that a server wraps, and the contexts in which its handlers run.

The one module that imports flask. State: ``app.extensions["rtcio"]`` is the app's `Server`.
"""

from __future__ import annotations

import copy
import functools
import inspect
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import click
import flask
import socketio
from flask import Flask
from flask.cli import AppGroup, ScriptInfo, pass_script_info
from werkzeug.middleware.proxy_fix import ProxyFix

from ..errors import OptionError
from ..socketio import dispatch

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["Flask", "commands", "handler_context", "init_app", "is_app", "report", "serving"]

EXTENSION = "rtcio"
_APP = "rtcio.app"
_SESSION = "rtcio.session"
_PATCHED = "_RTCIO_PATCHED"
MOST_LAYERS = 50  # of middlewares, and what else they hold, that are looked through


class Endpoint:
    """The WSGI middleware: the Socket.IO path goes to the server, all else to the app."""

    def __init__(self, server: Server, app: flask.Flask | None, inner: Any) -> None:
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
        if self.app is not None:
            environ[_APP] = self.app
        fix = _proxy_fix(self.inner)
        if fix is not None and "werkzeug.proxy_fix.orig" not in environ:
            # The app was wrapped in it before it was given to us: it speaks for our requests too.
            fix = copy.copy(fix)
            fix.app = self.server.handle_request
            return fix(environ, start_response)
        answer: Iterable[bytes] = self.server.handle_request(environ, start_response)
        return answer


def is_app(value: Any) -> bool:
    """Whether it is a Flask app."""
    return isinstance(value, flask.Flask)


def _layers(app: Any) -> Iterator[Any]:
    """A WSGI application, and what it wraps, and so on; as far as that can be seen."""
    seen: list[Any] = []
    waiting = [app]
    while waiting and len(seen) < MOST_LAYERS:
        layer = waiting.pop(0)
        if any(layer is each for each in seen):
            continue
        seen.append(layer)
        yield layer
        waiting += _wrapped(layer)


def _wrapped(layer: Any) -> list[Any]:
    if isinstance(layer, flask.Flask):
        return [layer.wsgi_app]
    if isinstance(layer, Endpoint):
        return [layer.inner]
    if isinstance(layer, functools.partial):
        return [layer.func, *filter(callable, layer.args)]
    if inspect.ismethod(layer):
        # Of an app's own method (the `wsgi_app` of Flask) there is nothing below.
        return [] if isinstance(layer.__self__, flask.Flask) else [layer.__self__]
    if inspect.isfunction(layer):
        inside = inspect.getclosurevars(layer).nonlocals.values()
        return [*filter(callable, inside), *filter(None, [getattr(layer, "__wrapped__", None)])]
    return [each for each in getattr(layer, "__dict__", {}).values() if callable(each)]


def _proxy_fix(inner: Any) -> ProxyFix | None:
    """The ProxyFix among the middlewares around an app."""
    return next((each for each in _layers(inner) if isinstance(each, ProxyFix)), None)


def _flask_inside(app: Any) -> flask.Flask | None:
    for each in _layers(app):
        owner = each.__self__ if inspect.ismethod(each) else each
        if isinstance(owner, flask.Flask):
            return owner
    return None


def serving(server: Server, app: Any) -> Any:
    """``app`` and the Socket.IO path: what `Server.listen` serves.

    As it is, if it leads to ``server`` already; else with an `Endpoint` around it.
    """
    if any(_leads_to(server, each) for each in _layers(app)):
        return app
    if isinstance(app, flask.Flask) and EXTENSION not in app.extensions:
        init_app(server, app)
        return app
    return Endpoint(server, _flask_inside(app) or server.app, app)


def _leads_to(server: Server, layer: Any) -> bool:
    if isinstance(layer, Endpoint):
        return layer.server is server
    if isinstance(layer, socketio.WSGIApp):
        return layer.engineio_app is server
    return inspect.ismethod(layer) and layer.__self__ is server


def init_app(server: Server, app: flask.Flask) -> None:
    """Wraps ``app``, once. Raises `OptionError` for no Flask app and for one that has a server."""
    if not isinstance(app, flask.Flask):
        inner = _flask_inside(app)
        fix = (
            f"give the Flask app itself, and wrap it with app.wsgi_app = "
            f"{type(app).__name__}(app.wsgi_app)"
            if inner is not None
            else "give a Flask app; any other WSGI application is served with "
            "server.listen(port, app=…)"
        )
        raise OptionError(f"app={app!r:.100}: {fix}")
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
    except OptionError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from error
