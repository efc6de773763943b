"""The Flask extension: an app is wrapped, so that the Socket.IO path goes to its server.

State: ``app.extensions["rtcio"]`` is the app's `Server`.
"""

from __future__ import annotations

import copy
import functools
import inspect
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

#: The key of an app's server in ``app.extensions``.
EXTENSION = "rtcio"
MOST_LAYERS = 50  # of middlewares, and of what else they hold, that are looked through


def init_app(server: Signaling, app: flask.Flask) -> None:
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
        raise OptionError(
            f"the app {app.name!r} already has a Server: use that one, "
            f"app.extensions[{EXTENSION!r}], and server.of('/name') for another namespace"
        )
    app.extensions[EXTENSION] = server
    app.wsgi_app = Endpoint(server, app, app.wsgi_app)  # type: ignore[method-assign]


def is_app(value: Any) -> bool:
    """Whether it is a Flask app."""
    return isinstance(value, flask.Flask)


def with_signaling(server: Signaling, app: Any) -> Any:
    """The WSGI application that `Server.listen` serves: ``app``, and ``server`` on its path.

    ``app`` itself, if it leads to ``server`` already; else with an `Endpoint` around it.
    """
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

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        path, base = environ.get("PATH_INFO", ""), self.server.path
        if path == base or path.startswith(base + "/"):
            # At once: it has come to the worker with its session, which may move meanwhile.
            return self._signal(environ, start_response)
        if CONNECTION not in environ:  # else the hub has read it, and others had their turn
            self.server.turn_of_request()
        if self.server.on_app_request is not None:
            self.server.on_app_request(environ)
        told = warned_of(environ, start_response, base)
        return self.inner(environ, told)  # type: ignore[no-any-return]

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
