"""What a client can do to the HTTP server in front of ours, before any code of ours has run.

Under `listen()` all of it is bounded here. Under gunicorn the tests say what is true of gunicorn:
what it does not bound is for the proxy in front of it, as `docs/security.md` says.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import quote

import pytest

from tests.integration.hostile import Hostile
from tests.integration.raw import RawPolling
from tests.integration.scene import MB
from tests.integration.servers import Running, running
from tests.integration.target import BOUND, Target, target_of

HEAD_SECONDS = 1.5  # `handshake_timeout` here
#: What gunicorn says of a request that it refuses.
REFUSED = r"\[WARNING\] Invalid request from ip="

#: The end of a request after which the connection ends.
LAST = b"Host: x\r\nConnection: close\r\n\r\n"

POST = "POST /socket.io/?EIO=4&transport=polling&sid=nobody HTTP/1.1\r\nHost: x\r\n"
#: What an attacker would have stand before the next user's request.
HIDDEN = b"GET /counted/hidden HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"0\r\n\r\n" + HIDDEN


@pytest.fixture(scope="module", params=["listen", "gunicorn-gevent"])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with target_of(
        request.param, limits={"handshake_timeout": HEAD_SECONDS}, clean_log=False
    ) as target:
        answers(target.server, b"GET /health HTTP/1.1\r\n" + b"X: a\r\n" * 90 + LAST)
        yield target


def answers(server: Running, request: bytes, seconds: float = 30) -> tuple[list[int], bool]:
    """The statuses of what is answered, and whether the server has closed the connection.

    ``seconds``: how long to wait for each answer, and for the end.
    """
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        got, closed = b"", False
        try:
            sock.settimeout(seconds)
            sock.sendall(request)
            while more := sock.recv(65536):
                got += more
            closed = True
        except TimeoutError:
            pass
        except ConnectionError:
            closed = True
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", got)], closed


@pytest.mark.parametrize("version", ["HTTP/1", "HTTP/", "HTTP/1.", "HTTP/a.b", "HTTP/-1.0", "HTTP"])
def test_a_version_that_is_none_is_answered_400_and_not_with_a_traceback(
    target: Target, version: str
) -> None:
    # gevent's pywsgi raised an IndexError for the first: it looks for a minor version.
    with target.unharmed(allowed=REFUSED):
        request = f"GET /health {version}\r\nHost: x\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", target.port)) as sock:
            sock.settimeout(30)
            sock.sendall(request)
            assert sock.recv(4096).startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))


# -- slow -----------------------------------------------------------------------------------------


def dribble(port: int, seconds: float) -> float | None:
    """Sends a header a byte at a time; the seconds until the server closed, if it did."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(0.1)
        sock.sendall(b"GET /health HTTP/1.1\r\nX: ")
        while time.monotonic() < began + seconds:
            try:
                sock.sendall(b"a")
                if sock.recv(4096) == b"":
                    return time.monotonic() - began
            except TimeoutError:
                continue
            except ConnectionError:
                return time.monotonic() - began
    return None


def test_headers_that_never_end_are_cut_off(target: Target) -> None:
    with target.unharmed():
        lasted = dribble(target.port, 30)
        # After `handshake_timeout`, or gunicorn's `keepalive`, which is 2 seconds by default.
        assert lasted is not None and lasted > HEAD_SECONDS / 2


def test_gunicorn_without_keepalive_leaves_endless_headers_to_the_proxy() -> None:
    setting = {"GUNICORN_CMD_ARGS": "--keep-alive 0"}
    with running("gunicorn-gevent", "attacked", environ=setting) as server:
        assert dribble(server.port, 4) is None
        assert server.get("/health").status == 200


@pytest.mark.parametrize("way", ["listen", "gunicorn-gevent"])
def test_gunicorn_serves_no_more_than_worker_connections(way: str) -> None:
    setting = {"GUNICORN_CMD_ARGS": "--worker-connections 10 --keep-alive 60"}
    with running(way, "attacked", environ=setting) as server, ExitStack() as stack:
        for _ in range(20):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            sock.sendall(b"GET /health HTTP/1.1\r\nX: ")
        asking = b"GET /health HTTP/1.1\r\n" + LAST
        if way == "listen":  # as many as there are descriptors for
            assert answers(server, asking) == ([200], True)
        else:
            assert answers(server, asking, seconds=2) == ([], False)
            stack.close()
            assert answers(server, asking) == ([200], True)


def test_a_body_that_never_comes_is_not_awaited_for_ever(target: Target) -> None:
    opening = target.server.get("/socket.io/?EIO=4&transport=polling").read().decode()
    sid = re.findall('"sid":"([^"]+)"', opening)[0]
    with target.unharmed():
        request = POST.replace("nobody", sid) + "Content-Length: 1000\r\n\r\n4"
        began = time.monotonic()
        statuses, _ = answers(target.server, request.encode())
        assert statuses == [400]
        assert time.monotonic() - began > HEAD_SECONDS / 2


def test_a_connection_that_never_says_anything_is_closed(target: Target) -> None:
    with target.unharmed(), socket.create_connection(("127.0.0.1", target.port)) as sock:
        began = time.monotonic()
        sock.settimeout(30)
        assert sock.recv(1) == b""
        assert time.monotonic() - began > HEAD_SECONDS / 2


@pytest.mark.parametrize("packets", [[], ["2probe"]], ids=["silent", "probed"])
def test_a_probe_that_never_upgrades_is_closed(target: Target, packets: list[str]) -> None:
    with target.unharmed(), RawPolling(target.server) as session:
        session.join()
        with Hostile(target.port, sid=session.handshake["sid"]) as probe:
            began = time.monotonic()
            probe.say(*packets)
            assert probe.fate(30).end == "closed"
            assert time.monotonic() - began > HEAD_SECONDS / 2
        # The session is where it was, and may try again.
        key = f"tried {len(packets)}"
        session.send(f'42["count","{key}",1]')
        target.server.eventually(f"/counted/{quote(key)}", lambda counted: counted == [1])
        with Hostile(target.port, sid=session.handshake["sid"]) as probe:
            probe.say("2probe", "5", f'42["count","{key}",2]')
            target.server.eventually(f"/counted/{quote(key)}", lambda counted: counted == [1, 2])


# -- large ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head, statuses",
    {
        "a request line of 100 kB": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", {414}),
        "a field of 100 kB": (
            b"GET /health HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", {400, 431},
        ),
        "90 kB of fields": (
            b"GET /health HTTP/1.1\r\n" + b"".join(
                b"X%d: %s\r\n" % (number, b"a" * 1000) for number in range(90)
            ) + b"\r\n", {400, 200},
        ),
        "1,000 fields": (
            b"GET /health HTTP/1.1\r\n" + b"X: a\r\n" * 1000 + b"\r\n", {400, 431},
        ),
        "a line that never ends": (b"GET /health HTTP/1.1\r\nX: " + b"a" * 50 * MB, {400, 431}),
        "fields that never end": (b"GET /health HTTP/1.1\r\n" + b"X: a\r\n" * 8 * MB, {400, 431}),
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_oversized_headers_are_refused(
    target: Target, head: str, statuses: tuple[bytes, set[int]]
) -> None:
    request, expected = statuses
    with target.unharmed(bound=BOUND, allowed=REFUSED):
        found, closed = answers(target.server, request)
        # Who goes on sending what nobody reads may see the connection reset before the answer.
        assert set(found) <= expected
        assert closed or found == [200]
        if found == [200]:  # gunicorn bounds the fields and each of them, not their sum
            assert "listen.py" not in str(target.server.process.args)


# -- two requests in one --------------------------------------------------------------------------

#: Header lines, and the body that follows.
SMUGGLED: dict[str, tuple[bytes, bytes]] = {
    "both headers": (b"Content-Length: %d\r\nTransfer-Encoding: chunked" % len(CHUNKED), CHUNKED),
    "both, the other way round": (b"Transfer-Encoding: chunked\r\nContent-Length: 4", CHUNKED),
    "two lengths": (b"Content-Length: 0\r\nContent-Length: %d" % len(HIDDEN), HIDDEN),
    "two lengths, swapped": (b"Content-Length: %d\r\nContent-Length: 0" % len(HIDDEN), HIDDEN),
    "one length twice": (b"Content-Length: 0\r\nContent-Length: 0", HIDDEN),
    "a list of lengths": (b"Content-Length: 0, 0", HIDDEN),
    "a length with a sign": (b"Content-Length: +0", HIDDEN),
    "a length with a separator": (b"Content-Length: 0_0", HIDDEN),
    "a length below zero": (b"Content-Length: -1", HIDDEN),
    "a length in other digits": ("Content-Length: \u0661".encode(), HIDDEN),
    "xchunked": (b"Transfer-Encoding: xchunked", CHUNKED),
    "chunked and more": (b"Transfer-Encoding: chunked, identity", CHUNKED),
    "a coding before it": (b"Transfer-Encoding: gzip, chunked", CHUNKED),
    "two codings": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", CHUNKED),
    "a space before the colon": (b"Transfer-Encoding : chunked", CHUNKED),
    "a vertical tab": (b"Transfer-Encoding: \x0bchunked", CHUNKED),
    "a folded line": (b"Transfer-Encoding:\r\n chunked", CHUNKED),
    "a line that ends in CR": (b"X: a\rTransfer-Encoding: chunked", CHUNKED),
    "a NUL": (b"X: a\x00b\r\nContent-Length: 0", HIDDEN),
    "a name that is none": (b"Transfer-Encoding\x00: chunked", CHUNKED),
}


@pytest.mark.parametrize("case", SMUGGLED)
def test_a_request_whose_end_is_in_doubt_is_refused_whole(target: Target, case: str) -> None:
    headers, body = SMUGGLED[case]
    with target.unharmed(allowed=REFUSED):
        statuses, closed = answers(target.server, POST.encode() + headers + b"\r\n\r\n" + body)
        assert closed
        assert len(statuses) == 1 and statuses[0] in (400, 501)


def test_a_coding_under_http_1_0_is_refused(target: Target) -> None:
    request = POST.replace("1.1", "1.0") + "Connection: keep-alive\r\nTransfer-Encoding: chunked"
    with target.unharmed(allowed=REFUSED):
        statuses, closed = answers(target.server, request.encode() + b"\r\n\r\n" + CHUNKED)
        assert closed and statuses == [400]


@pytest.mark.parametrize(
    "headers, body",
    [(b"Content-Length: 0", b""), (b"Transfer-Encoding: chunked", b"0\r\n\r\n")],
    ids=["a length", "chunks"],
)
def test_a_request_whose_end_is_clear_is_followed_by_the_next(
    target: Target, headers: bytes, body: bytes
) -> None:
    with target.unharmed():
        request = POST.encode() + headers + b"\r\n\r\n" + body
        following = b"GET /health HTTP/1.1\r\n" + LAST
        statuses, _ = answers(target.server, request + following)
        assert statuses == [400, 200]  # there is no such session
