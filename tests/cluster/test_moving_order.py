"""Nodes that leave while their clients talk: nothing is lost, doubled or out of order.

Each seed is another order in which streams deliver, sessions are busy and clients talk.
"""

from __future__ import annotations

import gevent
import pytest

from rtcio_sync.cluster import arriving, leaving
from tests.cluster.moving_nodes import Host, Network

SEEDS = range(12)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody stands still here, however slow this machine is."""
    for name in ("FIN_WITHIN", "READY_WITHIN", "ECHO_WITHIN"):
        monkeypatch.setattr(leaving, name, 60.0)
    monkeypatch.setattr(arriving, "SWITCH_WITHIN", 60.0)


def network_of(seed: int, count: int = 3, each: int = 6) -> Network:
    """Some nodes that know each other, with clients in rooms."""
    network = Network(seed)
    rooms = ["tea", "cake", "pie"]
    for _ in range(count):
        network.add()
    network.settle()
    for host in network.living:
        for number in range(each):
            host.open(*network.random.sample(rooms, 1 + number % 2))
    network.settle()
    return network


def leave(network: Network, *hosts: Host) -> None:
    """They leave, while clients talk, until they are gone."""
    leavers = [gevent.spawn(each.exchange.leaving.run, wait=5.0, drain=30.0) for each in hosts]
    left: set[Host] = set()
    for _ in range(3000):
        network.run(20, network.chatter)
        for host, leaver in zip(hosts, leavers, strict=True):
            if leaver.dead and host not in left:
                left.add(host)
                assert leaver.value is True
                assert not host.links
                network.die(host)
        if len(left) == len(hosts):
            return
        gevent.sleep(0)
    raise AssertionError("they do not leave")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_that_leaves_takes_nothing_along(seed: int) -> None:
    network = network_of(seed)
    leave(network, network.living[seed % 3])
    network.run(300, network.chatter)
    network.settle()
    network.check()
    for client in network.clients:
        assert client.host is not None and network.told_of_leaving(client) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_all_nodes_leave_to_as_many_new_ones_three_times(seed: int) -> None:
    network = network_of(seed, count=2, each=5)
    for _ in range(3):
        old = network.living
        for _ in old:
            network.add()
        network.settle()
        leave(network, *old)
    network.run(300, network.chatter)
    network.settle()
    network.check()
    assert len({client.host for client in network.clients}) == 2
    for client in network.clients:
        assert network.told_of_leaving(client) == []
