"""`RoomPage`: mounts the room page in a Flask app."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import flask
import jinja2
import werkzeug

from .._version import __version__
from ..errors import OptionError
from ..functions import called, check_plain
from ..lobby.lobby import Lobby
from ..lobby.ports import IceServers
from ..server import Server
from ..socketio.handler_signatures import check_takes
from ..socketio.socket import Socket
from .colours import theme

__all__ = ["RoomPage", "page_headers", "rendered"]

_HERE = Path(__file__).parent
# Not the app's environment: its templates, filters and globals are its own.
_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True
)
_SELF = "'self'"
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.*:\[\]-]+")

MayEnter = Callable[["str | None"], Any]


class RoomPage:
    """A page for video calls at ``url_prefix``, in the Flask app that ``server`` wraps.

    ``server``: the `Server`, made with ``app=`` or given an app by ``init_app``; or give ``app``
    here. ``url_prefix``: where the page is, ``"/call"`` by default; ``"/"`` for the app's root.
    ``title``: the page's heading. ``accent``: its colour, ``#rgb`` or ``#rrggbb``; `None`: green.
    The page makes it darker or lighter where its contrast would be too low. ``logo``: the path of
    an image on this server, like ``"/static/logo.svg"``; `None`: none.

    ``ice_servers``: as for `Lobby`. ``may_enter``: called with the name of a room, or with `None`
    where no room is chosen yet, in a request context of the app, so that it sees the app's login.
    `True`: the visitor may enter. `False` or `None`: the page answers 403. A response, like
    ``redirect("/login")``: the visitor gets it instead of the page. Anything else raises
    `TypeError`. The same function decides when a socket joins a room, and there only
    `True` allows it. A socket gets ICE servers once it is in a room that it may enter.
    ``may_enter=None``: everybody may enter.

    ``embed_in``: origins whose pages may show the page in a frame, like ``"https://shop.example"``;
    ``"*"`` for any. The server's own pages always may.

    ``lobby``: a `Lobby` of this server that exists already. It has its own ``ice_servers`` and
    ``authorize``, so leave out ``ice_servers`` and ``may_enter``. `None`: the page makes one, which
    is its attribute `lobby`. ``status``: the address of a page
    about the server's state, for a link at the foot; `None`: no link.

    Raises `OptionError` (a `ValueError`) for invalid arguments.
    """

    def __init__(
        self,
        server: Server,
        *,
        app: flask.Flask | None = None,
        url_prefix: str = "/call",
        title: str = "Video room",
        accent: str | None = None,
        logo: str | None = None,
        ice_servers: IceServers | Callable[[Socket], IceServers] | None = None,
        may_enter: MayEnter | None = None,
        embed_in: str | Iterable[str] = (),
        lobby: Lobby | None = None,
        status: str | None = None,
    ) -> None:
        app = self._app_of(server, app)
        self.url_prefix = _prefix(url_prefix)
        self._headers = page_headers(embed_in)
        self._may_enter = may_enter
        self._theme = "" if accent is None else theme(accent)
        for name, text in (("title", title), ("logo", logo), ("status", status)):
            if not isinstance(text, str) and (text is not None or name == "title"):
                raise OptionError(f"{name} must be text, not {text!r:.100}")
        if lobby is not None and not isinstance(lobby, Lobby):
            raise OptionError(f"lobby must be a Lobby of this server, not {lobby!r:.100}")
        if logo is not None and not re.match(r"/(?!/)", logo):
            raise OptionError(f"logo must be a path on this server, like /logo.svg, not {logo!r}")
        _check_function(may_enter)
        if lobby is not None and (ice_servers is not None or may_enter is not None):
            raise OptionError(
                "the Lobby has its own ice_servers and authorize: leave out ice_servers= and "
                "may_enter="
            )
        self.lobby = lobby or self._make_lobby(server, ice_servers)
        up = "../" * self.url_prefix.count("/")
        self._shown = {
            "title": title,
            "logo": logo,
            "version": __version__,
            "status": status,
            # Relative, like all addresses in the page: a proxy may serve it under another path.
            "signaling": f"{up}{server.path.lstrip('/')}/",
        }
        app.register_blueprint(self._blueprint(), url_prefix=self.url_prefix or "/")

    @staticmethod
    def _app_of(server: Server, app: flask.Flask | None) -> flask.Flask:
        if not isinstance(server, Server):
            raise OptionError("RoomPage(server): give the rtcio_sync.Server, not the app")
        if app is not None:
            server.init_app(app)
        found = app or server.app
        if found is None:
            raise OptionError("the server has no Flask app yet: RoomPage(server, app=app)")
        if not isinstance(found, flask.Flask):
            raise OptionError("RoomPage needs a Flask app")
        return found

    def _make_lobby(
        self, server: Server, servers: IceServers | Callable[[Socket], IceServers] | None
    ) -> Lobby:
        if self._may_enter is None:
            return Lobby(server, ice_servers=servers)
        return _Guarded(server, self._verdict, servers)

    def _verdict(self, room: str | None) -> Any:
        asked = self._may_enter
        return True if asked is None else called(asked, room)

    def _blueprint(self) -> flask.Blueprint:
        name = "rtcio_room" + re.sub(r"[^A-Za-z0-9]", "_", self.url_prefix)
        blueprint = flask.Blueprint(
            name, __name__, root_path=str(_HERE), static_folder="static", static_url_path="/rtcio"
        )
        blueprint.add_url_rule("/", "room", self._room)
        blueprint.add_url_rule("/room.js", "element", lambda: self._static("room.js"))
        blueprint.add_url_rule("/rtcio/theme.css", "theme", self._colours)
        return blueprint

    def _room(self) -> Any:
        verdict = self._verdict(flask.request.args.get("room") or None)
        if verdict is True:
            return rendered("room.html", **self._shown), self._headers
        if verdict is False or verdict is None:
            return rendered("refused.html", **self._shown), 403, self._headers
        if isinstance(verdict, werkzeug.Response):
            return verdict
        raise TypeError(f"may_enter has to return True, False or a response, not {verdict!r:.100}")

    def _colours(self) -> flask.Response:
        response = flask.Response(self._theme, mimetype="text/css")
        response.headers["Cache-Control"] = "no-cache"
        return response

    @staticmethod
    def _static(name: str) -> flask.Response:
        return flask.send_from_directory(_HERE / "static", name)


class _Guarded(Lobby):
    """A lobby for those who may enter its rooms. # greenlet"""

    def __init__(
        self,
        server: Server,
        verdict: MayEnter,
        servers: IceServers | Callable[[Socket], IceServers] | None,
    ) -> None:
        self._verdict = verdict
        super().__init__(server, ice_servers=servers)

    def authorize(self, socket: Socket, room: str, name: str | None, password: str | None) -> bool:
        return self._verdict(room) is True

    def ice_servers(self, socket: Socket) -> IceServers:
        # TURN credentials are worth something: only for those who are in a room, and may be.
        rooms = (room for room in socket.rooms if room != socket.id)
        if any(self._verdict(room) is True for room in rooms):
            return super().ice_servers(socket)
        return []


def rendered(template: str, **shown: Any) -> str:
    """A page of this folder's templates."""
    return _templates.get_template(template).render(shown)


def page_headers(embed_in: str | Iterable[str] = ()) -> dict[str, str]:
    """The headers of a page: it loads everything from its server, and evaluates no text as code.

    Other sites may link to it; those of ``embed_in`` may show it in a frame too.
    """
    if not isinstance(embed_in, Iterable):
        raise OptionError(
            f"embed_in takes origins like https://shop.example, not {embed_in!r:.100}"
        )
    framers = [embed_in] if isinstance(embed_in, str) else list(embed_in)
    for each in framers:
        if not isinstance(each, str) or not (each == "*" or _ORIGIN.fullmatch(each)):
            raise OptionError(f"embed_in takes origins like https://shop.example, not {each!r}")
    return {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": "default-src 'self'; script-src 'self';"
        " object-src 'none'; base-uri 'none'; form-action 'self';"
        f" frame-ancestors {' '.join([_SELF, *framers])}",
        "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self)",
        "Referrer-Policy": "no-referrer",  # the address contains the name of the room
        "X-Content-Type-Options": "nosniff",
    }


def _check_function(may_enter: MayEnter | None) -> None:
    if may_enter is None:
        return
    if not callable(may_enter):
        raise OptionError("may_enter must be a function that takes the name of a room")
    try:
        check_plain(may_enter)
    except TypeError as error:  # a coroutine is a true object
        raise OptionError(
            "may_enter has to be a plain function, not async and not with a `yield`"
        ) from error
    check_takes("may_enter", may_enter, "room")


def _prefix(given: str) -> str:
    """``/call`` for ``/call/``; empty for the root."""
    prefix = given.rstrip("/") if isinstance(given, str) else None
    if prefix is None or not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", prefix):
        raise OptionError(f"url_prefix must be a path like /call, not {given!r}")
    return prefix
