"""Frames on a stream between workers: cut where they end, whatever the pieces; or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcio_sync.cluster.frames import HEAD, LONGEST, Frames, frame
from rtcio_sync.errors import OptionError, ProtocolError


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=50), st.binary(max_size=300))),
       st.integers(1, 100))  # fmt: skip
def test_frames_are_cut_out_of_a_stream_whatever_its_pieces(
    sent: list[tuple[int, bytes, bytes]], size: int
) -> None:
    stream = b"".join(frame(kind, body, key) for kind, key, body in sent)
    frames = Frames()
    found = []
    for start in range(0, len(stream), size):
        found += frames.feed(stream[start : start + size])
    assert [(each.kind, each.key, each.body) for each in found] == sent


def test_a_frame_that_is_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(ProtocolError):
        Frames().feed(HEAD.pack(2**32 - 1, 2, 0))


def test_a_key_that_is_longer_than_its_frame_is_refused() -> None:
    with pytest.raises(ProtocolError):
        Frames().feed(HEAD.pack(3, 2, 1) + b"abc")


def test_a_body_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(OptionError):
        frame(2, bytes(LONGEST + 1))
