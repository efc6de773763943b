"""Handlers that can't be meant are found when they are registered, with the fix; others are not."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import socketio

from rtcio_sync import Lobby, Namespace, OptionError, Server, Socket, throttle


async def coroutine(sid: str) -> None: ...


async def generator_of_coroutines(sid: str) -> Any:
    yield 1


def generator(sid: str) -> Any:
    yield 1


class Async:
    async def __call__(self, sid: str) -> None: ...

    async def method(self, sid: str) -> None: ...


class Chat:
    def join(self, sid: str) -> None: ...

    @classmethod
    def leave(cls, sid: str) -> None: ...

    @staticmethod
    def say(sid: str) -> None: ...


WRONG: dict[str, tuple[Any, str]] = {
    "a coroutine function": (coroutine, "write the handler with plain `def`"),
    "an object with an async call": (Async(), "write the handler with plain `def`"),
    "an async method": (Async().method, "write the handler with plain `def`"),
    "a partial of a coroutine function": (functools.partial(coroutine), "plain `def`"),
    "a partial of a partial": (functools.partial(functools.partial(coroutine)), "plain `def`"),
    "a static coroutine function": (staticmethod(coroutine), "plain `def`"),
    "an async generator": (generator_of_coroutines, "plain `def`"),
    "a generator": (generator, "has a `yield`"),
    "an unbound method": (Chat.join, "Chat.join is an unbound method"),
    "a classmethod without a class": (classmethod(coroutine), "after its class is made"),
    "a class": (Chat, "is a class: give a function"),
    "text": ("join", "has to be callable, not str"),
    "a number": (3, "has to be callable, not int"),
    "a property": (property(generator), "has to be callable, not property"),
}

REGISTRARS: dict[str, Callable[[Server, Any], Any]] = {
    "server.on": lambda server, fn: server.on("chat", fn),
    "server.on, decorator": lambda server, fn: server.on("chat")(fn),
    "connection": lambda server, fn: server.on("connection", fn),
    "connection of any": lambda server, fn: server.on("connection", fn, namespace="*"),
    "use": lambda server, fn: server.use(fn),
    "of().on": lambda server, fn: server.of("calls").on("connection", fn),
    "of().use": lambda server, fn: server.of("calls").use(fn),
    "emit": lambda server, fn: server.emit("a", callback=fn),
    "socket.on": lambda server, fn: _socket(server).on("chat", fn),
    "socket.once": lambda server, fn: _socket(server).once("chat")(fn),
    "socket.on_any": lambda server, fn: _socket(server).on_any(fn),
    "socket.use": lambda server, fn: _socket(server).use(fn),
    "socket.emit": lambda server, fn: _socket(server).emit("a", callback=fn),
    "socket.on_session_end": lambda server, fn: _socket(server).on_session_end(fn),
}


def _socket(server: Server) -> Any:
    client = server.test_client()
    return server.sockets[str(client.sid)]


@pytest.mark.parametrize("registrar", REGISTRARS)
@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_a_handler_is_refused_when_it_is_registered(
    registrar: str, kind: str
) -> None:
    fn, message = WRONG[kind]
    with pytest.raises(TypeError, match=message):
        REGISTRARS[registrar](Server(), fn)


class Guard:
    def check(self, socket: Any, next: Any) -> None: ...


@pytest.mark.parametrize("registrar", ["use", "of().use"])
@pytest.mark.parametrize(
    "fn",
    [lambda socket, next: next(), Guard().check, throttle(10), lambda a, b, c=1, *rest: None],
    ids=["Node's", "a method", "one of socket.use", "two that are needed"],
)
def test_a_middleware_that_needs_more_than_the_socket_is_refused(registrar: str, fn: Any) -> None:
    with pytest.raises(TypeError, match=r"write fn\(socket\).* raise ConnectionRefusedError"):
        REGISTRARS[registrar](Server(), fn)


@pytest.mark.parametrize(
    "fn",
    [lambda packet, next: next(), lambda event, args, next: next(), Guard().check],
    ids=["Node's", "three", "a method"],
)
def test_a_middleware_of_events_that_takes_nodes_next_is_refused(fn: Any) -> None:
    with pytest.raises(TypeError, match=r"write fn\(event, args\).* raise an exception"):
        REGISTRARS["socket.use"](Server(), fn)


def test_a_middleware_may_have_more_parameters_with_defaults() -> None:
    server = Server()
    server.use(lambda socket, strict=False, *rest, log=None: None)
    _socket(server).use(lambda event, args, strict=False: None)


def test_a_method_registered_in_the_body_of_its_class_is_refused() -> None:
    server = Server()
    with pytest.raises(TypeError, match="is an unbound method"):

        class Rooms:
            @server.on("join")
            def join(self, sid: str, data: Any) -> None: ...


def test_functions_in_bodies_and_bound_methods_are_handlers() -> None:
    server = Server()

    class Rooms:
        @server.on("one")
        @staticmethod
        def one(sid: str) -> str:
            return "one"

        @server.on("two")
        def two(sid: str) -> str:  # type: ignore[misc]
            return "two"

        def three(self, sid: str) -> str:
            return "three"

    server.on("three", Rooms().three)
    server.on("four", functools.partial(lambda word, sid: word, "four"))
    client = server.test_client()
    assert [client.call(each) for each in ("one", "two", "three", "four")] == [
        "one",
        "two",
        "three",
        "four",
    ]


def test_a_wrapper_that_hides_a_coroutine_function_fails_aloud_when_it_is_called() -> None:
    server = Server()

    @server.on("ask")
    @functools.wraps(coroutine)
    def ask(*args: Any) -> Any:
        return coroutine(*args)

    with pytest.raises(TypeError, match="returned a coroutine"):
        server.test_client().call("ask")


@pytest.mark.parametrize("call", ["server.on", "socket.on", "socket.once", "of().on"])
def test_a_decorator_without_the_events_name_is_refused(call: str) -> None:
    server = Server()
    on: Any = {
        "server.on": server.on,
        "socket.on": _socket(server).on,
        "socket.once": _socket(server).once,
        "of().on": server.of("/").on,
    }[call]

    def chat(data: Any) -> None: ...

    with pytest.raises(OptionError, match=r"takes the event's name: write @\w+\.on\('chat'\)"):
        on(chat)
    for wrong in (["a", "b"], 3, None):
        with pytest.raises(OptionError, match="an event's name is a string"):
            on(wrong)


# -- classes of handlers ---------------------------------------------------------------------------

BASES = pytest.mark.parametrize("base", [Namespace, socketio.Namespace])


@BASES
def test_an_attribute_that_is_no_method_is_no_handler(base: Any) -> None:
    asked: list[str] = []

    class Calls(base):  # type: ignore[misc]
        on_duty = True
        on_call = "ada"
        on_list: list[str] = []  # noqa: RUF012

        @property
        def on_secret(self) -> Any:
            asked.append("secret")
            return self.on_ask

        @functools.cached_property
        def on_costly(self) -> Any:
            asked.append("costly")
            return self.on_ask

        def on_ask(self, sid: str) -> str:
            return "answer"

    server = Server()
    server.register_namespace(Calls("/"))
    client = server.test_client()
    for event in ("duty", "call", "list", "secret", "costly"):
        client.emit(event)
    assert client.call("ask") == "answer"
    assert asked == []
    assert server.stats()["handler_errors"] == 0


@BASES
def test_a_method_that_cannot_be_a_handler_is_found_at_registration(base: Any) -> None:
    async def asynchronous(self: Any, sid: str) -> None: ...

    def selfless(sid: str, data: Any) -> None: ...

    def yielding(self: Any, sid: str) -> Any:
        yield

    for method, message in (
        (asynchronous, "plain `def`"),
        (selfless, "a method needs self"),
        (yielding, "`yield`"),
        (Async(), "plain `def`"),
        (Chat, "is a class"),
    ):
        kind = type("Calls", (base,), {"on_chat": method})
        with pytest.raises(TypeError, match=message):
            Server().register_namespace(kind("/"))


@BASES
def test_a_method_that_nothing_calls_is_warned_of(base: Any) -> None:
    kind = type("Calls", (base,), {"on_connection": _named("self, socket")})
    with pytest.warns(UserWarning, match="is never called: write on_connect"):
        Server().register_namespace(kind("/"))


@pytest.mark.parametrize(
    ("event", "fix"),
    [
        ("*", r"write socket\.on_any"),
        ("connect", r"write server\.on\('connection'\)"),
        ("connection", r"write server\.on\('connection'\)"),
        ("connect_error", "choose another"),
        ("newListener", "choose another"),
    ],
)
@pytest.mark.parametrize("method", ["on", "once"])
def test_an_event_that_no_socket_hears_is_warned_of(event: str, fix: str, method: str) -> None:
    server = Server()
    client = server.test_client()
    register = getattr(server.sockets[str(client.sid)], method)
    with pytest.warns(UserWarning, match=f"hears only what clients send: .*{fix}") as caught:
        register(event, print)
    assert caught[0].filename == __file__
    client.emit(event, 1)
    assert server.stats()["dropped"] == {"reserved-event": 1}


@pytest.mark.parametrize(
    ("event", "fix"),
    [
        ("connect_error", "choose another"),
        ("removeListener", "choose another"),
        ("new_namespace", r"write server\.on_new_namespace"),
        ("connection_error", r"write server\.engine\.on\('connection_error'\)"),
    ],
)
def test_an_event_of_the_server_that_comes_elsewhere_is_warned_of(event: str, fix: str) -> None:
    with pytest.warns(UserWarning, match=f"hears only what clients send: .*{fix}"):
        Server().on(event)(lambda *args: None)


def test_other_events_of_nodes_are_not_warned_of() -> None:
    server = Server()
    client = server.test_client()
    socket = server.sockets[str(client.sid)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for event in ("error", "disconnect", "disconnecting", "message", "chat"):
            socket.on(event, print)
            server.on(event, lambda sid, *args: None)
        for event in ("connect", "*"):
            server.on(event, lambda *args: None)


def test_a_namespace_in_the_place_of_a_handler_is_refused_with_the_fix() -> None:
    with pytest.raises(TypeError, match="write namespace='/calls'"):
        Server().on("chat", "/calls")  # type: ignore[call-overload]


@BASES
def test_an_object_of_handlers_that_takes_the_place_of_another_is_warned_of(base: Any) -> None:
    old, new = (type(name, (base,), {"on_chat": _named("self, sid, data")}) for name in ("A", "B"))
    server = Server()
    server.register_namespace(old("/calls"))
    with pytest.warns(UserWarning, match="those of A are not called any more. Put them into B"):
        server.register_namespace(new("calls"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        server.register_namespace(server.namespace_handlers["/calls"])
        server.register_namespace(old("/other"))


@BASES
def test_a_class_in_place_of_its_object_is_refused(base: Any) -> None:
    kind = type("Calls", (base,), {})
    with pytest.raises(OptionError, match=r"register_namespace\(Calls\('/'\)\)"):
        Server().register_namespace(kind)


def test_nothing_else_that_is_called_may_be_a_coroutine_function() -> None:
    server = Server()
    with pytest.raises(TypeError, match="coroutine function"):
        server.start_background_task(coroutine, "sid")
    with pytest.raises(TypeError, match="`yield`"):
        server.start_background_task(generator)
    with pytest.raises(OptionError, match="authorize has to be a plain function"):
        Lobby(server, authorize=generator)
    for fn in (coroutine, Async(), functools.partial(coroutine)):
        for name in ("authorize", "ice_servers"):
            with pytest.raises(OptionError, match=f"{name} has to be a plain function"):
                Lobby(server, **{name: fn})

    class Mine(Lobby):
        async def authorize(self, *args: Any) -> bool:  # type: ignore[override]
            return False

    with pytest.raises(OptionError, match="authorize has to be a plain function"):
        Mine(server)


# -- the sid in place of the data ------------------------------------------------------------------


def _named(parameters: str) -> Any:
    scope: dict[str, Any] = {}
    exec(f"from typing import Any\ndef chat({parameters}): ...", scope)
    return scope["chat"]


MISTAKEN = [
    "data",
    "message",
    "msg",
    "payload",
    "text",
    "room",
    "room_id",
    "roomId",
    "offer",
    "chat_message",
    "data=None",
    "x: dict",
    "x: 'dict[str, Any]'",
    "x: list[int]",
]


@pytest.mark.parametrize("way", ["decorator", "call", "event", "namespace"])
@pytest.mark.parametrize("parameters", MISTAKEN)
def test_a_handler_that_gets_the_sid_for_its_data_is_warned_of_where_it_is_written(
    parameters: str, way: str
) -> None:
    server, fn = Server(), _named(parameters)
    name = parameters.partition(":")[0].partition("=")[0]
    with pytest.warns(UserWarning, match=rf"Write chat\(sid, {name}\)") as caught:
        if way == "decorator":
            server.on("chat")(fn)
        elif way == "call":
            server.on("chat", fn)
        elif way == "event":
            server.event(fn)
        else:
            server.on("chat", fn, namespace="/calls")
    (warning,) = caught
    assert warning.filename == __file__
    assert "socket.on('chat')" in str(warning.message)


@pytest.mark.parametrize(
    ("event", "parameters"), [("disconnect", "reason"), ("connect", "environ"), ("connect", "auth")]
)
def test_the_sid_for_a_reason_is_warned_of(event: str, parameters: str) -> None:
    with pytest.warns(UserWarning, match=rf"Write chat\(sid, {parameters}\)$"):
        Server().on(event, _named(parameters))


@BASES
def test_a_method_that_gets_the_sid_for_its_data_is_warned_of(base: Any) -> None:
    kind = type("Calls", (base,), {"on_chat": _named("self, data")})
    with pytest.warns(UserWarning, match=r"\(sid, data\)"):
        Server().register_namespace(kind("/"))


FINE = [
    "",
    "sid",
    "s",
    "_",
    "_data",
    "id",
    "socket_id",
    "client",
    "peer",
    "user",
    "who",
    "session_id",
    "x",
    "sid_data",
    "sid, data",
    "data, more",
    "*args",
    "data, *args",
    "sid: str",
    "*, data=None",
]


@pytest.mark.parametrize("parameters", FINE)
def test_a_handler_that_may_well_want_the_sid_is_not_warned_of(parameters: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Server().on("chat", _named(parameters))


def test_other_kinds_of_handlers_are_not_warned_of() -> None:
    server = Server(namespaces="*")
    data = _named("data")

    class Plain(socketio.Namespace):  # type: ignore[misc]
        def on_chat(self, sid: str, data: Any) -> None: ...

    class Dispatching(socketio.Namespace):  # type: ignore[misc]
        def on_chat(self, data: Any) -> None: ...

        def trigger_event(self, event: str, *args: Any) -> Any:
            return self.on_chat(args[1])

    def hand_on(fn: Any) -> Any:
        @functools.wraps(fn)
        def wrapper(sid: str, *args: Any) -> Any:
            return fn(*args)

        return wrapper

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        server.on("connection", data)
        server.on("*", data)
        server.on("chat", data, namespace="*")
        server.on("chat", hand_on(data))
        server.on("chat", print)
        _socket(server).on("chat", data)
        for event in ("connect", "disconnect", "disconnecting"):
            server.on(event, data)
        server.register_namespace(Plain("/plain"))
        server.register_namespace(Dispatching("/dispatching"))


# -- handlers of "*", which get more than the sid before the data ----------------------------------


@pytest.mark.parametrize(
    ("event", "namespace", "parameters", "gets", "fix"),
    [
        ("*", "/", "event, data", "sid for 'data'", "event, sid, data"),
        ("*", "/", "sid, data", "event's name for 'sid'", "event, sid, data"),
        ("chat", "*", "sid, data", "namespace for 'sid'", "namespace, sid, data"),
        ("chat", "*", "namespace, message", "sid for 'message'", "namespace, sid, message"),
        ("*", "*", "event, namespace, data", "sid for 'data'", "event, namespace, sid, data"),
        ("*", "*", "sid, data", "event's name for 'sid'", "event, namespace, sid, data"),
    ],
)
def test_a_handler_of_a_star_without_all_names_is_warned_of(
    event: str, namespace: str, parameters: str, gets: str, fix: str
) -> None:
    expected = rf"gets the {gets}.* Write chat\({fix}\)"
    with pytest.warns(UserWarning, match=expected) as caught:
        Server().on(event, _named(parameters), namespace=namespace)
    assert caught[0].filename == __file__
    if event != "*":
        kind = type("Calls", (socketio.Namespace,), {"on_chat": _named(f"self, {parameters}")})
        with pytest.warns(UserWarning, match=expected):
            Server().register_namespace(kind(namespace))


@pytest.mark.parametrize(
    ("event", "namespace", "parameters"),
    [
        ("*", "/", "event, sid"),
        ("*", "/", "event, sid, data"),
        ("*", "/", "event, *args"),
        ("*", "/", "event, data, *args"),
        ("*", "/", "sid"),
        ("chat", "*", "namespace, sid"),
        ("chat", "*", "namespace, sid, data"),
        ("connect", "*", "namespace, sid, environ, auth"),
        ("*", "*", "event, namespace, sid, data"),
    ],
)
def test_one_with_all_of_them_is_not(event: str, namespace: str, parameters: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Server(namespaces="*").on(event, _named(parameters), namespace=namespace)


# -- a socket for a sid, a sid for a socket --------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "parameters", "fix"),
    [
        ("connect", "socket", r"For the socket, write server\.on\('connection'\)$"),
        ("join", "socket, data", r"Register it with socket\.on\('join'\) in a handler"),
    ],
)
def test_a_handler_that_gets_the_sid_for_a_socket_is_warned_of(
    event: str, parameters: str, fix: str
) -> None:
    with pytest.warns(UserWarning, match=fix) as caught:  # str has a method `join`, too
        Server().on(event, _named(parameters))
    assert caught[0].filename == __file__


@pytest.mark.parametrize("way", ["server", "namespace"])
def test_a_handler_that_gets_the_socket_for_a_sid_is_warned_of(way: str) -> None:
    server = Server()
    with pytest.warns(UserWarning, match=r"Write chat\(socket\), or .*\('connect'\)") as caught:
        (server if way == "server" else server.of("/a")).on("connection", _named("sid, environ"))
    assert caught[0].filename == __file__


@pytest.mark.parametrize("way", ["server", "namespace"])
def test_a_middleware_that_gets_the_socket_for_a_sid_is_warned_of(way: str) -> None:
    server = Server()
    with pytest.warns(UserWarning, match="the argument of a middleware is the socket") as it:
        (server if way == "server" else server.of("/a")).use(_named("sid"))
    assert it[0].filename == __file__
    assert "on('connect')" not in str(it[0].message)


class Acks(Namespace):
    def on_chat(self, sid: str, data: Any, callback: Any) -> None: ...


@pytest.mark.parametrize(
    "register",
    [
        lambda server, socket: socket.on("chat", lambda data, ack: None),
        lambda server, socket: socket.once("chat", lambda data, cb=None: None),
        lambda server, socket: server.on("chat", lambda sid, data, callback: None),
        lambda server, socket: server.register_namespace(Acks("/")),
    ],
    ids=["on", "once", "server", "class"],
)
def test_a_handler_that_waits_for_nodes_acknowledgement_is_warned_of(register: Any) -> None:
    """In its place it gets what the client has sent last, or `None`."""
    server = Server()
    client = server.test_client()
    with pytest.warns(UserWarning, match=r"write (ack|cb|callback) = server\.defer_ack") as caught:
        register(server, server.sockets[str(client.sid)])
    (warning,) = caught
    assert warning.filename == __file__


def test_a_handler_that_waits_for_it_is_warned_of_once_for_all_clients() -> None:
    server = Server()

    @server.on("connection")
    def connection(socket: Socket) -> None:
        def chat(data: Any, ack: Any) -> None: ...

        socket.on("chat", chat)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            server.test_client()
    assert len(caught) == 1


def test_a_handler_of_a_socket_that_waits_for_a_sid_is_warned_of_once() -> None:
    server, heard = Server(), []

    @server.on("connection")
    def greet(socket: Any) -> None:
        @socket.on("chat")
        def chat(sid: Any, data: Any) -> None:
            heard.append((sid, data))

    one, two = server.test_client(), server.test_client()
    one.emit("chat", "to whom", "hello")  # it may be the sid of another client
    with pytest.warns(UserWarning, match=r"Write chat\(data\), and socket\.id") as caught:
        for client in (one, two, one):
            client.emit("chat", "hello")
    assert len(caught) in (1, 3)  # pytest shows each, a program the first
    assert caught[0].filename == __file__
    assert heard == [("to whom", "hello"), *[("hello", None)] * 3]


def test_a_handler_of_a_socket_that_waits_for_the_socket_is_warned_of() -> None:
    server = Server()

    @server.on("connection")
    def greet(socket: Any) -> None:
        @socket.on("chat")
        def chat(socket: Any, data: Any) -> None: ...

    with pytest.warns(UserWarning, match=r"Write chat\(data\), and the socket that") as caught:
        server.test_client().emit("chat", "hello")
    assert caught[0].filename == __file__
