"""A server among the workers of its host: when its node begins, and what it serves for others."""

from __future__ import annotations

import _socket
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from ..hub.thread import HubThread
from .descriptor_passing import Arrived, Carrier, Giver, Taker
from .forwarded_heads import sid_in_query
from .gunicorn import Front, is_gevents, on_worker, replaced_by
from .startup_warnings import warn_of_worker

__all__ = ["Workers"]

log = logging.getLogger(__name__)

#: How many servers of a path were made in this process: each has its own nodes.
_made: Counter[str] = Counter()


class Node(Protocol):
    """The part of `cluster.node.Node` that is used here."""

    takes: Callable[[str, _socket.socket], None]

    @property
    def mesh(self) -> Carrier | None: ...

    @property
    def alone(self) -> bool: ...

    @property
    def heir(self) -> str | None: ...

    @property
    def hosts(self) -> object | None:
        """The Redis of other hosts."""

    def move_out(self, *, wait: float, drain: float, must: Callable[[], bool]) -> bool: ...

    def begin(
        self, master: int | None = None, *, several: bool = True, before: int | None = None
    ) -> bool: ...

    def end(self) -> None: ...

    def owner(self, sid: str) -> str | None: ...


def key_of(path: str) -> str:
    """The key of a new server: the same in all workers of an app."""
    _made[path] += 1
    return f"{path} {_made[path]}"


class Workers:
    """One server's part among the workers of gunicorn.

    ``go_on(fd, about)`` goes on with a WebSocket of another worker, and ``attach(fd, about)`` with
    that of a session that has come. ``drain``: seconds in which handlers of a worker that leaves
    may finish.
    """

    def __init__(
        self,
        node: Node,
        hub_thread: HubThread,
        go_on: Callable[[int, bytes], None],
        attach: Callable[[int, bytes], None],
        drain: float,
    ) -> None:
        self._node = node
        self._go_on = go_on
        self._attach = attach
        self._hub_thread = hub_thread
        self._drain = drain
        self.giver = Giver(lambda: node.mesh)
        #: Called with the heir when this worker leaves: from now on that one serves. # greenlet
        self.on_heir: Callable[[str], None] = lambda heir: None

    def move_out(self, wait: float, must: Callable[[], bool] = lambda: True) -> bool:
        """Leaves to another worker; waits so many seconds for a successor. # greenlet

        ``must()``: whether it leaves in any case. `False`: there is no other one.
        """
        return self._node.move_out(wait=wait, drain=self._drain, must=must)

    @property
    def heir(self) -> str | None:
        """The worker to which this one leaves."""
        return self._node.heir

    def leaves(self, heir: str) -> None:
        """There is an heir. # greenlet"""
        self.on_heir(heir)

    def await_worker(self) -> None:
        """Begins in each gunicorn worker that loads this app, before it serves."""
        on_worker(self._begin)

    def begin_alone(self, mode: str) -> None:
        """Joins other hosts in a process that is no worker, before its first client. # greenlet

        ``mode``: the engine's. Raises `OSError` if the cluster is required and out of reach.
        """
        if self._node.hosts is None:
            return
        if mode == "gevent" or mode == "gevent_uwsgi":
            self._hub_thread.bind()
            self._node.begin()
        else:
            log.error(
                "a cluster needs gevent, but this WSGI server runs on threads, so this process "
                "has no contact to the others: use `gunicorn -k gevent` or Server.listen"
            )

    def begin_under(self, master: int, serve: Callable[[int, Arrived], None]) -> bool:
        """Joins the workers of another supervisor. ``serve(0, connection)`` serves theirs."""
        self._node.takes = Taker(serve, self._go_on, self._attach).take
        return self._node.begin(master)

    def end(self) -> None:
        """The process serves nobody any more: for the others it is dead. # greenlet"""
        self._node.end()

    def owner_in(self, query: str) -> str | None:
        """The other worker with the session that a query names."""
        if self._node.alone:
            return None
        sid = sid_in_query(query)
        return self._node.heir if sid is None else self._node.owner(sid)

    def died(self, node: str, *_: object) -> None:
        """Another node is dead. # hub"""
        self.giver.forget(node)

    def _begin(self, worker: Any) -> None:
        if not is_gevents(worker):
            if self._node.hosts is None:
                warn_of_worker(worker)
            return
        self._hub_thread.bind()
        front = Front(worker, self._node, self.giver, self.move_out)
        self.on_heir = front.leaves
        self._node.takes = Taker(front.serve, self._go_on, self._attach).take
        before = replaced_by(worker.ppid)
        if self._node.begin(worker.ppid, several=worker.cfg.workers > 1, before=before):
            front.install()
