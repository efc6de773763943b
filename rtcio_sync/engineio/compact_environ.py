"""Keeps the environ of a connection in little memory.

It is kept as long as the connection lives, for the app's handlers, and would be half of the memory
of an idle one. Most clients send the same fields, and many the same values. So the names of the
fields are stored once for all connections with the same fields (CPython's key-sharing dicts, PEP
412; an environ is a plain dict all the same), and usual values once for all connections.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..transport.ports import Environ

__all__ = ["compact"]

MOST_FIELDS = 29  # in an environ whose names are shared; CPython shares no more
MOST_PLANS = 100  # sets of names that are remembered: clients can invent any number
LONGEST_NAMES = 2000  # characters of such a set
MOST_VALUES = 1000  # that are shared
LONGEST = 256  # characters of a value that is shared

# Fields whose values many clients have in common. A cookie or a token is none of them: it is kept
# by its own connection only, and goes with it.
_COMMON = frozenset(
    (
        *("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "CONTENT_TYPE", "CONTENT_LENGTH"),
        *("SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "SERVER_SOFTWARE", "GATEWAY_INTERFACE"),
        *("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST", "HTTP_ORIGIN", "HTTP_USER_AGENT"),
        *("HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING", "HTTP_ACCEPT_LANGUAGE", "HTTP_CACHE_CONTROL"),
        *("HTTP_PRAGMA", "HTTP_DNT", "HTTP_PRIORITY", "HTTP_SEC_GPC", "HTTP_SEC_FETCH_DEST"),
        *("HTTP_SEC_FETCH_MODE", "HTTP_SEC_FETCH_SITE", "HTTP_SEC_CH_UA", "HTTP_SEC_CH_UA_MOBILE"),
        *("HTTP_SEC_CH_UA_PLATFORM", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT"),
        *("HTTP_X_FORWARDED_PROTO", "HTTP_X_SCHEME"),
    )
)
# Fields with a query. That of a client that connects with a WebSocket at once is shared; any other
# may have a token in it.
_WITH_QUERY = frozenset({"QUERY_STRING", "RAW_URI", "REQUEST_URI"})
_QUERY = "EIO=4&transport=websocket"


class Plan(NamedTuple):
    """How to keep an environ with certain names."""

    #: A dict with the names that are kept. Its copies share them, until one gets a further name.
    template: Environ
    #: Those whose values are shared, those with a query, and those whose values are not shared.
    common: tuple[str, ...]
    queries: tuple[str, ...]
    own: tuple[str, ...]


class _Values(dict[object, object]):
    """Values that several connections have in common, each by itself."""

    def __missing__(self, value: object) -> object:
        if type(value) is str and len(value) <= LONGEST:
            if len(self) >= MOST_VALUES:
                self.clear()
            self[value] = value
        return value


_plans: dict[tuple[str, ...], Plan] = {}
_values = _Values()


def compact(environ: Environ, keeps: Callable[[str], bool]) -> Environ:
    """A copy of ``environ`` that takes little memory, with the names that ``keeps`` accepts.

    ``keeps`` has to be the same in every call, as its answers are remembered.
    """
    names = tuple(environ)
    plan = _plans.get(names) or _plan(names, keeps)
    kept = plan.template.copy()
    for name in plan.common:
        kept[name] = _values[environ[name]]
    for name in plan.queries:
        value = environ[name]
        kept[name] = _values[value] if value.rpartition("?")[2] == _QUERY else value
    for name in plan.own:
        kept[name] = environ[name]
    return kept


def _plan(names: tuple[str, ...], keeps: Callable[[str], bool]) -> Plan:
    kept = tuple(filter(keeps, names))
    plan = Plan(
        dict.fromkeys(kept),
        tuple(name for name in kept if name in _COMMON),
        tuple(name for name in kept if name in _WITH_QUERY),
        tuple(name for name in kept if name not in _COMMON and name not in _WITH_QUERY),
    )
    if len(kept) <= MOST_FIELDS:
        fields = type("Fields", (), {})()
        for name in kept:
            setattr(fields, name, None)
        plan = plan._replace(template=vars(fields))
    if sum(map(len, names)) <= LONGEST_NAMES:
        if len(_plans) >= MOST_PLANS:
            _plans.clear()
        _plans[names] = plan
    return plan
