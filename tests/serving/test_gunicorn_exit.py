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
