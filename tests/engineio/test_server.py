"""The Engine.IO endpoint, request by request: what it answers, what it refuses, what it forgets."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from engineio import packet

from rtcio_sync.engineio.server import Server
from tests.engineio.clients import Polling, ask, timed
from tests.timing import DEADLINE, settle


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


def test_the_log_says_once_a_minute_that_a_client_is_too_old(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    forward = timed(server)
    for version in ("3", "3", "4", ""):
        ask(server, query={"EIO": version, "transport": "polling"})
    forward(61)
    ask(server, query={"EIO": "2", "transport": "polling"})
    said = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert len(said) == 2
    assert "it speaks Engine.IO 3" in said[0] and "socket.io-client 3 or 4" in said[0]
    assert "and once more since" in said[1]


def test_only_the_transports_that_are_allowed_are_known() -> None:
    assert ask(Server(transports="websocket"))[0] == 400


def test_a_stopping_server_takes_nobody() -> None:
    server = Server()
    server.close_all()
    assert ask(server)[0] == 503


def test_no_cache_keeps_a_polling_answer() -> None:
    server = Server()
    client = Polling(server)
    server.send(client.eio_sid, "a")
    for method, query in (("GET", {}), ("GET", {"sid": client.eio_sid})):
        assert ask(server, method, query)[1]["Cache-Control"] == "no-store"
    answer = ask(server, "POST", {"sid": client.eio_sid}, b"4a")
    assert answer[0] == 200 and answer[1]["Cache-Control"] == "no-store"


def test_a_cookie_is_set_for_who_asks() -> None:
    assert "Set-Cookie" not in ask(Server())[1]
    headers = ask(Server(cookie="io"))[1]
    assert re.fullmatch(r"io=[\w-]+; path=/; SameSite=Lax", headers["Set-Cookie"])
    headers = ask(Server(cookie={"name": "me", "Secure": True}))[1]
    assert re.fullmatch(r"me=[\w-]+; Secure", headers["Set-Cookie"])


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, gevent.GreenletExit, gevent.Timeout]
)
def test_what_a_function_of_the_cookie_raises_ends_that_request_alone(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def path() -> str:
        raise kind

    server = Server(cookie={"name": "io", "path": path})
    ends: list[Any] = []
    server.on("disconnect", lambda sid, reason: ends.append(reason))
    status, headers, _ = ask(server)
    assert status == 500 and "Set-Cookie" not in headers
    assert server.counters.handler_errors == 1
    (record,) = [each for each in caplog.records if each.exc_info is not None]
    assert record.exc_info is not None and record.exc_info[0] is kind
    settle()
    assert ends == ["transport error"] and not server.sockets
    server.cookie["path"] = "/"
    assert ask(server)[0] == 200


def test_an_exception_of_a_function_of_the_cookie_is_the_wsgi_servers() -> None:
    server = Server(cookie={"path": lambda: 1 / 0})
    with pytest.raises(ZeroDivisionError):
        ask(server)
    assert not server.sockets


def scripted(script: bytes, index: int) -> str:
    """The text with which a JSONP script calls the client."""
    found = re.fullmatch(rb'___eio\[%d\]\(("[ -~]*")\);' % index, script)
    assert found is not None, script
    return str(json.loads(found[1]))


def test_jsonp_is_wrapped() -> None:
    server = Server()
    _, headers, body = ask(server, query={"j": "3"})
    opening = scripted(body, 3)
    assert opening[:1] == "0"
    assert headers["Content-Type"].startswith("text/plain")  # as Node has it
    sid = json.loads(opening[1:])["sid"]
    hostile = '");globalThis.PWNED=1;//\\\r\n\u2028\u00e9'
    server.send(sid, hostile)
    server.send(sid, b"\xff")
    _, _, body = ask(server, query={"sid": sid, "j": "3"})
    assert scripted(body, 3) == f"4{hostile}\x1eb/w=="


@pytest.mark.parametrize(
    ("accepted", "decode"),
    [
        ("gzip", gzip.decompress),
        ("deflate, br", zlib.decompress),
        ("gzip;q=0, deflate", zlib.decompress),
        ("br", lambda body: body),
        ("deflate; q=0, gzip;q=0.0", lambda body: body),
    ],
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
