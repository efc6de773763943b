"""Runs a command with a Redis server beside it: ``over_redis.py COMMAND …``.

The command finds its URL in the environment variable REDIS. Nothing is kept on disk.
"""

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress

from benchmarks.contestants import free_port


def main(command: list[str]) -> int:
    port = free_port()
    redis = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        stdout=subprocess.DEVNULL,
        cwd="/tmp",
    )
    url = f"redis://127.0.0.1:{port}/0"
    _await(port, redis)
    try:
        return subprocess.call(command, env={**os.environ, "REDIS": url})
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
