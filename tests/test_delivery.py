"""The answers to HTTP requests on their way: the rules alone, on a clock that the test moves."""

from __future__ import annotations

from rtcio_sync.backlog import Backlog
from rtcio_sync.delivery import Deliveries
from rtcio_sync.metrics import Counters
from tests.test_recovery import Clock


def test_an_answer_that_cannot_be_cut_is_counted_once() -> None:
    clock, counters = Clock(), Counters()
    backlog = Backlog(None, now=clock.now, later=clock.later)
    deliveries = Deliveries(backlog, counters, now=clock.now, later=clock.later)
    pieces = deliveries.send(b"x" * 200_000, None, {})  # a server whose socket nobody knows
    next(pieces)
    clock.pass_(60)
    assert dict(counters.closed) == {"unread": 1}
    pieces.close()
    assert backlog.holdings.cost == 0
