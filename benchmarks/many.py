"""``python -m benchmarks.many``: 50,000 clients in calls of four, on several servers at once.

Each server is a process of its own on its own port, with a limit of open files of its own, and has
a load of its own. All clients of a call are with one server. They connect, join and are pinged, and
in each call one of them sends one relay a second. Prints one line for each server.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path

from benchmarks.accounting import cpu_ns, memory_bytes, settle
from benchmarks.clients import Pool, Void
from benchmarks.contestants import CONTESTANTS, HERE, Server
from benchmarks.facts import about
from benchmarks.traffic import SILENCE, relayed

ROOM = 4  # members
DESCRIPTORS = 20_000  # of each server
CALM_SECONDS = 60.0  # in which the server has to become idle once all have joined


class Calls:
    """Rooms of four of one server, and their relays."""

    def __init__(self, pool: Pool, clients: int) -> None:
        self.pool = pool
        self.rooms = pool.open_groups(clients // ROOM, ROOM, join=True)
        #: In the order of sending: `send`, the frame, and the number of the receiving socket.
        self.relays = [
            (source.socket.send, relayed(pool, source, target, 300)[0], target.fd)
            for turn in range(ROOM)
            for room in self.rooms
            for source, target in [(room[turn], room[(turn + 1) % ROOM])]
        ]
        self.due: dict[int, deque[float]] = {}
        self.taken: list[float] = []

    def relay(self, seconds: float) -> None:
        """Each second one member of each room sends a relay; in each second it is another one."""
        start = time.perf_counter() + 0.1
        every, sent, total = 1 / len(self.rooms), 0, int(len(self.rooms) * seconds)
        heard = start
        while len(self.taken) < total:
            now = time.perf_counter()
            while sent < total and start + sent * every <= now:
                self._send(sent, start + sent * every)
                sent += 1
            wait = start + sent * every - time.perf_counter() if sent < total else 1.0
            for fd, _ in self.pool.epoll.poll(max(wait, 0.0)):
                heard = time.perf_counter()
                self._read(fd, heard)
            if now - heard > SILENCE:
                raise Void(f"{total - len(self.taken)} of {total} relays were lost")

    def _send(self, number: int, due: float) -> None:
        send, frame, target = self.relays[number % len(self.relays)]
        self.due.setdefault(target, deque()).append(due)
        send(frame)

    def _read(self, fd: int, heard: float) -> None:
        for message in self.pool.messages(fd):
            waiting = self.due.get(fd)
            if not waiting or not message.startswith(b'42["#rtcio:message",'):
                raise Void(f"an unexpected {message[:80]!r}")
            self.taken.append(heard - waiting.popleft())


def load(port: int, pid: int, clients: int, seconds: float) -> dict[str, float]:
    """Drives one server, in step with the loads of the others."""
    gc.disable()
    pool = Pool(port, bare=False)
    pool.close(pool.open(100))
    settle(pid)
    empty = memory_bytes(pid)
    calls = Calls(pool, clients)
    settle(pid, CALM_SECONDS)
    kept = memory_bytes(pid) - empty
    _step(pool, "joined")
    before, pool.pongs = cpu_ns(pid), 0
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        pool.serve(left)
    idle, pings = cpu_ns(pid) - before, pool.pongs
    _step(pool, "idled")
    before, own = cpu_ns(pid), time.process_time()
    calls.relay(seconds)
    busy, own = cpu_ns(pid) - before, time.process_time() - own
    taken = sorted(calls.taken)
    return {
        "clients": len(pool.clients),
        "own memory, MB": empty / 1e6,
        "memory per client, kB": kept / 1000 / len(pool.clients),
        "idle, ms CPU/s": idle / 1e6 / seconds,
        "pings/s": pings / seconds,
        "relaying, ms CPU/s": busy / 1e6 / seconds,
        "relays/s": len(taken) / seconds,
        "relay p50, ms": taken[len(taken) // 2] * 1000,
        "relay p99, ms": taken[len(taken) * 99 // 100] * 1000,
        "the load, relaying, ms CPU/s": own * 1000 / seconds,
    }


def _step(pool: Pool, what: str) -> None:
    """Says that a step is done, and waits until all loads have done it."""
    print(what, flush=True)
    pool.serve_until_told()


class Load:
    """The process of a load, and the server that it drives."""

    def __init__(self, stack: ExitStack, name: str, number: int, scratch: Path) -> None:
        log = scratch / f"many-{name}-{number}.log"
        self.server = stack.enter_context(
            Server(CONTESTANTS[name], log, None, descriptors=DESCRIPTORS)
        )
        self._stack = stack

    def start(self, clients: int, seconds: float) -> None:
        given = (self.server.port, self.server.pid, clients, seconds)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.many", "--load", json.dumps(given)],
            cwd=HERE.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stack.callback(self._process.kill)

    def line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise SystemExit(f"a load broke down; its server said:\n{self.server.tail()}")
        return line

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go on\n")
        self._process.stdin.flush()


def measure(name: str, processes: int, clients: int, seconds: float) -> list[dict[str, float]]:
    """Runs so many servers at once; the figures of each."""
    scratch = HERE / "results/tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        loads = [Load(stack, name, number, scratch) for number in range(processes)]
        for load in loads:
            load.start(clients // processes, seconds)
        for _ in range(2):
            for load in loads:
                print(f"{name}: {load.line()}", file=sys.stderr, flush=True)
            for load in loads:
                load.go_on()
        return [json.loads(load.line()) for load in loads]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__)
    parser.add_argument("--servers", nargs="+", choices=CONTESTANTS, default=["listen", "node"])
    parser.add_argument("--processes", type=int, default=3, help="of each server; 3 by default")
    parser.add_argument("--clients", type=int, default=50_000, help="of all; 50,000 by default")
    parser.add_argument("--seconds", type=float, default=25.0, help="idle, and then relaying")
    parser.add_argument("--load", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.load:
        print(json.dumps(load(*options.load)), flush=True)
        os._exit(0)  # closing thousands of sockets one by one is nobody's figure
    for name in options.servers:
        found = measure(name, options.processes, options.clients, options.seconds)
        print(f"\n{CONTESTANTS[name].title}\n")
        for column in found[0]:
            print(f"| {column} | {' | '.join(f'{each[column]:,.2f}' for each in found)} |")
    print()
    for fact, value in about("benchmarks.many").items():
        print(f"{fact}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
