"""Decides which pages may connect, by the origin that their browser sends (`cors_allowed_origins`).

Replaced of python-engineio's private names, asserted in ``tests/test_upstream.py``:
``Server._cors_allowed_origins``: it takes regular expressions, and reads how many arguments a
callable takes.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable
from typing import Any

import engineio

from ..config.origins import same_site
from ..errors import Refused
from ..functions import called
from ..hub import interrupts
from ..logs import about, plain
from ..metrics import Counters
from ..transport.ports import Environ
from .heartbeat import Heartbeat
from .http_requests import bad

__all__ = ["Cors"]

log = logging.getLogger(__name__)


class Cors(engineio.Server):
    """The part of the Engine.IO server that checks origins. # greenlet"""

    heartbeat: Heartbeat

    def __init__(self, *, counters: Counters, **options: Any) -> None:
        super().__init__(**options)
        self.counters = counters
        rule = self.cors_allowed_origins
        self._warned_of_origins = False
        self._refused = _Refusals()
        self._rule_takes_environ = callable(rule) and takes_two(rule)

    def _check_origin(self, environ: Environ) -> None:
        """Raises `Refused` for a page that may not connect. The log and the answer say why."""
        # RFC 6455 10.2: browsers send the origin, and the server has to check it.
        origin = environ.get("HTTP_ORIGIN")
        if not origin or self.cors_allowed_origins == []:
            return
        allowed = self._cors_allowed_origins(environ)
        if allowed is None:
            if self.cors_credentials and "HTTP_COOKIE" in environ:
                self._warn_of_any_origin()
        elif origin not in allowed:
            raise self._forbidden(environ)

    def _forbidden(self, environ: Environ) -> Refused:
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
        return refused

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
                "cors_allowed_origins='*' and a request with cookies: pages of any site can "
                "connect as your logged-in users; name the origins that may connect, or "
                "authenticate with a token instead of cookies"
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
            return bool(called(rule, *given))
        except Exception:
            raise
        except BaseException as error:
            self.counters.handler_errors += 1
            log.exception("the callable in cors_allowed_origins raised")
            interrupts.heed(error)
            return False


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
