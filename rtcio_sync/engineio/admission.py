"""Decides who may connect: allowed origins, the number in all, the number from one address.

Replaced of python-engineio's private names, asserted in ``tests/test_upstream.py``:
``Server._cors_allowed_origins``: it takes regular expressions, and reads how many arguments a
callable takes.
"""

from __future__ import annotations

import inspect
import logging
import re
import resource
from collections.abc import Callable
from typing import Any

import engineio

from ..config.origins import same_site
from ..errors import Refused
from ..hub import interrupts
from ..limits import Addresses, client_address
from ..logs import about, plain
from ..metrics import Counters
from ..options import Limits
from ..transport.base import Environ, Gate
from .heartbeat import Heartbeat
from .requests import bad
from .seats import Seated, Seats
from .socket import Socket

__all__ = ["Admission"]

log = logging.getLogger(__name__)

RESERVED_DESCRIPTORS = 128  # for the app's own files: databases, logs, listening sockets
RESTING_AT_LEAST = 1_000  # polling sessions that may be between two polls, at any capacity


class Admission(engineio.Server):
    """The part of the Engine.IO server that admits a request or refuses it. # greenlet"""

    heartbeat: Heartbeat
    gate: Gate
    sockets: dict[str, Socket]

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
        super().__init__(**options)
        self.limits = limits
        self.counters = counters
        self.max_connections = max_connections
        self.max_polling_sessions = max_polling_sessions
        self.seats = Seats(self._evict)
        self.trusted_proxies = trusted_proxies
        self.addresses = Addresses(limits.connects_per_minute_per_ip, limits.sockets_per_ip)
        rule = self.cors_allowed_origins
        self._warned_of_origins = False
        self._refused = _Refusals()
        self._rule_takes_environ = callable(rule) and takes_two(rule)

    # -- origins ---------------------------------------------------------------------------------

    def _origin_allowed(self, environ: Environ) -> bool:
        # RFC 6455 10.2: browsers send the origin, and the server has to check it.
        origin = environ.get("HTTP_ORIGIN")
        if not origin or self.cors_allowed_origins == []:
            return True
        allowed = self._cors_allowed_origins(environ)
        if allowed is None and self.cors_credentials and "HTTP_COOKIE" in environ:
            self._warn_of_any_origin()
        return allowed is None or origin in allowed

    def _check_origin(self, environ: Environ) -> None:
        """Raises `Refused` for a page that may not connect. The log and the answer say why."""
        if self._origin_allowed(environ):
            return
        origin = plain(environ.get("HTTP_ORIGIN"))
        more = self._refused.to_tell(origin, self.heartbeat.now())
        if more is not None:
            fields = about(origin=environ.get("HTTP_ORIGIN"))
            log.warning(
                "a page of %(rtcio_origin)s may not connect: %(why)s%(more)s",
                {**fields, "why": self._why_not(environ), "more": more},
                extra=fields,
            )
        refused = bad(4)
        refused.body["message"] = (
            f"Forbidden: the origin {origin} is not allowed; allow it with cors_allowed_origins"
        )
        raise refused

    def _why_not(self, environ: Environ) -> str:
        rule = self.cors_allowed_origins
        if callable(rule):
            return "the function cors_allowed_origins does not allow it"
        if rule is None:
            own = plain(" or ".join(self._cors_allowed_origins(environ)))
            return (
                f"the server's own origin is {own or 'unknown'}; to allow another, name it in "
                "cors_allowed_origins (--allowed-origins), or have the proxy forward Host and "
                "X-Forwarded-Proto"
            )
        return "to allow it, add it to cors_allowed_origins (--allowed-origins)"

    def _warn_of_any_origin(self) -> None:
        if not self._warned_of_origins:
            self._warned_of_origins = True
            log.warning(
                "cors_allowed_origins='*' and a request with cookies: pages of any site may "
                "connect in the name of your logged-in users; name the origins that may connect, "
                "or authenticate with a token instead of cookies"
            )

    def _cors_allowed_origins(self, environ: Environ) -> Any:
        rule = self.cors_allowed_origins
        origin = environ.get("HTTP_ORIGIN", "")
        if rule is None:
            if not origin or origin == f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST')}":
                return [origin]  # no origin, or the server's own: most requests end here
            # Host may name the scheme's default port, which browsers leave out of the origin.
            own = [same_site(each) for each in super()._cors_allowed_origins(environ)]
            own = list(dict.fromkeys(own))
            return [*own, origin] if origin not in own and same_site(origin) in own else own
        if callable(rule):
            if not origin:
                return []
            given = (origin, environ) if self._rule_takes_environ else (origin,)
            return [origin] if self._allows(rule, *given) else []
        several = rule if isinstance(rule, (list, tuple, set, frozenset)) else [rule]
        if any(isinstance(each, re.Pattern) for each in several):
            plain = [each for each in several if isinstance(each, str)]
            if "*" in plain:
                return None
            matched = any(
                isinstance(each, re.Pattern) and each.fullmatch(origin) for each in several
            )
            return [*plain, origin] if matched else plain
        return super()._cors_allowed_origins(environ)

    def _allows(self, rule: Callable[..., Any], *given: Any) -> bool:
        """Calls the app's rule. An `Exception` passes to the WSGI server, as in a view.

        Any other exception would end the request's greenlet or the process: it is logged, and the
        origin is refused.
        """
        try:
            return bool(rule(*given))
        except Exception:
            raise
        except BaseException as error:
            self.counters.handler_errors += 1
            log.exception("the callable in cors_allowed_origins raised")
            interrupts.heed(error)
            return False

    # -- numbers ---------------------------------------------------------------------------------

    def _capacity(self) -> int:
        if self.max_connections is None:
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            self.max_connections = max(1, min(soft, 1 << 30) - RESERVED_DESCRIPTORS)
        return self.max_connections

    def holds(self, socket: Seated) -> None:
        """The session has one descriptor more than before. # hub or greenlet"""
        with self.gate:
            self.seats.take(socket)

    def rests(self, socket: Seated) -> None:
        """The session has one descriptor less than before. # hub or greenlet"""
        with self.gate:
            if self.sockets.get(socket.sid) is socket:
                self.seats.give(socket, self._resting_bound())
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

    def _resting_bound(self) -> int:
        """Polling sessions that may hold no descriptor, between two polls."""
        if self.max_polling_sessions is None:
            self.max_polling_sessions = max(RESTING_AT_LEAST, self._capacity())
        return self.max_polling_sessions

    def idle_bound(self) -> int:
        """HTTP connections that may wait for a request: descriptors that sessions do not hold."""
        return self._capacity() - self.seats.taken

    def _full(self) -> Refused:
        self.counters.closed["over-capacity"] += 1
        return Refused("503 SERVICE UNAVAILABLE", 3, "Too many connections")

    def _may_hold_more(self) -> None:
        """Raises `Refused` when no session may open another poll or WebSocket."""
        # Admitted sessions may exceed the number a little: while they are between two polls, others
        # take their descriptors.
        if self.seats.taken >= self._capacity() + RESERVED_DESCRIPTORS // 2:
            raise self._full()

    def _count_address(self, socket: Socket, environ: Environ) -> None:
        if not self.addresses.counting:
            return
        address = client_address(environ, 0)
        if not self.addresses.admits(address, self.heartbeat.now()):
            self.counters.closed["address"] += 1
            raise Refused("429 TOO MANY REQUESTS", 3, "Too many connections from this address")
        socket.address = address


class _Refusals:
    """Which refused origins to log: each once a minute, and at most `MOST`, to keep the log short.

    A refused origin is usually the app's own page, named wrongly, but any page may send one.
    """

    EVERY = 60  # seconds
    MOST = 10  # origins in that time

    def __init__(self) -> None:
        self._since: float | None = None
        self._told: set[str] = set()
        self._untold = 0

    def to_tell(self, origin: str, now: float) -> str | None:
        """What to add to the line about those that were not logged; `None`: log nothing."""
        if self._since is None or now - self._since >= self.EVERY:
            more, self._untold = self._untold, 0
            self._since, self._told = now, {origin}
            return f" (and {more} more requests since the last such line)" if more else ""
        if origin in self._told or len(self._told) >= self.MOST:
            self._untold += 1
            return None
        self._told.add(origin)
        return ""


def takes_two(fn: Callable[..., Any]) -> bool:
    """Whether ``fn`` can be called with two arguments, by its signature."""
    try:
        inspect.signature(fn).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # some built-ins have no signature
        return True
    return True
