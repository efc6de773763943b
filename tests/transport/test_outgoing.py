"""What is to be read apart goes out apart: real sockets in this process, pauses of an hour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import gevent.socket
import pytest

from rtcio_sync.protocol.websocket import frame_close, frame_text
from rtcio_sync.transport.websocket import WebSocket
from tests.timing import in_time
from tests.transport.peers import Owner, arrived

HOUR = 3600.0

ONE, TWO, THREE = (frame_text(text) for text in (b"4one", b"4two", b"4three"))


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def ends(owner: Owner) -> Iterator[tuple[WebSocket, Any]]:
    """A connection, and the socket at its other end."""
    ours, theirs = gevent.socket.socketpair()
    connection = WebSocket(ours, owner, max_size=1000, max_buffered=1000)
    connection.start()
    yield connection, theirs
    connection.abort()
    theirs.close()


def received(peer: Any, size: int) -> bytes:
    data = b""
    with in_time():
        while len(data) < size:
            data += peer.recv(size - len(data))
    return data


def test_what_is_sent_before_a_hold_goes_out_and_what_is_sent_after_it_waits(
    ends: tuple[WebSocket, Any],
) -> None:
    connection, peer = ends
    connection.send(ONE)
    connection.hold(HOUR)
    connection.send(TWO)
    assert arrived(peer) == ONE
    connection.send(THREE)
    assert arrived(peer) == b""
    assert connection.buffered == len(TWO + THREE)


def test_when_a_hold_is_over_all_goes_out_in_order(ends: tuple[WebSocket, Any]) -> None:
    connection, peer = ends
    connection.send(ONE)
    connection.hold(0.01)
    connection.send(TWO)
    connection.send(THREE)
    assert received(peer, len(ONE + TWO + THREE)) == ONE + TWO + THREE
    assert connection.buffered == 0
    connection.send(ONE)
    assert arrived(peer) == ONE


def test_a_hold_in_which_nothing_is_sent_leaves_no_trace(ends: tuple[WebSocket, Any]) -> None:
    connection, peer = ends
    connection.hold(0.001)
    with in_time():
        while connection.held is not None:
            gevent.sleep(0.001)
    connection.send(ONE)
    assert arrived(peer) == ONE


def test_a_second_hold_within_a_first_changes_nothing(ends: tuple[WebSocket, Any]) -> None:
    connection, peer = ends
    connection.hold(0.01)
    connection.send(ONE)
    connection.hold(HOUR)
    assert received(peer, len(ONE)) == ONE


def test_a_connection_that_closes_within_a_hold_loses_nothing(
    ends: tuple[WebSocket, Any], owner: Owner
) -> None:
    connection, peer = ends
    connection.hold(0.01)
    connection.send(ONE)
    connection.close()
    assert received(peer, len(ONE) + 4) == ONE + frame_close()


def test_a_connection_that_is_aborted_within_a_hold_is_over_at_once(
    ends: tuple[WebSocket, Any], owner: Owner
) -> None:
    connection, peer = ends
    connection.hold(0.001)
    connection.send(ONE)
    connection.abort()
    gevent.sleep(0.01)
    assert peer.recv(10) == b""
    assert owner.lost == [(None, False)]


def test_a_hold_is_no_reason_to_give_a_peer_up_that_reads(ends: tuple[WebSocket, Any]) -> None:
    connection, peer = ends
    connection.hold(HOUR)
    frame = frame_text(b"4" * 400)
    for _ in range(3):
        connection.send(frame)
    assert received(peer, 3 * len(frame)) == 3 * frame
    assert not connection.closed
