"""The Engine.IO endpoint, request by request: what it takes, what it refuses, what it forgets."""

from __future__ import annotations

import gzip
import io
import json
import logging
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

from rtcio_sync import Limits, ProtocolError, Server
from rtcio_sync.engineio import seats
from rtcio_sync.engineio.heartbeat import Heartbeat
from rtcio_sync.engineio.packet import Packet
from rtcio_sync.engineio.payload import packets_of, read_body
from rtcio_sync.engineio.requests import slim
from rtcio_sync.engineio.state import State
from rtcio_sync.protocol.websocket import frame_binary, frame_text
from tests.clients import Polling, WebSocket, event
from tests.timing import Clock, in_time, settle, until
from tests.wsgi import environ_of, request


def ask(
    server: Server,
    method: str = "GET",
    query: dict[str, str] | None = None,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    with in_time():
        return request(
            server.handle_request, environ_of(method, query or {}, body=body, headers=headers)
        )


# -- the handshake ---------------------------------------------------------------------------------


def test_a_handshake_says_how_the_connection_will_be() -> None:
    server = Server(ping_interval=(7, 1), ping_timeout=3, max_http_buffer_size=5000)
    status, headers, body = ask(server)
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    opening = json.loads(body[1:])
    assert body[:1] == b"0"
    assert opening.pop("sid") in server.eio.sockets
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
    assert len(server.eio.sockets) == 1


def test_only_the_transports_that_are_allowed_are_known() -> None:
    assert ask(Server(transports="websocket"))[0] == 400


def test_there_are_no_more_connections_than_allowed() -> None:
    server = Server(max_connections=2)
    first = WebSocket(server).join()
    second = Polling(server).join()
    open_poll = gevent.spawn(second.poll)
    settle()
    assert ask(server)[0] == 503
    assert dict(server.counters.closed) == {"over-capacity": 1}
    server.emit("news", to=second.sid)
    open_poll.get(timeout=10)
    assert ask(server)[0] == 200, "between two polls there is no connection"
    open_poll = gevent.spawn(second.poll)
    settle()
    assert ask(server)[0] == 503
    first.close()
    until(lambda: first.link is None)
    assert ask(server)[0] == 200
    server.emit("news", to=second.sid)
    open_poll.get(timeout=10)


def test_sessions_that_hold_no_connection_take_no_websockets_place() -> None:
    server = Server(max_connections=2)
    for _ in range(20):
        Polling(server)
    sockets = [WebSocket(server).join() for _ in range(2)]
    assert ask(server)[0] == 503
    assert all(each.link is not None for each in sockets)


def test_of_too_many_sessions_without_a_connection_the_oldest_in_no_namespace_goes_first() -> None:
    server = Server(max_polling_sessions=3)
    joined = Polling(server).join()
    strangers = [Polling(server) for _ in range(4)]
    assert [each.link is not None for each in strangers] == [False, False, True, True]
    assert joined.link is not None
    assert server.counters.closed["idle-session"] == 2
    newcomer = Polling(server).join()
    assert [each.link is not None for each in strangers[2:]] == [False, True]
    others = [Polling(server).join() for _ in range(2)]
    assert [joined.link, strangers[3].link] == [None, None], "then the oldest of all"
    assert all(each.link is not None for each in (newcomer, *others))


def test_a_session_that_polls_is_not_among_those_without_a_connection() -> None:
    server = Server(max_polling_sessions=1)
    polling = Polling(server).join()
    open_poll = gevent.spawn(polling.poll)
    settle()
    for _ in range(5):
        Polling(server).join()
    server.emit("news", to=polling.sid)
    assert open_poll.get(timeout=10) == (200, ['42["news"]'])


def test_many_header_fields_count_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seats, "RESTING_BYTES", 120_000)
    server = Server()
    for _ in range(10):
        ask(server, headers={"x-ballast": "x" * 30_000})
    assert len(server.eio.sockets) == 3


def test_whatever_ends_a_session_gives_back_what_it_held() -> None:
    server = Server()
    polling, socket, moved = Polling(server).join(), WebSocket(server).join(), Polling(server)
    probe = WebSocket(server, moved)
    open_poll = gevent.spawn(polling.poll)
    settle()
    assert server.eio.seats.taken == 3
    probe.say("4nonsense")
    until(lambda: server.eio.seats.taken == 2)
    probe = WebSocket(server, moved)
    probe.say("2probe")
    probe.say("5")
    until(lambda: moved.link.state is State.WEBSOCKET)
    assert (server.eio.seats.taken, server.eio.seats.resting) == (3, 0)
    socket.close()
    probe.close()
    polling.close()
    open_poll.get(timeout=10)
    until(lambda: not server.eio.sockets)
    assert (server.eio.seats.taken, server.eio.seats.resting) == (0, 0)


def test_without_a_number_the_descriptors_of_the_process_bound_them() -> None:
    server = Server()
    Polling(server)
    assert server.eio.max_connections > 100


def test_a_stopping_server_takes_nobody() -> None:
    server = Server()
    server.eio.close_all()
    assert ask(server)[0] == 503


def test_an_address_may_have_so_many_connections() -> None:
    server = Server(limits=Limits(sockets_per_ip=2))
    clients = [Polling(server) for _ in range(2)]
    assert ask(server)[0] == 429
    clients[0].close()
    assert ask(server)[0] == 200
    assert dict(server.counters.closed) == {"address": 1}


def test_a_cookie_is_set_for_who_asks() -> None:
    assert "Set-Cookie" not in ask(Server())[1]
    headers = ask(Server(cookie="io"))[1]
    assert re.fullmatch(r"io=[\w-]+; path=/; SameSite=Lax", headers["Set-Cookie"])
    headers = ask(Server(cookie={"name": "me", "Secure": True}))[1]
    assert re.fullmatch(r"me=[\w-]+; Secure", headers["Set-Cookie"])


def test_handlers_get_the_environ_without_what_is_the_wsgi_servers() -> None:
    mine = {
        "PATH_INFO": "/",
        "HTTP_COOKIE": "a=b",
        "REMOTE_ADDR": "peer",
        "wsgi.url_scheme": "https",
        "wsgi.multithread": False,
        "myapp.user": "ann",
        "werkzeug.proxy_fix.orig": {},
    }
    theirs = {
        "wsgi.input": None,
        "wsgi.errors": None,
        "wsgi.websocket": None,
        "gunicorn.socket": None,
        "werkzeug.socket": None,
        "werkzeug.server.shutdown": None,
        "HTTP_SEC_WEBSOCKET_KEY": "x",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
    }
    assert slim({**mine, **theirs}) == mine


# -- what a client posts ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 16, 17, 500])
def test_all_packets_of_a_request_are_taken(number: int) -> None:
    server = Server()
    heard: list[int] = []
    server.on("chat", lambda sid, each: heard.append(each))
    client = Polling(server).join()
    client.send(*(event("chat", each) for each in range(number)))
    until(lambda: len(heard) == number)
    assert heard == list(range(number))


BAD_BODIES: dict[str, bytes] = {
    "too many packets": b"\x1e".join([b'42["a"]'] * 1001),
    "an unknown packet": b"9",
    "a packet that is the server's": b"2probe",
    "an empty packet": b'42["a"]\x1e',
    "no base64": b"b====",
    "no UTF-8": b'42["\xff"]',
    "half a JSON packet": b'42["a"',
}


@pytest.mark.parametrize("bad", BAD_BODIES)
def test_a_request_that_cannot_be_read_is_an_error_and_the_end(bad: str) -> None:
    server = Server()
    heard: list[Any] = []
    server.on("a", lambda sid: heard.append(1))
    client = Polling(server).join()
    status, _, _ = ask(server, "POST", {"sid": client.eio_sid}, BAD_BODIES[bad])
    assert status == (200 if bad == "half a JSON packet" else 400)
    until(lambda: client.eio_sid not in server.eio.sockets)
    assert heard == []
    assert dict(server.counters.closed) == {"packet": 1}
    assert ask(server, "GET", {"sid": client.eio_sid})[0] == 400


def test_the_bound_on_packets_may_be_lifted() -> None:
    server = Server(limits=Limits(max_packets_per_poll=None, events_per_second=None))
    client = Polling(server).join()
    body = b"\x1e".join([b'42["a"]'] * 1001)
    assert ask(server, "POST", {"sid": client.eio_sid}, body)[0] == 200


@pytest.mark.parametrize("path", ["declared", "undeclared"])
def test_a_body_that_is_too_long_is_never_read_to_its_end(path: str) -> None:
    server = Server(max_http_buffer_size=1000)
    client = Polling(server).join()
    environ = environ_of("POST", {"sid": client.eio_sid}, body=b"4" * 5000)
    if path == "undeclared":
        environ["CONTENT_LENGTH"] = ""
    status, _, _ = request(server.handle_request, environ)
    assert status == 413
    assert environ["wsgi.input"].tell() == (0 if path == "declared" else 1001)
    assert dict(server.counters.closed) == {"too-long": 1}


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "٣", " 1"])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(ProtocolError):
        read_body({"CONTENT_LENGTH": length, "wsgi.input": None}, 1000)


def test_a_body_that_ends_early_is_not_taken() -> None:
    server = Server()
    client = Polling(server).join()
    environ = environ_of("POST", {"sid": client.eio_sid}, body=b'42["a"]')
    environ["CONTENT_LENGTH"] = "100"
    assert request(server.handle_request, environ)[0] == 400
    assert client.link is None or client.link.closed


def test_two_posts_at_a_time_end_the_connection() -> None:
    server = Server()
    client = Polling(server).join()
    release = Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert release.wait(10)
            return super().read(size)

    environ = environ_of("POST", {"sid": client.eio_sid}, body=b"3")
    environ["wsgi.input"] = Slow(b"3")
    first = gevent.spawn(request, server.handle_request, environ)
    settle()
    assert client.post("3") == 400
    assert dict(server.counters.closed) == {"overlap": 1}
    release.set()
    assert first.get(timeout=10)[0] in (200, 400)


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


# -- what it polls ---------------------------------------------------------------------------------


def test_one_answer_takes_everything_that_waits() -> None:
    server = Server()
    client = Polling(server).join()
    for number in range(40):
        server.emit("n", number, to=client.sid)
    server.emit("bytes", b"\x01", to=client.sid)
    status, packets = client.poll()
    assert status == 200
    assert packets == [
        *(f'42["n",{number}]' for number in range(40)),
        '451-["bytes",{"_placeholder":true,"num":0}]',
        "bAQ==",
    ]


def test_a_poll_waits_for_something_to_say() -> None:
    server = Server()
    client = Polling(server).join()
    polling = gevent.spawn(client.poll)
    settle()
    assert not polling.dead
    server.emit("now", to=client.sid)
    assert polling.get(timeout=10) == (200, ['42["now"]'])


def test_a_second_poll_ends_the_connection_and_the_first_hears_of_it() -> None:
    server = Server()
    client = Polling(server).join()
    first = gevent.spawn(client.poll)
    settle()
    assert client.poll()[0] == 400
    assert first.get(timeout=10) == (200, ["1"])
    assert client.eio_sid not in server.eio.sockets


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
    client = Polling(server).join()
    server.emit("long", "x" * 500, to=client.sid)
    _, headers, body = ask(
        server, "GET", {"sid": client.eio_sid}, headers={"Accept-Encoding": accepted}
    )
    assert decode(body).decode() == f'42["long","{"x" * 500}"]'
    assert ("Content-Encoding" in headers) is (len(body) < 500)
    assert int(headers["Content-Length"]) == len(body)


def test_compression_may_be_switched_off() -> None:
    server = Server(http_compression=False)
    client = Polling(server).join()
    server.emit("long", "x" * 5000, to=client.sid)
    _, headers, _ = ask(server, "GET", {"sid": client.eio_sid}, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in headers


# -- the end ---------------------------------------------------------------------------------------


def test_a_client_that_polls_hears_that_the_server_sent_it_away() -> None:
    server = Server()
    client = Polling(server).join()
    server.sockets[client.sid].disconnect(True)
    assert client.poll() == (200, ["41", "1"])
    assert client.poll()[0] == 400
    assert client.eio_sid not in server.eio.sockets


def test_a_page_that_closes_has_its_poll_answered() -> None:
    server = Server()
    client = Polling(server).join()
    polling = gevent.spawn(client.poll)
    settle()
    client.close()
    assert polling.get(timeout=10) == (200, ["6"])
    assert client.eio_sid not in server.eio.sockets


def timed(**options: Any) -> tuple[Server, Callable[[float], None]]:
    """A server whose clock stands still, and what lets it go on."""
    server = Server(ping_interval=10, ping_timeout=5, **options)
    clock = Clock()
    server.eio.heartbeat = Heartbeat(server.eio, server.eio.heartbeat.ping, clock.now)

    def forward(seconds: float) -> None:
        clock.advance(seconds)
        server.eio.heartbeat._beat(clock.now())

    return server, forward


def test_a_last_word_that_nobody_comes_for_is_forgotten() -> None:
    server, forward = timed()
    client = Polling(server).join()
    client.close()
    assert client.eio_sid in server.eio.sockets
    forward(5)
    assert client.eio_sid not in server.eio.sockets


def test_a_client_that_vanishes_between_two_polls_is_forgotten() -> None:
    server, forward = timed()
    client = Polling(server).join()
    forward(10)
    assert [each.packet_type for each in client.link.outbox] == [packet.PING]
    forward(5)
    assert server.eio.sockets == {}
    settle()
    assert dict(server.counters.closed) == {"ping-timeout": 1}
    assert server.stats()["connected"] == 0


def test_a_client_that_answers_its_pings_stays() -> None:
    server, forward = timed()
    client = Polling(server).join()
    for _ in range(5):
        forward(10)
        assert client.poll() == (200, ["2"])
        assert client.post("3") == 200
        forward(0)
    assert client.link is not None


@pytest.mark.parametrize("made", [Polling, WebSocket])
def test_who_joins_no_namespace_in_time_is_sent_away(made: Any) -> None:
    server, forward = timed()
    idle, joined = made(server), made(server).join()
    for _ in range(5):
        forward(9)
        for client in (idle, joined):
            if client.link is not None and client.link.pinged_at is not None:
                client.link.receive(b"3", False)
    assert idle.eio_sid not in server.eio.sockets
    assert joined.eio_sid in server.eio.sockets
    assert dict(server.counters.closed) == {"connect-timeout": 1}


def test_who_stays_out_of_every_namespace_may_be_let_be() -> None:
    server, forward = timed(limits=Limits(connect_timeout=None), monitor_clients=False)
    client = Polling(server)
    forward(1000)
    assert client.eio_sid in server.eio.sockets


# -- a client that does not read -------------------------------------------------------------------


@pytest.mark.parametrize("made", [Polling, WebSocket])
def test_a_client_that_does_not_read_is_sent_away_and_its_peers_hear_of_it(made: Any) -> None:
    server = Server(limits=Limits(max_buffered_bytes=100_000))
    slow, peer = made(server).join(), Polling(server).join()
    for client in (slow, peer):
        server.enter_room(client.sid, "tea")
    for _ in range(200):
        server.emit("news", "x" * 10_000, to=slow.sid)
        gevent.sleep(0)
        if slow.link is None or slow.link.closed:
            break
    until(lambda: slow.eio_sid not in server.eio.sockets)
    assert peer.next() == f'2["#rtcio:peer-left",{{"id":"{slow.sid}"}}]'
    assert dict(server.counters.closed) == {"slow-reader": 1}
    until(lambda: server.stats()["connected"] == 1)


def test_the_bound_may_be_lifted() -> None:
    server = Server(limits=Limits(max_buffered_bytes=None))
    client = Polling(server).join()
    for _ in range(6):
        server.emit("news", "x" * 1_000_000, to=client.sid)
    assert len(client.poll()[1]) == 6


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


# -- packets ---------------------------------------------------------------------------------------


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


# -- the upgrade -----------------------------------------------------------------------------------


def test_a_polling_client_moves_to_a_websocket_and_loses_nothing() -> None:
    server = Server()
    polling = Polling(server).join()
    socket = WebSocket(server, polling)
    open_poll = gevent.spawn(polling.poll)
    settle()
    socket.say("2probe")
    assert socket.frame() == (1, b"3probe")
    assert not open_poll.ready(), "the NOOP comes 100 ms after the probe"
    assert open_poll.get(timeout=10) == (200, ["6"])
    assert socket.link.state is State.UPGRADING
    assert polling.poll() == (200, ["6"]), "and again, until UPGRADE"
    server.emit("before", to=polling.sid)
    assert polling.poll() == (200, ['42["before"]'])
    server.emit("during", to=polling.sid)
    socket.say("5")
    assert socket.frame() == (1, b'42["during"]')
    server.emit("after", to=polling.sid)
    assert socket.frame() == (1, b'42["after"]')
    assert polling.poll()[0] == 400
    socket.emit("unheard of")
    assert socket.events() == []


@pytest.mark.parametrize("words", [["4nonsense"], ["2probe", "4nonsense"], ["5"], ["2prob"]])
def test_a_probe_that_fails_leaves_the_client_on_polling(words: list[str]) -> None:
    server = Server()
    polling = Polling(server).join()
    socket = WebSocket(server, polling)
    for word in words:
        socket.say(word)
    until(lambda: polling.link.wire is None)
    assert polling.link.state is State.POLLING
    server.emit("news", to=polling.sid)
    assert polling.next() == '2["news"]'
    frames = [socket.frame() for _ in words]
    assert frames[-1][0] == 8, "a close frame"


def test_a_probe_that_closes_leaves_the_client_on_polling() -> None:
    server = Server()
    polling = Polling(server).join()
    socket = WebSocket(server, polling)
    socket.say("2probe")
    assert socket.frame() == (1, b"3probe")
    socket.close()
    until(lambda: polling.link.wire is None)
    server.emit("news", to=polling.sid)
    assert polling.next() == '2["news"]'


def test_a_poll_that_waits_when_a_probe_fails_waits_on() -> None:
    server = Server()
    polling = Polling(server).join()
    socket = WebSocket(server, polling)
    open_poll = gevent.spawn(polling.poll)
    settle()
    socket.say("2probe")
    assert socket.frame() == (1, b"3probe")
    socket.close()
    until(lambda: polling.link.wire is None)
    gevent.sleep(0.15)
    server.emit("news", to=polling.sid)
    assert open_poll.get(timeout=10) == (200, ['42["news"]'])


def test_a_probe_that_says_nothing_is_given_up() -> None:
    server, forward = timed(limits=Limits(handshake_timeout=4))
    polling = Polling(server).join()
    socket = WebSocket(server, polling)
    forward(4)
    assert polling.link.wire is None
    assert socket.frame()[0] == 8
    assert polling.link.state is State.POLLING


# -- the first request -----------------------------------------------------------------------------


def test_a_process_that_is_not_patched_is_told_once_when_it_serves_and_never_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    server.test_client()
    assert caplog.records == []
    for _ in range(2):
        ask(server)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "monkey.patch_all()" in record.getMessage()
    assert "gunicorn -k gevent" in record.getMessage()
