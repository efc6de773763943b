"""CPU time and memory of a process and its children, from /proc."""

from __future__ import annotations

import os
import time
from pathlib import Path

SETTLED_NS = 400_000  # CPU time between two readings that still counts as idle (timers, pings)
LOOK_SECONDS = 0.02


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found.extend(int(child) for child in (task / "children").read_text().split())
        except FileNotFoundError:
            continue  # it has just ended
    return found


def cpu_ns(pid: int) -> int:
    """Nanoseconds that all threads of the process tree ran, in user space and in the kernel.

    From ``schedstat``, which is exact for a thread that sleeps; the utime and stime of ``stat`` are
    the same time in ticks of 10 ms. So read it while the server is idle.
    """
    total = 0
    for process in tree(pid):
        for task in os.listdir(f"/proc/{process}/task"):
            try:
                total += int(Path(f"/proc/{process}/task/{task}/schedstat").read_text().split()[0])
            except FileNotFoundError:
                continue  # a thread that has just ended
    return total


def memory_bytes(pid: int) -> int:
    """The proportional set size of the process tree: each shared page counts in part."""
    total = 0
    for process in tree(pid):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def settle(pid: int, patience: float = 60.0) -> int:
    """Waits until the server is idle in three readings; returns its CPU time then."""
    deadline = time.monotonic() + patience
    before, calm = cpu_ns(pid), 0
    while calm < 3:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the server is still busy after {patience:.0f} s")
        time.sleep(LOOK_SECONDS)
        now = cpu_ns(pid)
        calm = calm + 1 if now - before < SETTLED_NS else 0
        before = now
    return before


def machine_seconds() -> tuple[float, float]:
    """CPU seconds of the whole machine since its start: busy, and all."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, idle, waiting, irq, softirq, stolen = (
        int(field) / os.sysconf("SC_CLK_TCK") for field in fields
    )
    busy = user + nice + system + irq + softirq + stolen
    return busy, busy + idle + waiting
