"""What each option may be, and in which form the others get it."""

from __future__ import annotations

import json
import logging
import math
import sys
import types
from decimal import Decimal
from typing import Any

import flask
import orjson
import pytest
import socketio

from rtcio_sync.config.option_values import check_json, check_value, is_number, mended, whole
from rtcio_sync.errors import OptionError

#: Values of options that are taken.
RIGHT: dict[str, list[Any]] = {
    "path": ["/socket.io", "socket.io", "/a/b/"],
    "relay_scope": ["namespace", "room"],
    "drain_seconds": [0, 1.5],
    "max_connections": [None, 1, 1e3],
    "max_buffered_total": [None, 1],
    "max_polling_sessions": [None, 7],
    "trusted_proxies": [0, 2],
    "cluster_address": [None, "10.0.0.5:8000", "[::1]:65535"],
    "client_manager": [None, socketio.Manager()],
    "logger": [True, False, None, logging.getLogger("test")],
    "serializer": ["default", "msgpack", socketio.packet.Packet],
    "async_handlers": [True, False, None],
    "always_connect": [True, False],
    "namespaces": [None, "*", ["/a", "b"]],
    "async_mode": [None, "gevent", "threading"],
    "ping_interval": [5, 0.5, (25, 5), (0, 1)],
    "ping_timeout": [20, 0.1],
    "max_http_buffer_size": [1, 1e6],
    "compression_threshold": [0, 1024],
    "cookie": [
        *(None, "io", True, False, {"name": "io", "Path": "/", "Secure": True}),
        {"name": "io", "httpOnly": True, "sameSite": "strict", "max-age": "3"},
    ],
    "cors_credentials": [True, False],
    "transports": [None, "polling", ["polling", "websocket"], ("websocket",), {"polling"}],
    "engineio_logger": [True, logging.getLogger("test")],
}

#: Values that are refused, and a part of what to give instead.
WRONG: dict[str, tuple[list[Any], str]] = {
    "path": (["", "/", None, "http://a/b", "/a?x=1", b"/a", "/a b", "/a/../b", "/."], "path|'.'"),
    "relay_scope": (["world", None, ["room"]], "'namespace' or 'room'"),
    "drain_seconds": ([-1, None, "1", math.nan, True], "0 or more seconds"),
    "max_connections": ([0, 1.5, "many", math.inf], "or None for the descriptor limit"),
    "trusted_proxies": ([-1, 0.5, True, ["10.0.0.1"], 10**30], "number of proxies"),
    "cluster_address": (["host", "host:0", "host:65536", 8000], "a host and a port"),
    "logger": (["debug", 10, logging.Logger], "logging.getLogger"),
    "serializer": (["bogus", object, json, None], "a packet class"),
    "async_handlers": (["yes", 1], "True or False, or None"),
    "always_connect": ([1, None], "True or False"),
    "namespaces": ([3, [""]], "name"),
    "async_mode": (["eventlet", "asgi"], "'gevent'"),
    "ping_interval": ([-1, (0, 0), (1, 2, 3), [25, 5], "10", None, True], r"\(seconds, grace\)"),
    "ping_timeout": ([0, "20", math.inf], "of seconds"),
    "max_http_buffer_size": ([0, None, 0.5, "1e6"], "of bytes"),
    "cookie": (
        [
            *(3, "", "a; b", {"path": "/"}, {"name": "io", "max-age": 3}),
            *({"name": "io", "Domain": each} for each in ("€", "a;b", "a\r\nX: y", "a\0")),
            *({"name": "io", each: "1"} for each in ("a=b", "a;b", "a\r\nX", "", 5)),
        ],
        "cookie|max-age|Domain|name of an attribute",
    ),
    "cors_allowed_origins": ([True, (), {"origin": "*"}], "origin"),
    "transports": (["telegraph", [], "polling,websocket", ["polling"] * 2, 3], "as a list"),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in RIGHT.items() for value in values]
)
def test_a_value_that_can_be_meant_is_taken(name: str, value: Any) -> None:
    check_value(name, value)


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [(name, value, fix) for name, (values, fix) in WRONG.items() for value in values],
)
def test_a_value_that_cannot_be_meant_is_refused_with_the_fix(
    name: str, value: Any, fix: str
) -> None:
    with pytest.raises(OptionError, match=fix) as caught:
        check_value(name, value)
    assert str(caught.value).startswith(name)


@pytest.mark.parametrize(
    ("manager", "fix"),
    [
        ("redis://localhost:6379/0", r"socketio.RedisManager\('redis://localhost:6379/0'\)"),
        ("amqp://", "KombuManager"),
        (b"kafka://", "KafkaManager"),
        ("zmq+tcp://", "ZmqManager"),
        (socketio.RedisManager, r"give a client manager, RedisManager\(…\)"),
        (socketio.AsyncManager(), r"socketio.Manager\(…\)"),
        (types.SimpleNamespace(wsgi_app=print), r"Server\(app=app\)"),
        (print, r"listen\(port, app=…\)"),
        (3, "RedisManager"),
    ],
    ids=range(9),
)
def test_what_is_no_client_manager_is_refused_with_the_one_that_was_meant(
    manager: Any, fix: str
) -> None:
    with pytest.raises(OptionError, match=fix):
        check_value("client_manager", manager)


@pytest.mark.parametrize(
    ("attribute", "fix"),
    [
        ("maxAge", "'Max-Age'"), ("http_only", "'HttpOnly'"), ("Same-Site", "'SameSite'"),
        ("ttl", "Expires, HttpOnly, Max-Age"),
    ],
)  # fmt: skip
def test_an_attribute_that_browsers_ignore_is_refused_with_the_one_that_was_meant(
    attribute: str, fix: str
) -> None:
    with pytest.raises(OptionError, match=fix):
        check_value("cookie", {"name": "io", attribute: "3"})


def test_an_option_that_has_no_check_may_be_anything() -> None:
    check_value("of a newer release", object())


def test_what_stands_for_a_json_module_has_both_functions_and_waits_for_nothing() -> None:
    async def slowly(value: Any) -> str:
        return ""

    for given in (None, json, types.SimpleNamespace(dumps=json.dumps, loads=json.loads)):
        check_json(given)
    half = types.SimpleNamespace(dumps=json.dumps)
    slow = types.SimpleNamespace(dumps=slowly, loads=json.loads)
    for given, fix in ((half, "dumps and loads"), ("orjson", "dumps"), (slow, "not async")):
        with pytest.raises(OptionError, match=fix):
            check_json(given)


def of_bytes(value: Any, **options: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("dumps", "fix"),
    [
        (lambda value: "{}", r"separators=…\), as json\.dumps does"),
        (of_bytes, "has to give text.*not bytes"),
    ],
)
def test_one_that_cannot_write_packets_is_refused_before_there_are_clients(
    dumps: Any, fix: str
) -> None:
    with pytest.raises(OptionError, match=f"^json=.*{fix}"):
        check_json(types.SimpleNamespace(dumps=dumps, loads=json.loads))


def test_orjson_is_what_a_server_has_by_itself() -> None:
    with pytest.raises(OptionError, match="json=None is orjson"):
        check_json(orjson)


def test_one_that_needs_the_context_of_an_app_is_tried_by_its_first_packet() -> None:
    def dumps(value: Any, **options: Any) -> str:
        return str(flask.current_app.json.dumps(value, **options))

    check_json(types.SimpleNamespace(dumps=dumps, loads=json.loads))


@pytest.mark.parametrize("value", [0, 7, 0.5, 2**70])
def test_a_number_is_finite_and_not_below_zero(value: Any) -> None:
    assert is_number(value)
    assert is_number(value, above=-1)
    assert not is_number(value, above=2**70)


@pytest.mark.parametrize("value", [True, False, "1", None, math.nan, math.inf, -1, Decimal(1)])
def test_what_is_no_number_is_none(value: Any) -> None:
    assert not is_number(value)


@pytest.mark.parametrize(("given", "got"), [(1e6, 1_000_000), (0.5, 0.5), (3, 3), ("x", "x")])
def test_a_whole_float_is_an_integer(given: Any, got: Any) -> None:
    assert (whole(given), type(whole(given))) == (got, type(got))


@pytest.mark.parametrize(
    ("name", "given", "got"),
    [
        ("namespaces", "calls", ["/calls"]),
        ("namespaces", ["*", "/a"], "*"),
        ("cookie", True, "io"),
        ("cookie", False, None),
        ("cookie", "mine", "mine"),
        ("transports", ("polling",), ["polling"]),
        ("transports", "polling", "polling"),
        ("transports", None, None),
        ("max_connections", 1e3, 1000),
        ("ping_timeout", 20.0, 20.0),
    ],
)
def test_a_value_has_one_form_for_the_others(name: str, given: Any, got: Any) -> None:
    assert (mended(name, given), type(mended(name, given))) == (got, type(got))


def test_the_mode_of_uwsgi_is_refused_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="not run by uWSGI; for all other servers leave it out"):
        check_value("async_mode", "gevent_uwsgi")
    monkeypatch.setitem(sys.modules, "uwsgi", types.ModuleType("uwsgi"))
    check_value("async_mode", "gevent_uwsgi")
