"""Sessions that move at every byte, and in any order with losses and returns."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.socketio import test_departing_anywhere as anywhere
from tests.socketio import test_departing_recovery as recovery
from tests.transport import test_part as part


@pytest.mark.parametrize("kind", anywhere.KINDS)
def test_the_client_reads_the_same_at_every_byte(kind: str) -> None:
    for cut in range(len(anywhere.STREAMS[kind]) + 1):
        anywhere.check(kind, [cut])


@settings(max_examples=300, deadline=None)
@given(recovery.ACTIONS)
def test_every_event_comes_once_and_in_order_whatever_happens(actions: list[str]) -> None:
    recovery.check(actions)


def test_every_byte_of_a_transport_is_the_same_wherever_the_stream_is_cut() -> None:
    for size in range(len(part.STREAM)):
        assert part.run([(size, part.LIMIT)]) == part.echoes()
