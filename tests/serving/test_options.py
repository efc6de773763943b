"""What `Server.listen` is told: refused with the fix, or served, TLS and any WSGI app included."""

from __future__ import annotations

import re
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask
import gevent
import gevent.ssl
import pytest
import socketio
import trustme
from gevent.event import AsyncResult
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from rtcio_sync import OptionError, Server
from tests.timing import DEADLINE

HOME, ELSEWHERE, SIGNALING = "/", "/elsewhere", "/socket.io/?EIO=4&transport=polling"


# -- what cannot be meant --------------------------------------------------------------------------


def plain(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"plain" if environ["PATH_INFO"] == "/" else b"page of the app"]


async def asgi(scope: Any, receive: Any, send: Any) -> None: ...


class Asgi:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "port None": ({"port": None}, "port=None: give a number"),
    "port bool": ({"port": True}, "port=True: give a number"),
    "port float": ({"port": 3001.5}, "port=3001.5: give a number"),
    "port too high": ({"port": 65536}, "to 65535"),
    "port negative": ({"port": -1}, "from 0"),
    "port no number": ({"port": "http"}, "give a number"),
    "port and host swapped": ({"port": "0.0.0.0", "host": 3001}, "the host after it"),
    "port an app": ({"port": flask.Flask("x")}, re.escape("listen(port, app=app)")),
    "host None": ({"host": None}, "host=None: give a name or an address"),
    "host empty": ({"host": ""}, "give a name or an address"),
    "host with port": ({"host": "localhost:3001"}, "port is an argument of its own"),
    "host a URL": ({"host": "http://localhost"}, "give a name or an address"),
    "host bytes": ({"host": b"localhost"}, "give a name or an address"),
    "app text": ({"app": "app:app"}, "the WSGI application itself"),
    "app async": ({"app": asgi}, "ASGI"),
    "app async object": ({"app": Asgi()}, "ASGI"),
    "ready": ({"ready": 3}, "ready=3: give a plain function"),
    "debug": ({"debug": True}, "no option 'debug'; leave it out"),
    "use_reloader": ({"use_reloader": True}, "leave it out"),
    "threaded": ({"threaded": True}, "async_mode='threading'"),
    "log_output": ({"log_output": True}, "log='default'"),
    "allow_unsafe_werkzeug": ({"allow_unsafe_werkzeug": True}, "leave it out"),
    "workers": ({"workers": 4}, "gunicorn"),
    "ssl": ({"ssl": True}, "ssl_context"),
    "misspelt": ({"certfil": "x"}, "did you mean 'certfile'"),
    "cors": ({"cors_allowed_origins": "*"}, re.escape("Server(cors_allowed_origins=")),
    "unknown": ({"colour": 1}, "no option 'colour'; it has app"),
    "keyfile alone": ({"keyfile": "key.pem"}, "needs certfile"),
    "no such certfile": ({"certfile": "/nowhere/a.pem", "keyfile": "/b"}, "no such file"),
    "certfile no path": ({"certfile": 3}, "give the path"),
    "ssl_context True": ({"ssl_context": True}, r"give \(certfile, keyfile\)"),
    "ssl_context text": ({"ssl_context": "cert.pem"}, r"give \(certfile, keyfile\)"),
    "ssl_context one": ({"ssl_context": ("a",)}, r"give \(certfile, keyfile\)"),
    "ssl_context files": ({"ssl_context": ("/nowhere/a", "/nowhere/b")}, "no such file"),
    "ssl_context and certfile": (
        {"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "certfile": "a"},
        "leave out keyfile",
    ),
}


@pytest.mark.parametrize("mode", ["gevent", "threading"])
@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_meant_is_refused_before_anything_is_opened(name: str, mode: Any) -> None:
    given, message = WRONG[name]
    with gevent.Timeout(DEADLINE), pytest.raises(OptionError, match=message):
        Server(async_mode=mode).listen(**{"port": 0, "host": "127.0.0.1", **given})


def test_what_only_gevents_server_takes_is_refused_on_threads() -> None:
    with pytest.raises(OptionError, match="backlog is for gevent's server"):
        Server(async_mode="threading").listen(0, host="127.0.0.1", backlog=5)


def test_files_that_are_no_certificate_are_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    with pytest.raises(OptionError, match="no certificate and its key in PEM"):
        Server().listen(0, host="127.0.0.1", certfile=str(wrong), keyfile=str(wrong))


# -- what is served --------------------------------------------------------------------------------


class Running:
    """A server that listens in this process, in a greenlet or a thread of its own."""

    def __init__(self, server: Server, given: dict[str, Any]) -> None:
        self.server = server
        if server.async_mode == "gevent":
            told: Any = AsyncResult()
            self.task: Any = gevent.spawn(server.listen, 0, "127.0.0.1", ready=told.set, **given)
            self.port = told.get(timeout=DEADLINE)
            return
        begun = threading.Event()
        self.port = 0

        def ready(port: int) -> None:
            self.port = port
            begun.set()

        listen = {"port": 0, "host": "127.0.0.1", "ready": ready, **given}
        self.task = threading.Thread(target=server.listen, kwargs=listen)
        self.task.start()
        assert begun.wait(DEADLINE)

    def get(self, path: str, context: Any = None) -> str:
        scheme = "http" if context is None else "https"
        url = f"{scheme}://localhost:{self.port}{path}"
        # A real thread, so that neither kind of server waits for its own client.
        answer = gevent.get_hub().threadpool.spawn(_fetch, url, context)
        return str(answer.get(timeout=DEADLINE))


def _fetch(url: str, context: Any) -> str:
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE, context=context) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return f"{error.code}"


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(server: Server, **given: Any) -> Running:
        started.append(Running(server, given))
        return started[-1]

    yield start
    for each in started:
        each.server.stop()
        each.task.join(DEADLINE)


def new_app(name: str = "app") -> flask.Flask:
    app = flask.Flask(name)
    app.get("/")(lambda: f"home of {name}")
    app.get("/<path:rest>", endpoint="rest")(lambda rest: "page of the app")
    return app


def test_a_port_may_be_text_as_in_an_environment_variable() -> None:
    told: Any = AsyncResult()
    server = Server()
    task = gevent.spawn(server.listen, "0", "127.0.0.1", ready=told.set)
    assert told.get(timeout=DEADLINE) > 0
    server.stop()
    task.join(DEADLINE)
    assert task.successful()


def _closure(app: Any) -> Any:
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


APPS: dict[str, tuple[Callable[[Server], Any], str]] = {
    "plain WSGI": (lambda server: plain, "plain"),
    "Flask": (lambda server: new_app(), "home of app"),
    "Flask's wsgi_app": (lambda server: new_app().wsgi_app, "home of app"),
    "wrapped Flask": (lambda server: _wrapped(server), "home of app"),
    "wrapped Flask in ProxyFix": (lambda server: ProxyFix(_wrapped(server)), "home of app"),
    "Flask in ProxyFix": (lambda server: ProxyFix(new_app()), "home of app"),  # type: ignore[arg-type]
    "Flask in a dispatcher": (
        lambda server: DispatcherMiddleware(new_app(), {"/other": plain}),
        "home of app",
    ),
    "wrapped Flask in a dispatcher": (
        lambda server: DispatcherMiddleware(plain, {"/other": _wrapped(server)}),
        "plain",
    ),
    "a closure around Flask": (lambda server: _closure(new_app()), "home of app"),
    "a closure around wrapped Flask": (lambda server: _closure(_wrapped(server)), "home of app"),
    "a middleware with slots": (lambda server: Slotted(_wrapped(server)), "home of app"),
    "socketio.WSGIApp": (lambda server: socketio.WSGIApp(server, plain), "plain"),
    "Flask with another server": (lambda server: _wrapped(Server()), "home of app"),
}


def _wrapped(server: Server) -> Any:
    app = new_app()
    server.init_app(app)
    return app


@pytest.mark.parametrize("mode", ["gevent", "threading"])
@pytest.mark.parametrize("name", APPS)
def test_the_app_and_the_signaling_are_both_served(
    run: Callable[..., Running], name: str, mode: Any
) -> None:
    make, home = APPS[name]
    server = Server(async_mode=mode)
    running = run(server, app=make(server))
    assert running.get(HOME) == home
    assert running.get(ELSEWHERE) == "page of the app"
    assert '0{"sid":' in running.get(SIGNALING)
    assert len(server.eio.sockets) == 1


def test_an_app_that_leads_to_the_server_is_not_wrapped_again() -> None:
    from rtcio_sync.flask.extension import serving

    server = Server()
    for app in (_wrapped(server), ProxyFix(_wrapped(server)), socketio.WSGIApp(server)):
        assert serving(server, app) is app
    bare = new_app()
    assert serving(server, bare) is bare
    assert bare.extensions["rtcio"] is server
    assert serving(server, bare) is bare


def test_handlers_run_in_the_context_of_the_app_that_is_listened_with(
    run: Callable[..., Running],
) -> None:
    server = Server()
    running = run(server, app=_closure(new_app("inside")))
    assert '0{"sid":' in running.get(SIGNALING)
    (environ,) = server.environ.values()
    assert environ["rtcio.app"].name == "inside"


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "chain.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return folder, trusting


def _context(kind: Any, folder: Path) -> Any:
    context = kind(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    return context


TLS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "files": lambda folder: {"certfile": folder / "chain.pem", "keyfile": str(folder / "key.pem")},
    "one file": lambda folder: {"certfile": str(folder / "both.pem")},
    "a pair": lambda folder: {"ssl_context": (folder / "chain.pem", folder / "key.pem")},
    "a context": lambda folder: {"ssl_context": _context(ssl.SSLContext, folder)},
    "a context of gevent's": lambda folder: {
        "ssl_context": _context(gevent.ssl.SSLContext, folder)
    },
}


@pytest.mark.parametrize("mode", ["gevent", "threading"])
@pytest.mark.parametrize("name", TLS)
def test_tls_is_served_however_its_certificate_is_given(
    run: Callable[..., Running], authority: Any, name: str, mode: Any
) -> None:
    if mode == "threading" and "gevent" in name:
        name = "a context"  # gevent's own are for its own servers
    folder, trusting = authority
    running = run(Server(async_mode=mode), **TLS[name](folder))
    assert '0{"sid":' in running.get(SIGNALING, trusting)


def test_an_encrypted_key_is_refused_and_nobody_is_asked(authority: Any, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    folder, _ = authority
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    files = {"certfile": folder / "chain.pem", "keyfile": tmp_path / "key.pem"}
    with pytest.raises(OptionError, match="the key is encrypted"):
        Server().listen(0, host="127.0.0.1", **files)
