"""Requests that gunicorn's gevent worker does not see itself: nobody can tell the difference."""

from __future__ import annotations

import http.client
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.raw import RawPolling, RawWebSocket
from tests.integration.servers import Running, running
from tests.timing import DEADLINE, wait_until

PATH = "/socket.io/?EIO=4&transport=polling"

#: In the environ of a request that was answered without gunicorn's parser.
DIRECT = "rtcio_sync.connection"

#: What differs from request to request, and what only gunicorn's own way has.
DIFFERENT = {
    DIRECT, "REMOTE_PORT", "gunicorn.socket", "wsgi.input", "wsgi.errors", "wsgi.early_hints",
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running("gunicorn-gevent", "environs") as server:
        server.get(PATH).read()  # from the first request on
        yield server


def asked(server: Running, path: str = PATH, headers: dict[str, str] | None = None) -> Any:
    """The answer to one request, and the environ that the app saw."""
    answer = server.get(path, headers)
    body = answer.read()
    return answer, body, server.get_json("/environs")[-1]


def test_an_environ_is_as_gunicorn_makes_it(server: Running) -> None:
    fields = {"Cookie": "a=1", "X-Forwarded-For": "192.0.2.1", "Content-Type": "t/x"}
    path = f"{PATH}&word=two"
    _, _, ours = asked(server, path, fields)
    # gunicorn parses what has a percent sign.
    _, _, theirs = asked(server, path.replace("two", "%74wo"), fields)
    assert DIRECT in ours and DIRECT not in theirs
    same = ours.keys() - DIFFERENT - {"QUERY_STRING", "RAW_URI"}
    assert {key: ours[key] for key in same} == {
        key: each
        for key, each in theirs.items()
        if key not in {*DIFFERENT, "QUERY_STRING", "RAW_URI"}
    }
    assert ours["RAW_URI"] == f"str {path}"


def test_a_session_goes_its_way_directly(server: Running) -> None:
    with RawPolling(server) as peer:
        peer.join()
        peer.post('42["nothing"]')
    with RawWebSocket(server) as websocket:
        websocket.join()
    queries = [each for each in server.get_json("/environs") if "EIO" in each["QUERY_STRING"]]
    assert all(DIRECT in each for each in queries[-6:] if "%" not in each["QUERY_STRING"])


@pytest.mark.parametrize(
    ("fields", "direct"),
    [
        ({"X-Forwarded-Proto": "https"}, True),
        ({"X-Forwarded-Proto": "http"}, True),
        ({"X-Forwarded-Proto": "HTTPS"}, True),
        ({"X-Forwarded-Ssl": "on"}, True),
        ({"X-Forwarded-Ssl": "on", "X-Forwarded-Proto": "https"}, False),
        ({"X_Forwarded_Proto": "https"}, False),
    ],
)
def test_the_scheme_is_that_which_a_trusted_proxy_has_seen(
    server: Running, fields: dict[str, str], direct: bool
) -> None:
    _, _, ours = asked(server, f"{PATH}&word=two", fields)
    _, _, theirs = asked(server, f"{PATH}&word=%74wo", fields)
    assert (DIRECT in ours) is direct and DIRECT not in theirs
    assert ours["wsgi.url_scheme"] == theirs["wsgi.url_scheme"]


def test_the_scheme_of_a_proxy_that_is_not_trusted_is_left_out() -> None:
    environ = {"GUNICORN_CMD_ARGS": "--forwarded-allow-ips 192.0.2.1"}
    with running("gunicorn-gevent", "environs", environ=environ) as server:
        for _ in range(2):
            _, _, seen = asked(server, headers={"X-Forwarded-Proto": "https"})
            assert seen["wsgi.url_scheme"] == "str http"
        assert DIRECT in seen


def test_an_unknown_session_is_answered_by_gunicorns_way(server: Running) -> None:
    answer, body, environ = asked(server, f"{PATH}&sid=of-another-worker")
    assert answer.status == 400 and b"Session ID unknown" in body
    assert DIRECT not in environ


def test_pages_and_signaling_share_a_connection(server: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
    for path in (PATH, "/health", PATH, PATH):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        assert answer.getheader("Connection") != "close"
    connection.close()


def test_an_exception_of_the_app_is_answered_500_and_logged() -> None:
    with running("gunicorn-gevent", "environs", clean_log=False) as server:
        for _ in range(2):  # gunicorn's way, and ours
            answer = server.get(f"{PATH}&raise")
            assert answer.status == 500
            answer.read()
        wait_until(lambda: server.log().count("RuntimeError: of the app's") == 2)
        assert server.log().count("Error handling request") == 2


@pytest.mark.parametrize(
    "arguments", ["--access-logfile -", "--max-requests 1000", "--proxy-protocol"]
)
def test_settings_that_need_gunicorns_way_get_it(arguments: str) -> None:
    environ = {"GUNICORN_CMD_ARGS": arguments}
    with running("gunicorn-gevent", "environs", environ=environ) as server:
        statuses = []
        for _ in range(3):
            answer = server.get(PATH)
            answer.read()
            statuses.append(answer.status)
        assert statuses == [200] * 3
        assert all(DIRECT not in each for each in server.get_json("/environs"))
        if "access" in arguments:
            wait_until(lambda: server.log().count("GET /socket.io/") == 3)


@pytest.mark.parametrize("setting", ["line 60", "field_size 60", "fields 4"])
def test_gunicorns_bounds_of_a_request_hold(setting: str) -> None:
    environ = {"GUNICORN_CMD_ARGS": f"--limit-request-{setting}"}
    with running("gunicorn-gevent", "environs", environ=environ, clean_log=False) as server:
        for _ in range(2):
            assert server.get(PATH).status == 200
        fields = {"X-Long": 60 * "x", "X-A": "1"}
        assert server.get(f"{PATH}&more={60 * 'x'}", fields).status in (400, 414, 431)
        assert "Invalid request" in server.log()


def test_a_connection_is_kept_as_long_as_the_setting_says() -> None:
    environ = {"GUNICORN_CMD_ARGS": "--keep-alive 5"}
    with running("gunicorn-gevent", "environs", environ=environ) as server:
        server.get(PATH).read()
        with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as sock:
            for _ in range(2):
                sock.sendall(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                answer = b""
                while b'0{"sid"' not in answer:
                    more = sock.recv(65536)
                    assert more, "it was closed behind its first answer"
                    answer += more
            while more := sock.recv(65536):  # until gunicorn's time is over
                answer += more


def test_without_keep_alive_each_answer_ends_its_connection() -> None:
    environ = {"GUNICORN_CMD_ARGS": "--keep-alive 0"}
    with running("gunicorn-gevent", "environs", environ=environ) as server:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as sock:
                sock.sendall(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                answer = b""
                while more := sock.recv(65536):
                    answer += more
                assert b"connection: close" in answer.lower()


def test_requests_with_a_large_body_reach_the_app(server: Running) -> None:
    with RawPolling(server) as peer:
        peer.join()
        assert peer.post('42["nothing","' + "x" * 300_000 + '"]') == 200


def test_connections_that_are_handed_over_wait_until_the_worker_has_room() -> None:
    environ = {"GUNICORN_CMD_ARGS": "--worker-connections 2"}
    with running("gunicorn-gevent", "environs", environ=environ) as server:
        server.get(PATH).read()
        address = "127.0.0.1", server.port
        peers = [socket.create_connection(address, timeout=DEADLINE) for _ in range(5)]
        for peer in peers:  # they are accepted: an answer has come
            peer.sendall(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert b" 200 " in peer.recv(65536)
        for peer in peers:
            peer.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        for peer in peers:
            answer = b""
            while more := peer.recv(65536):
                answer += more
            assert answer.endswith(b"waited")


def test_a_worker_that_stops_finishes_the_answers_that_it_has_begun() -> None:
    with running("gunicorn-gevent", "environs") as server:
        server.get(PATH).read()
        with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as peer:
            peer.sendall(f"GET {PATH}&wait HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            server.eventually("/environs", lambda seen: "&wait" in seen[-1]["QUERY_STRING"])
            server.process.send_signal(signal.SIGTERM)
            answer = b""
            while more := peer.recv(65536):
                answer += more
            assert answer.startswith(b"HTTP/1.1 503 ")
        assert server.process.wait(DEADLINE) == 0
