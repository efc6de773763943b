"""`rtcio_sync.flask_socketio`: what Flask-SocketIO's own tests leave open, and what differs."""

from __future__ import annotations

import builtins
import warnings
from collections.abc import Callable
from typing import Any

import flask
import flask_socketio
import pytest
import socketio as python_socketio
from werkzeug.debug import DebuggedApplication

import rtcio_sync
from rtcio_sync import OptionError
from rtcio_sync.cluster.pubsub_manager import PubSubManager
from rtcio_sync.flask_socketio import (
    ConnectionRefusedError,
    Namespace,
    SocketIO,
    SocketIOTestClient,
    call,
    close_room,
    disconnect,
    emit,
    join_room,
    leave_room,
    rooms,
    send,
)

request: Any = flask.request


def new_app() -> flask.Flask:
    app = flask.Flask("of_the_tests")
    app.secret_key = "of the tests"
    return app


@pytest.fixture
def app() -> flask.Flask:
    return new_app()


@pytest.fixture
def socketio(app: flask.Flask) -> SocketIO:
    return SocketIO(app)


@pytest.fixture
def client(app: flask.Flask, socketio: SocketIO) -> Callable[..., SocketIOTestClient]:
    return lambda *args, **options: socketio.test_client(app, *args, **options)


def received(client: SocketIOTestClient, namespace: str | None = None) -> list[Any]:
    return [(each["name"], each["args"]) for each in client.get_received(namespace)]


Clients = Callable[..., SocketIOTestClient]


# -- one server ------------------------------------------------------------------------------------


def test_there_is_one_server_and_the_app_has_it(app: flask.Flask, socketio: SocketIO) -> None:
    assert type(socketio.server) is rtcio_sync.Server
    assert app.extensions["rtcio"] is socketio.server
    assert app.extensions["socketio"] is socketio
    assert socketio.async_mode == "gevent"
    assert socketio.reason is python_socketio.Server.reason


def test_handlers_come_along_to_each_server(client: Clients) -> None:
    socketio = SocketIO(message_queue=None)

    @socketio.on("before")
    def before() -> str:
        return "heard"

    class Calls(Namespace):
        def on_before(self) -> str:
            return "heard by a method"

    socketio.on_namespace(Calls("/calls"))
    for app in (new_app(), new_app()):
        socketio.init_app(app)
        made = socketio.test_client(app)
        made.connect("/calls")
        assert made.emit("before", callback=True) == "heard"
        assert made.emit("before", callback=True, namespace="/calls") == "heard by a method"


def test_an_app_that_is_given_again_gets_a_new_server(app: flask.Flask) -> None:
    socketio = SocketIO(app)
    first = socketio.server
    socketio.init_app(app, path="/other")
    assert socketio.server is not first
    assert (socketio.server.path, app.extensions["rtcio"]) == ("/other", socketio.server)
    answer = app.test_client().get("/other/?EIO=4&transport=polling")
    assert answer.status_code == 200


@pytest.mark.parametrize("name", ("path", "resource"))
@pytest.mark.parametrize("path", ("/signals", "signals"))
def test_the_path_is_given_with_or_without_its_slash(name: str, path: str) -> None:
    assert SocketIO(new_app(), **{name: path}).server.path == "/signals"


def test_a_misspelt_option_is_refused_with_the_right_name(app: flask.Flask) -> None:
    with pytest.raises(OptionError, match="did you mean 'ping_interval'"):
        SocketIO(app, ping_intervall=5)


def test_before_init_app_a_call_names_the_fix() -> None:
    with pytest.raises(RuntimeError, match="init_app"):
        SocketIO().emit("x")


# -- outside of handlers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "do",
    (
        lambda: emit("x"),
        lambda: send("x"),
        lambda: call("x"),
        lambda: join_room("tea"),
        lambda: leave_room("tea"),
        lambda: close_room("tea"),
        rooms,
        disconnect,
        lambda: flask.current_app.extensions["socketio"].emit("x", include_self=False),
    ),
)
def test_in_an_http_request_there_is_no_client_and_the_error_says_so(
    app: flask.Flask, socketio: SocketIO, do: Callable[[], Any]
) -> None:
    with app.test_request_context("/"), pytest.raises(RuntimeError, match="method of SocketIO"):
        do()


def test_an_app_without_a_socketio_is_named() -> None:
    with new_app().test_request_context("/"), pytest.raises(RuntimeError, match="of_the_tests"):
        emit("x", namespace="/", broadcast=True)


# -- recipients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ("to", "room"))
@pytest.mark.parametrize("empty", (None, "", [], ()))
def test_an_empty_recipient_is_the_sender_in_a_handler_and_everybody_outside(
    socketio: SocketIO, client: Clients, name: str, empty: Any
) -> None:
    socketio.on_event("x", lambda: emit("y", **{name: empty}))
    socketio.on_event("sent", lambda: send("y", **{name: empty}))
    one, other = client(), client()
    one.emit("x")
    one.emit("sent")
    assert received(one) == [("y", []), ("message", "y")]
    assert received(other) == []
    socketio.emit("y", **{name: empty})
    assert received(one) == received(other) == [("y", [])]


def test_a_misspelt_keyword_is_an_error(socketio: SocketIO, client: Clients) -> None:
    socketio.on_event("x", lambda: emit("y", brodcast=True))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="brodcast"):
        client().emit("x")


def test_an_event_from_outside_of_handlers_may_say_that_it_is_for_everybody(
    socketio: SocketIO, client: Clients
) -> None:
    one, other = client(), client()
    socketio.emit("y", broadcast=True)
    socketio.send("z", broadcast=True)
    assert received(one) == received(other) == [("y", []), ("message", "z")]
    socketio.emit("y", broadcast=False, to="a room without clients")
    for emit_to_nobody in (socketio.emit, socketio.send):
        with pytest.raises(OptionError, match=r"broadcast=False: give to="):
            emit_to_nobody("y", broadcast=False)
    assert received(one) == received(other) == []


def test_a_decorator_without_parentheses_and_a_handler_in_its_place_are_refused(
    socketio: SocketIO,
) -> None:
    anything: Any = socketio
    with pytest.raises(OptionError, match=r"with parentheses: @socketio\.on_error\(\)"):
        anything.on_error(lambda error: None)
    with pytest.raises(OptionError, match=r"socketio\.on_event\('x', handler\)"):
        anything.on("x", lambda: None)


def test_the_methods_of_a_class_take_the_names_that_the_functions_have(
    socketio: SocketIO, client: Clients
) -> None:
    class Calls(Namespace):
        def on_x(self) -> None:
            join_room("tea")
            self.emit("to", to="tea")
            self.send("skipped", skip_sid=[request.sid])

    socketio.on_namespace(Calls("calls"))
    one, other = client("/calls"), client("/calls")
    one.emit("x", namespace="/calls")
    assert received(one, "/calls") == [("to", [])]
    assert received(other, "/calls") == [("message", "skipped")]


# -- arguments -------------------------------------------------------------------------------------


def test_a_handler_gets_the_arguments_that_it_declares(socketio: SocketIO, client: Clients) -> None:
    socketio.on_event("two", lambda one, two=2: (one, two))
    one = client()
    assert one.emit("two", callback=True) == [None, 2]
    assert one.emit("two", 5, 6, 7, callback=True) == [5, 6]


def test_what_cannot_be_a_handler_is_refused_where_it_is_registered(socketio: SocketIO) -> None:
    async def handler() -> None: ...

    with pytest.raises(TypeError, match="coroutine"):
        socketio.on("x")(handler)
    with pytest.raises(ValueError, match="derived from"):
        socketio.on_namespace(python_socketio.Namespace("/"))  # type: ignore[arg-type]
    for register in (socketio.on_error(), socketio.on_error_default):
        with pytest.raises(ValueError, match="callable"):
            register("handler")  # type: ignore[type-var]
        with pytest.raises(TypeError, match="coroutine"):
            register(handler)


def test_a_handler_without_a_sid_is_no_cause_for_a_warning(socketio: SocketIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        socketio.on_event("chat", lambda data: data)

        @socketio.on("disconnect")
        def disconnect(reason: str) -> None: ...


def test_a_handler_of_connection_is_not_called_and_a_warning_names_connect(
    socketio: SocketIO, client: Clients
) -> None:
    heard = []
    with pytest.warns(UserWarning, match="'connect'"):
        socketio.on_event("connection", lambda: heard.append(1))
    client()
    assert heard == []


def test_a_handler_of_any_event_in_any_namespace_gets_the_event(
    socketio: SocketIO, client: Clients
) -> None:
    seen = []

    @socketio.on("*", namespace="*")
    def anything(event: str, data: Any) -> str:
        seen.append((event, data, request.namespace, request.event))
        return event

    @socketio.on("connect", namespace="*")
    def connect(auth: Any) -> None:
        seen.append(auth)

    socketio.on_event("other", lambda: None, "/calls")
    one = client("/calls", auth={"a": 1})
    assert one.emit("x", 5, callback=True, namespace="/calls") == "x"
    assert seen == [{"a": 1}, ("x", 5, "/calls", {"message": "*", "args": ("x", 5)})]


def test_a_class_may_be_for_any_namespace(socketio: SocketIO, client: Clients) -> None:
    class Anywhere(Namespace):
        def on_x(self, data: Any) -> str:
            self.emit("y", data)
            return str(request.namespace)

    socketio.on_namespace(Anywhere("*"))
    socketio.on_event("connect", lambda: None, namespace="/calls")
    one = client("/calls")
    assert one.emit("x", 5, callback=True, namespace="/calls") == "/calls"
    assert received(one, "/calls") == [("y", [5])]


# -- refusing, and errors --------------------------------------------------------------------------


def test_a_client_whose_connect_handler_raised_is_refused_whatever_handles_the_error(
    socketio: SocketIO, client: Clients
) -> None:
    handled = []
    socketio.on_error()(lambda error: handled.append(str(error)))

    @socketio.on("connect")
    def connect() -> None:
        raise RuntimeError("the database is gone")

    class Calls(Namespace):
        def on_connect(self) -> None:
            raise RuntimeError("the database is gone")

        def error(self, error: Exception) -> None:
            handled.append(f"in the class: {error}")

    socketio.on_namespace(Calls("/calls"))
    assert not client().is_connected()
    assert not client("/calls").is_connected("/calls")
    assert handled == ["the database is gone", "in the class: the database is gone"]


@pytest.mark.parametrize(
    "kind", (ConnectionRefusedError, python_socketio.exceptions.ConnectionRefusedError)
)
def test_a_refusal_is_no_error(socketio: SocketIO, client: Clients, kind: Any) -> None:
    handled: list[Any] = []
    socketio.on_error_default(handled.append)

    class Calls(Namespace):
        def on_connect(self) -> None:
            raise kind("not you", {"because": "of this"})

        def error(self, error: Exception) -> None:
            handled.append(error)

    socketio.on_namespace(Calls("/calls"))
    assert not client("/calls").is_connected("/calls")
    assert handled == []


def test_the_built_in_error_of_that_name_in_an_event_is_an_error(
    socketio: SocketIO, client: Clients
) -> None:
    @socketio.on("x")
    def x() -> None:
        raise builtins.ConnectionRefusedError(111, "of a database")

    socketio.on_error()(lambda error: f"handled {type(error).__name__}")
    assert client().emit("x", callback=True) == "handled ConnectionRefusedError"


def test_a_handled_error_is_not_counted_and_another_one_is(
    socketio: SocketIO, client: Clients
) -> None:
    def fail(how: str) -> None:
        raise RuntimeError(how)

    for namespace in ("/", "/calls"):
        socketio.on_event("x", fail, namespace)
    socketio.on_error("/calls")(lambda error: "handled")
    calls = client("/calls")
    assert calls.emit("x", "once", callback=True, namespace="/calls") == "handled"
    assert socketio.server.stats()["handler_errors"] == 0
    with pytest.raises(RuntimeError, match="twice"):
        client().emit("x", "twice")
    assert socketio.server.stats()["handler_errors"] == 1


# -- contexts --------------------------------------------------------------------------------------


def test_a_callback_runs_in_the_contexts_of_the_handler_that_asked_while_its_client_is_there(
    socketio: SocketIO, client: Clients
) -> None:
    seen: list[Any] = []
    made: list[Callable[..., Any]] = []

    def answered(*args: Any) -> None:
        seen.append((request.sid, request.namespace, request.event, flask.session["of"]))

    @socketio.on("ask")
    def ask() -> str:
        flask.session["of"] = "the handler"
        made.append(socketio.in_this_context(answered))
        return str(request.sid)

    one = client()
    sid = one.emit("ask", callback=True)
    made[0]("an answer")
    event = {"message": None, "args": ("an answer",)}
    assert seen == [(sid, "/", event, "the handler")]
    one.disconnect()
    made[0]("an answer")
    assert len(seen) == 1


@pytest.mark.parametrize("inside", [True, False])
def test_a_callback_gets_what_it_declares_of_the_answer(
    inside: bool, socketio: SocketIO, caplog: pytest.LogCaptureFixture
) -> None:
    results: list[Any] = []

    @socketio.on("ask")
    def ask(sid: str) -> None:
        socketio.emit("q", to=sid, callback=lambda: results.append("nothing"))
        socketio.emit("q", to=sid, callback=lambda one, two: results.append((one, two)))

    one = socketio.server.test_client()
    if inside:
        one.emit("ask", one.sid)
    else:
        ask(one.sid)
    for _ in range(2):
        one.acknowledge("q", 1)
    assert results == ["nothing", (1, None)]
    assert socketio.server.stats()["handler_errors"] == 0 and not caplog.records


def test_with_manage_session_false_http_and_events_share_one_session(app: flask.Flask) -> None:
    kept: dict[str, Any] = {}

    class Kept(dict[str, Any], flask.sessions.SessionMixin):
        modified = False

        def __setitem__(self, name: str, value: Any) -> None:
            super().__setitem__(name, value)
            self.modified = True

    class Interface(flask.sessions.SessionInterface):
        def open_session(self, app: Any, request: Any) -> Any:
            return Kept(kept)

        def save_session(self, app: Any, session: Any, response: Any) -> None:
            if session.modified:
                kept.update(session)

    app.session_interface = Interface()
    socketio = SocketIO(app, manage_session=False)

    @app.get("/put/<value>")
    def put(value: str) -> str:
        flask.session["http"] = value
        return str(flask.session.get("event"))

    @socketio.on("put")
    def on_put(value: str) -> Any:
        flask.session["event"] = value
        return flask.session.get("http")

    @socketio.on("fail")
    def on_fail() -> None:
        flask.session["event"] = "of a handler that failed"
        raise RuntimeError

    socketio.on_error()(lambda error: "handled")
    http, events = app.test_client(), socketio.test_client(app)
    for value in ("first", "second"):
        before = http.get(f"/put/{value}").text
        assert before == ("None" if value == "first" else "first")
        assert events.emit("put", value, callback=True) == value
    assert events.emit("fail", callback=True) == "handled"
    assert kept == {"http": "second", "event": "second"}


# -- relays ----------------------------------------------------------------------------------------


def test_a_class_for_the_default_namespace_leaves_relays_their_short_way(
    socketio: SocketIO, client: Clients
) -> None:
    class Plain(Namespace):
        def on_x(self) -> None: ...

    socketio.on_namespace(Plain("/"))
    client()
    (member,) = socketio.server.manager.members["/"].values()
    assert not member.observed and member.short

    class Catching(Namespace):
        def trigger_event(self, event: str, *args: Any) -> Any: ...

    socketio.on_namespace(Catching("/"))
    assert member.observed and not member.short


# -- queues ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "prefix", "external"),
    [
        (None, "rtcio:flask-socketio", "flask-socketio"),
        ("ours", "rtcio:ours", "ours"),
        ("of ours", "rtcio:a8decb9be74fe2bb14a112eb83e1941b", "of ours"),
    ],
)
def test_a_redis_as_message_queue_becomes_a_cluster(
    app: flask.Flask, channel: str | None, prefix: str, external: str
) -> None:
    url = "redis://127.0.0.1:1"
    options = SocketIO(app, message_queue=url, channel=channel).server.options
    assert (options.cluster, options.client_manager) == (url, None)
    assert (options.cluster_prefix, options.cluster_external) == (prefix, external)


def test_on_threads_a_message_queue_becomes_a_client_manager(app: flask.Flask) -> None:
    url = "redis://127.0.0.1:1"
    socketio = SocketIO(app, message_queue=url, channel="ours", async_mode="threading")
    manager = socketio.server.manager
    assert isinstance(manager, PubSubManager) and isinstance(manager, python_socketio.RedisManager)
    assert (manager.channel, manager.write_only) == ("ours", False)
    with pytest.raises(RuntimeError, match="without message_queue"):
        socketio.test_client(app)


class Queue:
    """What a manager was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **named: self.asked.append((name, args, named))


def test_a_process_without_clients_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue()
    monkeypatch.setattr("rtcio_sync.flask_socketio.extension.manager_of", lambda *a, **k: queue)
    socketio = SocketIO(message_queue="redis://127.0.0.1:1")
    socketio.emit("news", 5, to="tea", namespace="calls", skip_sid="a sid")
    socketio.send("hello")
    socketio.close_room("tea")
    socketio.server.enter_room("a sid", "tea")
    socketio.server.leave_room("a sid", "tea", namespace="/calls")
    socketio.server.disconnect("a sid")
    assert queue.asked == [
        ("emit", ("news", 5), {"namespace": "/calls", "room": "tea", "skip_sid": "a sid"}),
        ("emit", ("message", "hello"), {"namespace": "/", "room": None, "skip_sid": None}),
        ("close_room", ("tea",), {"namespace": "/"}),
        ("enter_room", ("a sid", "/", "tea"), {}),
        ("leave_room", ("a sid", "/calls", "tea"), {}),
        ("disconnect", ("a sid",), {"namespace": "/"}),
    ]
    with pytest.raises(OptionError, match="acknowledgement"):
        socketio.emit("news", to="a sid", callback=print)
    with pytest.raises(AttributeError, match=r"init_app\(app\)"):
        socketio.call("news", to="a sid")


def test_handlers_that_a_process_without_clients_registers_are_for_an_app_that_follows(
    app: flask.Flask,
) -> None:
    socketio = SocketIO(message_queue="redis://127.0.0.1:1")
    socketio.on_event("x", lambda: "heard")
    socketio.on_namespace(Namespace("/calls"))
    socketio.init_app(app, message_queue=None)
    assert socketio.test_client(app).emit("x", callback=True) == "heard"


def test_an_app_that_follows_is_served_with_the_queue_of_the_process_without_clients(
    app: flask.Flask,
) -> None:
    socketio = SocketIO(message_queue="redis://127.0.0.1:1")
    socketio.init_app(app)
    options = socketio.server.options
    assert options.cluster == "redis://127.0.0.1:1"
    assert (options.cluster_prefix, options.cluster_external) == (
        "rtcio:flask-socketio",
        "flask-socketio",
    )


def test_a_later_app_may_have_a_client_manager_instead_of_the_queue(app: flask.Flask) -> None:
    socketio = SocketIO(app, message_queue="redis://127.0.0.1:1")
    manager = python_socketio.Manager()
    socketio.init_app(flask.Flask("later"), client_manager=manager)
    assert socketio.server.options.client_manager is manager
    assert socketio.server.options.cluster is None


# -- serving ---------------------------------------------------------------------------------------


@pytest.fixture
def listened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []
    monkeypatch.setattr(
        rtcio_sync.Server, "listen", lambda self, port, **named: found.append((port, named))
    )
    return found


def test_run_listens_where_flask_socketio_does(
    app: flask.Flask, socketio: SocketIO, listened: list[Any]
) -> None:
    socketio.run(app)
    app.config["SERVER_NAME"] = "example.com:8000"
    socketio.run(app, allow_unsafe_werkzeug=True, log_output=True)
    socketio.run(app, "0.0.0.0", 5001, keyfile="key", certfile="cert")
    assert listened == [
        (5000, {"host": "127.0.0.1", "app": app}),
        (8000, {"host": "127.0.0.1", "app": app, "log": "default"}),
        (5001, {"host": "0.0.0.0", "app": app, "keyfile": "key", "certfile": "cert"}),
    ]


def test_debug_puts_the_debugger_between_the_endpoint_and_the_app(
    app: flask.Flask, socketio: SocketIO, listened: list[Any]
) -> None:
    endpoint: Any = app.wsgi_app
    app.wsgi_app = lambda environ, start: endpoint(environ, start)  # type: ignore[method-assign]
    socketio.run(app, debug=True, use_reloader=False, log_output=False)
    assert app.debug and isinstance(endpoint.inner, DebuggedApplication)
    assert listened == [(5000, {"host": "127.0.0.1", "app": app})]


def test_tasks_and_sleep_are_the_servers(socketio: SocketIO) -> None:
    heard: list[Any] = []

    def task(*args: Any, **named: Any) -> None:
        heard.append((args, named))

    socketio.start_background_task(task, 1, a=2).join()
    socketio.sleep()
    assert heard == [((1,), {"a": 2})]


# -- the test client -------------------------------------------------------------------------------


def test_a_test_client_is_in_several_namespaces_over_one_connection(
    socketio: SocketIO, client: Clients
) -> None:
    socketio.on_event("x", lambda: request.environ["QUERY_STRING"], namespace="/calls")
    one = client(query_string="?a=b")
    one.connect("/calls")
    assert one.is_connected() and one.is_connected("/calls")
    assert len(socketio.server.eio.sockets) == 1
    assert one.emit("x", callback=True, namespace="/calls") == "a=b"
    one.disconnect("/calls")
    assert one.is_connected() and not one.is_connected("/calls")
    for do in (one.disconnect, one.get_received, lambda name: one.emit("x", namespace=name)):
        with pytest.raises(RuntimeError, match="not connected"):
            do("/calls")


def test_a_test_client_raises_what_a_connect_handler_raised(
    socketio: SocketIO, client: Clients
) -> None:
    @socketio.on("connect")
    def connect() -> None:
        raise KeyError("of the handler")

    with pytest.raises(KeyError, match="of the handler"):
        client()


def test_a_test_client_gets_what_has_attachments(socketio: SocketIO, client: Clients) -> None:
    socketio.on_event("x", lambda data: (emit("y", data), {"a": data})[1])
    one = client()
    assert one.emit("x", b"\x00\x01", callback=True) == {"a": b"\x00\x01"}
    assert received(one) == [("y", [b"\x00\x01"])]


def test_options_that_are_set_before_init_app_count() -> None:
    socketio = SocketIO()
    socketio.server_options["cors_allowed_origins"] = "https://a.example"
    socketio.init_app(flask.Flask("app"))
    assert socketio.server.eio.cors_allowed_origins == "https://a.example"


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "a name for an app": (lambda: SocketIO(__name__), "give the Flask app itself"),  # type: ignore[arg-type]
    "the class of apps": (lambda: SocketIO().init_app(flask.Flask), "give the Flask app itself"),
    "run": (lambda: SocketIO(new_app()).run("app"), "give the Flask app itself"),  # type: ignore[arg-type]
    "queue": (lambda: SocketIO(new_app(), message_queue=3), "message_queue=3: give text"),
    "channel": (
        lambda: SocketIO(new_app(), message_queue="redis://a:1", channel=3),
        "channel=3: give text",
    ),
    "test client": (lambda: SocketIO(new_app()).test_client(None), "give the Flask app itself"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", WRONG)
def test_an_argument_of_a_wrong_type_is_refused(what: str) -> None:
    make, message = WRONG[what]
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.parametrize("given", [{"query_string": 3}, {"flask_test_client": 3}])
def test_a_test_client_refuses_an_argument_of_a_wrong_type(given: Any) -> None:
    app = new_app()
    with pytest.raises(OptionError, match=next(iter(given))):
        SocketIO(app).test_client(app, **given)


def test_a_handler_that_waits_for_a_sid_is_warned_of(socketio: SocketIO, client: Any) -> None:
    class Calls(Namespace):
        def on_chat(self, sid: Any, data: Any) -> None: ...

    def chat(sid: Any, data: Any) -> None: ...

    def connect(sid: Any, environ: Any) -> None: ...

    socketio.on("chat")(chat)
    socketio.on("connect", namespace="/other")(connect)
    socketio.on_namespace(Calls("/calls"))
    for namespace, fix in (("/", r"chat\(data\)"), ("/calls", r"on_chat\(self, data\)")):
        expected = rf"handlers of SocketIO get no sid\. Write {fix}, and flask\.request\.sid"
        sender = client(namespace=namespace)
        with pytest.warns(UserWarning, match=expected) as caught:
            sender.emit("chat", "hello", namespace=namespace)
        assert caught[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sender.emit("chat", "to whom", "hello", namespace=namespace)  # a sid that it was sent
    with pytest.warns(UserWarning, match=r"Write connect\(environ\)"):
        client(namespace="/other")


@pytest.mark.parametrize("base", [Namespace, flask_socketio.Namespace])
def test_a_class_of_flask_socketio_is_not_registered_with_the_server_itself(base: Any) -> None:
    """Each event of a client would have been an error of the library."""
    with pytest.raises(OptionError, match=r"on_namespace, or derive it from rtcio_sync\.Namespace"):
        rtcio_sync.Server().register_namespace(type("Calls", (base,), {})("/calls"))
