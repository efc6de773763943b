"""``flask rtcio run``: Flask's command line serves an app together with its signaling."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from functools import cache, partial

import click
from flask import Flask
from flask.cli import AppGroup, ScriptInfo, pass_script_info
from flask.helpers import get_debug_flag

from ..errors import OptionError
from ..starting.addresses import Addresses, not_listening, of_camera
from ..starting.certificate import handed_on, tls_arguments
from ..starting.debugging import log_requests, with_debugger
from ..starting.reload import CHANGED, Changes, is_reloaded, reload_on_changes
from .extension import EXTENSION
from .ports import Listener

__all__ = ["commands"]

_PATCHED = "_RTCIO_PATCHED"
_START = (
    "from gevent import monkey; monkey.patch_all(); import sys; sys.argv[0] = 'flask'; "
    "from flask.cli import main; main()"
)

commands = AppGroup("rtcio", help="Serve the app together with its rtc.io signaling.")


# Without an app context: the app is imported once gevent has patched the process.
@commands.command("run", with_appcontext=False)
@click.option("--host", "-h", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", "-p", default=5000, show_default=True, help="Port to listen on.")
@click.option(
    "--cert", metavar="FILE", help="Certificate for https (PEM), or adhoc: --self-signed."
)
@click.option("--key", metavar="FILE", help="The key of the certificate (PEM).")
@click.option(
    "--self-signed",
    is_flag=True,
    help="Serve https with a certificate that is made at the start; with --host 0.0.0.0, phones in "
    "the same network can use their cameras.",
)
@click.option(
    "--reload/--no-reload",
    default=None,
    help="Restart when a file of the app has changed. On by default with --debug.",
)
@click.option(
    "--debugger/--no-debugger",
    default=None,
    help="Show errors of views in the browser. On by default with --debug.",
)
@pass_script_info
def run(
    info: ScriptInfo,
    /,
    host: str,
    port: int,
    cert: str | None,
    key: str | None,
    self_signed: bool,
    reload: bool | None,
    debugger: bool | None,
) -> None:
    """Serves the app and its signaling on gevent, WebSockets included.

    With `flask --debug` it reloads the app on changes and shows errors in the browser.
    """
    reload = get_debug_flag() if reload is None else reload
    signed_here = self_signed or cert == "adhoc"
    cert = None if cert == "adhoc" else cert
    here = partial(tls_arguments, cert, key, signed_here=signed_here, host=host)
    try:
        if reload and not is_reloaded():
            with here() as tls:
                handed = handed_on(tls) if signed_here else {}
                sys.exit(reload_on_changes(_patched_command(), {**handed, _PATCHED: "1"}))
        if not _is_patched():
            command = _patched_command()
            os.execve(command[0], command, {**os.environ, _PATCHED: "1"})
        with here() as tls:
            _serve(info, host, port, tls, reload=reload, debugger=debugger)
    except OptionError as error:
        raise click.UsageError(str(error)) from None


@cache
def _is_patched() -> bool:
    """Whether this process began as `_patched_command`; what the app starts did not."""
    return os.environ.pop(_PATCHED, None) is not None


def _patched_command() -> list[str]:
    """The same command once more, in a process that gevent patches before all imports.

    gevent has to replace sockets, threads and TLS before anything imports them, and `flask` has
    imported them already.
    """
    return [sys.executable, "-c", _START, *sys.argv[1:]]


def _page_of(app: Flask) -> str:
    """The path of the app's page at the root or, if it has none there, of its first page.

    Empty if the app has no page.
    A page is what answers GET at a path that ends with a slash and has no variable part.
    """
    paths = [
        rule.rule
        for rule in app.url_map.iter_rules()
        if not rule.arguments and rule.rule.endswith("/") and "GET" in (rule.methods or ())
    ]
    return "/" if "/" in paths else "".join(paths[:1])


def _serve(
    info: ScriptInfo,
    host: str,
    port: int,
    tls: dict[str, str],
    *,
    reload: bool,
    debugger: bool | None,
) -> None:
    os.environ.pop("FLASK_RUN_FROM_CLI", None)
    changes = Changes() if reload else None
    with nullcontext() if changes is None else changes.mended():
        app = info.load_app()
    server: Listener | None = app.extensions.get(EXTENSION)
    if server is None:
        raise click.ClickException(
            "the app has no rtcio_sync.Server: write Server(app=app) where the app is made"
        )
    debugged = get_debug_flag() if debugger is None else debugger
    served = log_requests(with_debugger(app, server.path, host) if debugged else app, server.path)
    page = _page_of(app)

    def ready(port: int) -> None:
        found = Addresses.of(host, port, tls=bool(tls))
        click.echo(f" * Serving {app.name!r} with signaling on {found.here}{server.path}/")
        click.echo(f" * Debug mode: {'on' if app.debug else 'off'}")
        click.echo(f" * {'Open' if page else 'Running on'} {found.here}{page}")
        if found.network is not None:
            click.echo(f" * In this network: {found.network}{page}{of_camera(bool(tls))}")
        sys.stdout.flush()

    if changes is not None:
        changes.begin(server.stop)
    try:
        server.listen(port, host=host, app=served, ready=ready, **tls)
    except OSError as error:
        raise click.ClickException(not_listening(host, port, error)) from error
    if changes is not None and changes.changed is not None:
        sys.exit(CHANGED)
