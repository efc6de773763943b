"""Handlers that fail, hang or compute, under each server on gevent: nobody else notices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.clients import SEQ, Driver
from tests.integration.servers import Running, running

WAYS = ["listen", "pywsgi", "gunicorn-gevent", "gunicorn-geventwebsocket"]


@pytest.fixture(scope="module", params=WAYS)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(request.param, "failing", clean_log=False, drain_seconds=1) as server:
        yield server


@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.parametrize("how", ["exit", "interrupt", "timeout", "kill"])
def test_however_a_handler_ends_the_next_event_is_served(
    server: Running, node: Driver, how: str, transport: str
) -> None:
    a = node.connect(server.url, transports=[transport])
    a.emit("fail", how)
    assert a.call("ping") == "pong"
    assert server.process.poll() is None


def test_who_leaves_while_its_handler_hangs_is_gone(server: Running, node: Driver) -> None:
    a, b = (node.connect(server.url, transports=["websocket"]) for _ in range(2))
    a.call("join", "tea")
    assert len(b.call("join", "tea")) == 2
    gone = a.id
    a.emit("hang")
    a.disconnect()
    assert b.wait_for("#rtcio:peer-left") == [{"id": gone}]
    assert b.call("rooms", "tea") == [b.id]


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_burst_that_computes_does_not_hold_the_others(
    server: Running, node: Driver, transport: str
) -> None:
    many = 900
    attacker = node.connect(server.url, transports=[transport])
    bystander = node.connect(server.url, transports=["websocket"])
    attacker.burst("compute", SEQ, count=many)
    attacker.wait_for("computed")
    for _ in range(3):
        assert bystander.call("ping") == "pong"
    assert len(attacker.received("computed")) < many, "the bystander waited for all of them"
    attacker.wait_for("computed", count=many)
    assert [args[0] for args in attacker.received("computed")] == list(range(many))


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_an_acknowledgement_is_given_later(server: Running, node: Driver, transport: str) -> None:
    a = node.connect(server.url, transports=[transport])
    token = a.ask("save", "draft")
    assert a.call("ping") == "pong"
    assert a.answer(token) == [{"saved": "draft"}]
