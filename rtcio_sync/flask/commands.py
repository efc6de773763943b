"""``flask rtcio run``: Flask's command line serves an app together with its signaling."""

from __future__ import annotations

import os
import sys

import click
from flask.cli import AppGroup, ScriptInfo, pass_script_info

from ..errors import OptionError
from .extension import EXTENSION
from .ports import Listener

__all__ = ["commands"]

_PATCHED = "_RTCIO_PATCHED"

commands = AppGroup("rtcio", help="Serve the app together with its rtc.io signaling.")


@commands.command("run")
@click.option("--host", "-h", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", "-p", default=5000, show_default=True, help="Port to listen on.")
@pass_script_info
def run(info: ScriptInfo, host: str, port: int) -> None:
    """Serves the app and its signaling on gevent, WebSockets included."""
    if _PATCHED not in os.environ:
        _run_patched()
    os.environ.pop("FLASK_RUN_FROM_CLI", None)
    app = info.load_app()
    server: Listener | None = app.extensions.get(EXTENSION)
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


def _run_patched() -> None:
    """Runs the same command once more, in a process that gevent patches before all imports.

    gevent has to replace sockets, threads and TLS before anything imports them, and `flask` has
    imported them already.
    """
    start = "from gevent import monkey; monkey.patch_all(); from flask.cli import main; main()"
    os.environ[_PATCHED] = "1"
    os.execv(sys.executable, [sys.executable, "-c", start, *sys.argv[1:]])
