"""Plain counters. One writer's side counts, anyone may read; nothing is locked."""

from __future__ import annotations

from collections import defaultdict

__all__ = ["Counters"]


class Counters:
    """What a server has counted since it was made."""

    __slots__ = ("closed", "connects", "disconnects", "dropped", "handler_errors", "relayed")

    def __init__(self) -> None:
        #: Envelopes that were handed to their target's transport, or to the client manager.
        self.relayed = 0
        #: Sockets that joined a namespace.
        self.connects = 0
        #: Sockets that left a namespace.
        self.disconnects = 0
        #: Exceptions that an app's handlers raised.
        self.handler_errors = 0
        #: Messages dropped, by reason (`envelope.Drop`).
        self.dropped: defaultdict[str, int] = defaultdict(int)
        #: Transports closed by this side, by reason.
        self.closed: defaultdict[str, int] = defaultdict(int)
