"""The public server: a Flask app with rooms, the room page and pages for those who operate it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from .._version import __version__
from ..flask.extension import Flask
from ..ice import IceServer, ice_servers
from ..lobby.lobby import Lobby
from ..pages.room_page import RoomPage, page_headers, rendered
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
    embed_in: str | Iterable[str] = (),
    **options: Any,
) -> tuple[Flask, Server, Lobby]:
    """The public server, ready to listen: a Flask app with its `Server` and `Lobby`.

    ``allowed_origins``: origins that may connect, ``"*"`` for any. ``max_peers``: seats in a room,
    `None` for no limit. ``stun``, ``turn``, ``turn_secret`` and ``turn_ttl`` (seconds): what
    ``ask-ice`` answers, see `rtcio_sync.ice_servers`. ``embed_in``: origins whose pages may show
    the room in a frame, ``"*"`` for any. ``options`` are `Server`'s, with
    ``connection_state_recovery`` on unless it is given. Raises `OptionError` for an invalid value.

    ``GET /`` is the room page, a video call for everyone who opens it. ``GET /health`` answers
    numbers, never a name or an id: ``status`` (``"ok"``, or ``"degraded"`` while the Redis of the
    cluster does not answer, or refuses) and ``version``, ``uptime`` in seconds; ``workers``,
    ``nodes``, ``sockets`` and ``rooms`` now; ``relayed`` and ``dropped`` messages since the start.
    All but ``uptime`` and ``nodes`` are those of all workers of this host. ``GET /status`` shows
    the same as a page. With the extra ``prometheus``, ``GET /metrics`` answers what
    `Server.metrics_app` does.
    """
    stun, turn = list(stun), list(turn)

    def answer_ice(client: Socket | None = None) -> list[IceServer]:
        return ice_servers(stun=stun, turn=turn, secret=turn_secret, ttl=turn_ttl)

    answer_ice()  # raises for an invalid value now, not when the first client asks
    app = Flask("rtcio_sync", static_folder=None)
    options = {"connection_state_recovery": True, **options}
    server = Server(app=app, cors_allowed_origins=allowed_origins, **options)
    lobby = Lobby(server, max_peers=max_peers, ice_servers=answer_ice)
    RoomPage(server, url_prefix="/", lobby=lobby, embed_in=embed_in, status="status")
    _add_pages(app, server)
    return app, server, lobby


def _add_pages(app: Flask, server: Server) -> None:
    figures = partial(_figures, server, time.monotonic())

    @app.get("/health")
    def health() -> tuple[dict[str, Any], dict[str, str]]:
        return figures(), {"Cache-Control": "no-store"}

    with suppress(RuntimeError):  # without the extra "prometheus" there is no such page
        metrics = server.metrics_app

        @app.get("/metrics")
        def show_metrics() -> Callable[..., Iterable[bytes]]:
            return metrics  # Flask takes a WSGI application for an answer

    @app.get("/favicon.ico")  # every browser that shows /health asks for it
    def icon() -> Any:
        return app.redirect("rtcio/icon.svg")

    @app.get("/status")
    def status() -> tuple[str, dict[str, str]]:
        return rendered("status.html", **figures()), page_headers()


def _figures(server: Server, started: float) -> dict[str, Any]:
    stats = server.stats(cluster="host")
    return {
        "status": "degraded" if stats["degraded"] else "ok",
        "version": __version__,
        "uptime": round(time.monotonic() - started, 3),
        "workers": stats["workers"],
        "nodes": stats["nodes"],
        "sockets": stats["connected"],
        # Without a question to the lobby's keeper, which may be a host that is out of reach.
        "rooms": stats["rooms"],
        "relayed": stats["relayed"],
        "dropped": sum(stats["dropped"].values()),
    }
