"""What Node's emitters publish, read as messages between nodes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from rtcio_sync.cluster import messages
from rtcio_sync.cluster.messages import Kind, decoded
from rtcio_sync.cluster.node_emits import asked_by_node, patterns
from rtcio_sync.errors import ProtocolError

pack = msgspec.msgpack.encode
UNDEFINED = msgspec.msgpack.Ext(0, b"\0")


def published(
    *data: Any, rooms: Any = (), skip: Any = (), nsp: Any = "/", flags: Any = None, **packet: Any
) -> bytes:
    """An event, as an emitter publishes it."""
    options = {"rooms": rooms, "flags": flags or {}, "except": skip}
    return pack(["emitter", {"type": 2, "data": data, "nsp": nsp, **packet}, options])


def emit_in(data: bytes) -> messages.Emit:
    found = asked_by_node("socket.io", b"socket.io#/#", data)
    assert found is not None and found[0] == Kind.EMIT
    return decoded(messages.Emit, found[1])


def many_in(request: dict[str, Any]) -> messages.Many:
    data = json.dumps(request).encode()
    found = asked_by_node("socket.io", b"socket.io-request#/calls#", data)
    assert found is not None and found[0] == Kind.MANY
    return decoded(messages.Many, found[1])


def test_an_event_goes_to_all_or_to_rooms_without_others() -> None:
    emit = emit_in(published("news", {"n": 1}, rooms=["tea", "cake"], skip=["sid"], nsp="/calls"))
    assert (emit.namespace, emit.rooms, emit.skip) == ("/calls", ["tea", "cake"], ["sid"])
    assert (json.loads(emit.body), emit.attachments) == (["news", {"n": 1}], [])
    assert emit_in(published("all")).rooms is None and not emit.volatile
    assert emit_in(published("maybe", flags={"volatile": True})).volatile


def test_values_of_javascript_become_what_json_makes_of_them() -> None:
    at = msgspec.msgpack.Ext(-1, (1700000000).to_bytes(4, "big"))
    emit = emit_in(published("e", UNDEFINED, at, float("nan"), [b"\0\xff"]))
    event, nothing, date, number, ((placeholder),) = json.loads(emit.body)
    assert (event, nothing, number) == ("e", None, None)
    assert date == "2023-11-14T22:13:20.000Z"
    assert placeholder == {"_placeholder": True, "num": 0} and emit.attachments == [b"\0\xff"]


def test_sockets_join_leave_and_disconnect() -> None:
    opts = {"rooms": ["tea"], "except": ["cake"]}
    made = many_in({"type": 2, "opts": opts, "rooms": ["late"]})
    assert (made.namespace, made.rooms, made.skip) == ("/calls", ["tea"], ["cake"])
    assert (made.what, made.named, made.number) == ("join", ["late"], 0)
    assert many_in({"type": 3, "opts": opts, "rooms": ["late"]}).what == "leave"
    assert many_in({"type": 4, "opts": opts, "close": False}).what == "disconnect"
    everybody = many_in({"type": 4, "opts": {"rooms": [], "except": []}, "close": True})
    assert (everybody.what, everybody.rooms, everybody.named) == ("close", None, [])


def test_what_nodes_servers_say_to_each_other_is_not_for_us() -> None:
    event = pack(["x8Kf2a", {"type": 2, "data": ["news"], "nsp": "/"}, {"rooms": [], "except": []}])
    assert asked_by_node("socket.io", b"socket.io#/#", event) is None
    request = json.dumps({"uid": "x8Kf2a", "requestId": "1", "type": 2, "opts": {}}).encode()
    assert asked_by_node("socket.io", b"socket.io-request#/#", request) is None
    request = json.dumps({"uid": "x8Kf2a", "type": 6, "data": ["hi"]}).encode()
    assert asked_by_node("socket.io", b"socket.io-request#/#", request) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        "text",
        pack([]),
        pack(["emitter", {}, {}]),
        pack(["emitter", None, None]),
        published(),
        published(1),
        published("connect"),
        published("e", type=3),
        published("e", nsp="calls"),
        published("e", nsp=None),
        published("e", rooms="tea"),
        published("e", rooms=[{}]),
        published("e", skip=None),
        published("e", {1: 2}),
        published("e", msgspec.msgpack.Ext(7, b"?")),
        b"\x91" * 5000,
    ],
    ids=range(18),
)
def test_what_cannot_be_read_is_refused(data: Any) -> None:
    with pytest.raises(ProtocolError):
        asked_by_node("socket.io", b"socket.io#/#", data)


@pytest.mark.parametrize(
    "request_", [[], {}, {"type": 9}, {"type": 2}, {"type": 2, "opts": {"rooms": []}}, {"type": []}]
)
def test_a_request_that_cannot_be_read_is_refused(request_: Any) -> None:
    with pytest.raises(ProtocolError):
        many_in(request_)


def test_the_key_is_taken_as_it_is() -> None:
    assert patterns("a*[b]?") == [r"a\*\[b\]\?#*", r"a\*\[b\]\?-request#*"]
