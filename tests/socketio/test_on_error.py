"""`Server.on_error`: the app's own handler of what handlers raise."""

from __future__ import annotations

import logging
from typing import Any

import flask
import pytest

from rtcio_sync import LimitExceeded, Limits, RtcioError, Server, Socket


def failing(**options: Any) -> tuple[Server, list[Any]]:
    """A server whose handlers raise, and what its `on_error` gets."""
    server = Server(**options)
    got: list[Any] = []

    @server.on("connection")
    def connection(socket: Socket) -> None:
        socket.on("ask", lambda: 1 / 0)
        socket.on("leave", lambda: socket.disconnect())
        socket.on("disconnect", lambda reason: {}["gone"])

    @server.on("old")
    def old(sid: str) -> None:
        raise LookupError("old")

    @server.on_error
    def error(error: Exception, event: str, socket: Socket) -> Any:
        got.append((type(error).__name__, event, socket.id))
        return {"error": str(error)}

    return server, got


def test_its_result_is_the_acknowledgement_in_both_idioms(caplog: pytest.LogCaptureFixture) -> None:
    server, got = failing()
    client = server.test_client()
    with caplog.at_level(logging.DEBUG):
        assert client.call("ask") == {"error": "division by zero"}
        assert client.call("old") == {"error": "old"}
    assert got == [("ZeroDivisionError", "ask", client.sid), ("LookupError", "old", client.sid)]
    assert server.stats()["handler_errors"] == 2
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


@pytest.mark.parametrize("options", [{}, {"serializer": "msgpack"}], ids=["json", "msgpack"])
def test_it_answers_for_a_result_that_cannot_be_sent(options: dict[str, Any]) -> None:
    server, got = failing(**options)
    server.on("strange", lambda sid: {1, 2})
    client = server.test_client()
    answer = client.call("strange")
    assert "cannot be sent: {1, 2}" in answer["error"]
    assert got == [("TypeError", "strange", client.sid)]
    assert server.stats()["handler_errors"] == 1


def test_what_it_gives_has_to_be_data_too() -> None:
    server = Server()
    server.on("strange", lambda sid: {1, 2})
    asked: list[str] = []
    server.on_error(lambda error: asked.append(str(error)) or {3})
    client = server.test_client()
    with pytest.raises(RtcioError, match="nobody acknowledged"):
        client.call("strange")
    assert ["{1, 2}" in asked[0], "{3}" in asked[1], len(asked)] == [True, True, 2]


def test_it_hears_of_a_disconnect_too() -> None:
    server, got = failing()
    client = server.test_client()
    sid = client.sid
    client.emit("leave")
    assert got == [("KeyError", "disconnect", sid)]


def test_of_several_the_first_result_that_is_not_none_counts() -> None:
    server = Server()
    server.on("ask", lambda sid: 1 / 0)
    for answer in (None, 1, 2):
        server.on_error(lambda error, event, socket, answer=answer: answer)
    assert server.test_client().call("ask") == 1


def test_one_that_returns_nothing_acknowledges() -> None:
    server = Server()
    server.on("ask", lambda sid: 1 / 0)
    server.on_error(lambda error: None)
    assert server.test_client().call("ask") is None


def test_one_that_raises_is_logged_with_the_first_exception(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    server.on("ask", lambda sid: 1 / 0)
    server.on_error(lambda error, event, socket: {}["missing"])
    client = server.test_client(raise_exceptions=False)
    client.emit("ask")
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "KeyError" in caplog.text and "ZeroDivisionError" in caplog.text
    assert record.name == "rtcio_sync.dispatch"
    assert server.stats()["handler_errors"] == 1


def test_a_limit_of_the_client_may_be_told_to_it() -> None:
    server = Server(limits=Limits(max_rooms_per_socket=1))

    @server.on("join")
    def join(sid: str, *rooms: str) -> None:
        for room in rooms:
            server.enter_room(sid, room)

    @server.on_error
    def error(error: Exception, event: str, socket: Socket) -> Any:
        assert isinstance(error, LimitExceeded)
        return error.reason

    assert server.test_client().call("join", "a", "b") == "rooms"
    assert server.stats()["handler_errors"] == 0
    assert server.stats()["dropped"] == {"rooms": 1}


def test_a_limit_of_another_client_is_the_handlers_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(limits=Limits(max_rooms_per_socket=1))
    server.on("invite", lambda sid, other: server.enter_room(other, "call"))
    host, full = (server.test_client(raise_exceptions=False) for _ in range(2))
    server.enter_room(full.sid, "elsewhere")
    host.emit("invite", full.sid)
    assert server.stats()["handler_errors"] == 1
    assert server.stats()["dropped"] == {}
    assert "the socket is in 1 rooms already" in caplog.text
    full.emit("invite", full.sid)
    assert server.stats()["handler_errors"] == 1
    assert server.stats()["dropped"] == {"rooms": 1}


def test_it_runs_in_the_context_of_the_flask_app() -> None:
    app = flask.Flask("tea")
    server = Server(app=app)
    server.on("ask", lambda sid: 1 / 0)
    server.on_error(lambda error, event, socket: flask.current_app.name)
    assert server.test_client().call("ask") == "tea"


def test_what_cannot_be_a_handler_is_refused() -> None:
    with pytest.raises(TypeError):
        Server().on_error(7)  # type: ignore[type-var]
