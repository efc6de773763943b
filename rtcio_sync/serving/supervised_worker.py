"""A worker of `rtcio-sync --workers`: what its supervisor has given it.

The supervisor passes descriptors, and their numbers in the environment: the listening socket, and
the end of a pipe that it holds as long as it lives; and its process id. A worker takes them out of
the environment, so that a program that it starts does not find them.
"""

from __future__ import annotations

import _socket
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
from gevent.socket import socket as GeventSocket
from gevent.socket import wait_read

from .descriptor_passing import Arrived
from .forwarded_heads import BUSY
from .gunicorn_exit import AGAIN, LOOKS
from .http import Connection, take_over
from .pywsgi import HttpServer
from .workers import Workers

__all__ = ["LIFE", "LISTENER", "SUPERVISOR", "begin_under_supervisor", "inherited"]

#: The variables of the environment.
LISTENER, LIFE, SUPERVISOR = "RTCIO_SYNC_LISTENER", "RTCIO_SYNC_LIFE", "RTCIO_SYNC_SUPERVISOR"


def inherited() -> GeventSocket | None:
    """The listening socket of the supervisor; `None`: there is none."""
    number = os.environ.pop(LISTENER, "")
    return GeventSocket(fileno=int(number)) if number.isdigit() else None


def begin_under_supervisor(
    workers: Workers, http: HttpServer, stop: Callable[[], Any]
) -> Callable[[], None] | None:
    """Joins the other workers of the supervisor, if one has started this process.

    ``stop`` is called when the supervisor has died. Gives what moves the sessions of a worker that
    stops to another one, in a greenlet; `None`: there are no others.
    """
    number = os.environ.pop(LIFE, "")
    if not number.isdigit():
        return None
    gevent.spawn(_until_end, int(number), stop)
    http.max_accept = 1  # or one worker would take all that come at once
    handover = _Handover(workers, http)
    if not workers.begin_under(int(os.environ.pop(SUPERVISOR)), handover.serve):
        return None
    http.elsewhere = handover.elsewhere
    workers.on_heir = handover.hand_on
    return handover.leave


class _Handover:
    """The HTTP connections of this worker that others take, and theirs that it takes."""

    def __init__(self, workers: Workers, http: HttpServer) -> None:
        self._workers = workers
        self._http = http

    def serve(self, listener: int, arrived: Arrived) -> None:
        """Another worker has sent a connection."""
        take_over(self._http, arrived)

    def elsewhere(self, connection: Connection, query: str) -> bool:
        """Sends a connection to the worker with the session that it asks for, if not this one."""
        node = self._workers.owner_in(query)
        if node is not None:
            self._give(node, connection)
        return node is not None

    def hand_on(self, heir: str) -> None:
        """Sends all connections that wait for a request to the heir, and takes no new ones."""
        self._http.stop_accepting()
        self._http.leaves = True
        for connection in self._http.idle.waiting(Connection):
            self._give(heir, connection)

    def leave(self) -> None:  # greenlet
        """Moves all sessions to another worker, if there is one."""
        self._workers.move_out(0.0)  # the supervisor stops a worker once its successor is ready
        for _ in range(LOOKS):
            if self._workers.heir is not None:
                self.hand_on(self._workers.heir)
                gevent.sleep(AGAIN)

    def _give(self, node: str, connection: Connection) -> None:
        sock, data = connection.depart()
        gevent.spawn(self._send, node, sock, data)

    def _send(self, node: str, sock: _socket.socket, data: bytes) -> None:
        try:
            if not self._workers.giver.give(node, sock.fileno(), 0, data):
                with suppress(OSError):
                    sock.send(BUSY)
        finally:
            sock.close()


def _until_end(pipe: int, stop: Callable[[], Any]) -> None:
    with suppress(OSError):
        wait_read(pipe)
    stop()
