"""What other nodes send that cannot be read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rtcio_sync.cluster.handover_heir import FOR_MEMBERS, SEVERAL
from rtcio_sync.cluster.messages import Kind
from tests.relay.moving_nodes import Host, Network


def leaves_to_it(network: Network, host: Host) -> None:
    host.exchange.arrivals.begin(network.add().name, ["gone"])


def leaves(network: Network, host: Host) -> None:
    host.exchange.leaving.begun = True
    host.exchange.leaving.heir = network.add().name


def claims(network: Network, host: Host) -> None:
    host.exchange.claims.open.add("claimed")


@pytest.mark.parametrize("state", [lambda network, host: None, leaves_to_it, leaves, claims])
@pytest.mark.parametrize("kind", sorted({*FOR_MEMBERS} - SEVERAL))
def test_a_key_that_is_no_text_is_a_message_that_is_dropped_and_counted(
    state: Callable[[Network, Host], None], kind: int
) -> None:
    network = Network(0)
    host, other = network.add(), network.add()
    network.settle()
    state(network, host)
    before = sum(host.counters.dropped.values())
    host.exchange.received(other.name, kind, b"\xff" * 30, b'42["x"]')
    assert sum(host.counters.dropped.values()) == before + 1
    host.exchange.handle((other.name, Kind.RELAY, b"\xff" * 30, b'42["x"]'))
    assert sum(host.counters.dropped.values()) == before + 2
