"""Streams that wait for the one of a node that leaves."""

from __future__ import annotations

import pytest

from rtcio_sync.cluster import held_messages
from rtcio_sync.cluster.handover_messages import After
from rtcio_sync.cluster.held_streams import HOLD_WITHIN, HeldStreams
from tests.timing import Clock

OLD, NEW = "oldn", "newn"


class Here:
    """A node that stood still while ``OLD`` left to ``NEW``."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.alive = {OLD, NEW}
        self.heard: list[bytes] = []
        self.dropped = 0
        self.errors: list[Exception] = []
        self.streams = HeldStreams(
            self.received,
            self.clock.later,
            lambda: self.alive,
            overflowed=self.overflowed,
            failed=lambda what, error: self.errors.append(error),
        )

    def overflowed(self) -> None:
        self.dropped += 1

    def received(self, node: str, kind: int, key: bytes, body: bytes) -> None:
        if node in self.streams.held:
            self.streams.keep(node, kind, key, body)
        elif body == b"bad":
            raise KeyError(body)
        elif body.startswith(b"after"):
            self.streams.after(node, After(OLD, int(body[5:])))
        else:
            self.heard.append(body)

    def reads(self, node: str, *bodies: bytes) -> None:
        for body in bodies:
            self.received(node, 4, b"", body)


def test_what_a_client_sends_from_its_new_node_waits_for_the_barrier_of_the_old_one() -> None:
    here = Here()
    here.reads(NEW, b"before", b"after1", b"third")
    here.reads(OLD, b"first")
    assert here.heard == [b"before", b"first"]
    here.streams.barrier(OLD, 1)
    here.reads(NEW, b"fourth", b"after1", b"fifth")  # that barrier has come
    assert here.heard == [b"before", b"first", b"third", b"fourth", b"fifth"]


def test_a_second_batch_waits_for_the_second_barrier() -> None:
    here = Here()
    here.reads(NEW, b"after1", b"a", b"after2", b"b", b"c")
    here.streams.barrier(OLD, 1)
    assert here.heard == [b"a"]
    here.streams.barrier(OLD, 2)
    assert here.heard == [b"a", b"b", b"c"]


@pytest.mark.parametrize("end", ["dead before", "dies", "heir dies", "stands still"])
def test_nothing_waits_for_long(end: str) -> None:
    here = Here()
    if end == "dead before":
        here.alive.discard(OLD)
    here.reads(NEW, b"after1", b"late")
    if end in ("dies", "heir dies"):
        here.streams.died(OLD if end == "dies" else NEW)
    elif end == "stands still":
        assert here.heard == []
        here.clock.advance(HOLD_WITHIN)
    assert here.heard == [b"late"] and not here.streams.held


def test_a_message_that_fails_takes_none_of_those_behind_it_along() -> None:
    here = Here()
    here.reads(NEW, b"after1", b"a", b"bad", b"b", b"after2", b"bad", b"c")
    here.streams.barrier(OLD, 1)
    here.streams.barrier(OLD, 2)
    assert here.heard == [b"a", b"b", b"c"]
    assert len(here.errors) == 2


def test_what_waits_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_messages, "MOST_HELD", 3)
    here = Here()
    here.reads(NEW, b"after1", b"abc", b"d")
    here.streams.barrier(OLD, 1)
    assert here.heard == [b"abc"] and here.dropped == 1
