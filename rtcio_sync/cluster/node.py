"""A server as a node: it begins once its process is known to be one of several.

Until then, and while no other node lives, nothing here is on the way of a message. A server of a
cluster on Redis begins when it serves, and has workers of its host and of others beside it.
"""

from __future__ import annotations

import _socket
import atexit
import logging
import os
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Protocol

import gevent

from ..adapter.emit import RoomIndex
from ..engineio.ids import NODE, PID, SID, is_pid, new_pid, new_sid
from ..hub.forked import holds
from .combined_bus import Both
from .exchange import Exchange
from .external_emits import External
from .local_bus import Mesh
from .messages import Kind
from .ports import Figures, Handlers
from .redis_options import Hosts
from .stray_polls import Strays
from .worker_replacement import is_coming

__all__ = ["Node"]

log = logging.getLogger(__name__)

MEET_WITHIN = 5.0  # seconds; a node that stands still is not waited for any longer
LOOK_EACH = 0.01
ARRIVES_WITHIN = 5.0  # seconds that a client waits for its session, which another node hands over
CONTACT_WITHIN = 10.0  # seconds in which a Redis that is required has to answer

_EVICTED = {
    "buried": "this server did not run, or had no contact to Redis, for so long that the others "
    "treat it as dead: its clients get new sessions",
    "taken": "another host already has the id of this server: its clients get new sessions",
}


class IdMaker(Protocol):
    """Whoever makes sids: the engine."""

    generate_id: Callable[[], str]


class Sender(Protocol):
    """Whoever relays: `relay.Relay`."""

    elsewhere: Callable[[str, str, bytes], bool | None] | None


class Node:
    """One server among the workers of its host, and of other hosts.

    ``send_on()`` closes all clients and ends all sessions, so that they come back to new ones.
    """

    def __init__(
        self,
        manager: RoomIndex,
        exchange: Exchange,
        engine: IdMaker,
        relay: Sender,
        *,
        key: str,
        send_on: Callable[[], None],
    ) -> None:
        self._manager = manager
        self._exchange = exchange
        self._engine = engine
        self._relay = relay
        self._key = key
        self._nodes: dict[str, str] = {}
        self._fronts, self._claims = exchange.arrivals.fronts, exchange.succession.claims.open
        #: `None`: no client comes back here.
        self.strays: Strays | None = None
        self._send_on = send_on
        #: Whether it never begins: the app's config says so.
        self.apart = False
        #: The Redis of the cluster; `None`: there is none.
        self.hosts: Hosts | None = None
        #: The bus; `None`: it has not begun, or could not.
        self.bus: Mesh | Both | None = None
        #: The bus of this host's workers; `None`: it has not begun, or this is no worker.
        self.mesh: Mesh | None = None
        self._external: External | None = None
        #: Takes each stream of descriptors that another node opens.
        self.takes: Callable[[str, _socket.socket], None] = _refuse
        exchange.on_joined.append(self._joined)
        exchange.leaving.reaches_far = lambda: not isinstance(self.bus, Both) or self.bus.reaches

    def begin(
        self, master: int | None = None, *, several: bool = True, before: int | None = None
    ) -> bool:
        """Finds the other nodes of this master, and those of other hosts. # greenlet

        `False`: this server stays alone on its host. ``master``: `None` if it is no worker.
        ``several``: whether there are other workers; then it is a fault if they cannot be found.
        ``before``: the master whose place this one takes; its nodes are others, too. Raises
        `OSError` if the Redis of the cluster is required and does not answer.
        """
        if self.apart:
            return False
        if self.bus is not None:
            return self.mesh is not None
        hosts = self.hosts

        def local(handlers: Handlers) -> Mesh | None:
            if master is not None:
                self.mesh = self._mesh(master, before, handlers, several=several)
            return self.mesh

        if hosts is None:
            mesh = local(self._exchange)
            if mesh is None:
                return False
            self._use(mesh, mesh.secret, master)
        else:
            remote = partial(hosts.bus, self._described, self._evicted)
            both = Both(self._exchange, local, remote)
            self._use(both, hosts.secret, master)
            if hosts.required and not both.wait(CONTACT_WITHIN):
                raise ConnectionError(f"no contact to the cluster's Redis: {both.trouble}")
            if hosts.external is not None:
                self._external = External(hosts.url, hosts.external, self._exchange)
                self._external.start()
        return self.mesh is not None

    def _use(self, bus: Mesh | Both, secret: bytes, master: int | None) -> None:
        self.bus = self._exchange.bus = bus
        if master is not None:
            self._exchange.leaving.successor = lambda: is_coming(master, bus.pids)
        for begins in self._exchange.on_begin:
            begins(secret)
        self._engine.generate_id = self._sid
        holds(bus)
        bus.start()
        if self.mesh is not None:
            self._meet(self.mesh)
        atexit.register(_release, bus, os.getpid())

    def _mesh(
        self, master: int, before: int | None, handlers: Handlers, *, several: bool
    ) -> Mesh | None:
        try:
            takes = lambda node, sock: self.takes(node, sock)  # noqa: E731  (it is set later)
            return Mesh(master, self._key, handlers, takes, before)
        except OSError as error:
            log.log(
                logging.WARNING if several else logging.DEBUG,
                "the workers cannot find each other, so each works alone: they cannot make a "
                "directory for their sockets (%s); set XDG_RUNTIME_DIR to a directory that they "
                "may write to",
                error,
            )
        return None

    def _described(self) -> tuple[int, int]:
        """What the others may know of this node: its sockets, and its rooms."""
        members = sum(len(each) for each in self._manager.members.values())
        rooms = sum(len(each) - 1 for each in self._manager.rooms.values())
        return members, max(0, rooms)

    def _evicted(self, why: str) -> None:  # hub or greenlet
        gevent.spawn(self._begin_anew, why)

    def _begin_anew(self, why: str) -> None:
        bus = self.bus
        if isinstance(bus, Both) and not bus.left:
            log.warning(_EVICTED.get(why, why))
            bus.begin_anew(self._send_on, self._exchange.begin_anew)

    def _meet(self, mesh: Mesh) -> None:
        """Waits until the others of this host have said which ids they have.

        Clients may come at once.
        """
        until = time.monotonic() + MEET_WITHIN
        while set(mesh.nodes).difference(mesh.heard) and time.monotonic() < until:
            gevent.sleep(LOOK_EACH)
        gevent.sleep(LOOK_EACH)  # what a node says comes right behind its first message

    def end(self) -> None:
        """For the others this node is dead from now on. # greenlet"""
        if self.bus is not None:
            self._relay.elsewhere = None
            self.bus.stop()
        if self._external is not None:
            self._external.stop()

    def owner(self, sid: str) -> str | None:
        """The other node of this host that has the connection with this id; `None`: none has."""
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
        """The same for the key to a session that is not here; `None`, too, if that node stops.

        While a node waits for its heir, it has its sessions; what has left with others is there.
        """
        if len(pid) != PID or self.bus is None:
            return None
        if self._exchange.heirs.has(pid):
            return self.heir
        node, leaving = self._holder(pid), self._exchange.leaving
        stops = node in leaving.going and node not in leaving.serving
        return None if stops or node in self._fronts else node

    def fetch(self, namespace: str, pid: str) -> bool:
        """Gets the session with a key from another host, or waits for it; whether it may be here.

        It waits for one that comes with those of a node that leaves to this one. # greenlet
        """
        if not is_pid(pid) or self.bus is None:
            return False
        source, sessions = self._holder(pid), self._exchange.leaving.sessions
        if source in self._fronts and sessions is not None:
            until = time.monotonic() + ARRIVES_WITHIN
            while source in self._fronts and sessions.kept(namespace, pid) is None:
                if time.monotonic() > until:
                    return False
                gevent.sleep(LOOK_EACH)
            return True
        return isinstance(self.bus, Both) and self._exchange.claims.fetch(namespace, pid)

    @property
    def heir(self) -> str | None:
        """The node of this host to which this one leaves, once there is one."""
        leaving = self._exchange.leaving
        return None if leaving.is_far else leaving.heir

    def move_out(self, *, wait: float, drain: float, must: Callable[[], bool]) -> bool:
        """Leaves to another node, with all sessions: as `handover_giver.Leaving.run`. # greenlet"""
        leaving = self._exchange.leaving
        if self.bus is None or not leaving.run(wait=wait, drain=drain, must=must):
            return False
        if leaving.empty:
            self.left()
        return True

    def host_of(self, sid: str) -> str | None:
        """The node of another host that has the connection with this id; `None`: none has."""
        if self.bus is None or len(sid) != SID:
            return None
        node = self._exchange.heirs.nodes.get(sid[:NODE])
        return None if node in self.neighbours else node

    def is_leaving(self, sid: str) -> bool:
        """Whether the node with whose id a connection's id begins is leaving."""
        return sid[:NODE] in self._exchange.leaving.going or self._exchange.heirs.is_leaving(
            sid[:NODE]
        )

    def leave(self, drain: float) -> None:
        """Leaves, if it has not yet; its sessions go to other hosts, if there are any. # greenlet

        ``drain``: seconds in which handlers may finish.
        """
        if self.bus is None:
            return
        if not isinstance(self.bus, Both) or not self._exchange.leaving.run(wait=0.0, drain=drain):
            self._exchange.leave()

    def left(self) -> None:
        """Tells other hosts that this node has no clients any more. # greenlet"""
        if isinstance(self.bus, Both):
            self.bus.leave()
        if self._external is not None:
            self._external.stop()

    @property
    def neighbours(self) -> Collection[str]:
        """The other nodes of this host that live."""
        mesh = self.mesh
        return () if mesh is None else mesh.nodes

    def _holder(self, name: str) -> str | None:
        """The other node of this host that has the id with which a sid or a key begins."""
        mesh, heirs, start = self.mesh, self._exchange.heirs, name[:NODE]
        if mesh is None or heirs.has(name):
            return None
        node = heirs.holder(name)
        if node is not None:
            return node if node in mesh.nodes else None
        return start if mesh.finds(start) else None

    def new_pid(self) -> str:
        """A key to a session of this node."""
        assert self.bus is not None
        return new_pid(self.bus.node)

    @property
    def alone(self) -> bool:
        """Whether no other node of this host lives."""
        return not self.neighbours

    @property
    def workers(self) -> int:
        """How many nodes of this host live, this one included."""
        return 1 + len(self.neighbours)

    @property
    def nodes(self) -> int:
        """How many nodes of all hosts live, this one included."""
        return 1 if self.bus is None else 1 + len(self.bus.nodes)

    @property
    def degraded(self) -> bool:
        """Whether other hosts are out of reach, or Redis refuses something."""
        return self.bus.degraded if isinstance(self.bus, Both) else False

    def figures(self) -> Figures:
        """Of what goes between hosts; empty if there are none."""
        return self.bus.figures() if isinstance(self.bus, Both) else {}

    def _sid(self) -> str:
        assert self.bus is not None
        return new_sid(self.bus.node)

    def _joined(self, node: str) -> None:
        self._nodes = self._exchange.heirs.nodes
        self._relay.elsewhere = self._send_relay

    def _send_relay(self, namespace: str, target: str, message: bytes) -> bool | None:  # hub
        node = self._nodes.get(target) or self._nodes.get(target[:NODE])
        if node is None or len(target) != SID:
            return None
        key = (target + namespace).encode()
        if self._fronts or self._claims:
            return self._exchange.send(node, Kind.RELAY, message, key)
        bus = self.bus
        assert bus is not None
        return bus.post(node, Kind.RELAY, message, key)


def _release(bus: Mesh | Both, pid: int) -> None:
    if os.getpid() == pid:  # and not that of a forked child
        bus.release()


def _refuse(node: str, sock: _socket.socket) -> None:
    sock.close()
