"""A request whose body nobody reads, or nobody sends, holds a connection no longer than it may.

Under `listen()` that is true of every answer, the app's own too; elsewhere of our endpoint's.
"""

from __future__ import annotations

import json
import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import trustme

from tests.integration.raw import RawPolling, RawWebSocket
from tests.integration.servers import Running, running
from tests.timing import DEADLINE, wait_until

TIMEOUT = 1.5  # `handshake_timeout`
#: Seconds from the request to the end of the connection: the time-out, and a machine's other work.
BOUND = TIMEOUT + 25

ENDPOINT = "/socket.io/?EIO=4&transport=polling"
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
ENDLESS = "Content-Length: 1000000000\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"

#: Method, path, header lines; and whether the answer is one of our endpoint's.
REQUESTS: dict[str, tuple[str, str, str, bool]] = {
    "no session": ("POST", ENDPOINT, ENDLESS, True),
    "unknown session": ("POST", f"{ENDPOINT}&sid=nobody", ENDLESS, True),
    "unknown session, in chunks": ("POST", f"{ENDPOINT}&sid=nobody", CHUNKED, True),
    "no such page": ("POST", "/nowhere", ENDLESS, False),
    "no such page, in chunks": ("POST", "/nowhere", CHUNKED, False),
    "too large": ("POST", f"{ENDPOINT}&sid=SID", ENDLESS, True),
    "a refused upgrade": ("GET", "/socket.io/?EIO=3&transport=websocket", UPGRADE + ENDLESS, True),
    "an upgrade of nobody's": (
        "GET", "/socket.io/?EIO=4&transport=websocket&sid=nobody", UPGRADE + ENDLESS, True,
    ),
    "GET with a body": ("GET", "/health", ENDLESS, False),
    "a handshake with a body": ("GET", ENDPOINT, ENDLESS, True),
    "OPTIONS": ("OPTIONS", ENDPOINT, ENDLESS, True),
    "PUT": ("PUT", ENDPOINT, ENDLESS, True),
    "a page that does not read": ("POST", "/unread", ENDLESS, False),
    "a page that does not read, in chunks": ("POST", "/unread", CHUNKED, False),
    "a short body that does not come": ("POST", "/unread", "Content-Length: 10\r\n", False),
    "who waits to be told to go on": (
        "POST", "/unread", "Content-Length: 10\r\nExpect: 100-continue\r\n", False,
    ),
}  # fmt: skip


WAYS = ["listen", "pywsgi", "pywsgi-geventwebsocket", "gunicorn-gevent", "gunicorn-geventwebsocket"]


@pytest.fixture(scope="module", params=WAYS)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(request.param, "bodies", limits={"handshake_timeout": TIMEOUT}) as server:
        server.way = request.param  # type: ignore[attr-defined]
        yield server


@pytest.fixture(scope="module")
def listening() -> Iterator[Running]:
    with running("listen", "bodies", limits={"handshake_timeout": TIMEOUT}) as server:
        yield server


def connected(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), BOUND)


def until_the_end(sock: socket.socket, trickle: bytes = b"") -> tuple[bytes, float]:
    """What came until the server closed, and after how many seconds that was."""
    began, got = time.monotonic(), b""
    sock.settimeout(0.2 if trickle else BOUND)
    while time.monotonic() < began + BOUND:
        try:
            if trickle:
                sock.sendall(trickle)
            more = sock.recv(65536)
            if not more:
                return got, time.monotonic() - began
            got += more
        except TimeoutError:
            continue
        except ConnectionError:
            return got, time.monotonic() - began
    raise AssertionError(f"still open after {BOUND} s and {got!r}")


def request_of(server: Running, case: str) -> bytes:
    method, path, headers, _ = REQUESTS[case]
    if "SID" in path:
        path = path.replace("SID", RawPolling(server).handshake["sid"])
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()


OURS = [case for case, each in REQUESTS.items() if each[3]]
TRICKLES = pytest.mark.parametrize("trickle", [b"", b"x"], ids=["nothing comes", "it trickles"])


@TRICKLES
@pytest.mark.parametrize("case", OURS)
def test_a_body_that_our_endpoint_does_not_read_is_not_awaited(
    server: Running, case: str, trickle: bytes
) -> None:
    assert_let_go(server, case, trickle)


@TRICKLES
@pytest.mark.parametrize("case", [case for case in REQUESTS if case not in OURS])
def test_a_body_that_a_page_does_not_read_is_not_awaited(
    listening: Running, case: str, trickle: bytes
) -> None:
    assert_let_go(listening, case, trickle)


def assert_let_go(server: Running, case: str, trickle: bytes) -> None:
    request = request_of(server, case)
    if trickle and b"chunked" in request:
        trickle = b"1\r\nx\r\n"
    with connected(server) as sock:
        sock.sendall(request)
        got, _ = until_the_end(sock, trickle)
    assert len(re.findall(rb"HTTP/1\.1 (?:101|[2-5]\d\d) ", got)) == 1, got


def test_an_answer_before_a_long_body_says_that_it_is_the_last(server: Running) -> None:
    with connected(server) as sock:
        sock.sendall(request_of(server, "unknown session"))
        got, _ = until_the_end(sock)
    head, _, body = got.partition(b"\r\n\r\n")
    if "gunicorn" in server.way:  # type: ignore[attr-defined]
        assert body == b'{"code":1,"message":"Session ID unknown"}'
    if server.way != "gunicorn-gevent":  # type: ignore[attr-defined]
        assert b"connection: close" in head.lower()


def test_a_client_that_sends_all_of_a_long_body_reads_why_it_was_refused(server: Running) -> None:
    sid = RawPolling(server).handshake["sid"]
    body = b"4" + b"x" * 3_000_000
    with connected(server) as sock:
        head = f"POST {ENDPOINT}&sid={sid} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        sock.sendall(head.encode() + b"\r\n")
        try:
            sock.sendall(body)
        except ConnectionError:
            assert server.way != "listen"  # type: ignore[attr-defined]
            return
        if server.way == "listen":  # type: ignore[attr-defined]
            assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_short_body_that_nobody_reads_does_not_end_the_connection(listening: Running) -> None:
    request = b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    chunks = (
        b"POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\n\r\n"
    )
    last = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with connected(listening) as sock:
        sock.sendall(request + chunks + request + last)
        got, _ = until_the_end(sock)
    assert got.count(b"HTTP/1.1 200 OK") == 4
    assert got.endswith(b"\r\n\r\nok")


def test_a_page_reads_a_body_that_comes_slowly_and_after_the_first_of_its_answer() -> None:
    patience = 5
    with (
        running("listen", "bodies", limits={"handshake_timeout": patience}) as server,
        connected(server) as sock,
    ):
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(20):
            sock.sendall(b"x" * 5_000)
            time.sleep(1.5 * patience / 20)
        got, _ = until_the_end(sock)
    assert got.count(b"x") >= 100_000


def test_who_sends_without_end_is_cut_off(listening: Running) -> None:
    with connected(listening) as sock:
        sock.sendall(request_of(listening, "a page that does not read"))
        began, sent = time.monotonic(), 0
        with pytest.raises(ConnectionError):
            while time.monotonic() < began + BOUND:
                sent += sock.send(b"x" * 65536)
    assert sent < 100_000_000


def test_a_body_given_up_half_way_lets_no_second_request_through(server: Running) -> None:
    sid = RawPolling(server).handshake["sid"]
    hidden = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(server) as sock:
        head = f"POST {ENDPOINT}&sid={sid} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n4"
        sock.sendall(head.encode())
        got = sock.recv(65536)
        assert got.startswith(b"HTTP/1.1 400 ")
        try:
            sock.sendall(b"x" * 998 + hidden * 3)
            got, _ = until_the_end(sock)
        except ConnectionError:
            got = b""
    assert b" 200 OK" not in got


def test_a_websocket_whose_request_has_a_length_is_a_websocket(listening: Running) -> None:
    with connected(listening) as sock:
        path = "/socket.io/?EIO=4&transport=websocket"
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\n{UPGRADE}Content-Length: 0\r\n\r\n"
        sock.sendall(head.encode())
        got = b""
        while b'"sid"' not in got:
            more = sock.recv(65536)
            assert more, got
            got += more
    assert got.startswith(b"HTTP/1.1 101 ")


# -- HEAD, and other answers without a body -------------------------------------------------------


BODILESS = {
    "HEAD of a page": ("HEAD", "/health", 200),
    "HEAD of none": ("HEAD", "/nowhere", 404),
    "HEAD of what is streamed": ("HEAD", "/stream", 200),
    "HEAD of what a plain application writes": ("HEAD", "/plain", 200),
    "HEAD of a page that raises": ("HEAD", "/raises", 500),
    "HEAD without a session": ("HEAD", ENDPOINT, 400),
    "HEAD of nobody's session": ("HEAD", f"{ENDPOINT}&sid=nobody", 400),
    "HEAD of an unknown transport": ("HEAD", "/socket.io/?EIO=4", 400),
    "204": ("GET", "/no-content", 204),
    "304": ("GET", "/not-modified", 304),
    "204 with a body": ("GET", "/plain-204", 204),
    "304 with a body": ("GET", "/plain-304", 304),
}
BODILESS_OURS = [case for case in BODILESS if "session" in case or "transport" in case]


@pytest.mark.parametrize("case", BODILESS_OURS)
def test_an_answer_of_our_endpoint_to_head_leaves_the_connection_in_step(
    server: Running, case: str
) -> None:
    assert_in_step(server, case)


@pytest.mark.parametrize("case", [case for case in BODILESS if case not in BODILESS_OURS])
def test_an_answer_without_a_body_leaves_the_connection_in_step(
    listening: Running, case: str
) -> None:
    assert_in_step(listening, case)


def assert_in_step(server: Running, case: str) -> None:
    method, path, status = BODILESS[case]
    with connected(server) as sock:
        for _ in range(2):
            sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            got = b""
            while b"\r\n\r\n" not in got:
                more = sock.recv(65536)
                assert more, got
                got += more
            assert got.startswith(f"HTTP/1.1 {status} ".encode()), got
            assert got.endswith(b"\r\n\r\n"), got
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got, _ = until_the_end(sock)
        assert re.findall(rb"HTTP/1\.1 \d{3}", got) == [b"HTTP/1.1 200"]
        assert got.endswith(b"ok")


def test_head_says_how_long_the_body_of_get_would_be(server: Running) -> None:
    with connected(server) as sock:
        sock.sendall(f"HEAD {ENDPOINT}&sid=nobody HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = sock.recv(65536).lower()
    length = len(b'{"code":1,"message":"Session ID unknown"}')
    assert f"content-length: {length}\r\n".encode() in head


# -- connections that wait ------------------------------------------------------------------------


def test_idle_connections_leave_room_for_websockets() -> None:
    with running("listen", "bodies", max_connections=70) as server:
        idle = [connected(server) for _ in range(150)]
        for sock in idle[:100]:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        with RawWebSocket(server) as websocket:
            websocket.join()
        closed = 0
        for sock in idle:
            sock.settimeout(0.5)
            try:
                while sock.recv(65536):
                    pass
                closed += 1
            except TimeoutError:
                pass
            except ConnectionError:
                closed += 1
            sock.close()
        assert closed >= 75


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    issued = trustme.CA().issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    return str(path)


def over_tls(sock: socket.socket) -> ssl.SSLSocket:
    return ssl._create_unverified_context().wrap_socket(sock)


def sends_and_waits(words: bytes) -> Callable[[Running], socket.socket]:
    def begin(server: Running) -> socket.socket:
        sock = connected(server)
        sock.sendall(words)
        return sock

    return begin


#: What takes a connection that no session has, and whether over TLS.
WAITING: dict[str, tuple[Callable[[Running], socket.socket], bool]] = {
    "half a head": (sends_and_waits(b"GET /health HTTP/1.1\r\nHost: x\r\n"), False),
    "a page's body that does not come": (
        sends_and_waits(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"),
        False,
    ),
    "chunks that do not come": (
        sends_and_waits(f"POST {ENDPOINT}&sid=a HTTP/1.1\r\nHost: x\r\n{CHUNKED}\r\n".encode()),
        False,
    ),
    "no TLS handshake": (connected, True),
    "no request over TLS": (lambda server: over_tls(connected(server)), True),
}


@pytest.mark.parametrize("case", WAITING)
def test_whatever_a_connection_waits_for_there_are_not_too_many(
    certificate: str, case: str
) -> None:
    begin, tls = WAITING[case]
    # Longer than the test waits: none is closed because it was too slow.
    given: Any = {"max_connections": 70, "limits": {"handshake_timeout": 10 * DEADLINE}}
    with running("listen", "bodies", certificate=certificate if tls else None, **given) as server:
        waiting = [begin(server) for _ in range(100)]
        wait_until(lambda: sum(map(has_ended, waiting)) >= 30)
        assert sum(map(has_ended, waiting)) < 50
        for sock in waiting:
            sock.close()


def has_ended(sock: socket.socket) -> bool:
    """Whether the server has closed it; what came before is thrown away."""
    sock.settimeout(0.0)
    try:
        while sock.recv(65536):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    return True


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_of_connections_whose_answer_nobody_reads_there_are_not_too_many(
    certificate: str, *, tls: bool
) -> None:
    def asks(server: Running) -> socket.socket:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(BOUND)
        raw.connect(("127.0.0.1", server.port))
        sock = over_tls(raw) if tls else raw
        sock.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        return sock

    given: Any = {"certificate": certificate} if tls else {}
    with running("listen", "bodies", max_connections=70, **given) as server:
        unread = [asks(server) for _ in range(100)]
        wait_until(lambda: sum(map(was_reset, unread)) >= 30)
        assert sum(map(was_reset, unread)) < 50
        for sock in unread:
            sock.close()


def was_reset(sock: socket.socket) -> bool:
    """Whether the server has closed it; nothing is read."""
    poll = select.poll()
    poll.register(sock, select.POLLERR)
    return bool(poll.poll(0))


#: Bodies in chunks that take long to parse, and how they go on.
ENDLESS_CHUNKS = {
    "tiny chunks": (b"", b"1\r\na\r\n" * 50_000),
    "extensions": (b"", (b"1;" + b"x" * 8000 + b"\r\na\r\n") * 40),
    "trailers": (b"0\r\n", b"a:b\r\n" * 50_000),
}


@pytest.mark.parametrize(
    ("way", "tls"),
    [("listen", False), ("listen", True), ("gunicorn-gevent", False), ("pywsgi", False)],
)
@pytest.mark.parametrize("case", ENDLESS_CHUNKS)
def test_while_a_body_is_parsed_others_are_served(
    certificate: str, case: str, way: str, *, tls: bool
) -> None:
    first, more = ENDLESS_CHUNKS[case]
    over = threading.Event()

    def send_without_end(server: Running) -> None:
        while not over.is_set():
            sid = "a"
            if way == "pywsgi":  # of another session nothing is read there
                sid = json.loads(server.get(ENDPOINT).read()[1:])["sid"]
            with suppress(OSError), connected(server) as raw:
                sock = over_tls(raw) if tls else raw
                sock.sendall(
                    f"POST {ENDPOINT}&sid={sid} HTTP/1.1\r\nHost: x\r\n{CHUNKED}\r\n".encode()
                )
                sock.sendall(first)
                while not over.is_set():
                    sock.sendall(more)
                    begun.set()

    cut = certificate if tls else None
    with running(way, "bodies", certificate=cut, clean_log=False) as server:
        begun = threading.Event()
        sending = threading.Thread(target=send_without_end, args=(server,), daemon=True)
        sending.start()
        try:
            assert begun.wait(DEADLINE)
            for _ in range(10):
                assert server.get("/health").read() == b"ok"
        finally:
            over.set()


#: Heads that are refused, or that do not come whole.
UNSERVED = {
    "half a head": b"GET /health HTTP/1.1\r\nHos",
    "no field": b"GET /health HTTP/1.1\r\nno field\r\n\r\n",
    "too long": b"GET /%b HTTP/1.1\r\n\r\n" % (b"a" * 9000),
    "no key": b"GET /health HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n",
}


@pytest.mark.parametrize(
    ("way", "tls"),
    [("listen", False), ("listen", True), ("gunicorn-geventwebsocket", False)],
)
@pytest.mark.parametrize("case", UNSERVED)
def test_who_goes_before_it_could_be_refused_is_no_error(
    certificate: str, case: str, way: str, *, tls: bool
) -> None:
    reset = struct.pack("ii", 1, 0)
    cut = certificate if tls else None
    # gevent-websocket's own log warns of a handshake without a key.
    with running(way, "bodies", certificate=cut, clean_log=way == "listen") as server:
        for resets in (True, False) * 3:
            with over_tls(connected(server)) if tls else connected(server) as sock:
                sock.sendall(UNSERVED[case])
                if resets:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        for _ in range(3):
            assert server.get("/health").read() == b"ok"
        assert server.terminate() == 0
        assert "Traceback" not in server.log()


@pytest.mark.parametrize("words", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"])
def test_who_speaks_no_tls_is_let_go(certificate: str, words: bytes) -> None:
    limits = {"handshake_timeout": TIMEOUT}
    with running("listen", "bodies", certificate=certificate, limits=limits) as server:
        with connected(server) as sock:
            sock.sendall(words)
            until_the_end(sock)
        with over_tls(connected(server)) as secure:
            secure.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert secure.recv(65536).startswith(b"HTTP/1.1 200 ")
