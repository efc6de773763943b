"""The polling transport: what a POST brings, and what a poll is answered."""

from __future__ import annotations

import gc
import io
import weakref
from typing import Any
from urllib.parse import parse_qs

import engineio
import gevent
import pytest
from engineio import packet
from engineio.payload import Payload
from gevent.event import Event

from rtcio_sync.engineio.packet import Packet
from rtcio_sync.engineio.server import Server
from rtcio_sync.options import Limits
from tests.engineio.clients import Polling, WebSocket, ask, timed
from tests.timing import DEADLINE, settle, until
from tests.wsgi import environ_of, request

# -- what a client posts ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 16, 17, 500])
def test_all_packets_of_a_request_are_taken(number: int) -> None:
    server = Server()
    heard: list[str] = []
    server.on("message", lambda sid, message: heard.append(message))
    client = Polling(server)
    client.send(*map(str, range(number)))
    until(lambda: len(heard) == number)
    assert heard == list(map(str, range(number)))


BAD_BODIES: dict[str, bytes] = {
    "too many packets": b"\x1e".join([b"4a"] * 1001),
    "an unknown packet": b"9",
    "a packet that is the server's": b"2probe",
    "an empty packet": b"4a\x1e",
    "no base64": b"b====",
    "no UTF-8": b'4"\xff"',
}


@pytest.mark.parametrize("bad", BAD_BODIES)
def test_a_request_that_cannot_be_read_is_an_error_and_the_end(bad: str) -> None:
    server = Server()
    heard: list[Any] = []
    server.on("message", lambda sid, message: heard.append(message))
    client = Polling(server)
    assert ask(server, "POST", {"sid": client.eio_sid}, BAD_BODIES[bad])[0] == 400
    assert client.eio_sid not in server.sockets
    settle()
    assert heard == []
    assert dict(server.counters.closed) == {"packet": 1}
    assert ask(server, "GET", {"sid": client.eio_sid})[0] == 400


def test_the_bound_on_packets_may_be_lifted() -> None:
    server = Server(limits=Limits(max_packets_per_poll=None, events_per_second=None))
    client = Polling(server)
    body = b"\x1e".join([b"4a"] * 1001)
    assert ask(server, "POST", {"sid": client.eio_sid}, body)[0] == 200


@pytest.mark.parametrize("path", ["declared", "undeclared"])
def test_a_body_that_is_too_long_is_never_read_to_its_end(path: str) -> None:
    server = Server(max_http_buffer_size=1000)
    client = Polling(server)
    environ = environ_of("POST", {"sid": client.eio_sid}, body=b"4" * 5000)
    if path == "undeclared":
        environ["CONTENT_LENGTH"] = ""
    status, _, _ = request(server.handle_request, environ)
    assert status == 413
    assert environ["wsgi.input"].tell() == (0 if path == "declared" else 1001)
    until(lambda: server.counters.closed)  # behind the answer
    assert dict(server.counters.closed) == {"too-long": 1}


def test_a_body_that_ends_early_is_not_taken() -> None:
    server = Server()
    client = Polling(server)
    environ = environ_of("POST", {"sid": client.eio_sid}, body=b"4a")
    environ["CONTENT_LENGTH"] = "100"
    assert request(server.handle_request, environ)[0] == 400
    assert client.link is None or client.link.closed


def test_two_posts_at_a_time_end_the_connection() -> None:
    server = Server()
    client = Polling(server)
    release = Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert release.wait(DEADLINE)
            return super().read(size)

    environ = environ_of("POST", {"sid": client.eio_sid}, body=b"3")
    environ["wsgi.input"] = Slow(b"3")
    first = gevent.spawn(request, server.handle_request, environ)
    settle()
    assert client.post("3") == 400
    assert dict(server.counters.closed) == {"overlap": 1}
    release.set()
    assert first.get(timeout=DEADLINE)[0] in (200, 400)


# -- what it polls ---------------------------------------------------------------------------------


def test_one_answer_takes_everything_that_waits() -> None:
    server = Server()
    client = Polling(server)
    for number in range(40):
        server.send(client.eio_sid, f"number {number}")
    server.send(client.eio_sid, b"\x01")
    status, packets = client.poll()
    assert status == 200
    assert packets == [*(f"4number {number}" for number in range(40)), "bAQ=="]


@pytest.mark.parametrize("stays", [True, False], ids=["it stays", "the server closes"])
def test_python_engineios_client_gets_as_many_packets_in_one_answer_as_it_takes(
    stays: bool,
) -> None:
    (stamp,) = parse_qs(engineio.Client()._get_url_timestamp()[1:])["t"]
    server = Server()
    client = Polling(server, query={"EIO": "4", "transport": "polling", "t": stamp})
    sent = [f"number {number}" for number in range(40)]
    for text in sent:
        server.send(client.eio_sid, text)
    if not stays:
        server.disconnect(client.eio_sid)
    heard: list[Any] = []
    while len(heard) < 40:
        _, _, body = client._request("GET", sid=client.eio_sid)
        heard += [each.data for each in Payload(encoded_payload=body.decode()).packets]
    assert heard == sent


def test_a_poll_waits_for_something_to_say() -> None:
    server = Server()
    client = Polling(server)
    polling = gevent.spawn(client.poll)
    settle()
    assert not polling.dead
    server.send(client.eio_sid, "now")
    assert polling.get(timeout=DEADLINE) == (200, ["4now"])


@pytest.mark.parametrize("again", ["sent on", "here"])
def test_a_poll_that_a_host_has_sent_on_gives_way_to_the_same_one_by_another_way(
    again: str,
) -> None:
    # The host may have ended: a load balancer sends what was not answered to another one.
    server = Server()
    client = Polling(server)
    link = client.link
    first = gevent.spawn(link.poll, sent_on=True)
    settle()
    second = gevent.spawn(link.poll, sent_on=again == "sent on")
    server.send(client.eio_sid, "now")
    assert [each.encode() for each in first.get(timeout=DEADLINE)] == ["6"]
    assert [each.encode() for each in second.get(timeout=DEADLINE)] == ["4now"]
    # Two that came here are still a client's mistake.
    third = gevent.spawn(client.poll)
    settle()
    assert client.poll()[0] == 400
    assert third.get(timeout=DEADLINE) == (200, ["1"])


def test_a_second_poll_ends_the_connection_and_the_first_hears_of_it() -> None:
    server = Server()
    client = Polling(server)
    first = gevent.spawn(client.poll)
    settle()
    assert client.poll()[0] == 400
    assert first.get(timeout=DEADLINE) == (200, ["1"])
    assert client.eio_sid not in server.sockets


@pytest.mark.parametrize("made", [Polling, WebSocket])
def test_a_client_that_does_not_read_is_sent_away(made: Any) -> None:
    server = Server(limits=Limits(max_buffered_bytes=100_000))
    slow = made(server)
    for _ in range(200):
        server.send(slow.eio_sid, "x" * 10_000)
        gevent.sleep(0)
        if slow.link is None or slow.link.closed:
            break
    until(lambda: slow.eio_sid not in server.sockets)
    assert dict(server.counters.closed) == {"slow-reader": 1}


def test_the_bound_on_what_waits_may_be_lifted() -> None:
    server = Server(limits=Limits(max_buffered_bytes=None))
    client = Polling(server)
    for _ in range(6):
        server.send(client.eio_sid, "x" * 1_000_000)
    assert len(client.poll()[1]) == 6


@pytest.mark.parametrize("polls", [False, True])
def test_close_has_an_answer_to_itself(polls: bool) -> None:
    server = Server()
    client = Polling(server)
    link = client.link
    waiting = gevent.spawn(link.poll) if polls else None
    settle()
    link.send(Packet(4, "last"))
    link.close()
    first = link.poll() if waiting is None else waiting.get(timeout=DEADLINE)
    assert [each.packet_type for each in first] == [packet.MESSAGE]
    assert [each.packet_type for each in link.poll()] == [packet.CLOSE]
    assert client.eio_sid not in server.sockets


@pytest.mark.parametrize("fetches", [False, True])
def test_the_last_word_waits_for_a_poll_and_then_nothing_of_the_session_is_kept(
    fetches: bool,
) -> None:
    server = Server(ping_timeout=20)
    forward = timed(server)
    client = Polling(server)
    kept = weakref.ref(client.link)
    client.link.close()
    forward(19)
    assert client.eio_sid in server.sockets
    if fetches:
        assert client.poll() == (200, ["1"])
    else:
        forward(2)
    assert client.eio_sid not in server.sockets
    del client
    settle()
    gc.collect()
    assert kept() is None


def test_who_leaves_while_close_waits_is_answered_and_forgotten() -> None:
    server = Server()
    client = Polling(server)
    client.link.send(Packet(4, "last"))
    client.link.close()
    client.send("on its way")  # dropped, as the connection is closed
    client.close()
    assert client.eio_sid not in server.sockets
    assert client.post("1") == 400
