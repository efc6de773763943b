"""The Flask extension: an app is wrapped, so that the Socket.IO path goes to its server.

State: ``app.extensions["rtcio"]`` is the app's `Server`.
"""

from __future__ import annotations

import copy
import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flask
import socketio
from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from ..errors import OptionError
from ..starting.wrong_path import warned_of
from ..transport.ports import CONNECTION
from .context import APP
from .ports import Signaling

__all__ = ["EXTENSION", "Flask", "endpoint_of", "init_app", "is_app", "with_signaling"]

log = logging.getLogger(__name__)

#: The key of an app's server in ``app.extensions``.
EXTENSION = "rtcio"
MOST_LAYERS = 50  # of middlewares, and of what else they hold, that are looked through


def init_app(server: Signaling, app: flask.Flask) -> None:
    """Wraps ``app``, once.

    Raises `OptionError` for no Flask app, for one that has a server, and for one that has another
    library's on the same path.
    """
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
        raise OptionError(
            f"the app {app.name!r} already has a Server: use that one, "
            f"app.extensions[{EXTENSION!r}], and server.of('/name') for another namespace"
        )
    _check_others(server, app)
    app.extensions[EXTENSION] = server
    app.wsgi_app = Endpoint(server, app, app.wsgi_app)  # type: ignore[method-assign]


def is_app(value: Any) -> bool:
    """Whether it is a Flask app."""
    return isinstance(value, flask.Flask)


def with_signaling(server: Signaling, app: Any) -> Any:
    """The WSGI application that `Server.listen` serves: ``app``, and ``server`` on its path.

    ``app`` itself, if it leads to ``server`` already; else with an `Endpoint` around it. Raises
    `OptionError` if another Socket.IO server has the same path there.
    """
    _check_others(server, app)
    if any(_leads_to(server, each) for each in _layers(app)):
        return app
    if isinstance(app, flask.Flask) and EXTENSION not in app.extensions:
        init_app(server, app)
        return app
    return Endpoint(server, _flask_inside(app) or server.app, app)


def endpoint_of(server: Signaling, app: Any) -> Endpoint | None:
    """The middleware with which `init_app` has wrapped ``app`` for ``server``."""
    found = (each for each in _layers(app) if isinstance(each, Endpoint))
    return next((each for each in found if each.server is server), None)


class Endpoint:
    """The WSGI middleware: the Socket.IO path goes to the server, all else to the app."""

    def __init__(self, server: Signaling, app: flask.Flask | None, inner: Any) -> None:
        self.server = server
        self.app = app
        self.inner = inner
        #: Whether the app that it is in has been looked at since the worker has begun to serve.
        self._looked = app is None

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        path, base = environ.get("PATH_INFO", ""), self.server.path
        if path == base or path.startswith(base + "/"):
            # At once: it has come to the worker with its session, which may move meanwhile.
            return self._signal(environ, start_response)
        if not self._looked:
            self._look()
        if CONNECTION not in environ:  # else the hub has read it, and others had their turn
            self.server.turn_of_request()
        if self.server.on_app_request is not None:
            self.server.on_app_request(environ)
        told = warned_of(environ, start_response, base)
        return self.inner(environ, told)  # type: ignore[no-any-return]

    def _look(self) -> None:
        # Whoever wraps the app after this middleware is seen when the app is served.
        self._looked = True
        try:
            _check_others(self.server, self.app)
        except OptionError as error:
            log.error("%s", error)

    def _signal(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if self.app is not None:
            environ[APP] = self.app
        fix = _proxy_fix(self.inner)
        if fix is not None and "werkzeug.proxy_fix.orig" not in environ:
            # ProxyFix was applied before init_app: apply it to Socket.IO requests as well.
            fix = copy.copy(fix)
            fix.app = self.server.handle_request
            return fix(environ, start_response)
        return self.server.handle_request(environ, start_response)


# -- what a WSGI application wraps -----------------------------------------------------------------


def _check_others(server: Signaling, app: Any) -> None:
    # The outer one of two servers would answer all clients, and no handler of the other ever run.
    for layer in _straight_down(app):
        other = layer.engineio_app if isinstance(layer, socketio.WSGIApp) else server
        if other is not server and layer.engineio_path.rstrip("/") == server.path:
            raise OptionError(
                f"the app already has a Socket.IO server of {type(other).__module__} on the path "
                f"{server.path!r}, and handlers of only one would run. For an app of "
                "Flask-SocketIO write `from rtcio_sync.flask_socketio import SocketIO` in place of "
                "`from flask_socketio import SocketIO`; its socketio.server is the Server. Or give "
                "one of the two another path, like Server(path='/rtc')"
            )


def _straight_down(app: Any) -> Iterator[Any]:
    """What a WSGI application wraps, as far as each request goes through all of it."""
    for _ in range(MOST_LAYERS):
        yield app
        if isinstance(app, Endpoint):
            app = app.inner
        elif inspect.ismethod(app):
            app = None if isinstance(app.__self__, flask.Flask) else app.__self__
        else:
            held = getattr(app, "__dict__", {})  # Flask's own `wsgi_app` is not in it
            app = held.get("wsgi_app") or held.get("app")
        if app is None:
            return


def _layers(app: Any) -> Iterator[Any]:
    """A WSGI application, what it wraps, what that wraps and so on, as far as it can be seen."""
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


def _leads_to(server: Signaling, layer: Any) -> bool:
    if isinstance(layer, Endpoint):
        return layer.server is server
    if isinstance(layer, socketio.WSGIApp):
        return layer.engineio_app is server
    return inspect.ismethod(layer) and layer.__self__ is server
