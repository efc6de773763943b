"""Which pages may connect: an origin is refused on polling and on the WebSocket handshake alike."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from rtcio_sync import Server
from tests.frames import KEY
from tests.wire import environ_of, request

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

WEBSOCKET = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
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
    ours = [each for each in caplog.records if each.name == "rtcio_sync.admission"]
    return [each.getMessage() for each in ours if each.levelno >= logging.WARNING]


def test_any_origin_with_cookies_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(cors_allowed_origins="*")
    for _ in range(3):
        status(server, "polling", {"Origin": "https://evil.example", "Cookie": "session=1"})
    (warning,) = warnings_of(caplog)
    assert "any site may connect in the name of whoever is logged in" in warning


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
