"""The bus between the workers of one host: a stream from each node to each other one.

A node sends on the connections that it has made, and reads those that others have made. A node is
dead when the stream that it sends on has ended; what was sent before has been read then.
"""

from __future__ import annotations

import _socket
import logging
import os
import time
from collections.abc import Callable, KeysView
from contextlib import closing, suppress

import gevent
from gevent.socket import socket as GreenSocket

from ..engineio.ids import is_node
from ..errors import ProtocolError
from ..hub.ports import Loop, Watcher
from ..protocol.envelope import Drop
from ..transport.outgoing import turn_here
from .frames import Frame, frame
from .messages import VERSION, Hello, Kind, decoded, encoded
from .ports import Handlers
from .socket_directory import BACKLOG, Claim, Directory, process_is_stopped, same_user
from .stream import Full, Inlet, Outlet, Stranger, first_io

__all__ = ["DESCRIPTORS", "Mesh"]

log = logging.getLogger(__name__)

MESSAGES, DESCRIPTORS = "messages", "descriptors"
#: Says nothing further: the node that connects has given up the one that it connects to.
GIVEN_UP = "given up"

AGAIN = 0.05  # seconds until a connection is tried again whose node has many waiting
LAST_WORDS = 1.0  # seconds in which what a dead node has sent is read
KEEP = 3600.0  # seconds between two signs of life for whoever cleans the directory


class Mesh:
    """The bus of one node. ``takes``: called with each stream of descriptors that a node opens."""

    def __init__(
        self,
        master: int,
        key: str,
        handlers: Handlers,
        takes: Callable[[str, _socket.socket], None],
        before: int | None = None,
    ) -> None:
        """Claims an id and listens. Raises `socket_directory.Unavailable`, or `OSError`.

        ``before``: as of `Directory`.
        """
        self._directory, self._claim = _claimed(lambda: Directory(master, key, before))
        self._handlers = handlers
        self._takes = takes
        self.node = self._claim.node
        self._born = self._directory.born(self.node) or time.time_ns()
        #: When each other node has claimed its id. Read from the directory, so that a node which
        #: stands still need not say it.
        self.births: dict[str, int] = {}
        self._pids: dict[str, int] = {}
        #: A secret that all nodes of this master know.
        self.secret = self._directory.secret()
        self._turn = turn_here()
        self._outlets: dict[str, Outlet] = {}
        self._inlets: dict[str, Inlet] = {}
        self._strangers: set[Stranger] = set()
        self._timers: set[Watcher] = set()
        self._files: dict[str, int | None] = {}
        #: The nodes that this one has given up.
        self._given_up: set[str] = set()
        self._stopped = False
        #: Streams that a forked child keeps, so that it closes no descriptor of somebody else.
        self._left_to_parent: list[Inlet | Outlet | Stranger] = []
        #: The other nodes that live, and those that have connected to this one.
        self.nodes: KeysView[str] = self._outlets.keys()
        self.neighbours = self.nodes
        self.heard: KeysView[str] = self._inlets.keys()
        self._entrance = first_io(self._loop, self._claim.socket.fileno())

    @property
    def _loop(self) -> Loop:
        return self._turn.loop

    def start(self) -> None:
        """Lets others connect, and connects to all that are there. # hub or greenlet"""
        self._entrance.start(self._accept)
        for node in self._directory.others(self.node):
            self._connect(node)
        self._later(KEEP, self._keep)

    def release(self) -> None:
        """Gives the id back: new nodes do not look for this one any more. # greenlet

        The process ends, but the app may run the loop for a while: for jobs that finish.
        """
        if not self._stopped:
            self._entrance.stop()
            self._claim.release()

    def stop(self) -> None:
        """Leaves: for the others this node is dead. # hub or greenlet"""
        if self._stopped:
            return
        self._stopped = True
        self._entrance.stop()
        self._entrance.close()
        self._claim.release()
        for timer in self._timers:
            timer.close()
        for each in self._streams():
            each.close()
        self._outlets.clear()
        self._inlets.clear()
        for fd in self._shared_fds():
            os.close(fd)
        self._files.clear()

    def abandon(self) -> list[int]:
        """Is this node no more, in a forked child: the parent is. # after a fork

        It sends nothing and does not connect again. Gives all descriptors.
        """
        self._stopped = True
        for timer in self._timers:
            timer.stop()
        streams = self._left_to_parent = self._streams()
        found = [self._claim.socket.fileno(), *(each.fileno() for each in streams)]
        found += self._shared_fds()
        self._files.clear()
        self._outlets.clear()
        self._inlets.clear()
        return [fd for fd in found if fd >= 0]

    def _streams(self) -> list[Inlet | Outlet | Stranger]:
        return [*self._outlets.values(), *self._inlets.values(), *self._strangers]

    def post(
        self, node: str, kind: int, body: bytes, key: bytes = b"", *, now: bool = False
    ) -> bool:
        """As `ports.Bus.post`."""
        outlet = self._outlets.get(node)
        if outlet is None:
            return False
        try:
            if outlet.post(kind, body, key, now=now):
                return True
        except Full:
            self._give_up(node)
            return False
        self._handlers.overflowed()
        return False

    @property
    def eldest(self) -> str | None:
        """As `ports.Bus.eldest`."""
        births = self.births
        if any(node not in births for node in self.nodes):
            return None
        return min((births.get(node, self._born), node) for node in (self.node, *self.nodes))[1]

    def finds(self, node: str) -> bool:
        """Whether a node lives that has begun so lately that it has not been met yet.

        # hub or greenlet
        """
        if node != self.node and node in self._directory.others(self.node):
            self._connect(node)
        return node in self._outlets

    def born(self, node: str) -> int:
        """As `ports.Bus.born`."""
        return self.births.get(node, self._born)

    @property
    def pids(self) -> list[int]:
        """As `ports.Bus.pids`."""
        return [os.getpid(), *self._pids.values()]

    def shared_file(self, name: str) -> int | None:
        """As `ports.Bus.shared_file`."""
        if name not in self._files and not self._stopped:
            try:
                self._files[name] = self._directory.shared(name)
            except OSError as error:
                gevent.spawn(log.error, "the workers cannot share a file: %s", error)
                self._files[name] = None
        return self._files.get(name)

    def _shared_fds(self) -> list[int]:
        return [fd for fd in self._files.values() if fd is not None]

    def waiting(self, node: str) -> int:
        """As `ports.Bus.waiting`."""
        outlet = self._outlets.get(node)
        return 0 if outlet is None else outlet.buffered

    @property
    def sent(self) -> bool:
        """As `ports.Bus.sent`."""
        return not any(each.buffered for each in self._outlets.values())

    def is_stopped(self, node: str) -> bool:
        """As `ports.Bus.is_stopped`."""
        return node in self._pids and process_is_stopped(self._pids[node])

    def connect(self, node: str) -> _socket.socket:
        """A new stream for descriptors to a node. Raises `OSError`."""
        if node not in self._outlets:
            raise ProcessLookupError(node)
        sock = self._directory.connect(node)
        try:
            sock.send(self._hello(DESCRIPTORS))
        except BaseException:
            sock.close()
            raise
        return sock

    # -- hub -----------------------------------------------------------------------------------

    def _hello(self, purpose: str) -> bytes:
        hello = Hello(self.node, VERSION, purpose, self._born, os.getpid())
        return frame(Kind.HELLO, encoded(hello))

    def _connect(self, node: str) -> None:
        if self._stopped or node in self._outlets or node in self._given_up:
            return
        try:
            sock = self._directory.connect(node)
        except BlockingIOError:
            self._later(AGAIN, self._connect, node)
            return
        except (ProcessLookupError, PermissionError):
            return
        except OSError as error:
            gevent.spawn(log.error, "worker %s cannot be reached: %s", node, error)
            return
        outlet = Outlet(sock, self._turn, lambda: self._outlet_ended(node))
        outlet.send(self._hello(MESSAGES))
        self._outlets[node] = outlet
        born = self._directory.born(node)
        if born is not None:
            self.births[node] = born
        self._handlers.joined(node)
        # In one write with what it has to know before it serves: it may not wait for the rest.
        outlet.flush()

    def _give_up(self, node: str) -> None:
        """A node stands still and cannot be kept up to date: it is dead for this one."""
        if node in self._given_up:
            return
        self._given_up.add(node)
        said = "worker %s is treated as dead: it does not read, and too many changes wait for it"
        gevent.spawn(log.error, said, node)
        self._say_given_up(node)
        # Not in the middle of what its caller does to all nodes.
        self._turn.loop.run_callback(self._bury, node)

    def _say_given_up(self, node: str) -> None:
        try:
            sock = self._directory.connect(node)
            with closing(sock):
                sock.send(self._hello(GIVEN_UP))
        except BlockingIOError:
            self._later(AGAIN, self._say_given_up, node)
        except OSError:  # it is dead
            pass

    def _later(self, seconds: float, do: Callable[..., None], *args: object) -> None:
        timer = self._loop.timer(seconds)

        def run() -> None:
            self._timers.discard(timer)
            timer.close()
            do(*args)

        self._timers.add(timer)
        timer.start(run)

    def _keep(self) -> None:
        self._directory.touch(self.node)
        self._later(KEEP, self._keep)

    def _accept(self) -> None:
        # All that wait, and their first frames: a client of a new node may be here at once.
        for _ in range(BACKLOG):
            with suppress(ConnectionError):
                try:
                    sock = _accepted(self._claim.socket)
                except BlockingIOError:
                    return
                if same_user(sock):
                    stranger = Stranger(sock, self._loop, self._meet, self._strangers.discard)
                    self._strangers.add(stranger)
                    stranger.look()
                else:
                    sock.close()

    def _meet(self, first: Frame, sock: _socket.socket) -> None:
        """The first frame of a stream says whose it is. Raises `ProtocolError`."""
        if first.kind != Kind.HELLO:
            raise ProtocolError(Drop.CHANNEL)
        hello = decoded(Hello, first.body)
        node = hello.node
        if not is_node(node) or node == self.node or hello.version != VERSION:
            raise ProtocolError(Drop.CHANNEL)
        if node in self._given_up:
            raise ProtocolError(Drop.CHANNEL)
        if hello.purpose == GIVEN_UP:
            sock.close()
            self._handlers.given_up(node)
            return
        if hello.purpose == DESCRIPTORS:
            self._takes(node, sock)
            return
        before = self._inlets.pop(node, None)
        if before is not None:
            before.close()
        handlers = self._handlers

        def received(each: Frame) -> None:
            handlers.received(node, each.kind, each.key, each.body)

        def ended() -> None:
            self._inlet_ended(node, stream)

        stream = self._inlets[node] = Inlet(sock, self._loop, received, ended)
        self.births[node] = hello.born
        self._pids[node] = hello.pid
        self._connect(node)
        handlers.met(node)

    def _inlet_ended(self, node: str, stream: Inlet) -> None:
        if self._inlets.get(node) is stream:
            del self._inlets[node]
            self._bury(node)

    def _outlet_ended(self, node: str) -> None:
        # If it sends to us, the end of that stream is awaited: it may hold its last messages.
        if node in self._inlets:
            self._later(LAST_WORDS, self._bury, node, self._outlets.get(node))
        else:
            self._bury(node)

    def _bury(self, node: str, outlet: Outlet | None = None) -> None:
        found = self._outlets.get(node)
        if found is None or (outlet is not None and found is not outlet):
            return
        del self._outlets[node]
        self.births.pop(node, None)
        self._pids.pop(node, None)
        found.close()
        inlet = self._inlets.pop(node, None)
        if inlet is not None:
            inlet.close()
        self._handlers.died(node)


def _claimed(make: Callable[[], Directory]) -> tuple[Directory, Claim]:
    for _ in range(3):
        directory = make()
        with suppress(FileNotFoundError):  # the last node of others has just removed it
            return directory, Claim(directory)
    directory = make()
    return directory, Claim(directory)


def _accepted(listener: GreenSocket) -> _socket.socket:
    accepted, _ = listener.accept()
    sock = _socket.socket(fileno=accepted.detach())
    sock.setblocking(False)
    return sock
