"""Nodes that leave to an heir which this node has not met."""

from __future__ import annotations

from rtcio_sync.cluster import handover_messages
from rtcio_sync.cluster.messages import Kind, decoded, encoded
from tests.relay.moving_nodes import Host, Network


def says_moving(host: Host, source: Host, number: int, heir: str) -> None:
    message = handover_messages.Moving(number, [source.name], heir)
    host.exchange.received(source.name, Kind.MOVING, b"", encoded(message))


def meets(host: Host, node: str) -> None:
    host.bus.nodes[node] = None
    host.exchange.joined(node)


def fins(network: Network, host: Host, source: Host) -> list[int]:
    """The attempts of ``source`` that ``host`` has answered."""
    found = network.streams[host.name, source.name]
    return [decoded(handover_messages.Fin, each[2]).number for each in found if each[0] == Kind.FIN]


def test_whatever_heirs_died_before_the_last_one_is_taken_when_it_is_met() -> None:
    network = Network(0)
    host, source = network.add(), network.add()
    network.settle()
    for number in range(200):
        says_moving(host, source, number, f"x{number:03d}")
    says_moving(host, source, 200, "heir")
    meets(host, "x003")
    assert fins(network, host, source) == []
    meets(host, "heir")
    assert fins(network, host, source) == [200]


def test_nothing_is_kept_of_a_node_that_died() -> None:
    network = Network(0)
    host, source = network.add(), network.add()
    network.settle()
    says_moving(host, source, 1, "heir")
    del host.bus.nodes[source.name]
    host.exchange.died(source.name)
    assert not host.exchange.succession._unknown
    meets(host, "heir")
    assert fins(network, host, source) == []
