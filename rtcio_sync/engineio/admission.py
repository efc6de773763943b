"""Decides who may connect: the number of connections in all, and from one address."""

from __future__ import annotations

import resource
from functools import cached_property
from typing import Any

from ..client_limits import Addresses, client_address
from ..errors import Refused
from ..metrics import Counters
from ..options import Limits
from ..transport.ports import Environ, Gate
from ..transport.slow_readers import Backlog
from .compact_environ import compact
from .cors import Cors
from .descriptors import Seated, Seats
from .http_requests import MOST_KEPT, is_kept
from .socket import Socket

__all__ = ["Admission"]

RESERVED_DESCRIPTORS = 128  # for the app's own files: databases, logs, listening sockets
CLOSING_SPARE = 32  # WebSockets that may be closing, however full the server is
RESTING_AT_LEAST = 1_000  # polling sessions that may be between two polls, at any capacity


class Admission(Cors):
    """The part of the Engine.IO server that admits a request or refuses it. # greenlet"""

    gate: Gate
    sockets: dict[str, Socket]
    backlog: Backlog

    def __init__(
        self,
        *,
        limits: Limits,
        counters: Counters,
        max_connections: int | None = None,
        max_polling_sessions: int | None = None,
        trusted_proxies: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(counters=counters, **options)
        self.limits = limits
        if max_connections is not None:
            self.max_connections = max_connections
        if max_polling_sessions is not None:
            self.max_polling_sessions = max_polling_sessions
        self.seats = Seats(self._evict)
        self.trusted_proxies = trusted_proxies
        self.addresses = Addresses(limits.connects_per_minute_per_ip, limits.sockets_per_ip)

    @cached_property
    def max_connections(self) -> int:
        """Descriptors that sessions may hold; without a number nearly all of the process."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return max(1, min(soft, 1 << 30) - RESERVED_DESCRIPTORS)

    @cached_property
    def max_polling_sessions(self) -> int:
        """Polling sessions that may hold no descriptor, between two polls."""
        return max(RESTING_AT_LEAST, self.max_connections)

    def holds(self, socket: Seated) -> None:
        """The session has one descriptor more than before. # hub or greenlet"""
        with self.gate:
            self.seats.take(socket)

    def rests(self, socket: Seated) -> None:
        """The session has one descriptor less than before. # hub or greenlet"""
        with self.gate:
            if self.sockets.get(socket.sid) is socket:
                self.seats.give(socket, self.max_polling_sessions)
            else:
                self.seats.forget(socket)

    def touches(self, socket: Seated) -> None:
        """The session had a poll that did not wait. # greenlet"""
        with self.gate:
            self.seats.touch(socket)

    def forget(self, socket: Seated) -> None:
        """The session is over, and nothing more will be sent to its client. # hub or greenlet"""
        with self.gate:
            self.sockets.pop(socket.sid, None)
            self.seats.forget(socket)

    def _evict(self, socket: Seated) -> None:
        socket.fail("idle-session", "transport close")
        self.forget(socket)

    def lend(self) -> None:
        """Counts a request that another host answers: two descriptors. # greenlet

        Raises `Refused` when there are too many connections.
        """
        with self.gate:
            if self.seats.taken >= self.max_connections:
                raise self._full()
            self.seats.taken += 2

    def give_back(self, descriptors: int) -> None:
        """So many descriptors of such requests are closed. # hub or greenlet"""
        with self.gate:
            self.seats.taken -= descriptors

    def closing_bound(self) -> int:
        """WebSockets that may be closing: descriptors that sessions do not hold."""
        return CLOSING_SPARE + max(0, self.max_connections - self.seats.taken)

    def idle_bound(self) -> int:
        """HTTP connections that may wait for a request: the descriptors that are left then."""
        return self.max_connections - self.seats.taken - len(self.backlog.closing)

    def _full(self) -> Refused:
        self.counters.closed["over-capacity"] += 1
        return Refused("503 SERVICE UNAVAILABLE", 3, "Too many connections")

    def _may_hold_more(self) -> None:
        """Raises `Refused` when no session may open another poll or WebSocket."""
        # Admitted sessions may exceed the number a little: while they are between two polls, others
        # take their descriptors.
        if self.seats.taken >= self.max_connections + RESERVED_DESCRIPTORS // 2:
            raise self._full()

    def _kept(self, environ: Environ) -> Environ:
        """What is kept of a session's first request. Raises `Refused` if that is too much."""
        kept = compact(environ, is_kept)
        size = 0
        for key, each in kept.items():
            if type(each) is str:
                size += len(key) + len(each)
        if size > MOST_KEPT:
            self.counters.closed["headers"] += 1
            status = "431 REQUEST HEADER FIELDS TOO LARGE"
            raise Refused(status, 3, "Request header fields too large")
        if self.trusted_proxies:
            kept["REMOTE_ADDR"] = client_address(environ, self.trusted_proxies)
        return kept

    def _count_address(self, socket: Socket, environ: Environ) -> None:
        address = client_address(environ, 0)
        with self.gate:
            admitted = self.addresses.admits(address, self.heartbeat.now())
        if not admitted:
            self.counters.closed["address"] += 1
            raise Refused("429 TOO MANY REQUESTS", 3, "Too many connections from this address")
        socket.address = address
