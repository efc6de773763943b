"""The options of a server: one home each, misspelt and contradictory ones refused."""

from __future__ import annotations

import dataclasses
import inspect
import re
import warnings
from typing import Any

import engineio
import pytest
import socketio

from rtcio_sync import Limits, OptionError, Options, Server
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


def test_any_other_unknown_option_warns_at_the_call_and_is_left_out() -> None:
    with pytest.warns(UserWarning, match="no option 'colour'; it is ignored") as caught:
        server = Server(colour="green")
    assert caught[0].filename == __file__
    assert "colour" not in server.options.given


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
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"^{next(iter(given))}"):
        Options.of(given)


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


@pytest.mark.parametrize("value", [0, -1, True, False, "1", float("nan")])
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
            "(Seconds|Messages|Binary|Packets|Bytes|Rooms|Namesp|Conn|Open)",
            said,
    )


def test_help_names_no_limit_that_there_is_not() -> None:
    named = set(re.findall(r"^:(\w+): ", inspect.cleandoc(str(Limits.__doc__)), re.MULTILINE))
    assert named == {each.name for each in dataclasses.fields(Limits)}
