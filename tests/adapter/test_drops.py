"""Messages that go nowhere are counted by reason, and told at debug alone."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from rtcio_sync.adapter.drops import Drops
from rtcio_sync.adapter.member import Member
from rtcio_sync.metrics import Counters


def dropping() -> tuple[Drops, Counters]:
    counters = Counters()
    return Drops(counters, lambda fn, *args: fn(*args)), counters


def test_each_drop_is_counted_under_its_reason_and_told_at_debug_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    drop, counters = dropping()
    caplog.set_level(logging.INFO)
    drop("malformed")
    assert caplog.records == []
    caplog.set_level(logging.DEBUG)
    drop("malformed")
    drop("other-room")
    assert dict(counters.dropped) == {"malformed": 2, "other-room": 1}
    assert [each.levelno for each in caplog.records] == [logging.DEBUG] * 2


def test_a_drop_is_told_with_its_sender(caplog: pytest.LogCaptureFixture) -> None:
    drop, _ = dropping()
    caplog.set_level(logging.DEBUG)
    drop("bad-target", Member("sid of the sender", "eio", "/calls"), event="chat")
    (record,) = caplog.records
    told: dict[str, Any] = vars(record)
    assert told["rtcio_reason"] == "bad-target"
    assert told["rtcio_namespace"] == "/calls"
    assert told["rtcio_event"] == "chat"
    assert "bad-target" in record.getMessage()
