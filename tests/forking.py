"""A forked child of the tests' own process."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

__all__ = ["in_child"]


def in_child(holds: Callable[[], bool]) -> bool:
    """Whether ``holds()`` in a forked child, which ends then. It must not wait for anything."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if holds() else 1
        except BaseException:  # noqa: BLE001  (it must not get into the tests that follow)
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
