"""The environment of ``--workers``: by it a process knows whether it supervises, or works.

`command` asks before gevent has patched the process, so nothing here imports threads or sockets.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Sequence

__all__ = ["CONTROL", "LIFE", "LISTENER", "READY", "SUPERVISOR", "is_worker", "supervises"]

#: As in `serving.supervised_worker`, which only workers import: it would import the server.
LISTENER, LIFE, SUPERVISOR = "RTCIO_SYNC_LISTENER", "RTCIO_SYNC_LIFE", "RTCIO_SYNC_SUPERVISOR"
#: The descriptor on which a worker says that it serves.
READY = "RTCIO_SYNC_READY"
#: The template's socket to the supervisor.
CONTROL = "RTCIO_SYNC_CONTROL"


def is_worker() -> bool:
    """Whether a supervisor has started this process: a worker, or the template of workers."""
    return LISTENER in os.environ


def supervises(args: Sequence[str] | None, commands: Container[str]) -> bool:
    """Whether ``rtcio-sync`` with these arguments supervises workers, and serves nothing itself.

    ``args``: `None` for the process's own. ``commands``: the names of its other commands.
    """
    given = sys.argv[1:] if args is None else args
    if is_worker() or any(each in commands for each in given):
        return False
    asked = any(each.partition("=")[0] == "--workers" for each in given)
    return asked or bool(os.environ.get("RTCIO_WORKERS"))
