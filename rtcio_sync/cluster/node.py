"""A server as a node: it begins once its process is known to be one of several.

Until then, and while no other node lives, nothing here is on the way of a message.
"""

from __future__ import annotations

import _socket
import atexit
import logging
import os
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Protocol

import gevent

from ..adapter.emit import RoomIndex
from ..hub.forked import serves
from .exchange import Exchange
from .mesh import Mesh
from .strays import Strays
from .successors import is_coming
from .wire import NODE, PID, SID, Kind

__all__ = ["Node"]

log = logging.getLogger(__name__)

MEET_WITHIN = 1.0  # seconds; a node that stands still is not waited for any longer
LOOK_EACH = 0.01


class IdMaker(Protocol):
    """Whoever makes sids: the engine."""

    generate_id: Callable[[], str]


class Sender(Protocol):
    """Whoever relays: `relay.Relay`."""

    elsewhere: Callable[[str, str, bytes], bool | None] | None


class Node:
    """One server among the workers of its host."""

    def __init__(
        self, manager: RoomIndex, exchange: Exchange, engine: IdMaker, relay: Sender, *, key: str
    ) -> None:
        self._manager = manager
        self._exchange = exchange
        self._engine = engine
        self._relay = relay
        self._key = key
        self._nodes: dict[str, str] = {}
        self._fronts = exchange.arrivals.fronts
        #: `None`: no client comes back here.
        self.strays: Strays | None = None
        #: The bus; `None`: it has not begun, or could not.
        self.bus: Mesh | None = None
        #: Takes each stream of descriptors that another node opens.
        self.takes: Callable[[str, _socket.socket], None] = _refuse
        exchange.on_joined.append(self._joined)

    def begin(self, master: int, *, several: bool = True) -> bool:
        """Finds the other nodes of this master; `False`: this server stays alone. # greenlet

        ``several``: whether there are others; then it is a fault if they cannot be found.
        """
        if self.bus is not None:
            return True
        try:
            bus = Mesh(master, self._key, self._exchange, lambda node, sock: self.takes(node, sock))
        except OSError as error:
            log.log(
                logging.WARNING if several else logging.DEBUG,
                "the workers cannot find each other, so each is alone: no directory for their "
                "sockets can be made (%s); set XDG_RUNTIME_DIR to one that they may write to",
                error,
            )
            return False
        self.bus = self._exchange.bus = bus
        self._exchange.leaving.successor = lambda: is_coming(master, bus.pids)
        for begins in self._exchange.on_begin:
            begins(bus.secret)
        self._engine.generate_id = self._sid
        serves(bus, None)
        bus.start()
        self._meet(bus)
        atexit.register(_release, bus, os.getpid())
        return True

    def _meet(self, bus: Mesh) -> None:
        """Waits until the others have said which ids they have: clients may come at once."""
        until = time.monotonic() + MEET_WITHIN
        while set(bus.nodes).difference(bus.heard) and time.monotonic() < until:
            gevent.sleep(LOOK_EACH)
        gevent.sleep(LOOK_EACH)  # what a node says comes right behind its first message

    def end(self) -> None:
        """For the others this node is dead from now on. # greenlet"""
        if self.bus is not None:
            self._relay.elsewhere = None
            self.bus.stop()

    def owner(self, sid: str) -> str | None:
        """The other node that has the connection with this id; `None`: this one, or none."""
        if len(sid) != SID or self.bus is None:
            return None
        leaving, arrivals = self._exchange.leaving, self._exchange.arrivals
        if leaving.begun and sid in leaving.gone_links:
            return leaving.heir
        if self.strays is not None and (self.strays.taken(sid) or self.strays.given(sid)):
            return self.strays.given(sid)
        if sid[:NODE] in self._exchange.heirs.own or (arrivals.fronts and arrivals.has(sid)):
            return None
        return self._holder(sid)

    def owner_of_session(self, pid: str) -> str | None:
        """The same for the key to a session; `None`, too, if that node stops."""
        if len(pid) != PID or self.bus is None:
            return None
        node = self._holder(pid)
        own = pid[:NODE] in self._exchange.heirs.own or node in self._exchange.arrivals.fronts
        return None if own or node in self._exchange.leaving.going else node

    @property
    def heir(self) -> str | None:
        """The node to which this one leaves, once there is one."""
        return self._exchange.leaving.heir

    def move_out(self, *, wait: float, drain: float, must: Callable[[], bool]) -> bool:
        """Leaves to another node, with all sessions: as `leaving.Leaving.run`. # greenlet"""
        leaving = self._exchange.leaving
        return self.bus is not None and leaving.run(wait=wait, drain=drain, must=must)

    def leave(self) -> None:
        """Tells the others that this node stops: they send it no sessions any more. # greenlet"""
        if self.bus is not None:
            self._exchange.leave()

    def _holder(self, name: str) -> str | None:
        """The other node that has the id with which a sid or a key begins."""
        node = self._exchange.heirs.nodes.get(name[:NODE])
        if node is not None or self.bus is None or name[:NODE] in self._exchange.heirs.own:
            return node
        return name[:NODE] if self.bus.finds(name[:NODE]) else None

    def new_pid(self) -> str:
        """A key to a session of this node."""
        assert self.bus is not None
        return self.bus.node + secrets.token_urlsafe(15)

    @property
    def alone(self) -> bool:
        """Whether no other node lives."""
        return self.bus is None or not self.bus.nodes

    @property
    def workers(self) -> int:
        """How many nodes live, this one included."""
        return 1 if self.bus is None else 1 + len(self.bus.nodes)

    def _sid(self) -> str:
        assert self.bus is not None
        # As `secrets.token_urlsafe`, in half of its time.
        return self.bus.node + urlsafe_b64encode(os.urandom(12)).decode()

    def _joined(self, node: str) -> None:
        self._nodes = self._exchange.heirs.nodes
        self._relay.elsewhere = self._send_relay

    def _send_relay(self, namespace: str, target: str, message: bytes) -> bool | None:  # hub
        node = self._nodes.get(target[:NODE])
        if node is None or len(target) != SID:
            return None
        key = (target + namespace).encode()
        if self._fronts:
            return self._exchange.send(node, Kind.RELAY, message, key)
        bus = self.bus
        assert bus is not None
        return bus.post(node, Kind.RELAY, message, key)


def _release(bus: Mesh, pid: int) -> None:
    if os.getpid() == pid:  # and not that of a forked child
        bus.release()


def _refuse(node: str, sock: _socket.socket) -> None:
    sock.close()
