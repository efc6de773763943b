"""JSON as browsers write and read it, and the packet class of a server."""

from __future__ import annotations

import json
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from socketio import packet
from socketio.msgpack_packet import MsgPackPacket

from rtcio_sync.parser.packet import FastJson, TextPacket, event_pieces, numbered, packet_class
from tests.json_strategies import spelt, values, wide


@settings(max_examples=40)
@given(st.data(), values)
def test_any_spelling_of_json_is_read(data: st.DataObject, value: Any) -> None:
    assert wide(FastJson.loads(data.draw(spelt(value)))) == wide(value)


@settings(max_examples=40)
@given(values)
def test_what_is_written_is_read_back_by_any_parser(value: Any) -> None:
    assert wide(json.loads(FastJson.dumps(value))) == wide(value)


@pytest.mark.parametrize(
    "text", ["", "nul", "NaN", "[Infinity]", "[-Infinity]", "[1,]", "{'a':1}", "[1]x", '"\t"', "01"]
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        FastJson.loads(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"\\ud800"', "\ud800"),
        (str(2**70), 2**70),
        ("1" * 5000, math.inf),
        ("-" + "1" * 5000, -math.inf),
        ("1e999", math.inf),
    ],
    ids=["lone surrogate", "70 bits", "5000 digits", "-5000 digits", "1e999"],
)
def test_what_only_some_parsers_take_is_read_as_a_browser_reads_it(text: str, value: Any) -> None:
    assert float(FastJson.loads(text)) == value if text[0] != '"' else FastJson.loads(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "null"),
        ([math.inf, 2**70], f"[null,{2**70}]"),
        ({"a": {"b": (math.nan, 2**70)}}, f'{{"a":{{"b":[null,{2**70}]}}}}'),
        ({1: "one"}, '{"1":"one"}'),
        ("\ud800", '"\\ud800"'),
    ],
)
def test_nothing_is_written_that_a_browser_cannot_read(value: Any, text: str) -> None:
    assert FastJson.dumps(value) == text


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError):
        FastJson.dumps({"a": object()})


def test_the_usual_packets_are_the_fast_ones() -> None:
    assert packet_class(packet.Packet, None) is TextPacket
    assert packet_class(packet.Packet, json).json is json
    assert issubclass(packet_class(packet.Packet, json), packet.Packet)


def test_a_packet_class_of_ones_own_stays_as_it_is() -> None:
    class Mine(packet.Packet):
        pass

    assert packet_class(Mine, None) is Mine
    assert issubclass(packet_class(Mine, json), Mine)


def test_msgpack_takes_javascripts_undefined_for_none() -> None:
    chosen = packet_class(MsgPackPacket, None)
    undefined = msgpack.ExtType(0, b"\0")
    encoded = msgpack.dumps({"type": packet.CONNECT, "nsp": "/", "data": undefined})
    assert chosen(encoded_packet=encoded).data is None


class Own(TextPacket):
    def encode(self) -> Any:
        return f"own{super().encode()}"


KINDS = [TextPacket, *(packet_class(each, None) for each in (Own, MsgPackPacket))]


@pytest.mark.parametrize("kind", [*KINDS, packet_class(packet.Packet, json)], ids=range(4))
@pytest.mark.parametrize("namespace", ["/", "/calls"])
@pytest.mark.parametrize("data", [1, "\ud7ff", [2**60, math.nan], b"x", [b"x", b"y"]], ids=range(5))
def test_each_number_of_an_event_is_written_where_it_belongs(
    kind: Any, namespace: str, data: Any
) -> None:
    pieces = numbered(kind, namespace, ["ask", data])
    for number in (0, 7, 10**20):
        if kind.__name__ != "MsgPackPacket" or number < 2**64:
            assert pieces(number) == event_pieces(kind, namespace, ["ask", data], number)


@pytest.mark.parametrize("default", [None, str])
def test_a_disconnect_in_msgpack_has_no_data_at_all(default: Any) -> None:
    """For socket.io-msgpack-parser data that is nil is an invalid payload."""
    chosen = packet_class(MsgPackPacket.configure(dumps_default=default), None)
    made = chosen(packet.DISCONNECT, namespace="/calls").encode()
    assert msgpack.loads(made) == {"type": packet.DISCONNECT, "nsp": "/calls"}
    assert chosen(encoded_packet=made).data is None
    event = chosen(packet.EVENT, namespace="/", data=["a", None], id=7).encode()
    assert msgpack.loads(event) == {"type": packet.EVENT, "nsp": "/", "data": ["a", None], "id": 7}


def test_msgpack_takes_an_array_of_bytes_of_node_for_bytes() -> None:
    chosen = packet_class(MsgPackPacket, None)

    def read(data: bytes) -> Any:
        array = b"\xc7" + bytes([len(data)]) + b"\0" + data  # as socket.io-msgpack-parser has it
        head = msgpack.packb({"type": packet.EVENT, "nsp": "/"})[1:]
        pkt = chosen(encoded_packet=b"\x83" + head + msgpack.packb("data") + b"\x92\xa1a" + array)
        return pkt.data[1]

    for size in (0, 1, 2, 3, 4, 7, 8, 9, 16, 200):
        assert read(b"x" * size) == b"x" * size
    for milliseconds in (-1, 0, 1_500_000_000_000):
        date = milliseconds.to_bytes(8, "big", signed=True)
        assert read(date) == msgpack.ExtType(0, date)


def test_msgpack_leaves_other_extensions_to_the_app() -> None:
    mine = MsgPackPacket.configure(ext_hook=lambda code, data: (code, data))
    chosen = packet_class(mine, None)
    encoded = msgpack.dumps(
        {"type": packet.EVENT, "nsp": "/", "data": ["a", msgpack.ExtType(7, b"x")]}
    )
    assert chosen(encoded_packet=encoded).data == ["a", (7, b"x")]
