"""The command line: the public signaling server in one command, or an existing app served.

Nothing at the top of this module may import what uses threads, sockets or TLS: `main` lets gevent
replace those first, and only then imports the server and the app.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from .._version import __version__
from ..config.origins import parse_origins
from ..errors import OptionError
from ..ice import IceServer, ice_servers
from .loading import load

if TYPE_CHECKING:
    from ..flask.extension import Flask
    from ..lobby.lobby import Lobby
    from ..server import Server
    from ..socketio.socket import Socket

__all__ = ["main", "public_app", "run"]


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run ``rtcio-sync`` with ``args``, by default the process's own, and exit.

    The process becomes a gevent process first: call this before anything else is imported, or use
    the script or ``python -m rtcio_sync``, which do. Exits with 0 after SIGTERM or Ctrl-C, with 1
    when it could not listen, with 2 when what it was given cannot be meant.
    """
    from gevent import monkey

    if not monkey.is_module_patched("socket"):
        monkey.patch_all()
    sys.exit(run(args))


def run(args: Sequence[str] | None = None) -> int:
    """What `main` does in a process that is ready for it; its exit code. Errors are one line."""
    try:
        command.main(args=args, prog_name="rtcio-sync", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"rtcio-sync: {error.format_message()}", err=True)
        return error.exit_code
    except click.Abort:
        return 130  # Ctrl-C before there was anything to stop, as shells count it
    return 0


def public_app(
    *,
    allowed_origins: str | Sequence[str] = "*",
    max_peers: int | None = None,
    stun: Iterable[str] = (),
    turn: Iterable[str] = (),
    turn_secret: str | None = None,
    turn_ttl: int = 600,
    **options: Any,
) -> tuple[Flask, Server, Lobby]:
    """The public server, ready to listen: a Flask app with its `Server` and `Lobby`.

    ``allowed_origins``: origins that may connect, ``"*"`` for any. ``max_peers``: seats in a room,
    `None` for no limit. ``stun``, ``turn``, ``turn_secret`` and ``turn_ttl`` (seconds): what
    ``ask-ice`` answers, see `rtcio_sync.ice_servers`. ``options`` are `Server`'s, with
    ``connection_state_recovery`` on unless it is given. Raises `OptionError` for what cannot be
    meant.

    ``GET /`` is the room page, a video call for whoever opens it. ``GET /health`` answers figures,
    never a name or an id: ``status`` and ``version``, ``uptime`` in seconds, ``sockets`` and
    ``rooms`` now, ``relayed`` and ``dropped`` messages since the start. ``GET /status`` shows the
    same to people. With the extra ``prometheus``, ``GET /metrics`` answers `Server.metrics_app`'s.
    """
    from ..flask.extension import Flask
    from ..lobby.lobby import Lobby
    from ..server import Server

    stun, turn = list(stun), list(turn)

    def answer_ice(client: Socket | None = None) -> list[IceServer]:
        return ice_servers(stun=stun, turn=turn, secret=turn_secret, ttl=turn_ttl)

    answer_ice()  # what cannot be meant is refused here, not at the first caller's question
    app = Flask(
        "rtcio_sync",
        template_folder="pages",
        static_folder="pages/static",
        static_url_path="/static",
        root_path=str(Path(__file__).parent),
    )
    options = {"connection_state_recovery": True, **options}
    server = Server(app=app, cors_allowed_origins=allowed_origins, **options)
    lobby = Lobby(server, max_peers=max_peers, ice_servers=answer_ice)
    _add_pages(app, server, lobby)
    return app, server, lobby


def _add_pages(app: Flask, server: Server, lobby: Lobby) -> None:
    figures = partial(_figures, server, lobby, time.monotonic())

    def page(name: str, **context: Any) -> tuple[str, dict[str, str]]:
        return app.jinja_env.get_template(name).render(context), _PAGE_HEADERS

    @app.get("/health")
    def health() -> tuple[dict[str, Any], dict[str, str]]:
        return figures(), {"Cache-Control": "no-store"}

    with suppress(RuntimeError):  # the extra "prometheus" is not installed: no such page
        metrics = server.metrics_app

        @app.get("/metrics")
        def show_metrics() -> Callable[..., Iterable[bytes]]:
            return metrics  # a WSGI application is an answer, too

    @app.get("/")
    def room() -> tuple[str, dict[str, str]]:
        # Relative, as all that the pages name: a proxy may serve them under a path of its own.
        return page("index.html", version=__version__, signaling=f"{server.path.lstrip('/')}/")

    @app.get("/favicon.ico")  # asked for by every browser that is shown /health
    def icon() -> Any:
        return app.send_static_file("icon.svg")

    @app.get("/status")
    def status() -> tuple[str, dict[str, str]]:
        return page("status.html", **figures())


def _figures(server: Server, lobby: Lobby, started: float) -> dict[str, Any]:
    stats = server.stats()
    return {
        "status": "ok",
        "version": __version__,
        "uptime": round(time.monotonic() - started, 3),
        "sockets": stats["connected"],
        "rooms": lobby.stats()["rooms"],
        "relayed": stats["relayed"],
        "dropped": sum(stats["dropped"].values()),
    }


# Everything the pages need comes from here, and nothing in them evaluates text; other sites may
# link to them, not frame them.
_PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; script-src 'self';"
    " object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self)",
    "Referrer-Policy": "no-referrer",  # the name of a room stands in its address
    "X-Content-Type-Options": "nosniff",
}


# -- the command ----------------------------------------------------------------------------------


def _split(context: click.Context, option: click.Parameter, values: Iterable[str]) -> list[str]:
    # One option a host, or commas between them, as the variable has to.
    return [item.strip() for value in values for item in value.split(",") if item.strip()]


def _origins(context: click.Context, option: click.Parameter, value: str | None) -> Any:
    try:
        return None if value is None else parse_origins(value)
    except OptionError as error:
        raise click.BadParameter(str(error)) from None


def _option(*names: str, **attributes: Any) -> Callable[[Any], Any]:
    return click.option(*names, show_envvar=True, **attributes)


_LEVELS = ("critical", "error", "warning", "info", "debug")


@click.command(
    name="rtcio-sync",
    help="Start a signaling server for rtc.io clients: rooms, passwords, presence and media state "
    "on every address of this machine, or, with --app, an app of your own. Each option may be set "
    "by the environment variable beside it.",
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
    help="0: a free one.",
)
@_option(
    "--allowed-origins",
    envvar="ALLOWED_ORIGINS",
    metavar="ORIGIN,...",
    callback=_origins,
    help="Origins whose pages may connect, commas between them, * for any. By default any; with "
    "--app the app's own.",
)
@_option(
    "--stun",
    envvar="STUN_HOSTS",
    metavar="HOST,...",
    multiple=True,
    callback=_split,
    help="STUN servers that clients are told, as host[:port].",
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
    help="The TURN servers' static-auth-secret. Prefer the variable: a command line is public.",
)
@_option(
    "--turn-ttl",
    envvar="TURN_TTL",
    type=click.IntRange(1),
    help="Seconds that TURN credentials last; 600 by default.",
)
@_option(
    "--max-peers",
    envvar="MAX_PEERS",
    type=click.IntRange(1),
    help="Peers in one room; no limit by default.",
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
    help="Seconds that running handlers get to end at a stop; 1 by default.",
)
@_option(
    "--app",
    "target",
    envvar="RTCIO_APP",
    metavar="MODULE:ATTR",
    help="Serve this instead: a Flask app or a Server, or module:create_app() to make one.",
)
@click.version_option(__version__, prog_name="rtcio-sync")
def command(host: str, port: int, log_level: str, target: str | None, **options: Any) -> None:
    host = host.strip("[]")
    try:
        server, app, says = _own_app(target, options) if target else _public(options)
    except OptionError as error:
        raise click.UsageError(str(error)) from None
    # After the app was imported: where it has set up its logging, this does nothing.
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s: %(name)s: %(message)s"
    )
    _serve(server, app, host, port, says)


# What the public server takes and an app brings itself, by parameter.
_PUBLIC_ONLY = ("stun", "turn_host", "turn_secret", "turn_ttl", "max_peers")


def _public(options: dict[str, Any]) -> tuple[Server, Flask, list[str]]:
    hosts, secret, peers = options["turn_host"], options["turn_secret"], options["max_peers"]
    if hosts and not secret:
        raise OptionError("--turn-host needs --turn-secret (or TURN_SECRET)")
    if secret and not hosts:
        raise OptionError("--turn-secret needs --turn-host (or TURN_HOSTS)")
    app, server, _ = public_app(
        allowed_origins=options["allowed_origins"] or "*",
        max_peers=peers,
        stun=options["stun"],
        turn=hosts,
        turn_secret=secret,
        turn_ttl=options["turn_ttl"] or 600,
        **_given(options, "drain_seconds"),
    )
    told = ", ".join([*options["stun"], *hosts]) or "none; clients use their own"
    return server, app, [f"peers in a room: {peers or 'any number'}", f"STUN and TURN: {told}"]


def _own_app(target: str, options: dict[str, Any]) -> tuple[Server, Flask | None, list[str]]:
    for name in _PUBLIC_ONLY:
        _refuse_given(name, "is the public server's, and --app serves another")
    server, app = load(target)
    if server is None:
        from ..server import Server

        options["cors_allowed_origins"] = options["allowed_origins"]
        server = Server(app=app, **_given(options, "cors_allowed_origins", "drain_seconds"))
    else:
        for name in ("allowed_origins", "drain_seconds"):
            _refuse_given(name, f"is for a Server made here, and {target} brings its own")
    return server, app, [f"app: {target}"]


def _given(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if options.get(name) is not None}


def _refuse_given(name: str, why: str) -> None:
    # Only what was typed: a variable may well be set for another program of the same machine.
    context = click.get_current_context()
    if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
        raise OptionError(f"--{name.replace('_', '-')} {why}")


def _told_origins(origins: Any) -> str:
    """Who may connect, of a `Server`'s ``cors_allowed_origins``."""
    if origins == "*" or origins == []:
        return "ANY page may connect (fewer with --allowed-origins or ALLOWED_ORIGINS)"
    if origins is None:
        return "the server's own (more with --allowed-origins or ALLOWED_ORIGINS)"
    if callable(origins):
        return "those that the app's function allows"
    several = [origins] if isinstance(origins, (str, re.Pattern)) else origins
    return ", ".join(
        str(each.pattern if isinstance(each, re.Pattern) else each) for each in several
    )


def _serve(server: Server, app: Flask | None, host: str, port: int, says: list[str]) -> None:
    where = f"[{host}]" if ":" in host else host

    def ready(port: int) -> None:
        click.echo(f"rtcio-sync {__version__} listening on http://{where}:{port}")
        for line in (f"origins: {_told_origins(server.options.cors_allowed_origins)}", *says):
            click.echo(f"  {line}")
        sys.stdout.flush()

    try:
        server.listen(port, host=host, ready=ready, **({} if app is None else {"app": app}))
    except OptionError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        number = error.errno or 0  # negative where it is the host's name that is unknown
        reason = os.strerror(number) if number > 0 else error.strerror or str(error)
        raise click.ClickException(f"cannot listen on {where}:{port}: {reason}") from None
