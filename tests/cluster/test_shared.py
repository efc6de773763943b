"""A manager whose other nodes are not there: what it does then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rtcio_sync.cluster import shared
from rtcio_sync.cluster.asks import Questions
from rtcio_sync.cluster.heirs import Heirs
from rtcio_sync.cluster.replica import Replica
from rtcio_sync.errors import OptionError
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
    shared.share(fake.index, others)
    return fake


def test_the_last_node_encodes_nothing_for_those_that_have_died(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = sharing(Bus())
    encoded: list[Any] = []
    monkeypatch.setattr(shared, "encoded", encoded.append)
    member = fake.joined()
    fake.enter(member, "tea", ("cake", 1))
    fake.index.announce("left", {"id": member.sid}, "/", ["tea"], set(), set())
    fake.index.leave_room(member.sid, "/", "tea")
    fake.index.close_room(("cake", 1), "/")
    fake.index.basic_disconnect(member.sid, "/")
    assert encoded == []


def test_a_room_that_others_cannot_know_is_refused_before_anything_is_changed() -> None:
    fake = sharing(Bus("them"))
    member = fake.joined()
    with pytest.raises(OptionError):
        fake.enter(member, frozenset({1}))
    assert fake.rooms(member) == []


def test_nobody_waits_for_the_answer_to_an_event_that_was_dropped() -> None:
    bus = Bus("them")
    bus.full.add("them")
    fake = sharing(bus)
    answers: list[Any] = []
    fake.index.emit("question", None, "/", room="them" + "x" * 16, callback=answers.append)
    assert len(bus.posted) == 1
    assert fake.index.asked.callback(1) is None
    with pytest.raises(OptionError):
        fake.index.emit("question", None, "/", skip_sid=[object()], callback=answers.append)
    assert fake.index.asked.callback(2) is None
    bus.full.clear()
    fake.index.emit("question", None, "/", room="them" + "x" * 16, callback=answers.append)
    assert fake.index.asked.callback(3) is not None
