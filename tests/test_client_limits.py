"""What one client may cost: attachments, messages a second, connections from an address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcio_sync import ProtocolError
from rtcio_sync.client_limits import (
    CALM,
    PATIENCE,
    STEP,
    Addresses,
    Rate,
    announced_attachments,
    check_attachments,
    client_address,
)

# -- attachments -----------------------------------------------------------------------------------


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


# -- how many messages -----------------------------------------------------------------------------


def drained(rate: Rate, burst: float, messages: int, now: float) -> tuple[float, float | None]:
    """What `pause` says after ``messages`` at once."""
    return rate.pause(burst - messages, now)


def test_a_burst_costs_nothing() -> None:
    assert drained(Rate(100, 1000, 0.0), 1000, 1000, 0.0) == (0, 0)


def test_over_the_burst_a_sender_waits_until_the_rate_allows_more() -> None:
    left, seconds = drained(Rate(100, 1000, 0.0), 1000, 1050, 0.0)
    assert left == -50
    assert seconds == pytest.approx(0.5 + STEP)


@given(
    rate=st.floats(1, 1000),
    burst=st.floats(1, 1000),
    messages=st.lists(st.integers(1, 50), min_size=1, max_size=50),
)
def test_a_sender_that_waits_as_told_never_exceeds_its_rate(
    rate: float, burst: float, messages: list[int]
) -> None:
    bucket, left, now, sent = Rate(rate, burst, 0.0), burst, 0.0, 0
    for number in messages:
        left -= number
        sent += number
        if left < 0:
            left, seconds = bucket.pause(left, now)
            assert left <= burst
            if seconds is None:
                return
            now += seconds
            assert sent <= burst + rate * now + 1e-6


def test_a_rest_fills_the_bucket_and_no_more_than_that() -> None:
    bucket = Rate(100, 1000, 0.0)
    bucket.pause(-1, 0.0)
    left, seconds = bucket.pause(-1, 3600.0)
    assert (left, seconds) == (1000, 0)


def test_a_sender_that_never_rests_is_given_up_after_ten_seconds() -> None:
    bucket, now = Rate(100, 10, 0.0), 0.0
    while True:
        _, seconds = bucket.pause(-10, now)
        if seconds is None:
            break
        now += seconds
    assert PATIENCE - 1 < now <= PATIENCE


def test_a_sender_that_rests_in_between_is_not() -> None:
    bucket, now = Rate(100, 10, 0.0), 0.0
    for _ in range(100):
        _, seconds = bucket.pause(-10 - 0.2 * 100, now)
        assert seconds is not None
        now += seconds + CALM + 0.1


# -- how many connections --------------------------------------------------------------------------


def test_addresses_are_not_counted_unless_there_is_a_bound() -> None:
    assert not Addresses(None, None).counting
    assert Addresses(1, None).counting
    assert Addresses(None, 1).counting


def test_so_many_connections_at_once() -> None:
    addresses = Addresses(None, 2)
    assert [addresses.admits("a", 0.0) for _ in range(3)] == [True, True, False]
    assert addresses.admits("b", 0.0)
    addresses.gone("a")
    assert [addresses.admits("a", 0.0) for _ in range(2)] == [True, False]


def test_so_many_connections_a_minute() -> None:
    addresses = Addresses(2, None)
    times = [0.0, 30.0, 59.0, 60.0, 60.0, 90.0]
    assert [addresses.admits("a", now) for now in times] == [True, True, False, True, False, True]


def test_one_that_is_refused_does_not_count() -> None:
    addresses = Addresses(5, 1)
    assert addresses.admits("a", 0.0)
    for _ in range(10):
        assert not addresses.admits("a", 0.0)
    addresses.gone("a")
    assert addresses.admits("a", 0.0)


def test_addresses_that_are_gone_take_no_memory() -> None:
    addresses = Addresses(5, 5)
    for number in range(10_050):
        addresses.admits(f"a{number}", number * 1.0)
        addresses.gone(f"a{number}")
    assert addresses._open == {}
    assert len(addresses._begun) < 200


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        (None, 0, "peer"),
        ("client", 0, "peer"),
        ("client", 1, "client"),
        ("forged, client", 1, "client"),
        ("client, proxy", 2, "client"),
        ("forged, client ,proxy", 2, "client"),
        ("client", 2, "peer"),
        (None, 1, "peer"),
        ("", 1, "peer"),
        ("client, ", 1, "peer"),
    ],
)
def test_a_client_is_known_by_what_the_outermost_trusted_proxy_wrote(
    forwarded: str | None, proxies: int, address: str
) -> None:
    environ = {"REMOTE_ADDR": "peer"}
    if forwarded is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded
    assert client_address(environ, proxies) == address
