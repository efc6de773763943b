"""Runs a command with a Redis server beside it: ``over_redis.py COMMAND …``.

The command finds its URL in the environment variable REDIS. Nothing is kept on disk.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from benchmarks.contestants import free_port


def main(command: list[str]) -> int:
    with redis_server() as url:
        return subprocess.call(command, env={**os.environ, "REDIS": url})


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a new Redis server, which ends with the block."""
    port = free_port()
    redis = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        stdout=subprocess.DEVNULL,
        cwd="/tmp",
    )
    try:
        _await(port, redis)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        redis.terminate()


def _await(port: int, redis: subprocess.Popen[bytes]) -> None:
    while redis.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise SystemExit("redis-server does not serve")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
