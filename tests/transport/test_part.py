"""A WebSocket that goes on in another process, cut at any byte of what it reads and writes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rtcio_sync.protocol.websocket_frames import frame_pong
from tests.transport.parting import LIMIT, STREAM, echoes, run, without

#: Bytes that the client has sent by a move, since the last one, and room in the server's kernel.
CUTS = st.lists(
    st.tuples(st.integers(0, len(STREAM)), st.integers(0, 1200)), min_size=1, max_size=4
)


@settings(max_examples=30, deadline=None)
@given(CUTS)
def test_the_client_reads_what_it_would_have_read_without_a_move(
    cuts: list[tuple[int, int]],
) -> None:
    got = run(cuts)
    pongs = frame_pong(b"between"), frame_pong(b"")
    assert without(got, *pongs) == without(echoes(), *pongs)


def test_without_a_full_kernel_every_byte_is_the_same_wherever_the_stream_is_cut() -> None:
    for size in range(0, len(STREAM), 23):
        assert run([(size, LIMIT)]) == echoes()
