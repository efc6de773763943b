"""``server.engine``: the connections, and the engine's events; ``close`` and ``attach``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask
import pytest
from werkzeug.test import Client as HttpClient

from rtcio_sync import EngineError, OptionError, Server
from tests.clients import Polling, WebSocket
from tests.reconnecting import in_room
from tests.timing import until

OPENING = "/socket.io/?EIO=4&transport=polling"


def http(server: Server) -> HttpClient:
    app = flask.Flask("pages")
    server.attach(app)
    return HttpClient(app)


def test_connections_are_counted() -> None:
    server = Server()
    assert server.engine.clients_count == 0
    clients = [Polling(server), WebSocket(server)]
    assert server.engine.clients_count == len(clients)


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("EIO=4&transport=pigeon", 0, "Transport unknown"),
        ("EIO=4&transport=polling&sid=x", 1, "Session ID unknown"),
        ("EIO=3&transport=polling", 5, "Unsupported protocol version"),
    ],
)
def test_a_refused_request_is_told(query: str, code: int, message: str) -> None:
    server = Server()
    told: list[EngineError] = []
    server.engine.on("connection_error", told.append)
    answer = http(server).get(f"/socket.io/?{query}", headers={"X-Tea": "green"})
    assert answer.status_code == 400
    (error,) = told
    assert (error.code, error.message) == (code, message)
    assert error.request.headers["X-Tea"] == "green"
    assert error.context == {"status": "400 BAD REQUEST"}


def test_a_refused_origin_is_told() -> None:
    server = Server()
    told: list[EngineError] = []

    @server.engine.on("connection_error")
    def failed(error: EngineError) -> None:
        told.append(error)
        raise LookupError  # the answer is the same

    answer = http(server).get(OPENING, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert [each.request.headers["Origin"] for each in told] == ["https://evil.example"]
    assert server.stats()["handler_errors"] == 1


def test_answers_get_the_apps_own_header_fields() -> None:
    server = Server()
    seen: list[Any] = []

    @server.engine.on("initial_headers")
    def first(headers: dict[str, str], request: Any) -> None:
        seen.append(request.args["transport"])
        headers["X-First"] = "1"

    @server.engine.on("headers")
    def each(headers: dict[str, str]) -> None:
        headers["X-Each"] = "2"

    client = http(server)
    opening = client.get(OPENING)
    assert (opening.headers["X-First"], opening.headers["X-Each"]) == ("1", "2")
    sid = opening.get_json(force=True, silent=True) or opening.get_data(as_text=True)
    sid = sid.partition('"sid":"')[2].partition('"')[0]
    post = client.post(f"{OPENING}&sid={sid}", data="40")
    assert "X-First" not in post.headers and post.headers["X-Each"] == "2"
    refused = client.get(f"{OPENING}&sid=x")
    assert "X-Each" not in refused.headers
    assert seen == ["polling"]


def test_a_websocket_gets_them_with_its_handshake() -> None:
    server = Server()
    server.engine.on("initial_headers", lambda headers: headers.update({"X-First": "1"}))
    server.engine.on("headers", lambda headers: headers.update({"X-Each": "2"}))
    environ = {
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_UPGRADE": "websocket",
        "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
    }
    own = {("X-First", "1"), ("X-Each", "2")}
    assert own <= set(server.eio.handshake(environ, opens=True))
    assert ("X-First", "1") not in server.eio.handshake(environ, opens=False)


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x=1", 7, "\u0141"])
def test_what_is_no_header_field_is_the_handlers_error(value: Any) -> None:
    server = Server()
    server.engine.on("headers", lambda headers: headers.update({"X-Each": value}))
    answer = http(server).get(OPENING)
    assert answer.status_code == 200 and "X-Each" not in answer.headers
    assert server.stats()["handler_errors"] == 1


def test_the_engine_has_no_other_events() -> None:
    with pytest.raises(OptionError, match="connection_error"):
        Server().engine.on("drain", print)


def test_close_ends_the_connections_of_a_server_that_does_not_listen() -> None:
    server = Server(drain_seconds=0.1)
    client = WebSocket(server).join()
    socket = server.sockets[client.sid]
    server.close()
    until(lambda: socket.disconnected)


def test_after_close_a_server_that_does_not_listen_serves_on(
    elsewhere: Callable[..., Any],
) -> None:
    server = Server(connection_state_recovery=True)
    away = in_room(server)
    away.lose()
    old = Polling(server).join()
    elsewhere(server.close)
    until(lambda: not server.manager.members)
    assert server.stats()["away"] == 0, "the clients are to go to any worker"
    assert Polling(server).join().sid != old.sid
    elsewhere(server.emit, "news")
    assert server.stats()["connected"] == 1


@pytest.mark.parametrize("port", [3001, "3001"])
def test_attach_names_the_fix_for_a_port(port: Any) -> None:
    with pytest.raises(OptionError, match="listen"):
        Server().attach(port)
