"""The lobbies of several workers in one process, with streams between them that a test can stop.

The bus is made up here; servers, lobbies and the messages between them are the real ones. A worker
that is *stopped* reads nothing; what a test has its clients do meanwhile is what a worker does
that has gone on, and has not read yet what happened.
"""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import gevent

from rtcio_sync import Lobby
from rtcio_sync.engineio.ids import new_sid
from rtcio_sync.errors import ProtocolError
from rtcio_sync.server import Server
from rtcio_sync.testing import TestClient
from tests.timing import until

SECRET = b"of all workers"
V = TypeVar("V")


class Bus:
    """What `cluster.local_bus.Mesh` is, over a `Network`."""

    def __init__(self, network: Network, node: str) -> None:
        self.network = network
        self.node = node
        self.nodes: dict[str, None] = {}
        self._files: dict[str, int] = {}

    @property
    def neighbours(self) -> list[str]:
        far = self.network.far
        return [node for node in self.nodes if (node in far) is (self.node in far)]

    heard = neighbours

    def born(self, node: str) -> int:
        return int(node[1:])

    @property
    def eldest(self) -> str:
        return min((self.node, *self.nodes))

    def shared_file(self, name: str) -> int | None:
        if name not in self._files:
            path = self.network.folder / f"{self.node in self.network.far} {name}"
            self._files[name] = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            self.network.files.append(self._files[name])
        return self._files[name]

    def waiting(self, node: str) -> int:
        return sum(len(body) for _, _, body in self.network.streams[self.node, node])

    @property
    def sent(self) -> bool:
        return self.node not in self.network.full

    def is_stopped(self, node: str) -> bool:
        return node in self.network.stopped - self.network.computing

    def post(
        self, node: str, kind: int, body: bytes, key: bytes = b"", *, now: bool = False
    ) -> bool:
        if node not in self.nodes:
            return False
        self.network.streams[self.node, node].append((kind, key, body))
        return True


class Worker:
    """One worker with its lobby."""

    def __init__(
        self, network: Network, number: int, serializer: str = "default", **options: Any
    ) -> None:
        self.network = network
        self.node = f"n{number:03d}"
        self.server = Server(serializer=serializer)
        self._later = self.server.eio.heartbeat.later
        self.server.eio.heartbeat.later = self.later  # type: ignore[method-assign]
        self.lobby = Lobby(self.server, **options)
        assert self.server.exchange is not None
        self.exchange = self.server.exchange
        self.server.eio.generate_id = lambda: new_sid(self.node)
        self.bus: Any = Bus(network, self.node)
        self.exchange.bus = self.bus
        for begins in self.exchange.on_begin:
            begins(SECRET)

    def later(self, seconds: float, do: Callable[..., Any], *args: Any) -> None:
        """As `Heartbeat.later`: nothing happens in a worker that stands still."""

        def run() -> None:
            if self.node in self.network.stopped:
                self._later(0.01, run)
            else:
                do(*args)

        self._later(seconds, run)

    @property
    def keeper(self) -> Any:
        return self.lobby._keeper

    @property
    def keeps(self) -> str:
        """The worker that keeps the rooms, as this one knows it."""
        return self.keeper._node or self.node

    def client(self) -> Peer:
        return Peer(self)


class Peer:
    """A client; what it does may wait for another worker, and the test does not."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.tab: TestClient = worker.server.test_client()
        self.sid: str = self.tab.sid or ""
        self.heard: list[tuple[str, Any]] = []

    def emit(self, event: str, room: str = "r", **fields: Any) -> None:
        gevent.spawn(self.tab.emit, event, {"roomId": room, **fields})

    def join(self, room: str = "r", **fields: Any) -> None:
        self.emit("join-room", room, **fields)

    @property
    def events(self) -> list[tuple[str, Any]]:
        self.heard += [(name, args[0]) for name, args in self.tab.received()]
        return self.heard

    def of(self, name: str) -> list[Any]:
        """What has come with an event of this name; peers by their sids."""
        found = [said for event, said in self.events if event == name]
        return [said["id"] if name.startswith("user-") else said for said in found]

    def wait(self, name: str, count: int = 1) -> None:
        until(lambda: len(self.of(name)) >= count)

    def joins(self, room: str = "r", **fields: Any) -> Peer:
        before = len(self.of("join-ok"))
        self.join(room, **fields)
        self.wait("join-ok", before + 1)
        return self

    def leave(self, room: str = "r") -> None:
        self.events.append(("left", None))
        self.emit("leave-room", room)


class Network:
    """``far``: the workers on another host."""

    def __init__(self, folder: Path, far: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.far = far
        self.files: list[int] = []
        self.workers: dict[str, Worker] = {}
        self.stopped: set[str] = set()
        #: Those of them that compute: no signal has stopped them.
        self.computing: set[str] = set()
        #: Those that cannot send all at once.
        self.full: set[str] = set()
        #: Those whose messages do not arrive yet.
        self.slow: set[str] = set()
        self.dead: set[str] = set()
        self.streams: dict[tuple[str, str], deque[Any]] = defaultdict(deque)
        #: Called after a message has arrived: ``(source, target, kind, body)``.
        self.after: Callable[..., None] = lambda *args: None
        self._pump = gevent.spawn(self._run)

    def close(self) -> None:
        self._pump.kill()
        for fd in self.files:
            os.close(fd)

    def add(self, number: int, **options: Any) -> Worker:
        return self.link(Worker(self, number, **options))

    def link(self, new: Worker) -> Worker:
        """Has a worker and the others meet."""
        for other in self.workers.values():
            for one, two in ((new, other), (other, new)):
                one.bus.nodes[two.node] = None
        for other in self.workers.values():
            for one, two in ((new, other), (other, new)):
                one.exchange.joined(two.node)
                one.exchange.met(two.node)
        self.workers[new.node] = new
        return new

    def kill(self, worker: Worker) -> None:
        del self.workers[worker.node]
        self.dead.add(worker.node)
        self.drain(worker.node)
        for other in self.workers.values():
            del other.bus.nodes[worker.node]
            other.exchange.died(worker.node)
        worker.bus.nodes.clear()

    def drain(self, source: str) -> None:
        """What a worker has sent arrives before its end."""
        for (one, two), stream in list(self.streams.items()):
            while one == source and stream and two in self.workers:
                self._deliver(one, two, *stream.popleft())

    def stop(self, worker: Worker, *, computes: bool = False) -> None:
        self.stopped.add(worker.node)
        if computes:
            self.computing.add(worker.node)

    def stop_at(self, worker: Worker, number: int) -> None:
        """Stops a worker once it has read, or sent, so many messages from now on."""
        left = [number]

        def count(source: str, target: str, *_: Any) -> None:
            if worker.node in (source, target) and left[0] >= 0:
                left[0] -= 1
                if left[0] < 0:
                    self.stop(worker)

        self.after = count

    def go_on(self, worker: Worker) -> None:
        self.stopped.discard(worker.node)
        self.computing.discard(worker.node)
        self.after = lambda *args: None

    def _run(self) -> None:
        while True:
            for (source, target), stream in list(self.streams.items()):
                for _ in range(0 if source in self.slow else len(stream)):
                    if target not in self.stopped and target in self.workers:
                        self._deliver(source, target, *stream.popleft())
            gevent.sleep(0.001)

    def _deliver(self, source: str, target: str, kind: int, key: bytes, body: bytes) -> None:
        if source in self.workers[target].bus.nodes:
            try:
                self.workers[target].exchange.received(source, kind, key, body)
            except ProtocolError as error:
                raise AssertionError((source, target, kind, body)) from error
            self.after(source, target, kind, body)


def side_by_side(folder: Path, values: Iterable[V], case: Callable[[Network, V], None]) -> None:
    """Calls ``case(network, value)`` for all values at once: most of its time it waits.

    Each has a network of its own.
    """

    def run(value: V) -> None:
        own = folder / str(value)
        own.mkdir()
        network = Network(own)
        try:
            case(network, value)
        except Exception as error:
            raise AssertionError(f"with {value}: {error!r}") from error
        finally:
            network.close()

    gevent.joinall([gevent.spawn(run, value) for value in values], raise_error=True)


def settle(network: Network) -> None:
    """Waits until all that was sent has arrived, and led to nothing more."""
    quiet = 0
    while quiet < 20:
        live = [
            stream
            for (_, target), stream in network.streams.items()
            if stream and target in network.workers and target not in network.stopped
        ]
        quiet = 0 if live else quiet + 1
        gevent.sleep(0.002)


def assert_same(*workers: Worker, room: str = "r", peers: list[Peer]) -> None:
    """All agree on who is in a room, and so do the peers inside."""
    for worker in workers:
        inside = worker.lobby.peers(room)
        assert inside == [each.sid for each in peers], (worker.node, inside, [p.sid for p in peers])
    for peer in peers:
        there: dict[str, bool] = {}
        for event, said in peer.events:
            if event == "left":
                there.clear()
            elif event == "user-connected":
                assert not there.get(said["id"]), (peer.sid, said["id"], "announced twice")
                there[said["id"]] = True
            elif event == "user-disconnected":
                # Who enters while the keeper dies is told of all that have died with it.
                known = there.pop(said["id"], None) or said["id"][:4] in peer.worker.network.dead
                assert known, (peer.sid, said["id"], "left twice")
        assert set(there) == {each.sid for each in peers} - {peer.sid}, peer.sid
