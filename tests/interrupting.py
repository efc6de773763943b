"""A signal handler of the app that comes at a moment that a test chooses."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.timing import DEADLINE


def _too_late(*_: Any) -> None:
    raise AssertionError(f"the signal handler did not return within {DEADLINE} s")


@contextmanager
def signal_handler(by: Callable[[], Any]) -> Iterator[Callable[[], None]]:
    """Gives a function that has ``by()`` run in a signal handler, the first time it is called."""
    ran: list[bool] = []

    def interrupt() -> None:
        if not ran:
            ran.append(True)
            signal.raise_signal(signal.SIGUSR1)

    handlers = {signal.SIGUSR1: lambda *_: by(), signal.SIGALRM: _too_late}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    signal.setitimer(signal.ITIMER_REAL, DEADLINE)
    try:
        yield interrupt
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
