"""Has a server whose process may open no more files wait for the end of a connection.

Whoever opens many connections takes the last descriptor. gevent then prints a traceback for each
try to accept one more, up to once a second for as long as that lasts, and gunicorn's worker of
threads dies of the first one.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from typing import Any

import gevent

from ..logs import Seldom

__all__ = ["Shortage", "heed", "heed_worker_on_threads"]

log = logging.getLogger(__name__)

AGAIN = 0.1  # seconds until the next try to accept

#: When there is no descriptor left for this process, or for the whole system.
_SHORTAGE = (errno.EMFILE, errno.ENFILE)


class Shortage:
    """That of one gevent server."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._seldom = Seldom()

    def waits(self, error: OSError) -> bool:
        """Has the server accept nothing for a moment, if that is why it cannot accept. # hub"""
        if error.errno not in _SHORTAGE:
            return False
        self._server.stop_accepting()
        gevent.spawn_later(AGAIN, _go_on, self._server)
        more = self._seldom.more(time.monotonic())
        if more is not None:
            gevent.spawn(_tell, more)  # the hub must not wait for a log
        return True


def heed(server: Any) -> None:
    """Has a gevent server heed its shortage, which accepts in gevent's way. # greenlet"""
    read: Callable[[], Any] = server.do_read
    shortage = Shortage(server)

    def do_read() -> Any:
        try:
            return read()
        except OSError as error:
            if not shortage.waits(error):
                raise
            return None

    server.do_read = do_read


def heed_worker_on_threads(worker: Any) -> None:
    """Has gunicorn's worker of threads do the same: it would die. # before it serves"""
    accept: Callable[..., None] = worker.accept
    seldom = Seldom()

    def accept_or_wait(*args: Any) -> None:
        try:
            accept(*args)
        except OSError as error:
            if error.errno not in _SHORTAGE:
                raise
            more = seldom.more(time.monotonic())
            if more is not None:
                _tell(more)
            if hasattr(worker, "set_accept_enabled"):
                worker.set_accept_enabled(False)  # until its next turn, in a second at most
            else:
                time.sleep(AGAIN)

    worker.accept = accept_or_wait


def _tell(more: str) -> None:
    log.warning(
        "new connections wait, since this process has as many open files as it may: raise that "
        "limit (`ulimit -n`), or lower how many connections it takes "
        "(`Server(max_connections=)`, gunicorn's --worker-connections)%s",
        more,
    )


def _go_on(server: Any) -> None:
    if server.started:
        server.start_accepting()
