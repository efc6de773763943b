"""Which pages may connect: an origin is refused on polling and on the WebSocket handshake alike."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest

from rtcio_sync import OptionError, Server
from tests.values import BROWSER_ORIGINS
from tests.wsgi import WEBSOCKET, environ_of, request

RULES: dict[str, Any] = {
    "one": "https://good.example",
    "several": ["https://other.example", "https://good.example"],
    "an expression": re.compile(r"https://g[a-z]+\.example"),
    "strings and expressions": ["https://other.example", re.compile(r"https://g[a-z]+\.example")],
    "a callable": lambda origin: origin == "https://good.example",
    "a callable of two": lambda origin, environ: (
        origin == "https://good.example" and environ["REQUEST_METHOD"] == "GET"
    ),
}


def status(server: Server, transport: str, headers: dict[str, str]) -> int:
    extra = WEBSOCKET if transport == "websocket" else {}
    environ = environ_of("GET", {"transport": transport}, headers={**extra, **headers})
    return request(server.handle_request, environ)[0]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://good.example.evil.example",
        "https://evil.example/https://good.example",
        "http://good.example",
        "null",
    ],
)
def test_an_origin_that_is_not_allowed_is_refused(rule: Any, transport: str, origin: str) -> None:
    server = Server(cors_allowed_origins=rule)
    assert status(server, transport, {"Origin": origin}) == 403
    assert not server.eio.sockets


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_an_origin_that_is_allowed_comes_in(rule: Any) -> None:
    server = Server(cors_allowed_origins=rule)
    assert status(server, "polling", {"Origin": "https://good.example"}) == 200


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    ours = [each for each in caplog.records if each.name == "rtcio_sync.engineio.cors"]
    return [each.getMessage() for each in ours if each.levelno >= logging.WARNING]


def test_any_origin_with_cookies_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(cors_allowed_origins="*")
    for _ in range(3):
        status(server, "polling", {"Origin": "https://evil.example", "Cookie": "session=1"})
    (warning,) = warnings_of(caplog)
    assert "any site can connect as your logged-in users" in warning


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({"cors_allowed_origins": "*"}, {"Origin": "https://evil.example"}),
        (
            {"cors_allowed_origins": "*", "cors_credentials": False},
            {"Origin": "https://evil.example", "Cookie": "session=1"},
        ),
        (
            {"cors_allowed_origins": "https://good.example"},
            {"Origin": "https://good.example", "Cookie": "session=1"},
        ),
    ],
    ids=["no cookies", "no credentials", "a named origin"],
)
def test_what_is_safe_is_not_warned_of(
    caplog: pytest.LogCaptureFixture, options: dict[str, Any], headers: dict[str, str]
) -> None:
    assert status(Server(**options), "polling", headers) == 200
    assert warnings_of(caplog) == []


@pytest.mark.parametrize(
    ("rule", "fix"),
    [
        ("a.com", "write https://a.com"),
        (["https://good.example", "https://a.com/"], "no path: write https://a.com$"),
        (True, "^cors_allowed_origins"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused_when_the_server_is_made(
    rule: Any, fix: str
) -> None:
    with pytest.raises(OptionError, match=fix):
        Server(cors_allowed_origins=rule)


@pytest.mark.parametrize("origin", BROWSER_ORIGINS)
@pytest.mark.parametrize("shape", [str, lambda origin: [origin], lambda origin: {origin}])
def test_an_origin_that_a_browser_sends_is_taken_and_comes_in(shape: Any, origin: str) -> None:
    server = Server(cors_allowed_origins=shape(origin))
    assert status(server, "polling", {"Origin": origin}) == 200


# -- the server's own ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "headers", "origin"),
    [
        ("https", {"Host": "example.com:443"}, "https://example.com"),
        ("https", {"Host": "example.com"}, "https://example.com"),
        ("http", {"Host": "example.com:80"}, "http://example.com"),
        ("http", {"Host": "Example.com"}, "http://example.com"),
        ("http", {"Host": "example.com:8080"}, "http://example.com:8080"),
        ("http", {"Host": "a:5000", "X-Forwarded-Proto": "https"}, "https://a:5000"),
        (
            "http",
            {"Host": "a", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "example.com:443"},
            "https://example.com",
        ),
        ("http", {"Host": "example.com", "X-Forwarded-Proto": "wss"}, "https://example.com"),
        ("ws", {"Host": "example.com:80"}, "http://example.com"),
    ],
)
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_a_page_of_the_servers_own_origin_comes_in_however_its_port_is_told(
    transport: str, scheme: str, headers: dict[str, str], origin: str
) -> None:
    extra = WEBSOCKET if transport == "websocket" else {}
    environ = environ_of(
        "GET", {"transport": "polling"}, headers={**extra, **headers, "Origin": origin}
    )
    environ["wsgi.url_scheme"] = scheme
    code, told, _ = request(Server().handle_request, environ)
    assert code == 200
    assert told["Access-Control-Allow-Origin"] == origin


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("https", "example.com:80", "https://example.com"),
        ("http", "example.com:443", "http://example.com"),
        ("http", "example.com", "https://example.com"),
        ("http", "example.com:8080", "http://example.com"),
    ],
)
def test_another_port_or_scheme_is_another_origin(scheme: str, host: str, origin: str) -> None:
    environ = environ_of("GET", {}, headers={"Host": host, "Origin": origin})
    environ["wsgi.url_scheme"] = scheme
    assert request(Server().handle_request, environ)[0] == 403


# -- what is told of a refused one -----------------------------------------------------------------


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize(
    "rule", [None, "https://good.example", lambda origin: False], ids=["own", "named", "function"]
)
def test_a_refused_origin_is_warned_of_with_the_option_that_would_allow_it(
    caplog: pytest.LogCaptureFixture, rule: Any, transport: str
) -> None:
    server = Server(cors_allowed_origins=rule)
    for _ in range(3):
        assert status(server, transport, {"Origin": "https://evil.example"}) == 403
    (warning,) = warnings_of(caplog)
    assert "https://evil.example" in warning
    assert "cors_allowed_origins" in warning


def test_a_refused_origin_is_warned_of_again_after_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, now = Server(), 1000.0
    monkeypatch.setattr(server.eio.heartbeat, "now", lambda: now)
    for seconds in (0, 59, 2, 60):
        now += seconds
        status(server, "polling", {"Origin": "https://evil.example"})
    first, second, third = warnings_of(caplog)
    assert "more requests" not in first + third
    assert "(and 1 more requests" in second


def test_many_refused_origins_and_what_is_in_them_fill_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    status(server, "polling", {"Origin": "https://evil.example\n\x1b[31m" + "x" * 5000})
    for number in range(200):
        status(server, "polling", {"Origin": f"https://evil{number}.example"})
    told = warnings_of(caplog)
    assert len(told) == 10
    assert all("\n" not in each and "\x1b" not in each and len(each) < 600 for each in told)


def test_the_answer_to_a_refused_origin_says_why() -> None:
    environ = environ_of("GET", {}, headers={"Origin": "https://evil.example"})
    code, headers, body = request(Server().handle_request, environ)
    said = json.loads(body)
    assert (code, said["code"]) == (403, 4)
    assert said["message"].startswith("Forbidden")
    assert "https://evil.example" in said["message"]
    assert "cors_allowed_origins" in said["message"]
    assert "Access-Control-Allow-Origin" not in headers
