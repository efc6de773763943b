"""The command ``rtcio-sync``: its options and its exit codes.

Nothing at the top of this module may import what uses threads, sockets or TLS: gevent has to
replace those first. `main` lets it do so; then the command imports the server (`serve`) and the
app.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

import click

from .._version import __version__
from ..config.option_values import cluster_in
from ..errors import OptionError
from .cluster import cluster
from .origins import read_origins
from .worker_variables import supervises

__all__ = ["command", "main", "run"]

_LEVELS = ("critical", "error", "warning", "info", "debug")


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run ``rtcio-sync`` with ``args``, by default the process's own, and exit.

    The process becomes a gevent process first: call this before anything else is imported, or use
    the script or ``python -m rtcio_sync``, which do. Exits with 0 after SIGTERM or Ctrl-C, with 1
    when it could not listen, with 2 for an invalid option.
    """
    if not supervises(args, command.commands):  # a supervisor does without gevent and its memory
        from gevent import monkey

        if not monkey.is_module_patched("socket"):
            monkey.patch_all()
    sys.exit(run(args))


def run(args: Sequence[str] | None = None) -> int:
    """What `main` does in a process that is ready for it; its exit code. Errors are one line."""
    try:
        code = command.main(args=args, prog_name="rtcio-sync", standalone_mode=False)
    except click.ClickException as error:
        meant = _MEANT.get(getattr(error, "option_name", ""))
        said = error.format_message() + (f" Write {meant}" if meant else "")
        click.echo(f"rtcio-sync: {said}", err=True)
        return error.exit_code
    except click.Abort:
        return 130  # Ctrl-C before there was anything to stop, as shells count it
    return code if isinstance(code, int) else 0


# -- the command ----------------------------------------------------------------------------------

#: Options of gunicorn and flask, and what to write here.
_MEANT = {
    "-p": "--port",
    "-b": "--host and --port",
    "--bind": "--host and --port",
    "-w": "--workers",
    "-A": "--app",
    "-k": "no class: the workers are gevent's",
    "--debug": "--reload, or --log-level debug",
}


class _Group(click.Group):
    """Says what to write for an app, or a port, in the place of a command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        first = args[0]
        if first not in self.commands:
            meant = ""
            if ":" in first or first.endswith(".py"):
                meant = f"--app {first.removesuffix('.py')}{'' if ':' in first else ':app'}"
            elif first.isdigit():
                meant = f"--port {first}"
            elif first in ("run", "serve", "server", "start", "dev"):
                meant = "rtcio-sync alone, which starts the server"
            if meant:
                ctx.fail(f"No such command {first!r}. Write {meant}")
        return super().resolve_command(ctx, args)


def _split(context: click.Context, option: click.Parameter, values: Iterable[str]) -> list[str]:
    # The option may be repeated; a variable names several hosts with commas between them.
    return [item.strip() for value in values for item in value.split(",") if item.strip()]


def _read_cluster(
    context: click.Context, option: click.Parameter, value: str | None
) -> bool | str | None:
    try:
        return cluster_in(option.name or "cluster", value)
    except OptionError as error:
        raise click.BadParameter(str(error), context, option) from None


def _option(*names: str, **attributes: Any) -> Callable[[Any], Any]:
    return click.option(*names, show_envvar=True, **attributes)


@click.group(
    name="rtcio-sync",
    cls=_Group,
    invoke_without_command=True,
    help="Start a signaling server for rtc.io clients, with rooms, passwords, presence and media "
    "state. It listens on every address of this machine. With --app it serves your own app. An "
    "option can also be set with the environment variable beside it.",
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
)
@_option("--host", envvar="HOST", default="0.0.0.0", help="Address to listen on.")
@_option(
    "--port",
    envvar="PORT",
    default=3001,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0: any free port.",
)
@_option(
    "--allowed-origins",
    envvar="ALLOWED_ORIGINS",
    metavar="ORIGIN,...",
    callback=read_origins,
    help="Origins whose pages may connect, separated by commas; *: all pages. By default all; with "
    "--app only the app's own pages.",
)
@_option(
    "--stun",
    envvar="STUN_HOSTS",
    metavar="HOST,...",
    multiple=True,
    callback=_split,
    help="STUN servers for clients, as host[:port].",
)
@_option(
    "--turn-host",
    envvar="TURN_HOSTS",
    metavar="HOST,...",
    multiple=True,
    callback=_split,
    help="TURN servers, as host[:port]; turns:host[:port] for TLS.",
)
@_option(
    "--turn-secret",
    envvar="TURN_SECRET",
    help="The TURN servers' static-auth-secret. Prefer the variable: other users of this machine "
    "can read a command line.",
)
@_option(
    "--turn-ttl",
    envvar="TURN_TTL",
    type=click.IntRange(1),
    help="Seconds for which TURN credentials are valid; 600 by default.",
)
@_option(
    "--max-peers",
    envvar="MAX_PEERS",
    type=click.IntRange(1),
    help="Peers in one room; no limit by default.",
)
@_option(
    "--embed-in",
    envvar="EMBED_IN",
    metavar="ORIGIN,...",
    multiple=True,
    callback=_split,
    help="Origins whose pages may show the room page in a frame; *: all pages. By default only "
    "pages of this server.",
)
@_option(
    "--log-level",
    envvar="LOG_LEVEL",
    default="info",
    type=click.Choice(_LEVELS, case_sensitive=False),
)
@_option(
    "--drain-seconds",
    envvar="DRAIN_SECONDS",
    type=click.FloatRange(0),
    help="Seconds for running handlers to end when the server stops; 1 by default.",
)
@_option(
    "--workers",
    envvar="RTCIO_WORKERS",
    type=click.IntRange(1, 256),
    help="Number of worker processes, which together are one server. A supervisor replaces workers "
    "that die, and all workers on SIGHUP. By default one process without a supervisor.",
)
@_option(
    "--cluster",
    envvar="RTCIO_CLUSTER",
    metavar="URL",
    callback=_read_cluster,
    help="The Redis that makes several hosts one server, like redis://host:6379/0; off: each "
    "worker is alone. By default the workers of this host are one server.",
)
@_option(
    "--app",
    "target",
    envvar="RTCIO_APP",
    metavar="MODULE:ATTR",
    help="Serve this app: a Flask app or a Server, or module:create_app() to make one.",
)
@_option(
    "--cert",
    envvar="RTCIO_CERT",
    metavar="FILE",
    help="Certificate for https (PEM). Without it the server speaks http; a proxy may end TLS.",
)
@_option("--key", envvar="RTCIO_KEY", metavar="FILE", help="The key of the certificate (PEM).")
@click.option(
    "--self-signed",
    is_flag=True,
    help="Serve https with a certificate that the program openssl makes at the start, so that "
    "phones in the same network can use their cameras. For development.",
)
@click.option(
    "--reload",
    is_flag=True,
    help="Restart when a file of the app has changed. For development.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
@click.version_option(__version__, prog_name="rtcio-sync")
@click.pass_context
def command(
    context: click.Context,
    /,
    host: str,
    port: int,
    log_level: str,
    target: str | None,
    workers: int | None,
    reload: bool,
    opens: bool,
    cert: str | None,
    key: str | None,
    self_signed: bool,
    **options: Any,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from .first_lines import ROOM

    host = host.strip("[]")
    page = "/" if target else ROOM
    try:
        if workers is not None:
            from .workers import begin_workers, check_alone

            check_alone(reload=reload, tls=bool(cert or key or self_signed))
            code = begin_workers(
                workers, host, port, drain_seconds=options["drain_seconds"], page=page
            )
            if code is not None:
                context.exit(code)
        from .launch import Launch

        launch = Launch(
            host=host,
            port=port,
            target=target,
            page=page,
            log_level=log_level,
            reload=reload,
            opens=opens,
            cert=cert,
            key=key,
            self_signed=self_signed,
        )
        context.exit(launch.run(options))
    except OptionError as error:
        raise click.UsageError(str(error)) from None


command.add_command(cluster)
