"""Limits on one client: attachments, message rate, connections by address.

Pure: the clock is an argument.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from .errors import ProtocolError

__all__ = ["Addresses", "Rate", "announced_attachments", "check_attachments", "client_address"]

PATIENCE = 10  # seconds without a break that a sender may be over its rate before it is closed
STEP = 0.1  # seconds of allowance to regain in one pause
CALM = 1.0  # seconds between two pauses that count as a break


def announced_attachments(text: str) -> int:
    """The number of attachments that the text of a Socket.IO packet announces; 0 for none.

    Raises `ProtocolError` for an invalid number: Socket.IO protocol v5, "Packet encoding".
    """
    if text[:1] not in ("5", "6"):
        return 0
    number, dash, _ = text[1:13].partition("-")
    if not dash or not number.isascii() or not number.isdigit():
        raise ProtocolError("attachments")
    return int(number)


def check_attachments(number: int, bound: int | None) -> None:
    """Raises `ProtocolError` when ``number`` is over ``bound``; `None` is no bound."""
    if bound is not None and number > bound:
        raise ProtocolError("attachments")


class Rate:
    """The message rate of one connection: a token bucket that fills at ``rate`` a second.

    The connection itself counts down its tokens (``left``), and calls `pause` when they are below
    0. Most connections never need this object.
    """

    __slots__ = ("_burst", "_filled_at", "_rate", "_since", "paused_until")

    def __init__(self, rate: float, burst: float, begun_at: float) -> None:
        self._rate = rate
        self._burst = burst
        self._filled_at = begun_at
        #: When the last pause ends.
        self.paused_until = -math.inf
        self._since = begun_at  # since when there was no break between pauses

    def change(self, rate: float, burst: float) -> None:
        """Sets another rate and another burst, from now on."""
        self._rate, self._burst = rate, burst

    def ages(self, now: float) -> tuple[float, float, float]:
        """How long ago it was filled, its last pause ended, and its last break was."""
        return now - self._filled_at, now - self.paused_until, now - self._since

    def restore(self, ages: tuple[float, float, float], now: float) -> None:
        """Goes on as a rate of another process, whose `ages` these are."""
        self._filled_at, self.paused_until, self._since = (now - each for each in ages)

    def pause(self, left: float, now: float) -> tuple[float, float | None]:
        """The tokens left, and the seconds to stop reading: 0 for none, `None`: close it."""
        left = min(self._burst, left + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if left >= 0:
            return left, 0
        if now - self.paused_until > CALM:
            self._since = now
        seconds = STEP - left / self._rate
        self.paused_until = now + seconds
        return left, None if self.paused_until - self._since > PATIENCE else seconds


class Addresses:
    """Connections by address: how many are open, and when those of the last minute began."""

    def __init__(self, per_minute: int | None, at_once: int | None) -> None:
        self._per_minute = per_minute
        self._at_once = at_once
        self._open: dict[str, int] = {}
        self._begun: dict[str, deque[float]] = {}
        #: Whether one of the two bounds is set.
        self.counting = per_minute is not None or at_once is not None

    def admits(self, address: str, now: float) -> bool:
        """Whether one more connection from ``address`` is allowed; if so, it is counted."""
        if self._at_once is not None and self._open.get(address, 0) >= self._at_once:
            return False
        if self._per_minute is not None and not self._in_time(address, now, self._per_minute):
            return False
        self._open[address] = self._open.get(address, 0) + 1
        return True

    def _in_time(self, address: str, now: float, bound: int) -> bool:
        begun = self._begun.setdefault(address, deque())
        while begun and begun[0] <= now - 60:
            begun.popleft()
        if len(begun) >= bound:
            return False
        begun.append(now)
        if len(self._begun) > 10_000:  # many connected only once
            lately = now - 60
            self._begun = {ip: times for ip, times in self._begun.items() if times[-1] > lately}
        return True

    def moved_here(self, address: str) -> None:
        """Counts a connection that another process has admitted."""
        self._open[address] = self._open.get(address, 0) + 1

    def gone(self, address: str) -> None:
        """One connection from ``address`` is closed."""
        left = self._open.get(address, 0) - 1
        if left > 0:
            self._open[address] = left
        else:
            self._open.pop(address, None)


def client_address(environ: Mapping[str, Any], trusted_proxies: int) -> str:
    """The address that a request came from.

    With trusted proxies: the entry of ``X-Forwarded-For`` that the outermost proxy appended. The
    client may have written the entries before it. With fewer entries than proxies: the peer's.
    """
    peer = str(environ.get("REMOTE_ADDR", ""))
    if trusted_proxies:
        # From the right, so that entries of the client do not count.
        entries = environ.get("HTTP_X_FORWARDED_FOR", "").rsplit(",", trusted_proxies)
        if len(entries) >= trusted_proxies and entries[-trusted_proxies].strip():
            return str(entries[-trusted_proxies].strip())
    return peer
