"""The bus of a node that has others on other hosts: its host's mesh, and Redis between hosts.

Each other node is reached over one of the two. Nodes of this host say so in Redis, so that they are
never spoken to over it. Without a mesh (one process that is no worker), all go over Redis.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Collection, KeysView, Mapping
from typing import NamedTuple, Protocol

from ..engineio.ids import new_node
from .ports import Bus, Carrier, Figures, Handlers, Remote
from .redis_membership import Identity

__all__ = ["Both", "Local"]


class Local(Bus, Protocol):
    """The bus of the nodes of this host: `local_bus.Mesh`."""

    secret: bytes

    @property
    def births(self) -> Mapping[str, int]: ...

    def start(self) -> None: ...

    def release(self) -> None: ...

    def stop(self) -> None: ...

    def abandon(self) -> list[int]: ...


class _Identity(NamedTuple):
    """As `redis_membership.Identity`."""

    node: str
    born: int
    host: str
    neighbours: Callable[[], Collection[str]]


class Both:
    """The bus of one node. ``local(handlers)``: `None`, or its host's; ``remote``: that of Redis.

    Raises what ``local`` raises.
    """

    def __init__(
        self,
        handlers: Handlers,
        local: Callable[[Handlers], Local | None],
        remote: Callable[[Handlers, Identity], Remote],
    ) -> None:
        self._handlers = handlers
        self._make_local, self._make_remote = local, remote
        #: Whether this node has said that it ends.
        self.left = False
        self._where: dict[str, Carrier] = {}
        #: The other nodes that live.
        self.nodes: KeysView[str] = self._where.keys()
        self._make()

    def _make(self) -> None:
        near = _Side(self._where, self._handlers, self._ended)
        far = _Side(self._where, self._handlers, _nothing)
        local = self._local = self._make_local(near)
        if local is None:
            self.node, born = new_node(), time.time_ns()
            host = secrets.token_hex(8)
        else:
            self.node, born = local.node, local.born(local.node)
            host = hashlib.sha256(b"host" + local.secret).hexdigest()[:16]
            near.bus = local
        self._me = _Identity(self.node, born, host, lambda: self.neighbours)
        self._remote = far.bus = self._make_remote(far, self._me)

    def start(self) -> None:
        """Looks for the others. # hub or greenlet"""
        if self._local is not None:
            self._local.start()
        self._remote.start()

    def begin_anew(self, between: Callable[[], None], begins: Callable[[], None]) -> None:
        """Stops, and begins under another id: the others take this node for dead. # greenlet

        ``between()`` is called when no other node lives and this one has its old id, ``begins()``
        when it has its new one.
        """
        self.stop()
        for node in list(self._where):
            del self._where[node]
            self._handlers.died(node)
        between()
        self._make()
        begins()
        self.start()

    def _ended(self, node: str) -> None:
        """A node of this host is dead, which its host knows first."""
        self._remote.bury(node)

    def wait(self, seconds: float) -> bool:
        """Waits until Redis answers; whether it does. # greenlet"""
        return self._remote.wait(seconds)

    @property
    def neighbours(self) -> Collection[str]:
        """As `ports.Bus.neighbours`."""
        return () if self._local is None else self._local.nodes

    @property
    def heard(self) -> Collection[str]:
        """As `ports.Bus.heard`."""
        near = () if self._local is None else self._local.heard
        return {*near, *self._remote.heard}

    def born(self, node: str) -> int:
        """As `ports.Bus.born`."""
        if self._local is not None and node in self._local.births:
            return self._local.births[node]
        return self._remote.births.get(node, self._me.born)

    @property
    def pids(self) -> Collection[int]:
        """As `ports.Bus.pids`."""
        return [os.getpid()] if self._local is None else self._local.pids

    def shared_file(self, name: str) -> int | None:
        """As `ports.Bus.shared_file`."""
        return None if self._local is None else self._local.shared_file(name)

    def waiting(self, node: str) -> int:
        """As `ports.Bus.waiting`."""
        return 0 if self._local is None else self._local.waiting(node)

    @property
    def sent(self) -> bool:
        """As `ports.Bus.sent`."""
        return self._remote.sent and (self._local is None or self._local.sent)

    def is_stopped(self, node: str) -> bool:
        """As `ports.Bus.is_stopped`."""
        return self._local is not None and self._local.is_stopped(node)

    @property
    def eldest(self) -> str | None:
        """As `ports.Bus.eldest`."""
        births = dict(self._remote.births)
        if self._local is not None:
            births.update(self._local.births)
        if any(node not in births for node in self.nodes):
            return None
        births[self.node] = self._me.born
        return min((births[node], node) for node in (self.node, *self.nodes))[1]

    @property
    def degraded(self) -> bool:
        """As `ports.Remote.degraded`."""
        return self._remote.degraded

    @property
    def reaches(self) -> bool:
        """As `ports.Remote.reaches`."""
        return self._remote.reaches

    @property
    def trouble(self) -> str:
        """As `ports.Remote.trouble`."""
        return self._remote.trouble

    def figures(self) -> Figures:
        """Of what goes over Redis."""
        return self._remote.figures()

    def post(
        self, node: str, kind: int, body: bytes, key: bytes = b"", *, now: bool = False
    ) -> bool:
        """As `ports.Bus.post`."""
        bus = self._where.get(node)
        return False if bus is None else bus.post(node, kind, body, key, now=now)

    def release(self) -> None:
        """Gives the id back on this host."""
        if self._local is not None:
            self._local.release()

    def leave(self) -> None:
        """Says to other hosts that this node has ended. # greenlet"""
        if self.left:
            return
        self.left = True
        self._remote.leave()
        self._remote.stop()

    def stop(self) -> None:
        """For the others this node is dead. # hub or greenlet"""
        self._remote.stop()
        if self._local is not None:
            self._local.stop()

    def abandon(self) -> list[int]:
        """Is this node no more, in a forked child; gives all descriptors. # after a fork"""
        self.left = True
        self._where.clear()
        near = [] if self._local is None else self._local.abandon()
        return [*near, *self._remote.abandon()]


class _Side:
    """What one of the two calls: notes who is reached over it."""

    bus: Carrier

    def __init__(
        self, where: dict[str, Carrier], handlers: Handlers, ended: Callable[[str], None]
    ) -> None:
        self._where = where
        self._handlers = handlers
        self._ended = ended
        self.received = handlers.received
        self.overflowed = handlers.overflowed

    def joined(self, node: str) -> None:
        self._where[node] = self.bus
        self._handlers.joined(node)

    def met(self, node: str) -> None:
        self._handlers.met(node)

    def given_up(self, node: str) -> None:
        self._handlers.given_up(node)

    def died(self, node: str) -> None:
        if self._where.get(node) is self.bus:
            del self._where[node]
            self._handlers.died(node)
            self._ended(node)


def _nothing(node: str) -> None:
    """Does nothing."""
