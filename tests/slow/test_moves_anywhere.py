"""Sessions that move at every byte, and in any order with losses and returns."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import moving_anywhere, moving_sessions
from tests.transport import parting

ACTIONS = st.lists(st.sampled_from(moving_sessions.ACTIONS), min_size=1, max_size=14)


@pytest.mark.parametrize("kind", moving_anywhere.KINDS)
def test_the_client_reads_the_same_at_every_byte(kind: str) -> None:
    for cut in range(len(moving_anywhere.STREAMS[kind]) + 1):
        moving_anywhere.check(kind, [cut])


@settings(max_examples=300, deadline=None)
@given(ACTIONS)
def test_every_event_comes_once_and_in_order_whatever_happens(actions: list[str]) -> None:
    moving_sessions.check(actions)


def test_every_byte_of_a_transport_is_the_same_wherever_the_stream_is_cut() -> None:
    for size in range(len(parting.STREAM)):
        assert parting.run([(size, parting.LIMIT)]) == parting.echoes()
