"""An environ that is kept takes little memory and is the same to the app."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from rtcio_sync.engineio import compact_environ as module
from rtcio_sync.engineio.compact_environ import (
    LONGEST,
    MOST_FIELDS,
    MOST_PLANS,
    MOST_VALUES,
    compact,
)

BROWSER = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/socket.io/",
    "QUERY_STRING": "EIO=4&transport=websocket",
    "REMOTE_ADDR": "192.0.2.7",
    "REMOTE_PORT": "50123",
    "wsgi.url_scheme": "https",
    "wsgi.version": (1, 0),
    "HTTP_HOST": "example.com",
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64)",
    "HTTP_ACCEPT_LANGUAGE": "en",
    "HTTP_COOKIE": "session=secret",
    "myapp.user": ["ann"],
}


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_plans", {})
    monkeypatch.setattr(module, "_values", module._Values())


def everything(name: str) -> bool:
    return True


def of_a_client(**fields: Any) -> dict[str, Any]:
    """A browser's environ, of strings of its own, as a server makes it for each request."""
    return {
        name: value.encode().decode() if isinstance(value, str) else value
        for name, value in {**BROWSER, **fields}.items()
    }


def test_it_is_a_plain_dict_with_the_same_fields_in_the_same_order() -> None:
    environ = of_a_client()
    for _ in range(2):
        kept = compact(environ, everything)
        assert type(kept) is dict
        assert list(kept.items()) == list(environ.items())
        assert kept["myapp.user"] is environ["myapp.user"]


def test_only_the_wanted_names_are_kept() -> None:
    kept = compact(of_a_client(), lambda name: name.startswith("HTTP_"))
    assert list(kept) == [name for name in BROWSER if name.startswith("HTTP_")]


def test_it_belongs_to_its_connection() -> None:
    one, other = (compact(of_a_client(), everything) for _ in range(2))
    one["saved"] = 1
    one["REMOTE_ADDR"] = "198.51.100.1"
    del one["HTTP_COOKIE"]
    assert other == BROWSER
    assert compact(of_a_client(), everything) == BROWSER
    assert one == {
        **{name: value for name, value in BROWSER.items() if name != "HTTP_COOKIE"},
        "REMOTE_ADDR": "198.51.100.1",
        "saved": 1,
    }


def test_names_take_memory_once() -> None:
    fields = {f"HTTP_X_{number}": "x" for number in range(MOST_FIELDS - len(BROWSER))}
    kept = compact(of_a_client(**fields), everything)
    assert sys.getsizeof(kept) < sys.getsizeof(dict(kept)) / 2


def test_more_names_than_can_be_shared_are_kept_as_well() -> None:
    environ = of_a_client(**{f"HTTP_X_{number}": "x" for number in range(MOST_FIELDS)})
    kept = compact(environ, everything)
    assert list(kept.items()) == list(environ.items())
    assert sys.getsizeof(kept) <= sys.getsizeof(dict(environ))


@pytest.mark.parametrize(
    "name", ["HTTP_USER_AGENT", "HTTP_ACCEPT_LANGUAGE", "HTTP_HOST", "QUERY_STRING", "REMOTE_ADDR"]
)
def test_usual_values_take_memory_once(name: str) -> None:
    one, other = (compact(of_a_client(), everything) for _ in range(2))
    assert one[name] is other[name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_COOKIE", "session=secret"),
        ("HTTP_AUTHORIZATION", "Bearer secret"),
        ("HTTP_X_TOKEN", "secret"),
        ("QUERY_STRING", "token=secret&EIO=4&transport=websocket"),
        ("RAW_URI", "/socket.io/?token=secret&EIO=4&transport=websocket"),
    ],
)
def test_what_may_be_secret_goes_with_its_connection(name: str, value: str) -> None:
    kept = compact(of_a_client(**{name: value}), everything)
    assert kept[name] == value
    assert value not in module._values


def test_what_clients_invent_is_bounded() -> None:
    for number in range(MOST_PLANS + MOST_VALUES + 10):
        environ = of_a_client(HTTP_USER_AGENT=f"invented {number}", **{f"HTTP_{number}": "x"})
        assert compact(environ, everything) == environ
        assert len(module._plans) <= MOST_PLANS
        assert len(module._values) <= MOST_VALUES


def test_what_is_long_is_not_remembered() -> None:
    environ = of_a_client(HTTP_USER_AGENT="x" * (LONGEST + 1), **{"HTTP_" + "X" * 5000: "x"})
    assert compact(environ, everything) == environ
    assert not module._plans
    assert environ["HTTP_USER_AGENT"] not in module._values


def test_a_value_that_is_no_text_is_kept_as_it_is() -> None:
    kept = compact(of_a_client(CONTENT_LENGTH=0, SERVER_PORT=False), everything)
    assert kept["CONTENT_LENGTH"] == 0 and kept["CONTENT_LENGTH"] is not False
    assert kept["SERVER_PORT"] is False
