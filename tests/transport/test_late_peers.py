"""Peers that read slowly, over real TCP in this process: what waits, and what it costs."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.socket
import pytest

from rtcio_sync.protocol.websocket_frames import BINARY, frame_binary
from rtcio_sync.transport import slow_readers as rules
from rtcio_sync.transport import tcp
from rtcio_sync.transport.slow_readers import ITEM, Backlog
from rtcio_sync.transport.websocket import WebSocket
from tests.timing import DEADLINE, until
from tests.transport.peers import Owner, Peer, handshaken

MB = 1_000_000


def later(seconds: float, do: Callable[..., Any], *args: Any) -> None:
    gevent.spawn_later(seconds, do, *args)


class House:
    """Connections of one server, and the peers at their other ends."""

    def __init__(self, total: int | None = None, ceiling: int | None = 64 * MB) -> None:
        self.backlog = Backlog(total, now=time.monotonic, later=later)
        self.ceiling = ceiling
        self.refused: list[Any] = []
        self.backlog.on_ceiling = lambda message, bound: self.refused.append(message)
        self.pairs: list[tuple[WebSocket, Peer]] = []

    def connect(self, *, tls: Any = None) -> tuple[WebSocket, Peer]:
        if tls is not None:
            ours, theirs = handshaken(tls, small=True)
        else:
            ours, theirs = tcp_pair()
        owner = Owner()
        connection = owner.connection = WebSocket(
            ours, owner, max_size=100, max_buffered=self.ceiling, backlog=self.backlog
        )
        connection.start()
        self.pairs.append((connection, Peer(theirs)))
        return self.pairs[-1]

    def close(self) -> None:
        for connection, peer in self.pairs:
            connection.abort()
            peer.sock.close()


def tcp_pair() -> tuple[Any, Any]:
    """Both ends of a TCP connection; the kernel keeps little for either."""
    with gevent.socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        theirs = gevent.socket.socket()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        theirs.connect(listener.getsockname())
        ours, _ = listener.accept()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return ours, theirs


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes tenths."""
    monkeypatch.setattr(rules, "EVERY", 0.05)
    monkeypatch.setattr(rules, "STALL", 0.3)


@pytest.fixture
def patient(soon: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that reads is not given up, however busy the machine is."""
    monkeypatch.setattr(rules, "STALL", 3600)


def empty(house: House) -> bool:
    holdings = house.backlog.holdings
    return (holdings.size, holdings.cost, holdings._held) == (0, 0, {})


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("size", "count"), [(20 * MB, 1), (3 * MB, 7), (100_000, 200), (300, 30_000), (0, 10_000)]
)
def test_a_peer_that_reads_gets_all_in_order_and_nothing_is_left(
    house: House, size: int, count: int
) -> None:
    connection, peer = house.connect()
    payloads = [number.to_bytes(4, "big") + bytes(size) for number in range(count)]
    for payload in payloads:
        connection.send(frame_binary(payload))
    for payload in payloads:
        assert peer.frame() == (BINARY, payload)
    until(lambda: connection.buffered == 0 and empty(house))
    connection.send(frame_binary(b"and on"))
    assert peer.frame() == (BINARY, b"and on")


def test_a_peer_that_reads_nothing_of_much_is_given_up_and_nothing_is_left(house: House) -> None:
    connection, _ = house.connect()
    for _ in range(20):
        connection.send(frame_binary(bytes(100_000)))
    until(lambda: connection.overflowed)
    assert empty(house) and house.refused == []


def test_a_peer_that_reads_nothing_of_little_is_let_be(house: House) -> None:
    connection, _ = house.connect()
    for _ in range(5):
        connection.send(frame_binary(bytes(100_000)))
    gevent.sleep(1)
    assert not connection.overflowed
    assert house.backlog.holdings.size > 0


def test_the_first_frame_of_a_turn_may_be_too_much(house: House) -> None:
    house.ceiling = 5 * MB
    connection, _ = house.connect()
    connection.send(frame_binary(bytes(6 * MB)))
    until(lambda: connection.overflowed)
    assert len(house.refused) == 1 and empty(house)


def test_many_small_frames_reach_the_ceiling_by_what_they_cost(house: House) -> None:
    house.ceiling = 5 * MB
    connection, _ = house.connect()
    sent = 0
    while not connection.overflowed and sent < 200_000:
        connection.send(frame_binary(b"x"))
        sent += 1
        if sent % 1000 == 0:
            gevent.sleep(0)
    assert connection.overflowed
    assert sent * ITEM < 15 * MB, "3 bytes each on the wire"


@pytest.mark.usefixtures("patient")
def test_a_frame_for_many_late_peers_counts_once_and_is_not_copied(house: House) -> None:
    frame = frame_binary(bytes(5 * MB))
    peers = [house.connect() for _ in range(20)]
    for connection, _ in peers:
        connection.send(frame)
    until(lambda: all(connection._rest is not None for connection, _ in peers))
    assert house.backlog.holdings.size == len(frame)
    assert all(connection._rest.obj is frame for connection, _ in peers)  # type: ignore[union-attr]


@pytest.mark.usefixtures("patient")
def test_over_the_total_the_slowest_goes_and_who_reads_gets_all() -> None:
    house = House(total=10 * MB)
    try:
        keen, reader = house.connect()
        deaf, _ = house.connect()
        deaf.send(frame_binary(bytes(900_000)))
        reading = gevent.spawn(lambda: [reader.frame()[0] for _ in range(19)])
        gevent.sleep(0.2)
        for _ in range(19):
            keen.send(frame_binary(bytes(MB // 2)))
        until(lambda: deaf.overflowed)
        assert reading.get(timeout=DEADLINE) == [BINARY] * 19
        assert not keen.overflowed
    finally:
        house.close()


@pytest.mark.usefixtures("patient")
def test_a_connection_that_ends_while_its_peer_is_late_lets_go_of_all(house: House) -> None:
    for end in (WebSocket.abort, WebSocket.close):
        connection, peer = house.connect()
        for _ in range(50):
            connection.send(frame_binary(bytes(10_000)))
        gevent.sleep(0.01)
        assert not empty(house)
        end(connection)
        peer.sock.close()
        until(lambda: empty(house))


@pytest.mark.usefixtures("patient")
def test_over_tls_who_reads_gets_all_and_who_does_not_is_given_up(
    house: House, contexts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, peer = house.connect(tls=contexts)
    sending = [bytes((number,)) * 300_000 for number in range(20)]
    for payload in sending:
        connection.send(frame_binary(payload))
    for payload in sending:
        assert peer.frame() == (BINARY, payload)
    until(lambda: empty(house))
    monkeypatch.setattr(rules, "STALL", 0.3)
    connection.send(frame_binary(bytes(5 * MB)))
    until(lambda: connection.overflowed)
    assert empty(house)


def test_what_a_peer_has_acknowledged_is_what_it_has_taken() -> None:
    ours, theirs = tcp_pair()
    before = tcp.acknowledged(ours)
    if before is None:
        pytest.fail("Linux tells it")
    ours.send(b"x" * 1000)
    until(lambda: tcp.acknowledged(ours) == before + 1000)
    ours.close()
    theirs.close()
    assert tcp.acknowledged(ours) is None
    one, other = gevent.socket.socketpair()
    assert tcp.acknowledged(one) is None
    one.close()
    other.close()
