"""The rules of the relay: what is an envelope, whose it may be, and which characters go on."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtcio_sync import ProtocolError, RtcioEvents
from rtcio_sync.protocol.envelope import Drop, Envelope, head, judge, placeholders_fit, read
from tests.json_strategies import WHITE, spelt, values, wide
from tests.steps import steps

SID = "aSid_000000000000AAAB"
OTHER = "aSid_000000000000AAAD"

NAMESPACES = st.just("/") | st.text(alphabet=string.ascii_letters + "_-/", max_size=8).map(
    lambda text: f"/{text}"
)

sids = st.sampled_from([SID, OTHER, "", SID.lower(), f" {SID}", None, 7, [SID], {"sid": SID}])
payloads = values | st.fixed_dictionaries(
    {}, optional={"source": sids, "target": sids, "data": values, "extra": values}
)


# -- judge -----------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(payloads, st.booleans())
def test_nothing_is_relayed_but_what_the_protocol_allows(payload: Any, recovered: bool) -> None:
    verdict = judge(payload, SID, recovered=recovered)
    if verdict is None:
        assert "data" in payload
        assert payload.get("source", SID if recovered else None) == SID
        assert isinstance(payload["target"], str)
        assert payload["target"] not in ("", SID)


@settings(max_examples=30)
@given(st.fixed_dictionaries({"source": st.just(SID), "target": st.just(OTHER), "data": values}))
def test_any_data_is_relayed(payload: dict[str, Any]) -> None:
    assert judge(payload, SID) is None


@given(sids.filter(lambda sid: sid != SID), values)
def test_a_wrong_source_is_never_taken_even_of_a_recovered_socket(source: Any, data: Any) -> None:
    payload = {"source": source, "target": OTHER, "data": data}
    assert judge(payload, SID) is not None
    assert judge(payload, SID, recovered=True) is not None


def test_an_absent_source_is_taken_of_a_recovered_socket_alone() -> None:
    payload = {"target": OTHER, "data": None}
    assert judge(payload, SID) == Drop.FORGED_SOURCE
    assert judge(payload, SID, recovered=True) is None


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (None, Drop.MALFORMED),
        ([], Drop.MALFORMED),
        ("text", Drop.MALFORMED),
        (7, Drop.MALFORMED),
        ({}, Drop.MALFORMED),
        ({"source": SID, "target": OTHER}, Drop.MALFORMED),
        ({"target": OTHER, "data": 1}, Drop.FORGED_SOURCE),
        ({"source": OTHER, "target": OTHER, "data": 1}, Drop.FORGED_SOURCE),
        ({"source": None, "target": OTHER, "data": 1}, Drop.FORGED_SOURCE),
        ({"source": SID, "data": 1}, Drop.BAD_TARGET),
        ({"source": SID, "target": SID, "data": 1}, Drop.BAD_TARGET),
        ({"source": SID, "target": "", "data": 1}, Drop.BAD_TARGET),
        ({"source": SID, "target": None, "data": 1}, Drop.BAD_TARGET),
        ({"source": SID, "target": 7, "data": 1}, Drop.BAD_TARGET),
        ({"source": SID, "target": [OTHER], "data": 1}, Drop.BAD_TARGET),
        ({"source": SID, "target": {"sid": OTHER}, "data": 1}, Drop.BAD_TARGET),
    ],
)
def test_a_drop_says_why(payload: Any, reason: str) -> None:
    assert judge(payload, SID) == reason


# -- read ------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.data(), values, NAMESPACES, st.none() | st.integers(0, 10**20), st.integers(0, 10))
def test_the_envelopes_own_characters_are_found(
    data: st.DataObject, payload: Any, namespace: str, number: int | None, attachments: int
) -> None:
    raw = data.draw(spelt(payload), label="raw")
    name = data.draw(spelt(RtcioEvents.MESSAGE), label="name")
    surplus = data.draw(st.lists(values.flatmap(spelt), max_size=2), label="surplus")
    gaps = [data.draw(WHITE) for _ in range(5)]
    kind = f"5{attachments}-" if attachments else "2"
    where = "" if namespace == "/" else f"{namespace},"
    text = (
        f"{kind}{where}{'' if number is None else number}"
        f"{gaps[0]}[{gaps[1]}{name}{gaps[2]},{gaps[3]}{raw}"
        f"{''.join(f',{each}' for each in surplus)}{gaps[4]}]"
    )
    found = read(text)
    assert found is not None
    assert found.raw == raw
    assert found.payload == wide(payload)
    assert (found.namespace, found.attachments) == (namespace, attachments)


@settings(max_examples=40)
@given(st.data(), values, NAMESPACES, st.integers(0, 10))
def test_what_is_forwarded_reads_as_what_came(
    data: st.DataObject, payload: Any, namespace: str, attachments: int
) -> None:
    raw = data.draw(spelt(payload))
    forwarded = f"{head(namespace, attachments)}{raw}]"
    assert read(forwarded) == Envelope(namespace, wide(payload), raw, attachments)


#: Damage that a sender may do to a packet: pieces of it cut out, and others put in.
PIECES = st.sampled_from(
    [*'[]{}",:\\ 0-.e\t', "null", "NaN", "Infinity", "1e", "\x00", "\v", "\xa0", "\ufeff", "]]"]
)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """The arguments of an event, well-formed or nearly so."""
    envelope = {"source": SID, "target": OTHER, "data": draw(values)}
    name = draw(st.sampled_from([RtcioEvents.MESSAGE, RtcioEvents.MESSAGE, "chat", 7]))
    text = draw(spelt([name, envelope, *draw(st.lists(values, max_size=1))]))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 3))
        text = text[:at] + draw(st.just("") | PIECES) + text[at + cut :]
    return text


def loads(text: str) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse, parse_int=float)


@settings(max_examples=80)
@given(damaged())
@example('["#rtcio:message",{"data":1}]x')
@example('["#rtcio:message",{"data":1},]')
@example('["#rtcio:message",{"data":1}, ]')
@example('["#rtcio:message",{"data":1},,1]')
@example('["#rtcio:message",{"data":1},1,]')
@example('["#rtcio:message",{"data":1},[]]]')
@example('["#rtcio:message",{"data":1},-]')
@example('["#rtcio:message",{"data":1},1}')
@example('["#rtcio:message",{"data":1},1] x')
@example('["#rtcio:message",{"data":1},1e999,[NaN]]')
@example('["#rtcio:message",{"data":1} , "a" , [1] ] ')
@example('["#rtcio:message",{"data":1}')
@example('["#rtcio:message",{"data":NaN}]')
@example(' ["#rtcio:message",{"data":1}]')
@example('\v["#rtcio:message",{"data":1}]')
@example('[\xa0"#rtcio:message",{"data":1}]')
@example('["#rtcio:message"\u2003,{"data":1}]')
@example('["#rtcio:message"]]')
def test_reading_agrees_with_json_on_what_is_well_formed(arguments: str) -> None:
    try:
        expected = loads(arguments)
    except ValueError:
        expected = None
    try:
        found = read(f"2{arguments}")
    except ProtocolError:
        assert expected is None, "well-formed, and refused"
        return
    if found is None:
        ours = isinstance(expected, list) and expected[:1] == [RtcioEvents.MESSAGE]
        assert not ours, "an envelope was not seen"
    else:
        assert expected is not None, "malformed, and taken"
        assert [RtcioEvents.MESSAGE, found.payload] == [*expected, None][:2]
        assert found.raw == "" or loads(found.raw) == found.payload


@pytest.mark.parametrize(
    "tail",
    ["", "]", "}]", ",]", ',"x]', "]]", "]x", "] ,", "]\x00", ", 01]", ",'a']", ",nul]", ",\v1]"],
)
def test_a_malformed_tail_is_refused(tail: str) -> None:
    text = f'2["{RtcioEvents.MESSAGE}",{{"source":"a","target":"b","data":1}}{tail}'
    if tail == "]":
        assert read(text) is not None
        return
    with pytest.raises(ProtocolError) as caught:
        read(text)
    assert caught.value.reason == "json"


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_python_alone_takes_for_json_is_refused(constant: str) -> None:
    with pytest.raises(ProtocolError):
        read(f'2["{RtcioEvents.MESSAGE}",{{"data":{constant}}}]')


def test_nesting_that_no_parser_could_follow_is_refused() -> None:
    with pytest.raises(ProtocolError):
        read(f'2["{RtcioEvents.MESSAGE}",{"[" * 200_000}{"]" * 200_000}]')


def test_an_integer_of_any_length_is_read() -> None:
    digits = "7" * 5000
    found = read(f'2["{RtcioEvents.MESSAGE}",{{"data":{digits}}}]')
    assert found is not None
    assert found.raw == f'{{"data":{digits}}}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "0",
        "40",
        '3["#rtcio:message",{}]',
        '2["chat",{}]',
        '2["#rtcio:message2",{}]',
        '2["#RTCIO:message",{}]',
        '2[7,"#rtcio:message"]',
        '2{"0":"#rtcio:message"}',
        '2"#rtcio:message"',
        '2["\\ud800",{}]',
        '2["\\q",{}]',
    ],
)
def test_any_other_packet_is_not_read(text: str) -> None:
    assert read(text) is None


def test_an_event_without_a_payload_has_none() -> None:
    assert read(f'2["{RtcioEvents.MESSAGE}"]') == Envelope("/", None, "", 0)


def test_a_namespace_is_read_without_its_query() -> None:
    found = read('2/calls?token=x,["#rtcio:message",{}]')
    assert found is not None
    assert found.namespace == "/calls"


def test_a_text_events_number_before_a_dash_announces_nothing() -> None:
    found = read('23-["#rtcio:message",{}]')
    assert found is not None
    assert found.attachments == 0


@pytest.mark.parametrize("surplus", ["0", "{}", '"a" ', "\n[1]", f"-{'7' * 5000}"])
def test_further_arguments_take_no_steps_of_python_each(surplus: str) -> None:
    def look(count: int) -> None:
        further = f",{surplus}" * count
        assert read(f'2["{RtcioEvents.MESSAGE}",{{"data":1}}{further}]') is not None

    look(1)
    assert steps(lambda: look(300)) == steps(lambda: look(1))


def test_the_last_of_two_equal_keys_counts() -> None:
    # As in JavaScript: else the server would judge another target than the receiver reads.
    found = read('2["#rtcio:message",{"source":"a","source":"b"}]')
    assert found is not None
    assert found.payload == {"source": "b"}


# -- placeholders ----------------------------------------------------------------------------------


def placeholder(number: Any) -> dict[str, Any]:
    return {"_placeholder": True, "num": number}


@given(st.integers(0, 5), st.lists(st.integers(-2, 6), max_size=4), st.data())
def test_placeholders_and_attachments_match_one_to_one(
    attachments: int, numbers: list[int], data: st.DataObject
) -> None:
    payload: Any = [placeholder(number) for number in numbers]
    for _ in range(data.draw(st.integers(0, 3))):
        payload = {"data": payload, "other": [1, "x", None]}
    fits = sorted(numbers) == list(range(attachments))
    assert placeholders_fit(payload, attachments) is fits


@pytest.mark.parametrize("number", [None, "0", True, False, 0.0, -0.0, [0], {}])
def test_a_placeholder_without_a_whole_number_fits_nothing(number: Any) -> None:
    assert not placeholders_fit({"data": placeholder(number)}, 1)


@pytest.mark.parametrize("mark", [1, "true", [0], {"a": 1}])
def test_what_python_socketio_takes_for_a_placeholder_stands_beside_none(mark: Any) -> None:
    assert not placeholders_fit([placeholder(0), {"_placeholder": mark, "num": 0}], 1)


def test_a_placeholder_without_any_number_fits_nothing() -> None:
    assert not placeholders_fit({"_placeholder": True}, 3)


@pytest.mark.parametrize("mark", [False, 1, "true", None])
def test_what_only_looks_like_a_placeholder_is_data(mark: Any) -> None:
    assert placeholders_fit({"_placeholder": mark, "num": 9}, 0)


def test_depth_does_not_matter() -> None:
    payload: Any = placeholder(0)
    for _ in range(100_000):
        payload = [payload]
    assert placeholders_fit(payload, 1)
    assert not placeholders_fit(payload, 2)


# -- head ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("namespace", "attachments", "text"),
    [
        ("/", 0, '2["#rtcio:message",'),
        ("/calls", 0, '2/calls,["#rtcio:message",'),
        ("/", 2, '52-["#rtcio:message",'),
        ("/calls", 10, '510-/calls,["#rtcio:message",'),
    ],
)
def test_a_forwarded_packet_begins_as_socket_io_writes_it(
    namespace: str, attachments: int, text: str
) -> None:
    assert head(namespace, attachments) == text
