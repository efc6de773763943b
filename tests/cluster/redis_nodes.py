"""A node on Redis, without a server."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Collection
from typing import Any

from rtcio_sync.cluster.redis_bus import RedisBus
from tests.cluster.nodes import Handlers

_ages = itertools.count(1)


class Me:
    """As `redis_membership.Identity`."""

    def __init__(self, node: str | None = None, host: str | None = None) -> None:
        self.node = node or secrets.token_urlsafe(3)
        self.host = host or secrets.token_hex(8)
        self.born = next(_ages)
        self.siblings: list[str] = []

    def neighbours(self) -> Collection[str]:
        return self.siblings


class RedisNode:
    """A bus of its own, which notes what it calls."""

    def __init__(
        self, url: str, node: str | None = None, host: str | None = None, **options: Any
    ) -> None:
        self.handlers = Handlers()
        self.me = Me(node, host)
        self.refusals: list[str] = []
        self.dropped: dict[str, int] = {}
        self.bus = RedisBus(
            url,
            self.handlers,
            self.me,
            refused=self.refusals.append,
            dropped=self._drop,
            **options,
        )
        self.bus.start()

    def _drop(self, reason: str, messages: int) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + messages

    @property
    def id(self) -> str:
        return self.me.node

    def bodies(self) -> list[bytes]:
        return [body for *_, body in self.handlers.messages]

    def post(self, other: Any, kind: int, body: bytes, key: bytes = b"") -> bool:
        return self.bus.post(other.id, kind, body, key)
