"""What the relay delivers, what it drops, and that nobody notices what it drops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.clients import Client, Driver
from tests.integration.servers import Running, above_debug, running


@pytest.fixture(scope="module", params=["listen", "werkzeug"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(request.param) as server:
        yield server


@pytest.fixture(params=["websocket", "polling"])
def trio(server: Running, node: Driver, request: pytest.FixtureRequest) -> list[Client]:
    """Three clients alone in the room "kitchen", none of which has heard anything."""
    server.eventually("/rooms", lambda rooms: rooms == {})
    options: dict[str, Any] = {"transports": [request.param], "auth": {"rooms": ["kitchen"]}}
    return [node.connect(server.url, **options) for _ in range(3)]


FORGED = {
    "the source is another peer's": lambda a, b, c: {"source": c.id, "target": b.id, "data": 1},
    "the source is nobody's": lambda a, b, c: {"source": "me", "target": b.id, "data": 1},
    "the source is missing": lambda a, b, c: {"target": b.id, "data": 1},
    "the source is null": lambda a, b, c: {"source": None, "target": b.id, "data": 1},
    "the source is a list": lambda a, b, c: {"source": [a.id], "target": b.id, "data": 1},
    "the target is a room": lambda a, b, c: {"source": a.id, "target": "kitchen", "data": 1},
    "the target is null": lambda a, b, c: {"source": a.id, "target": None, "data": 1},
    "the target is empty": lambda a, b, c: {"source": a.id, "target": "", "data": 1},
    "the target is a list": lambda a, b, c: {"source": a.id, "target": [b.id, c.id], "data": 1},
    "the target is a number": lambda a, b, c: {"source": a.id, "target": 7, "data": 1},
    "the target is true": lambda a, b, c: {"source": a.id, "target": True, "data": 1},
    "the target is an object": lambda a, b, c: {"source": a.id, "target": {b.id: 1}, "data": 1},
    "the target is missing": lambda a, b, c: {"source": a.id, "data": 1},
    "the target is unknown": lambda a, b, c: {"source": a.id, "target": "x" * 20, "data": 1},
    "the target is the sender": lambda a, b, c: {"source": a.id, "target": a.id, "data": 1},
    "the data is missing": lambda a, b, c: {"source": a.id, "target": b.id},
    "the payload is null": lambda a, b, c: None,
    "the payload is text": lambda a, b, c: b.id,
    "the payload is a number": lambda a, b, c: 5,
    "the payload is a list": lambda a, b, c: [a.id, b.id, 1],
    "the payload is bytes": lambda a, b, c: b"\x00\x01",
}


@pytest.mark.parametrize("forged", FORGED)
def test_nobody_hears_a_message_when(server: Running, trio: list[Client], forged: str) -> None:
    a, b, c = trio
    mark = server.log_mark()

    a.emit("#rtcio:message", FORGED[forged](a, b, c))

    _assert_only_fences_pass(server, trio, mark)


def test_nobody_hears_a_message_without_any_payload(server: Running, trio: list[Client]) -> None:
    mark = server.log_mark()
    trio[0].emit("#rtcio:message")
    _assert_only_fences_pass(server, trio, mark)


def _assert_only_fences_pass(server: Running, trio: list[Client], mark: int) -> None:
    a, b, c = trio
    # On the same way, after it: these prove that a is still connected, too.
    a.fence(b, c)
    b.fence(a)
    assert [client.relayed() for client in trio] == [[], [], []]
    assert [len(client.received()) for client in trio] == [1, 1, 1]
    assert [line for line in above_debug(server.log(mark)) if "werkzeug" not in line] == []


def test_dropped_messages_are_counted(server: Running, trio: list[Client]) -> None:
    a, b, _ = trio
    before = server.get_json("/stats")
    a.emit("#rtcio:message", {"source": b.id, "target": b.id, "data": 1})
    a.emit("#rtcio:message", "nonsense")
    a.fence(b)
    after = server.get_json("/stats")
    assert sum(after["dropped"].values()) - sum(before["dropped"].values()) == 2
    assert after["relayed"] - before["relayed"] == 1
    assert after["connected"] == 3


def test_exactly_one_argument_is_forwarded(trio: list[Client]) -> None:
    a, b, _ = trio
    envelope = a.envelope(b, {"mid": "0"})
    a.emit("#rtcio:message", envelope, "extra", {"and": "more"})
    a.emit("#rtcio:message", envelope, b"an attachment too")
    b.wait_for("#rtcio:message", count=2)
    assert b.received("#rtcio:message") == [[envelope], [envelope]]


def test_an_acknowledgement_of_a_relay_is_neither_forwarded_nor_sent(trio: list[Client]) -> None:
    a, b, _ = trio
    b.answers("#rtcio:message", "never asked for")
    a.ask("#rtcio:message", a.envelope(b, {"mid": "0"}))
    b.wait_for("#rtcio:message")
    assert not b.wait("event", event="#rtcio:message")["wantsAck"]
    b.fence(a)
    # What `b` might have acknowledged and the server itself would have arrived by now.
    assert a.call("echo", "after it") == "after it"
    assert [report["args"] for report in a.reports if report["type"] == "ack"] == [["after it"]]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff\xfe" * 1000,
        {"description": {"sdp": "v=0", "blob": b"0 begins with a digit"}, "list": [b"", b"b", 1]},
        [],
        0,
        "",
        False,
        {"π": "☎ \u2028 \x00 \U0001f4de", "big": 2**53, "small": 1e-7, "null": None},
    ],
    ids=["bytes", "nested bytes", "an empty list", "zero", "an empty text", "false", "odd values"],
)
def test_any_data_arrives_as_it_was_sent(trio: list[Client], data: Any) -> None:
    a, b, c = trio
    a.relay(b, data)
    b.wait_for("#rtcio:message")
    assert b.relayed() == [data]
    b.fence(c)
    assert c.relayed() == []


def test_a_null_as_data_is_data(trio: list[Client]) -> None:
    a, b, _ = trio
    a.relay(b, None)
    a.fence(b)
    assert b.relayed() == [None]


def test_no_more_than_ten_attachments_pass(server: Running, node: Driver) -> None:
    a, b = (node.connect(server.url, transports=["websocket"]) for _ in range(2))
    ten = [bytes([number]) for number in range(10)]
    a.relay(b, ten)
    b.wait_for("#rtcio:message")
    a.relay(b, [*ten, b"one more"])
    a.wait("disconnect")
    assert b.relayed() == [ten]


NAMES: list[Any] = [
    "connect", "connection", "connect_error", "disconnect", "disconnecting", "newListener",
    "removeListener", "__disconnect_final", "*", 5, None, True, ["disconnect"], {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_an_event_of_a_reserved_name_reaches_nobody(
    server: Running, trio: list[Client], name: Any
) -> None:
    a, b, _ = trio
    noted = server.get_json("/heard")
    before = sum(server.get_json("/stats")["dropped"].values())
    mark = server.log_mark()

    a.packet(type=2, data=[name, "server disconnect"])

    assert a.call("echo", "still here") == "still here"
    a.fence(b)
    assert server.get_json("/heard") == noted
    assert sum(server.get_json("/stats")["dropped"].values()) == before + 1
    assert [line for line in above_debug(server.log(mark)) if "werkzeug" not in line] == []


def test_the_scope_of_a_room_holds(node: Driver) -> None:
    with running(relay_scope="room") as server:
        a = node.connect(server.url, transports=["websocket"], auth={"rooms": ["kitchen"]})
        b = node.connect(server.url, transports=["websocket"], auth={"rooms": ["kitchen"]})
        c = node.connect(server.url, transports=["websocket"], auth={"rooms": ["cellar"]})
        a.relay(c, "from elsewhere")
        a.relay(b, "from here")
        a.fence(b)
        c.emit("join-room", {"roomId": "kitchen"})
        c.wait_for("join-ok")
        a.fence(c)
        assert (b.relayed(), c.relayed()) == (["from here"], [])


def test_messages_pass_with_the_messagepack_parser(node: Driver) -> None:
    with running(serializer="msgpack") as server:
        a, b = (
            node.connect(server.url, transports=["websocket"], parser="msgpack") for _ in range(2)
        )
        data = {"description": {"sdp": "v=0"}, "blob": b"\x00\x01"}
        a.relay(b, data)
        b.wait_for("#rtcio:message")
        a.emit("#rtcio:message", {"source": b.id, "target": b.id, "data": 1})
        a.fence(b)
        assert b.relayed() == [data]
