"""Sessions that follow their clients to other hosts, and what can go wrong on their way."""

from __future__ import annotations

from collections.abc import Callable

import gevent
import pytest

from rtcio_sync.cluster import held_messages, session_claims, session_switchover
from rtcio_sync.cluster.exchange import OVERFLOW
from rtcio_sync.cluster.handover_messages import Given
from rtcio_sync.cluster.messages import Ask, Kind, decoded
from rtcio_sync.errors import OptionError, ProtocolError
from rtcio_sync.protocol.envelope import Drop
from tests.relay.moving_nodes import Client, Host, Network, Tasks, check_the_lost
from tests.timing import in_time


def hosts(count: int) -> Network:
    """Nodes, each on a host of its own."""
    network = Network(0)
    for _ in range(count):
        network.far.add(network.add().name)
    network.settle()
    return network


def client_on(host: Host, *rooms: str) -> Client:
    client = host.open(*rooms)
    host.network.settle()
    return client


def lose(client: Client) -> None:
    """Its connection ends, and its session waits for it."""
    client.away, client.host = True, None


def follows(client: Client, host: Host) -> gevent.Greenlet:
    """The client has reached another host, which fetches its session; that ends with whether."""
    return gevent.spawn(host.exchange.claims.fetch, "/", client.pid)


def run_until(network: Network, over: Callable[[], object]) -> None:
    with in_time():
        while not over():
            network.step()
            gevent.sleep(0.001)


def ended(network: Network, *greenlets: gevent.Greenlet) -> list[bool]:
    run_until(network, lambda: all(each.dead for each in greenlets))
    return [each.value for each in greenlets]


def test_a_second_connection_of_a_client_gets_the_session_that_the_first_one_fetches() -> None:
    network = hosts(2)
    host, other = network.living
    client = client_on(other, "tea")
    lose(client)
    assert ended(network, follows(client, host), follows(client, host)) == [True, True]
    assert host.kept("/", client.pid) is not None


class Scene:
    """A client of one host whose peers are on all, and which has reached a second one."""

    def __init__(self) -> None:
        self.network = hosts(3)
        self.old, self.new, self.third = self.network.living
        self.client = client_on(self.old, "tea")
        self.peers = [client_on(host, "tea") for host in self.network.living]
        lose(self.client)

    def fetches(self) -> bool:
        (found,) = ended(self.network, follows(self.client, self.new))
        self.network.settle()
        return found

    def is_over(self) -> bool:
        """Whether all peers have heard that it is lost, once, and nobody knows its names."""
        for peer in self.peers:
            assert self.network.told_of_leaving(peer) == [self.client.sid]
        for host in self.network.living:
            heirs, replica = host.exchange.heirs, host.exchange.replica
            assert not heirs.is_placed(self.client.sid) and not heirs.is_placed(self.client.pid)
            assert replica.ghost(self.client.sid) is None and host.exchange.claims.settled
        return True


@pytest.mark.parametrize("error", [ProtocolError(Drop.CHANNEL), KeyError("x")])
def test_peers_hear_of_a_session_that_its_new_host_cannot_make(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()
    monkeypatch.setattr(scene.new, "adopt", raising(error))
    assert not scene.fetches() and scene.is_over()
    assert bool(caplog.records) == isinstance(error, KeyError)


def test_peers_hear_of_a_session_that_is_lost_as_its_host_packs_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()

    def pack_kept(namespace: str, pid: str) -> None:
        eio_sid = scene.old.link_of(scene.client).eio_sid
        scene.old.freeze(eio_sid)
        scene.old.pack(eio_sid)
        raise KeyError("x")

    monkeypatch.setattr(scene.old, "pack_kept", pack_kept)
    monkeypatch.setattr(scene.old, "lives", lambda name: False)
    assert not scene.fetches() and scene.is_over()
    assert "could not be given" in caplog.text


def test_peers_hear_of_a_session_that_is_too_long_to_be_sent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()
    post = scene.old.bus.post

    def bounded(node: str, kind: int, body: bytes, key: bytes = b"", *, now: bool = False) -> bool:
        if kind == Kind.ASK:
            ask = decoded(Ask, body)
            if ask.what == "session given" and decoded(Given, ask.body).state:
                raise OptionError("too long")
        return post(node, kind, body, key, now=now)

    monkeypatch.setattr(scene.old.bus, "post", bounded)
    assert not scene.fetches() and scene.is_over()
    assert "could not be given" in caplog.text


def test_a_session_that_cannot_be_packed_stays_where_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()
    monkeypatch.setattr(scene.old, "pack_kept", raising(KeyError("x")))
    assert not scene.fetches()
    assert "could not be given" in caplog.text and scene.new.exchange.claims.settled
    assert scene.old.kept("/", scene.client.pid) is not None
    monkeypatch.undo()
    assert scene.fetches()
    assert all(scene.network.told_of_leaving(peer) == [] for peer in scene.peers)


def raising(error: Exception) -> Callable[..., None]:
    def raises(*args: object) -> None:
        raise error

    return raises


def end(client: Client, host: Host) -> None:
    """Its session ends."""
    eio_sid = host.link_of(client).eio_sid
    host.freeze(eio_sid)
    host.pack(eio_sid)
    host.network.clients.remove(client)


def is_known(network: Network, client: Client) -> bool:
    """Whether a node knows a name of the client."""
    names = client.sid, client.pid
    return any(host.exchange.heirs.is_placed(name) for host in network.living for name in names)


@pytest.mark.parametrize("another_moves", [False, True])
def test_nobody_knows_the_names_of_a_session_that_has_ended_after_its_travel(
    another_moves: bool,
) -> None:
    scene = Scene()
    assert scene.fetches() and is_known(scene.network, scene.client)
    end(scene.client, scene.new)
    if another_moves:
        lose(scene.peers[0])
        going = follows(scene.peers[0], scene.new)
        gevent.sleep(0)
        assert not scene.new.exchange.claims.settled
    scene.new.exchange.claims._sweep()
    scene.network.settle()
    assert not is_known(scene.network, scene.client)
    if another_moves:
        assert ended(scene.network, going) == [True]
        scene.new.exchange.claims._sweep()
        scene.network.settle()
        assert is_known(scene.network, scene.peers[0])


def test_the_names_of_a_session_stay_until_all_know_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_claims, "ECHO_WITHIN", 0.01)
    scene = Scene()
    scene.network.stopped.add(scene.third.name)
    assert scene.fetches()
    end(scene.client, scene.new)
    claims, heirs = scene.new.exchange.claims, scene.new.exchange.heirs
    claims._sweep()
    assert heirs.has(scene.client.sid) and heirs.has(scene.client.pid)
    scene.network.stopped.clear()
    scene.network.settle()
    claims._sweep()
    scene.network.settle()
    assert not is_known(scene.network, scene.client)


def test_what_is_kept_for_a_session_on_its_way_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    dropped = scene.new.counters.dropped
    going = follows(scene.client, scene.new)
    gevent.sleep(0)
    monkeypatch.setattr(held_messages, "MOST_HELD", 0)
    scene.new.emits(scene.new, scene.new.name, "tea")  # it may have to be given to the session here
    assert dropped[OVERFLOW] == 1
    run_until(scene.network, lambda: scene.new.kept("/", scene.client.pid))
    scene.network.stopped.add(scene.old.name)  # it does not say that nothing more comes through it
    scene.network.settle()
    scene.third.says(scene.peers[2], scene.client.sid)
    scene.network.settle()
    assert dropped[OVERFLOW] == 2
    scene.network.stopped.clear()
    assert ended(scene.network, going) == [True]


@pytest.mark.parametrize("what", ["reads it", "dies"])
def test_the_client_speaks_at_once_when_the_last_node_has_read_what_it_sent_before(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_claims, "ECHO_WITHIN", 1000.0)
    scene = Scene()
    network = scene.network
    network.stopped.add(scene.third.name)
    slept: list[float] = []

    def sleep(self: Tasks, seconds: float) -> None:
        slept.append(seconds)
        gevent.sleep(seconds)

    going = follows(scene.client, scene.new)
    run_until(network, lambda: scene.new.kept("/", scene.client.pid))
    monkeypatch.setattr(Tasks, "sleep", sleep)
    network.settle()
    assert not going.dead
    network.stopped.clear()
    if what == "dies":
        network.die(scene.third)
    assert ended(network, going) == [True]
    assert slept == []  # nobody looks again and again


def test_peers_hear_once_of_a_session_that_dies_with_its_new_host() -> None:
    scene = Scene()
    network = scene.network
    going = follows(scene.client, scene.new)
    run_until(network, lambda: not scene.old.exchange.claims.settled)  # it has given it
    network.die(scene.new)
    scene.client.lost = scene.peers[1].lost = True
    network.settle()
    check_the_lost(network)
    going.kill()


def test_a_node_that_has_not_heard_of_a_move_gets_the_session_all_the_same() -> None:
    scene = Scene()
    network = scene.network
    moved = network.streams[scene.new.name, scene.third.name]
    network.stopped.add(scene.third.name)
    going = follows(scene.client, scene.new)
    run_until(network, lambda: scene.new.kept("/", scene.client.pid))
    behind = list(moved)
    moved.clear()  # that it has the session, and all that follows
    network.stopped.clear()
    claims = follows(scene.client, scene.third)
    gevent.sleep(0)
    network.settle()
    assert not claims.dead  # it asks the old one again
    moved.extendleft(reversed(behind))
    assert ended(network, going, claims) == [True, True]
    assert scene.third.kept("/", scene.client.pid) is not None
    network.settle()
    assert all(network.told_of_leaving(peer) == [] for peer in scene.peers)


# What a client has sent from its old host may still wait somewhere, or be on its way through a
# third node. Then the client may not speak from its new host, or its next message would come first.


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody speaks because a time is over."""
    monkeypatch.setattr(session_claims, "ECHO_WITHIN", 1000.0)
    monkeypatch.setattr(session_switchover, "SETTLE_WITHIN", 1000.0)


def follow_at_once(monkeypatch: pytest.MonkeyPatch, client: Client, old: Host, new: Host) -> None:
    """The new host waits for nobody who still sends to the old one, which passes it on."""
    network, going = old.network, follows(client, new)
    run_until(network, lambda: not old.exchange.claims.settled)
    monkeypatch.setattr(session_switchover, "SETTLE_WITHIN", 0.0)
    run_until(network, lambda: new.kept("/", client.pid))
    monkeypatch.setattr(session_switchover, "SETTLE_WITHIN", 1000.0)
    assert ended(network, going) == [True]
    with in_time():
        while not new.exchange.claims.switchover.settled:
            gevent.sleep(0.001)


@pytest.mark.usefixtures("patience")
def test_a_client_does_not_speak_while_something_of_it_is_held_back() -> None:
    network = hosts(4)
    old, new, other, source = network.living
    client, target = client_on(old, "tea"), client_on(source, "cake")
    lose(target)
    network.delayed.add((old.name, source.name))  # that it sends to the other one from now on
    assert ended(network, follows(target, other)) == [True]
    network.settle()
    network.delayed = {(source.name, other.name)}  # that nothing more comes through the source
    network.settle()
    old.says(client, target.sid)
    lose(client)
    going = follows(client, new)
    run_until(network, lambda: new.kept("/", client.pid))
    network.settle()
    assert not going.dead
    network.delayed.clear()
    assert ended(network, going) == [True]


@pytest.mark.usefixtures("patience")
def test_a_client_does_not_speak_while_something_of_it_is_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = hosts(4)
    old, new, other, source = network.living
    client, target = client_on(old, "tea"), client_on(source, "cake")
    lose(target)
    network.delayed.add((other.name, old.name))  # it does not know where the target is now
    follow_at_once(monkeypatch, target, source, other)
    network.settle()
    network.delayed.add((source.name, other.name))
    old.says(client, target.sid)
    lose(client)
    going = follows(client, new)
    run_until(network, lambda: new.kept("/", client.pid))
    network.settle()
    assert not going.dead
    network.delayed.clear()
    assert ended(network, going) == [True]


def test_what_was_sent_to_the_first_host_of_a_session_follows_it_to_the_third(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_claims, "ECHO_WITHIN", 0.01)
    monkeypatch.setattr(session_switchover, "SETTLE_WITHIN", 1000.0)
    network = hosts(4)
    first, second, third, sender = network.living
    client = client_on(first, "tea")
    lose(client)
    network.delayed = {(second.name, sender.name), (third.name, sender.name)}
    follow_at_once(monkeypatch, client, first, second)
    assert ended(network, follows(client, third)) == [True]
    client.host = third
    sender.emits(sender, sender.name, "tea")
    network.settle()
    heard = {f"{sender.name} tea": [0]}
    assert network.heard(client) == heard
    network.delayed.clear()
    network.settle()
    assert network.heard(client) == heard


def test_a_node_that_the_new_host_meets_after_the_move_hears_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_switchover, "SETTLE_WITHIN", 1000.0)
    network = hosts(2)
    old, new = network.living
    client = client_on(old, "tea")
    young = network.add()
    network.far.add(young.name)
    network.delayed = {(young.name, new.name), (new.name, young.name)}
    peer = client_on(young, "tea")
    lose(client)
    assert ended(network, follows(client, new)) == [True]
    client.host, client.away = new, False

    def speak() -> None:
        young.says(peer, client.sid)
        young.emits(peer, peer.sid, "tea")

    speak()  # by way of the old host
    network.delayed.clear()
    for _ in range(20):
        network.step()
        speak()
    network.settle()
    speak()
    network.settle()
    assert network.heard(client) == {
        peer.sid: list(range(22)),
        f"{peer.sid} tea": list(range(22)),
    }
    assert all(host.exchange.claims.settled for host in network.living)


def test_a_node_that_is_met_long_after_a_move_does_not_send_to_the_old_host_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = hosts(3)
    first, old, new = network.living
    client = client_on(first, "tea")
    young = network.add()
    network.far.add(young.name)
    network.delayed = {(young.name, new.name), (new.name, young.name)}
    peer = client_on(young, "tea")
    lose(client)
    assert ended(network, follows(client, old)) == [True]
    network.settle()  # it knows that the old host has it
    monkeypatch.setattr(session_switchover, "SETTLE_WITHIN", 0.01)
    assert ended(network, follows(client, new)) == [True]
    client.host, client.away = new, False
    run_until(network, lambda: all(host.exchange.claims.settled for host in (old, new)))
    monkeypatch.setattr(session_switchover, "SETTLE_WITHIN", 1000.0)
    network.delayed.clear()
    network.settle()
    young.says(peer, client.sid)
    young.emits(peer, peer.sid, "tea")
    network.settle()
    assert network.heard(client) == {peer.sid: [0], f"{peer.sid} tea": [0]}
    assert all(host.exchange.claims.settled for host in network.living)
