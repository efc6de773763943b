"""The attachments that a packet announces, read before anything is kept for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcio_sync import ProtocolError
from rtcio_sync.limits import announced_attachments, check_attachments


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('2["a"]', 0),
        ('2["5-"]', 0),
        ("0", 0),
        ("", 0),
        ('51-["a",{"_placeholder":true,"num":0}]', 1),
        ('50-["a"]', 0),
        ("62-/calls,7[]", 2),
        ('5010-["a"]', 10),
        ('5999999999-["a"]', 999_999_999),
    ],
)
def test_the_announced_number_is_read(text: str, number: int) -> None:
    assert announced_attachments(text) == number


@pytest.mark.parametrize(
    "text",
    ['5["a"]', '5-["a"]', "5", "6", '5["a-b"]', '5x1-["a"]', "5-1-[]", "5²-[]", "5٣-[]", "5 1-[]"],
)
def test_a_number_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        announced_attachments(text)
    assert caught.value.reason == "attachments"


@given(st.integers(min_value=0, max_value=10**30))
def test_no_announcement_costs_more_than_its_digits(number: int) -> None:
    text = f'5{number}-["a"]'
    if len(str(number)) <= 11:
        assert announced_attachments(text) == number
    else:
        with pytest.raises(ProtocolError):
            announced_attachments(text)


def test_the_bound_itself_is_allowed() -> None:
    check_attachments(10, 10)
    with pytest.raises(ProtocolError):
        check_attachments(11, 10)


def test_without_a_bound_any_number_is_allowed() -> None:
    check_attachments(9_999_999_999, None)
