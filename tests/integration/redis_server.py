"""A Redis server of a test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from tests.integration.servers import free_port
from tests.timing import DEADLINE


class RedisServer:
    """One that keeps nothing on disk. It can be killed, and started again on the same port."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += self._options
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd="/tmp")
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
