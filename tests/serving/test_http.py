"""Requests to the Socket.IO path under `listen`, however they arrive: over real TCP."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import gevent
import gevent.socket
import pytest

from rtcio_sync.engineio.server import Server as Engine
from rtcio_sync.options import Limits
from rtcio_sync.serving import http as direct
from rtcio_sync.serving.idle_connections import Idle
from rtcio_sync.serving.pywsgi import HttpServer
from rtcio_sync.transport.ports import CONNECTION
from tests.serving.running import Bare, Run
from tests.timing import in_time, until

PATH = "/socket.io/"
OPEN = f"GET {PATH}?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n"
ELSEWHERE = "GET /elsewhere HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Peer:
    """A TCP connection to a server that listens in this process."""

    def __init__(self, port: int) -> None:
        with in_time():
            self.sock: Any = gevent.socket.create_connection(("127.0.0.1", port))
        self.rest = b""

    def send(self, *pieces: str | bytes) -> None:
        for piece in pieces:
            self.sock.sendall(piece.encode() if isinstance(piece, str) else piece)
            gevent.sleep(0.001)

    def answer(self) -> tuple[int, dict[str, str], str]:
        """The next answer: its status, its header fields and its body."""
        with in_time():
            while b"\r\n\r\n" not in self.rest:
                self._more()
            head, _, self.rest = self.rest.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            fields = {
                name.lower(): value for name, _, value in (each.partition(": ") for each in lines)
            }
            size = int(fields.get("content-length", 0))
            while len(self.rest) < size:
                self._more()
        body, self.rest = self.rest[:size], self.rest[size:]
        return int(first.split()[1]), fields, body.decode()

    def _more(self) -> None:
        more = self.sock.recv(65536)
        assert more, "the connection was closed"
        self.rest += more

    def is_closed(self) -> bool:
        """Waits until the server has closed the connection; whether nothing came before."""
        with in_time():
            return not self.rest and self.sock.recv(65536) == b""


def served(run: Run, application: Callable[..., Iterable[bytes]]) -> Peer:
    return Peer(run(Bare(), application=application).port)


def text(status: str, body: str, **fields: str) -> Callable[..., Iterable[bytes]]:
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        length = [("Content-Length", str(len(body)))] if "length" not in fields else []
        start_response(status, [*length, ("X-Way", environ["SERVER_PROTOCOL"])])
        return [body.encode()]

    return application


# -- how a request arrives -------------------------------------------------------------------------


def test_a_request_in_pieces_is_answered(run: Run) -> None:
    peer = Peer(run(Bare()).port)
    peer.send(OPEN[:3], OPEN[3:20], OPEN[20:-3], OPEN[-3:])
    status, _, body = peer.answer()
    assert (status, body[:2]) == (200, "0{")


def test_a_request_byte_by_byte_is_answered(run: Run) -> None:
    peer = Peer(run(Bare()).port)
    peer.send(*OPEN)
    assert peer.answer()[0] == 200


def test_requests_follow_each_other_on_one_connection_to_any_path(run: Run) -> None:
    peer = Peer(run(Bare()).port)
    for _ in range(2):
        peer.send(OPEN)
        assert peer.answer()[0] == 200
    peer.send(ELSEWHERE)
    assert peer.answer()[0] == 404
    peer.send(OPEN)
    assert peer.answer()[0] == 200


def test_requests_that_come_at_once_are_answered_in_order(run: Run) -> None:
    peer = Peer(run(Bare()).port)
    peer.send(OPEN + OPEN + ELSEWHERE + OPEN)
    assert [peer.answer()[0] for _ in range(4)] == [200, 200, 404, 200]


@pytest.mark.parametrize("size", [1, direct.BODY, direct.BODY + 1, 300_000])
@pytest.mark.parametrize("whole", [True, False])
def test_a_body_of_any_length_reaches_the_application(run: Run, size: int, whole: bool) -> None:
    taken: list[bytes] = []

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        taken.append(environ["wsgi.input"].read())
        start_response("200 OK", [("Content-Length", "0")])
        return []

    peer = served(run, application)
    head = f"POST {PATH}?sid=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
    body = bytes(index % 251 for index in range(size))
    if whole:
        peer.send(head.encode() + body)
    else:
        peer.send(head, body[: size // 2], body[size // 2 :])
    assert peer.answer()[0] == 200
    assert taken == [body]
    peer.send(ELSEWHERE)
    assert peer.answer()[0] == 200


def test_what_is_no_plain_request_is_answered_by_pywsgi(run: Run) -> None:
    port = run(Bare()).port
    for request, status in (
        (OPEN.replace("HTTP/1.1", "HTTP/1.0"), 200),
        (OPEN.replace("Host: localhost", "Host localhost"), 400),
        (OPEN.replace("GET", "OPTIONS"), 200),
        (OPEN.replace("GET", "BREW"), 400),
        (OPEN.replace("Host: localhost", "X: y"), 400),
        (OPEN.replace("Host: localhost", "X: y").replace("HTTP/1.1", "HTTP/1.0"), 200),
        (OPEN.replace("Host:", "Host: localhost\r\nhost:"), 400),
        (ELSEWHERE.replace("Host: localhost", "X: y"), 400),
        (OPEN.replace("GET ", "GET http://localhost"), 200),
        (OPEN.replace("GET ", "GET http://:1"), 400),
        (OPEN.replace("polling", "polling&more=" + 9000 * "x"), 414),
        (OPEN.replace("\r\n\r\n", "\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), 400),
    ):
        peer = Peer(port)
        peer.send(request)
        assert peer.answer()[0] == status, request


def test_the_environ_is_as_pywsgi_makes_it(run: Run) -> None:
    seen: list[dict[str, Any]] = []

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.append(environ)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    port = run(Bare(), application=application).port
    lines = ("Host: h", "Cookie: a=1", "Cookie: b=2", "X-A: 1", "x-a: 2", "Content-Type: t/x")
    fields = "".join(f"{line}\r\n" for line in lines)
    for more in ("", "Expect: 100-continue\r\n"):  # pywsgi takes the second
        peer = Peer(port)
        peer.send(f"GET {PATH}?a=%20b HTTP/1.1\r\n{fields}{more}\r\n")
        while peer.answer()[0] != 200:
            pass
    ours, theirs = seen
    leave = {"wsgi.input", CONNECTION, "HTTP_EXPECT", "REMOTE_PORT", "wsgi.errors"}
    assert {key: value for key, value in ours.items() if key not in leave} == {
        key: value for key, value in theirs.items() if key not in leave
    }
    assert type(ours) is type(theirs)


@pytest.mark.parametrize(
    "request_text",
    [
        OPEN.replace("\r\n", "\n"),
        OPEN.replace("\r\n\r\n", "\n\n"),
        OPEN.replace("\r\n\r\n", "\r\n\n"),
        OPEN.partition("\r\n")[0] + "\n\r\n",
    ],
)
def test_a_head_with_other_ends_of_lines_is_answered_at_once(run: Run, request_text: str) -> None:
    limits = Limits(handshake_timeout=None, connect_timeout=None)
    peer = Peer(run(Bare(limits=limits)).port)
    peer.send(request_text)
    with in_time():
        assert peer.sock.recv(100)


# -- deadlines -------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", ["", "G", OPEN[:20], OPEN[:-4]])
def test_a_client_that_is_slow_with_a_request_is_let_go(run: Run, begun: str) -> None:
    limits = Limits(handshake_timeout=0.1, connect_timeout=None)
    peer = Peer(run(Bare(limits=limits)).port)
    peer.send(begun)
    with in_time():
        assert peer.sock.recv(100)[:12] in (b"", b"HTTP/1.1 400")


def test_an_idle_connection_is_closed_after_its_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtcio_sync.serving.idle_connections.KEEP_ALIVE", 0.1)
    peer = Peer(run(Bare()).port)
    peer.send(OPEN)
    assert peer.answer()[0] == 200
    assert peer.is_closed()


def test_each_request_has_one_deadline_however_many_pieces_it_comes_in(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[bool] = []
    expect = Idle.expect

    def expected(self: Idle, connection: Any, *, kept: bool = False) -> None:
        began.append(kept)
        expect(self, connection, kept=kept)

    monkeypatch.setattr(Idle, "expect", expected)
    peer = Peer(run(Bare()).port)
    until(lambda: began == [False])
    for told in ([False, True], [False, True, False, True]):
        peer.send(OPEN[:3], OPEN[3:20], OPEN[20:])
        assert peer.answer()[0] == 200
        until(lambda told=told: began == told)


def test_deadlines_are_looked_at_now_and_then_and_no_longer_than_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Timed:
        since = 0.0

        def too_late(self) -> None:
            raise AssertionError("it is not late")

    looks: list[int] = []

    class Looked(Idle):
        def _look(self) -> None:
            looks.append(1)
            super()._look()

    monkeypatch.setattr("rtcio_sync.serving.idle_connections.LOOK_EVERY", 0.02)
    idle, connection = Looked(lambda: 10, 3600.0), Timed()
    idle.expect(connection)
    until(lambda: len(looks) >= 3)
    before = len(looks)
    for _ in range(50):
        gevent.sleep(0)  # turns of the loop
    assert len(looks) <= before + 2
    idle.forget(connection)
    before = len(looks)
    until(lambda: len(looks) > before)
    last = len(looks)
    gevent.sleep(0.1)
    assert len(looks) == last


def test_over_the_bound_the_connection_that_waits_longest_is_closed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtcio_sync.serving.idle_connections.IDLE_AT_LEAST", 2)
    monkeypatch.setattr(Engine, "idle_bound", lambda self: 2)
    port = run(Bare()).port
    first, *others = [Peer(port) for _ in range(3)]
    assert first.is_closed()
    for peer in others:
        peer.send(OPEN)
        assert peer.answer()[0] == 200


@pytest.mark.parametrize("bound", [10, 0, -5])
def test_some_may_wait_however_full_the_server_is(
    monkeypatch: pytest.MonkeyPatch, bound: int
) -> None:
    class Waiting:
        closed = 0

        def __init__(self) -> None:
            self.socket = self

        def shutdown(self, how: int) -> None:
            Waiting.closed += 1

    monkeypatch.setattr("rtcio_sync.serving.idle_connections.IDLE_AT_LEAST", 3)
    idle: Any = Idle(lambda: bound, None)
    for _ in range(12):
        idle.add(Waiting())
    assert Waiting.closed == 12 - max(3, bound)


def test_the_end_of_the_server_closes_what_waits(run: Run) -> None:
    running = run(Bare())
    new, kept = Peer(running.port), Peer(running.port)
    kept.send(OPEN)
    assert kept.answer()[0] == 200
    running.end()
    assert new.is_closed() and kept.is_closed()


def test_the_end_of_the_server_closes_what_has_sent_half_a_request(run: Run) -> None:
    running = run(Bare())
    new, kept = Peer(running.port), Peer(running.port)
    kept.send(OPEN)
    assert kept.answer()[0] == 200
    for peer in (new, kept):
        peer.send(OPEN[:-9])
    gevent.sleep(0.01)
    running.end()
    assert new.is_closed() and kept.is_closed()


def test_a_connection_that_was_forgotten_has_no_deadline() -> None:
    class Timed:
        since = 0.0

        def too_late(self) -> None:
            raise AssertionError("it was forgotten")

    idle, connection = Idle(lambda: 10, 0.0), Timed()
    idle.expect(connection)
    idle.forget(connection)
    idle.expect(connection, kept=True)
    idle.forget(connection)
    idle.stop()


@pytest.mark.parametrize("number", [errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EPIPE])
def test_a_network_that_is_lost_is_the_end_of_a_client_and_no_fault_of_the_app(
    run: Run, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    failed: list[BaseException] = []
    monkeypatch.setattr(HttpServer, "failed", lambda self, environ, error: failed.append(error))

    class Lost:
        def __init__(self, sock: Any) -> None:
            self.sock = sock

        def send(self, data: bytes) -> int:
            raise OSError(number, os.strerror(number))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sock, name)

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ[CONNECTION]._line.socket = Lost(environ[CONNECTION]._line.socket)
        return text("200 OK", "lost")(environ, start_response)

    peer = served(run, application)
    peer.send(OPEN)
    assert peer.is_closed()
    assert failed == []


class Noted:
    """A connection that notes when its time is over."""

    since = 0.0

    def __init__(self, name: str, late: list[str]) -> None:
        self.name, self.late = name, late

    def too_late(self) -> None:
        self.late.append(self.name)


def test_an_idle_connection_has_its_time_even_if_a_new_one_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late: list[str] = []
    monkeypatch.setattr("rtcio_sync.serving.idle_connections.LOOK_EVERY", 0.01)
    idle = Idle(lambda: 10, None, 0.01)
    idle.expect(Noted("new", late))
    idle.expect(Noted("idle", late), kept=True)
    until(lambda: late == ["idle"])
    idle.stop()
    assert late == ["idle"]


def test_connections_that_have_had_a_request_end_before_those_that_have_had_none() -> None:
    late: list[str] = []
    idle = Idle(lambda: 10, 3600.0, 3600.0)
    idle.expect(Noted("new", late))
    for name in ("older", "younger"):
        idle.expect(Noted(name, late), kept=True)
    idle.end_kept()
    assert late == ["older", "younger"]
    idle.stop()
    assert late == ["older", "younger", "new"]


# -- the server's half of WSGI ---------------------------------------------------------------------


def test_an_application_that_raises_is_answered_500_and_reported(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise RuntimeError("of the app's")

    peer = served(run, application)
    peer.send(OPEN)
    status, fields, _ = peer.answer()
    assert status == 500 and fields["connection"] == "close"
    assert peer.is_closed()
    assert "of the app's" in capsys.readouterr().err


def test_an_answer_without_a_length_ends_with_the_connection(run: Run) -> None:
    peer = served(run, text("200 OK", "some words", length="unknown"))
    peer.send(OPEN)
    status, fields, _ = peer.answer()
    assert status == 200 and fields["connection"] == "close"
    with in_time():
        while more := peer.sock.recv(100):
            peer.rest += more
    assert peer.rest == b"some words"


def test_a_body_shorter_than_its_length_ends_the_connection(run: Run) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "100")])
        return [b"short"]

    peer = served(run, application)
    peer.send(OPEN)
    with in_time():
        while more := peer.sock.recv(100):
            peer.rest += more
    assert peer.rest.endswith(b"short")


@pytest.mark.parametrize("value", ["a\r\nX-Forged: 1", "a\nb", "a\rb"])
def test_a_field_cannot_contain_the_end_of_a_line(
    run: Run, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("X-Name", value), ("Content-Length", "0")])
        return []

    peer = served(run, application)
    peer.send(OPEN)
    status, fields, _ = peer.answer()
    assert status == 500 and "x-forged" not in fields
    assert "ValueError" in capsys.readouterr().err


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_status_without_a_body_gets_none(run: Run, status: str) -> None:
    peer = served(run, text(status, "a body"))
    peer.send(OPEN, OPEN)
    for _ in range(2):
        with in_time():
            while b"\r\n\r\n" not in peer.rest:
                peer.rest += peer.sock.recv(65536)
        head, _, peer.rest = peer.rest.partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status}".encode())
    assert peer.rest == b""


def test_nothing_is_sent_beyond_the_length_of_a_body(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "3")])
        return [b"abc", b"HTTP/1.1 200 OK\r\n"]

    peer = served(run, application)
    peer.send(OPEN)
    assert peer.answer()[2] == "abc"
    assert peer.is_closed()
    assert "longer than its Content-Length" in capsys.readouterr().err


def test_a_body_that_is_no_bytes_is_answered_500(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "3")])
        return ["abc"]

    peer = served(run, application)
    peer.send(OPEN)
    assert peer.answer()[0] == 500
    assert "TypeError" in capsys.readouterr().err


def test_a_body_of_unknown_length_that_fails_half_way_does_not_look_whole(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"the first half"
        raise RuntimeError("of the app's")

    peer = served(run, application)
    peer.send(OPEN)
    with in_time(), pytest.raises(ConnectionResetError):
        while peer.sock.recv(65536):
            pass
    assert "of the app's" in capsys.readouterr().err


def test_pieces_of_a_body_are_sent_in_order_and_the_iterable_is_closed(run: Run) -> None:
    closed: list[bool] = []

    class Pieces:
        def __iter__(self) -> Iterator[bytes]:
            for number in range(50):
                yield f"{number:02}".encode() * 5000
                gevent.sleep(0)

        def close(self) -> None:
            closed.append(True)

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", str(50 * 10_000))])
        return Pieces()

    peer = served(run, application)
    peer.send(OPEN)
    body = peer.answer()[2]
    assert body == "".join(f"{number:02}" * 5000 for number in range(50))
    until(lambda: closed == [True])  # after the last piece was sent


def test_an_answer_may_be_begun_anew_before_it_is_sent(run: Run) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "3")])
        try:
            raise RuntimeError
        except RuntimeError as error:
            start_response("409 Conflict", [("Content-Length", "0")], (type(error), error, None))
        return []

    peer = served(run, application)
    peer.send(OPEN)
    assert peer.answer()[0] == 409


@pytest.mark.parametrize("options", ["close", "keep-alive, Close", "close,TE"])
@pytest.mark.parametrize(
    ("request_text", "expected"),
    [(OPEN, 200), (OPEN.replace("GET", "OPTIONS"), 200), (ELSEWHERE, 404)],
)
def test_a_client_that_wants_the_connection_closed_gets_that(
    run: Run, request_text: str, expected: int, options: str
) -> None:
    peer = Peer(run(Bare()).port)
    peer.send(request_text.replace("\r\n\r\n", f"\r\nConnection: {options}\r\n\r\n"))
    status, fields, _ = peer.answer()
    assert status == expected and fields["connection"] == "close"
    assert peer.is_closed()


def test_the_host_in_the_target_counts_for_its_request_alone(run: Run) -> None:
    seen: list[tuple[str, str, str]] = []

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.append((environ["HTTP_HOST"], environ["PATH_INFO"], environ["QUERY_STRING"]))
        start_response("200 OK", [("Content-Length", "0")])
        return []

    peer = served(run, application)
    for target in ("http://a.example:3/socket.io/?a=b", "/socket.io/?a=b", "http://a.example"):
        peer.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert peer.answer()[0] == 200
    assert seen == [
        ("a.example:3", "/socket.io/", "a=b"),
        ("localhost", "/socket.io/", "a=b"),
        ("a.example", "/", ""),
    ]


def test_an_error_of_ours_is_reported_by_a_greenlet_and_costs_no_other_connection(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporters: list[Any] = []

    def failed(self: Any, environ: dict[str, Any], error: BaseException) -> None:
        reporters.append(gevent.getcurrent())

    def look(self: Any) -> None:
        raise RuntimeError("of ours")

    port = run(Bare()).port
    with monkeypatch.context() as patch:
        patch.setattr(HttpServer, "failed", failed)
        patch.setattr(direct.Connection, "_look", look)
        peer = Peer(port)
        peer.send(OPEN)
        assert peer.is_closed()
        until(lambda: len(reporters) == 1)
    assert isinstance(reporters[0], gevent.Greenlet), "the hub must not wait for a log"
    peer = Peer(port)
    peer.send(OPEN)
    assert peer.answer()[0] == 200
