"""What is to be read apart goes out apart: real sockets in this process, pauses of an hour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.event import Event
from gevent.hub import get_hub

from rtcio_sync.hub.turns import PRIORITY
from rtcio_sync.protocol.websocket_frames import TEXT, frame_close, frame_text
from rtcio_sync.transport.websocket import WebSocket
from tests.frames import masked
from tests.timing import DEADLINE, in_time, until
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


def test_a_hold_ends_when_the_peer_sends_something(
    ends: tuple[WebSocket, Any], owner: Owner
) -> None:
    connection, peer = ends
    connection.hold(HOUR)
    connection.send(ONE)
    assert arrived(peer) == b""
    peer.sendall(masked(TEXT, b"4hello"))
    assert received(peer, len(ONE)) == ONE
    connection.send(TWO)
    assert arrived(peer) == TWO


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


# -- a frame to many peers -------------------------------------------------------------------------


def test_what_is_sent_now_does_not_wait_for_the_end_of_the_turn(
    ends: tuple[WebSocket, Any],
) -> None:
    connection, peer = ends
    connection.send_now(ONE)
    peer.setblocking(False)
    assert peer.recv(100) == ONE
    assert connection.buffered == 0


def test_what_is_sent_now_overtakes_nothing(ends: tuple[WebSocket, Any]) -> None:
    connection, peer = ends
    connection.send(ONE)
    connection.send_now(TWO)
    connection.hold(0.01)
    connection.send_now(THREE)
    assert received(peer, len(ONE + TWO + THREE)) == ONE + TWO + THREE


def test_what_is_sent_now_within_a_hold_waits_for_its_end(ends: tuple[WebSocket, Any]) -> None:
    connection, peer = ends
    connection.hold(HOUR)
    connection.send_now(ONE)
    assert arrived(peer) == b""
    assert connection.buffered == len(ONE)


def test_what_is_sent_now_to_a_peer_that_does_not_read_waits_and_is_bounded(
    ends: tuple[WebSocket, Any], owner: Owner
) -> None:
    connection, peer = ends
    connection.max_buffered = 100_000
    sent = 0
    while not connection.buffered:
        connection.send_now(ONE)
        sent += 1
        gevent.sleep(0)
    connection.send_now(TWO)
    assert received(peer, sent * len(ONE) + len(TWO)) == sent * ONE + TWO
    while not connection.closed:
        connection.send_now(ONE)
        gevent.sleep(0)
    until(lambda: owner.lost == [(None, True)])
    assert connection.overflowed


def test_what_is_sent_now_to_a_peer_that_has_gone_ends_the_connection(
    ends: tuple[WebSocket, Any], owner: Owner
) -> None:
    connection, peer = ends
    peer.close()
    connection.send_now(ONE)
    connection.send_now(TWO)
    until(lambda: len(owner.lost) == 1)
    assert connection.closed


# -- the end of a turn -----------------------------------------------------------------------------


class Look:
    """Notes, when it is called, what a peer has received by then."""

    def __init__(self, peer: Any) -> None:
        peer.setblocking(False)
        self.peer = peer
        self.seen = b""
        self.done = Event()

    def __call__(self) -> None:
        self.seen = self.peer.recv(100)
        self.done.set()


def test_what_a_message_brings_about_does_not_wait_for_what_the_loop_has_to_call_back(
    ends: tuple[WebSocket, Any], owner: Owner
) -> None:
    connection, peer = ends
    look = Look(peer)

    def answer(payload: bytes) -> None:
        get_hub().loop.run_callback(look)
        connection.send(TWO)
        connection.send(THREE)

    owner.on_message = answer
    peer.send(masked(1, b"4?"))
    assert look.done.wait(DEADLINE)
    assert look.seen == TWO + THREE


def test_what_a_message_brings_about_does_not_wait_for_handlers_that_wait_for_their_turn(
    ends: tuple[WebSocket, Any], owner: Owner
) -> None:
    connection, peer = ends
    look = Look(peer)
    next_turn = get_hub().loop.timer(0.0, priority=PRIORITY)

    def both_at_once() -> None:
        peer.send(masked(1, b"4?"))
        next_turn.start(look)

    owner.on_message = lambda payload: connection.send(TWO)
    gevent.sleep(0)  # it reads from now on
    get_hub().loop.run_callback(both_at_once)
    assert look.done.wait(DEADLINE)
    next_turn.close()
    assert look.seen == TWO


def test_what_a_greenlet_sends_goes_out_before_the_loop_waits(
    ends: tuple[WebSocket, Any],
) -> None:
    connection, peer = ends
    gevent.spawn(connection.send, ONE)
    assert received(peer, len(ONE)) == ONE
    connection.send(TWO)
    assert received(peer, len(TWO)) == TWO


def test_what_is_sent_at_the_end_of_a_turn_goes_out_and_so_does_what_follows(
    ends: tuple[WebSocket, Any],
) -> None:
    other, other_peer = ends

    class Infectious(WebSocket):
        def flush(self) -> None:
            super().flush()
            other.send(TWO)

    ours, theirs = gevent.socket.socketpair()
    connection = Infectious(ours, Owner(), max_size=1000, max_buffered=1000)
    connection.send(ONE)
    assert received(theirs, len(ONE)) == ONE
    assert received(other_peer, len(TWO)) == TWO
    other.send(THREE)
    assert received(other_peer, len(THREE)) == THREE
    connection.abort()
    theirs.close()
