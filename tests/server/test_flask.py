"""Handlers in their Flask app: its contexts, its session, its extensions, its logger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import flask
import flask_login
import pytest
import socketio
from flask.sessions import SecureCookieSession, SessionInterface
from flask_sqlalchemy import SQLAlchemy
from gevent.event import Event
from sqlalchemy.orm import Mapped, mapped_column

from rtcio_sync import ConnectionRefusedError, RtcioError, Server
from tests.clients import Polling
from tests.timing import DEADLINE, settle, until
from tests.wsgi import environ_of, request


def new_app(name: str = "of_the_tests") -> flask.Flask:
    app = flask.Flask(name)
    app.secret_key = "of the tests"

    @app.get("/")
    def home() -> str:
        return f"home of {name}"

    @app.get("/login/<user>")
    def login(user: str) -> str:
        flask.session["user"] = user
        return "ok"

    return app


# -- the app and the server ------------------------------------------------------------------------


def test_another_path_may_be_chosen() -> None:
    app = new_app()
    Server(app=app, path="signal/")
    assert request(app, environ_of("GET", {}, path="/signal/"))[2].startswith(b"0{")
    assert request(app, environ_of("GET", {}, path="/socket.io/"))[0] == 404


def test_the_apps_own_pages_and_tests_go_on() -> None:
    app = new_app()
    Server(app=app)
    assert app.test_client().get("/").text == "home of of_the_tests"


def test_several_apps_may_share_a_server_and_each_handler_runs_in_its_own() -> None:
    server = Server()
    apps = [new_app("one"), new_app("other")]
    for app in apps:
        server.init_app(app)
    server.on("which", lambda sid: flask.current_app.name)
    assert [server.test_client(app).call("which") for app in apps] == ["one", "other"]
    a, b = (Polling(server, app=app).join() for app in apps)
    a.relay(b.sid, "from one app to the other")
    assert len(b.heard("#rtcio:message")) == 1
    a.emit("which", number=1)
    b.emit("which", number=2)
    assert [a.next(), b.next()] == ['31["one"]', '32["other"]']


def test_several_apps_may_each_have_a_server() -> None:
    servers = [Server(app=new_app(name)) for name in ("one", "other")]
    for server in servers:
        server.on("which", lambda sid: flask.current_app.extensions["rtcio"])
    found: list[Any] = []
    for server in servers:
        server.on("which", lambda sid: found.append(flask.current_app.extensions["rtcio"]))
        server.test_client().emit("which")
    assert found == servers


def test_a_server_without_an_app_has_no_context() -> None:
    server = Server()
    server.on("context", lambda sid: flask.has_app_context() or flask.has_request_context())
    assert server.test_client().call("context") is False


# -- where the contexts are ------------------------------------------------------------------------


def both_idioms(server: Server, log: Callable[[str], Any]) -> None:
    """Has ``log`` called from every kind of handler there is."""
    server.use(lambda socket: log("use"))
    server.on("connect", lambda sid, environ: log("connect"))
    server.on("server event", lambda sid: log("server event"))
    server.on("*", lambda event, sid: log("catch-all"))
    server.on("disconnecting", lambda sid: log("disconnecting"))
    server.on("disconnect", lambda sid: log("disconnect"))

    @server.on("connection")
    def connection(socket: Any) -> None:
        log("connection")
        socket.on("socket event", lambda: log("socket event"))
        socket.on_any(lambda event: log("on_any"))
        socket.use(lambda event, args: log("socket.use"))
        socket.on("disconnect", lambda reason: log("socket disconnect"))
        socket.emit("q", callback=lambda: log("callback"))


def test_every_handler_runs_in_both_contexts_and_leaves_none_behind() -> None:
    app = new_app()
    server = Server(app=app)
    seen: dict[str, Any] = {}

    def log(where: str) -> None:
        request = flask.request
        seen[where] = (
            flask.current_app._get_current_object() is app,  # type: ignore[attr-defined]
            request.sid,  # type: ignore[attr-defined]
            request.namespace,  # type: ignore[attr-defined]
            request.event["message"],  # type: ignore[attr-defined]
        )

    both_idioms(server, log)
    client = Polling(server, app=app).join()
    asked = client.next()
    client.send(f"3{asked[1 : asked.index('[')]}[]")
    client.emit("server event")
    client.emit("socket event")
    client.close()
    until(lambda: "socket disconnect" in seen and "callback" in seen)
    events = {
        "use": "connect",
        "connect": "connect",
        "connection": "connection",
        "callback": "ack",
        "server event": "server event",
        "socket event": "socket event",
        "catch-all": "socket event",
        "disconnecting": "disconnecting",
        "disconnect": "disconnect",
        "socket disconnect": "disconnect",
    }
    for where, name in events.items():
        assert seen.pop(where) == (True, client.sid, "/", name), where
    assert set(seen) == {"on_any", "socket.use"}
    assert not flask.has_app_context()


def test_the_callback_of_a_client_that_closes_at_once_runs_in_them_too() -> None:
    app = flask.Flask(__name__)
    server = Server(app)
    seen: list[bool] = []
    client = Polling(server, app=app.wsgi_app).join()
    server.emit("q", to=client.sid, callback=lambda: seen.append(flask.has_request_context()))
    asked = client.next()
    client.post(f"43{asked[1 : asked.index('[')]}[]", "1")  # the answer and CLOSE in one request
    until(lambda: seen)
    assert seen == [True]


def test_a_class_of_handlers_runs_in_them_too() -> None:
    app = new_app()
    server = Server(app=app)

    class Calls(socketio.Namespace):
        def on_which(self, sid: str) -> Any:
            return [flask.current_app.name, flask.request.namespace]  # type: ignore[attr-defined]

    server.register_namespace(Calls("/calls"))
    assert server.test_client(namespace="/calls").call("which") == ["of_the_tests", "/calls"]


def test_the_request_is_the_handshakes() -> None:
    app = new_app()
    server = Server(app=app)
    found: list[Any] = []

    @server.on("ask")
    def ask(sid: str, *args: Any) -> None:
        request = flask.request
        found.extend(
            [
                request.headers["X-Tea"],
                request.args["room"],
                request.cookies["flavour"],
                request.remote_addr,
                request.path,
                request.event,  # type: ignore[attr-defined]
                flask.url_for("home"),
            ]
        )

    client = Polling(
        server,
        app=app,
        headers={"X-Tea": "green", "Cookie": "flavour=plain"},
        query={"room": "one"},
    ).join()
    client.emit("ask", 1, "two")
    until(lambda: found)
    assert found == [
        "green",
        "one",
        "plain",
        "192.0.2.7",
        "/socket.io/",
        {"message": "ask", "args": (1, "two")},
        "/",
    ]


def test_g_is_each_handlers_own() -> None:
    server = Server(app=new_app())

    @server.on("count")
    def count(sid: str) -> int:
        flask.g.count = flask.g.get("count", 0) + 1
        return int(flask.g.count)

    client = server.test_client()
    assert [client.call("count"), client.call("count")] == [1, 1]


def test_handlers_at_the_same_time_have_each_their_own() -> None:
    app = new_app()
    server = Server(app=app)
    gates = {"a": Event(), "b": Event()}
    found: list[Any] = []

    @server.on("wait")
    def wait(sid: str, name: str) -> None:
        flask.g.name = name
        gates[name].wait(DEADLINE)
        found.append((name, flask.g.name, flask.request.sid == sid))  # type: ignore[attr-defined]

    clients = {name: Polling(server, app=app).join() for name in gates}
    for name, client in clients.items():
        client.emit("wait", name)
    settle()
    gates["b"].set()
    until(lambda: found)
    gates["a"].set()
    until(lambda: len(found) == 2)
    assert found == [("b", "b", True), ("a", "a", True)]


# -- the session -----------------------------------------------------------------------------------


def test_what_a_route_put_into_the_session_is_read_in_a_handler() -> None:
    app = new_app()
    server = Server(app=app)
    browser = app.test_client()
    browser.get("/login/ann")
    server.on("who", lambda sid: flask.session.get("user"))
    assert server.test_client(flask_test_client=browser).call("who") == "ann"
    assert server.test_client().call("who") is None


def test_what_a_handler_changes_stays_with_its_connection() -> None:
    app = new_app()
    server = Server(app=app)
    browser = app.test_client()
    browser.get("/login/ann")

    @server.on("rename")
    def rename(sid: str, name: str) -> None:
        flask.session["user"] = name

    server.on("who", lambda sid: flask.session.get("user"))
    kept: list[Any] = []
    server.on("disconnect", lambda sid: kept.append(flask.session["user"]))
    first, second = (server.test_client(flask_test_client=browser) for _ in range(2))
    first.emit("rename", "bob")
    assert (first.call("who"), second.call("who")) == ("bob", "ann")
    assert server.test_client(flask_test_client=browser).call("who") == "ann"
    first.disconnect()
    assert kept == ["bob"]
    with browser.session_transaction() as session:
        assert session["user"] == "ann"


def test_a_session_is_opened_once_for_a_connection() -> None:
    opened: list[int] = []

    class Interface(SessionInterface):
        def open_session(self, app: Any, request: Any) -> Any:
            opened.append(1)
            return SecureCookieSession({"opened": len(opened)})

        def save_session(self, app: Any, session: Any, response: Any) -> None: ...

    app = new_app()
    app.session_interface = Interface()
    server = Server(app=app)
    server.on("opened", lambda sid: flask.session["opened"])
    client = server.test_client()
    assert [client.call("opened") for _ in range(3)] == [1, 1, 1]


def test_an_app_without_a_secret_key_has_handlers_all_the_same() -> None:
    app = flask.Flask(__name__)
    server = Server(app=app)
    server.on("who", lambda sid: flask.session.get("user", "nobody"))
    client = server.test_client()
    assert client.call("who") == "nobody"
    assert client.call("who") == "nobody"


# -- extensions ------------------------------------------------------------------------------------


class User(flask_login.UserMixin):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self.id = name


def test_flask_logins_current_user_is_there() -> None:
    app = new_app()
    login = flask_login.LoginManager(app)
    login.user_loader(User)

    @app.get("/in/<name>")
    def log_in(name: str) -> str:
        flask_login.login_user(User(name))
        return "ok"

    server = Server(app=app)

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        if not flask_login.current_user.is_authenticated:
            raise ConnectionRefusedError("log in first")

    server.on("who", lambda sid: flask_login.current_user.id)
    browser = app.test_client()
    browser.get("/in/ann")
    assert server.test_client(flask_test_client=browser).call("who") == "ann"
    assert server.test_client().error == {"message": "log in first"}


@pytest.fixture
def database() -> Iterator[tuple[Server, SQLAlchemy, Any]]:
    app = new_app()
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db = SQLAlchemy(app)

    class Room(db.Model):  # type: ignore[name-defined,misc]
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    with app.app_context():
        db.create_all()
    yield Server(app=app), db, Room
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize("raising", [False, True])
def test_a_scoped_session_is_removed_after_each_handler(
    database: tuple[Server, SQLAlchemy, Any], raising: bool
) -> None:
    server, db, room = database
    sessions: list[Any] = []

    @server.on("add")
    def add(sid: str, name: str) -> int:
        sessions.append(db.session())
        db.session.add(room(name=name))
        if raising:
            raise ValueError("the app's own")
        db.session.commit()
        return int(db.session.query(room).count())

    client = server.test_client(raise_exceptions=False)
    for name in ("tea", "coffee"):
        client.emit("add", name)
    assert sessions[0] is not sessions[1]
    assert not any(session.new or session.in_transaction() for session in sessions)
    with server.app.app_context():
        assert db.session.query(room).count() == (0 if raising else 2)


def test_teardown_runs_after_every_handler() -> None:
    app = new_app()
    torn: list[str] = []
    app.teardown_appcontext(lambda error: torn.append("app"))
    app.teardown_request(lambda error: torn.append("request"))
    server = Server(app=app)
    server.on("chat", lambda sid: torn.append("handler"))
    client = server.test_client()
    torn.clear()
    client.emit("chat")
    assert torn == ["handler", "request", "app"]


def test_an_event_is_acknowledged_when_its_context_has_been_left() -> None:
    app = new_app()
    server = Server(app=app)
    server.on("chat", lambda sid: "handled")
    client = server.test_client(raise_exceptions=False)
    assert client.call("chat") == "handled"

    @app.teardown_request
    def commit(error: Any) -> None:
        raise RuntimeError("what the handler wrote could not be committed")

    with pytest.raises(RtcioError, match="nobody acknowledged"):
        client.call("chat")


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["connect", "chat", "disconnect", "connection", "use"])
def test_errors_go_to_the_apps_logger(where: str, caplog: pytest.LogCaptureFixture) -> None:
    app = new_app(f"app_of_{where}")
    server = Server(app=app)

    def fail(*args: Any) -> None:
        raise ValueError("the app's own")

    if where == "use":
        server.use(fail)
    else:
        server.on(where, fail)
    client = server.test_client(raise_exceptions=False)
    if client.connected:
        client.emit("chat")
        client.disconnect()
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.name == app.logger.name
    assert record.exc_info is not None
    assert record.exc_info[0] is ValueError


def test_what_fails_around_a_handler_is_an_error_like_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app()
    server = Server(app=app)
    broken: list[int] = []

    @app.teardown_appcontext
    def teardown(error: Any) -> None:
        if broken:
            raise ValueError("a teardown of the app's")

    server.on("chat", lambda sid: "answer")
    client = server.test_client(raise_exceptions=False)
    broken.append(1)
    client.emit("chat")
    broken.clear()
    assert server.stats()["handler_errors"] == 1
    assert client.call("chat") == "answer"
    assert not flask.has_app_context()
