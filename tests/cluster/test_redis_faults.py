"""What the log says about a Redis that refuses or does not answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
import redis

from rtcio_sync.cluster.redis_addresses import door
from rtcio_sync.cluster.redis_faults import LATE, REFUSING, Faults, described
from rtcio_sync.errors import OptionError


class Told:
    """The records of one `Faults`, and its clock."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self.caplog = caplog
        self.now = 1000.0
        self.faults = Faults("here:6379", lambda: self.now)

    def look(self, seconds: int, *, away: bool) -> None:
        for _ in range(seconds):
            self.now += 1
            self.faults.look(away=away)

    def said(self) -> list[tuple[str, str]]:
        gevent.sleep(0)
        found = [(each.levelname, each.getMessage()) for each in self.caplog.records]
        self.caplog.clear()
        return found


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[Told]:
    made = Told(caplog)
    yield made
    made.said()  # greenlets say it: what they have not said yet is not the next test's


@pytest.mark.parametrize("way", ["redis://a:1", "redis+sentinel://a:1/m", "redis+cluster://a:1"])
def test_an_option_of_an_address_that_redis_py_does_not_take_is_named(way: str) -> None:
    with pytest.raises(OptionError, match="unexpected keyword argument 'poolsize'"):
        door(f"{way}?poolsize=3")


@pytest.mark.parametrize("way", ["redis://a:1/2", "redis+sentinel://a:1/m/2", "unix:///a.sock"])
def test_an_address_does_not_change_how_replies_are_read(way: str) -> None:
    made: Any = door(f"{way}?protocol=3&decode_responses=True&client_name=b")
    pool = made._pool
    assert pool.connection_kwargs["protocol"] == 2
    assert not pool.connection_kwargs.get("decode_responses")
    assert pool.connection_kwargs["client_name"] == "b"


def test_an_outage_is_told_once_as_a_warning_when_it_lasts_and_its_end(told: Told) -> None:
    told.look(100, away=False)
    assert told.said() == []
    for _ in range(2):
        for _ in range(int(LATE)):
            told.faults.failed(redis.ConnectionError("Error -2 connecting to nowhere:6379."))
            told.look(1, away=True)
        ((level, said),) = told.said()
        assert (level, "no contact to Redis at here:6379" in said) == ("INFO", True)
        told.look(100, away=True)
        ((level, said),) = told.said()
        assert level == "WARNING" and "here:6379 for 10 s (Error -2" in said
        told.look(100, away=False)
        ((level, said),) = told.said()
        assert level == "INFO" and "answers again" in said


def test_a_refusal_is_a_warning_at_once_and_once_a_minute(told: Told) -> None:
    for _ in range(119):
        told.faults.failed(redis.AuthenticationError("invalid username-password pair"))
        told.look(1, away=True)
    first, second = told.said()
    assert first[0] == second[0] == "WARNING"
    assert first[1].endswith(
        "here:6379 refuses what this server needs: invalid username-password pair: "
        "check the user and the password in the address"
    )
    assert "59 more times" in second[1]
    told.faults.refused("NOPERM this user has no permissions")  # another cause
    ((level, said),) = told.said()
    assert level == "WARNING" and "docs/deployment.md" in said
    told.look(int(REFUSING) + 5, away=False)
    ((level, said),) = told.said()
    assert level == "INFO" and "refuses nothing" in said


def test_a_redis_that_refused_and_is_away_then_is_told(told: Told) -> None:
    told.faults.refused("NOPERM")
    told.look(int(LATE) + 1, away=True)
    assert [level for level, _ in told.said()] == ["WARNING", "WARNING"]


def test_a_full_redis_is_told_from_one_that_refuses_something_else(told: Told) -> None:
    told.faults.refused("NOPERM")
    assert (told.faults.refusing, told.faults.full) == (True, False)
    told.faults.refused("OOM command not allowed when used memory > 'maxmemory'.")
    assert told.faults.full
    told.now += REFUSING
    assert (told.faults.refusing, told.faults.full) == (False, False)


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("NOAUTH Authentication required.", "needs a password"),
        ("AUTH <password> called without any password configured for the …", "leave the password"),
        ("DB index is out of range", "choose another number"),
        ("This instance has cluster support disabled", "redis://"),
        ("MOVED 42 10.0.0.1:6379", "redis+cluster://"),
        ("SELECT is not allowed in cluster mode", "redis+cluster://"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "raise maxmemory"),
        ("max number of clients reached", "maxclients"),
        ("unknown command 'SENTINEL', with args beginning with: 'MASTERS'", "Sentinels"),
        ("Protocol Error: b'HTTP/1.1 400 Bad'", "another program"),
    ],
)
def test_a_cause_has_its_fix(text: str, fix: str) -> None:
    assert fix in described(text)


def test_what_is_said_has_no_arguments_and_no_addresses_of_objects() -> None:
    said = described("unknown command 'AUTH', with args beginning with: 'me' 'hunter2'")
    assert "hunter2" not in said and said.startswith("unknown command 'AUTH'")
    for more in ("<redis.client.Redis(<…", "Redis<ConnectionPool<…"):
        assert described(f"No master found for 'a' : {more}") == "No master found for 'a'"
    assert described("ERR no. script: 0a1b, on @user_script:23.") == "ERR no"
    assert len(described("ERR " + "x" * 10_000)) < 300


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("redis://me:hunter2@host:7000/1", "host:7000"),
        ("rediss://:hunter2@host", "host:6379"),
        ("unix://me:hunter2@/run/redis?db=1", "/run/redis"),
        ("redis+cluster://me:hunter2@a:7000,b", "a:7000, b:6379"),
        ("redis+sentinel://me:hunter2@a:7000,b/calls/0", "'calls', as a:7000, b:26379 say"),
    ],
)
def test_an_address_is_named_without_its_password(url: str, where: str) -> None:
    assert door(url).where.endswith(where)
    assert "hunter2" not in door(url).where
