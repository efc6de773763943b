"""Who reads gets everything, however much it is; who does not read costs its own connection.

Real servers, real TCP: how fast a client reads is what the kernels on both sides make of it.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from tests.integration.hostile import Hostile
from tests.integration.raw import RawPolling, RawWebSocket
from tests.integration.servers import Running, running
from tests.timing import DEADLINE, wait_until

MB = 1_000_000

#: Seconds within which a client that does not read is let go: 5 and a look a second, on a machine
#: with other work to do.
NOTICED = 30.0

WAYS = ("listen", "pywsgi", "gunicorn-gevent", "gunicorn-geventwebsocket", "werkzeug")


@pytest.fixture(scope="module", params=WAYS)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(request.param, "large", cors_allowed_origins="*") as server:
        yield server


def given(peer: RawWebSocket | RawPolling, count: int, size: int) -> None:
    """Receives so many messages, all of them, in order."""
    for number in range(count):
        packet = peer.receive()
        assert isinstance(packet, str)
        name, words = json.loads(packet[2:])
        assert name == "given" and len(words) == size and int(words[:8]) == number


# -- who reads ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "count"), [(10 * MB, 1), (100_000, 100), (100, 20_000)])
@pytest.mark.parametrize("kind", [RawWebSocket, RawPolling])
def test_a_client_that_reads_gets_ten_megabytes_in_one_go(
    server: Running, kind: Any, size: int, count: int
) -> None:
    with kind(server) as peer:
        peer.join()
        peer.send(peer.event(json.dumps(["give", size, count])))
        given(peer, count, size)
        peer.send(peer.event('["echo",1]', 7))
        assert peer.receive() == "437[1]"


@pytest.mark.parametrize("way", WAYS)
def test_ten_megabytes_pass_the_upgrade(way: str) -> None:
    with running(way, "large", environ={"RTCIO_TEST_STALL": "60"}) as server:
        polling = RawPolling(server)
        polling.join()
        polling.send(polling.event(json.dumps(["give", MB, 10])))
        server.eventually("/stats", lambda stats: stats["send_buffer_bytes"] > 10 * MB)
        with RawWebSocket(server, sid=polling.handshake["sid"]) as peer:
            peer.send("2probe")
            assert peer.receive() == "3probe"
            peer.send("5")
            given(peer, 10, MB)


def drip(sock: socket.socket, rate: int, stop: Callable[[], bool]) -> int:
    """Reads so many bytes a second; how many in all."""
    sock.settimeout(DEADLINE)
    begun, read = time.monotonic(), 0
    while not stop():
        more = sock.recv(min(65536, rate // 10))
        if not more:
            break
        read += len(more)
        time.sleep(max(0.0, begun + read / rate - time.monotonic()))
    return read


@pytest.mark.parametrize("way", ["listen", "gunicorn-gevent", "werkzeug"])
def test_who_reads_slowly_but_reads_is_kept_for_longer_than_a_ping_takes(way: str) -> None:
    with (
        running(way, "large", ping_interval=2, ping_timeout=2) as server,
        Hostile(server.port, window=4096) as slow,
    ):
        slow.join()
        slow.say(json_event("give", 4 * MB))
        end = time.monotonic() + 15
        drip(slow.sock, 100_000, lambda: time.monotonic() > end)
        stats = server.get_json("/stats")
        assert stats["closed"] == {} and stats["connected"] == 1


def json_event(*arguments: Any) -> str:
    return f"42{json.dumps(arguments)}"


# -- who does not ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "count"), [(20 * MB, 1), (100_000, 200), (300, 60_000)])
def test_who_reads_nothing_is_closed_and_leaves_nothing(
    server: Running, size: int, count: int
) -> None:
    closed = server.get_json("/stats")["closed"].get("slow-reader", 0)
    with Hostile(server.port, window=4096) as deaf:
        deaf.join()
        given_before = len(server.get_json("/waited"))
        deaf.say(json_event("give", size, count))
        waited = server.eventually("/waited", lambda waited: len(waited) > given_before)
        assert waited[-1] > 10 * MB
        wait_until(lambda: server.get_json("/stats")["closed"].get("slow-reader", 0) == closed + 1)
        server.eventually("/stats", lambda stats: stats["send_buffer_bytes"] == 0)


@pytest.mark.parametrize("kind", [RawPolling])
def test_who_does_not_come_for_what_waits_is_closed(server: Running, kind: Any) -> None:
    closed = server.get_json("/stats")["closed"].get("slow-reader", 0)
    peer = kind(server)
    peer.join()
    peer.send(peer.event(json.dumps(["give", 2 * MB])))
    wait_until(lambda: server.get_json("/stats")["closed"].get("slow-reader", 0) == closed + 1)
    server.eventually("/stats", lambda stats: stats["send_buffer_bytes"] == 0)


# -- answers that nobody reads ---------------------------------------------------------------------


def unread(port: int, request: bytes, window: int = 4096) -> socket.socket:
    """The connection on which a request was sent, of whose answer nothing is read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    sock.connect(("127.0.0.1", port))
    sock.settimeout(DEADLINE)
    sock.sendall(request)
    return sock


def unread_answer(server: Running, size: int, count: int) -> socket.socket:
    """The connection of a new session's poll, whose answer of so many messages has begun.

    The session lives 4 s. A busy machine may not do all of it in them: then with another session.
    """
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        with suppress(AssertionError), ExitStack() as stack:  # an answer other than 200
            peer = RawPolling(server)
            peer.join()
            peer.send(peer.event(json.dumps(["give", size, count])))
            sock = stack.enter_context(unread(server.port, get(peer._path)))
            assert sock.recv(13, socket.MSG_PEEK | socket.MSG_WAITALL)[9:] == b"200 "
            stack.pop_all()
            return sock
    raise AssertionError("no answer has begun")


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


EVENTED = ("listen", "pywsgi", "pywsgi-geventwebsocket", "gunicorn-gevent",
           "gunicorn-geventwebsocket")  # fmt: skip


# The kernel may have room for the smaller one: Werkzeug then closes the connection by itself.
@pytest.mark.parametrize(
    ("way", "size"),
    [*((way, size) for way in EVENTED for size in (900_000, 6 * MB)), ("werkzeug", 6 * MB)],
)
def test_an_answer_that_nobody_reads_ends_with_its_session(way: str, size: int) -> None:
    with running(way, "large", ping_interval=2, ping_timeout=2) as server, ExitStack() as stack:
        before = server.get_json("/census")
        for _ in range(5):
            stack.enter_context(unread_answer(server, size, 3))
        wait_until(lambda: server.get_json("/stats")["connections"] == 0)
        # The first sessions left the server with greenlets of its own.
        wait_until(lambda: server.get_json("/census")["greenlets"] <= before["greenlets"] + 3)
        wait_until(lambda: server.get_json("/census")["sockets"] <= before["sockets"] + 1)
        server.eventually("/stats", lambda stats: stats["send_buffer_bytes"] == 0)


@pytest.mark.parametrize("way", EVENTED)
def test_an_answer_that_is_read_byte_by_byte_ends_with_its_session(way: str) -> None:
    with running(way, "large", ping_interval=2, ping_timeout=2) as server:
        before = server.get_json("/census")
        with unread_answer(server, 900_000, 5) as sock:

            def ended() -> bool:
                with suppress(OSError):
                    sock.recv(1)
                return bool(server.get_json("/census")["sockets"] <= before["sockets"])

            wait_until(ended)


@pytest.mark.parametrize("request_line", ["GET /socket.io/?EIO=4&transport=none HTTP/1.1",
                                          "GET /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1",
                                          "OPTIONS /socket.io/?EIO=4 HTTP/1.1"])  # fmt: skip
@pytest.mark.parametrize("way", ["listen", "pywsgi", "gunicorn-gevent"])
def test_answers_of_no_session_that_nobody_reads_end(way: str, request_line: str) -> None:
    with running(way, "large") as server:
        before = server.get_json("/census")
        request = f"{request_line}\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n".encode()
        with ExitStack() as stack:
            sock = stack.enter_context(unread(server.port, request))
            sock.setblocking(False)
            end = time.monotonic() + NOTICED
            gone = False
            while not gone and time.monotonic() < end:
                try:
                    sock.send(request * 100)
                except BlockingIOError:
                    time.sleep(0.05)
                except OSError:
                    gone = True
            assert gone, "it is still there"
            server.eventually("/stats", lambda stats: stats["closed"] == {"unread": 1})
        wait_until(lambda: server.get_json("/census")["sockets"] <= before["sockets"])
