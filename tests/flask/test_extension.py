"""An app and its server: `init_app`, which requests go to which of the two, and what is wrapped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask
import pytest
import socketio
from flask_socketio import SocketIO
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from rtcio_sync.errors import OptionError
from rtcio_sync.flask.context import APP
from rtcio_sync.flask.extension import init_app, with_signaling
from tests.flask.signaling import Signaling
from tests.wsgi import environ_of, request


def new_app(name: str = "app") -> flask.Flask:
    app = flask.Flask(name)
    app.get("/")(lambda: f"home of {name}")
    app.get("/elsewhere", endpoint="elsewhere")(lambda: "page of the app")
    return app


def get(application: Any, path: str, **headers: str) -> str:
    """The body of an answer, or the status of one that is an error."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    status, _headers, body = request(application, environ_of("GET", {}, path=path, headers=named))
    return body.decode() if status == 200 else f"{status}"


# -- init_app --------------------------------------------------------------------------------------


def test_state_is_in_the_apps_extensions() -> None:
    app, other = new_app(), new_app()
    server = Signaling()
    init_app(server, app)
    assert app.extensions["rtcio"] is server
    assert "rtcio" not in other.extensions


def test_wrapping_an_app_twice_is_once_and_with_another_server_is_refused() -> None:
    app, server = new_app(), Signaling()
    init_app(server, app)
    wrapped = app.wsgi_app
    init_app(server, app)
    assert app.wsgi_app is wrapped
    with pytest.raises(OptionError, match=r"use that one, app\.extensions"):
        init_app(Signaling(), app)


def test_what_is_no_flask_app_is_refused_with_the_fix() -> None:
    wrong: Any = ProxyFix(new_app())  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"app\.wsgi_app = ProxyFix\(app\.wsgi_app\)"):
        init_app(Signaling(), wrong)
    with pytest.raises(OptionError, match=r"served with server\.listen"):
        init_app(Signaling(), plain)  # type: ignore[arg-type]


# -- two Socket.IO servers on one path -----------------------------------------------------------


def other_server(app: Any, path: str = "socket.io") -> Any:
    """Wraps ``app`` with python-socketio's server, as Flask-SocketIO does."""
    server = socketio.Server(async_mode="threading")
    app.wsgi_app = socketio.WSGIApp(server, app.wsgi_app, socketio_path=path)
    return app


def test_an_app_with_flask_socketio_is_refused_with_the_import_to_change() -> None:
    app = new_app()
    SocketIO(app, async_mode="threading")
    with pytest.raises(OptionError, match=r"from rtcio_sync\.flask_socketio import SocketIO"):
        init_app(Signaling(), app)
    assert "rtcio" not in app.extensions


@pytest.mark.parametrize(
    "around",
    [
        lambda app: app,
        ProxyFix,
        lambda app: socketio.WSGIApp(Signaling(), app, socketio_path="mine"),
    ],
)
def test_one_below_other_middlewares_is_found_too(around: Callable[[Any], Any]) -> None:
    app = other_server(new_app())
    server = Signaling()
    for wrap in (lambda: init_app(server, app), lambda: with_signaling(server, around(app))):
        with pytest.raises(OptionError, match=r"already has a Socket\.IO server of socketio"):
            wrap()


def test_one_that_comes_after_ours_is_refused_by_listen_and_told_at_the_first_page(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, server = new_app(), Signaling()
    init_app(server, app)
    other_server(app)
    with pytest.raises(OptionError, match="handlers of only one would run"):
        with_signaling(server, app)
    assert [get(app, "/"), get(app, "/")] == ["home of app"] * 2
    (told,) = caplog.records
    assert (told.levelname, "give one of the two another path" in told.message) == ("ERROR", True)


def test_two_with_different_paths_are_served(caplog: pytest.LogCaptureFixture) -> None:
    app, server = other_server(new_app(), "/other/"), Signaling()
    init_app(server, app)
    assert with_signaling(server, app) is app
    assert get(app, "/") == "home of app"
    assert get(app, "/socket.io/") == "signaling"
    assert not caplog.records


# -- which request goes where ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/", "home of app"),
        ("/socket.io/", "signaling"),
        ("/socket.io", "signaling"),
        ("/socket.io/more", "signaling"),
        ("/socket.iox", "404"),
        ("/nested/socket.io/", "404"),
    ],
)
def test_the_socket_io_path_is_the_servers_and_all_else_the_apps(path: str, answer: str) -> None:
    app = new_app()
    init_app(Signaling(), app)
    assert get(app, path) == answer


def test_a_request_for_a_page_waits_for_its_turn_and_one_for_a_session_never() -> None:
    # A session may move to another worker while one that has come to the right one waits.
    app, server = new_app(), Signaling()
    init_app(server, app)
    get(app, "/socket.io/?EIO=4&transport=polling&sid=abc")
    assert server.turns == 0
    get(app, "/elsewhere")
    assert server.turns == 1


def test_the_request_names_the_app_that_it_came_by() -> None:
    server, apps = Signaling(), [new_app("one"), new_app("other")]
    for app in apps:
        init_app(server, app)
        get(app, "/socket.io/")
    assert [environ[APP] for environ in server.environs] == apps


@pytest.mark.parametrize("first", ["ProxyFix", "init_app"])
def test_proxy_fix_is_applied_once_to_signaling_in_either_order(first: str) -> None:
    app, server = new_app(), Signaling()
    if first == "init_app":
        init_app(server, app)
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    if first == "ProxyFix":
        init_app(server, app)
    assert get(app, "/socket.io/", X_Forwarded_For="198.51.100.1, 203.0.113.2") == "signaling"
    (environ,) = server.environs
    assert environ["REMOTE_ADDR"] == "203.0.113.2"


# -- what listen serves ----------------------------------------------------------------------------


def plain(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"plain" if environ["PATH_INFO"] == "/" else b"page of the app"]


def wrapped(server: Signaling) -> flask.Flask:
    app = new_app()
    init_app(server, app)
    return app


def closure(app: Any) -> Any:
    def middleware(environ: Any, start_response: Any) -> Any:
        return app(environ, start_response)

    return middleware


class Slotted:
    """A middleware in which nobody can look for what it wraps."""

    __slots__ = ("hidden",)

    def __init__(self, app: Any) -> None:
        self.hidden = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.hidden(environ, start_response)


APPS: dict[str, tuple[Callable[[Signaling], Any], str]] = {
    "plain WSGI": (lambda server: plain, "plain"),
    "Flask": (lambda server: new_app(), "home of app"),
    "Flask's wsgi_app": (lambda server: new_app().wsgi_app, "home of app"),
    "wrapped Flask": (wrapped, "home of app"),
    "wrapped Flask in ProxyFix": (lambda server: ProxyFix(wrapped(server)), "home of app"),
    "Flask in ProxyFix": (lambda server: ProxyFix(new_app()), "home of app"),  # type: ignore[arg-type]
    "Flask in a dispatcher": (
        lambda server: DispatcherMiddleware(new_app(), {"/other": plain}),
        "home of app",
    ),
    "wrapped Flask in a dispatcher": (
        lambda server: DispatcherMiddleware(plain, {"/other": wrapped(server)}),
        "plain",
    ),
    "a closure around Flask": (lambda server: closure(new_app()), "home of app"),
    "a closure around wrapped Flask": (lambda server: closure(wrapped(server)), "home of app"),
    "a middleware with slots": (lambda server: Slotted(wrapped(server)), "home of app"),
    "socketio.WSGIApp": (lambda server: socketio.WSGIApp(server, plain), "plain"),
    "Flask with another server": (lambda server: wrapped(Signaling()), "home of app"),
}


@pytest.mark.parametrize("name", APPS)
def test_the_app_and_the_signaling_are_both_served(name: str) -> None:
    make, home = APPS[name]
    server = Signaling()
    application = with_signaling(server, make(server))
    assert get(application, "/") == home
    assert get(application, "/elsewhere") == "page of the app"
    assert get(application, "/socket.io/") == "signaling"
    assert len(server.environs) == 1


def test_an_app_that_leads_to_the_server_is_not_wrapped_again() -> None:
    server = Signaling()
    for app in (wrapped(server), ProxyFix(wrapped(server)), socketio.WSGIApp(server)):
        assert with_signaling(server, app) is app
    bare = new_app()
    assert with_signaling(server, bare) is bare
    assert bare.extensions["rtcio"] is server
    assert with_signaling(server, bare) is bare


def test_the_flask_app_inside_of_a_middleware_gives_the_handlers_their_contexts() -> None:
    app, server = new_app(), Signaling()
    get(with_signaling(server, closure(app)), "/socket.io/")
    assert server.environs[0][APP] is app


def test_without_one_inside_it_is_the_app_that_the_server_wraps() -> None:
    app = new_app()
    server = Signaling(app=app)
    get(with_signaling(server, plain), "/socket.io/")
    assert server.environs[0][APP] is app
