"""The arguments of `SocketIO` as options of `Server`: ``path``, ``json``."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import flask

__all__ = ["server_options"]


def server_options(given: dict[str, Any], app: flask.Flask | None) -> dict[str, Any]:
    """What `Server` gets of the arguments of a `SocketIO`."""
    options = {name: each for name, each in given.items() if name not in _OURS}
    path = given.get("path") or given.get("resource")
    if path:
        options["path"] = path
    if app is None:
        options.setdefault("cluster", False)  # it has no clients, and nobody is to look for them
    elif options.get("json") is flask.json:
        options["json"] = _JsonInApp(flask.json, app)
    return options


_OURS = ("message_queue", "channel", "path", "resource", "manage_session")


class _JsonInApp:
    """`flask.json` in the context of an app: its output depends on the app's provider."""

    def __init__(self, json: ModuleType, app: flask.Flask) -> None:
        self._json = json
        self._app = app

    def dumps(self, *args: Any, **kwargs: Any) -> str:
        with self._app.app_context():
            return str(self._json.dumps(*args, **kwargs))

    def loads(self, *args: Any, **kwargs: Any) -> Any:
        with self._app.app_context():
            return self._json.loads(*args, **kwargs)
