"""A connection between real sockets: the peer's end is driven by the test."""

from __future__ import annotations

import gc
import logging
import os
import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.socket
import gevent.ssl
import pytest
from gevent.hub import get_hub

from rtcio_sync.protocol.websocket_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    frame_binary,
    frame_text,
)
from rtcio_sync.transport import websocket as module
from rtcio_sync.transport.slow_readers import Backlog
from rtcio_sync.transport.websocket import WebSocket
from tests.frames import header, masked
from tests.timing import DEADLINE, until
from tests.transport.peers import Owner, Peer, handshaken, narrow, tcp

ENDED = (0, b"")


class Pair:
    """A started connection, its owner, and its peer."""

    def __init__(self, ours: Any, theirs: Any, **options: Any) -> None:
        self.owner = Owner()
        self.peer = Peer(theirs)
        self.fd = ours.fileno()
        start = options.pop("start", True)
        settings = {"max_size": 1 << 20, "max_buffered": None, **options}
        self.connection = self.owner.connection = WebSocket(ours, self.owner, **settings)
        if start:
            self.connection.start()


def settle() -> None:
    """Let everything that is ready happen."""
    for _ in range(5):
        gevent.sleep(0.002)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.fixture
def pair() -> Iterator[Callable[..., Pair]]:
    """Makes connected pairs; afterwards all of them have to end."""
    made: list[Pair] = []

    def make(*, small: bool = False, **options: Any) -> Pair:
        made.append(Pair(*(narrow() if small else tcp()), **options))
        return made[-1]

    yield make
    for each in made:
        each.connection.abort()
        each.peer.sock.close()
    settle()
    for each in made:
        assert len(each.owner.lost) == 1, "connection_lost is called exactly once"
        assert each.owner.in_hub == {True}


# --- receiving ------------------------------------------------------------------------------------


def test_messages_are_handed_on_in_the_hub_in_order(pair: Callable[..., Pair]) -> None:
    one = pair()
    one.peer.send(masked(TEXT, b"1"), masked(BINARY, b"2"), masked(TEXT, b"3", fin=False))
    one.peer.send(masked(CONTINUATION, b"4"))
    until(lambda: len(one.owner.messages) == 3)
    assert one.owner.messages == [b"1", b"2", b"34"]
    assert one.owner.binary == [False, True, False]


def test_a_large_message_arrives_whole(pair: Callable[..., Pair]) -> None:
    one = pair(max_size=3 << 20)
    payload = random.Random(1).randbytes(3 << 20)
    one.peer.send(masked(BINARY, payload))
    until(lambda: one.owner.messages)
    assert one.owner.messages == [payload]


def test_what_the_server_had_read_comes_first_and_not_before_the_start(
    pair: Callable[..., Pair],
) -> None:
    frame = masked(TEXT, b"second")
    one = pair(unread=masked(TEXT, b"first") + frame[:4], start=False)
    one.peer.send(frame[4:], masked(TEXT, b"third"))
    settle()
    assert one.owner.messages == []
    one.connection.start()
    until(lambda: len(one.owner.messages) == 3)
    assert one.owner.messages == [b"first", b"second", b"third"]


def test_a_ping_is_answered_with_its_payload(pair: Callable[..., Pair]) -> None:
    one = pair()
    one.peer.send(masked(PING, b"are you there?"))
    assert one.peer.frame() == (PONG, b"are you there?")


def test_pings_of_a_peer_that_does_not_read_fill_no_memory_and_the_last_is_answered(
    pair: Callable[..., Pair],
) -> None:
    one = pair(small=True)
    one.connection.send(frame_binary(bytes(4 << 20)))
    until(lambda: one.connection.buffered)
    settle()
    waiting = one.connection.buffered
    for number in range(50):
        one.peer.send(*(masked(PING, f"{number}-{n}".encode()) for n in range(100)))
        settle()
    assert one.connection.buffered <= waiting
    assert one.peer.frame()[0] == BINARY
    assert one.peer.frame() == (PONG, b"49-99")


def test_one_that_never_stops_sending_does_not_keep_the_others_waiting(
    pair: Callable[..., Pair],
) -> None:
    busy, other = pair(), pair()
    seen_before: list[int] = []
    other.owner.on_message = lambda payload: seen_before.append(len(busy.owner.messages))
    flood = masked(TEXT, b"f") * 20_000  # several chunks, all there before the hub looks
    busy.peer.send(flood)
    other.peer.send(masked(TEXT, b"me"))
    until(lambda: len(busy.owner.messages) == 20_000)
    assert seen_before and seen_before[0] < 20_000


def test_a_paused_connection_hands_on_nothing_and_loses_nothing(pair: Callable[..., Pair]) -> None:
    one = pair()
    one.owner.on_message = lambda payload: one.connection.pause() if payload == b"2" else None
    one.peer.send(*(masked(TEXT, str(n).encode()) for n in range(5)))
    until(lambda: len(one.owner.messages) == 3)
    one.peer.send(masked(TEXT, b"5"))
    settle()
    assert one.owner.messages == [b"0", b"1", b"2"]
    one.connection.resume()
    assert len(one.owner.messages) == 3, "resume() itself hands nothing on"
    until(lambda: len(one.owner.messages) == 6)
    assert one.owner.messages == [str(n).encode() for n in range(6)]


def test_a_paused_connection_lets_the_peer_wait(pair: Callable[..., Pair]) -> None:
    one = pair(small=True)
    one.connection.pause()
    sending = gevent.spawn(one.peer.send, masked(TEXT, b"x" * 1000) * 10_000)
    gevent.sleep(0.2)
    assert not sending.dead, "10 MB went somewhere"
    one.connection.resume()
    until(lambda: len(one.owner.messages) == 10_000)


# --- sending --------------------------------------------------------------------------------------


def test_what_is_sent_in_one_turn_goes_out_in_one_piece() -> None:
    # Each send is a packet of its own on such a socket.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    owner = Owner()
    connection = WebSocket(ours, owner, max_size=100, max_buffered=None)
    for text in (b"one", b"two", b"three"):
        connection.send(frame_text(text))
    assert connection.buffered == 5 + 5 + 7
    settle()
    connection.send(frame_text(b"next turn"))
    settle()
    theirs.settimeout(DEADLINE)
    assert theirs.recv(100) == b"\x81\x03one\x81\x03two\x81\x05three"
    assert theirs.recv(100) == b"\x81\x09next turn"
    assert connection.buffered == 0
    connection.abort()
    theirs.close()


def test_a_slow_reader_gets_everything_in_order(pair: Callable[..., Pair]) -> None:
    one = pair(small=True, max_buffered=8 << 20)
    sent = [bytes((number % 251,)) * (number * 37 % 5000) for number in range(2000)]
    for number, payload in enumerate(sent):
        one.connection.send(frame_binary(payload))
        if number % 100 == 0:
            gevent.sleep(0)
    settle()
    assert one.connection.buffered > 1 << 20
    for payload in sent:
        assert one.peer.frame() == (BINARY, payload)
    until(lambda: one.connection.buffered == 0)


def test_too_much_waiting_for_a_peer_ends_its_connection(pair: Callable[..., Pair]) -> None:
    one = pair(small=True, max_buffered=50_000)
    others_turn: list[bool] = []
    for _ in range(100):
        one.connection.send(frame_binary(bytes(10_000)))
        gevent.sleep(0)
        others_turn.append(one.connection.closed)
    assert not others_turn[2] and others_turn[-1]
    assert one.connection.overflowed
    assert one.connection.buffered == 0
    until(lambda: one.owner.lost)
    assert one.owner.lost == [(None, True)]
    assert not is_open(one.fd)


def test_a_long_turn_is_not_taken_for_a_peer_that_does_not_read(pair: Callable[..., Pair]) -> None:
    one = pair(max_buffered=10_000)
    for _ in range(100):
        one.connection.send(frame_binary(bytes(1000)))
    assert not one.connection.overflowed
    for _ in range(100):
        assert one.peer.frame() == (BINARY, bytes(1000))


def test_sending_to_a_dead_peer_ends_quietly(
    pair: Callable[..., Pair], caplog: pytest.LogCaptureFixture
) -> None:
    one = pair()
    one.connection.pause()  # so that it is the write that fails
    one.peer.reset()
    for _ in range(3):
        one.connection.send(frame_text(b"anyone?"))
        settle()
    assert one.owner.lost == [(None, False)]
    one.connection.send(frame_text(b"still?"))
    settle()
    # Servers of earlier tests may end meanwhile, and log what their handlers raise.
    assert not [each for each in caplog.records if each.name.endswith("transport.websocket")]


# --- the end --------------------------------------------------------------------------------------


def test_close_sends_what_is_buffered_and_waits_for_the_answer(pair: Callable[..., Pair]) -> None:
    one = pair(small=True)
    payload = random.Random(2).randbytes(1 << 20)
    one.connection.send(frame_binary(payload))
    one.connection.close(1001, "restarting")
    one.connection.close(1000, "twice")
    assert one.connection.closed
    one.connection.send(frame_text(b"too late"))
    assert one.peer.frame() == (BINARY, payload)
    assert one.peer.frame() == (CLOSE, b"\x03\xe9restarting")
    settle()
    assert one.owner.lost == [] and is_open(one.fd)
    one.peer.send(masked(CLOSE, b"\x03\xe9"))
    assert one.peer.frame() == ENDED
    until(lambda: one.owner.lost)
    assert one.owner.lost == [(1001, False)]
    assert not is_open(one.fd)


def test_messages_after_close_are_dropped(pair: Callable[..., Pair]) -> None:
    one = pair()
    one.owner.on_message = lambda payload: one.connection.close()
    one.peer.send(masked(TEXT, b"1"), masked(TEXT, b"2"))
    assert one.peer.frame() == (CLOSE, b"\x03\xe8")
    one.peer.send(masked(TEXT, b"3"), masked(CLOSE, b"\x03\xe8"))
    assert one.peer.frame() == ENDED
    assert one.owner.messages == [b"1"]


def test_messages_after_hanging_up_are_handed_on_until_the_peer_closes(
    pair: Callable[..., Pair],
) -> None:
    one = pair()
    one.connection.send(frame_text(b"before"))
    one.connection.hang_up()
    one.connection.hang_up()
    one.connection.send(frame_text(b"too late"))
    assert one.peer.frame() == (TEXT, b"before")
    assert one.peer.frame() == ENDED
    one.peer.send(masked(TEXT, b"1"), masked(PING, b"?"), masked(TEXT, b"2"))
    until(lambda: one.owner.messages == [b"1", b"2"])
    assert one.owner.lost == [] and is_open(one.fd)
    one.peer.sock.close()
    until(lambda: one.owner.lost)
    assert one.owner.lost == [(None, False)]
    assert not is_open(one.fd)


def test_what_waits_for_a_peer_is_sent_before_hanging_up(pair: Callable[..., Pair]) -> None:
    one = pair(small=True)
    payload = random.Random(4).randbytes(1 << 20)
    one.connection.send(frame_binary(payload))
    one.connection.hang_up()
    assert one.peer.frame() == (BINARY, payload)
    assert one.peer.frame() == ENDED


def test_a_peer_that_does_not_close_after_hanging_up_is_not_waited_for(
    pair: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.05)
    one = pair()
    one.connection.hang_up()
    assert one.peer.frame() == ENDED
    until(lambda: one.owner.lost)
    assert not is_open(one.fd)


def test_a_paused_connection_that_closes_sees_the_answer(pair: Callable[..., Pair]) -> None:
    one = pair()
    one.connection.pause()
    one.connection.close()
    assert one.peer.frame() == (CLOSE, b"\x03\xe8")
    one.peer.send(masked(TEXT, b"crossed it"), masked(CLOSE, b"\x03\xe8"))
    assert one.peer.frame() == ENDED


def test_one_that_was_never_started_closes_too(pair: Callable[..., Pair]) -> None:
    one = pair(start=False)
    one.connection.close(1001)
    assert one.peer.frame() == (CLOSE, b"\x03\xe9")
    one.peer.send(masked(CLOSE, b"\x03\xe9"))
    assert one.peer.frame() == ENDED


@pytest.mark.parametrize("reads", [True, False])
def test_a_peer_that_does_not_answer_a_close_is_not_waited_for(
    pair: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.1)
    one = pair(small=True)
    if not reads:
        one.connection.send(frame_binary(bytes(1 << 20)))
    one.connection.close(1001)
    until(lambda: one.owner.lost)
    assert one.owner.lost == [(1001, False)]
    assert not is_open(one.fd)


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_a_close_of_the_peer_is_answered_with_its_code(
    pair: Callable[..., Pair], code: int
) -> None:
    one = pair()
    one.peer.send(masked(TEXT, b"last"), masked(CLOSE, code.to_bytes(2, "big") + b"bye"))
    assert one.peer.frames() == [(CLOSE, code.to_bytes(2, "big")), ENDED]
    until(lambda: one.owner.lost)
    assert one.owner.messages == [b"last"]
    assert one.owner.lost == [(code, False)]
    assert not is_open(one.fd)


def test_a_close_without_a_code_is_answered_without_one(pair: Callable[..., Pair]) -> None:
    one = pair()
    one.peer.send(masked(CLOSE))
    assert one.peer.frames() == [(CLOSE, b""), ENDED]
    until(lambda: one.owner.lost)
    assert one.owner.lost == [(1005, False)]


def test_what_is_buffered_goes_out_before_the_answer_to_a_close(pair: Callable[..., Pair]) -> None:
    one = pair(small=True)
    payload = random.Random(3).randbytes(1 << 20)
    one.connection.send(frame_binary(payload))
    one.peer.send(masked(CLOSE, b"\x03\xe8"))
    until(lambda: one.owner.lost)
    assert one.peer.frames() == [(BINARY, payload), (CLOSE, b"\x03\xe8"), ENDED]


def test_of_too_many_that_are_closing_the_oldest_is_ended(pair: Callable[..., Pair]) -> None:
    backlog = Backlog(None, now=lambda: 0.0, later=lambda seconds, do, *args: None)
    backlog.closing.bound = lambda: 2
    broken, left, late, gone = (pair(backlog=backlog) for _ in range(4))
    broken.peer.send(masked(3))
    until(lambda: broken.owner.lost)
    left.connection.close()
    gone.connection.close()
    assert not is_open(broken.fd)
    gone.peer.send(masked(CLOSE))
    until(lambda: not is_open(gone.fd))
    assert len(backlog.closing) == 1
    late.connection.close()
    settle()
    assert is_open(left.fd) and is_open(late.fd)
    for each in (left, late):
        each.peer.send(masked(CLOSE))
        until(lambda each=each: not is_open(each.fd))
    assert len(backlog.closing) == 0


def test_bytes_behind_a_close_frame_do_not_reset_the_connection(pair: Callable[..., Pair]) -> None:
    one = pair()
    one.peer.send(masked(CLOSE, b"\x03\xe8"), masked(TEXT, b"x" * 200_000))
    assert one.peer.frame() == (CLOSE, b"\x03\xe8")
    assert one.peer.frame() == ENDED
    assert one.owner.messages == []


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (frame_text(b"not masked"), 1002),
        (masked(TEXT, b"\xff"), 1007),
        (header(0x81, (1 << 20) + 1), 1009),
        (masked(CLOSE, b"\x03\xed"), 1002),
    ],
)
def test_a_broken_protocol_ends_with_its_code_even_if_the_peer_goes_on_sending(
    pair: Callable[..., Pair], frame: bytes, code: int
) -> None:
    one = pair()
    one.peer.send(masked(TEXT, b"good"), frame, bytes(300_000))
    opcode, payload = one.peer.frame()
    assert (opcode, payload[:2]) == (CLOSE, code.to_bytes(2, "big"))
    until(lambda: one.owner.lost)
    assert one.owner.lost == [(code, True)]
    assert one.owner.messages == [b"good"]
    one.peer.send(bytes(300_000))
    one.peer.sock.shutdown(socket.SHUT_WR)
    assert one.peer.frame() == ENDED
    until(lambda: not is_open(one.fd))


def test_a_failed_peer_that_sends_on_without_end_is_cut_off(pair: Callable[..., Pair]) -> None:
    one = pair()
    one.peer.send(frame_text(b"not masked"))
    with pytest.raises(OSError):
        for _ in range(1000):
            one.peer.send(bytes(100_000))
    until(lambda: not is_open(one.fd))


def test_a_failed_peer_that_stays_is_not_waited_for(
    pair: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.1)
    one = pair()
    one.peer.send(frame_text(b"not masked"))
    until(lambda: not is_open(one.fd))


def test_a_broken_protocol_after_our_close_just_ends(pair: Callable[..., Pair]) -> None:
    one = pair()
    one.connection.close(1001)
    one.peer.send(frame_text(b"not masked"))
    until(lambda: one.owner.lost)
    assert [frame[0] for frame in one.peer.frames()] in ([CLOSE, 0], [CLOSE, -1])
    assert one.owner.lost == [(1001, True)]


def test_the_end_of_tcp_is_told_without_a_code(
    pair: Callable[..., Pair], caplog: pytest.LogCaptureFixture
) -> None:
    ended, reset, half = pair(), pair(), pair()
    ended.peer.sock.close()
    reset.peer.reset()
    half.peer.sock.shutdown(socket.SHUT_WR)
    until(lambda: ended.owner.lost and reset.owner.lost and half.owner.lost)
    assert ended.owner.lost == reset.owner.lost == half.owner.lost == [(None, False)]
    assert not caplog.records


def test_abort_sends_no_close_frame_and_tells_in_a_turn_of_its_own(
    pair: Callable[..., Pair],
) -> None:
    one = pair()
    one.connection.send(frame_text(b"lost"))
    one.connection.abort()
    assert one.owner.lost == []
    assert not is_open(one.fd)
    until(lambda: one.owner.lost)
    assert one.owner.lost == [(None, False)]
    assert one.peer.frames() == [ENDED]


@pytest.mark.parametrize("how", ["abort", "close", "overflow"])
def test_an_owner_may_end_its_connection_while_it_is_told_of_a_message(
    pair: Callable[..., Pair], how: str
) -> None:
    one = pair(small=True, max_buffered=10_000)

    def end(payload: bytes) -> None:
        if how == "overflow":
            for _ in range(200):
                one.connection.send(frame_binary(bytes(9000)))
        else:
            getattr(one.connection, how)()

    one.owner.on_message = end
    one.peer.send(masked(TEXT, b"1"), masked(TEXT, b"2"))
    gevent.spawn(one.peer.frames)
    until(lambda: one.connection.closed)
    if how == "close":
        one.peer.send(masked(CLOSE, b"\x03\xe8"))
    until(lambda: one.owner.lost)
    assert one.owner.messages == [b"1"]
    assert not is_open(one.fd)


def test_when_lost_is_set_once_tcp_is_closed(pair: Callable[..., Pair]) -> None:
    one, two = pair(), pair()
    waiting = gevent.spawn(one.connection.when_lost().wait, DEADLINE)
    settle()
    assert not waiting.dead
    one.peer.sock.close()
    assert waiting.get(timeout=DEADLINE)
    two.connection.abort()
    assert two.connection.when_lost().is_set()


# --- what must never reach the loop ---------------------------------------------------------------


def test_an_owner_that_raises_loses_its_connection_and_no_other(
    pair: Callable[..., Pair], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair(), pair()
    logged_in_hub: list[bool] = []

    class Probe(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged_in_hub.append(gevent.getcurrent() is get_hub())

    def fail(payload: bytes) -> None:
        raise ValueError("of the owner")

    probe = Probe()
    module.logger.addHandler(probe)
    try:
        one.owner.on_message = fail
        one.peer.send(masked(TEXT, b"1"), masked(TEXT, b"2"))
        assert one.peer.frame() == (CLOSE, b"\x03\xf3")  # 1011
        until(lambda: one.owner.lost)
    finally:
        module.logger.removeHandler(probe)
    assert one.owner.lost == [(1011, True)]
    assert one.owner.messages == [b"1"]
    assert logged_in_hub == [False]
    [record] = caplog.records
    assert record.exc_info and isinstance(record.exc_info[1], ValueError)
    other.peer.send(masked(TEXT, b"still here"))
    until(lambda: other.owner.messages)


def test_an_owner_that_raises_at_the_end_is_reported(
    pair: Callable[..., Pair], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair(), pair()

    def fail() -> None:
        raise ValueError("of the owner")

    one.owner.on_lost = fail
    one.peer.sock.close()
    until(lambda: caplog.records)
    other.peer.send(masked(TEXT, b"still here"))
    until(lambda: other.owner.messages)


def test_an_interrupt_in_the_hub_reaches_the_main_greenlet(pair: Callable[..., Pair]) -> None:
    one, other = pair(), pair()

    def interrupt(payload: bytes) -> None:
        raise KeyboardInterrupt

    one.owner.on_message = interrupt
    one.peer.send(masked(TEXT, b"1"))
    with pytest.raises(KeyboardInterrupt):
        gevent.sleep(DEADLINE)
    assert one.peer.frame() == (CLOSE, b"\x03\xf3")  # 1011: who knows what was interrupted
    other.peer.send(masked(TEXT, b"2"))
    until(lambda: other.owner.messages)


def test_nothing_of_a_connection_is_left_behind() -> None:
    def census() -> tuple[int, int, int]:
        gc.collect()
        things = gc.get_objects()
        return (
            len(os.listdir("/proc/self/fd")),
            sum(isinstance(thing, WebSocket) for thing in things),
            sum(isinstance(thing, Owner) for thing in things),
        )

    def lives() -> None:
        pairs = [Pair(*tcp()) for _ in range(40)]
        for number, one in enumerate(pairs):
            if number % 4 == 0:
                one.peer.send(masked(CLOSE, b"\x03\xe8"))
            elif number % 4 == 1:
                one.peer.sock.close()
            elif number % 4 == 2:
                one.connection.abort()
            else:
                one.peer.send(frame_text(b"not masked"))
        until(lambda: all(one.owner.lost for one in pairs))
        for one in pairs:
            one.peer.sock.close()
        until(lambda: not any(is_open(one.fd) for one in pairs))

    lives()  # what gevent and the interpreter keep after the first time
    before = census()
    lives()
    settle()
    after = census()  # fewer than before where something of an earlier test went only now
    assert all(now <= then for now, then in zip(after, before, strict=True)), (before, after)


# --- TLS ------------------------------------------------------------------------------------------


def test_tls_carries_large_messages_both_ways_at_once(contexts: tuple[Any, Any]) -> None:
    one = Pair(*handshaken(contexts, small=True), max_size=2 << 20)
    payload, answer = random.Random(4).randbytes(2 << 20), random.Random(5).randbytes(2 << 20)
    one.connection.send(frame_binary(answer))
    sending = gevent.spawn(one.peer.send, masked(BINARY, payload))
    assert one.peer.frame() == (BINARY, answer)
    sending.get(timeout=DEADLINE)
    until(lambda: one.owner.messages)
    assert one.owner.messages == [payload]
    assert one.connection.buffered == 0
    one.peer.send(masked(CLOSE, b"\x03\xe8"))
    assert one.peer.frames() == [(CLOSE, b"\x03\xe8"), ENDED]
    until(lambda: not is_open(one.fd))
    assert one.owner.lost == [(1000, False)]


def test_bytes_that_the_tls_layer_holds_are_not_waited_for_in_the_kernel(
    contexts: tuple[Any, Any],
) -> None:
    ours, theirs = handshaken(contexts)
    theirs.sendall(masked(TEXT, b"in one record") + masked(TEXT, b"with this"))
    first = ours.recv(3)  # the rest of the record is decrypted now
    assert ours.pending()
    one = Pair(ours, theirs, unread=first)
    until(lambda: len(one.owner.messages) == 2)
    assert one.owner.messages == [b"in one record", b"with this"]
    one.connection.abort()
    settle()
    assert not is_open(one.fd)


@pytest.mark.parametrize("payload", [b"3", b"a message"])
def test_what_tls_reads_while_it_is_paused_is_handed_on_later(
    contexts: tuple[Any, Any], payload: bytes
) -> None:
    one = Pair(*handshaken(contexts))
    settle()
    one.connection.pause()
    one.peer.send(masked(TEXT, payload))
    settle()
    one.connection._readable()  # as after a read that had to wait until something was written
    assert one.owner.messages == []
    one.connection.resume()
    until(lambda: one.owner.messages)
    assert one.owner.messages == [payload]
    one.connection.abort()


def test_a_tls_peer_that_does_not_read_is_cut_off(contexts: tuple[Any, Any]) -> None:
    one = Pair(*handshaken(contexts, small=True), max_buffered=100_000)
    for _ in range(200):
        one.connection.send(frame_binary(bytes(20_000)))
        gevent.sleep(0)
    assert one.connection.overflowed
    until(lambda: one.owner.lost)
    assert one.owner.lost == [(None, True)]
    assert not is_open(one.fd)


def test_a_broken_protocol_over_tls_ends_with_its_code(contexts: tuple[Any, Any]) -> None:
    one = Pair(*handshaken(contexts))
    one.peer.send(frame_text(b"not masked"))
    assert one.peer.frame()[0] == CLOSE
    one.peer.sock.close()
    until(lambda: not is_open(one.fd))
    assert one.owner.lost == [(1002, True)]


def test_tls_ended_without_its_own_goodbye_is_the_end_of_tcp(contexts: tuple[Any, Any]) -> None:
    one = Pair(*handshaken(contexts))
    theirs = one.peer.sock
    os.close(theirs.detach())
    until(lambda: one.owner.lost)
    assert one.owner.lost == [(None, False)]
    assert not is_open(one.fd)
