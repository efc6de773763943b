"""Sessions that follow their clients to other hosts: nothing is lost, doubled or out of order.

Each seed is another order in which messages arrive, and other ways of the clients.
`ORDERS` is how many seeds (`make orders`).
"""

from __future__ import annotations

import os
from collections.abc import Callable

import gevent
import pytest

from rtcio_sync.cluster import handover_giver, handover_heir, session_claims, session_switchover
from rtcio_sync.cluster.handover_messages import Mine
from rtcio_sync.cluster.messages import Ask, Kind, encoded
from tests.relay.moving_nodes import Client, Host, Network, check_the_lost

SEEDS = range(int(os.environ.get("ORDERS", "4")))


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody stands still here, however slow this machine is."""
    for name in ("FIN_WITHIN", "READY_WITHIN", "ECHO_WITHIN", "CLAIMS_WITHIN"):
        monkeypatch.setattr(handover_giver, name, 60.0)
    monkeypatch.setattr(handover_heir, "SWITCH_WITHIN", 60.0)
    for name in ("CLAIM_WITHIN", "ECHO_WITHIN"):
        monkeypatch.setattr(session_claims, name, 60.0)
    monkeypatch.setattr(session_switchover, "SETTLE_WITHIN", 60.0)
    monkeypatch.setattr(session_claims, "AGAIN", 0.001)


def hosts_of(seed: int, count: int = 4, each: int = 5) -> Network:
    """Some nodes, each on a host of its own, with clients in rooms."""
    network = Network(seed)
    for _ in range(count):
        add(network)
    network.settle()
    for host in network.living:
        for number in range(each):
            host.open(*network.random.sample(["tea", "cake", "pie"], 1 + number % 2))
    network.settle()
    return network


def add(network: Network) -> Host:
    host = network.add()
    network.far.add(host.name)
    return host


class Travels:
    """Clients that lose their hosts, and come to any others."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.going: dict[Client, gevent.Greenlet] = {}
        self.count = 0
        #: Where clients may come to.
        self.open = network.living

    def one(self) -> None:
        """Somebody talks, and perhaps somebody leaves its host for another one."""
        network = self.network
        network.chatter()
        if network.random.random() < 0.2:
            client = network.random.choice(network.clients)
            host = client.host
            if host is not None and host.link_of(client).eio_sid not in host.frozen:
                client.away, client.host = True, None
        self.return_all()

    def return_all(self) -> None:
        for client in self.network.clients:
            if client.away and client not in self.going:
                host = self.network.random.choice(self.open)
                self.going[client] = gevent.spawn(self._comes, client, host)

    def _comes(self, client: Client, host: Host) -> None:
        self.count += host.comes(client)
        del self.going[client]

    def end(self) -> None:
        """All are somewhere."""
        for _ in range(5000):
            self.return_all()
            if not self.going:
                return
            self.network.run(5, lambda: None)
            gevent.sleep(0.001)
        raise AssertionError("somebody never comes back")


@pytest.mark.parametrize("seed", SEEDS)
def test_clients_that_change_their_hosts_all_the_time_miss_nothing(seed: int) -> None:
    network = hosts_of(seed)
    travels = Travels(network)
    run_until(network, travels, lambda: travels.count > 40)
    travels.end()
    network.settle()
    network.check()
    for client in network.clients:
        assert network.told_of_leaving(client) == []
    for host in network.living:
        assert host.exchange.claims.settled
        for client in network.clients:
            assert host.exchange.heirs.has(client.sid) == (client.host is host)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_host_that_stops_while_clients_travel_loses_nothing(seed: int) -> None:
    network = hosts_of(seed)
    travels = Travels(network)
    network.run(200, travels.one)
    leaver = network.living[seed % 4]
    travels.open = [each for each in network.living if each is not leaver]
    running = gevent.spawn(leaver.exchange.leaving.run, wait=0.0, drain=60.0)
    run_until(network, travels, lambda: bool(running.dead))
    assert running.value is True and not leaver.links
    network.die(leaver)
    network.run(200, travels.one)
    travels.end()
    network.settle()
    network.check()
    for client in network.clients:
        assert client.host is not leaver and network.told_of_leaving(client) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_all_hosts_are_replaced_one_after_the_other_without_a_loss(seed: int) -> None:
    network = hosts_of(seed, count=3)
    travels = Travels(network)
    for leaver in network.living:
        add(network)
        network.settle()
        travels.open = [each for each in network.living if each is not leaver]
        running = gevent.spawn(leaver.exchange.leaving.run, wait=0.0, drain=60.0)
        run_until(network, travels, lambda running=running: bool(running.dead))
        network.die(leaver)
        network.run(100, travels.one)
    travels.end()
    network.settle()
    network.check()
    for client in network.clients:
        assert network.told_of_leaving(client) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_hosts_that_some_others_meet_late_hear_of_all_sessions_that_travel(seed: int) -> None:
    network = hosts_of(seed, count=3)
    travels = Travels(network)
    for leaver in network.living:
        young = add(network)
        others = [host.name for host in network.living if host is not young]
        for name in network.random.sample(others, 2):
            network.delayed |= {(name, young.name), (young.name, name)}
        network.run(100, travels.one)
        network.delayed.clear()
        network.settle()
        travels.open = [each for each in network.living if each is not leaver]
        running = gevent.spawn(leaver.exchange.leaving.run, wait=0.0, drain=60.0)
        run_until(network, travels, lambda running=running: bool(running.dead))
        network.die(leaver)
    travels.end()
    network.settle()
    network.check()
    for client in network.clients:
        assert network.told_of_leaving(client) == []
    assert all(host.exchange.claims.settled for host in network.living)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_host_that_dies_takes_only_those_along_that_were_there(seed: int) -> None:
    network = hosts_of(seed)
    travels = Travels(network)
    run_until(network, travels, lambda: travels.count > 10)
    travels.end()
    network.settle()
    network.die(network.living[seed % 4])
    network.run(200, network.chatter)
    network.settle()
    network.check()
    check_the_lost(network)


NAMES = [
    *("session claim", "session given", "session barrier", "session echo", "session over"),
    *("session here", "session switched", "session fin", "session last"),
]


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_read_is_counted_and_moves_nothing(name: str) -> None:
    network = hosts_of(0, count=2)
    host, other = network.living
    client = other.open("tea")
    network.settle()
    before = dict(host.exchange.heirs.nodes)
    # A node's own id in place of a key, a number, an array that is too short, and nothing.
    hijack = Mine("/", client.sid, other.name, ["tea"], True, host.name)
    for body in (b"", b"\x07", b"\x90", b"junk", encoded(hijack)):
        host.exchange.received(other.name, Kind.ASK, b"", encoded(Ask(0, name, body)))
    assert host.counters.dropped["channel"] >= 4
    assert host.exchange.heirs.nodes == before and host.exchange.claims.settled


def run_until(network: Network, travels: Travels, over: Callable[[], bool]) -> None:
    for _ in range(5000):
        if over():
            return
        network.run(10, travels.one)
        gevent.sleep(0.001)
    raise AssertionError("it takes for ever")
