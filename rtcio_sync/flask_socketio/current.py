"""The event that is handled now: its client, its namespace, and the `SocketIO` of its app."""

from __future__ import annotations

from typing import Any

import flask

from ..errors import OptionError

__all__ = ["EXTENSION", "check_app", "extension", "namespace_now", "sid_now"]

#: The key of an app's `SocketIO` in ``app.extensions``, as with Flask-SocketIO.
EXTENSION = "socketio"


def check_app(app: Any) -> None:
    """Raises `OptionError` for anything but a Flask app."""
    if not isinstance(app, flask.Flask):
        raise OptionError(f"app={app!r:.100}: give the Flask app itself, as in SocketIO(app)")


def extension() -> Any:
    """The `SocketIO` of the current app. Raises `RuntimeError` if it has none."""
    found = flask.current_app.extensions.get(EXTENSION)
    if found is None:
        name = flask.current_app.name
        raise RuntimeError(f"the app {name!r} has no SocketIO: write SocketIO(app)")
    return found


def sid_now() -> str:
    """The sid of the client whose event is handled. Raises `RuntimeError` outside of a handler."""
    return str(_of_request("sid"))


def namespace_now() -> str:
    """The namespace of the event that is handled. Raises `RuntimeError` outside of a handler."""
    return str(_of_request("namespace"))


def _of_request(name: str) -> Any:
    found = getattr(flask.request, name, None)
    if found is None:
        raise RuntimeError(
            f"this call takes {name} from the event that is being handled, but no event is being "
            f"handled: use the method of SocketIO, or give {name}=…"
        )
    return found
