"""``--workers``: whether this process supervises the workers, is their template, or is one of them.

A supervisor imports no more than it needs, for its memory counts as that of the workers.
"""

from __future__ import annotations

from ..errors import OptionError
from .supervisor import supervise
from .worker_variables import is_worker

__all__ = ["begin_workers", "check_alone"]


def check_alone(*, reload: bool, tls: bool) -> None:
    """Raises `OptionError` if another option, of those that are given, does not go with workers."""
    if reload:
        raise OptionError("--reload works with one process only: leave out --workers")
    if tls:
        raise OptionError(
            "--workers serves plain HTTP only, so a proxy has to end TLS: leave out --workers "
            "or the certificate"
        )


def begin_workers(
    count: int, host: str, port: int, *, drain_seconds: float | None, page: str
) -> int | None:
    """The exit code of a process that serves nothing itself, once it has ended its work.

    `None`: this process is a worker, and has to serve.
    """
    if not is_worker():
        return supervise(host, port, count, drain_seconds, page)
    return None if _becomes_worker() else 0


def _becomes_worker() -> bool:
    """Whether this process is a fork of a template that has imported all that workers share."""
    import encodings.idna  # noqa: F401  # these two gevent imports later, when a server listens

    import gevent.resolver.thread  # noqa: F401

    from ..serving import listen  # noqa: F401
    from . import launch, serve  # noqa: F401
    from .worker_template import become_worker

    return become_worker()
