"""What the log says at the start of a process that is set up wrongly."""

from __future__ import annotations

import logging
import sys
from typing import Any

from gevent import monkey
from socketio.pubsub_manager import PubSubManager

__all__ = ["warn_if_unpatched", "warn_of_many_workers"]

log = logging.getLogger(__name__)


def warn_if_unpatched() -> None:
    """Warns of a process whose blocking calls would stop every connection."""
    if not monkey.is_module_patched("socket"):
        log.warning(
            "this process is not monkey-patched, so one blocking call stops every client: "
            "begin the main module with `from gevent import monkey` and `monkey.patch_all()`, or "
            "run it under `gunicorn -k gevent`, which does it"
        )


def warn_of_many_workers(manager: object) -> None:
    """Warns of gunicorn workers that cannot reach each other's clients; one process logs it.

    ``manager``: the server's client manager.
    """
    if isinstance(manager, PubSubManager):
        return
    frame = sys._getframe()
    while frame is not None:
        owner: Any = frame.f_locals.get("self")
        if type(owner).__module__.startswith(("gunicorn.workers.", "gunicorn.arbiter")):
            cfg = owner.cfg
            # The Arbiter (--preload) has no age; of the workers, the first logs it.
            if cfg.workers > 1 and getattr(owner, "age", 1) == 1:
                log.warning(
                    "gunicorn runs %d workers, and clients of one cannot reach those of another: "
                    "use `-w 1`, or Server(client_manager=socketio.RedisManager(url)) behind a "
                    "proxy with sticky sessions",
                    cfg.workers,
                )
            return
        frame = frame.f_back  # type: ignore[assignment]
