"""Values into JSON and MessagePack: one set of types, and a plain error for what cannot be sent."""

from __future__ import annotations

import json
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from socketio.msgpack_packet import MsgPackPacket
from socketio.packet import ACK, CONNECT_ERROR, EVENT, Packet
from werkzeug.local import LocalProxy

from rtcio_sync.errors import ProtocolError
from rtcio_sync.parser.encoding import parted, write
from rtcio_sync.parser.packet import (
    TextPacket,
    event_frame,
    event_pieces,
    packet_class,
    parts_of,
)
from rtcio_sync.protocol.websocket_frames import frame_text
from tests.json_strategies import values, wide
from tests.steps import steps
from tests.timing import cost
from tests.values import BESIDE, HOLE, REFUSED, TYPES, nested

MSGPACK = packet_class(MsgPackPacket, None)


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("name", TYPES)
def test_a_type_is_spelt_alike_whatever_stands_beside_it(name: str, beside: str) -> None:
    value, arrives = TYPES[name]
    assert json.loads(event_pieces(TextPacket, "/", [value, BESIDE[beside]])[0][1:])[0] == arrives
    assert json.loads(write([value, BESIDE[beside]]))[0] == arrives
    assert json.loads(write(parted([value, BESIDE[beside]])[0]))[0] == arrives
    holes: list[bytes] = []
    text = write([value, b"x", BESIDE[beside], bytearray(b"y")], holes)
    assert json.loads(text)[:2] == [arrives, {"_placeholder": True, "num": 0}]
    assert holes == [b"x", b"y"]


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("beside", [None, b"x", math.inf], ids=str)
def test_messagepack_has_the_same_types(name: str, beside: Any) -> None:
    value, arrives = TYPES[name]
    pkt = MSGPACK(EVENT, data=["e", value, beside], namespace="/")
    assert msgpack.loads(pkt.encode())["data"] == ["e", arrives, beside]


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "1970-01-01T00:00:05+00:00"), (2**62, None), (-(2**62), None)]
)
@pytest.mark.parametrize("beside", BESIDE)
def test_a_timestamp_that_a_client_has_sent_in_messagepack_is_a_date_in_json(
    seconds: int, text: str | None, beside: str
) -> None:
    """As a ``Date`` that JavaScript writes as JSON, where an invalid one is null."""
    sent = [msgpack.Timestamp(seconds), BESIDE[beside]]
    assert json.loads(write(sent))[0] == text
    assert json.loads(write([sent, b"x"], []))[0][0] == text
    assert json.loads(event_pieces(TextPacket, "/", sent)[0][1:])[0] == text
    pkt = MSGPACK(EVENT, data=["e", *sent[:1]], namespace="/")
    assert msgpack.loads(pkt.encode())["data"][1] == sent[0]


@pytest.mark.parametrize("writer", [write, lambda value: write(value, []), parted])
def test_what_a_client_has_sent_is_sent_on_at_the_cost_of_reading_it(writer: Any) -> None:
    """orjson refuses lone surrogates and numbers of many digits, of which there may be many."""
    sent = ["\ud800"] * 90_000 + [2**70] * 5_000
    assert cost(lambda: writer(sent)) < 3


@pytest.mark.parametrize(
    "beside",
    [["\ud800", math.inf], ["\ud800", b"x"], [2**70, b"x", math.nan], [b"x"]],
    ids=["surrogate and infinity", "surrogate and bytes", "70 bits, bytes and NaN", "bytes"],
)
@pytest.mark.parametrize(
    "writer", [lambda value: write(value, []), parted], ids=["write", "parted"]
)
def test_what_a_client_has_sent_takes_no_steps_of_python_for_each_value(
    writer: Any, beside: list[Any]
) -> None:
    def sent(count: int) -> Any:
        return [[{"a": 1.5}, "NaN", [], True, '"', -math.inf] * count, *beside]

    writer(sent(1))
    assert steps(lambda: writer(sent(300))) == steps(lambda: writer(sent(1)))


@pytest.mark.parametrize(
    "word",
    ["NaN", "[NaN]", '"', "\\", '\\"', ',"NaN":', '",Infinity,"', "\n", "\0", "\1", "-Infinity"],
)
def test_no_words_in_a_text_become_null_beside_a_number_that_json_does_not_have(word: str) -> None:
    numbers = [math.nan, math.inf, -math.inf]
    sent = {word: [word, *numbers, f"\ud800{word}"], "a": math.nan}
    arrives = {word: [word, None, None, None, f"\ud800{word}"], "a": None}
    assert json.loads(write(sent)) == arrives
    assert json.loads(write(dict.fromkeys([*numbers, word], "\ud800"))).keys() == {"null", word}
    holes: list[bytes] = []
    assert json.loads(write([sent, b"x"], holes)) == [arrives, HOLE]
    assert parted([sent, b"x"]) == ([arrives, HOLE], holes)


@pytest.mark.parametrize("kind", [TextPacket, MSGPACK], ids=["text", "msgpack"])
def test_every_second_byte_of_a_memoryview_can_be_sent(kind: Any) -> None:
    pieces = event_pieces(kind, "/", ["e", memoryview(b"abcd")[::2]])
    sent = msgpack.loads(pieces[0])["data"][1] if kind is MSGPACK else pieces[1]
    assert sent == b"ac"


@settings(max_examples=50)
@given(values)
def test_what_was_read_is_written_as_it_was(value: Any) -> None:
    assert wide(json.loads(write(value))) == wide(value)
    assert wide(json.loads(write([value, 2**80]))[0]) == wide(value)


@settings(max_examples=50)
@given(values)
def test_a_frame_that_is_made_at_once_is_that_of_the_events_text(value: Any) -> None:
    for namespace in ("/", "/chät"):
        text: Any = event_pieces(TextPacket, namespace, ["chat", value])[0]
        frame = event_frame(TextPacket, namespace, ["chat", value])
        assert frame in (None, frame_text(f"4{text}".encode()))


@pytest.mark.parametrize("name", TYPES)
def test_a_frame_that_is_made_at_once_has_the_same_types(name: str) -> None:
    value, arrives = TYPES[name]
    frame = event_frame(TextPacket, "/", ["chat", value])
    text = json.dumps(["chat", arrives], separators=(",", ":"))
    assert frame in (None, frame_text(f"42{text}".encode()))


def test_no_frame_is_made_at_once_of_what_has_attachments_or_another_encoding() -> None:
    assert event_frame(TextPacket, "/", ["chat", b"x"]) is None
    assert event_frame(TextPacket, "/", ["chat", 2**80]) is None
    assert event_frame(MSGPACK, "/", ["chat"]) is None
    assert event_frame(packet_class(Packet, json), "/", ["chat"]) is None
    assert event_frame(TextPacket, "/", ["chat"]) == frame_text(b'42["chat"]')


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("kind", [TextPacket, MSGPACK], ids=["text", "msgpack"])
def test_an_error_names_the_value_and_the_event(kind: Any, what: str) -> None:
    value, parts = REFUSED[what]
    if kind is MSGPACK and "70 bits" in what:
        parts = ("64 bits",)
    with pytest.raises(TypeError) as caught:
        event_pieces(kind, "/", ["chat", value])
    for part in (*parts, "'chat'"):
        assert part in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("kind", [TextPacket, MSGPACK], ids=["text", "msgpack"])
def test_messagepack_and_refusals_say_what_they_cannot_hold(kind: Any) -> None:
    with pytest.raises(TypeError, match="an acknowledgement"):
        kind(ACK, data=[object()], namespace="/", id=1).encode()
    if kind is MSGPACK:
        for value, word in ((2**64, "64 bits"), ("\ud800", "surrogate")):
            with pytest.raises(TypeError, match=word):
                kind(EVENT, data=["chat", value], namespace="/").encode()
    else:
        with pytest.raises(TypeError, match="binary"):
            kind(CONNECT_ERROR, data={"data": b"x"}, namespace="/").encode()


def circular() -> Any:
    made: list[Any] = []
    made.append(made)
    return made


@pytest.mark.parametrize("data", [nested(3000), circular(), [b"x", nested(3000)]], ids=range(3))
@pytest.mark.parametrize(
    "kind",
    [TextPacket, MSGPACK, packet_class(TextPacket.__mro__[1], json)],
    ids=["text", "msgpack", "a json module"],
)
def test_what_is_too_deep_to_be_sent_is_refused_in_few_words(kind: Any, data: Any) -> None:
    with pytest.raises(ValueError) as caught:
        event_pieces(kind, "/", ["chat", data])
    assert "'chat'" in str(caught.value)
    assert "level" in str(caught.value) or "Circular" in str(caught.value)
    assert caught.value.__cause__ is None
    assert len(str(caught.value)) < 500


def test_what_a_receiver_would_take_for_an_attachment_is_not_sent_beside_one() -> None:
    assert json.loads(event_pieces(TextPacket, "/", ["a", HOLE])[0][1:]) == ["a", HOLE]
    for kind in (TextPacket, packet_class(TextPacket.__mro__[1], json)):
        with pytest.raises(ProtocolError):
            event_pieces(kind, "/", ["a", [HOLE] * 2000, b"x" * 1000])
    with pytest.raises(ProtocolError):
        parted([[HOLE], b"x"])
    words = '"_placeholder":true'
    assert len(event_pieces(TextPacket, "/", ["a", words, b"x"])) == 2


#: Ways to encode: orjson, the standard module, and a JSON module of an app's own.
WAYS = {
    "orjson": (TextPacket, None),
    "the standard module": (TextPacket, "\ud800"),
    "a json module": (packet_class(Packet, json), None),
}


@pytest.mark.parametrize("mark", [1, -1, 2**70, 5e-324, "x", [0], {"a": 1}, [[]], {"": 0}, b""])
@pytest.mark.parametrize("way", WAYS)
def test_what_python_socketio_takes_for_a_placeholder_is_not_sent_beside_one(
    mark: Any, way: str
) -> None:
    """Its client would wait for another attachment, and take no event after this one."""
    kind, beside = WAYS[way]
    forged = {"num": 99, "_placeholder": mark}
    for sent in ([forged, b"x", beside], [b"x", {"a": [beside, forged]}]):
        with pytest.raises(ProtocolError):
            event_pieces(kind, "/", ["a", *sent])
        with pytest.raises(ProtocolError):
            parts_of(kind.json, sent)


@pytest.mark.parametrize("mark", [False, 0, 0.0, -0.0, "", [], {}, (), None])
@pytest.mark.parametrize("way", WAYS)
def test_what_no_receiver_takes_for_a_placeholder_is_sent_beside_one(mark: Any, way: str) -> None:
    kind, beside = WAYS[way]
    like = {"_placeholder": mark, "num": 0}
    words = ['"_placeholder":1', '{"_placeholder":1', {'x,"_placeholder': 1, "_placeholder ": 1}]
    text, *attachments = event_pieces(kind, "/", ["a", [like], beside, words, like, b"x"])
    assert json.loads(text[len("51-") :])[1] == [json.loads(json.dumps(like))]
    assert attachments == [b"x"]
    assert parts_of(kind.json, [like, beside, words, b"x"])[1] == [b"x"]


@pytest.mark.parametrize("value", ["bob", 7, 2.5, True, None, {"a": [1]}, [1, "b"]])
@pytest.mark.parametrize("beside", ["nothing", 2**70, "\ud800"])
def test_a_proxy_is_sent_as_what_it_stands_for(value: Any, beside: Any) -> None:
    """As Flask's `request` and `session` are; many apps make more of them."""
    proxy: Any = LocalProxy(lambda: value)
    expected = {"name": value, "beside": beside}
    assert json.loads(write({"name": proxy, "beside": beside})) == expected
    plain, holes = parted({"name": proxy, "beside": beside})
    assert json.loads(json.dumps(plain)) == expected and not holes
