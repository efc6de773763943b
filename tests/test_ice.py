"""Credentials that coturn accepts, and lists that a browser takes."""

from __future__ import annotations

import string
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcio_sync.errors import OptionError
from rtcio_sync.ice import ice_servers, turn_credentials
from tests.values import TURN_VECTORS

NOW = 1_700_000_000.75  # seconds since the epoch; the fraction must not reach the name


def clock() -> float:
    return NOW


@pytest.mark.parametrize(("secret", "ttl", "user", "username", "credential"), TURN_VECTORS)
def test_credentials_are_those_that_openssl_computed(
    secret: str, ttl: int, user: str | None, username: str, credential: str
) -> None:
    assert turn_credentials(secret, ttl, user, now=clock) == {
        "username": username,
        "credential": credential,
    }


@given(
    secret=st.text(string.ascii_letters + string.digits + "+/=-", min_size=1, max_size=80),
    ttl=st.integers(1, 10**7),
    user=st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=100),
)
def test_the_name_tells_the_expiry_and_the_user(secret: str, ttl: int, user: str | None) -> None:
    username = turn_credentials(secret, ttl, user, now=clock)["username"]
    expiry, _, rest = username.partition(":")
    assert int(expiry) == 1_700_000_000 + ttl
    assert rest == (user or "")


def test_credentials_last_ten_minutes_of_the_real_clock_by_default() -> None:
    before = int(time.time())
    expiry = int(turn_credentials("north")["username"])
    assert before + 600 <= expiry <= int(time.time()) + 600


def test_a_secret_may_be_bytes() -> None:
    assert turn_credentials(b"north", now=clock) == turn_credentials("north", now=clock)


@pytest.mark.parametrize("secret", ["", b"", None, 5])
def test_a_missing_secret_is_refused_and_the_message_names_what_to_give(secret: object) -> None:
    with pytest.raises(ValueError, match="static-auth-secret"):
        turn_credentials(secret)  # type: ignore[arg-type]


@pytest.mark.parametrize("ttl", [0, -1, 1.5, True, "600", None])
def test_a_ttl_that_is_no_positive_whole_number_is_refused(ttl: object) -> None:
    with pytest.raises(ValueError, match="ttl must be a whole number of seconds"):
        turn_credentials("north", ttl)  # type: ignore[arg-type]


@pytest.mark.parametrize("user", ["", 7, b"alice"])
def test_a_user_that_is_no_text_is_refused(user: object) -> None:
    with pytest.raises(ValueError, match="or be left out"):
        turn_credentials("north", user=user)  # type: ignore[arg-type]


def test_a_user_fills_what_turn_allows_and_no_more() -> None:
    room = 508 - len("1700000600:")  # bytes
    assert len(turn_credentials("north", user="u" * room, now=clock)["username"]) == 508
    with pytest.raises(ValueError, match="user is too long"):
        turn_credentials("north", user="u" * (room + 1), now=clock)
    with pytest.raises(ValueError, match="user is too long"):
        turn_credentials("north", user="ž" * room, now=clock)
    with pytest.raises(ValueError, match="UTF-8"):
        turn_credentials("north", user="\ud800", now=clock)


def test_the_list_has_one_entry_for_stun_and_one_for_turn_with_its_credentials() -> None:
    assert ice_servers(
        stun="stun.example.com",
        turn=["turn.example.com", "turns:turn.example.com:443"],
        secret="north",
        user="alice",
        now=clock,
    ) == [
        {"urls": ["stun:stun.example.com"]},
        {
            "urls": [
                "turn:turn.example.com?transport=udp",
                "turn:turn.example.com?transport=tcp",
                "turns:turn.example.com:443?transport=tcp",
            ],
            **turn_credentials("north", user="alice", now=clock),
        },
    ]


def test_nothing_given_is_an_empty_list() -> None:
    assert ice_servers() == []


def test_stun_alone_needs_no_secret_and_carries_no_credentials() -> None:
    assert ice_servers(stun=["a.example", "stuns:b.example:5349"]) == [
        {"urls": ["stun:a.example", "stuns:b.example:5349"]}
    ]


@pytest.mark.parametrize(
    ("item", "urls"),
    [
        ("turn:192.0.2.7", ["turn:192.0.2.7?transport=udp", "turn:192.0.2.7?transport=tcp"]),
        ("[2001:db8::1]:3478?transport=udp", ["turn:[2001:db8::1]:3478?transport=udp"]),
        ("TURN:t.example?transport=TCP", ["turn:t.example?transport=tcp"]),
        ("turns:t.example", ["turns:t.example?transport=tcp"]),
        ("turns:t.example:5349?transport=tcp", ["turns:t.example:5349?transport=tcp"]),
    ],
)
def test_a_turn_server_becomes_the_urls_of_its_transports(item: str, urls: list[str]) -> None:
    (server,) = ice_servers(turn=item, secret="north")
    assert server["urls"] == urls


@pytest.mark.parametrize(
    "item",
    [
        "",
        "turn://t.example",
        "https://t.example",
        "t.example/path",
        "t.example:port",
        "t.example:",
        "2001:db8::1",
        "t example",
        "-t.example",
        "t.example?transport=sctp",
        "t.example\n",
    ],
)
def test_what_is_no_turn_server_is_refused_with_an_example(item: str) -> None:
    with pytest.raises(ValueError, match=r"write it like turn\.example\.com"):
        ice_servers(turn=item, secret="north")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"turn": "t.example"}, "need secret="),
        ({"secret": "north"}, "name them in turn="),
        ({"turn": "stun:t.example", "secret": "north"}, "move it to the other list"),
        ({"stun": "turn:t.example"}, "move it to the other list"),
        ({"stun": "s.example?transport=udp"}, r"takes no \?transport="),
        ({"turn": "turns:t.example?transport=udp", "secret": "north"}, "TLS over TCP"),
        ({"turn": "t.example:0", "secret": "north"}, "1 to 65535"),
        ({"stun": "s.example:65536"}, "1 to 65535"),
        ({"stun": "[::g]"}, "write it like"),
        ({"stun": "[1:2]"}, "no valid IPv6 address"),
        ({"stun": [7]}, "hosts as strings"),
        ({"turn": "t.example", "secret": ""}, "static-auth-secret"),
    ],
)
def test_misuse_is_refused_and_the_message_names_the_fix(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ice_servers(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["stun", "turn"])
def test_an_ice_server_as_a_browser_has_it_is_no_host(name: str) -> None:
    given: dict[str, Any] = {name: {"urls": f"{name}:a.example"}}
    with pytest.raises(OptionError, match=f"{name} takes hosts, .*: give what its 'urls' has"):
        ice_servers(secret="x" * 16, **given)
