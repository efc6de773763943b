"""The Redis of a cluster, as the options name it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from ..config.option_values import cluster_in
from .ports import Handlers
from .redis_addresses import door
from .redis_bus import RedisBus
from .redis_membership import Identity

__all__ = ["Hosts", "cluster_of"]

VARIABLE = "RTCIO_CLUSTER"  #: of the environment, and of a Flask app's config


def cluster_of(option: bool | str | None, config: object = None) -> bool | str | None:
    """The value of ``cluster``: of the option, else of the variable, else of the app's ``config``.

    `None`: the workers of one host. Raises `OptionError`.
    """
    if option is not None:
        return option or False
    if os.environ.get(VARIABLE):
        return cluster_in(VARIABLE, os.environ[VARIABLE])
    return None if config is None else cluster_in(f"app.config[{VARIABLE!r}]", str(config))


@dataclass(frozen=True)
class Hosts:
    """``url`` may hold a password; ``cluster_secret``: the option.

    Raises `OptionError` for an address that cannot be read, and without redis-py.
    """

    url: str = field(repr=False)
    prefix: str = "rtcio"
    required: bool = False
    cluster_secret: str | bytes | None = field(default=None, repr=False)
    external: str | None = None

    def __post_init__(self) -> None:
        door(self.url)

    @property
    def secret(self) -> bytes:
        """A key that all hosts have."""
        given = self.cluster_secret or b""
        text = given.encode() if isinstance(given, str) else given
        return hashlib.sha256(b"rtcio_sync\0" + self.prefix.encode() + b"\0" + text).digest()

    def bus(
        self,
        described: Callable[[], tuple[int, int]],
        evicted: Callable[[str], None],
        handlers: Handlers,
        identity: Identity,
    ) -> RedisBus:
        """The bus between this node and those of other hosts."""
        return RedisBus(
            self.url,
            handlers,
            identity,
            prefix=self.prefix,
            status=described,
            refused=evicted,
        )
