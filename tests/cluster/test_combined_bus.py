"""The bus of a node with other hosts: who is reached over which of the two, and beginning anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rtcio_sync.cluster.combined_bus import Both
from tests.cluster.nodes import Handlers


class Carrier:
    """One of the two, of which a test says what happens."""

    secret, degraded = b"secret", False

    def __init__(self, handlers: Any, node: str = "", born: int = 0) -> None:
        self.handlers = handlers
        self.node, self.age = node, born
        self.births: dict[str, int] = {}
        self.nodes = self.births.keys()
        self.posted: list[tuple[Any, ...]] = []
        self.calls: list[Any] = []

    def join(self, node: str, born: int) -> None:
        self.births[node] = born
        self.handlers.joined(node)
        self.handlers.met(node)

    def born(self, node: str) -> int:
        return self.births.get(node, self.age)

    def die(self, node: str) -> None:
        del self.births[node]
        self.handlers.died(node)

    def post(self, *message: Any, now: bool = False) -> bool:
        self.posted.append(message)
        return True

    def bury(self, node: str) -> None:
        self.calls.append(("bury", node))

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: self.calls.append(name)


class Bus:
    """A `Both`, and its carriers, the newest last."""

    def __init__(self, *, worker: bool = True) -> None:
        self.handlers = Handlers()
        self.near: list[Carrier] = []
        self.far: list[Carrier] = []
        self.identities: list[Any] = []

        def local(handlers: Any) -> Any:
            if not worker:
                return None
            self.near.append(Carrier(handlers, f"own{len(self.near)}", 5))
            return self.near[-1]

        def remote(handlers: Any, identity: Any) -> Any:
            self.far.append(Carrier(handlers))
            self.identities.append((identity.node, identity.host))
            return self.far[-1]

        self.both = Both(self.handlers, local, remote)  # type: ignore[arg-type]


def test_each_node_is_reached_over_the_bus_that_has_met_it() -> None:
    bus = Bus()
    (near,), (far,) = bus.near, bus.far
    near.join("near", 1)
    far.join("farr", 2)
    assert set(bus.both.nodes) == {"near", "farr"}
    assert bus.both.post("near", 2, b"1") and bus.both.post("farr", 2, b"2", b"key", now=True)
    assert near.posted == [("near", 2, b"1", b"")]
    assert far.posted == [("farr", 2, b"2", b"key")]
    assert not bus.both.post("none", 2, b"")
    assert list(bus.both.neighbours) == ["near"]
    near.die("near")
    far.die("farr")
    assert bus.handlers.dead == ["near", "farr"]
    assert not bus.both.post("near", 2, b"") and not bus.both.nodes


def test_a_node_of_this_host_that_dies_is_buried_in_redis_at_once() -> None:
    bus = Bus()
    bus.near[0].join("near", 1)
    bus.far[0].join("farr", 1)
    bus.near[0].die("near")
    bus.far[0].die("farr")
    assert bus.far[0].calls == [("bury", "near")]


def test_the_eldest_is_that_of_all_hosts() -> None:
    bus = Bus()
    assert bus.both.eldest == "own0"
    bus.far[0].join("farr", 6)
    assert bus.both.eldest == "own0"
    bus.near[0].join("near", 4)
    assert bus.both.eldest == "near"
    bus.far[0].join("old1", 3)
    assert bus.both.eldest == "old1"
    del bus.near[0].births["near"]
    assert bus.both.eldest is None


def test_the_nodes_of_a_host_say_the_same_of_it_and_a_process_alone_is_its_own() -> None:
    one, other, alone, another = Bus(), Bus(), Bus(worker=False), Bus(worker=False)
    hosts = [bus.identities[0][1] for bus in (one, other, alone, another)]
    assert hosts[0] == hosts[1] and len(set(hosts)) == 3
    assert len(alone.both.node) == 4 and alone.both.node != another.both.node
    assert alone.both.neighbours == ()


@pytest.mark.parametrize("worker", [True, False])
def test_to_begin_anew_is_to_be_another_node_for_which_all_others_are_new(worker: bool) -> None:
    bus = Bus(worker=worker)
    before = bus.both.node
    bus.far[0].join("farr", 1)
    between: list[Any] = []
    bus.both.begin_anew(
        lambda: between.append((bus.both.node, list(bus.both.nodes))),
        lambda: between.append(bus.both.node),
    )
    assert between == [(before, []), bus.both.node]
    assert bus.handlers.dead == ["farr"]
    assert bus.both.node != before
    assert bus.far[0].calls == ["stop"] and bus.far[1].calls == ["start"]
    bus.far[1].join("farr", 1)
    assert bus.handlers.living == ["farr", "farr"]
    bus.far[0].handlers.died("farr")  # what a bus that was left behind says does not count
    assert set(bus.both.nodes) == {"farr"}
