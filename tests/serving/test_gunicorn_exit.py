"""How long a gunicorn worker that leaves waits for the one that follows it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from gevent.event import AsyncResult

from rtcio_sync.serving.gunicorn_exit import Exit
from tests.timing import DEADLINE


@pytest.mark.parametrize(("graceful", "wait"), [(30, 25), (12, 7), (5, 2.5), (1, 0.5), (0, 0)])
def test_a_short_graceful_time_out_leaves_time_for_a_successor(graceful: int, wait: float) -> None:
    waited: AsyncResult[float] = AsyncResult()

    def move_out(seconds: float, must: Callable[[], bool]) -> bool:
        waited.set(seconds)
        return True

    cfg = SimpleNamespace(graceful_timeout=graceful)
    worker = SimpleNamespace(cfg=cfg, alive=True, nr=9, max_requests=10)
    leaving = Exit(worker, move_out, lambda: False, lambda: None)
    before = signal.getsignal(signal.SIGTERM)
    leaving.request()
    assert waited.get(timeout=DEADLINE) == wait
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("workers", "stays"), [(1, False), (2, True)])
def test_a_worker_stays_while_the_others_are_being_replaced(workers: int, stays: bool) -> None:
    cfg = SimpleNamespace(graceful_timeout=30, workers=workers)
    worker = SimpleNamespace(cfg=cfg, alive=True, nr=9, max_requests=10)
    Exit(worker, lambda seconds, must: True, lambda: True, lambda: None).request()
    # gunicorn then counts the request, and has the worker leave at `max_requests`.
    assert (worker.nr + 1 < worker.max_requests) is stays


def test_a_worker_that_stays_alone_leaves_in_the_end() -> None:
    cfg = SimpleNamespace(graceful_timeout=0, workers=2)
    worker = SimpleNamespace(cfg=cfg, alive=True, nr=9, max_requests=10)
    Exit(worker, lambda seconds, must: True, lambda: True, lambda: None).request()
    assert worker.nr + 1 >= worker.max_requests
