"""Notices when the client of a request that waits for its answer closes the connection.

Nothing is read from the connection: what a client sends after a request belongs to the WSGI server.
The kernel is asked whether the other side has ended it.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Callable
from contextlib import suppress

import gevent
from gevent import monkey
from gevent.hub import get_hub

from ..hub.ports import Watcher
from .ports import RawSocket
from .tcp import READ

__all__ = ["HangUp"]

log = logging.getLogger(__name__)

LOOK_AGAIN = 0.5  # seconds between two checks of a connection that has something to read

#: The interpreter's own: gevent's does not know POLLRDHUP.
_poll = monkey.get_original("select", "poll")
#: Events that mean: the other side has ended its half. Without POLLRDHUP, both halves.
_ENDED = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class HangUp:
    """Calls ``gone()``, once, when the other side of ``line`` ends its half. # greenlet, then hub

    Its half is enough, as in Node: a client that waits for an answer keeps its half open. Call
    `stop` before anybody closes or reads ``line``.
    """

    def __init__(self, line: RawSocket, gone: Callable[[], None]) -> None:
        self._gone = gone
        self._fd = line.fileno()
        self._loop = get_hub().loop
        self._timer: Watcher | None = None
        self._reader: Watcher | None = self._loop.io(self._fd, READ)
        self._reader.start(self._readable)

    def stop(self) -> None:  # hub or greenlet
        """Watches no more."""
        for watcher in (self._reader, self._timer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._reader = self._timer = None

    def _readable(self) -> None:  # hub
        reader = self._reader
        if reader is None:
            return
        try:
            if self._has_ended():
                self.stop()
                self._gone()
                return
            # Another request waits, or bytes of TLS. The watcher would call back all the time until
            # somebody reads them.
            reader.stop()
            # A new one: a timer of gevent's that is started anew calls back at once.
            self._timer = self._loop.timer(LOOK_AGAIN)
            self._timer.start(self._look_again)
        except Exception as error:  # noqa: BLE001 - nothing may be raised into the loop
            gevent.spawn(log.error, "A poll's connection cannot be watched", exc_info=error)

    def _look_again(self) -> None:  # hub
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.close()
        if self._reader is not None:
            self._reader.start(self._readable)

    def _has_ended(self) -> bool:
        poll = _poll()
        with suppress(OSError):
            poll.register(self._fd, _ENDED)
            return bool(poll.poll(0))
        return True
