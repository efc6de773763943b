"""The names on the wire, as the rtc.io browser client spells them."""

from __future__ import annotations

import typing

import pytest

from rtcio_sync import DisconnectReason, RtcioEvents
from rtcio_sync.events import CLIENT_CLOSE, RESERVED_EVENTS, node_reason, upstream_reason

NODE_REASONS = typing.get_args(DisconnectReason)
#: python-socketio's: `socketio.Server.reason`.
UPSTREAM_REASONS = {
    "client disconnect",
    "server disconnect",
    "ping timeout",
    "transport close",
    "transport error",
}


def test_the_seven_events_are_plain_strings() -> None:
    names = {name: value for name, value in vars(RtcioEvents).items() if name.isupper()}
    assert names == {
        "MESSAGE": "#rtcio:message",
        "PEER_LEFT": "#rtcio:peer-left",
        "INIT_OFFER": "#rtcio:init-offer",
        "OFFER": "#rtcio:offer",
        "ANSWER": "#rtcio:answer",
        "CANDIDATE": "#rtcio:candidate",
        "STREAM_META": "#rtcio:stream-meta",
    }
    assert {type(value) for value in names.values()} == {str}


def test_no_event_of_the_protocol_is_reserved() -> None:
    names = {value for name, value in vars(RtcioEvents).items() if name.isupper()}
    assert not names & RESERVED_EVENTS


@pytest.mark.parametrize("reason", [*sorted(NODE_REASONS), CLIENT_CLOSE])
def test_every_reason_has_a_word_that_python_socketio_knows(reason: str) -> None:
    assert upstream_reason(reason) in UPSTREAM_REASONS


@pytest.mark.parametrize("reason", [*sorted(UPSTREAM_REASONS), CLIENT_CLOSE])
def test_every_reason_has_a_word_that_node_knows(reason: str) -> None:
    assert node_reason(reason) in NODE_REASONS


@pytest.mark.parametrize("reason", sorted(NODE_REASONS))
def test_a_reason_in_its_own_words_stays_as_it_is(reason: str) -> None:
    assert node_reason(reason) == reason


@pytest.mark.parametrize("reason", sorted(UPSTREAM_REASONS))
def test_a_reason_in_python_socketios_words_stays_as_it_is(reason: str) -> None:
    assert upstream_reason(reason) == reason


def test_the_reasons_that_the_two_sides_name_differently() -> None:
    assert upstream_reason("client namespace disconnect") == "client disconnect"
    assert upstream_reason("server namespace disconnect") == "server disconnect"
    assert upstream_reason("server shutting down") == "server disconnect"
    assert upstream_reason("parse error") == "transport error"
    assert upstream_reason(CLIENT_CLOSE) == "client disconnect"
    assert node_reason(CLIENT_CLOSE) == "transport close"
    assert node_reason("server disconnect") == "server namespace disconnect"


def test_an_unknown_reason_passes_unchanged() -> None:
    assert upstream_reason("full moon") == node_reason("full moon") == "full moon"
