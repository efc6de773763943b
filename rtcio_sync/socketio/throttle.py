"""`throttle`: a middleware for `Socket.use` that bounds how many events a client may send."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from ..config.option_values import is_number
from ..errors import LimitExceeded, OptionError

__all__ = ["check_made", "throttle"]


def throttle(
    per_second: float,
    burst: float | None = None,
    *,
    events: Iterable[str] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Callable[[str, list[Any]], None]:
    """Makes a middleware that drops what a client sends too fast: ``socket.use(throttle(10))``.

    ``per_second``: events a second in the long run. ``burst``: events at once, after a rest;
    `None`: as many as in a second, at least one. ``events``: the names that count; `None`: all,
    relays too. A dropped event reaches no handler and is not acknowledged; handlers of
    ``socket.on("error")`` get a `LimitExceeded`. Make one for each socket: sockets that share one
    share the rate. Raises `OptionError` for a number that is not above 0, and for names that are no
    text.

    `Limits` bounds what a connection may send in general; there a client is slowed down, and loses
    nothing.
    """
    if not is_number(per_second, above=0) or not (
        burst is None or (is_number(burst) and burst >= 1)
    ):
        raise OptionError(
            f"throttle({per_second!r}, {burst!r}): give events a second, above 0, and a burst of "
            "at least 1"
        )
    if not callable(clock):
        raise OptionError(f"clock={clock!r:.100}: give a function of seconds, or leave it out")
    names = None if events is None else _names(events)
    most = max(1.0, per_second) if burst is None else burst
    left, then = most, clock()
    lock = threading.Lock()  # sockets of several threads may share it

    def check(event: str, args: list[Any]) -> None:
        nonlocal left, then
        if names is not None and event not in names:
            return
        with lock:
            now = clock()
            left, then = min(most, left + (now - then) * per_second), now
            if left < 1:
                raise LimitExceeded("throttled", f"over {per_second:g} events a second")
            left -= 1

    return check


def check_made(fn: Any) -> None:
    """Raises `TypeError` for `throttle` itself as a middleware: it would drop each event."""
    if fn is throttle:
        raise TypeError("throttle makes a middleware for events: write socket.use(throttle(10))")


def _names(events: Iterable[str]) -> frozenset[str]:
    several = [events] if isinstance(events, str) else events
    names = list(several) if isinstance(several, Iterable) else [several]
    if not all(isinstance(each, str) for each in names):
        raise OptionError(f"throttle(events={events!r:.80}): give names of events, or None for all")
    return frozenset(names)
