"""The messages between workers: whatever comes is a message, or refused."""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from decimal import Decimal
from enum import Enum
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcio_sync.cluster import wire
from rtcio_sync.errors import OptionError, ProtocolError

ROOMS = st.recursive(
    st.text() | st.integers(-(2**60), 2**60) | st.binary() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


class Odd(Enum):
    ONE = "one"


class Text(str, Enum):
    ONE = "one"


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=50), st.binary(max_size=300))),
       st.integers(1, 100))  # fmt: skip
def test_frames_are_cut_out_of_a_stream_whatever_its_pieces(
    sent: list[tuple[int, bytes, bytes]], size: int
) -> None:
    stream = b"".join(wire.frame(kind, body, key) for kind, key, body in sent)
    frames = wire.Frames()
    found = []
    for start in range(0, len(stream), size):
        found += frames.feed(stream[start : start + size])
    assert [(each.kind, each.key, each.body) for each in found] == sent


def test_a_frame_that_is_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(ProtocolError):
        wire.Frames().feed(wire.HEAD.pack(2**32 - 1, 2, 0))


def test_a_key_that_is_longer_than_its_frame_is_refused() -> None:
    with pytest.raises(ProtocolError):
        wire.Frames().feed(wire.HEAD.pack(3, 2, 1) + b"abc")


def test_a_body_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(OptionError):
        wire.frame(wire.Kind.EMIT, bytes(wire.LONGEST + 1))


@given(ROOMS)
def test_a_room_arrives_as_what_it_was(room: object) -> None:
    sent = wire.encoded(wire.Leave("/", "sid", room))
    assert wire.room_of(wire.decoded(wire.Leave, sent).room) == room


@pytest.mark.parametrize("room", [object(), 2**70, frozenset([object()])])
def test_a_room_that_cannot_be_sent_is_refused(room: object) -> None:
    with pytest.raises(OptionError):
        wire.encoded(wire.Leave("/", "sid", room))


@pytest.mark.parametrize(
    "room",
    [frozenset({1}), uuid4(), Decimal(1), date(2020, 1, 1), ("a", uuid4()), 2**70, Odd.ONE],
)
def test_a_room_that_another_node_would_know_by_another_name_is_refused(room: object) -> None:
    with pytest.raises(OptionError, match="several workers"):
        wire.check_room(room)


@pytest.mark.parametrize("room", ["a", b"a", 1, 1.5, True, ("a", (1, b"b")), Text.ONE])
def test_a_room_that_another_node_knows_by_the_same_name_is_taken(room: object) -> None:
    wire.check_room(room)
    sent = wire.decoded(wire.Leave, wire.encoded(wire.Leave("/", "sid", room)))
    assert {wire.room_of(sent.room): 1}[room] == 1


@pytest.mark.parametrize("sent", [{"a": 1}, [{}], [[1, {}]]])
def test_what_cannot_be_a_room_is_refused(sent: object) -> None:
    with pytest.raises(ProtocolError):
        wire.room_of(sent)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"namespace": "/", "sid": "x"}),
        msgspec.msgpack.encode(["/", 1]),
        msgspec.msgpack.encode(["/"]),
        msgspec.msgpack.encode(["/", "sid", "more"]),
        msgspec.msgpack.encode(["/", "sid"])[:-1],
        b"\x91" * 5000,
    ],
)
def test_a_body_of_another_structure_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.decoded(wire.Member, body)


@given(st.binary(max_size=200))
def test_no_body_breaks_the_decoder(body: bytes) -> None:
    for kind in (wire.Emit, wire.Joined, wire.Many, wire.Ask, wire.Hello, wire.Answer):
        with suppress(ProtocolError):
            wire.decoded(kind, body)


def test_data_of_an_app_that_cannot_be_sent_is_left_out() -> None:
    sent = [wire.Described("a", [], {"x": object()}, {}, None), wire.Described("b", [], 1, {}, 2)]
    assert [each.data for each in wire.sockets_in(wire.sockets_sent(sent))] == [None, 1]


@pytest.mark.parametrize("name", ["", "abc", "abcde", "../a", ".abc", "ab/c", "ab\0c", "äbcd"])
def test_what_is_no_id_is_no_name_of_a_file(name: str) -> None:
    assert not wire.is_node(name)
