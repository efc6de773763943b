"""The public server: a Flask app with rooms, the room page and pages for those who operate it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from .._version import __version__
from ..flask.extension import Flask
from ..ice import IceServer, ice_servers
from ..lobby.lobby import Lobby
from ..server import Server
from ..socketio.socket import Socket

__all__ = ["public_app"]


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
    ``connection_state_recovery`` on unless it is given. Raises `OptionError` for an invalid value.

    ``GET /`` is the room page, a video call for everyone who opens it. ``GET /health`` answers
    numbers, never a name or an id: ``status`` and ``version``, ``uptime`` in seconds; ``workers``,
    ``sockets`` and ``rooms`` now; ``relayed`` and ``dropped`` messages since the start. All but
    ``uptime`` are those of all workers. ``GET /status`` shows the same as a page. With the extra
    ``prometheus``, ``GET /metrics`` answers what `Server.metrics_app` does.
    """
    stun, turn = list(stun), list(turn)

    def answer_ice(client: Socket | None = None) -> list[IceServer]:
        return ice_servers(stun=stun, turn=turn, secret=turn_secret, ttl=turn_ttl)

    answer_ice()  # raises for an invalid value now, not when the first client asks
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

    with suppress(RuntimeError):  # without the extra "prometheus" there is no such page
        metrics = server.metrics_app

        @app.get("/metrics")
        def show_metrics() -> Callable[..., Iterable[bytes]]:
            return metrics  # Flask takes a WSGI application for an answer

    @app.get("/")
    def room() -> tuple[str, dict[str, str]]:
        # Relative, like all addresses in the pages: a proxy may serve them under another path.
        return page("index.html", version=__version__, signaling=f"{server.path.lstrip('/')}/")

    @app.get("/favicon.ico")  # every browser that shows /health asks for it
    def icon() -> Any:
        return app.send_static_file("icon.svg")

    @app.get("/status")
    def status() -> tuple[str, dict[str, str]]:
        return page("status.html", **figures())


def _figures(server: Server, lobby: Lobby, started: float) -> dict[str, Any]:
    stats = server.stats(cluster=True)
    return {
        "status": "ok",
        "version": __version__,
        "uptime": round(time.monotonic() - started, 3),
        "workers": stats["workers"],
        "sockets": stats["connected"],
        "rooms": lobby.stats()["rooms"],
        "relayed": stats["relayed"],
        "dropped": sum(stats["dropped"].values()),
    }


# The pages load everything from here, and evaluate no text as code. Other sites may link to them,
# but may not show them in a frame.
_PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; script-src 'self';"
    " object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self)",
    "Referrer-Policy": "no-referrer",  # the address contains the name of the room
    "X-Content-Type-Options": "nosniff",
}
