"""Options under another name: of Node, of Flask-SocketIO, of an older release, or misspelt."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rtcio_sync.config.option_names import (
    FOREIGN,
    LISTEN,
    METHODS,
    hint_for,
    plain,
    unknown_option,
    without_old,
)
from rtcio_sync.errors import OptionError

KNOWN = ("cors_allowed_origins", "ping_interval", "path", "limits", "max_http_buffer_size")
LIMITS = ("events_per_second", "max_depth")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ping_intervall", "did you mean 'ping_interval'?"),
        ("PingInterval", "did you mean 'ping_interval'? It is in seconds: 25 where Node has 25000"),
        ("pinginterval", "did you mean 'ping_interval'?"),
        ("limit", "did you mean 'limits'?"),
        ("cors", f"write {FOREIGN['cors']}"),
        ("corsOrigins", f"write {FOREIGN['cors']}"),
        ("serveClient", FOREIGN["serveclient"]),
        ("serveCliant", FOREIGN["serveclient"]),
        ("port", FOREIGN["port"]),
        ("maxDepth", "write limits=Limits(max_depth=…)"),
        ("events-per-second", "write limits=Limits(events_per_second=…)"),
        ("event_per_second", "write limits=Limits(events_per_second=…)"),
        ("colour", ""),
    ],
)
def test_what_was_meant_is_named(name: str, hint: str) -> None:
    assert hint_for(name, KNOWN, FOREIGN, LIMITS) == hint


def test_an_unknown_option_is_an_error_that_says_what_to_write() -> None:
    error = unknown_option("Server()", "origins", KNOWN)
    assert isinstance(error, OptionError)
    assert str(error) == f"Server() has no option 'origins'; write {FOREIGN['origins']}"


def test_an_option_that_nobody_can_guess_is_an_error_that_lists_those_that_there_are() -> None:
    error = unknown_option("Server()", "colour", KNOWN)
    assert str(error) == f"Server() has no option 'colour'; it has {', '.join(sorted(KNOWN))}"


def test_spellings_of_one_name_are_the_same() -> None:
    assert plain("pingInterval") == plain("ping_interval") == plain("Ping-Interval")


@pytest.mark.parametrize("table", [FOREIGN, LISTEN], ids=["Server", "listen"])
def test_names_of_others_are_kept_in_the_spelling_that_is_looked_up(table: Any) -> None:
    assert [each for each in table if each != plain(each)] == []


@pytest.mark.parametrize("name", METHODS)
def test_a_method_of_others_is_told_by_what_to_write_or_to_leave_out(name: str) -> None:
    assert re.match(r"write |leave it out: ", METHODS[name])


def test_options_of_an_older_release_are_written_anew_with_a_warning_each() -> None:
    class Manager:
        """A client manager."""

    found, warnings = without_old(
        {
            "binary": True,
            "engineio_options": {"ping_timeout": 7, "path": "/inside"},
            "client_manager_class": Manager,
            "ping_interval_grace_period": 3,
            "path": "/outside",
        }
    )
    manager = found.pop("client_manager")
    assert isinstance(manager, Manager)
    assert found == {"ping_timeout": 7, "path": "/outside", "ping_interval": (10, 3)}
    assert len(warnings) == 4
    assert all(each.startswith("Server(") and "is deprecated" in each for each in warnings)


def test_what_is_given_anew_wins_over_what_is_given_in_the_old_way() -> None:
    given = {"ping_interval": (5, 1), "ping_interval_grace_period": 3}
    assert without_old(given)[0] == {"ping_interval": (5, 1)}
    mine = object()
    given = {"client_manager": mine, "client_manager_class": dict}
    assert without_old(given)[0] == {"client_manager": mine}


def test_options_of_this_release_stay_as_they_are() -> None:
    given = {"path": "/x", "ping_interval": 5}
    assert without_old(given) == (given, [])


@pytest.mark.parametrize("given", [{"engineio_options": 3}, {"client_manager_class": "redis://"}])
def test_what_no_release_took_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(given))):
        without_old(given)
