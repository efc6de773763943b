"""Log records without secrets: ids cut short, text of clients escaped and cut.

Whoever knows a session id can use the session, so no record holds a whole id. Text that a client
chose (names of events, rooms and namespaces, its origin) is escaped and cut, so that it cannot
forge a line or a terminal's colours. Messages, with their descriptions, candidates and tokens, are
never logged.
"""

from __future__ import annotations

import logging
import math
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

__all__ = [
    "Fields",
    "OwnLevel",
    "Seldom",
    "UpstreamLogger",
    "about",
    "brief",
    "harmless",
    "plain",
    "tell",
]

LONGEST = 100  # characters of a client's text
SHOWN = 6  # characters of an id: enough to find its other lines

#: Ids of python-engineio, which also makes ours.
_ID = re.compile(r"[\w-]{20}", re.ASCII)


class Fields(dict[str, str]):
    """The fields of one record; an unknown one reads as ``-`` in the message."""

    def __missing__(self, name: str) -> str:
        return "-"


def about(
    *,
    sid: Any = None,
    connection: Any = None,
    namespace: Any = None,
    event: Any = None,
    reason: Any = None,
    address: Any = None,
    origin: Any = None,
    transport: Any = None,
) -> Fields:
    """The fields of a record, for ``extra``: those that were given, cut and escaped.

    Their names begin with ``rtcio_``, because a record has names of its own and an app's record
    factory may add more. ``sid`` is a socket's id, ``connection`` the id of its Engine.IO
    connection.
    """
    fields = {"rtcio_sid": brief(sid), "rtcio_connection": brief(connection)}
    fields |= {
        "rtcio_namespace": plain(namespace),
        "rtcio_event": plain(event),
        "rtcio_reason": plain(reason),
        "rtcio_address": plain(address),
        "rtcio_origin": plain(origin),
        "rtcio_transport": plain(transport),
    }
    return Fields((name, value) for name, value in fields.items() if value)


def tell(
    log: logging.Logger,
    message: str,
    *,
    spawn: Callable[[Callable[[], None]], Any] | None = None,
    **known: Any,
) -> None:
    """Logs at debug level, with the fields that `about` makes of ``known``.

    ``message`` may use them: ``%(rtcio_reason)s``. ``spawn`` runs a function in another greenlet.
    Callers that may be in the hub give it, because the hub must not wait for a log handler's lock.
    """
    if log.isEnabledFor(logging.DEBUG):
        fields = about(**known)
        # A mapping fills the names in the message; `logging` takes an empty one for a value.
        said = fields or {"": ""}
        say = partial(log.debug, message, said, extra=fields, stacklevel=2)  # our caller's line
        if spawn is not None:
            spawn(say)
            return
        with harmless():
            say()


@contextmanager
def harmless() -> Iterator[None]:
    """Prints what an app's own log handler or filter raises inside of it, as `logging` does."""
    try:
        yield
    except Exception:  # noqa: BLE001  (the app's)
        if logging.raiseExceptions:
            traceback.print_exc()


class Seldom:
    """A line that is logged once a minute at most, with the number of lines left out."""

    EVERY = 60.0  # seconds

    def __init__(self) -> None:
        self._last = -math.inf
        self._untold = 0

    def more(self, now: float) -> str | None:
        """`None`: do not log now. Else the end of the line: how many were left out before it."""
        if now - self._last < self.EVERY:
            self._untold += 1
            return None
        untold, self._untold = self._untold, 0
        self._last = now
        times = "once more" if untold == 1 else f"{untold} more times"
        return f" (and {times} since the last such line)" if untold else ""


def brief(id: Any) -> str:
    """The beginning of an id; empty for `None`."""
    return "" if id is None else f"{plain(id)[:SHOWN]}..."


def plain(words: Any) -> str:
    """The text of somebody else, on one line of printable ASCII, cut to `LONGEST` characters.

    For a value that is not a string, only its type: a client may send any value as a name.
    """
    if words is None:
        return ""
    if not isinstance(words, str):
        return f"<{type(words).__name__}>"
    text = ascii(words[:LONGEST])[1:-1]
    return text if len(words) <= LONGEST and len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


class OwnLevel(logging.Logger):
    """A logger with a level of its own that hands all records to a shared logger.

    Two servers share a logger by its name; ``logger=True`` of one must not change the other's
    level. A level that the app sets on the shared logger takes precedence.
    """

    def __init__(self, shared: logging.Logger, level: int) -> None:
        super().__init__(shared.name, level)
        self.shared = shared

    def getEffectiveLevel(self) -> int:
        return self.shared.level or self.level

    def isEnabledFor(self, level: int) -> bool:
        shared = self.shared  # called at each emit: the most likely answer goes first
        if level < (shared.level or self.level):
            return False
        return not shared.disabled and self.manager.disable < level

    def handle(self, record: logging.LogRecord) -> None:
        self.shared.handle(record)  # with its filters and handlers, and its parents'


class UpstreamLogger:
    """The logger for python-socketio and python-engineio: it cuts and escapes their values.

    They put whole ids, the names of rooms and whole packets into their messages. ``logger`` gets
    the same messages without these. Everything else of it stays as it is.
    """

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        # Asked first: upstream logs every packet, and mostly nobody listens.
        self._hears: Callable[[int], bool] = getattr(logger, "isEnabledFor", lambda level: True)

    def debug(self, message: Any, *args: Any, **options: Any) -> None:
        if self._hears(logging.DEBUG):
            self._say("debug", message, args, options)

    def info(self, message: Any, *args: Any, **options: Any) -> None:
        if self._hears(logging.INFO):
            self._say("info", message, args, options)

    def warning(self, message: Any, *args: Any, **options: Any) -> None:
        self._say("warning", message, args, options)

    def error(self, message: Any, *args: Any, **options: Any) -> None:
        self._say("error", message, args, options)

    def exception(self, message: Any, *args: Any, **options: Any) -> None:
        self._say("exception", message, args, options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.logger, name)

    def _say(self, level: str, message: Any, args: tuple[Any, ...], options: Any) -> None:
        if isinstance(self.logger, (logging.Logger, logging.LoggerAdapter)):
            options.setdefault("stacklevel", 3)  # the line that called us, not this one
        if not args:
            message = plain(message)
        harmless = [_harmless(each) for each in args]
        if args and str(message).endswith(" data %s"):
            harmless[-1] = f"of {_size(args[-1])}"
        getattr(self.logger, level)(message, *harmless, **options)


def _harmless(value: Any) -> Any:
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ", ".join(str(_harmless(each)) for each in list(value)[:10]) + "]"
    if isinstance(value, str):
        return brief(value) if _ID.fullmatch(value) else plain(value)
    return plain(value)


def _size(data: Any) -> str:
    return f"{len(data)} characters" if isinstance(data, (str, bytes)) else plain(data) or "nothing"
