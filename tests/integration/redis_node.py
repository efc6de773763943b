"""A process with a bus on Redis: posts numbered messages to all others, and counts what arrives.

It reads commands on its input, one a line, and answers each with a line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.timing import DEADLINE

ROOT = Path(__file__).parents[2]
NUMBER = struct.Struct(">Q")
CONTROL = 5  # of a kind that may not be dropped


class RedisProcess:
    """Another process with a bus; its methods ask it."""

    def __init__(self, url: str, node: str, *flags: str) -> None:
        command = [sys.executable, "-m", "tests.integration.redis_node", url, node, *flags]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.id = node
        self._answered = threading.Event()
        self._answer: Any = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._answer = json.loads(line)
            self._answered.set()

    def ask(self, *command: Any) -> Any:
        assert self.process.stdin is not None
        self._answered.clear()
        self.process.stdin.write(" ".join(map(str, command)) + "\n")
        self.process.stdin.flush()
        assert self._answered.wait(DEADLINE), f"{self.id} does not answer"
        return self._answer

    def post(self, rate: float, size: int = 100) -> None:
        """From now on posts so many messages a second to each other node."""
        self.ask("post", rate, size)

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("report")
        return found

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


class Counting:
    """The handlers of the bus: counts."""

    def __init__(self) -> None:
        self.following: Counter[str] = Counter()
        self.doubled: Counter[str] = Counter()
        self.disordered: Counter[str] = Counter()
        self.control: Counter[str] = Counter()
        self.living: list[str] = []
        self.dead: list[tuple[str, float]] = []
        self.overflows = 0
        self.posted: Counter[str] = Counter()

    def received(self, node: str, kind: int, key: bytes, body: bytes) -> None:
        (number,) = NUMBER.unpack_from(body)
        following = self.following[node]
        self.control[node] += kind == CONTROL
        if number < following:
            self.doubled[node] += 1
            return
        self.disordered[node] += number - following  # those between are missing
        self.following[node] = number + 1

    def joined(self, node: str) -> None:
        self.living.append(node)

    def met(self, node: str) -> None:
        pass

    def died(self, node: str) -> None:
        self.dead.append((node, time.time()))

    def overflowed(self) -> None:
        self.overflows += 1


def main(url: str, node: str, *flags: str) -> None:
    if "--plain" not in flags:
        from gevent import monkey

        monkey.patch_all()
    import gevent
    from gevent.fileobject import FileObject

    from rtcio_sync.cluster.redis_bus import RedisBus
    from tests.cluster.redis_nodes import Me

    handlers = Counting()
    me = Me(node)
    me.born = time.time_ns()
    for flag in flags:
        if flag.startswith("--host="):
            me.host = flag.partition("=")[2]
        if flag.startswith("--siblings="):
            me.siblings = flag.partition("=")[2].split(",")
    dropped: Counter[str] = Counter()
    refusals: list[str] = []

    def drop(reason: str, messages: int) -> None:
        dropped[reason] += messages

    bus = RedisBus(url, handlers, me, refused=refusals.append, dropped=drop)
    bus.start()
    rate, size = 0.0, 100

    def post() -> None:
        began, sent = time.monotonic(), 0.0
        before = 0.0
        while True:
            gevent.sleep(0.005)
            if rate != before:
                began, sent, before = time.monotonic(), 0.0, rate
            due = (time.monotonic() - began) * rate
            while sent < due:
                sent += 1
                for other in list(bus.nodes):
                    number = handlers.posted[other]
                    kind = CONTROL if number % 10 == 0 else 2
                    body = NUMBER.pack(number) + bytes(size - NUMBER.size)
                    handlers.posted[other] += bus.post(other, kind, body, b"key")
                if time.monotonic() - began > 1 and due - sent > rate:  # it stood still
                    began, sent = time.monotonic(), 0.0
                    break

    gevent.spawn(post)
    for line in FileObject(sys.stdin):
        name, *given = line.split()
        answer: Any = None
        if name == "post":
            rate, size = float(given[0]), int(given[1])
        elif name == "report":
            answer = {
                **vars(handlers),
                "dropped": dropped,
                "refusals": refusals,
                "nodes": sorted(bus.nodes),
                "degraded": bus.degraded,
                "births": {**bus.births, me.node: me.born},
                "figures": bus.figures(),
                "cpu": time.process_time(),
                "memory": _memory(),
            }
        elif name == "leave":
            bus.leave()
            bus.stop()
        elif name == "bury":
            bus.bury(given[0])
        print(json.dumps(answer), flush=True)


def _memory() -> int:
    """Bytes that are resident."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(*sys.argv[1:])
