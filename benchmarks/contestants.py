"""The measured servers: how each is started, and its process."""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

HERE = Path(__file__).parent
NODE_PACKAGES = HERE / "node/node_modules"
BUN = NODE_PACKAGES / ".bin/bun"
PEERS = HERE / ".venv/bin/python"  # of the ASGI contestants
#: Of the others in Python: python-socketio imports what its clients need if it is installed, which
#: takes 12 MB of memory more than a user's server.
USERS = HERE / ".venv-users/bin/python"
PYTHON = "{python}"
REQUIREMENTS = HERE / "servers/requirements.txt"
BEFORE = "-before"
START_SECONDS = 30.0  # until a server answers; for several on one core, each
#: Scenarios of one round for servers that take minutes for three.
SLOW = frozenset({"call", "connect", "cold", "latency", "disconnect", "storm"})


@dataclass(frozen=True)
class Contestant:
    """One column of the table. ``command`` has ``{port}`` and may have ``{python}`` in it.

    ``tree``: the source tree that it runs from.
    ``extra``: it runs only if it is named. ``skips``: scenarios that make no sense for it, or would
    take minutes. ``once``: scenarios so long that there is only one round. ``doubles``: whether
    twice as many clients leave, too.
    ``offers``: the features that some attacks need.
    ``several``: the same with ``{workers}`` processes that are one server.
    ``hosts``: the same as one of several hosts, without its port; ``only_hosts``: it has no other
    figures. ``ports``: how many hosts it is.
    """

    name: str
    title: str
    command: tuple[str, ...]
    tree: Path = HERE.parent
    ours: bool = False
    bare: bool = False
    extra: bool = False
    doubles: bool = False
    skips: frozenset[str] = frozenset()
    once: frozenset[str] = frozenset()
    offers: frozenset[str] = frozenset()
    several: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    only_hosts: bool = False
    ports: int = 1


def _gunicorn(worker: str, workers: str = "1", *more: str) -> tuple[str, ...]:
    return (
        *("{python}", "-m", "gunicorn", "-w", workers, "-k", worker, "-b", "127.0.0.1:{port}"),
        *("--worker-connections", "10000"),  # as our guide says: each open poll is one
        *more,
        "benchmarks.servers.rtcio_app:application",
    )


def _asgi(*command: str) -> tuple[str, ...]:
    where = ("--host", "127.0.0.1", "--port", "{port}")
    return (str(PEERS), "-m", *command, *where, "benchmarks.servers.asgi_app:application")


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return ("{python}", "-m", f"benchmarks.servers.{name}", "{port}", *arguments)


def _node(adapter: str) -> tuple[str, ...]:
    return ("node", str(HERE / "node/host.js"), adapter)


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant(
            "listen",
            "rtcio_sync, `listen()`",
            _module("rtcio_listen"),
            ours=True,
            doubles=True,
            offers=frozenset({"recovery", "lobby", "msgpack", "redis"}),
            several=(
                *("{python}", "-m", "rtcio_sync", "--host", "127.0.0.1", "--port", "{port}"),
                *("--workers", "{workers}"),
                *("--app", "benchmarks.servers.rtcio_app:server"),
            ),
            hosts=("{python}", "-m", "benchmarks.servers.rtcio_listen"),
        ),
        Contestant(
            "gunicorn",
            "rtcio_sync, `gunicorn -k gevent`",
            _gunicorn("gevent"),
            ours=True,
            offers=frozenset({"recovery", "lobby", "msgpack", "redis"}),
            several=_gunicorn("gevent", "{workers}", "-c", "examples/gunicorn.conf.py"),
        ),
        Contestant(
            "gunicorn-gw",
            "rtcio_sync, gevent-websocket's worker",
            _gunicorn("geventwebsocket.gunicorn.workers.GeventWebSocketWorker"),
            ours=True,
            extra=True,
            skips=frozenset({"recovery", "limit"}),
        ),
        Contestant(
            "node",
            "Node socket.io 4.8",
            ("node", str(HERE / "node/server.js"), "{port}"),
            doubles=True,
            offers=frozenset({"recovery", "msgpack", "redis"}),
            skips=frozenset({"death"}),  # nobody tells the peers
            several=("node", str(HERE / "node/cluster.js"), "{port}", "{workers}"),
            hosts=_node("plain"),
        ),
        Contestant(
            "node-sharded",
            "Node, sharded adapter",
            _node("sharded"),
            hosts=_node("sharded"),
            only_hosts=True,
        ),
        Contestant(
            "node-streams",
            "Node, streams adapter",
            _node("streams"),
            hosts=_node("streams"),
            only_hosts=True,
        ),
        Contestant(
            "bun",
            "Bun, @socket.io/bun-engine",
            (str(BUN), str(HERE / "node/bun.mjs"), "{port}"),
            skips=frozenset({"recovery", "limit"}),
        ),
        Contestant(
            "uvicorn",
            "python-socketio, uvicorn",
            _asgi(
                *("uvicorn", "--no-access-log", "--log-level", "warning"),
                *("--loop", "uvloop", "--http", "httptools", "--ws-per-message-deflate", "false"),
            ),
            skips=frozenset({"recovery", "limit"}),
            once=SLOW,
        ),
        Contestant(
            "granian",
            "python-socketio, Granian",
            _asgi("granian", "--interface", "asgi", "--loop", "uvloop", "--log-level", "warning"),
            skips=frozenset({"recovery", "limit"}),
            once=SLOW,
        ),
        Contestant(
            "plain-gw",
            "python-socketio, gevent-websocket",
            _module("plain", "gevent-websocket"),
            offers=frozenset({"msgpack", "redis"}),
            skips=frozenset({"recovery", "limit"}),
            once=SLOW,
        ),
        Contestant(
            "plain-sw",
            "python-socketio, simple-websocket",
            _module("plain", "simple-websocket"),
            extra=True,
            skips=frozenset({"recovery", "limit"}),
            once=SLOW,
        ),
        Contestant(
            "floor",
            "floor (bare sockets)",
            _module("floor"),
            bare=True,
            skips=frozenset({"call", "connect", "cold", "disconnect", "recovery", "storm"}),
        ),
    )
}

#: Starts a Redis server beside a command, as a process of the same tree.
OVER_REDIS = ("{python}", "-m", "benchmarks.servers.over_redis")


def with_workers(contestant: Contestant, workers: int, *, redis: bool = False) -> Contestant:
    """The same server with so many workers, over Redis if they are to reach each other there."""
    if workers == 1:
        return contestant
    command = [part.replace("{workers}", str(workers)) for part in contestant.several]
    return replace(contestant, command=(*(OVER_REDIS if redis else ()), *command))


#: Starts hosts with a Redis server, as processes of the same tree.
SEVERAL_HOSTS = ("{python}", "-m", "benchmarks.servers.hosts", "{ports}")


def with_hosts(contestant: Contestant, hosts: int) -> Contestant:
    """So many of the server, each a host of its own."""
    return replace(contestant, command=(*SEVERAL_HOSTS, *contestant.hosts), ports=hosts)


def before(contestant: Contestant, tree: Path) -> Contestant:
    """The same server out of another source tree: its package and its ``benchmarks/servers``."""
    return replace(
        contestant,
        name=f"{contestant.name}{BEFORE}",
        title=f"{contestant.title}, {tree.name}",
        tree=tree.resolve(),
    )


class Server:
    """A contestant's process, from its first answer until ``stop``; its output goes to ``log``.

    ``python``: the Python of a command that does not name its own; this one if not given.
    ``recovery``: turns connection state recovery on; only one figure does.
    ``environ``: more variables of its environment; ``descriptors``: its limit of open files.
    """

    def __init__(
        self,
        contestant: Contestant,
        log: Path,
        core: int | None,
        *,
        python: Path | str = sys.executable,
        recovery: bool = False,
        environ: Mapping[str, str] | None = None,
        descriptors: int | None = None,
    ) -> None:
        self.contestant = contestant
        self.log = log
        self.ports = [free_port() for _ in range(contestant.ports)]
        self.port = self.ports[0]
        ports = ",".join(map(str, self.ports))
        command = [
            part.format(port=self.port, ports=ports, python=python)
            for part in contestant.command
        ]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=contestant.tree,
                env={
                    **os.environ,
                    "PYTHONPATH": str(contestant.tree),
                    "RECOVERY": "on" if recovery else "",
                    **(environ or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=partial(_confine, core, descriptors),
            )
        try:
            for port in self.ports:
                self._await_answer(port)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self.process.pid

    def _await_answer(self, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS * len(self.ports)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.contestant.name} does not serve:\n{self.tail()}")

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])

    def stop(self) -> None:
        """Kills the process: with thousands of connections a graceful stop would take long."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _confine(core: int | None, descriptors: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
    if descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))


_SHARES = 64  # processes that may have ports of their own at once


@cache
def own_ports() -> Iterator[int]:
    """The ports of this process, one after the other, from anywhere among them.

    A server takes some time until it listens on its port; two benchmarks that run at once must not
    choose the same one meanwhile. A lock of a file is a process's claim to its share. All ports are
    below those that connections get, of which there are thousands here.
    """
    for share in range(_SHARES):
        path = Path(tempfile.gettempdir()) / f"rtcio-sync-benchmark-ports-{share}"
        with suppress(OSError):
            lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until the process ends
            except OSError:
                os.close(lock)
                continue
            own = range(10_000 + share, 32_000, _SHARES)
            start = random.SystemRandom().randrange(len(own))
            return itertools.cycle([*own[start:], *own[:start]])
    raise RuntimeError(f"{_SHARES} benchmarks run at once, or no lock can be made")


def free_port() -> int:
    """A port that nobody has, and no other benchmark takes meanwhile."""
    while True:
        port = next(own_ports())
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
