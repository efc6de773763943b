"""Plain counters. One writer's side counts, anyone may read; nothing is locked.

What is counted on the way of a message is one addition to a slot; sums, labels and gauges are made
when somebody asks (`Server.stats`, `prometheus`).
"""

from __future__ import annotations

from collections import defaultdict, deque

__all__ = ["Counters", "Lag"]


class Counters:
    """What a server has counted since it was made."""

    __slots__ = (
        "closed",
        "connects",
        "disconnects",
        "dropped",
        "handler_errors",
        "handler_seconds",
        "handlers",
        "reasons",
        "recoveries",
        "relayed",
        "relayed_bytes",
    )

    def __init__(self) -> None:
        #: Envelopes that were handed to their target's transport, or to the client manager.
        self.relayed = 0
        #: The bytes of their packets.
        self.relayed_bytes = 0
        #: Sockets that joined a namespace, those that came back to a session included.
        self.connects = 0
        #: Sockets that left a namespace.
        self.disconnects = 0
        #: The same by reason (`events.DisconnectReason`).
        self.reasons: defaultdict[str, int] = defaultdict(int)
        #: Sockets that came back to their session.
        self.recoveries = 0
        #: Events that an app's handlers ran for, the seconds they took, the exceptions they raised.
        self.handlers = 0
        self.handler_seconds = 0.0
        self.handler_errors = 0
        #: Messages dropped, by reason (`envelope.Drop`, and the limits' names).
        self.dropped: defaultdict[str, int] = defaultdict(int)
        #: Transports closed, and requests refused, by this side for what a client did.
        self.closed: defaultdict[str, int] = defaultdict(int)


class Lag:
    """How late a clock was called lately: what every client of the process waits as well."""

    WINDOW = 15  # seconds that a lateness is remembered

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def note(self, now: float, late: float) -> None:
        """The clock was called at ``now``, ``late`` seconds after it was due."""
        self._seen.append((now, max(0.0, late)))
        while self._seen[0][0] < now - self.WINDOW:
            self._seen.popleft()

    def worst(self, now: float) -> float:
        """The worst lateness of the last seconds; 0 when there was no call in them."""
        return max((late for at, late in self._seen if at >= now - self.WINDOW), default=0.0)
