"""WSGI servers that call the application on threads: which one it is, and what it cannot do.

They are recognised by a request's environ and by the thread or greenlet of the call.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gevent

__all__ = ["ThreadServer", "find", "yields_socket"]

_INSTEAD = "`gunicorn -k gevent` and Server.listen do not have this limit"


@dataclass(frozen=True)
class ThreadServer:
    """A WSGI server that is not gevent's."""

    name: str
    #: Whether it handles several requests at once.
    parallel: bool = True
    #: Whether its threads are a pool of fixed size.
    pooled: bool = True
    #: Whether a WebSocket can be taken out of its environ.
    websockets: bool = True

    @property
    def cannot(self) -> str | None:
        """One line for the log about what does not work; `None`: all works."""
        if not self.parallel:
            return (
                f"{self.name} handles one request at a time, and a client keeps one request open: "
                "use `gunicorn -k gevent`, `gunicorn --threads`, or Server.listen"
            )
        missing = []
        if not self.websockets:
            missing.append("WebSockets do not work (clients stay on polling)")
        if self.pooled:
            missing.append("each client occupies one of its threads, so later clients wait")
        return f"under {self.name} {', and '.join(missing)}; {_INSTEAD}" if missing else None


#: By the beginning of SERVER_SOFTWARE, in lower case.
_BY_SOFTWARE = (
    ("waitress", "waitress"),
    ("cheroot", "cheroot"),
    ("wsgiserver/", "wsgiref"),
    ("werkzeug", "Werkzeug"),
    ("gunicorn", "gunicorn's gthread worker"),
)


def find(environ: Mapping[str, Any]) -> ThreadServer | None:
    """The server of this request if it runs on threads; `None`: gevent's, or an unknown one."""
    if isinstance(gevent.getcurrent(), gevent.Greenlet):
        return None
    name = _name(environ)
    if name is None:
        return None
    parallel = environ.get("wsgi.multithread") is not False
    if name == "wsgiref":  # its environ always says no; on threads, none of them is the main one
        parallel = threading.current_thread() is not threading.main_thread()
    if name == "gunicorn's gthread worker" and not parallel:
        name = "gunicorn's sync worker"
    return ThreadServer(
        name, parallel, pooled=name != "Werkzeug", websockets=yields_socket(environ)
    )


def _name(environ: Mapping[str, Any]) -> str | None:
    if "werkzeug.socket" in environ:
        return "Werkzeug"
    software = str(environ.get("SERVER_SOFTWARE", "")).lower()
    for beginning, name in _BY_SOFTWARE:
        if software.startswith(beginning):
            return name
    if "mod_wsgi.version" in environ:
        return "mod_wsgi"
    if "asgi.scope" in environ:
        return "an adapter of an ASGI server"
    if "uwsgi.version" in environ and "uwsgi" in sys.modules:
        return "uWSGI"
    return "this server" if environ.get("wsgi.multithread") else None


def yields_socket(environ: Mapping[str, Any]) -> bool:
    """Whether python-engineio's driver for threads finds a request's socket."""
    software = str(environ.get("SERVER_SOFTWARE", ""))
    keys = ("werkzeug.socket", "gunicorn.socket", "eventlet.input")
    return not software or software.startswith("gevent") or any(key in environ for key in keys)
