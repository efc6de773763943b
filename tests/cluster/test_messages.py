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

from rtcio_sync.cluster import messages
from rtcio_sync.errors import OptionError, ProtocolError

ROOMS = st.recursive(
    st.text() | st.integers(-(2**60), 2**60) | st.binary() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


ITSELF: dict[str, object] = {}
ITSELF["itself"] = ITSELF


class Odd(Enum):
    ONE = "one"


class Text(str, Enum):
    ONE = "one"


class Markup(str):
    """A text of a class of its own."""


@given(ROOMS)
def test_a_room_arrives_as_what_it_was(room: object) -> None:
    sent = messages.encoded(messages.Leave("/", "sid", room))
    assert messages.room_of(messages.decoded(messages.Leave, sent).room) == room


@pytest.mark.parametrize("room", [object(), 2**70, frozenset([object()])])
def test_a_room_that_cannot_be_sent_is_refused(room: object) -> None:
    with pytest.raises(OptionError):
        messages.encoded(messages.Leave("/", "sid", room))


@pytest.mark.parametrize(
    "room",
    [frozenset({1}), uuid4(), Decimal(1), date(2020, 1, 1), ("a", uuid4()), 2**70, Odd.ONE],
)
def test_a_room_that_another_node_would_know_by_another_name_is_refused(room: object) -> None:
    with pytest.raises(OptionError, match="several workers"):
        messages.check_room(room)


@pytest.mark.parametrize("room", ["a", b"a", 1, 1.5, True, ("a", (1, b"b")), Text.ONE])
def test_a_room_that_another_node_knows_by_the_same_name_is_taken(room: object) -> None:
    messages.check_room(room)
    sent = messages.decoded(messages.Leave, messages.encoded(messages.Leave("/", "sid", room)))
    assert {messages.room_of(sent.room): 1}[room] == 1


def test_a_text_of_a_class_of_its_own_arrives_as_its_text() -> None:
    given = messages.Event(Markup("/"), Markup("news"), "[]", [])
    assert messages.decoded(messages.Event, messages.encoded(given)) == given
    described = messages.Described("a", [Markup("b")], {Markup("c"): Markup("d")}, {}, None)
    (found,) = messages.sockets_in(messages.sockets_sent([described]))
    assert (found.rooms, found.data) == (["b"], {"c": "d"})


@pytest.mark.parametrize("sent", [{"a": 1}, [{}], [[1, {}]]])
def test_what_cannot_be_a_room_is_refused(sent: object) -> None:
    with pytest.raises(ProtocolError):
        messages.room_of(sent)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"namespace": "/", "sid": "x"}),
        msgspec.msgpack.encode(["/", 1]),
        msgspec.msgpack.encode(["/"]),
        msgspec.msgpack.encode(["/", "sid"])[:-1],
        b"\x91" * 5000,
    ],
)
def test_a_body_of_another_structure_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        messages.decoded(messages.Member, body)


def test_what_a_later_release_adds_at_the_end_is_not_read() -> None:
    body = msgspec.msgpack.encode(["/", "sid", "more", {"and": "more"}])
    assert messages.decoded(messages.Member, body) == messages.Member("/", "sid")


@given(st.binary(max_size=200))
def test_no_body_breaks_the_decoder(body: bytes) -> None:
    names = ("Emit", "Joined", "Many", "Ask", "Hello", "Answer")
    for kind in [getattr(messages, name) for name in names]:
        with suppress(ProtocolError):
            messages.decoded(kind, body)


def test_data_of_an_app_that_cannot_be_sent_is_left_out() -> None:
    described = messages.Described
    sent = [described("a", [], object(), {}, object()), described("b", [], 1, {}, 2)]
    found = messages.sockets_in(messages.sockets_sent(sent))
    assert [(each.data, each.auth) for each in found] == [(None, None), (1, 2)]


@pytest.mark.parametrize("wrong", ["\ud800", 2**70, object(), ITSELF], ids=range(4))
def test_one_value_that_cannot_be_sent_is_left_out_alone(wrong: object) -> None:
    given = {"name": "ann", "wrong": wrong, ("a", 1): [2]}
    sent = messages.Described("a", [], given, {}, {"token": "t", "wrong": [wrong]})
    (found,) = messages.sockets_in(messages.sockets_sent([sent]))
    assert found.data == {"name": "ann", ("a", 1): [2]}
    assert found.auth == {"token": "t"}
    assert "wrong" in given


def test_a_key_that_cannot_be_sent_is_left_out_with_its_value() -> None:
    sent = messages.Described("a", [], {"\ud800": 1, "b": 2}, {}, None)
    (found,) = messages.sockets_in(messages.sockets_sent([sent]))
    assert found.data == {"b": 2}
