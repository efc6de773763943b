"""What the log says at the start of a process that is set up wrongly."""

from __future__ import annotations

import logging
from typing import Any

from gevent import monkey

from .gunicorn import owner_on_stack

__all__ = ["warn_if_unpatched", "warn_of_many_workers", "warn_of_no_hosts", "warn_of_worker"]

log = logging.getLogger(__name__)


def warn_if_unpatched() -> None:
    """Warns of a process whose blocking calls would stop every connection."""
    if not monkey.is_module_patched("socket"):
        log.warning(
            "this process is not monkey-patched, so one blocking call stops every client: "
            "begin the main module with `from gevent import monkey` and `monkey.patch_all()`, or "
            "run it under `gunicorn -k gevent`, which patches it"
        )


def warn_of_no_hosts(option: str, variable: str) -> None:
    """Warns of a server that was meant to be one with other hosts, and is alone."""
    log.warning(
        "%s has no effect, and clients of other hosts cannot be reached, because nothing names the "
        "cluster: give Server cluster='redis://…', or set %s",
        option,
        variable,
    )


def warn_of_many_workers() -> None:
    """Warns of gunicorn workers that cannot reach each other's clients; one process logs it."""
    found = owner_on_stack()
    if found is not None:
        warn_of_worker(found)


def warn_of_worker(found: Any) -> None:
    """The same for a worker or an arbiter of gunicorn."""
    # The Arbiter (--preload) has no age; of the workers, the first logs it.
    if found.cfg.workers > 1 and getattr(found, "age", 1) == 1:
        log.warning(
            "gunicorn runs %d workers, and clients of one worker cannot reach clients of another: "
            "use `-k gevent`, whose workers are one server (unless Server has cluster=False), or "
            "`-w 1`",
            found.cfg.workers,
        )
