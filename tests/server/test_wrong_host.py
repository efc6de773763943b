"""Requests that came to the wrong host: what the log says, and whose address counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.server import StreamServer

from rtcio_sync import Server
from rtcio_sync.errors import Refused
from rtcio_sync.serving import wrong_host
from rtcio_sync.serving.wrong_host import SAID_EACH, Addresses, Misrouted
from tests.timing import DEADLINE, in_time, until
from tests.wsgi import environ_of

KEY = b"k" * 32


def addresses(own: str | None = None, key: bytes = KEY) -> tuple[Addresses, list[Any]]:
    told: list[Any] = []
    made = Addresses(own, lambda *message: told.append(message), lambda: True)
    made.begin(key)
    return made, told


class Nodes(dict[str, str]):
    """The nodes of other hosts, by connection."""

    def __init__(self, *args: Any, leaving: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.leaving = leaving
        self.asked = 0

    def host_of(self, sid: str) -> str | None:
        self.asked += 1
        return self.get(sid)

    def is_leaving(self, sid: str) -> bool:
        return self.leaving


@pytest.fixture(autouse=True)
def known_long_since(monkeypatch: pytest.MonkeyPatch) -> None:
    """All hosts have told their addresses, or never will."""
    monkeypatch.setattr(wrong_host, "NEW", 0.0)
    monkeypatch.setattr(wrong_host, "STOPS_WITHIN", 0.1)


def nowhere(sid: str) -> bool:
    return False


class Places:
    """Two descriptors for each request, as long as fewer than ``most`` are taken."""

    def __init__(self, most: int = 2) -> None:
        self.most = most
        self.taken = 0

    def lend(self) -> None:
        if self.taken >= self.most:
            raise Refused("503 SERVICE UNAVAILABLE", 3, "Too many connections")
        self.taken += 2

    def give_back(self, descriptors: int) -> None:
        self.taken -= descriptors


def test_the_cures_are_named_once_a_minute_and_only_for_sessions_of_other_hosts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    nodes = Nodes(theirs="node")
    known = addresses()[0]
    misrouted = Misrouted(nodes, nowhere, known, Places(), patience=1, most=1, now=lambda: now)
    for sid in ("unknown", "theirs", "theirs"):
        assert misrouted.answer(sid, environ_of("GET", {}), lambda *_: None) is None
    assert len(caplog.records) == 1
    assert "cluster_address" in caplog.text and "hash" in caplog.text
    now = SAID_EACH
    misrouted.answer("theirs", environ_of("GET", {}), lambda *_: None)
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("own", "host", "port"), [("10.0.0.5:8000", "10.0.0.5", 8000), ("[::1]:80", "::1", 80)]
)
def test_a_node_is_reached_where_it_says_until_it_dies(own: str, host: str, port: int) -> None:
    here, told = addresses(own)
    there, _ = addresses()
    here.joined("peer")
    ((node, what, body),) = told
    assert (node, what) == ("peer", Addresses.WHAT)
    there.heard("node", 0, body)
    assert there.of("node") == (host, port)
    assert there.of("other") is None
    there.died("node")
    assert there.of("node") is None


def test_an_address_with_another_seal_is_not_believed() -> None:
    here, told = addresses("10.0.0.5:8000", key=b"o" * 32)
    there, _ = addresses()
    here.joined("peer")
    sealed: bytes = told[0][2]
    for body in (sealed, sealed[:32], b"", b"10.0.0.5:8000", sealed + b"0"):
        there.heard("node", 0, body)
        assert there.of("node") is None


def test_without_an_address_nothing_is_told() -> None:
    here, told = addresses()
    here.joined("peer")
    assert told == []


@pytest.fixture
def far() -> Iterator[list[gevent.socket.socket]]:
    """Another host, which answers nothing by itself: the connections to it."""
    found: list[gevent.socket.socket] = []
    server = StreamServer(("127.0.0.1", 0), lambda sock, _: (found.append(sock), gevent.sleep(99)))
    server.start()
    found_at.append(server.server_port)
    yield found
    server.stop(0)


found_at: list[int] = []


def misrouted(
    places: Any,
    nodes: Nodes | None = None,
    is_here: Callable[[str], bool] = nowhere,
    *,
    patience: float = 20,
) -> Misrouted:
    known, _ = addresses()
    tell(known, found_at[-1])
    nodes = Nodes(theirs="node") if nodes is None else nodes
    return Misrouted(nodes, is_here, known, places, patience=patience, most=1000)


def tell(known: Addresses, port: int) -> None:
    here, told = addresses(f"127.0.0.1:{port}")
    here.joined("peer")
    known.heard("node", 0, told[0][2])


def test_requests_that_are_sent_on_are_counted_and_refused_when_there_are_too_many(
    far: list[gevent.socket.socket],
) -> None:
    places = Places()
    made = misrouted(places)

    def ask() -> Any:
        return made.answer("theirs", environ_of("GET", {}), lambda *_: None)

    first = gevent.spawn(ask)
    until(lambda: far)
    assert places.taken == 2
    with pytest.raises(Refused):
        ask()
    far[0].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert list(first.get(timeout=DEADLINE)) == [b"ok"]
    assert places.taken == 0
    second = gevent.spawn(ask)
    until(lambda: len(far) == 2)
    far[1].close()
    far[1] = None  # type: ignore[call-overload]
    second.kill()
    assert places.taken == 0


@pytest.mark.parametrize("host", ["a.example", None])
def test_what_is_sent_on_has_a_host(far: list[gevent.socket.socket], host: str | None) -> None:
    environ = environ_of("GET", {})
    del environ["HTTP_HOST"]
    if host is not None:  # HTTP/1.0 needs none
        environ["HTTP_HOST"] = host
    asking = gevent.spawn(misrouted(Places()).answer, "theirs", environ, lambda *_: None)
    until(lambda: far)
    with in_time():
        head = far[0].recv(65536).decode()
    far[0].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert list(asking.get(timeout=DEADLINE)) == [b"ok"]
    assert head.count("Host: ") == 1 and f"\r\nHost: {host or ''}\r\n" in head


def passed_on(
    made: Misrouted,
    far: list[gevent.socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    first: bytes,
    leave: Callable[[], Any] = list,
) -> gevent.socket.socket:
    """The client's end of a WebSocket that is passed on.

    ``first``: what the other host says. ``leave``: ends the request.
    """
    near, client = gevent.socket.socketpair()
    request = SimpleNamespace(
        can_be_handed_out=True,
        hand_out=lambda start_response, headers: (near, b"early"),
        leave_handed_out=leave,
    )
    monkeypatch.setattr(wrong_host.takeover, "find", lambda environ: request)
    monkeypatch.setattr(wrong_host, "handshake", lambda environ: [])
    environ = {**environ_of("GET", {}), "HTTP_UPGRADE": "websocket"}
    asking = gevent.spawn(made.answer, "theirs", environ, lambda *_: None)
    until(lambda: far)
    far[0].sendall(b"HTTP/1.1 101 Switching\r\n\r\n" + first)
    with suppress(StopIteration):
        assert asking.get(timeout=DEADLINE) == []
    return client


def ends_at_once() -> None:
    """As under gunicorn, behind a middleware that holds the response back."""
    raise StopIteration


@pytest.mark.parametrize("leave", [list, ends_at_once])
def test_a_websocket_that_is_sent_on_is_counted_until_both_its_ends_are_closed(
    far: list[gevent.socket.socket], monkeypatch: pytest.MonkeyPatch, leave: Callable[[], Any]
) -> None:
    places = Places()
    made = misrouted(places)
    client = passed_on(made, far, monkeypatch, b"hello", leave)
    with in_time():
        assert client.recv(100) == b"hello"
    assert places.taken == 2
    client.close()
    until(lambda: places.taken == 0)


def test_places_are_counted_for_each_request_whatever_others_do_meanwhile(
    far: list[gevent.socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(6)
    made = misrouted(places)

    def ask() -> Any:
        return made.answer("theirs", environ_of("GET", {}), lambda *_: None)

    poll = gevent.spawn(ask)
    until(lambda: far)
    held = far.pop()
    client = passed_on(made, far, monkeypatch, b"")  # a WebSocket begins while the poll waits
    held.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n6")
    assert poll.get(timeout=DEADLINE) == [b"6"]
    assert places.taken == 2
    poll = gevent.spawn(ask)
    until(lambda: len(far) == 2)
    client.close()  # and ends while another one waits
    until(lambda: places.taken == 2)
    far[1].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n6")
    assert poll.get(timeout=DEADLINE) == [b"6"]
    assert places.taken == 0


def test_a_request_that_was_sent_on_in_vain_is_refused_and_not_handled_here(
    far: list[gevent.socket.socket],
) -> None:
    made = misrouted(Places())
    asking = gevent.spawn(made.answer, "theirs", environ_of("GET", {}), lambda *_: None)
    until(lambda: far)
    far.pop().shutdown(2)
    with pytest.raises(Refused):
        asking.get(timeout=DEADLINE)


def test_a_poll_that_was_sent_on_ends_when_this_host_stops(far: list[gevent.socket.socket]) -> None:
    made = misrouted(Places(4))
    answered: list[Any] = []

    def ask() -> Any:
        environ = {**environ_of("GET", {}), "SERVER_SOFTWARE": "gevent/24"}
        return made.answer("theirs", environ, lambda *head: answered.append(head))

    before = gevent.spawn(ask)
    until(lambda: far)
    made.stop()
    after = gevent.spawn(ask)
    until(lambda: len(far) == 2)
    ended = gevent.spawn(made.ended)
    for sock, poll in zip(far, (before, after), strict=True):
        with in_time():
            while sock.recv(1000):  # the request, and then the end of this half
                pass
        assert not ended.dead
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n6")
        assert poll.get(timeout=DEADLINE) == [b"6"]
    ended.get(timeout=DEADLINE)
    for _, headers in answered:
        assert ("Connection", "close") in headers


@pytest.fixture
def closed() -> Iterator[int]:
    """The port of a host that stops: it accepts nothing any more, and nobody else does."""
    with gevent.socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def test_a_request_waits_while_its_session_moves_and_is_answered_where_that_comes_to(
    closed: int,
) -> None:
    found_at.append(closed)
    here: set[str] = set()
    nodes = Nodes(theirs="node", leaving=True)
    made = misrouted(Places(), nodes, here.__contains__)
    asking = gevent.spawn(made.answer, "theirs", environ_of("GET", {}), lambda *_: None)
    until(lambda: nodes.asked > 4)  # it looks again and again
    assert not asking.dead
    here.add("theirs")
    assert asking.get(timeout=DEADLINE) is None  # the engine looks for it again


def test_a_request_goes_on_to_the_host_to_which_its_session_moves(
    far: list[gevent.socket.socket], closed: int
) -> None:
    port = found_at[-1]
    found_at.append(closed)
    nodes = Nodes(theirs="node", leaving=True)
    made = misrouted(Places(), nodes)
    asking = gevent.spawn(made.answer, "theirs", environ_of("GET", {}), lambda *_: None)
    until(lambda: nodes.asked > 4)  # it looks again and again
    assert not asking.dead
    tell(made._addresses, port)
    until(lambda: far)
    far[0].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n6")
    assert asking.get(timeout=DEADLINE) == [b"6"]


def test_a_new_host_waits_until_others_have_told_it_where_they_are(
    far: list[gevent.socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrong_host, "NEW", 60.0)
    nodes = Nodes()
    made = misrouted(Places(), nodes)
    asking = gevent.spawn(made.answer, "theirs", environ_of("GET", {}), lambda *_: None)
    until(lambda: nodes.asked > 4)
    assert not asking.dead
    nodes["theirs"] = "node"
    until(lambda: far)
    far[0].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n6")
    assert asking.get(timeout=DEADLINE) == [b"6"]


def test_a_request_is_sent_on_three_times_at_most(far: list[gevent.socket.socket]) -> None:
    made = misrouted(Places(4))
    environ = environ_of("GET", {})
    for times, mark in ((1, {}), (3, {"HTTP_RTCIO_SENT_ON": "2"})):
        asking = gevent.spawn(made.answer, "theirs", {**environ, **mark}, lambda *_: None)
        until(lambda: far)
        with in_time():
            assert b"Rtcio-Sent-On: %d\r\n" % times in far.pop().recv(10000)
        asking.kill()
    for mark in ({"HTTP_RTCIO_SENT_ON": "3"}, {"HTTP_RTCIO_SENT_ON": "x"}):
        assert made.answer("theirs", {**environ, **mark}, lambda *_: None) is None
    assert far == []


def test_a_websocket_that_is_passed_on_loses_nothing_that_its_client_sends_when_this_host_stops(
    far: list[gevent.socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places()
    made = misrouted(places)
    client = passed_on(made, far, monkeypatch, b"")
    made.stop()
    with in_time():
        assert client.recv(100) == b""
        far[0].sendall(b"for the client, who comes back for it")
        client.sendall(b"the last word")
        client.close()
        got = b""
        while data := far[0].recv(10000):
            got += data
    assert got.endswith(b"\r\n\r\nearlythe last word")
    far[0].sendall(b"the host has not read the end yet")
    far[0].close()
    made.ended()
    assert places.taken == 0


def test_a_client_that_reads_nothing_of_what_is_passed_on_is_let_go(
    far: list[gevent.socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrong_host, "CONNECT_WITHIN", 0.5)
    places = Places()
    client = passed_on(misrouted(places, patience=0), far, monkeypatch, b"")
    with in_time(), suppress(OSError):
        while True:
            far[0].sendall(b"x" * 65536)
    until(lambda: places.taken == 0)
    client.close()


def test_a_server_counts_them_among_its_connections() -> None:
    engine = Server(max_connections=2).eio
    engine.lend()
    with pytest.raises(Refused):
        engine.lend()
    engine.give_back(2)
    engine.lend()
    assert dict(engine.counters.closed) == {"over-capacity": 1}
