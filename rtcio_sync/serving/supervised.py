"""A worker of `rtcio-sync --workers`: what its supervisor has given it.

The supervisor passes descriptors, and their numbers in the environment: the listening socket, and
the end of a pipe that it holds as long as it lives. A worker takes them out of the environment, so
that a program that it starts does not find them.
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

from .gunicorn_exit import AGAIN, LOOKS
from .handover import Arrived
from .heads import BUSY
from .http import Connection, take_over
from .pywsgi import HttpServer
from .workers import Workers

__all__ = ["LIFE", "LISTENER", "begin_under_supervisor", "inherited"]

#: The variables of the environment.
LISTENER, LIFE = "RTCIO_SYNC_LISTENER", "RTCIO_SYNC_LIFE"


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

    def serve(listener: int, arrived: Arrived) -> None:
        take_over(http, arrived)

    def give(node: str, connection: Connection) -> None:
        sock, data = connection.depart()
        gevent.spawn(_give, node, sock, data)

    def _give(node: str, sock: _socket.socket, data: bytes) -> None:
        try:
            if not workers.giver.give(node, sock.fileno(), 0, data):
                with suppress(OSError):
                    sock.send(BUSY)
        finally:
            sock.close()

    def elsewhere(connection: Connection, query: str) -> bool:
        node = workers.owner_in(query)
        if node is not None:
            give(node, connection)
        return node is not None

    def hand_on(heir: str) -> None:
        http.stop_accepting()
        http.leaves = True
        for connection in http.idle.waiting(Connection):
            give(heir, connection)

    def leave() -> None:
        workers.move_out(0.0)  # the supervisor stops a worker once its successor is ready
        for _ in range(LOOKS):
            if workers.heir is not None:
                hand_on(workers.heir)
                gevent.sleep(AGAIN)

    if not workers.begin_under(os.getppid(), serve):
        return None
    http.elsewhere = elsewhere
    workers.on_heir = hand_on
    return leave


def _until_end(pipe: int, stop: Callable[[], Any]) -> None:
    with suppress(OSError):
        wait_read(pipe)
    stop()
