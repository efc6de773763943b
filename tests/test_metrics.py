"""Counters: plain numbers, one set for each server."""

from __future__ import annotations

import pytest

from rtcio_sync import Server
from rtcio_sync.metrics import Counters


def test_everything_starts_at_nothing() -> None:
    counters = Counters()
    assert [counters.relayed, counters.connects, counters.disconnects] == [0, 0, 0]
    assert counters.handler_errors == 0
    assert not counters.dropped
    assert not counters.closed


def test_a_reason_needs_no_announcement() -> None:
    counters = Counters()
    counters.dropped["malformed"] += 1
    assert dict(counters.dropped) == {"malformed": 1}


def test_a_misspelt_counter_is_refused() -> None:
    with pytest.raises(AttributeError):
        Counters().relaid = 1  # type: ignore[attr-defined]


def test_each_server_counts_for_itself() -> None:
    one, other = Server(), Server()
    one.test_client().emit("#rtcio:message")
    assert one.stats()["dropped"] == {"malformed": 1}
    assert other.stats()["dropped"] == {}
    assert other.stats()["connects"] == 0


def test_stats_tell_what_is_and_what_was() -> None:
    server = Server()
    a, b = server.test_client(), server.test_client()
    server.enter_room(a.sid, "tea")
    server.enter_room(b.sid, "tea")
    a.emit("#rtcio:message", {"source": a.sid, "target": b.sid, "data": 1})
    b.disconnect()
    stats = server.stats()
    assert stats == {
        "connected": 1,
        "connections": 1,
        "rooms": 1,
        "connects": 2,
        "disconnects": 1,
        "relayed": 1,
        "dropped": {},
        "closed": {},
        "handler_errors": 0,
    }


def test_stats_are_a_copy() -> None:
    server = Server()
    server.stats()["dropped"]["mine"] = 1
    assert server.stats()["dropped"] == {}
