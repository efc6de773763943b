"""What `flask run` adds to an app in development: a log of requests, and the debugger."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import click

__all__ = ["log_requests", "with_debugger"]

_Application: TypeAlias = Callable[[dict[str, Any], Any], Iterable[bytes]]


def with_debugger(app: Any, path: str, host: str) -> _Application:
    """``app`` with Werkzeug's debugger around its views.

    Requests to the Socket.IO ``path`` do not go through it: errors of handlers are logged.
    """
    from werkzeug.debug import DebuggedApplication

    debugged = DebuggedApplication(app, evalex=True)
    if hasattr(debugged, "trusted_hosts"):  # since Werkzeug 3.0.3
        debugged.trusted_hosts.append(host)
    click.echo(f" * Debugger is active; its PIN: {debugged.pin or 'none'}", err=True)

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        chosen = app if _is_signaling(environ, path) else debugged
        return chosen(environ, start_response)

    return application


def log_requests(app: Any, path: str) -> _Application:
    """``app`` with a line on stderr for each request, as Werkzeug writes it.

    Without requests to the Socket.IO ``path``: the session ids of polling clients are in them.
    """

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if _is_signaling(environ, path):
            return app(environ, start_response)  # type: ignore[no-any-return]

        def start(status: str, headers: Any, *more: Any) -> Any:
            click.echo(_line(environ, status), err=True)
            return start_response(status, headers, *more)

        return app(environ, start)  # type: ignore[no-any-return]

    return application


def _is_signaling(environ: dict[str, Any], path: str) -> bool:
    asked = environ.get("PATH_INFO", "")
    return bool(asked == path or asked.startswith(f"{path}/"))


def _line(environ: dict[str, Any], status: str) -> str:
    query = environ.get("QUERY_STRING")
    target = environ.get("PATH_INFO", "") + (f"?{query}" if query else "")
    asked = f"{environ.get('REQUEST_METHOD')} {target} {environ.get('SERVER_PROTOCOL')}"
    # A client chooses the text: control characters stay escaped.
    shown = asked.encode("unicode_escape").decode("ascii")
    address = environ.get("REMOTE_ADDR", "-")
    when = time.strftime("%d/%b/%Y %H:%M:%S")
    return f'{address} - - [{when}] "{shown}" {status.partition(" ")[0]} -'
