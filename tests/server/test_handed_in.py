"""Messages that somebody hands to a server himself, as the test clients of others do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from rtcio_sync import Server
from tests.clients import Polling


def client_of(server: Server) -> Callable[[str], None]:
    """Hands in messages of a client that has no connection, as other packages' test clients do."""
    server._handle_eio_connect("nobody", {})
    server._handle_eio_message("nobody", "0")

    def send(message: str) -> None:
        server._handle_eio_message("nobody", message)

    return send


def test_what_a_handler_raises_goes_to_whoever_handed_the_message_in() -> None:
    server = Server(async_handlers=False)

    @server.on("fail")
    def fail(sid: str) -> None:
        raise RuntimeError("of the test")

    send = client_of(server)
    with pytest.raises(RuntimeError, match="of the test"):
        send('2["fail"]')
    assert server.counters.handler_errors == 0


def test_a_connect_handler_that_raises_leaves_nobody_behind() -> None:
    server = Server()

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        raise RuntimeError("of the test")

    with pytest.raises(RuntimeError, match="of the test"):
        client_of(server)
    assert server.stats()["connected"] == 0


def test_what_a_handler_raises_stays_with_the_server_when_the_engine_brought_the_message() -> None:
    server = Server()

    @server.on("fail")
    def fail(sid: str) -> None:
        raise RuntimeError("of the test")

    @server.on("echo")
    def echo(sid: str, data: Any) -> Any:
        return data

    client = Polling(server).join()
    client.emit("fail", number=1)
    client.emit("echo", "still here", number=2)
    assert client.next() == '32["still here"]'
    assert server.counters.handler_errors == 1


def test_an_acknowledgement_that_is_handed_in_is_taken_there_and_then() -> None:
    server = Server()
    send = client_of(server)
    answers: list[Any] = []
    sid = server.manager.sid_from_eio_sid("nobody", "/")
    number = server.manager._generate_ack_id(sid, lambda *answer: answers.append(answer))
    send(f'3{number}["yes",1]')
    assert answers == [("yes", 1)]


def test_a_disconnect_handler_without_parameters_may_stand_behind_a_wrapper() -> None:
    # As Flask-SocketIO's wrapper: parameters of its own, and the rest handed on.
    heard: list[str] = []

    def wrapped(handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        def wrapper(sid: str, *args: Any) -> Any:
            return handler(*args)

        return wrapper

    server = Server()
    server.on("disconnect", wrapped(lambda: heard.append("without")))
    server.on("disconnect", wrapped(lambda reason: heard.append(reason)), namespace="/reason")
    server.of("/reason")
    send = client_of(server)
    send("0/reason,")
    send("1")
    send("1/reason,")
    assert heard == ["without", "client disconnect"]
