"""A server under attack, two bystanders on it, and what must be true of both."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.integration.bystanders import Bystanders
from tests.integration.scene import MB, Scene
from tests.integration.servers import Running, complaints, running
from tests.timing import DEADLINE

#: Bytes that an attack may cost the server while it lasts.
BOUND = 16 * MB

#: Bytes that the server may write into its log because of it.
LOG_BOUND = 10_000

WAYS = ("listen", "gunicorn-gevent")


class Target:
    """A server under attack and the two bystanders on it."""

    def __init__(self, server: Running, bystanders: Bystanders) -> None:
        self.server = server
        self.port = server.port
        self.bystanders = bystanders
        self.pid: int = server.get_json("/census")["pid"]

    def memory(self, figure: str) -> int:
        """Bytes of the process: ``VmRSS``, or ``VmHWM``, the highest since `unharmed` began."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(figure):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {figure}")

    @contextmanager
    def unharmed(
        self,
        *,
        bound: int = BOUND,
        allowed: str | None = None,
        excused: int = 0,
        log_bound: float = LOG_BOUND,
    ) -> Iterator[None]:
        """What is done inside must harm nobody else.

        ``allowed``: what the server may complain of, a regular expression; ``excused``: greenlets
        that hang in handlers of the app's; ``bound`` and ``log_bound``: bytes of memory, and of the
        log.
        """
        mark = self.server.log_mark()
        before = self.server.get_json("/census")
        self.bystanders.report()
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        started_with = self.memory("VmRSS")
        yield
        rise = self.memory("VmHWM") - started_with
        report = self.bystanders.report()
        print(f"memory +{rise / MB:.1f} MB, {report}")
        assert report["strange"] == [] and report["cut"] is None
        assert report["relayed"] > 0 and report["lost"] == 0
        assert rise < bound, f"{rise / MB:.1f} MB more"
        self.server.eventually(
            "/census", lambda census: census["greenlets"] <= before["greenlets"] + 2 + excused
        )
        assert self.server.get_json("/census")["pid"] == before["pid"]
        found = complaints(self.server.log(mark))
        assert [each for each in found if not (allowed and re.search(allowed, each))] == []
        assert self.server.log_mark() - mark < log_bound

    @contextmanager
    def forgotten(self) -> Iterator[None]:
        """Of whoever is there inside nothing is left afterwards."""
        before = self.held()
        yield
        end = time.monotonic() + DEADLINE
        while more := {name: held - before[name] for name, held in self.held().items()
                       if held > before[name]}:  # fmt: skip
            assert time.monotonic() < end, f"left: {more}"
            time.sleep(0.1)

    def held(self) -> dict[str, int]:
        """What the server believes to hold, and its descriptors."""
        stats = self.server.get_json("/stats")
        held = {name: stats[name] for name in ("connections", "connected", "rooms")}
        census = self.server.get_json("/census")
        return {**held, "descriptors": census["descriptors"], "packed": census["packed"]}

    def scene(self, **options: Any) -> Scene:
        """For one of `attacks`."""
        return Scene(self.port, self.bystanders.sids, **options)

    def counts(self, kind: str) -> Callable[[str], int]:
        """How much more was counted since now, by name, in `closed` or `dropped`."""
        before = self.server.get_json("/stats")[kind]

        def more(name: str) -> int:
            now = self.server.get_json("/stats")[kind]
            return int(now.get(name, 0) - before.get(name, 0))

        return more


@contextmanager
def target_of(way: str, **options: Any) -> Iterator[Target]:
    with running(way, "attacked", **options) as server, ExitStack() as stack:
        bystanders = Bystanders(server.port)
        stack.callback(bystanders.stop)
        yield Target(server, bystanders)
