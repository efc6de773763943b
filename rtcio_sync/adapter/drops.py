"""Counts dropped messages, and logs them at debug level."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..logs import tell
from ..metrics import Counters
from .member import Member

__all__ = ["Drops"]

log = logging.getLogger(__name__)

_DROPPED = "a message of %(rtcio_sid)s was dropped: %(rtcio_reason)s"


class Drops:
    """The dropped messages of one server. # hub or greenlet

    ``spawn`` runs a function in another greenlet: the hub must not wait for a log handler's lock.
    """

    def __init__(self, counters: Counters, spawn: Callable[..., Any]) -> None:
        self._counters = counters
        self._spawn = spawn

    def __call__(self, reason: str, member: Member | None = None, **known: Any) -> None:
        """Counts one message under ``reason``.

        ``member``: its sender; ``known``: more fields for the log (`logs.about`).
        """
        self._counters.dropped[reason] += 1
        if log.isEnabledFor(logging.DEBUG):
            if member is not None:
                known = {**known, "sid": member.sid, "namespace": member.namespace}
            tell(log, _DROPPED, spawn=self._spawn, reason=reason, **known)
