"""What other workers ask of a server that it cannot do, or cannot answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rtcio_sync import OptionError, Server
from rtcio_sync.cluster.messages import (
    Ask,
    Emit,
    Event,
    Gather,
    Kind,
    Member,
    Reply,
    decoded,
    encoded,
)
from tests.relay.moving_nodes import Bus, Network
from tests.timing import settle, until

MOST = 10_000


class Short(Bus):
    """Sends short messages alone, and notes them."""

    def __init__(self) -> None:
        super().__init__(Network(0), "n000", 0)
        self.nodes["them"] = None
        self.replies: list[Reply] = []

    def post(
        self, node: str, kind: int, body: bytes, key: bytes = b"", *, now: bool = False
    ) -> bool:
        if len(body) > MOST:
            raise OptionError(f"a message of {len(body)} bytes is too long")
        if kind == Kind.REPLY:
            self.replies.append(decoded(Reply, body))
        return True


def asked(server: Server, what: str, about: Any) -> list[Reply]:
    """Another worker asks; the replies that it gets."""
    assert server.exchange is not None
    bus = Short()
    server.exchange.bus = bus  # type: ignore[assignment]
    server.exchange.received("them", Kind.ASK, b"", encoded(Ask(7, what, encoded(about))))
    return bus.replies


def test_an_answer_of_a_server_side_event_that_is_too_long_is_none_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    server.on_server_side("long", lambda: "x" * MOST)
    server.on_server_side("short", lambda: "x")
    replies = asked(server, "event", Event("/", "long", "[]", []))
    until(lambda: replies)
    settle()
    assert [(each.number, each.failed) for each in replies] == [(7, True)]
    assert "too long" in caplog.text
    replies = asked(server, "event", Event("/", "short", "[]", []))
    until(lambda: replies)
    assert [each.failed for each in replies] == [False]


@pytest.mark.parametrize("namespace", ["*", "/a,/b", "/nowhere", "/"])
def test_a_socket_that_is_not_here_is_not_disconnected(
    namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server()
    assert server.exchange is not None
    client = server.test_client()
    server.exchange.bus = Short()  # type: ignore[assignment]
    here, other = client.sid or "", "x" * 20
    for where, sid in ((namespace, other if namespace == "/" else here), ("/", here)):
        server.exchange.received("them", Kind.DISCONNECT, b"", encoded(Member(where, sid)))
    until(lambda: not client.connected)
    settle()
    assert capsys.readouterr().err == "", "no traceback"


def test_the_answers_of_clients_that_are_too_long_together_are_none_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    clients = [server.test_client() for _ in range(3)]
    question = Emit("/", None, [], json.dumps(["how?"]), [])
    replies = asked(server, "gather", Gather(question, 60))
    for each in clients:
        each.acknowledge("how?", "x" * (MOST // 2))
    until(lambda: replies)
    settle()
    assert [(each.number, each.failed) for each in replies] == [(7, True)]
    assert "too long" in caplog.text
    assert all(each.connected for each in clients) and server.stats()["handler_errors"] == 0
