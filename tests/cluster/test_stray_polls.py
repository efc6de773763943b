"""Connections on polling that another node has than the one with whose id they begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rtcio_sync.cluster import stray_polls
from rtcio_sync.cluster.stray_polls import Strays


class Exchange:
    """What two nodes tell each other, at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.others: dict[str, Exchange] = {}
        self.inline: dict[str, Callable[[str, int, bytes], None]] = {}
        self.on_died: list[Callable[..., None]] = []

    def tell(self, node: str, what: str, about: bytes) -> None:
        self.others[node].inline[what](self.name, 0, about)


@pytest.fixture
def here() -> set[str]:
    """The connections of node b."""
    return set()


@pytest.fixture
def both(here: set[str]) -> tuple[Strays, Strays]:
    a, b = Exchange("a"), Exchange("b")
    a.others["b"], b.others["a"] = b, a
    exchanges: list[Any] = [a, b]
    return Strays(exchanges[0], lambda sid: False), Strays(exchanges[1], here.__contains__)


def move(both: tuple[Strays, Strays], here: set[str], sid: str) -> None:
    both[0].give(sid, "b")
    here.add(sid)
    both[1].take(sid, "a")


def test_requests_are_passed_on_as_long_as_the_connection_lives(
    both: tuple[Strays, Strays], here: set[str]
) -> None:
    first, now = both
    move(both, here, "x")
    assert first.given("x") == "b" and now.taken("x")
    here.discard("x")
    assert first.given("x") == "b"  # until one comes
    assert now.taken("x")  # and is answered there, instead of going back
    assert first.given("x") is None and not now.taken("x")


def test_over_a_bound_the_oldest_are_forgotten_by_both(
    both: tuple[Strays, Strays], here: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stray_polls, "MOST", 2)
    first, now = both
    for sid in "xyz":
        move(both, here, sid)
    assert [sid for sid in "xyz" if first.given(sid)] == ["y", "z"]
    assert [sid for sid in "xyz" if now.taken(sid)] == ["y", "z"]
    assert (len(first._given), len(now._taken)) == (2, 2)


def test_those_of_a_dead_node_are_forgotten(both: tuple[Strays, Strays], here: set[str]) -> None:
    first, now = both
    move(both, here, "x")
    first._died("c")
    assert first.given("x") == "b"
    first._died("b", [])
    now._died("a")
    assert first.given("x") is None and not now.taken("x")


def test_nobody_else_ends_what_was_given(both: tuple[Strays, Strays], here: set[str]) -> None:
    first, _ = both
    move(both, here, "x")
    first._hear("c", 0, b"x")
    first._hear("b", 0, b"\xff")
    assert first.given("x") == "b"
