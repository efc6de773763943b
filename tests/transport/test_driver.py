"""A WebSocket of python-engineio's own driver, on a socket pair: Werkzeug's threads and uWSGI."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import simple_websocket
from hypothesis import given, settings
from hypothesis import strategies as st

from rtcio_sync.protocol.websocket_frames import frame_binary, frame_text
from rtcio_sync.transport import driver
from rtcio_sync.transport.driver import DriverWebSocket, frames_of
from rtcio_sync.transport.slow_readers import Backlog
from tests.frames import header, masked
from tests.timing import DEADLINE, wait_until
from tests.transport.peers import Driven, Owner

MAX_SIZE = 1_000_000


class Threads:
    """Tasks that are threads."""

    def __init__(self) -> None:
        self.gate = threading.RLock()

    def spawn(self, target: Callable[..., Any], *args: Any) -> None:
        threading.Thread(target=target, args=args, daemon=True).start()

    def create_event(self) -> threading.Event:
        return threading.Event()


def later(seconds: float, do: Callable[..., Any], *args: Any) -> None:
    timer = threading.Timer(seconds, do, args)
    timer.daemon = True
    timer.start()


class End(Driven):
    """The client's end of a `DriverWebSocket`; ``owner`` hears of what it sends."""

    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog
        self.owner = Owner()
        self.websocket: DriverWebSocket
        super().__init__(self._ride)

    def _ride(self, ws: Any) -> list[bytes]:
        self.websocket = DriverWebSocket(
            ws,
            self.owner,
            tasks=Threads(),
            later=later,
            max_size=MAX_SIZE,
            max_buffered=200_000,
            backlog=self.backlog,
            lock=threading.Lock(),
        )
        self.websocket.start()
        self.ready.set()
        self.websocket.read()
        return []


@pytest.fixture
def backlog() -> Backlog:
    made = Backlog(None, now=time.monotonic, later=later)
    made.gate = threading.RLock()
    return made


@pytest.fixture
def end(backlog: Backlog) -> Iterator[End]:
    made = End(backlog)
    yield made
    made.sock.close()
    made.thread.join(DEADLINE)


def test_messages_travel_both_ways(end: End) -> None:
    end.say("é")
    end.sock.sendall(masked(2, b"\x00\xff"))
    wait_until(lambda: len(end.owner.messages) == 2)
    assert end.owner.messages == ["é".encode(), b"\x00\xff"]
    assert end.owner.binary == [False, True]
    end.websocket.send(frame_text("é".encode()) + frame_binary(b"\x00\xff"))
    assert end.frame() == (1, "é".encode())
    assert end.frame() == (2, b"\x00\xff")


def test_while_it_is_paused_no_message_is_handed_on(end: End) -> None:
    end.websocket.pause()
    end.say("first")  # the reader waits for this one already
    wait_until(lambda: end.owner.messages)
    end.say("second")
    time.sleep(0.05)
    assert end.owner.messages == [b"first"]
    end.websocket.resume()
    wait_until(lambda: end.owner.messages == [b"first", b"second"])


def test_what_waits_while_it_is_paused_waits_with_the_client(end: End) -> None:
    end.websocket.pause()
    count = 40

    def send_all() -> None:
        for _ in range(count):
            end.say("x" * 900_000)

    sending = threading.Thread(target=send_all, daemon=True)
    sending.start()
    time.sleep(0.5)
    assert sending.is_alive()
    assert len(end.websocket._simple.input_buffer) < 5
    end.websocket.resume()
    wait_until(lambda: len(end.owner.messages) == count)
    sending.join(DEADLINE)


def test_of_many_small_messages_few_are_read_ahead(
    end: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, received = threading.Event(), end.owner.message_received
    most = 0

    def hang(payload: bytes, binary: bool) -> None:
        nonlocal most
        assert release.wait(DEADLINE)
        most = max(most, len(end.websocket._simple.input_buffer))
        received(payload, binary)

    monkeypatch.setattr(end.owner, "message_received", hang)
    count = 20_000
    frames = masked(1, b"x" * 100) * count
    sending = threading.Thread(target=end.send, args=(frames,), daemon=True)
    sending.start()
    time.sleep(0.5)
    release.set()
    wait_until(lambda: len(end.owner.messages) == count)
    assert 0 < most < 500


def test_a_message_that_is_too_long_is_not_read_to_its_end(end: End) -> None:
    def send_all() -> None:
        with suppress(OSError):
            end.send(header(0x81, 50 * MAX_SIZE) + bytes(4))
            for _ in range(50):
                end.send(b"x" * MAX_SIZE)
        end.sock.shutdown(socket.SHUT_WR)

    sending = threading.Thread(target=send_all, daemon=True)
    sending.start()
    assert end.frame() == (8, b"\x03\xf1")  # 1009
    wait_until(lambda: end.owner.lost)
    assert end.owner.lost == [(None, True)]
    assert end.websocket._simple.incoming_message_len < 2 * MAX_SIZE
    sending.join(DEADLINE)
    end.thread.join(DEADLINE)
    assert not end.thread.is_alive()


def test_the_end_of_tcp_is_the_end_of_it(end: End) -> None:
    end.sock.close()
    wait_until(lambda: end.owner.lost)
    assert end.owner.lost == [(None, False)]
    end.thread.join(DEADLINE)
    assert not end.thread.is_alive()


def test_a_message_that_is_too_long_ends_it(end: End) -> None:
    end.say("x" * (MAX_SIZE + 1))
    wait_until(lambda: end.owner.lost)
    assert end.owner.lost == [(None, True)]


def test_a_fault_of_ours_ends_it_and_is_logged(
    end: End, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(payload: bytes, binary: bool) -> None:
        raise LookupError("of ours")

    monkeypatch.setattr(end.owner, "message_received", fails)
    end.say("x")
    wait_until(lambda: end.owner.lost)
    assert end.owner.lost == [(None, True)]
    assert end.frame() == (8, b"\x03\xf3")  # 1011
    assert "of ours" in caplog.text


def test_a_client_that_does_not_read_is_sent_away_and_its_threads_end(end: End) -> None:
    for _ in range(200):
        end.websocket.send(frame_text(b"x" * 50_000))
        time.sleep(0.001)
        if end.websocket.closed:
            break
    assert end.websocket.overflowed
    end.thread.join(DEADLINE)
    assert not end.thread.is_alive()
    assert (None, True) in end.owner.lost


def test_a_client_that_never_says_goodbye_back_is_hung_up_on(
    end: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "CLOSE_TIMEOUT", 0.05)
    end.websocket.send(frame_text(b"1"))
    assert end.frame() == (1, b"1")
    end.websocket.close()
    end.thread.join(DEADLINE)
    assert not end.thread.is_alive()


@pytest.mark.parametrize("late", [0.05, 0.5])
def test_it_ends_though_the_reading_thread_of_the_driver_began_after_the_close(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch, late: float
) -> None:
    """``late``: seconds, before and after the connection is hung up."""
    reads = simple_websocket.ws.Base._thread
    closes = simple_websocket.ws.Base.close

    def reads_late(self: Any) -> None:
        wait_until(lambda: not self.connected)
        reads(self)

    def closes_late(self: Any, *reason: Any) -> None:
        time.sleep(late)
        closes(self, *reason)

    monkeypatch.setattr(driver, "CLOSE_TIMEOUT", 0.2)
    monkeypatch.setattr(simple_websocket.ws.Base, "_thread", reads_late)
    monkeypatch.setattr(simple_websocket.ws.Base, "close", closes_late)
    end = End(backlog)
    end.websocket.close()
    end.thread.join(DEADLINE)
    assert not end.thread.is_alive()
    end.sock.close()


@pytest.mark.parametrize("reads", [True, False])
def test_nothing_of_a_connection_that_was_closed_is_accounted_for(
    end: End, backlog: Backlog, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    monkeypatch.setattr(driver, "CLOSE_TIMEOUT", 0.3)
    if reads:
        end.websocket.send(frame_text(b"news"))
    else:
        for _ in range(3):
            end.websocket.send(frame_text(b"x" * 50_000))
    end.websocket.close()  # the close frame is behind what waits
    end.websocket.send(frame_text(b"more"))
    end.thread.join(DEADLINE)
    assert not end.thread.is_alive()
    wait_until(lambda: not backlog._paces)
    assert (backlog.holdings.size, backlog.holdings.cost) == (0, 0)


def test_a_frame_that_is_sent_while_the_connection_closes_is_not_kept(
    end: End, backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "CLOSE_TIMEOUT", 0.3)

    class Frame(bytes):
        """Whoever asks for its length has the connection closed first."""

        def __len__(self) -> int:
            if not end.websocket.closed:
                end.websocket.close()
                end.thread.join(DEADLINE)
            return super().__len__()

    end.websocket.send(Frame(b"\x81\x012"))
    assert not backlog._paces
    assert backlog.holdings.cost == 0


def test_what_is_sent_while_the_writer_counts_is_counted_too(end: End, backlog: Backlog) -> None:
    sender = threading.current_thread()

    class Frame(bytes):
        """Whenever the writer asks for its length, another thread sends."""

        more = 10

        def __len__(self) -> int:
            if threading.current_thread() is not sender and self.more:
                self.more -= 1
                other = threading.Thread(target=end.websocket.send, args=(b"\x81\x012",))
                other.start()
                other.join(DEADLINE)
            return super().__len__()

    end.websocket.send(Frame(b"\x81\x012"))
    wait_until(lambda: not backlog._paces)
    assert end.websocket.buffered == 0
    assert backlog.holdings.cost == 0


def test_an_answer_to_a_ping_does_not_come_into_the_middle_of_a_long_message(
    backlog: Backlog,
) -> None:
    written: list[bytes] = []
    ping = threading.Thread(target=lambda: simple.sock.send(b"pong"), daemon=True)

    class Line:
        """The kernel has room for the first half; meanwhile a PING comes, in the other task."""

        def sendall(self, data: bytes) -> None:
            half = len(data) // 2
            written.append(data[:half])
            if data == b"long":
                ping.start()
                ping.join(0.3)
            written.append(data[half:])

        send = sendall

    simple = SimpleNamespace(sock=Line(), input_buffer=[], incoming_message_len=0)
    ws = SimpleNamespace(ws=simple, send=lambda message: simple.sock.send(message))
    websocket = DriverWebSocket(
        ws,
        None,
        tasks=Threads(),
        later=later,
        max_size=MAX_SIZE,
        max_buffered=None,
        backlog=backlog,
        lock=threading.Lock(),
    )
    websocket.start()
    websocket.send(frame_binary(b"long"))
    wait_until(lambda: len(written) == 4)
    assert b"".join(written) == b"longpong"


@settings(max_examples=30)
@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=4), st.integers(0, 3))
def test_our_own_frames_are_taken_apart_for_other_drivers(
    payloads: list[tuple[bytes, bool]], big: int
) -> None:
    if big:
        payloads = [*payloads, (b"x" * (125 + big), False), (b"y" * (65_534 + big), True)]
    data = b"".join(
        frame_binary(payload) if binary else frame_text(payload) for payload, binary in payloads
    )
    assert list(frames_of(data)) == payloads
