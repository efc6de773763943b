"""Connections on polling that another node has than the one with whose id they begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rtcio_sync.cluster import stray_polls
from rtcio_sync.cluster.stray_polls import Strays


class Arrivals:
    """The part of an heir that a `Strays` is told by."""

    on_link: Callable[[str, list[str]], None]


class Exchange:
    """What nodes tell each other, at once; ``neighbours``: by id, those that live."""

    def __init__(self, name: str, host: dict[str, Exchange]) -> None:
        self.name = name
        self.host = host
        self.inline: dict[str, Callable[[str, int, bytes], None]] = {}
        self.on_joined: list[Callable[[str], None]] = []
        self.on_died: list[Callable[..., None]] = []
        self.arrivals = Arrivals()
        self.bus = self

    @property
    def neighbours(self) -> list[str]:
        return [each for each in self.host if each != self.name]

    def tell(self, node: str, what: str, about: bytes) -> None:
        self.host[node].inline[what](self.name, 0, about)


class Host:
    """Nodes of one host, and the connections in each."""

    def __init__(self) -> None:
        self.exchanges: dict[str, Exchange] = {}
        self.strays: dict[str, Strays] = {}
        self.links: dict[str, set[str]] = {}

    def begin(self, node: str) -> Strays:
        exchange: Any = Exchange(node, self.exchanges)
        links = self.links[node] = set()
        made = self.strays[node] = Strays(exchange, links.__contains__)
        self.exchanges[node] = exchange
        for each in self.exchanges.values():
            for other in each.neighbours:
                if node in (each.name, other):
                    for told in each.on_joined:
                        told(other)
        return made

    def end(self, node: str) -> None:
        del self.exchanges[node]
        for each in self.strays.values():
            each._died(node, [])

    def move(self, sid: str, source: str, node: str) -> None:
        """A client on polling comes back to its session."""
        self.strays[source].give(sid, node)
        self.links[node].add(sid)
        self.strays[node].take(sid)

    def leave(self, node: str, heir: str, ids: list[str]) -> None:
        for sid in self.links.pop(node):
            self.links[heir].add(sid)
            self.exchanges[heir].arrivals.on_link(sid, ids)
        self.end(node)


A, B, C = "aaaa", "bbbb", "cccc"
X = A + "x" * 16


@pytest.fixture
def host() -> Host:
    made = Host()
    for node in (A, B):
        made.begin(node)
    return made


def test_requests_are_passed_on_as_long_as_the_connection_lives(host: Host) -> None:
    host.move(X, A, B)
    first, now = host.strays[A], host.strays[B]
    assert first.given(X) == B and now.taken(X)
    host.links[B].discard(X)
    assert first.given(X) == B  # until one comes
    assert now.taken(X)  # and is answered there, instead of going back
    assert first.given(X) is None and not now.taken(X)


def test_all_nodes_pass_requests_on_also_those_that_come_later(host: Host) -> None:
    third = host.begin(C)
    host.move(X, A, B)
    later = host.begin("dddd")
    assert (third.given(X), later.given(X)) == (B, B)
    host.end(A)  # it has left, and one of the others is its heir
    assert (third.given(X), later.given(X)) == (B, B) and host.strays[B].taken(X)


def test_the_heir_of_a_node_gets_the_requests_for_its_strays(host: Host) -> None:
    host.move(X, A, B)
    own = B + "y" * 16
    host.links[B].add(own)
    heir = host.begin(C)
    host.leave(B, C, [B])
    assert host.strays[A].given(X) == C and heir.taken(X)
    assert host.strays[A].given(own) is None and not heir.taken(own)  # as its id says


def test_over_a_bound_the_oldest_are_forgotten_by_both(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stray_polls, "MOST", 2)
    first, now = host.strays[A], host.strays[B]
    for sid in "xyz":
        host.move(sid, A, B)
    assert [sid for sid in "xyz" if first.given(sid)] == ["y", "z"]
    assert [sid for sid in "xyz" if now.taken(sid)] == ["y", "z"]
    assert (len(first._given), len(now._taken)) == (2, 2)


def test_those_of_a_dead_node_are_forgotten(host: Host) -> None:
    host.move(X, A, B)
    host.strays[A]._died(C)
    assert host.strays[A].given(X) == B
    host.end(B)
    assert host.strays[A].given(X) is None


def test_nobody_else_ends_what_was_given(host: Host) -> None:
    host.move(X, A, B)
    host.begin(C)
    first = host.exchanges[A]
    first.inline[stray_polls.OVER](C, 0, X.encode())
    first.inline[stray_polls.OVER](B, 0, b"\xff")
    first.inline[stray_polls.HERE]("of another host", 0, X.encode())
    assert host.strays[A].given(X) == B
