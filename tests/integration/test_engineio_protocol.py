"""Engine.IO protocol 4, as its page has it, packet by packet.

Three servers, under each way of running that drives WebSockets from the hub: `calm` with long
pauses between pings; `hasty` with the sub-second pauses of the protocol's own suite, for clients
that answer no ping; and `pinging`, which pings as often and gives its clients time to answer. Where
a test says nothing else, it talks to an Engine.IO server that has no Socket.IO layer and echoes
messages.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from tests.integration.exchange import (
    ACCEPT,
    DEADLINE,
    KEY,
    Endpoint,
    Session,
    header,
    masked,
    read_close,
    until_closed,
)
from tests.integration.servers import Running, running

ECHO = "/engine.io/"
POLLING = "EIO=4&transport=polling"
WEBSOCKET = "EIO=4&transport=websocket"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": KEY,
}

#: As the protocol's suite has it.
PING_INTERVAL, PING_TIMEOUT = 0.3, 0.2
#: Seconds after which a session is over; a ping may be a little early, to be sent with others.
OVER = PING_INTERVAL + PING_TIMEOUT - 0.02
MAX_PAYLOAD = 1_000_000


WAYS = ["listen", "pywsgi", "gunicorn-gevent"]


@pytest.fixture(scope="module", params=WAYS)
def calm_server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(request.param, "protocol", max_http_buffer_size=MAX_PAYLOAD) as server:
        yield server


@pytest.fixture(scope="module", params=WAYS)
def hasty_server(request: pytest.FixtureRequest) -> Iterator[Running]:
    options: dict[str, Any] = {"ping_interval": PING_INTERVAL, "ping_timeout": PING_TIMEOUT}
    with running(request.param, "protocol", **options) as server:
        yield server


@pytest.fixture(scope="module", params=WAYS)
def pinging_server(request: pytest.FixtureRequest) -> Iterator[Running]:
    options = {"ping_interval": PING_INTERVAL, "ping_timeout": 30}
    with running(request.param, "protocol", **options) as server:
        yield server


@pytest.fixture
def calm(calm_server: Running) -> Endpoint:
    return Endpoint(calm_server.port, ECHO)


@pytest.fixture(params=[ECHO, "/socket.io/"], ids=["engine.io", "socket.io"])
def hasty(request: pytest.FixtureRequest, hasty_server: Running) -> Endpoint:
    return Endpoint(hasty_server.port, request.param)


@pytest.fixture(params=[ECHO, "/socket.io/"], ids=["engine.io", "socket.io"])
def pinging(request: pytest.FixtureRequest, pinging_server: Running) -> Endpoint:
    return Endpoint(pinging_server.port, request.param)


def assert_refused(endpoint: Endpoint, method: str, query: str, code: int, **headers: str) -> None:
    answer = endpoint.request(method, query, **headers)
    assert answer.status == 400, answer
    assert json.loads(answer.body)["code"] == code, answer


def opened(endpoint: Endpoint) -> ClientConnection:
    """A WebSocket that has received its handshake packet."""
    websocket = endpoint.websocket()
    assert str(websocket.recv(DEADLINE)).startswith("0{")
    return websocket


# -- handshake -------------------------------------------------------------------------------------


def test_polling_opens_a_session(hasty: Endpoint) -> None:
    answer = hasty.request("GET", POLLING)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
    assert answer.body[0] == "0"
    opening = json.loads(answer.body[1:])
    assert isinstance(opening.pop("sid"), str)
    assert opening == {
        "upgrades": ["websocket"],
        "pingInterval": 300,
        "pingTimeout": 200,
        "maxPayload": 1_000_000,
    }


def test_a_websocket_opens_a_session(hasty: Endpoint) -> None:
    with hasty.websocket() as websocket:
        packet = str(websocket.recv(DEADLINE))
        assert packet[0] == "0"
        opening = json.loads(packet[1:])
        assert isinstance(opening.pop("sid"), str)
        assert opening == {
            "upgrades": [],
            "pingInterval": 300,
            "pingTimeout": 200,
            "maxPayload": 1_000_000,
        }


@pytest.mark.parametrize("eio", ["", "EIO=&", "EIO=abc&", "EIO=3&", "EIO=5&", "EIO=44&"])
def test_any_other_version_of_the_protocol_is_refused(calm: Endpoint, eio: str) -> None:
    assert_refused(calm, "GET", f"{eio}transport=polling", code=5)
    assert_refused(calm, "GET", f"{eio}transport=websocket", code=5, **UPGRADE)


@pytest.mark.parametrize("transport", ["", "&transport=", "&transport=abc", "&transport=polling2"])
def test_an_unknown_transport_is_refused(calm: Endpoint, transport: str) -> None:
    sid = Session(calm).sid
    assert_refused(calm, "GET", f"EIO=4{transport}", code=0)
    assert_refused(calm, "GET", f"EIO=4{transport}", code=0, **UPGRADE)
    assert_refused(calm, "GET", f"EIO=4{transport}&sid={sid}", code=0)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_session_is_opened_by_no_other_method_than_get(calm: Endpoint, method: str) -> None:
    assert_refused(calm, method, POLLING, code=2)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_session_knows_no_other_methods_than_get_and_post(calm: Endpoint, method: str) -> None:
    session = Session(calm)
    assert_refused(calm, method, session.query, code=3)
    session.post("4still here")
    assert session.poll().body == "4still here"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_session_is_refused(calm: Endpoint, method: str) -> None:
    assert_refused(calm, method, f"{POLLING}&sid=unknown", code=1)


def test_a_websocket_for_an_unknown_session_is_refused(calm: Endpoint) -> None:
    assert_refused(calm, "GET", f"{WEBSOCKET}&sid=unknown", code=1, **UPGRADE)


def test_a_preflight_request_of_another_origin_is_answered(calm: Endpoint) -> None:
    answer = calm.request(
        "OPTIONS", POLLING, Origin="http://elsewhere", Access_Control_Request_Method="POST"
    )
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "http://elsewhere"
    assert "POST" in answer.headers["access-control-allow-methods"]


# -- HTTP and the WebSocket handshake (RFC 9110, RFC 6455 4.2) -------------------------------------


def test_a_good_handshake_is_accepted(calm: Endpoint) -> None:
    answer, sock = calm.handshake()
    with sock:
        assert answer.status == 101
        assert answer.headers["upgrade"].lower() == "websocket"
        assert answer.headers["connection"].lower() == "upgrade"
        assert answer.headers["sec-websocket-accept"] == ACCEPT
        assert "sec-websocket-extensions" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Connection": "", "Upgrade": "", "Sec_WebSocket_Key": "", "Sec_WebSocket_Version": ""},
        {"Connection": ""},
        {"Connection": "keep-alive"},
        {"Connection": "close"},
        {"Upgrade": ""},
        {"Upgrade": "h2c"},
        {"Sec_WebSocket_Key": ""},
        {"Sec_WebSocket_Key": "short"},
        {"Sec_WebSocket_Key": "!!!!!!!!!!!!!!!!!!!!!!=="},
        {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZSBhbmQgbW9yZQ=="},
    ],
    ids=str,
)
def test_a_bad_handshake_is_answered_400(calm: Endpoint, headers: dict[str, str]) -> None:
    answer, sock = calm.handshake(**headers)
    with sock:
        assert answer.status == 400, answer
        assert json.loads(answer.body)["code"] == 3
    session = Session(calm)
    answer, sock = calm.handshake(f"{WEBSOCKET}&sid={session.sid}", **headers)
    with sock:
        assert answer.status == 400, answer
    session.post("4still here")
    assert session.poll().body == "4still here"


@pytest.mark.parametrize("version", ["", "8", "14", "13, 8", "thirteen"])
def test_another_version_of_websocket_is_answered_426(calm: Endpoint, version: str) -> None:
    answer, sock = calm.handshake(Sec_WebSocket_Version=version)
    with sock:
        assert answer.status == 426, answer
        assert answer.headers["sec-websocket-version"] == "13"


def test_http_1_0_has_no_websockets(calm: Endpoint) -> None:
    answer, sock = calm.handshake(protocol="HTTP/1.0")
    with sock:
        assert answer.status == 400, answer


def test_a_connection_serves_many_requests(calm: Endpoint) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", calm.port, timeout=DEADLINE)
    connection.request("GET", f"{calm.path}?{POLLING}")
    sid = json.loads(connection.getresponse().read()[1:])["sid"]
    sock = connection.sock
    connection.request("POST", f"{calm.path}?{POLLING}&sid={sid}", "4hello")
    assert connection.getresponse().read() == b"ok"
    connection.request("GET", f"{calm.path}?{POLLING}&sid={sid}")
    assert connection.getresponse().read() == b"4hello"
    assert connection.sock is sock
    connection.close()


def test_connection_close_is_honoured_and_answered(calm: Endpoint) -> None:
    with socket.create_connection(("127.0.0.1", calm.port), DEADLINE) as sock:
        head = f"GET {calm.path}?{POLLING} HTTP/1.1\r\nHost: localhost\r\nConnection: close"
        sock.sendall(f"{head}\r\n\r\n".encode())
        answer = b""
        while piece := sock.recv(4096):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in head.lower()
    assert body.startswith(b"0{") and body.endswith(b"}")


# -- messages: polling -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        "4hello",
        "4",
        "4test1\x1e4test2\x1e4test3",
        "4hello\x1ebAQIDBA==",
        "bAQIDBA==\x1eb\x1e4hello",
        '4{"a": [1,  2]}',
        "4€ \N{GRINNING FACE} \N{LATIN SMALL LETTER E WITH ACUTE}",
    ],
)
def test_polling_carries_messages_both_ways(calm: Endpoint, payload: str) -> None:
    session = Session(calm)
    answer = session.post(payload.encode())
    assert (answer.status, answer.body) == (200, "ok")
    received = session.poll()
    assert received.status == 200
    while received.body.count("\x1e") < payload.count("\x1e"):
        received = received._replace(body=f"{received.body}\x1e{session.poll().body}")
    assert received.body == payload


def test_a_poll_waits_for_a_message(calm: Endpoint) -> None:
    session = Session(calm)
    poll = session.waiting_poll()
    assert session.post("4at last").body == "ok"
    assert poll.result().body == "4at last"


@pytest.mark.parametrize(
    "payload",
    [
        b"abc",
        b"7",
        b"2probe",
        b"4before\x1eabc",
        b"4before\x1e",
        b"bnot base64!",
        b"bAQI",
        b"4\xff\xfe",
        b"0{}",
        b"5",
    ],
)
def test_an_invalid_packet_ends_the_session_and_no_packet_beside_it_counts(
    calm: Endpoint, payload: bytes, calm_server: Running
) -> None:
    session = Session(calm)
    assert session.post(payload).status == 400
    assert session.poll().status == 400
    assert session.post("4hello").status == 400
    lost = ["disconnect", session.sid, "transport error"]
    calm_server.eventually("/told", lambda told: lost in told)


def test_a_poll_in_flight_is_answered_400_when_its_session_is_ended(calm: Endpoint) -> None:
    session = Session(calm)
    poll = session.waiting_poll()
    assert session.post("abc").status == 400
    assert poll.result().status == 400


def test_a_second_poll_at_the_same_time_ends_the_session(calm: Endpoint) -> None:
    session = Session(calm)
    first = session.waiting_poll()
    assert session.poll().status == 400
    answer = first.result()
    assert (answer.status, answer.body) == (200, "1")
    assert session.poll().status == 400


def test_a_second_post_at_the_same_time_ends_the_session(calm: Endpoint) -> None:
    session = Session(calm)
    with socket.create_connection(("127.0.0.1", calm.port), DEADLINE) as sock:
        head = f"POST {calm.path}?{session.query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6"
        sock.sendall(f"{head}\r\n\r\n4he".encode())
        calm.passed()
        assert session.post("4hello").status == 400
    assert session.poll().status == 400


def test_nothing_of_a_post_counts_whose_client_hangs_up_in_the_middle(
    calm: Endpoint, calm_server: Running
) -> None:
    session = Session(calm)
    poll = session.waiting_poll()
    with socket.create_connection(("127.0.0.1", calm.port), DEADLINE) as sock:
        head = f"POST {calm.path}?{session.query} HTTP/1.1\r\nHost: localhost"
        sock.sendall(f"{head}\r\nContent-Length: 6\r\n\r\n4hel".encode())
    assert poll.result().status == 400
    lost = ["disconnect", session.sid, "transport error"]
    calm_server.eventually("/told", lambda told: lost in told)


@pytest.mark.parametrize("length", [str(MAX_PAYLOAD + 1), "99999999999999999999"])
def test_a_post_that_is_too_long_is_refused_before_its_body(calm: Endpoint, length: str) -> None:
    session = Session(calm)
    with socket.create_connection(("127.0.0.1", calm.port), DEADLINE) as sock:
        head = f"POST {calm.path}?{session.query} HTTP/1.1\r\nHost: localhost"
        sock.sendall(f"{head}\r\nContent-Length: {length}\r\n\r\n".encode())
        assert sock.recv(64).startswith(b"HTTP/1.1 413 ")
    assert session.poll().status == 400


def test_a_post_of_the_longest_allowed_length_is_taken(calm: Endpoint) -> None:
    session = Session(calm)
    payload = "4" + "x" * (MAX_PAYLOAD - 1)
    assert session.post(payload).body == "ok"
    assert session.poll().body == payload


# -- messages: WebSocket ---------------------------------------------------------------------------


@pytest.mark.parametrize("packet", ["4hello", "4", '4{"a": [1,  2]}', "4€ \N{GRINNING FACE}"])
def test_a_websocket_carries_text(calm: Endpoint, packet: str) -> None:
    with opened(calm) as websocket:
        websocket.send(packet)
        assert websocket.recv(DEADLINE) == packet


@pytest.mark.parametrize("message", [b"\1\2\3\4", b"", b"4hello", bytes(range(256)) * 1000])
def test_a_websocket_carries_binary(calm: Endpoint, message: bytes) -> None:
    with opened(calm) as websocket:
        websocket.send(message)
        assert websocket.recv(DEADLINE) == message


def test_a_websocket_carries_a_message_of_the_longest_allowed_length(calm: Endpoint) -> None:
    with opened(calm) as websocket:
        packet = "4" + "x" * (MAX_PAYLOAD - 1)
        websocket.send(packet)
        assert websocket.recv(DEADLINE) == packet


@pytest.mark.parametrize("packet", ["abc", "", "7", "2", "2probe", "5", "0{}", "b AQIDBA=="])
def test_an_invalid_packet_closes_a_websocket(
    calm: Endpoint, packet: str, calm_server: Running
) -> None:
    with calm.websocket() as websocket:
        sid = json.loads(str(websocket.recv(DEADLINE))[1:])["sid"]
        websocket.send(packet)
        assert until_closed(websocket) == ([], 1002)
    calm_server.eventually("/told", lambda told: ["disconnect", sid, "transport error"] in told)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param(header(1, MAX_PAYLOAD + 1), 1009, id="text too long"),
        pytest.param(header(2, 1 << 62), 1009, id="binary much too long"),
        pytest.param(
            masked(1, b"4" * 10, final=False) + header(0, MAX_PAYLOAD), 1009, id="parts too long"
        ),
        pytest.param(b"\x81\x024a", 1002, id="not masked"),
        pytest.param(b"\xc1\x82" + bytes(4) + b"4a", 1002, id="a reserved bit"),
        pytest.param(b"\x83\x80" + bytes(4), 1002, id="a reserved opcode"),
        pytest.param(masked(0, b"4a"), 1002, id="continues nothing"),
        pytest.param(masked(1, b"4\xff"), 1007, id="not UTF-8"),
    ],
)
def test_bad_frames_close_a_websocket(calm: Endpoint, frames: bytes, code: int) -> None:
    answer, sock = calm.handshake()
    with sock:
        assert answer.status == 101
        sock.sendall(frames)
        assert read_close(sock) == code


def test_a_message_may_come_in_parts(calm: Endpoint) -> None:
    with opened(calm) as websocket:
        websocket.send(["4he", "l", "lo"])
        assert websocket.recv(DEADLINE) == "4hello"


def test_a_websocket_ping_is_answered(calm: Endpoint) -> None:
    with opened(calm) as websocket:
        assert websocket.ping().wait(DEADLINE)


# -- heartbeat -------------------------------------------------------------------------------------


def test_polling_clients_are_pinged(pinging: Endpoint) -> None:
    session = Session(pinging)
    for _ in range(3):
        answer = session.poll()
        assert (answer.status, answer.body) == (200, "2")
        assert session.post("3").body == "ok"


def test_websocket_clients_are_pinged(pinging: Endpoint) -> None:
    with opened(pinging) as websocket:
        for _ in range(3):
            assert websocket.recv(DEADLINE) == "2"
            websocket.send("3")


def test_a_polling_session_is_over_when_interval_and_timeout_are(hasty: Endpoint) -> None:
    started = time.monotonic()
    session = Session(hasty)
    while session.poll().body == "2":
        pass
    assert time.monotonic() - started >= OVER
    assert session.poll().status == 400


def pinged(endpoint: Endpoint) -> Session:
    """A session whose client was here when the ping came; on a busy machine some are late."""
    end = time.monotonic() + DEADLINE
    while (session := Session(endpoint)).poll().body != "2":
        assert time.monotonic() < end, "no ping"
    return session


def test_a_late_answer_to_a_ping_is_refused(hasty: Endpoint) -> None:
    session = pinged(hasty)
    time.sleep(PING_TIMEOUT)
    assert session.post("3").status == 400


def test_a_waiting_poll_is_answered_400_when_the_session_times_out(hasty: Endpoint) -> None:
    session = pinged(hasty)
    assert session.poll().status == 400


def test_a_websocket_is_closed_when_interval_and_timeout_are_over(hasty: Endpoint) -> None:
    started = time.monotonic()
    with opened(hasty) as websocket:
        packets, _ = until_closed(websocket)
        assert packets == ["2"]
        assert time.monotonic() - started >= OVER


def test_an_answer_that_nobody_asked_for_brings_no_ping(hasty: Endpoint) -> None:
    with opened(hasty) as websocket:
        websocket.send("3")
        websocket.send("3")
        assert until_closed(websocket)[0] == ["2"]


# -- close -----------------------------------------------------------------------------------------


def test_a_client_that_closes_has_its_poll_answered_with_noop(
    calm: Endpoint, calm_server: Running
) -> None:
    session = Session(calm)
    poll = session.waiting_poll()
    assert session.post("1").body == "ok"
    answer = poll.result()
    assert (answer.status, answer.body) == (200, "6")
    assert session.poll().status == 400
    lost = ["disconnect", session.sid, "client disconnect"]
    calm_server.eventually("/told", lambda told: lost in told)


def test_a_poll_that_comes_after_the_close_is_answered_with_noop(calm: Endpoint) -> None:
    # The two requests of a client that closes go different ways: either may come first.
    session = Session(calm)
    assert session.post("1").body == "ok"
    answer = session.poll()
    assert (answer.status, answer.body) == (200, "6")
    assert session.poll().status == 400
    assert session.post("4hello").status == 400


def test_a_websocket_client_closes(calm: Endpoint) -> None:
    with opened(calm) as websocket:
        websocket.send("1")
        assert until_closed(websocket) == ([], 1000)


def test_a_server_that_closes_says_so_to_a_polling_client(calm: Endpoint) -> None:
    session = Session(calm)
    poll = session.waiting_poll()
    session.post("4close me")
    assert poll.result().body == "1"
    assert session.poll().status == 400


def test_a_server_that_closes_says_so_to_a_client_that_polls_later(
    calm: Endpoint, calm_server: Running
) -> None:
    session = Session(calm)
    session.post("4before\x1e4close me")
    lost = ["disconnect", session.sid, "server disconnect"]
    calm_server.eventually("/told", lambda told: lost in told)
    # Apart, as in Node: socket.io-client closes at CLOSE, and only then reads what came with it.
    answers = [session.poll() for _ in range(2)]
    assert [(each.status, each.body) for each in answers] == [(200, "4before"), (200, "1")]
    assert session.poll().status == 400


def test_a_server_that_closes_says_so_to_a_websocket(calm: Endpoint) -> None:
    with opened(calm) as websocket:
        websocket.send("4before")
        websocket.send("4close me")
        assert until_closed(websocket) == (["4before", "1"], 1000)


def test_a_client_that_hangs_up_is_gone_at_once(calm: Endpoint, calm_server: Running) -> None:
    with calm.websocket() as websocket:
        sid = json.loads(str(websocket.recv(DEADLINE))[1:])["sid"]
    calm_server.eventually("/told", lambda told: ["disconnect", sid, "transport close"] in told)


# -- upgrade ---------------------------------------------------------------------------------------


def test_a_session_upgrades_and_nothing_is_said_that_is_not_needed(calm: Endpoint) -> None:
    session = Session(calm)
    with session.probe() as websocket:
        websocket.send("2probe")
        assert websocket.recv(DEADLINE) == "3probe"
        answer = session.poll()
        assert (answer.status, answer.body) == (200, "6")
        websocket.send("5")
        websocket.send("4hello")
        assert websocket.recv(DEADLINE) == "4hello"


def test_a_poll_that_waits_is_ended_after_the_probe_and_each_after_it_after_100_ms(
    calm: Endpoint,
) -> None:
    """The protocol's page has a NOOP "to cleanly close the polling"; Node sends one each 100 ms."""
    session = Session(calm)
    poll = session.waiting_poll()
    with session.probe() as websocket:
        began = time.monotonic()
        websocket.send("2probe")
        assert websocket.recv(DEADLINE) == "3probe"
        assert poll.result().body == "6"
        assert session.poll().body == "6"
        assert time.monotonic() - began > 0.05
        websocket.send("5")
        websocket.send("4hello")
        assert websocket.recv(DEADLINE) == "4hello"


def test_a_poll_that_waits_at_the_end_of_the_upgrade_is_answered_with_one_noop(
    calm: Endpoint,
) -> None:
    session = Session(calm)
    poll = session.waiting_poll()
    with session.upgrade():
        assert poll.result().body == "6"


def test_messages_sent_during_the_upgrade_arrive_after_it_in_order(calm: Endpoint) -> None:
    session = Session(calm)
    session.post("4one")
    with session.probe() as websocket:
        session.post("4two")
        websocket.send("2probe")
        assert websocket.recv(DEADLINE) == "3probe"
        session.post("4three\x1ebAQI=")
        websocket.send("5")
        websocket.send("4four")
        received = [websocket.recv(DEADLINE) for _ in range(5)]
        assert received == ["4one", "4two", "4three", b"\1\2", "4four"]


def test_polling_goes_on_while_a_probe_is_open(calm: Endpoint) -> None:
    session = Session(calm)
    with session.probe():
        session.post("4hello")
        assert session.poll().body == "4hello"
    session.post("4hello again")
    assert session.poll().body == "4hello again"


@pytest.mark.parametrize("packets", [["4hello"], ["5"], ["2"], ["2probe", "2probe"], [b"2probe"]])
def test_a_probe_that_fails_leaves_the_session_on_polling(
    calm: Endpoint, packets: list[str | bytes]
) -> None:
    session = Session(calm)
    with session.probe() as websocket:
        for packet in packets:
            websocket.send(packet)
        _, code = until_closed(websocket)
        assert code == 1002
    session.post("4hello")
    assert session.poll().body == "4hello"
    with session.upgrade() as websocket:
        websocket.send("4upgraded")
        assert websocket.recv(DEADLINE) == "4upgraded"


def test_a_probe_that_hangs_up_half_way_leaves_the_session_on_polling(calm: Endpoint) -> None:
    session = Session(calm)
    with session.probe() as websocket:
        websocket.send("2probe")
        assert websocket.recv(DEADLINE) == "3probe"
    session.post("4hello")
    body = session.poll().body
    while body == "6":  # while the server has not noticed
        body = session.poll().body
    assert body == "4hello"


def test_http_requests_of_an_upgraded_session_are_refused(calm: Endpoint) -> None:
    session = Session(calm)
    with session.upgrade() as websocket:
        websocket.send("4one")
        assert websocket.recv(DEADLINE) == "4one"
        assert session.poll().status == 400
        assert session.post("4hello").status == 400
        websocket.send("4two")
        assert websocket.recv(DEADLINE) == "4two"


def test_http_requests_are_refused_as_soon_as_the_upgrade_is_sent(calm: Endpoint) -> None:
    session = Session(calm)
    with session.probe() as websocket:
        websocket.send("2probe")
        websocket.send("5")
        assert session.poll().status == 400
        websocket.send("4hello")
        assert [websocket.recv(DEADLINE), websocket.recv(DEADLINE)] == ["3probe", "4hello"]


def assert_closed(websocket: ClientConnection) -> None:
    """Accepted, and closed at once."""
    with websocket:
        assert until_closed(websocket) == ([], 1000)


def test_a_second_websocket_of_an_upgraded_session_is_closed(calm: Endpoint) -> None:
    session = Session(calm)
    with session.upgrade() as websocket:
        websocket.send("4one")
        assert websocket.recv(DEADLINE) == "4one"
        assert_closed(session.probe())
        websocket.send("4two")
        assert websocket.recv(DEADLINE) == "4two"


def test_a_second_websocket_of_a_direct_one_is_closed(calm: Endpoint) -> None:
    with calm.websocket() as websocket:
        sid = json.loads(str(websocket.recv(DEADLINE))[1:])["sid"]
        assert_closed(calm.websocket(f"{WEBSOCKET}&sid={sid}"))
        websocket.send("4hello")
        assert websocket.recv(DEADLINE) == "4hello"


def test_a_second_probe_at_the_same_time_is_closed(calm: Endpoint) -> None:
    session = Session(calm)
    with session.probe() as websocket:
        assert_closed(session.probe())
        websocket.send("2probe")
        assert websocket.recv(DEADLINE) == "3probe"
        assert_closed(session.probe())
        websocket.send("5")
        websocket.send("4hello")
        assert websocket.recv(DEADLINE) == "4hello"


@pytest.mark.parametrize("way", ["werkzeug", "uwsgi", "pywsgi-geventwebsocket"])
def test_a_second_websocket_is_closed_on_other_servers_too(way: str) -> None:
    with running(way, "calls") as server:
        session = Session(Endpoint(server.port, "/socket.io/"))
        with session.upgrade() as websocket:
            assert_closed(session.probe())
            websocket.send("40")
            assert str(websocket.recv(DEADLINE)).startswith('40{"sid":')


def test_a_second_websocket_that_is_none_is_refused(calm: Endpoint) -> None:
    with calm.websocket() as websocket:
        sid = json.loads(str(websocket.recv(DEADLINE))[1:])["sid"]
        assert_refused(calm, "GET", f"{WEBSOCKET}&sid={sid}", code=3)


def test_the_sid_of_a_direct_websocket_is_refused_on_polling(calm: Endpoint) -> None:
    with calm.websocket() as websocket:
        sid = json.loads(str(websocket.recv(DEADLINE))[1:])["sid"]
        assert_refused(calm, "GET", f"{POLLING}&sid={sid}", code=3)
        assert_refused(calm, "POST", f"{POLLING}&sid={sid}", code=3)
        websocket.send("4hello")
        assert websocket.recv(DEADLINE) == "4hello"
