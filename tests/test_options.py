"""The options of a server: one home each, misspelt and contradictory ones refused."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import logging
import pickle
import re
import types
import warnings
from collections.abc import Callable
from typing import Any

import engineio
import flask
import pytest
import socketio
from werkzeug.middleware.proxy_fix import ProxyFix

from rtcio_sync import Limits, OptionError, Options, Server, throttle
from rtcio_sync.adapter.emit import RoomIndex
from rtcio_sync.config.option_names import METHODS
from rtcio_sync.options import NO_LIMITS, engineio_options, transports_of

#: Names in upstream's signatures that are no options.
NO_OPTIONS = {"self", "kwargs"}


def upstream_options() -> set[str]:
    kinds = (
        socketio.base_server.BaseServer.__init__,
        socketio.Server.__init__,
        engineio.base_server.BaseServer.__init__,
    )
    names: set[str] = set()
    for each in kinds:
        names |= set(inspect.signature(each).parameters)
    return names - NO_OPTIONS


def test_every_option_of_python_socketio_and_python_engineio_is_known() -> None:
    known = {each.name for each in dataclasses.fields(Options)}
    assert upstream_options() - known == set()


def test_the_defaults_of_the_signaling_server() -> None:
    options = Options.of({})
    assert (options.ping_interval, options.ping_timeout) == (10, 10)
    assert options.drain_seconds == 1
    assert options.relay_scope == "namespace"
    assert options.max_http_buffer_size == 1_000_000
    assert options.limits == Limits(connect_timeout=45, max_attachments=10)


def test_options_cannot_be_changed_afterwards() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options.of({}).ping_timeout = 1  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().connect_timeout = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("ping_intervall", "ping_interval"),
        ("cors_allowed_origin", "cors_allowed_origins"),
        ("max_http_buffersize", "max_http_buffer_size"),
        ("limit", "limits"),
        ("relay_scopes", "relay_scope"),
    ],
)
def test_a_misspelt_option_is_refused_with_the_right_name(wrong: str, right: str) -> None:
    with pytest.raises(OptionError, match=re.escape(f"did you mean {right!r}?")):
        Server(**{wrong: 1})


def test_any_other_unknown_option_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(OptionError, match=r"no option 'colour'; it has .*ping_interval"):
        Server(colour="green")


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        ("cors", "cors_allowed_origins"),
        ("origins", "cors_allowed_origins"),
        ("cors_origins", "cors_allowed_origins"),
        ("corsAllowedOrigins", "cors_allowed_origins"),
        ("message_queue", "client_manager=socketio.RedisManager"),
        ("channel", "channel=…"),
        ("adapter", "cluster='redis://…', or client_manager"),
        ("manage_session", "leave it out"),
        ("pingInterval", "ping_interval=25, in seconds"),
        ("pingTimeout", "ping_timeout=20, in seconds"),
        ("connectTimeout", r"Limits\(connect_timeout=45\), in seconds"),
        ("upgradeTimeout", r"Limits\(handshake_timeout=10\), in seconds"),
        ("maxHttpBufferSize", "max_http_buffer_size=1_000_000, in bytes"),
        ("connectionStateRecovery", "connection_state_recovery=.* in seconds"),
        ("allowUpgrades", "allow_upgrades=False"),
        ("perMessageDeflate", "never compressed"),
        ("allowEIO3", "Engine.IO 4"),
        ("serveClient", "npm"),
        ("cleanupEmptyChildNamespaces", "leave it out"),
        ("parser", "serializer"),
        ("engineio_path", "path"),
        ("socketio_path", "path"),
        ("resource", "path"),
        ("events_per_second", r"limits=Limits\(events_per_second=…\)"),
        ("port", "listen"),
        ("debug", "leave it out: listen"),
        ("use_reloader", "leave it out: listen"),
        ("log_output", r"listen\(port, log='default'\)"),
    ],
)
def test_an_option_of_others_docs_is_refused_with_ours(foreign: str, ours: str) -> None:
    with pytest.raises(OptionError, match=f"no option '{foreign}'; .*{ours}"):
        Server(**{foreign: 1})


@pytest.mark.parametrize(
    ("first", "fix"),
    [
        (3000, r"Server\(3000\): a port is an argument of listen: listen\(3000\)"),
        ({"cors": {}}, "give options by their names"),
        ("*", "give options by their names"),
    ],
)
def test_what_comes_first_on_node_is_refused_with_its_place(first: Any, fix: str) -> None:
    for args in ((first,), (first, {})):
        with pytest.raises(OptionError, match=fix):
            Server(*args)


def test_listen_names_the_options_that_are_servers() -> None:
    with pytest.raises(OptionError, match=r"one of Server: Server\(namespaces=…\)"):
        Server().listen(0, namespaces="*")


OLD: dict[str, tuple[Any, str, Any]] = {
    "binary": (True, "namespaces", None),
    "engineio_options": ({"ping_timeout": 7}, "ping_timeout", 7),
    "client_manager_class": (RoomIndex, "client_manager", RoomIndex),
    "ping_interval_grace_period": (3, "ping_interval", (10, 3)),
}


@pytest.mark.parametrize("name", OLD)
def test_an_option_of_an_older_release_is_taken_with_one_warning(name: str) -> None:
    value, ours, meant = OLD[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        server = Server(**{name: value})
    (warning,) = caught
    assert warning.category is DeprecationWarning
    assert warning.filename == __file__
    assert f"Server({name}=…)" in str(warning.message)
    got = getattr(server.options, ours)
    assert isinstance(got, meant) if isinstance(meant, type) else got == meant


@pytest.mark.parametrize(
    "layer", [socketio.base_server.BaseServer, engineio.base_server.BaseServer]
)
def test_an_option_of_a_newer_release_goes_to_it(
    monkeypatch: pytest.MonkeyPatch, layer: type
) -> None:
    seen: list[Any] = []
    begin: Any = layer.__init__  # type: ignore[misc]

    def newer(self: Any, *args: Any, shiny: Any = None, **options: Any) -> None:
        seen.append(shiny)
        begin(self, *args, **options)

    monkeypatch.setattr(layer, "__init__", newer)
    Server(shiny="yes")
    assert seen == ["yes"]


def test_the_first_argument_may_be_the_app_or_the_client_manager() -> None:
    app, manager = flask.Flask(__name__), RoomIndex()
    assert Server(app).app is app
    assert app.extensions["rtcio"].app is app
    assert Server(manager).manager is manager
    for wrong in ((app, "more"), (3001,), ({"cors": "*"},), ("redis://localhost",), (print,)):
        with pytest.raises(OptionError):
            Server(*wrong)
    with pytest.raises(OptionError, match="given twice"):
        Server(app, app=app)


def test_python_socketios_own_manager_of_one_process_is_taken() -> None:
    server = Server(client_manager=socketio.Manager())
    client = server.test_client()
    server.enter_room(str(client.sid), "tea")
    server.emit("a", 1, to="tea")
    assert client.received("a") == [1]


@pytest.mark.parametrize(
    ("app", "fix"),
    [
        ("app:app", "give a Flask app"),
        (lambda environ, start_response: [], r"server.listen\(port, app=…\)"),
        (ProxyFix(flask.Flask("x")), r"app.wsgi_app = ProxyFix\(app.wsgi_app\)"),  # type: ignore[arg-type]
    ],
    ids=["text", "WSGI", "wrapped"],
)
def test_what_is_no_flask_app_is_refused_with_the_fix(app: Any, fix: str) -> None:
    with pytest.raises(OptionError, match=fix):
        Server(app=app)


def test_values_whose_meaning_is_plain_are_taken() -> None:
    assert Server(cookie=True).options.cookie == "io"
    assert Server(cookie=False).options.cookie is None
    size = Server(max_http_buffer_size=1e6).options.max_http_buffer_size
    assert (size, type(size)) == (1_000_000, int)
    assert type(Limits(events_burst=1e3).events_burst) is int  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["ping_interval", "ping_timeout"])
def test_milliseconds_for_seconds_are_warned_of(name: str) -> None:
    said = f"{name}=20000 is in seconds, .* did you mean 20\\?"
    with pytest.warns(UserWarning, match=said) as caught:
        Server(**{name: 20000})
    assert caught[0].filename == __file__


MILLISECONDS: dict[str, Callable[[float], object]] = {
    "connect_timeout": lambda value: Limits(connect_timeout=value),
    "handshake_timeout": lambda value: Server(limits=Limits(handshake_timeout=value)),
    "max_disconnection_duration": lambda value: Server(
        connection_state_recovery={"max_disconnection_duration": value}
    ),
    "timeout": lambda value: Server().timeout(value),
}


@pytest.mark.parametrize("name", MILLISECONDS)
def test_milliseconds_for_seconds_are_warned_of_everywhere(name: str) -> None:
    said = f"{name}=120000 is in seconds, .* did you mean 120\\?"
    with pytest.warns(UserWarning, match=said) as caught:
        MILLISECONDS[name](120_000)
    assert [each.filename for each in caught] == [__file__]


@pytest.mark.parametrize("name", MILLISECONDS)
def test_long_times_do_not_warn(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MILLISECONDS[name](86_400 if name == "max_disconnection_duration" else 3600)


TOO_BIG = 10**400  # for a float, and so for every timer


@pytest.mark.parametrize(
    "take",
    [
        lambda: Server(ping_interval=TOO_BIG),
        lambda: Server(ping_interval=(1, TOO_BIG)),
        lambda: Server(ping_timeout=TOO_BIG),
        lambda: Server(drain_seconds=TOO_BIG),
        lambda: Server(max_http_buffer_size=TOO_BIG),
        lambda: Server(connection_state_recovery={"max_disconnection_duration": TOO_BIG}),
        lambda: Limits(connect_timeout=TOO_BIG),
        lambda: Limits(events_per_second=TOO_BIG),
        lambda: Server().timeout(TOO_BIG),
        lambda: Server().call("a", to="b", timeout=TOO_BIG),
        lambda: throttle(TOO_BIG),
    ],
)
def test_a_number_too_big_for_a_timer_is_refused(take: Callable[[], object]) -> None:
    with pytest.raises(OptionError):
        take()


@pytest.mark.parametrize(
    "name", ["connects_per_minute_per_ip", "sockets_per_ip", "handshake_timeout", "connect_timeout"]
)
def test_a_namespace_has_no_limit_that_applies_before_it_is_known(name: str) -> None:
    limits = Limits(**{name: 5})  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=rf"write Server\(limits=Limits\({name}=5\)\)"):
        Server().of("/x", limits=limits)
    with pytest.raises(OptionError, match=name):
        Server().of(re.compile("/x.*"), limits=limits)
    Server(limits=limits).of("/x", limits=dataclasses.replace(limits, max_depth=3))


def test_known_options_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Server(cors_allowed_origins="*", ping_interval=5, cookie="io")


@pytest.mark.parametrize(
    "given",
    [
        {"relay_scope": "world"},
        {"limits": 3},
        {"async_mode": "eventlet"},
        {"ping_timeout": 0},
        {"ping_interval": -1},
        {"ping_interval": (0, 0)},
        {"ping_interval": (25, 5, 1)},
        {"ping_interval": "10"},
        {"ping_interval": None},
        {"ping_timeout": "20"},
        {"ping_timeout": True},
        {"ping_timeout": float("nan")},
        {"max_http_buffer_size": None},
        {"drain_seconds": None},
        {"drain_seconds": float("nan")},
        {"max_connections": "many"},
        {"trusted_proxies": -1},
        {"trusted_proxies": True},
        {"max_http_buffer_size": 0},
        {"drain_seconds": -1},
        {"max_connections": 0},
        {"transports": "telegraph"},
        {"transports": []},
        {"transports": ["polling", "telegraph"]},
        {"transports": "polling,websocket"},
        {"transports": 3},
        {"transports": [[]]},
        {"relay_scope": ["room"]},
        {"limits": {}},
        {"limits": {"events_per_second": 10}},
        {"async_mode": "asgi"},
        {"ping_timeout": float("inf")},
        {"ping_timeout": -1},
        {"ping_interval": float("inf")},
        {"ping_interval": [25, 5]},
        {"ping_interval": True},
        {"ping_interval": ("25", 5)},
        {"max_http_buffer_size": 0.5},
        {"max_http_buffer_size": "1e6"},
        {"max_http_buffer_size": float("inf")},
        {"compression_threshold": "1024"},
        {"compression_threshold": -1},
        {"max_connections": 1.5},
        {"max_connections": float("nan")},
        {"trusted_proxies": ["10.0.0.1"]},
        {"trusted_proxies": 0.5},
        {"drain_seconds": "1"},
        {"path": None},
        {"path": ""},
        {"path": "/"},
        {"path": "http://localhost/socket.io"},
        {"path": "/socket.io?x=1"},
        {"path": b"/socket.io"},
        {"path": ["/socket.io"]},
        {"client_manager": "redis://localhost:6379/0"},
        {"client_manager": socketio.RedisManager},
        {"client_manager": socketio.AsyncManager()},
        {"client_manager": 3},
        {"logger": "debug"},
        {"logger": logging.DEBUG},
        {"engineio_logger": logging.Logger},
        {"serializer": "bogus"},
        {"serializer": object},
        {"serializer": json},
        {"async_handlers": "yes"},
        {"async_handlers": 1},
        {"always_connect": 1},
        {"always_connect": None},
        {"allow_upgrades": "no"},
        {"http_compression": 0},
        {"cors_credentials": "yes"},
        {"monitor_clients": 60},
        {"namespaces": 3},
        {"cookie": 3},
        {"cookie": ""},
        {"cookie": "a; b"},
        {"cookie": {"path": "/"}},
        {"cookie": {"name": "io", "max-age": 3}},
        {"connection_state_recovery": "yes"},
        {"connection_state_recovery": 1},
        {"connection_state_recovery": {"maxDisconnectionDuration": 120_000}},
        {"connection_state_recovery": {"max_disconnection_duration": "120"}},
        {"connection_state_recovery": {"max_disconnection_duration": float("inf")}},
        {"connection_state_recovery": {"max_recovery_bytes": True}},
        {"cors_allowed_origins": True},
        {"cors_allowed_origins": {"origin": "*"}},
        {"cors_allowed_origins": ()},
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"^{next(iter(given))}"):
        Server(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"allow_upgrades": True, "transports": "polling"},
        {"cors_credentials": True, "cors_allowed_origins": []},
        {"http_compression": False, "compression_threshold": 10},
        {"json": object(), "serializer": "msgpack"},
        {"client_manager": socketio.RedisManager("redis://localhost:1", write_only=True)},
    ],
    ids=lambda given: "+".join(given),
)
def test_two_options_that_contradict_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Options.of(given)


def test_a_default_contradicts_nothing() -> None:
    assert Options.of({"transports": "polling"}).allow_upgrades
    assert Options.of({"cors_allowed_origins": []}).cors_credentials


def test_what_stands_for_a_json_module_has_both_functions() -> None:
    async def dumps(value: Any) -> str:
        return ""

    half = types.SimpleNamespace(dumps=json.dumps)
    slow = types.SimpleNamespace(dumps=dumps, loads=json.loads)
    for given in ("orjson", half, slow, True):
        with pytest.raises(OptionError, match=r"^json="):
            Server(json=given)
    assert Server(json=json).options.json is json


@pytest.mark.parametrize("value", [0, -1, True, False, "1", float("nan"), float("inf"), [1]])
@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(Limits)])
def test_a_limit_is_above_zero(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=name):
        Limits(**{name: value})


@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(Limits)])
def test_a_limit_may_be_lifted_alone(name: str) -> None:
    lifted = Limits(**{name: None})
    assert getattr(lifted, name) is None
    others = {each.name for each in dataclasses.fields(Limits)} - {name}
    assert all(getattr(lifted, other) == getattr(Limits(), other) for other in others)


def test_limits_none_lifts_what_limits_holds_and_nothing_else() -> None:
    options = Options.of({"limits": None})
    assert options.limits == NO_LIMITS
    assert set(dataclasses.asdict(NO_LIMITS).values()) == {None}
    assert options == dataclasses.replace(
        Options.of({}), limits=NO_LIMITS, given=frozenset({"limits"})
    )


@pytest.mark.parametrize(
    "name", [each.name for each in dataclasses.fields(Limits) if str(each.type).startswith("int")]
)
def test_a_limit_of_a_number_of_things_is_whole(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name}.*whole number"):
        Limits(**{name: 2.5})


def test_the_grace_period_counts_for_the_ping() -> None:
    assert Options.of({"ping_interval": (20, 5)}).ping_every == 25
    assert Options.of({"ping_interval": 7}).ping_every == 7


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        (None, ["polling", "websocket"]),
        ("websocket", ["websocket"]),
        (["polling"], ["polling"]),
        (("websocket", "polling"), ["polling", "websocket"]),
    ],
)
def test_transports_are_named_singly_or_together(given: Any, allowed: list[str]) -> None:
    assert transports_of(Options.of({"transports": given})) == allowed


def test_python_engineio_gets_no_json_module() -> None:
    # It would set it for every server of the process.
    assert "json" not in engineio_options(Options.of({"json": object()}))


def test_gevent_is_the_default_mode() -> None:
    assert engineio_options(Options.of({}))["async_mode"] == "gevent"
    assert engineio_options(Options.of({"async_mode": "threading"}))["async_mode"] == "threading"


@pytest.mark.parametrize("each", dataclasses.fields(Limits), ids=lambda each: each.name)
def test_help_says_of_each_limit_its_default_what_is_over_it_and_what_none_means(
    each: dataclasses.Field[Any],
) -> None:
    text = inspect.cleandoc(str(Limits.__doc__))
    (said,) = re.findall(rf"^:{each.name}: (.*(?:\n    .*)*)", text, re.MULTILINE)
    said = " ".join(said.split())
    assert "Over it" in said
    assert "`None`: " in said
    if each.default is not None:
        assert f"; {each.default:,}" in said
    assert re.match(
        r"(\((?:namespace|widest)\) )?"
        "(Seconds|Messages|Binary|Levels|Values|Packets|Bytes|Rooms|Namesp|Conn|Open)",
        said,
    )


def test_help_names_no_limit_that_there_is_not() -> None:
    named = set(re.findall(r"^:(\w+): ", inspect.cleandoc(str(Limits.__doc__)), re.MULTILINE))
    assert named == {each.name for each in dataclasses.fields(Limits)}


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("max_dept", "did you mean 'max_depth'?"),
        ("maxDepth", "did you mean 'max_depth'?"),
        ("event_per_second", "did you mean 'events_per_second'?"),
        ("max_buffered_total", "write Server(max_buffered_total=…)"),
        ("max_polling_sessions", "write Server(max_polling_sessions=…)"),
        ("maxHttpBufferSize", "write Server(max_http_buffer_size=…)"),
        ("max_recovery_total", "write connection_state_recovery={'max_recovery_total': …}"),
        ("nonsense", "it has connect_timeout, connects_per_minute_per_ip,"),
    ],
)
def test_a_limit_that_there_is_not_is_refused_with_the_one_that_was_meant(
    name: str, fix: str
) -> None:
    with pytest.raises(OptionError, match=re.escape(f"Limits() has no option {name!r}; {fix}")):
        Limits(**{name: 1})


def test_limits_are_copied_and_pickled_as_they_are() -> None:
    limits = Limits(max_depth=3)
    assert copy.deepcopy(limits) == pickle.loads(pickle.dumps(limits)) == limits
    assert dataclasses.replace(limits, max_depth=64) == Limits()


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_of_others_servers_is_refused_with_ours(name: str) -> None:
    server = Server()
    with pytest.raises(AttributeError, match=re.escape(METHODS[name])):
        getattr(server, name)
    assert not hasattr(server, name)
    for called in re.findall(r"\bserver\.(\w+)", METHODS[name]):
        assert hasattr(server, called)


def test_an_attribute_that_nobody_knows_is_missed_as_on_any_object() -> None:
    with pytest.raises(AttributeError, match="'Server' object has no attribute 'nonsense'"):
        Server().nonsense  # noqa: B018


def test_help_of_the_server_has_every_option_in_their_order() -> None:
    named = re.findall(r"^:(\w+): \S", inspect.cleandoc(Server.__doc__ or ""), re.M)
    fields = [each.name for each in dataclasses.fields(Options)]
    assert named == [name for name in fields if name not in ("given", "passed")]


def test_help_says_of_each_option_what_none_means() -> None:
    texts = re.split(r"^:", inspect.cleandoc(Options.__doc__ or ""), flags=re.M)[1:]
    for text, field in zip(texts, dataclasses.fields(Options), strict=False):
        if field.default is None:
            assert "`None`" in text, text
