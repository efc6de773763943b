"""Which pages may connect to the engine: origins and CORS headers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from rtcio_sync.engineio.server import Server
from tests.engineio.clients import ask
from tests.unrun import UNRUN

HERE = "http://localhost"


@pytest.mark.parametrize(
    ("rule", "allowed", "refused"),
    [
        (None, [HERE], ["https://localhost", "http://elsewhere", "null"]),
        ("*", ["http://a.example", "null"], []),
        (["http://a.example", "*"], ["http://b.example"], []),
        ("http://a.example", ["http://a.example"], [HERE, "http://b.example"]),
        (["http://a.example", "http://b.example"], ["http://b.example"], ["http://c.example"]),
        ([], ["http://a.example"], []),
        (re.compile(r"https://\w+\.example"), ["https://a.example"],
         ["https://a.example.evil", "xhttps://a.example", "http://a.example"]),
        ([re.compile(r"https://\w+\.example"), "http://b"], ["https://a.example", "http://b"],
         ["http://c"]),
        (lambda origin: origin.endswith(".example"), ["http://a.example"], ["http://a"]),
        (lambda origin, environ: environ["HTTP_HOST"] in origin, [HERE], ["http://a.example"]),
    ],
    ids=["own", "any", "any in a list", "one", "several", "off", "pattern", "pattern and name",
         "callable", "callable with the environ"],
)  # fmt: skip
def test_origins(rule: Any, allowed: list[str], refused: list[str]) -> None:
    server = Server(cors_allowed_origins=rule)
    assert ask(server)[0] == 200, "a client that names none is no browser"
    for origin in allowed:
        status, headers, _ = ask(server, headers={"Origin": origin})
        assert status == 200
        assert headers.get("Access-Control-Allow-Origin") == (None if rule == [] else origin)
    for origin in refused:
        status, headers, body = ask(server, headers={"Origin": origin})
        assert status == 403
        assert json.loads(body)["code"] == 4
        assert "Access-Control-Allow-Origin" not in headers


def test_a_callable_is_asked_with_what_it_declares_and_its_type_error_is_its_own() -> None:
    asked: list[str] = []

    def rule(origin: str) -> bool:
        asked.append(origin)
        raise TypeError("the app's own")

    server = Server(cors_allowed_origins=rule)
    with pytest.raises(TypeError, match="the app's own"):
        ask(server, headers={"Origin": "http://a.example"})
    assert asked == ["http://a.example"]
    assert ask(server)[0] == 200
    assert len(asked) == 1


@pytest.mark.parametrize("rule", UNRUN.values(), ids=UNRUN)
def test_what_has_yet_to_run_allows_no_origin(rule: Any) -> None:
    server = Server(cors_allowed_origins=rule)
    with pytest.raises(TypeError, match=r"returned a (coroutine|generator)"):
        ask(server, headers={"Origin": "http://a.example"})
    assert ask(server)[0] == 200


def test_credentials_may_be_kept_from_other_origins() -> None:
    for credentials in (True, False):
        server = Server(cors_allowed_origins="*", cors_credentials=credentials)
        _, headers, _ = ask(server, headers={"Origin": "http://a.example"})
        assert ("Access-Control-Allow-Credentials" in headers) is credentials


def test_a_preflight_is_answered_for_those_who_may() -> None:
    server = Server(cors_allowed_origins="http://a.example")
    preflight = {"Origin": "http://a.example", "Access-Control-Request-Headers": "x-tea"}
    status, headers, _ = ask(server, "OPTIONS", headers=preflight)
    assert status == 200
    assert headers["Access-Control-Allow-Headers"] == "x-tea"
    assert ask(server, "OPTIONS", headers={"Origin": "http://b.example"})[0] == 403
