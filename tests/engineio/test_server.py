"""The Engine.IO endpoint, request by request: what it takes, what it refuses, what it forgets."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from engineio import packet
from gevent.event import Event
from hypothesis import given
from hypothesis import strategies as st

from rtcio_sync.engineio import seats
from rtcio_sync.engineio.packet import Packet
from rtcio_sync.engineio.payload import packets_of, read_body
from rtcio_sync.engineio.server import Server
from rtcio_sync.engineio.state import State
from rtcio_sync.errors import ProtocolError
from rtcio_sync.options import Limits
from rtcio_sync.protocol.websocket import frame_binary, frame_text
from tests.engineio.clients import Polling, WebSocket, ask, timed
from tests.timing import DEADLINE, settle, until
from tests.wsgi import environ_of, request


def test_a_handshake_says_how_the_connection_will_be() -> None:
    server = Server(ping_interval=(7, 1), ping_timeout=3, max_http_buffer_size=5000)
    status, headers, body = ask(server)
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    opening = json.loads(body[1:])
    assert body[:1] == b"0"
    assert opening.pop("sid") in server.sockets
    assert opening == {
        "upgrades": ["websocket"],
        "pingInterval": 8000,
        "pingTimeout": 3000,
        "maxPayload": 5000,
    }


@pytest.mark.parametrize("options", [{"allow_upgrades": False}, {"transports": "polling"}])
def test_no_upgrade_is_offered_that_is_not_allowed(options: dict[str, Any]) -> None:
    assert json.loads(ask(Server(**options))[2][1:])["upgrades"] == []


REFUSED: dict[str, tuple[str, dict[str, str], int, int]] = {
    "an old protocol": ("GET", {"EIO": "3"}, 400, 5),
    "no protocol": ("GET", {"EIO": ""}, 400, 5),
    "an unknown transport": ("GET", {"transport": "telegraph"}, 400, 0),
    "no transport": ("GET", {"transport": ""}, 400, 0),
    "a POST without a session": ("POST", {}, 400, 2),
    "an unknown session": ("GET", {"sid": "nobody"}, 400, 1),
    "an unknown session, POST": ("POST", {"sid": "nobody"}, 400, 1),
    "another method": ("PUT", {"sid": "SID"}, 400, 3),
    "a POST as a WebSocket": ("POST", {"sid": "SID", "transport": "websocket"}, 400, 3),
    "a JSONP index that is none": ("GET", {"j": "x"}, 400, 3),
    "a WebSocket without its headers": ("GET", {"transport": "websocket"}, 400, 3),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_that_makes_no_sense_is_refused_with_its_code(case: str) -> None:
    method, query, status, code = REFUSED[case]
    server = Server()
    client = Polling(server)
    query = {key: each.replace("SID", client.eio_sid) for key, each in query.items()}
    answer = ask(server, method, query)
    assert answer[0] == status or (case.startswith("a WebSocket") and answer[0] in (400, 426))
    assert json.loads(answer[2])["code"] == code
    assert answer[1]["Content-Type"] == "application/json"
    assert len(server.sockets) == 1


def test_only_the_transports_that_are_allowed_are_known() -> None:
    assert ask(Server(transports="websocket"))[0] == 400


def test_a_stopping_server_takes_nobody() -> None:
    server = Server()
    server.close_all()
    assert ask(server)[0] == 503


def test_a_cookie_is_set_for_who_asks() -> None:
    assert "Set-Cookie" not in ask(Server())[1]
    headers = ask(Server(cookie="io"))[1]
    assert re.fullmatch(r"io=[\w-]+; path=/; SameSite=Lax", headers["Set-Cookie"])
    headers = ask(Server(cookie={"name": "me", "Secure": True}))[1]
    assert re.fullmatch(r"me=[\w-]+; Secure", headers["Set-Cookie"])


def test_jsonp_is_wrapped() -> None:
    server = Server()
    _, _, body = ask(server, query={"j": "3"})
    assert re.fullmatch(rb'___eio\[3\]\("0\{.*\}"\);', body)


@pytest.mark.parametrize(
    ("accepted", "decode"),
    [("gzip", gzip.decompress), ("deflate, br", zlib.decompress), ("br", lambda body: body)],
)
def test_a_long_answer_is_compressed_as_the_client_likes(
    accepted: str, decode: Callable[[bytes], bytes]
) -> None:
    server = Server(compression_threshold=100)
    client = Polling(server)
    server.send(client.eio_sid, "x" * 500)
    _, headers, body = ask(
        server, "GET", {"sid": client.eio_sid}, headers={"Accept-Encoding": accepted}
    )
    assert decode(body).decode() == "4" + "x" * 500
    assert ("Content-Encoding" in headers) is (len(body) < 500)
    assert int(headers["Content-Length"]) == len(body)


def test_compression_may_be_switched_off() -> None:
    server = Server(http_compression=False)
    client = Polling(server)
    server.send(client.eio_sid, "x" * 5000)
    _, headers, _ = ask(server, "GET", {"sid": client.eio_sid}, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in headers


# -- the end ---------------------------------------------------------------------------------------


def test_a_client_that_polls_hears_that_the_server_sent_it_away() -> None:
    server = Server()
    client = Polling(server)
    server.disconnect(client.eio_sid)
    assert client.poll() == (200, ["1"])
    assert client.poll()[0] == 400
    assert client.eio_sid not in server.sockets


def test_a_page_that_closes_has_its_poll_answered() -> None:
    server = Server()
    client = Polling(server)
    polling = gevent.spawn(client.poll)
    settle()
    client.close()
    assert polling.get(timeout=DEADLINE) == (200, ["6"])
    assert client.eio_sid not in server.sockets


def test_a_last_word_that_nobody_comes_for_is_forgotten() -> None:
    server = Server(ping_timeout=5)
    forward = timed(server)
    client = Polling(server)
    client.close()
    assert client.eio_sid in server.sockets
    forward(5)
    assert client.eio_sid not in server.sockets


def test_a_client_that_vanishes_between_two_polls_is_forgotten() -> None:
    server = Server(ping_interval=10, ping_timeout=5)
    forward = timed(server)
    client = Polling(server)
    forward(10)
    assert [each.packet_type for each in client.link.outbox] == [packet.PING]
    forward(5)
    assert server.sockets == {}
    assert dict(server.counters.closed) == {"ping-timeout": 1}


def test_a_client_that_answers_its_pings_stays() -> None:
    server = Server(ping_interval=10, ping_timeout=5)
    forward = timed(server)
    client = Polling(server)
    for _ in range(5):
        forward(10)
        assert client.poll() == (200, ["2"])
        assert client.post("3") == 200
        forward(0)
    assert client.link is not None


def test_a_server_that_monitors_no_clients_keeps_those_that_do_not_answer() -> None:
    server = Server(monitor_clients=False)
    forward = timed(server)
    client = Polling(server)
    forward(1000)
    assert client.eio_sid in server.sockets


def test_there_are_no_more_connections_than_allowed() -> None:
    server = Server(max_connections=2)
    first = WebSocket(server)
    second = Polling(server)
    open_poll = gevent.spawn(second.poll)
    settle()
    assert ask(server)[0] == 503
    assert dict(server.counters.closed) == {"over-capacity": 1}
    server.send(second.eio_sid, "news")
    open_poll.get(timeout=DEADLINE)
    assert ask(server)[0] == 200, "between two polls there is no connection"
    open_poll = gevent.spawn(second.poll)
    settle()
    assert ask(server)[0] == 503
    first.close()
    until(lambda: first.link is None)
    assert ask(server)[0] == 200
    server.send(second.eio_sid, "news")
    open_poll.get(timeout=DEADLINE)


def test_sessions_that_hold_no_connection_take_no_websockets_place() -> None:
    server = Server(max_connections=2)
    for _ in range(20):
        Polling(server)
    sockets = [WebSocket(server) for _ in range(2)]
    assert ask(server)[0] == 503
    assert all(each.link is not None for each in sockets)


def joined_of(server: Server) -> Polling:
    """A client that is in a namespace, as the Socket.IO layer notes it."""
    client = Polling(server)
    client.link.root = object()
    return client


def test_of_too_many_sessions_without_a_connection_the_oldest_in_no_namespace_goes_first() -> None:
    server = Server(max_polling_sessions=3)
    joined = joined_of(server)
    strangers = [Polling(server) for _ in range(4)]
    assert [each.link is not None for each in strangers] == [False, False, True, True]
    assert joined.link is not None
    assert server.counters.closed["idle-session"] == 2
    newcomer = joined_of(server)
    assert [each.link is not None for each in strangers[2:]] == [False, True]
    others = [joined_of(server) for _ in range(2)]
    assert [joined.link, strangers[3].link] == [None, None], "then the oldest of all"
    assert all(each.link is not None for each in (newcomer, *others))


def test_a_session_that_polls_is_not_among_those_without_a_connection() -> None:
    server = Server(max_polling_sessions=1)
    polling = Polling(server)
    open_poll = gevent.spawn(polling.poll)
    settle()
    for _ in range(5):
        Polling(server)
    server.send(polling.eio_sid, "news")
    assert open_poll.get(timeout=DEADLINE) == (200, ["4news"])


def test_many_header_fields_count_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seats, "RESTING_BYTES", 120_000)
    server = Server()
    for _ in range(10):
        ask(server, headers={"x-ballast": "x" * 30_000})
    assert len(server.sockets) == 3


def test_whatever_ends_a_session_gives_back_what_it_held() -> None:
    server = Server()
    polling, socket, moved = Polling(server), WebSocket(server), Polling(server)
    probe = WebSocket(server, moved)
    open_poll = gevent.spawn(polling.poll)
    settle()
    assert server.seats.taken == 3
    probe.say("4nonsense")
    until(lambda: server.seats.taken == 2)
    probe = WebSocket(server, moved)
    probe.say("2probe")
    probe.say("5")
    until(lambda: moved.link.state is State.WEBSOCKET)
    assert (server.seats.taken, server.seats.resting) == (3, 0)
    socket.close()
    probe.close()
    polling.close()
    open_poll.get(timeout=DEADLINE)
    until(lambda: not server.sockets)
    assert (server.seats.taken, server.seats.resting) == (0, 0)


def test_without_a_number_the_descriptors_of_the_process_bound_them() -> None:
    server = Server()
    Polling(server)
    assert server.max_connections > 100


def test_an_address_may_have_so_many_connections() -> None:
    server = Server(limits=Limits(sockets_per_ip=2))
    clients = [Polling(server) for _ in range(2)]
    assert ask(server)[0] == 429
    clients[0].close()
    assert ask(server)[0] == 200
    assert dict(server.counters.closed) == {"address": 1}


# -- origins ---------------------------------------------------------------------------------------

HERE = "http://localhost"


@pytest.mark.parametrize(
    ("rule", "allowed", "refused"),
    [
        (None, [HERE], ["https://localhost", "http://elsewhere", "null"]),
        ("*", ["http://a.example", "null"], []),
        (["http://a.example", "*"], ["http://b.example"], []),
        ("http://a.example", ["http://a.example"], [HERE, "http://b.example"]),
        (["http://a.example", "http://b.example"], ["http://b.example"], ["http://c.example"]),
        ([], ["http://a.example"], []),
        (re.compile(r"https://\w+\.example"), ["https://a.example"],
         ["https://a.example.evil", "xhttps://a.example", "http://a.example"]),
        ([re.compile(r"https://\w+\.example"), "http://b"], ["https://a.example", "http://b"],
         ["http://c"]),
        (lambda origin: origin.endswith(".example"), ["http://a.example"], ["http://a"]),
        (lambda origin, environ: environ["HTTP_HOST"] in origin, [HERE], ["http://a.example"]),
    ],
    ids=["own", "any", "any in a list", "one", "several", "off", "pattern", "pattern and name",
         "callable", "callable with the environ"],
)  # fmt: skip
def test_origins(rule: Any, allowed: list[str], refused: list[str]) -> None:
    server = Server(cors_allowed_origins=rule)
    assert ask(server)[0] == 200, "a client that names none is no browser"
    for origin in allowed:
        status, headers, _ = ask(server, headers={"Origin": origin})
        assert status == 200
        assert headers.get("Access-Control-Allow-Origin") == (None if rule == [] else origin)
    for origin in refused:
        status, headers, body = ask(server, headers={"Origin": origin})
        assert status == 403
        assert json.loads(body)["code"] == 4
        assert "Access-Control-Allow-Origin" not in headers


def test_a_callable_is_asked_with_what_it_declares_and_its_type_error_is_its_own() -> None:
    asked: list[str] = []

    def rule(origin: str) -> bool:
        asked.append(origin)
        raise TypeError("the app's own")

    server = Server(cors_allowed_origins=rule)
    with pytest.raises(TypeError, match="the app's own"):
        ask(server, headers={"Origin": "http://a.example"})
    assert asked == ["http://a.example"]
    assert ask(server)[0] == 200
    assert len(asked) == 1


def test_credentials_may_be_kept_from_other_origins() -> None:
    for credentials in (True, False):
        server = Server(cors_allowed_origins="*", cors_credentials=credentials)
        _, headers, _ = ask(server, headers={"Origin": "http://a.example"})
        assert ("Access-Control-Allow-Credentials" in headers) is credentials


def test_a_preflight_is_answered_for_those_who_may() -> None:
    server = Server(cors_allowed_origins="http://a.example")
    preflight = {"Origin": "http://a.example", "Access-Control-Request-Headers": "x-tea"}
    status, headers, _ = ask(server, "OPTIONS", headers=preflight)
    assert status == 200
    assert headers["Access-Control-Allow-Headers"] == "x-tea"
    assert ask(server, "OPTIONS", headers={"Origin": "http://b.example"})[0] == 403


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


def test_a_poll_waits_for_something_to_say() -> None:
    server = Server()
    client = Polling(server)
    polling = gevent.spawn(client.poll)
    settle()
    assert not polling.dead
    server.send(client.eio_sid, "now")
    assert polling.get(timeout=DEADLINE) == (200, ["4now"])


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


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "٣", " 1"])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(ProtocolError):
        read_body({"CONTENT_LENGTH": length, "wsgi.input": None}, 1000)


@pytest.mark.parametrize(
    ("body", "packets"),
    [
        (b"", []),
        (b"d=", []),
        (b"3", [(b"3", False)]),
        (b"4a\x1e4b", [(b"4a", False), (b"4b", False)]),
        (b"bAQL/", [(b"\x01\x02\xff", True)]),
        (b"d=4%5B%22a%22%5D%1E3", [(b'4["a"]', False), (b"3", False)]),
        ("4é".encode(), [("4é".encode(), False)]),
    ],
)
def test_a_polling_payload_is_split_at_its_separators(body: bytes, packets: Any) -> None:
    assert packets_of(body, None) == packets


@given(st.binary(max_size=40), st.none() | st.integers(1, 3))
def test_any_payload_is_packets_or_an_error_of_the_client(body: bytes, bound: int | None) -> None:
    try:
        packets = packets_of(body, bound)
    except ValueError:
        return
    assert all(binary or payload[:1] in (b"1", b"3", b"4", b"6") for payload, binary in packets)


def test_a_packet_has_one_encoding_for_each_transport_whichever_asks_first() -> None:
    for first in ("polling", "websocket"):
        made = Packet(packet.MESSAGE, b"\x01\xff")
        for transport in (first, "polling", "websocket"):
            if transport == "polling":
                assert made.encode(b64=True) == "bAf8="
            else:
                assert made.frame() == frame_binary(b"\x01\xff")
    text = Packet(packet.MESSAGE, "é")
    assert text.encode() == text.encode(b64=True) == "4é"
    assert text.frame() == frame_text("4é".encode())


def test_a_polling_client_moves_to_a_websocket_and_loses_nothing() -> None:
    server = Server()
    heard: list[str] = []
    server.on("message", lambda sid, message: heard.append(message))
    polling = Polling(server)
    socket = WebSocket(server, polling)
    open_poll = gevent.spawn(polling.poll)
    settle()
    socket.say("2probe")
    assert socket.frame() == (1, b"3probe")
    assert not open_poll.ready(), "the NOOP comes 100 ms after the probe"
    assert open_poll.get(timeout=DEADLINE) == (200, ["6"])
    assert socket.link.state is State.UPGRADING
    assert polling.poll() == (200, ["6"]), "and again, until UPGRADE"
    server.send(polling.eio_sid, "before")
    assert polling.poll() == (200, ["4before"])
    server.send(polling.eio_sid, "during")
    socket.say("5")
    assert socket.frame() == (1, b"4during")
    server.send(polling.eio_sid, "after")
    assert socket.frame() == (1, b"4after")
    assert polling.poll()[0] == 400
    socket.send("hello")
    until(lambda: heard == ["hello"])


@pytest.mark.parametrize("words", [["4nonsense"], ["2probe", "4nonsense"], ["5"], ["2prob"]])
def test_a_probe_that_fails_leaves_the_client_on_polling(words: list[str]) -> None:
    server = Server()
    polling = Polling(server)
    socket = WebSocket(server, polling)
    for word in words:
        socket.say(word)
    until(lambda: polling.link.wire is None)
    assert polling.link.state is State.POLLING
    server.send(polling.eio_sid, "news")
    assert polling.poll() == (200, ["4news"])
    frames = [socket.frame() for _ in words]
    assert frames[-1][0] == 8, "a close frame"


def test_a_probe_that_closes_leaves_the_client_on_polling() -> None:
    server = Server()
    polling = Polling(server)
    socket = WebSocket(server, polling)
    socket.say("2probe")
    assert socket.frame() == (1, b"3probe")
    socket.close()
    until(lambda: polling.link.wire is None)
    server.send(polling.eio_sid, "news")
    assert polling.poll() == (200, ["4news"])


def test_a_poll_that_waits_when_a_probe_fails_waits_on() -> None:
    server = Server()
    polling = Polling(server)
    socket = WebSocket(server, polling)
    open_poll = gevent.spawn(polling.poll)
    settle()
    socket.say("2probe")
    assert socket.frame() == (1, b"3probe")
    socket.close()
    until(lambda: polling.link.wire is None)
    gevent.sleep(0.15)
    server.send(polling.eio_sid, "news")
    assert open_poll.get(timeout=DEADLINE) == (200, ["4news"])


def test_a_probe_that_says_nothing_is_given_up() -> None:
    server = Server(limits=Limits(handshake_timeout=4, connect_timeout=None))
    forward = timed(server)
    polling = Polling(server)
    socket = WebSocket(server, polling)
    forward(4)
    assert polling.link.wire is None
    assert socket.frame()[0] == 8
    assert polling.link.state is State.POLLING
