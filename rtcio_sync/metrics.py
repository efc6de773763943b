"""Plain counters without locks: the serving thread writes them, any thread may read them.

Under ``async_mode="threading"`` all threads write them. An addition is one step of the interpreter,
in which no other thread runs, as long as what is added was computed before.

For a message, counting is one addition to a slot. Sums, labels and gauges are made when somebody
asks (`Server.stats`, `prometheus`).
"""

from __future__ import annotations

from collections import defaultdict, deque

__all__ = ["Counters", "Lag"]


class Counters:
    """The counters of one server, since it was made."""

    __slots__ = (
        "arrivals",
        "closed",
        "connects",
        "disconnects",
        "dropped",
        "handler_errors",
        "handler_seconds",
        "handlers",
        "moves",
        "reasons",
        "recoveries",
        "relayed",
        "relayed_bytes",
    )

    def __init__(self) -> None:
        #: Envelopes handed to their target's transport, or to the client manager.
        self.relayed = 0
        #: The bytes of their packets.
        self.relayed_bytes = 0
        #: Sockets that joined a namespace, including those that came back to a session.
        self.connects = 0
        #: Sockets that left a namespace.
        self.disconnects = 0
        #: The same by reason (`events.DisconnectReason`).
        self.reasons: defaultdict[str, int] = defaultdict(int)
        #: Sockets that came from another worker with their connection, and that went to one.
        self.arrivals = 0
        self.moves = 0
        #: Sockets that came back to their session.
        self.recoveries = 0
        #: Events with handlers of the app, the seconds that these took, and their exceptions.
        self.handlers = 0
        self.handler_seconds = 0.0
        self.handler_errors = 0
        #: Messages dropped, by reason (`envelope.Drop`, and the names of limits).
        self.dropped: defaultdict[str, int] = defaultdict(int)
        #: Connections closed and requests refused by the server because of a client, by reason.
        self.closed: defaultdict[str, int] = defaultdict(int)


class Lag:
    """Recent event-loop delay; every client waits at least that long."""

    WINDOW = 15  # seconds that a delay is remembered

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def note(self, now: float, late: float) -> None:
        """Notes that the loop ran a timer at ``now``, ``late`` seconds after it was due."""
        self._seen.append((now, max(0.0, late)))
        while self._seen[0][0] < now - self.WINDOW:
            self._seen.popleft()

    def worst(self, now: float) -> float:
        """The longest delay of the last `WINDOW` seconds; 0 without any note in them."""
        seen = list(self._seen)  # any thread may ask while the serving thread notes one
        return max((late for at, late in seen if at >= now - self.WINDOW), default=0.0)
