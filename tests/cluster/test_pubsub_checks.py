"""What a message of a pub/sub channel has to be before anything is done with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from socketio.packet import Packet

from rtcio_sync.cluster import pubsub_checks
from rtcio_sync.cluster.pubsub_checks import (
    attachments_in,
    check,
    check_relay,
    opened,
    with_attachments,
)
from rtcio_sync.errors import ProtocolError
from rtcio_sync.protocol.envelope import Drop
from tests.channel_messages import JUNK, crossing, emit, relay
from tests.json_strategies import values
from tests.values import HOLE

METHODS = ("emit", "callback", "disconnect", "enter_room", "leave_room", "close_room")


def examined(message: Any) -> None:
    """Looks at a message as whoever hears it does. Raises `ProtocolError`."""
    data = opened(message, json.loads)
    method = data.get("method")
    if method not in METHODS:
        raise ProtocolError(Drop.CHANNEL)
    inside = data.get("rtcio_relay")
    if inside is not None:
        check_relay(inside, 10)
        return
    check(str(method), data)
    if data.get("binary"):
        with_attachments(data["data"][0], data["data"][1:], Packet.reconstruct_binary)
    if "rtcio_attachments" in data:
        with_attachments(data["args"], data["rtcio_attachments"], Packet.reconstruct_binary)


#: Junk in every field of which stands what may stand there: whoever acts on it finds out.
LATER = {
    "an emit without data",  # as the data is taken out
    "an emit too deep to be sent on",  # as it is encoded
    "a room to close that is a sid",  # as it is closed
    "binary without a list",  # as the data is taken apart
    "binary without data",
}


@pytest.mark.parametrize("name", [each for each in JUNK if each not in LATER])
def test_junk_is_told_from_messages(name: str) -> None:
    message = JUNK[name]
    with pytest.raises(ProtocolError) as caught:
        examined(crossing(message, "sid", "host"))
    assert caught.value.reason == Drop.CHANNEL


@pytest.mark.parametrize(
    "message",
    [
        emit(),
        emit(room=[], skip_sid=[0, "", True], namespace=None),
        emit(room=["tea", 7, 0.5], callback=["sid", "/", 3]),
        emit(binary=True, data=[[HOLE], "AAAA"]),
        {"method": "disconnect", "sid": "sid", "namespace": "/"},
        {"method": "enter_room", "sid": "sid", "namespace": "/", "room": 0},
        {"method": "leave_room", "sid": "sid", "namespace": None, "room": "tea"},
        {"method": "close_room", "namespace": "/", "room": ""},
        {"method": "callback", "sid": "sid", "id": 1, "args": []},
        {"method": "callback", "sid": 7, "id": 1, "args": [[HOLE]], "rtcio_attachments": ["AAAA"]},
        relay(),
        relay(rooms=["tea", 0, 1.5]),
    ],
    ids=range(12),
)  # fmt: skip
@pytest.mark.parametrize("form", [dict, json.dumps, lambda each: json.dumps(each).encode()])
def test_what_python_socketio_and_we_publish_is_let_through(message: Any, form: Any) -> None:
    examined(form(message))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(METHODS), st.dictionaries(
    st.sampled_from(
        ["event", "data", "binary", "namespace", "room", "skip_sid", "callback", "sid", "id",
         "args", "host_id", "rtcio_relay", "rtcio_attachments"]
    ),
    values,
))  # fmt: skip
def test_whatever_is_in_its_fields_a_message_raises_nothing_else(
    method: str, fields: dict[str, Any]
) -> None:
    try:
        check(method, fields)
        check_relay(fields.get("rtcio_relay"), None)
    except ProtocolError as error:
        assert error.reason == Drop.CHANNEL


def test_a_message_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub_checks, "LARGEST", 1000)
    with pytest.raises(ProtocolError):
        opened(" " * 1001, json.loads)
    assert opened("{}" + " " * 998, json.loads) == {}


def test_whatever_a_json_module_raises_the_message_is_none() -> None:
    def loads(text: str) -> Any:
        raise RuntimeError("of an app's own module")

    with pytest.raises(ProtocolError):
        opened("{}", loads)


def test_who_asks_to_be_answered_says_who_it_is() -> None:
    check("emit", emit(callback=["sid", "/", 1]))
    with pytest.raises(ProtocolError):
        check("emit", emit(callback=["sid", "/", 1], host_id=None))


def test_a_relay_with_its_attachments_is_let_through() -> None:
    inside = relay(
        raw='{"target":"SID","data":[{"_placeholder":true,"num":0}],"big":1e999999}',
        attachments=["AQL/"],
    )["rtcio_relay"]
    assert check_relay(inside, 10) == [b"\x01\x02\xff"]
    assert check_relay({**inside, "rooms": [0, "tea", 1.5]}, None) == [b"\x01\x02\xff"]


def test_a_relay_has_as_many_attachments_as_a_client_may_send() -> None:
    holes = [{"_placeholder": True, "num": number} for number in range(3)]
    raw = json.dumps({"target": "SID", "data": holes})
    inside = relay(raw=raw, attachments=["AAAA"] * 3)["rtcio_relay"]
    assert len(check_relay(inside, 3)) == 3
    with pytest.raises(ProtocolError):
        check_relay(inside, 2)


def test_attachments_are_put_in_once_each() -> None:
    put_in = Packet.reconstruct_binary
    assert with_attachments([HOLE], ["AAAA"], put_in) == [b"\0\0\0"]
    assert attachments_in([]) == []
    for plain, texts in (([HOLE, HOLE], ["AAAA"]), ([], ["AAAA"]), ([HOLE], [])):
        with pytest.raises(ProtocolError):
            with_attachments(plain, texts, put_in)


@pytest.mark.parametrize("text", ["%%%", "AAA", "AA AA", 5, None, b"\xff"])
def test_what_is_no_base64_is_no_attachment(text: Any) -> None:
    with pytest.raises(ProtocolError):
        attachments_in([text])
