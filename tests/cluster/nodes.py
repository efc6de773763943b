"""A node on unix sockets, without a server: it notes what its bus calls."""

from __future__ import annotations

import os
from typing import Any

from rtcio_sync.cluster.local_bus import Mesh
from rtcio_sync.errors import ProtocolError


class Handlers:
    """Notes what a bus calls."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, int, bytes, bytes]] = []
        self.living: list[str] = []
        self.old: list[str] = []
        self.dead: list[str] = []
        self.overflows = 0
        self.gave_up: list[str] = []

    def received(self, node: str, kind: int, key: bytes, body: bytes) -> None:
        if body == b"unreadable":
            raise ProtocolError("channel")
        if body == b"raises":
            raise ZeroDivisionError
        self.messages.append((node, kind, key, body))

    def joined(self, node: str) -> None:
        self.living.append(node)

    def met(self, node: str) -> None:
        self.old.append(node)

    def died(self, node: str) -> None:
        self.dead.append(node)

    def overflowed(self) -> None:
        self.overflows += 1

    def given_up(self, node: str) -> None:
        self.gave_up.append(node)


class Node:
    def __init__(self, master: int = 0, key: str = "/", before: int | None = None) -> None:
        self.handlers = Handlers()
        self.streams: list[Any] = []
        self.mesh = Mesh(
            master or os.getpid(),
            key,
            self.handlers,
            lambda _, sock: self.streams.append(sock),
            before,
        )
        self.mesh.start()

    @property
    def id(self) -> str:
        return self.mesh.node

    def bodies(self) -> list[bytes]:
        return [body for *_, body in self.handlers.messages]
