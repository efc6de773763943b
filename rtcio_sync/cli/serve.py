"""What the command serves, by its options: the public server, or an app of the user's.

It imports the server, and so what uses threads, sockets and TLS: `command` imports it only once
gevent has replaced those.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import click

from ..errors import OptionError
from ..flask.extension import Flask
from ..server import Server
from ..starting.addresses import not_listening
from .first_lines import ICE_NEEDED
from .loading import AppCode, load
from .origins import told_origins
from .public import public_app
from .worker_variables import READY

__all__ = ["Served", "chosen"]

# What the public server takes and an app brings itself, by parameter.
_PUBLIC_ONLY = ("stun", "turn_host", "turn_secret", "turn_ttl", "max_peers", "embed_in")


@dataclass(frozen=True)
class Served:
    """A server that is ready to listen."""

    server: Server
    #: The app that is served beside the Socket.IO path; `None`: the one that the server wraps.
    app: Flask | None
    #: What the command prints about it.
    lines: list[str]

    def listen(
        self, host: str, port: int, ready: Callable[[int], Any], tls: dict[str, str]
    ) -> None:
        """Serves until the process is told to stop. Raises click's exceptions, of one line each.

        ``ready(port)`` is called once clients can connect, but in a worker of a supervisor.
        """

        def said(port: int) -> None:
            if not _tell_supervisor():
                ready(port)

        try:
            given: dict[str, Any] = {} if self.app is None else {"app": self.app}
            self.server.listen(port, host=host, ready=said, **given, **tls)
        except OptionError as error:
            raise click.UsageError(str(error)) from None
        except OSError as error:
            raise click.ClickException(not_listening(host, port, error)) from None


def _tell_supervisor() -> bool:
    """Tells the supervisor that has started this worker that it serves; `False`: there is none."""
    number = os.environ.pop(READY, "")
    if not number.isdigit():
        return False
    os.write(int(number), b"r")
    os.close(int(number))
    return True


def chosen(target: str | None, options: dict[str, Any], app_code: AppCode = nullcontext) -> Served:
    """What is to be served. ``target``: the value of ``--app``; `None`: the public server.

    The app's own code runs inside an ``app_code()``. Raises `OptionError` for an invalid value and
    for options that contradict each other.
    """
    return _own_app(target, options, app_code) if target else _public(options)


def _public(options: dict[str, Any]) -> Served:
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
        embed_in=options["embed_in"],
        **_given(options, "drain_seconds", "cluster"),
    )
    told = ", ".join([*options["stun"], *hosts]) or ICE_NEEDED
    lines = [f"peers in a room: {peers or 'any number'}", f"STUN and TURN: {told}"]
    return Served(server, app, [_origins(server), *lines])


def _own_app(target: str, options: dict[str, Any], app_code: AppCode) -> Served:
    for name in _PUBLIC_ONLY:
        _refuse_given(name, "is for the public server, and --app serves your own app")
    server, app = load(target, app_code)
    if server is None:
        options = {**options, "cors_allowed_origins": options["allowed_origins"]}
        server = Server(
            app=app, **_given(options, "cors_allowed_origins", "drain_seconds", "cluster")
        )
    else:
        for name in ("allowed_origins", "drain_seconds", "cluster"):
            _refuse_given(name, f"is an option of Server, and {target} has made its own Server")
    return Served(server, app, [_origins(server), f"app: {target}"])


def _origins(server: Server) -> str:
    return f"origins: {told_origins(server.options.cors_allowed_origins)}"


def _given(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if options.get(name) is not None}


def _refuse_given(name: str, why: str) -> None:
    # On the command line only: a variable may be set for another program on the same machine.
    context = click.get_current_context()
    if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
        raise OptionError(f"--{name.replace('_', '-')} {why}")
