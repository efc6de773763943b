"""The answers to HTTP requests on their way: the rules alone, on a clock that the test moves."""

from __future__ import annotations

import pytest

from rtcio_sync.metrics import Counters
from rtcio_sync.transport.delivery import Deliveries, Delivery
from rtcio_sync.transport.slow_readers import Backlog
from tests.timing import Clock


def test_an_answer_that_cannot_be_cut_is_counted_once() -> None:
    clock, counters = Clock(), Counters()
    backlog = Backlog(None, now=clock.now, later=clock.later)
    deliveries = Deliveries(backlog, counters, now=clock.now, later=clock.later)
    pieces = deliveries.send(b"x" * 200_000, None, {})  # a server whose socket nobody knows
    next(pieces)
    clock.advance(60)
    assert dict(counters.closed) == {"unread": 1}
    pieces.close()
    assert backlog.holdings.cost == 0


def test_a_look_at_an_answer_that_has_just_ended_takes_nothing_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    backlog = Backlog(None, now=clock.now, later=clock.later)
    deliveries = Deliveries(backlog, Counters(), now=clock.now, later=clock.later)

    def looked_at(answer: Delivery) -> bool:
        looks.append(answer)
        if len(looks) == 1:
            deliveries._look()  # another thread's
        return False

    looks: list[Delivery] = []
    monkeypatch.setattr(Delivery, "waits_in_kernel", property(looked_at))
    assert b"".join(deliveries.send(b"x" * 200_000, None, {})) == b"x" * 200_000
    assert len(looks) == 2
    assert backlog.holdings.cost == 0
    assert not deliveries._paces


def test_an_answer_that_the_kernel_has_is_not_kept_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    backlog = Backlog(None, now=clock.now, later=clock.later)
    deliveries = Deliveries(backlog, Counters(), now=clock.now, later=clock.later)
    monkeypatch.setattr(Delivery, "waits_in_kernel", True)
    for _ in deliveries.send(b"x" * 200_000, None, {}):
        pass
    (answer,) = deliveries._paces
    assert not answer.body
