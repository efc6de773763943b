"""Sessions that move between servers at any byte of what their client sends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.moving_anywhere import KINDS, STREAMS, check

CUTS = st.lists(st.integers(0, max(map(len, STREAMS.values()))), min_size=1, max_size=3)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=4, deadline=None)
@given(CUTS)
def test_the_client_reads_the_same_wherever_its_stream_is_cut(kind: str, cuts: list[int]) -> None:
    check(kind, cuts)
