"""A manager of several nodes without a bus: one that notes what is posted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rtcio_sync.cluster import shared_rooms
from rtcio_sync.cluster.id_owners import Heirs
from rtcio_sync.cluster.remote_callbacks import Questions
from rtcio_sync.cluster.remote_rooms import Replica
from tests.members import FakeServer


class Bus:
    """Notes what is posted."""

    def __init__(self, *nodes: str) -> None:
        self.node = "here"
        self.nodes = nodes
        self.full: set[str] = set()
        self.posted: list[tuple[str, int]] = []

    @property
    def eldest(self) -> str | None:
        return self.node

    def post(
        self, node: str, kind: int, body: bytes, key: bytes = b"", *, now: bool = False
    ) -> bool:
        self.posted.append((node, kind))
        return node not in self.full


def sharing(bus: Bus) -> FakeServer:
    fake = FakeServer()
    questions = Questions(lambda: pytest.fail("nothing waits here"))
    heirs = Heirs(bus.node, bus.nodes)
    for node in bus.nodes:
        heirs.joined(node)
    others: Any = SimpleNamespace(
        bus=bus, replica=Replica(), questions=questions, heirs=heirs, send=bus.post
    )
    shared_rooms.share(fake.index, others)
    return fake
