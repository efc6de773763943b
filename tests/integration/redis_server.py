"""A Redis server of a test's own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis
from redis.crc import key_slot

from tests.integration.servers import free_port
from tests.timing import DEADLINE, wait_until

#: `make redis-versions` runs the tests with others.
PROGRAM = os.environ.get("TEST_REDIS_SERVER", "redis-server")


class RedisServer:
    """One that keeps nothing on disk. It can be killed, and started again on the same port."""

    def __init__(
        self,
        *options: str,
        folder: str | Path = "/tmp",
        port: int | None = None,
        bind: str = "127.0.0.1",
        password: str = "",
    ) -> None:
        self.port = port or free_port()
        self._bind = bind
        self.url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"
        self._options = options
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [PROGRAM, "--port", str(self.port), "--bind", self._bind, "--save", ""]
        command += self._options
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=self._folder)
        end = time.monotonic() + DEADLINE
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    assert time.monotonic() < end and self.process.poll() is None
                    time.sleep(0.05)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once: it forgets everything."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def redis_server() -> Iterator[str]:
    """Starts one that keeps nothing on disk, and stops it afterwards; its URL."""
    server = RedisServer()
    try:
        yield server.url
    finally:
        server.kill()


@contextmanager
def hung(url: str) -> Iterator[None]:
    """Redis takes connections and answers nothing."""
    with redis.Redis.from_url(url) as client:
        pid: int = client.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Sentinels:
    """A master, a replica and one Sentinel that makes the replica master when the other is gone."""

    SERVICE = "calls"

    def __init__(self, folder: Path) -> None:
        self.master = RedisServer(folder=folder)
        self.replica = RedisServer(
            "--replicaof", "127.0.0.1", str(self.master.port), folder=folder
        )
        port = free_port()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\n"
            f"sentinel monitor {self.SERVICE} 127.0.0.1 {self.master.port} 1\n"
            f"sentinel down-after-milliseconds {self.SERVICE} 1000\n"
            f"sentinel failover-timeout {self.SERVICE} 5000\n"
        )
        command = [PROGRAM, str(config), "--sentinel"]
        self._sentinel = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)
        self.url = f"redis+sentinel://127.0.0.1:{port}/{self.SERVICE}/0"
        with redis.Redis(port=port) as sentinel:
            wait_until(lambda: self._knows_the_replica(sentinel))

    def _knows_the_replica(self, sentinel: redis.Redis) -> bool:
        try:
            (state,) = sentinel.sentinel_masters().values()
        except redis.RedisError:
            return False
        return bool(state["num-slaves"] == 1)

    def stop(self) -> None:
        for each in (self.master, self.replica):
            each.kill()
        self._sentinel.kill()
        self._sentinel.wait()


class RedisCluster:
    """A Redis Cluster of three masters."""

    def __init__(self, folder: Path) -> None:
        self.masters: list[RedisServer] = []
        for number in range(3):
            (folder / str(number)).mkdir()
            options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]
            self.masters.append(
                RedisServer(*options, folder=folder / str(number), port=_port_with_a_bus())
            )
        share = 16384 // 3 + 1
        for number, master in enumerate(self.masters):
            slots = range(number * share, min(16384, (number + 1) * share))
            with master.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTS", *slots)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        with self.masters[0].client() as client:
            for other in self.masters[1:]:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port)
        wait_until(lambda: all(self._is_up(each) for each in self.masters))
        self.url = f"redis+cluster://127.0.0.1:{self.masters[0].port},127.0.0.1:1"

    def _is_up(self, master: RedisServer) -> bool:
        with master.client() as client:
            state = client.execute_command("CLUSTER", "INFO")
            slots = client.execute_command("CLUSTER", "SLOTS")
        return "cluster_state:ok" in str(state) and len(slots) == 3

    def master_of(self, key: str) -> RedisServer:
        """The one that has a key, before any was moved."""
        return self.masters[key_slot(key.encode()) // (16384 // 3 + 1)]

    def move(self, key: str, to: RedisServer) -> None:
        """Moves the slot of a key, and all that is in it, to another master."""
        slot, source = key_slot(key.encode()), self.master_of(key)
        ids = {}
        for each in (source, to):
            with each.client() as client:
                ids[each] = client.execute_command("CLUSTER", "MYID")
        with source.client() as there, to.client() as here:
            here.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
            there.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to])
            while keys := there.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
                for each in keys:
                    there.execute_command("MIGRATE", "127.0.0.1", to.port, each, 0, 5000)
            for master in (to, source, *self.masters):
                with master.client() as client:
                    client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[to])

    def stop(self) -> None:
        for each in self.masters:
            each.kill()


def _port_with_a_bus() -> int:
    """A free port; the one that is 10,000 higher is free, too."""
    while True:
        port = free_port()
        with socket.socket() as bus, suppress(OSError, OverflowError):
            bus.bind(("127.0.0.1", port + 10_000))
            return port


# -- what may happen to it -------------------------------------------------------------------------


def killed(seconds: float) -> Callable[[RedisServer], None]:
    """It dies, and is back and empty after so long."""

    def fault(server: RedisServer) -> None:
        server.kill()
        time.sleep(seconds)
        server.start()

    return fault


def stopped(seconds: float) -> Callable[[RedisServer], None]:
    """It stands still for so long."""

    def fault(server: RedisServer) -> None:
        server.signal(signal.SIGSTOP)
        time.sleep(seconds)
        server.signal(signal.SIGCONT)

    return fault


def cut(server: RedisServer) -> None:
    """All connections to it are cut."""
    with server.client() as client:
        for kind in ("normal", "pubsub"):
            client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


def emptied(server: RedisServer) -> None:
    """It forgets everything."""
    with server.client() as client:
        client.flushall()
