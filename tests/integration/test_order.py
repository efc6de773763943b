"""What one socket sends arrives in order, and a relay waits for no handler of the app's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.clients import SEQ, Client, Driver
from tests.integration.raw import RawPolling
from tests.integration.servers import Running, running


@pytest.fixture(scope="module", params=["listen", "gunicorn-gevent", "werkzeug"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(request.param) as server:
        yield server


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_thousand_messages_pass_a_handler_that_blocks(
    server: Running, node: Driver, transport: str
) -> None:
    server.get("/hold").read()
    a = node.connect(server.url, transports=[transport])
    b = node.connect(server.url, transports=["websocket"])

    blocked = a.ask("block")
    a.burst("#rtcio:message", a.envelope(b, SEQ), count=1000)

    b.wait_for("#rtcio:message", count=1000)
    # The handler blocks until this, so none of the thousand waited for it.
    server.release()
    assert a.answer(blocked) == ["unblocked"]
    assert b.relayed() == list(range(1000))
    last = b.wait("event", count=1000, event="#rtcio:message")
    assert a.answer_report(blocked)["n"] > last["n"]


def test_a_hundred_messages_in_one_request_pass_a_handler_that_blocks(
    server: Running, node: Driver
) -> None:
    server.get("/hold").read()
    b = node.connect(server.url, transports=["websocket"])
    with RawPolling(server) as a:
        a.join()
        messages = [a.envelope(b.id, number) for number in range(100)]
        assert a.post(a.event('["block"]', ack_id=1), *messages) == 200
        b.wait_for("#rtcio:message", count=100)
        server.release()
        assert a.receive() == '431["unblocked"]'
    assert b.relayed() == list(range(100))


def test_events_of_one_socket_are_handled_in_order(server: Running, node: Driver) -> None:
    server.get("/hold").read()
    a = node.connect(server.url, transports=["websocket"])
    noted = len(server.get_json("/heard"))
    blocked = a.ask("block")
    a.burst("note", SEQ, count=50)
    done = a.ask("echo", "done")
    # The block is being held; what came after it waits for it.
    assert [entry for entry in server.get_json("/heard")[noted:] if entry[0] == "note"] == []
    server.release()
    assert a.answer(blocked) == ["unblocked"]
    assert a.answer(done) == ["done"]
    notes = [entry for entry in server.get_json("/heard")[noted:] if entry[0] == "note"]
    assert notes == [["note", number] for number in range(50)]
    assert a.answer_report(blocked)["n"] < a.answer_report(done)["n"]


def test_a_relay_among_binary_and_large_ones_keeps_its_place(server: Running, node: Driver) -> None:
    a, b = (node.connect(server.url, transports=["websocket"]) for _ in range(2))
    sent: list[Any] = []
    for number in range(60):
        sent.append([number, b"\x00" * number] if number % 3 == 0 else number)
        if number % 7 == 0:
            sent.append({"description": {"sdp": "x" * 90_000, "number": number}})
    a.sequence(*(("#rtcio:message", a.envelope(b, data)) for data in sent))
    b.wait_for("#rtcio:message", count=len(sent))
    assert b.relayed() == sent


def test_messages_sent_during_the_upgrade_arrive_in_order(server: Running, node: Driver) -> None:
    b = node.connect(server.url, transports=["websocket"])
    a = node.open(server.url)
    a.wait("connect")
    count = _burst_until_upgraded(a, b, upgrading=a)
    b.wait_for("#rtcio:message", count=count)
    assert b.relayed() == list(range(count))


def test_messages_received_during_the_upgrade_arrive_in_order(
    server: Running, node: Driver
) -> None:
    a = node.connect(server.url, transports=["websocket"])
    b = node.open(server.url)
    b.wait("connect")
    count = _burst_until_upgraded(a, b, upgrading=b)
    b.wait_for("#rtcio:message", count=count)
    assert b.relayed() == list(range(count))


def test_messages_between_two_that_upgrade_arrive_in_order(server: Running, node: Driver) -> None:
    a, b = (node.open(server.url) for _ in range(2))
    a.wait("connect")
    b.wait("connect")
    count = _burst_until_upgraded(a, b, upgrading=b)
    b.wait_for("#rtcio:message", count=count)
    assert b.relayed() == list(range(count))


def _burst_until_upgraded(a: Client, b: Client, *, upgrading: Client) -> int:
    """Send bursts from before the upgrade until after it; the number of messages."""
    count = 0
    while True:
        upgraded = any(report["type"] == "upgrade" for report in list(upgrading.reports))
        a.burst("#rtcio:message", a.envelope(b, SEQ), count=20, start=count)
        count += 20
        if upgraded or count > 20_000:
            upgrading.wait("upgrade")
            a.burst("#rtcio:message", a.envelope(b, SEQ), count=20, start=count)
            return count + 20
        b.wait_for("#rtcio:message", count=count)


def test_a_burst_of_several_requests_arrives_in_order(server: Running, node: Driver) -> None:
    a = node.connect(server.url, transports=["polling"])
    b = node.connect(server.url, transports=["polling"])
    a.burst("#rtcio:message", a.envelope(b, [SEQ, "x" * 20_000]), count=200)
    b.wait_for("#rtcio:message", count=200)
    assert b.relayed() == [[number, "x" * 20_000] for number in range(200)]
