"""Whether a process will soon take this one's place: from the kernel's list of processes.

gunicorn starts the new workers and ends the old ones at the same moment, long before the new ones
have loaded the app. Until then a new worker is a child of the master, and no node yet.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

__all__ = ["is_coming"]

PROC = Path("/proc")


def is_coming(master: int, pids: Collection[int]) -> bool:
    """Whether ``master`` has a child that is younger than this process, and none of ``pids``.

    A child that has one of ``pids`` for a child is another master, whose workers are there by now.
    `False` where the kernel does not tell.
    """
    own = _start_of(os.getpid())
    if own is None:
        return False
    for pid in _children_of(master):
        if pid not in pids and pid != os.getpid():
            start = _start_of(pid)
            if start is not None and start >= own and not {*pids}.intersection(_children_of(pid)):
                return True
    return False


def _children_of(pid: int) -> list[int]:
    try:
        text = (PROC / str(pid) / "task" / str(pid) / "children").read_text()
    except OSError:
        return []
    return [int(each) for each in text.split()]


def _start_of(pid: int) -> int | None:
    """When a process began, in the kernel's ticks; `None`: it has ended."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])
