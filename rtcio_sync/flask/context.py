"""The contexts of a Flask app in which its handlers run, and the log of what they raise.

Used of Werkzeug's private names, asserted in ``tests/test_upstream.py``:
``LocalProxy._get_current_object``.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import flask

from ..socketio import handler_call

__all__ = ["APP", "carried", "handler_context", "report", "restore", "save_session"]

#: In the environ of a connection's handshake: the Flask app in whose contexts its handlers run.
APP = "rtcio.app"
#: The session of its handlers, under the name that Flask-SocketIO's users know.
_SESSION = "saved_session"
#: In the environ of a connection of another process: the values in its session there.
_VALUES = "rtcio.session.values"


def handler_context(
    environ: Any,
    sid: str,
    namespace: str,
    event: str | None,
    args: tuple[Any, ...],
    *,
    keeps_session: bool = True,
) -> AbstractContextManager[None]:
    """An application context and a request context built from a connection's handshake. # greenlet

    ``request.sid``, ``request.namespace`` and ``request.event`` are there as Flask-SocketIO has
    them. The session is read from the handshake once; what handlers change in it stays with the
    connection, because no response goes out that could carry it back to the browser. Without
    ``keeps_session`` it is opened anew for each event, for sessions that the server's side keeps.
    """
    app = environ.get(APP) if isinstance(environ, dict) else None
    if app is None:
        return handler_call.NO_CONTEXT
    return _in_app(app, environ, sid, namespace, event, args, keeps_session)


@contextmanager
def _in_app(
    app: flask.Flask,
    environ: dict[str, Any],
    sid: str,
    namespace: str,
    event: str | None,
    args: tuple[Any, ...],
    keeps_session: bool,
) -> Iterator[None]:
    # A copy: werkzeug puts the request itself into its environ.
    request_environ = {**environ, "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr}
    context = app.request_context(request_environ)
    slot = "_session" if hasattr(context, "_session") else "session"
    if keeps_session and _SESSION in environ:
        setattr(context, slot, environ[_SESSION])
    with context:
        if keeps_session:
            _keep_session(environ)
        request: Any = flask.request
        request.sid = sid
        request.namespace = namespace
        request.event = {"message": event, "args": args}
        yield


def _keep_session(environ: dict[str, Any]) -> None:
    values = environ.pop(_VALUES, None)
    if values is not None and values != dict(flask.session):
        flask.session.clear()
        flask.session.update(values)
    environ[_SESSION] = flask.session._get_current_object()  # type: ignore[attr-defined]


def save_session() -> None:
    """Saves the session of the current context if it was changed. # greenlet

    The app's session interface gets a response that goes to nobody: it is for sessions that the
    server's side keeps, not for those in cookies.
    """
    app: Any = flask.current_app
    session: Any = flask.session._get_current_object()  # type: ignore[attr-defined]
    if getattr(session, "modified", True):
        app.session_interface.save_session(app, session, app.response_class())


def carried(environ: dict[str, Any]) -> Any:
    """What another process has to know of these contexts: the values of the session, if any."""
    if APP not in environ:
        return None
    session = environ.get(_SESSION)
    values = environ.get(_VALUES) if session is None else dict(session)
    return {"session": values}


def restore(app: Callable[[], Any], environ: dict[str, Any], known: Any) -> None:
    """Puts what `carried` gave into an environ. ``app()``: the app of this process."""
    if type(known) is dict:
        environ[APP] = app()
        if known.get("session") is not None:
            environ[_VALUES] = known["session"]


def report(environ: Any, event: str, who: handler_call.Who) -> None:
    """Logs a handler's exception where the app's own errors go. # greenlet"""
    app = environ.get(APP) if isinstance(environ, dict) else None
    handler_call.report(environ, event, who, handler_call.log if app is None else app.logger)
