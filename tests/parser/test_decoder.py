"""Messages of a client become packets, or are refused, with nothing of a server around them."""

from __future__ import annotations

import gc
import json
import sys
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
from socketio import packet
from socketio.msgpack_packet import MsgPackPacket

from rtcio_sync.errors import ProtocolError
from rtcio_sync.options import Limits
from rtcio_sync.parser.decoder import Decoded, Decoder
from rtcio_sync.parser.packet import packet_class
from tests.values import HOLE, nested


class Own(packet.Packet):
    """A packet class of an app's own that decodes as it likes."""

    def decode(self, encoded_packet: Any) -> Any:
        return super().decode(encoded_packet)


#: The packet classes of servers, by what such a server was given.
CLASSES: dict[str, Any] = {
    "usual": packet_class(packet.Packet, None),
    "a json module of its own": packet_class(packet.Packet, json),
    "a packet class of its own": Own,
    "msgpack": packet_class(MsgPackPacket, None),
}
TEXT = [each for each in CLASSES if each != "msgpack"]


class Reader:
    """A decoder, and the client whose messages it reads."""

    def __init__(self, form: str = "usual", max_size: int = 1_000_000, **limits: Any) -> None:
        self.refused: list[str] = []
        self.packed = form == "msgpack"
        self.link = SimpleNamespace(partial=None, sid="sid")
        self.decoder = Decoder(
            CLASSES[form],
            limits_of=lambda namespace: Limits(**limits),
            max_size=max_size,
            refuse=lambda link, head, label: self.refused.append(label),
        )

    def read(self, *messages: str | bytes) -> Decoded | None:
        """What the last of some messages completes: the text of packets, and attachments."""
        for each in messages:
            binary = isinstance(each, bytes)
            message = each if isinstance(each, bytes) else f"4{each}".encode()
            short = None
            if not binary and self.link.partial is None:
                short = self.decoder.event(message)
            decoded = self.decoder.decode(self.link, message, binary)
            if short is not None:  # the short way finds the same
                number, data, size = short
                pkt = decoded.packet
                assert (pkt.packet_type, pkt.namespace) == (packet.EVENT, "/")
                assert (number, data) == (pkt.id, pkt.data)
                assert size >= len(message)
                assert vars(self.decoder.whole(message, *short).packet) == vars(pkt)
        return decoded

    def read_packet(self, kind: int, data: Any, number: int | None = None) -> Decoded | None:
        """A packet in ``/`` without attachments, as this form has it."""
        if self.packed:
            fields = {"type": kind, "nsp": "/", "data": data}
            return self.read(msgpack.packb(fields if number is None else {**fields, "id": number}))
        written = "" if data is None else json.dumps(data, separators=(",", ":"))
        return self.read(f"{kind}{'' if number is None else number}{written}")


@pytest.mark.parametrize(
    ("message", "short"),
    [
        ('2["chat",1]', True),
        ('212["chat",{"a":[]}]', True),
        ("2[]", True),
        ('2/calls,["chat"]', False),
        ('3["chat"]', False),
        ('31["chat"]', False),
        ('2x["chat"]', False),
        ('2-1["chat"]', False),
        ('2["chat"', False),
        ('2["chat"]x', False),
        ('2["chat",NaN]', False),
        ("0", False),
        ("", False),
    ],
)
def test_only_usual_events_take_the_short_way(message: str, short: bool) -> None:
    assert (Reader().decoder.event(f"4{message}".encode()) is not None) is short


@pytest.mark.parametrize("form", [each for each in CLASSES if each != "usual"])
def test_with_code_of_the_app_no_event_takes_the_short_way(form: str) -> None:
    assert Reader(form).decoder.event(b'42["chat",1]') is None


@pytest.mark.parametrize("form", CLASSES)
@pytest.mark.parametrize(
    ("kind", "data", "number"),
    [
        (packet.CONNECT, {"token": "x"}, None),
        (packet.CONNECT, None, None),
        (packet.DISCONNECT, None, None),
        (packet.EVENT, ["chat", {"a": [1, "é"]}], None),
        (packet.EVENT, ["chat"], 7),
        (packet.ACK, [1, None], 0),
    ],
)
def test_a_packet_is_read_as_it_was_meant(
    form: str, kind: int, data: Any, number: int | None
) -> None:
    decoded = Reader(form).read_packet(kind, data, number)
    assert decoded is not None
    pkt = decoded.packet
    assert (pkt.packet_type, pkt.data, pkt.id) == (kind, data, number)
    assert pkt.namespace in ("/", None)
    assert decoded.attachments == []


@pytest.mark.parametrize("form", TEXT)
def test_attachments_are_put_in_where_their_placeholders_stand(form: str) -> None:
    reader = Reader(form)
    second = {"_placeholder": True, "num": 1}
    text = f"52-/calls,7{json.dumps(['take', second, HOLE])}"
    assert reader.read(text, b"one") is None
    assert reader.link.partial is not None
    decoded = reader.read(b"two")
    assert decoded is not None
    assert decoded.packet.data == ["take", b"two", b"one"]
    assert (decoded.packet.namespace, decoded.packet.id) == ("/calls", 7)
    assert decoded.attachments == [b"one", b"two"]
    assert reader.link.partial is None


@pytest.mark.parametrize("form", ["usual", "a json module of its own"])
@pytest.mark.parametrize(
    "large", [[[]] * 90_000, "x" * 900_000, "x" * 900_000 + "\U0001f600"], ids=range(3)
)
def test_what_waits_for_attachments_and_is_large_takes_no_more_than_its_bytes(
    form: str, large: Any
) -> None:
    """A string of a million characters takes four million bytes if one of them is an emoji."""
    reader = Reader(form)
    text = f"51-{json.dumps(['take', large, HOLE], ensure_ascii=False)}"
    assert reader.read(text) is None
    partial = reader.link.partial
    assert partial.packet is None
    held = [getattr(partial, name) for name in partial.__slots__]
    assert sum(map(sys.getsizeof, held)) < len(text.encode()) + 1000
    decoded = reader.read(b"x")
    assert decoded is not None and decoded.packet.data == ["take", large, b"x"]
    assert decoded.text == text


@pytest.mark.parametrize("form", CLASSES)
@pytest.mark.parametrize(
    ("data", "label"),
    [
        (nested(65), "too-deep"),
        ([0] * 100_001, "too-many-values"),
        ([[]] * 110_000, "too-many-values"),
    ],
    ids=["levels", "numbers", "lists"],
)
@pytest.mark.parametrize("kind", ["event", "acknowledgement"])
def test_what_holds_too_much_is_refused_and_the_next_packet_is_read(
    form: str, data: Any, label: str, kind: str
) -> None:
    reader = Reader(form)
    if kind == "event":
        assert reader.read_packet(packet.EVENT, ["take", data]) is None
    else:
        assert reader.read_packet(packet.ACK, [data], 1) is None
    assert reader.refused == [label]
    fine = reader.read_packet(packet.EVENT, ["take", nested(64)])
    assert fine is not None and fine.packet.data == ["take", nested(64)]


@pytest.mark.parametrize("form", CLASSES)
@pytest.mark.parametrize(
    "auth",
    [{"a": "x" * 16_384}, {"a": [0] * 1_000}, {"a": nested(64)}],
    ids=["bytes", "values", "levels"],
)
def test_a_connect_that_holds_too_much_is_refused(form: str, auth: Any) -> None:
    reader = Reader(form)
    assert reader.read_packet(packet.CONNECT, auth) is None
    assert reader.refused == ["auth"]


@pytest.mark.parametrize("form", TEXT)
def test_the_attachments_of_a_refused_packet_are_passed_over(form: str) -> None:
    reader = Reader(form)
    deep = json.dumps(["take", nested(70, HOLE), {"_placeholder": True, "num": 1}])
    assert reader.read(f"52-{deep}", b"x" * 1000, b"y" * 1000) is None
    assert reader.refused == ["too-deep"]
    assert reader.link.partial is None
    decoded = reader.read(f"51-{json.dumps(['take', HOLE])}", b"mine")
    assert decoded is not None and decoded.packet.data == ["take", b"mine"]


#: Messages that no client of the protocol sends, and the reason for which they are refused.
BROKEN: dict[str, tuple[tuple[str | bytes, ...], str | None]] = {
    "no packet": (("x",), None),
    "nothing": (("",), None),
    "a type that there is not": (("9[]",), None),
    "an event that is no list": (('2{"a":1}',), None),
    "an event without its list": (("2",), None),
    "half a list": (('2["a"',), None),
    "an acknowledgement without its number": (("3[1]",), None),
    "a CONNECT with a list": (("0[]",), None),
    "a DISCONNECT with data": (("1[1]",), None),
    "an attachment that nobody announced": ((b"x",), "binary"),
    "text in the place of an attachment": ((f'51-[{json.dumps(HOLE)}]', '2["b"]'), "attachments"),
    "more attachments than may be": (('511-["a"]',), "attachments"),
    "an attachment without a placeholder": (('51-["a"]', b"x"), "attachments"),
    "a placeholder of another": (('51-["a",{"_placeholder":true,"num":1}]', b"x"), "attachments"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_packet_raises(what: str) -> None:
    messages, reason = BROKEN[what]
    with pytest.raises(ProtocolError) as caught:
        Reader().read(*messages)
    assert reason in (None, caught.value.reason)


def test_attachments_count_with_their_text_against_the_largest_message() -> None:
    reader = Reader(max_size=1000)
    text = f"52-{json.dumps(['take', HOLE, {'_placeholder': True, 'num': 1}])}"
    reader.read(text, b"x" * 600)
    with pytest.raises(ProtocolError, match="too-long"):
        reader.read(b"x" * 600)


@pytest.mark.parametrize("number", ["x", 1.5, True, [], {}])
def test_an_id_that_is_no_integer_makes_a_packet_undecodable(number: Any) -> None:
    with pytest.raises(ProtocolError):
        Reader("msgpack").read_packet(packet.EVENT, ["take"], number)


def test_each_bound_may_be_lifted() -> None:
    reader = Reader(max_depth=None, max_values=None, max_auth_bytes=None, max_auth_values=None)
    for kind, data in (
        (packet.EVENT, ["take", nested(200)]),
        (packet.EVENT, ["take", [0] * 200_000]),
        (packet.CONNECT, {"a": "x" * 20_000, "b": [0] * 5_000}),
    ):
        decoded = reader.read_packet(kind, data)
        assert decoded is not None and decoded.packet.data == data


def test_limits_that_change_hold_once_they_are_settled() -> None:
    limits = [Limits(max_depth=3)]
    refused: list[str] = []
    decoder = Decoder(
        CLASSES["usual"],
        limits_of=lambda namespace: limits[0],
        max_size=1000,
        refuse=lambda link, head, label: refused.append(label),
    )
    link = SimpleNamespace(partial=None, sid="sid")
    limits[0] = Limits(max_depth=1)
    decoder.settle()
    assert decoder.decode(link, b'42["take",[[1]]]', False) is None
    assert refused == ["too-deep"]


def test_the_text_of_a_relay_is_kept_and_that_of_other_events_is_not() -> None:
    reader = Reader()
    relay = '2["#rtcio:message",{"source":"a","target":"b","data":1}]'
    for text, kept in ((relay, relay), ('2["chat",1]', None)):
        decoded = reader.read(text)
        assert decoded is not None and decoded.text == kept


@pytest.mark.parametrize("form", ["usual", "msgpack"])
def test_the_garbage_collector_does_not_look_through_a_message_while_it_is_decoded(
    form: str,
) -> None:
    reader = Reader(form)
    data = ["take", [[]] * 99_000]
    message = msgpack.packb({"type": packet.EVENT, "nsp": "/", "data": data})
    if not reader.packed:
        message = f"42{json.dumps(data)}".encode()
    runs: list[str] = []

    def note(phase: str, info: Any) -> None:
        runs.append(phase)

    gc.callbacks.append(note)
    try:
        decoded = reader.decoder.decode(reader.link, message, reader.packed)
    finally:
        gc.callbacks.remove(note)
    assert decoded is not None and decoded.packet.data == data
    assert len(runs) < 20
    assert gc.isenabled()
