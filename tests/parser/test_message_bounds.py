"""What a message holds is counted without decoding it, exactly, and quickly whatever it holds."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtcio_sync import ProtocolError
from rtcio_sync.parser.message_bounds import Weight, head_of, measure, packed_head, unpack, weigh
from tests.json_strategies import spelt, values
from tests.timing import cost

#: The most that a look at 1 MB may cost; the dearest costs some 2.5.
QUICK = 4
SIZE = 950_000


def levels(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(levels, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(levels, value), default=0)
    return 0


def number(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value
    return 1 + (sum(map(number, inside)) if isinstance(value, (dict, list)) else 0)


awkward = values | st.recursive(
    st.sampled_from(['"', "\\", '\\"', "[{", ',"', "]", "}", "\\\\", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(['"', "\\", "[", ""]), inner, max_size=3)
    ),
)


@settings(max_examples=200)
@given(st.data(), awkward)
def test_levels_and_values_are_counted_exactly(data: st.DataObject, value: Any) -> None:
    text = data.draw(spelt(value)).encode()
    deep, many = levels(value), number(value)
    assert weigh(text, deep, many).excess is None
    if deep:
        assert weigh(text, deep - 1, None).excess == "too-deep"
    assert weigh(text, None, many - 1).excess == "too-many-values"
    assert weigh(text, deep, None).values >= many
    assert measure(value, deep, many) == Weight(many, None)
    if deep:
        assert measure(value, deep - 1, None).excess == "too-deep"
    if many > 1:
        assert measure(value, None, many - 1).excess == "too-many-values"


@settings(max_examples=50)
@given(st.text(alphabet='[]{}",\\:0 a', max_size=40))
def test_what_is_no_json_weighs_what_a_parser_would_read_of_it(text: str) -> None:
    try:
        value = json.loads(text)
    except ValueError:
        weigh(text.encode(), 3, 5)
    else:
        assert weigh(text.encode(), levels(value), number(value)).excess is None


def filled(piece: bytes) -> bytes:
    return b'["x",[' + piece * (SIZE // len(piece)) + b"0]]"


TEXTS: dict[str, tuple[bytes, str | None]] = {
    **{
        piece.decode(): (filled(piece), "too-many-values")
        for piece in (
            b"[],", b"{},", b'"",', b"0,", b'"\\\\",', b'"\\"",', b'",",', b'"[{",', b'"ab",',
            b'{"":0},', b"[[[]]],", b"[0 ],",
        )
    },
    "half the values as keys": (b'["x",{' + b'",,":"[[",' * 99_000 + b'"a":0}]', None),
    "just under the levels": (b'["x",[' + (b"[" * 60 + b"]" * 60 + b",") * 1500 + b"0]]", None),
    "opened and never closed": (b"[" * SIZE, "too-many-values"),
    "deep": (b"[" * 70 + b"]" * 70, "too-deep"),
    "deep objects": (b'{"a":' * 70 + b"0" + b"}" * 70, "too-deep"),
    "deep beside a long string": (b'["' + b"," * SIZE + b'",' + b"[" * 70 + b"]" * 71, "too-deep"),
    "a string of commas": (b'["x","' + b"," * SIZE + b'"]', None),
    "a string of brackets": (b'["x","' + b"[" * SIZE + b'"]', None),
    "a string of quotes": (b'["x","' + b'\\"' * (SIZE // 2) + b'"]', None),
    "a string of backslashes": (b'["x","' + b"\\\\" * (SIZE // 2) + b'"]', None),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_a_look_at_a_megabyte_is_quick_and_right(name: str) -> None:
    text, excess = TEXTS[name]
    assert weigh(text, 65, 100_002).excess == excess
    assert cost(lambda: weigh(text, 65, 100_002)) < QUICK


# -- heads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('2["a"]', (2, 0, "/", 1, None)),
        ('27["a"]', (2, 0, "/", 2, 7)),
        ('2 ["a"]', (2, 0, "/", 2, None)),
        ('2/calls,["a"]', (2, 0, "/calls", 8, None)),
        ('2/é?a=b,12["a"]', (2, 0, "/é", 11, 12)),
        ('51-/c,7["a"]', (5, 1, "/c", 7, 7)),
        ("0", (0, 0, "/", 1, None)),
        ("0/calls", (0, 0, "/calls", 7, None)),
        ('0/a"b,{"a":1}', (0, 0, '/a"b', 6, None)),
        ("1/calls,", (1, 0, "/calls", 8, None)),
    ],
)
def test_a_head_is_read(text: str, found: tuple[int, int, str, int, int | None]) -> None:
    assert tuple(head_of(text.encode())) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "9",
        "²",
        '2٣-/n"s,["a"]',
        '2-["a"]',
        '21-["a"]',
        '5["a"]',
        "2x[]",
        "2,[]",
        "2 x",
        "2 1[]",
    ],
)
def test_a_head_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        head_of(text.encode())


@pytest.mark.parametrize(
    "text",
    ["2" + "7" * SIZE, "2/" + "n" * SIZE, "2" + " " * SIZE, "5" * SIZE, "2" + "7 " * (SIZE // 2)],
)
def test_a_head_without_end_is_refused_quickly(text: str) -> None:
    raw = text.encode()

    def look() -> None:
        with pytest.raises(ProtocolError):
            head_of(raw + b"x")

    assert cost(look) < QUICK


# -- MessagePack -----------------------------------------------------------------------------------

_BEGUN = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1x"


def arrays(piece: bytes, inside: int = 99_000) -> bytes:
    """Arrays that each end in the next, so that none of them is complete before the last."""
    one = b"\xdd" + inside.to_bytes(4, "big") + piece * (inside - 1)
    return _BEGUN + one * max(2, SIZE // len(one)) + b"\x90"


PACKED = {
    "one array": _BEGUN + b"\xdd" + SIZE.to_bytes(4, "big") + b"\x90" * SIZE,
    "empty arrays": arrays(b"\x90"),
    "nil": arrays(b"\xc0"),
    "short strings": arrays(b"\xa2ab"),
    "maps": arrays(b"\x81\xa0\xc0"),
    "extensions": arrays(b"\xd4\x00\x00"),
    "timestamps": arrays(b"\xd6\xff\x00\x00\x00\x01", 50_000),
}


@pytest.mark.parametrize("name", PACKED)
def test_messagepack_is_left_in_the_middle_once_it_holds_too_much(name: str) -> None:
    def look() -> None:
        assert packed_head(PACKED[name]).kind == 2
        with pytest.raises(ProtocolError) as caught:
            unpack(PACKED[name], msgpack.ExtType, 100_002)
        assert caught.value.reason == "too-many-values"

    look()
    assert cost(look) < QUICK


def test_messagepack_beyond_all_depth_is_too_deep() -> None:
    with pytest.raises(ProtocolError) as caught:
        packed_head(_BEGUN + b"\x91" * 100_000 + b"\x90")
    assert caught.value.reason == "too-deep"


@pytest.mark.parametrize("bound", [None, 2000, 100_000])
def test_messagepack_with_more_levels_than_its_decoder_follows_is_too_deep(
    bound: int | None,
) -> None:
    """What reads the head follows more of them on Python 3.13."""
    with pytest.raises(ProtocolError) as caught:
        unpack(b"\x91" * 5000 + b"\x90", msgpack.ExtType, bound)
    assert caught.value.reason == "too-deep"


@given(values)
def test_what_messagepack_may_hold_is_unpacked_whole(value: Any) -> None:
    if any(abs(each) >= 2**63 for each in whole(value)):
        return
    packed = msgpack.packb({"type": 2, "nsp": "/", "data": [value] * 3})
    assert unpack(packed, msgpack.ExtType, None) == msgpack.unpackb(packed)
    assert unpack(packed, msgpack.ExtType, len(packed) - 1) == msgpack.unpackb(packed)


def whole(value: Any) -> list[int]:
    inside = value.values() if isinstance(value, dict) else value
    if isinstance(value, (dict, list)):
        return [each for node in inside for each in whole(node)]
    return [value] if type(value) is int else []


@pytest.mark.parametrize("bound", [None, 15])  # the message has more bytes than that
@pytest.mark.parametrize("depth", [0, 3])
def test_messagepack_with_a_binary_key_is_refused_as_nobody_could_send_it_on(
    depth: int, bound: int | None
) -> None:
    inner: Any = {"a": 1, b"k": 1}
    for _ in range(depth):
        inner = {"in": [inner]}
    with pytest.raises(ProtocolError) as caught:
        unpack(msgpack.packb({"data": [inner]}), msgpack.ExtType, bound)
    assert caught.value.reason == "undecodable"
