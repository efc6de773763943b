"""How a handler is called: the arguments it declares, once, and its errors kept from the rest."""

from __future__ import annotations

import functools
import gc
import inspect
import logging
import weakref
from collections.abc import Callable
from typing import Any

import gevent
import pytest
import socketio
from hypothesis import given
from hypothesis import strategies as st

from rtcio_sync import DisconnectedError, Namespace, Server
from rtcio_sync.errors import LimitExceeded, ProtocolError
from rtcio_sync.metrics import Counters
from rtcio_sync.socketio.handler_call import (
    MOST_CALLEES,
    Callee,
    Dispatcher,
    first_answer,
    raising,
)
from rtcio_sync.socketio.handler_signatures import arity, plain_arity
from tests.timing import DEADLINE


def told(*args: Any) -> tuple[Any, ...]:
    return args


# -- arguments -------------------------------------------------------------------------------------


@given(
    required=st.integers(0, 4),
    optional=st.integers(0, 3),
    rest=st.booleans(),
    given_args=st.lists(st.integers(), max_size=9),
)
def test_a_handler_gets_what_it_declares(
    required: int, optional: int, rest: bool, given_args: list[int]
) -> None:
    names = [f"r{at}" for at in range(required)] + [f"o{at}" for at in range(optional)]
    declared = names[:required] + [f"{name}='default'" for name in names[required:]]
    source = f"lambda {', '.join(declared + ['*rest'] * rest)}: "
    source += f"[{', '.join(names + ['*rest'] * rest)}]"
    handler = eval(source)
    assert plain_arity(handler) == arity(handler)
    expected: list[Any] = given_args if rest else given_args[: len(names)]
    lacking = len(names) - len(expected)
    if lacking > 0:
        defaults = [None] * required + ["default"] * optional
        expected = [*expected, *defaults[len(expected) :]]
    assert Callee(handler)(*given_args) == expected


class Counter:
    def method(self, one: Any, two: Any = "default") -> tuple[Any, Any]:
        return one, two

    @classmethod
    def of_class(cls, one: Any) -> Any:
        return one

    @staticmethod
    def of_nobody(one: Any) -> Any:
        return one

    def __call__(self, one: Any) -> Any:
        return one


def wrapped_with_everything(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **named: Any) -> Any:
        return fn(*args, **named)

    return wrapper


def wrapped_with_its_own(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(first: Any) -> Any:
        return fn(first, "added")

    return wrapper


@pytest.mark.parametrize(
    ("handler", "args", "answer"),
    [
        (Counter().method, (1, 2, 3), (1, 2)),
        (Counter().method, (), (None, "default")),
        (Counter.of_class, (1, 2), 1),
        (Counter.of_nobody, (1, 2), 1),
        (Counter(), (1, 2), 1),
        (Counter(), (), None),
        (functools.partial(told, "bound"), (1,), ("bound", 1)),
        (functools.partial(Counter().method, "bound"), (1, 2), ("bound", 1)),
        (functools.partial(Counter().method, two="bound"), (1,), (1, "bound")),
        (wrapped_with_everything(lambda one: one), (1, 2), 1),
        (wrapped_with_everything(lambda one: one), (), None),
        (wrapped_with_everything(Counter().method), (1, 2, 3), (1, 2)),
        (wrapped_with_its_own(lambda one, two: (one, two)), (1, 2, 3), (1, "added")),
        (functools.partial(wrapped_with_everything(lambda one, two: two), "bound"), (1, 2), 1),
        (functools.partial(wrapped_with_everything(Counter().method)), (), (None, "default")),
        (functools.lru_cache(lambda one: one), (1, 2), 1),
        (functools.lru_cache(Counter().method), (), (None, "default")),
        (staticmethod(lambda one: one), (1, 2), 1),
        (wrapped_with_everything(staticmethod(lambda one: one)), (1, 2), 1),
        (lambda *, named="default": named, (1, 2), "default"),
        (lambda one, /, two: (one, two), (1,), (1, None)),
        (str, (1,), "1"),
    ],
)
def test_whatever_can_be_called_may_be_a_handler(
    handler: Any, args: tuple[Any, ...], answer: Any
) -> None:
    assert Callee(handler)(*args) == answer
    assert plain_arity(handler) in (None, arity(handler))


def test_the_signature_of_a_plain_function_or_method_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_signature(*args: Any, **named: Any) -> Any:
        raise AssertionError("it costs as much as a connection")

    server = Server()
    client = server.test_client()
    socket = server.sockets[str(client.sid)]
    monkeypatch.setattr(inspect, "signature", no_signature)
    for number in range(3):
        socket.on("chat", lambda one, two=number: (one, two))
        socket.on("chat", Counter().method)


def test_an_argument_of_none_is_an_argument() -> None:
    assert Callee(lambda one="default": one)(None) is None


# -- misuse ----------------------------------------------------------------------------------------


async def coroutine(*args: Any) -> None: ...


def with_keyword(first: Any, *, needed: Any) -> None: ...


REGISTRATIONS: dict[str, Callable[[Server, Any, Any], Any]] = {
    "server.on": lambda server, socket, fn: server.on("chat", fn),
    "server.on connection": lambda server, socket, fn: server.on("connection", fn),
    "server.use": lambda server, socket, fn: server.use(fn),
    "namespace.on": lambda server, socket, fn: server.of("/calls").on("connection", fn),
    "namespace.use": lambda server, socket, fn: server.of("/calls").use(fn),
    "socket.on": lambda server, socket, fn: socket.on("chat", fn),
    "socket.once": lambda server, socket, fn: socket.once("chat", fn),
    "socket.on_any": lambda server, socket, fn: socket.on_any(fn),
    "socket.use": lambda server, socket, fn: socket.use(fn),
    "class-based": lambda server, socket, fn: server.register_namespace(
        type("Calls", (socketio.Namespace,), {"on_chat": fn})("/calls")
    ),
    "class-based, ours": lambda server, socket, fn: server.register_namespace(
        type("Calls", (Namespace,), {"on_chat": fn})("/calls")
    ),
}


@pytest.mark.parametrize("handler", [coroutine, with_keyword], ids=["coroutine", "keyword-only"])
@pytest.mark.parametrize("way", REGISTRATIONS)
def test_what_cannot_be_a_handler_is_refused_at_once(way: str, handler: Any) -> None:
    server = Server()
    server.test_client()
    (socket,) = server.fetch_sockets()
    with pytest.raises(TypeError):
        REGISTRATIONS[way](server, socket, handler)


@pytest.mark.parametrize("nothing", [7, "chat", object()])
def test_what_cannot_be_called_is_refused_at_once(nothing: Any) -> None:
    with pytest.raises(TypeError, match="has to be callable"):
        Server().on("chat", nothing)


def test_the_refusal_names_the_fix() -> None:
    with pytest.raises(TypeError, match="write the handler with plain `def`"):
        Callee(coroutine)
    with pytest.raises(TypeError, match=r"'needed'.*default or make it positional"):
        Callee(with_keyword)


def test_decorators_give_the_function_back() -> None:
    server = Server()
    server.test_client()
    (socket,) = server.fetch_sockets()

    def handler(*args: Any) -> None: ...

    assert server.on("chat")(handler) is handler
    assert server.on("connection")(handler) is handler
    assert server.of("/calls").on("connection")(handler) is handler
    assert server.use(handler) is handler
    assert socket.on("chat")(handler) is handler
    assert socket.once("chat")(handler) is handler
    assert socket.on_any(handler) is handler
    assert socket.use(handler) is handler


# -- how often -------------------------------------------------------------------------------------


class Declaring:
    """A handler that knows how often its signature was asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, *args: Any) -> Any:
        return args

    @property
    def __signature__(self) -> Any:
        self.asked += 1
        one = inspect.Parameter("one", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return inspect.Signature([one])


def test_a_signature_is_read_at_registration_and_never_again() -> None:
    server = Server()
    handler = Declaring()
    server.on("chat", handler)
    asked = handler.asked
    assert asked > 0
    client = server.test_client()
    for number in range(5):
        assert client.call("chat", number) == client.sid
    assert handler.asked == asked


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, sid: str) -> str:
        return sid


def made_anew(kind: str) -> Any:
    if kind == "an object":
        return Unhashable()
    here = Unhashable()
    return (lambda sid: here(sid)) if kind == "a closure" else here.__call__


@pytest.mark.parametrize("kind", ["a closure", "a method", "an object"])
def test_a_handler_that_another_one_replaces_is_let_go_of(kind: str) -> None:
    server = Server()
    kept: list[weakref.ref[Any]] = []

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        handler = made_anew(kind)
        kept.append(weakref.ref(getattr(handler, "__self__", handler)))
        server.on("chat", handler)

    for _ in range(3):
        client = server.test_client()
        assert client.call("chat") == client.sid
    gc.collect()
    assert [ref() is None for ref in kept] == [True, True, False]


def test_a_handler_that_is_replaced_for_one_event_still_has_its_others() -> None:
    server = Server()
    handler = Declaring()
    for event in ("chat", "news"):
        server.on(event, handler)
    server.on("chat", lambda sid: "another")
    client = server.test_client()
    assert client.call("chat") == "another"
    assert client.call("news", 1) == client.sid


def test_methods_that_are_made_anew_for_each_event_are_not_kept() -> None:
    class Calls(socketio.Namespace):
        def __getattr__(self, name: str) -> Any:
            if not name.startswith("on_"):
                raise AttributeError(name)
            return lambda sid, number=None: number

    server = Server()
    server.register_namespace(Calls("/calls"))
    client = server.test_client(namespace="/calls")
    for number in range(2 * MOST_CALLEES):
        client.emit("chat", number)
    assert client.call("chat", 7) == 7
    assert len(server.dispatcher._callees) <= MOST_CALLEES


def test_the_methods_of_a_class_are_read_at_registration() -> None:
    class Calls(socketio.Namespace):
        def on_chat(self, sid: str, text: str) -> str:
            return text

    server = Server()
    server.register_namespace(Calls("/calls"))
    client = server.test_client(namespace="/calls")
    read = set(server.dispatcher._callees)
    assert client.call("chat", "one", "surplus") == "one"
    assert client.call("chat", "two") == "two"
    assert set(server.dispatcher._callees) == read


@pytest.mark.parametrize("event", ["connect", "chat", "disconnect"])
def test_a_handler_that_raises_a_type_error_is_called_once(event: str) -> None:
    server = Server()
    calls: list[tuple[Any, ...]] = []

    @server.on(event)
    def handler(*args: Any) -> None:
        calls.append(args)
        raise TypeError("the app's own")

    client = server.test_client(raise_exceptions=False)
    if event == "chat":
        client.emit("chat", 1)
    if event != "connect":
        client.disconnect()
    assert len(calls) == 1
    assert server.stats()["handler_errors"] == 1


# -- errors ----------------------------------------------------------------------------------------


def test_an_error_is_counted_and_logged_and_answers_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counters = Counters()
    dispatcher = Dispatcher(counters)
    assert dispatcher.guarded(None, "chat", lambda: 1 / 0) is None
    assert counters.handler_errors == 1
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "'chat'" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("error", [gevent.GreenletExit, KeyboardInterrupt, SystemExit])
def test_what_would_end_a_greenlet_or_the_process_is_an_error_like_any_other(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def handler() -> None:
        raise error

    dispatcher = Dispatcher(Counters())
    assert dispatcher.guarded(None, "chat", handler) is None
    assert dispatcher.counters.handler_errors == 1
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [error]


def test_whoever_hands_a_message_in_himself_sees_the_error() -> None:
    dispatcher = Dispatcher(Counters())
    with raising(), pytest.raises(ZeroDivisionError):
        dispatcher.guarded(None, "chat", lambda: 1 / 0)
    assert dispatcher.guarded(None, "chat", lambda: 1 / 0) is None


def test_another_greenlet_is_guarded_all_the_same() -> None:
    dispatcher = Dispatcher(Counters())
    with raising():
        gevent.spawn(dispatcher.guarded, None, "chat", lambda: 1 / 0).get(timeout=DEADLINE)
    assert dispatcher.counters.handler_errors == 1


@pytest.mark.parametrize(
    ("answers", "answer"),
    [([], None), ([None], None), ([None, 0, 1], 0), ([False, None], False), (["", 1], "")],
)
def test_the_first_answer_that_is_not_none_counts(answers: list[Any], answer: Any) -> None:
    assert first_answer(answers) == answer


@pytest.mark.parametrize(
    ("error", "label"),
    [
        (DisconnectedError("it left"), "client-left"),
        (ProtocolError("sid-room"), "sid-room"),
        (LimitExceeded("rooms"), "rooms"),
    ],
)
@pytest.mark.parametrize("event", ["connect", "use", "connection", "chat", "disconnect"])
def test_what_is_a_clients_doing_is_a_counted_drop_wherever_a_handler_ends_by_it(
    event: str, error: Exception, label: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()

    def handler(*args: Any) -> None:
        raise error

    if event == "use":
        server.use(handler)
    else:
        server.on(event, handler)
    client = server.test_client()
    if client.connected:
        client.emit("chat", 1)
        client.disconnect()
    stats = server.stats()
    assert stats["dropped"] == {label: 1}
    assert stats["handler_errors"] == 0
    assert [each for each in caplog.records if each.levelno > logging.DEBUG] == []


def test_a_namespace_class_may_have_attributes_of_any_usual_name() -> None:
    class Chat(Namespace):
        middlewares = ("the app's own",)
        greeters = share = handlers = None

        def on_ask(self, sid: str) -> str:
            return "answered"

    server = Server()
    server.register_namespace(Chat("/"))
    assert server.test_client().call("ask") == "answered"
