"""The option ``connection_state_recovery``."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from ..config.option_values import is_number
from ..errors import OptionError
from ..warned import warn_of_milliseconds

__all__ = ["RecoveryOptions"]


@dataclass(frozen=True)
class RecoveryOptions:
    """``Server(connection_state_recovery={…})``; `True` means the defaults."""

    #: Seconds that a session waits for its client.
    max_disconnection_duration: float = 120
    #: Whether a returning client skips ``use`` and python-socketio's ``connect`` handlers.
    skip_middlewares: bool = True
    #: Bytes of events that one session keeps. Over it the oldest are dropped, and a client that
    #: would need them gets a new session.
    max_recovery_bytes: int = 1_000_000
    #: Bytes of memory of the events of all sessions; an event that several keep counts once. Over
    #: it the oldest are dropped. At most half of it is for data that clients which are away have
    #: sent (headers, ``auth``, names of rooms): over it, the sessions that have been away the
    #: longest end. `None`: no bound.
    max_recovery_total: int | None = 64_000_000

    @classmethod
    def of(cls, given: Any) -> RecoveryOptions | None:
        """The options; `None` if recovery is off. Raises `OptionError` for invalid values."""
        if given is None or given is False:
            return None
        if given is True:
            return cls()
        if isinstance(given, cls):
            return given
        names = {each.name for each in fields(cls)}
        if not isinstance(given, dict) or not set(given) <= names:
            raise OptionError(
                f"connection_state_recovery: give True, False or a dict of {sorted(names)}; "
                "durations are in seconds"
            )
        options = cls(**given)
        for name in ("max_disconnection_duration", "max_recovery_bytes", "max_recovery_total"):
            value = getattr(options, name)
            if value is None and name == "max_recovery_total":
                continue
            if not is_number(value, above=0):
                raise OptionError(f"connection_state_recovery: {name} has to be a number above 0")
        seconds = options.max_disconnection_duration
        if seconds >= 60_000 and seconds % 1000 == 0:  # Node's 120,000, not a day
            warn_of_milliseconds("max_disconnection_duration", seconds)
        if not isinstance(options.skip_middlewares, bool):
            raise OptionError("connection_state_recovery: skip_middlewares is True or False")
        return options

    def within(self, max_buffered_bytes: int | None) -> RecoveryOptions:
        """The same options, with the bound of a session at most the buffer of a connection."""
        bound = self.max_recovery_bytes
        return replace(self, max_recovery_bytes=min(bound, max_buffered_bytes or bound))
