"""Our frames as python-engineio's own drivers get them: the driver itself needs a whole server."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rtcio_sync.protocol.websocket import frame_binary, frame_text
from rtcio_sync.transport.driver import frames_of


@settings(max_examples=30)
@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=4), st.integers(0, 3))
def test_our_own_frames_are_taken_apart_for_other_drivers(
    payloads: list[tuple[bytes, bool]], big: int
) -> None:
    if big:
        payloads = [*payloads, (b"x" * (125 + big), False), (b"y" * (65_534 + big), True)]
    data = b"".join(
        frame_binary(payload) if binary else frame_text(payload) for payload, binary in payloads
    )
    assert list(frames_of(data)) == payloads
