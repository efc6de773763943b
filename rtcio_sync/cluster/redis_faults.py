"""What the log says about a Redis that refuses or does not answer: cause, fix and end. # hub"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable
from typing import Any

import gevent

from ..logs import Seldom
from .redis_addresses import refuses

__all__ = ["Faults", "described"]

log = logging.getLogger(__name__)

LATE = 10.0  # seconds without contact after which it is a warning
REFUSING = 3.0  # seconds after a refusal in which more are expected: a node beats each second
LONGEST = 200  # characters of what Redis says

#: What Redis says, and what to do about it. redis-py leaves out the first word of some errors.
_FIXES = (
    ("WRONGPASS|invalid username-password", "check the user and the password in the address"),
    ("NOAUTH|Authentication required", "the address needs a password: redis://user:password@host"),
    ("without any password configured", "leave the password out of the address"),
    (
        "NOPERM|no permissions|can't run this command|ACL failure",
        "give the user of Redis the rights that docs/deployment.md names, and the keys that begin "
        "with cluster_prefix",
    ),
    ("DB index is out of range|invalid DB", "choose another number at the end of the address"),
    (
        r"^(MOVED )?\d+ \S+:\d+$|SELECT is not allowed in cluster",
        "begin the address with redis+cluster://",
    ),
    (
        "cluster support disabled|mode is not enabled",
        "begin the address with redis://, it is no Redis Cluster",
    ),
    ("'SENTINEL'|`SENTINEL`", "give the addresses of Sentinels, or begin it with redis://"),
    ("protected mode", "set a password in Redis, or protected-mode no"),
    ("max number of clients", "raise maxclients in Redis"),
    ("maxmemory", "Redis is full: raise maxmemory, or find out what fills it"),
    ("read only replica", "give the address of the master, or those of its Sentinels"),
    ("^WRONGTYPE", "another program uses keys of this name: choose another cluster_prefix"),
    ("[Uu]nknown (sub)?command", "Redis has to be 6.2 or later, with all its commands"),
    ("^Protocol Error", "another program answers there: check the host and the port"),
    ("CERTIFICATE_VERIFY_FAILED", "add ?ssl_ca_certs=FILE to the address"),
)

#: Arguments of ours, addresses of objects, and places in our scripts.
_NOT_SAID = r", with args beginning with.*| : <?[Rr]edis.*|\.? script: \w+, on @.*"


def described(text: str) -> str:
    """What Redis or redis-py says, without arguments of ours, and the fix if one is known."""
    said = re.sub(_NOT_SAID, "", text, flags=re.S)[:LONGEST]
    fix = fix_for(text)
    return said if fix is None else f"{said.rstrip(' .')}: {fix}"


def fix_for(text: str) -> str | None:
    """What to do about what Redis or redis-py says; `None`: it is not known."""
    return next((fix for pattern, fix in _FIXES if re.search(pattern, text)), None)


class Faults:
    """``where``: the host and the port, and no password."""

    def __init__(self, where: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._where = where
        self._clock = clock
        #: What is wrong, or was last.
        self.why = "it does not answer"
        self._away: float | None = None  # since when there is no contact
        # When something was refused last, and when since Redis is full.
        self._refused = self._full = -math.inf
        self._told = self._warned = False  # whether the log has said of it, as a warning too
        self._refusals: dict[str, Seldom] = {}

    @property
    def refusing(self) -> bool:
        """Whether Redis refuses something now."""
        return self._clock() - self._refused < REFUSING

    @property
    def full(self) -> bool:
        """The same, for want of memory: nothing can be written."""
        return self._clock() - self._full < REFUSING

    def failed(self, error: Exception) -> None:
        """No connection could be made. # greenlet"""
        text = str(error) or type(error).__name__
        if refuses(error):
            self.refused(text)
        else:
            self.lost(text)

    def refused(self, text: str) -> None:
        """Redis answers with an error. Logged at once, and each cause once a minute at most."""
        self._refused = self._clock()
        if "maxmemory" in text:
            self._full = self._refused
        self._told = True
        self.why = described(text)
        cause = fix_for(text) or text.partition(" ")[0]
        more = self._refusals.setdefault(cause, Seldom()).more(self._refused)
        if more is not None:
            said = "Redis at %s refuses what this server needs: %s%s"
            self._say(log.warning, said, self.why, more)

    def lost(self, why: str) -> None:
        """There is no contact."""
        self.why = described(why)
        if not self._told:
            self._told = True
            said = "no contact to Redis at %s (%s): other hosts cannot be reached; trying again"
            self._say(log.info, said, self.why)

    def look(self, *, away: bool) -> None:
        """To be called every second. ``away``: whether there is no contact."""
        now = self._clock()
        if away:
            self._away = self._away or now
            if now - self._away >= LATE and not (self._warned or self.refusing):
                self._told = self._warned = True
                said = (
                    "no contact to Redis at %s for %d s (%s): other hosts cannot be reached; check "
                    "the address, and whether Redis runs there; trying again"
                )
                self._say(log.warning, said, LATE, self.why)
            return
        self._away, self._warned = None, False
        if self._told and not self.refusing:
            self._told = False
            self._say(log.info, "Redis at %s answers again, and refuses nothing")

    def _say(self, how: Callable[..., Any], said: str, *about: Any) -> None:
        gevent.spawn(how, said, self._where, *about)
