"""Nodes that leave while their clients talk: nothing is lost, doubled or out of order.

Each seed is another order in which streams deliver, sessions are busy and clients talk.
`ORDERS` is how many seeds (`make orders`).
"""

from __future__ import annotations

import os
from collections.abc import Callable

import gevent
import pytest

from rtcio_sync.cluster import handover_giver, handover_heir
from tests.relay.moving_nodes import Host, Network, check_the_lost

SEEDS = range(int(os.environ.get("ORDERS", "4")))


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody stands still here, however slow this machine is."""
    for name in ("FIN_WITHIN", "READY_WITHIN", "ECHO_WITHIN"):
        monkeypatch.setattr(handover_giver, name, 60.0)
    monkeypatch.setattr(handover_heir, "SWITCH_WITHIN", 60.0)


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
def test_a_node_of_another_host_is_no_heir_and_misses_nothing(seed: int) -> None:
    network = network_of(seed)
    far = network.add()  # the youngest
    network.settle()
    network.far.add(far.name)
    leaver = network.living[seed % 3]
    leave(network, leaver)
    network.run(300, network.chatter)
    network.settle()
    assert far.exchange.heirs.nodes[leaver.name] not in (leaver.name, far.name)
    network.check()
    for client in network.clients:
        assert client.host is not far and network.told_of_leaving(client) == []


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


def run_until(network: Network, over: Callable[[], bool]) -> None:
    for _ in range(3000):
        if over():
            return
        network.run(5, network.chatter)
        gevent.sleep(0.001)
    raise AssertionError("it takes for ever")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_that_dies_while_it_leaves_takes_only_what_had_not_left(seed: int) -> None:
    network = network_of(seed, each=8)
    leaver = network.living[seed % 3]
    gevent.spawn(leaver.exchange.leaving.run, wait=5.0, drain=30.0)
    left = 1 + seed % 7
    run_until(network, lambda: len(leaver.links) <= 8 - left)
    network.die(leaver)
    network.run(200, network.chatter)
    network.settle()
    gone = [client for client in network.clients if client.lost]
    assert len(gone) == len(leaver.links)
    network.check()
    check_the_lost(network)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_whose_heir_dies_leaves_to_another_one(seed: int) -> None:
    network = network_of(seed, each=8)
    leaver = network.living[seed % 3]
    running = gevent.spawn(leaver.exchange.leaving.run, wait=5.0, drain=30.0)
    run_until(network, lambda: len(leaver.links) <= 4)
    heir = network.hosts[str(leaver.exchange.leaving.heir)]
    network.die(heir)
    run_until(network, lambda: bool(running.dead))
    assert running.value is True and not leaver.links
    network.die(leaver)
    network.run(200, network.chatter)
    network.settle()
    for client in network.clients:  # whose descriptor went to the heir when it had died
        client.lost = client.host is None
    (last,) = network.living
    assert {client.host for client in network.clients if not client.lost} == {last}


@pytest.mark.parametrize("seed", range(4))
def test_a_node_that_stands_still_does_not_hold_a_move_up(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIN_WITHIN", "ECHO_WITHIN", "LAST_WITHIN"):
        monkeypatch.setattr(handover_giver, name, 0.2)
    monkeypatch.setattr(handover_heir, "SWITCH_WITHIN", 0.2)
    network = network_of(seed, count=4)
    stopped, leaver = network.living[0], network.living[1]
    network.stopped.add(stopped.name)
    running = gevent.spawn(leaver.exchange.leaving.run, wait=5.0, drain=30.0)
    run_until(network, lambda: bool(running.dead))
    assert running.value is True and not leaver.links
    network.stopped.clear()  # it goes on, before the other one has gone
    network.run(100, network.chatter)
    network.settle()
    network.check()


@pytest.mark.parametrize("seed", range(4))
def test_a_node_gives_up_to_move_to_an_heir_that_stands_still(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIN_WITHIN", "READY_WITHIN", "ECHO_WITHIN", "LAST_WITHIN"):
        monkeypatch.setattr(handover_giver, name, 0.1)
    network = network_of(seed)
    leaver, heir = network.living[0], network.living[2]
    network.stopped.add(heir.name)
    running = gevent.spawn(leaver.exchange.leaving.run, wait=5.0, drain=30.0)
    run_until(network, lambda: bool(running.dead))
    assert leaver.exchange.leaving.heir == heir.name
    assert len(leaver.links) == 6 and not leaver.frozen


@pytest.mark.parametrize("seed", SEEDS)
def test_of_nodes_that_all_leave_but_need_not_one_stays(seed: int) -> None:
    network = network_of(seed)
    leavers = {
        host: gevent.spawn(host.exchange.leaving.run, wait=0.0, drain=30.0, must=lambda: False)
        for host in network.living
    }
    run_until(network, lambda: all(leaver.dead for leaver in leavers.values()))
    (stays,) = [host for host, leaver in leavers.items() if not leaver.value]
    assert not stays.exchange.leaving.begun
    network.run(100, network.chatter)
    network.settle()
    network.check()
    assert {client.host for client in network.clients} == {stays}
