"""Engine.IO packets."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from engineio import packet

from rtcio_sync.engineio.packet import (
    Packet,
    frame_of,
    frame_of_pieces,
    packets_in,
    packets_of,
)
from rtcio_sync.protocol.websocket_frames import frame_binary, frame_text


def test_a_packet_has_one_encoding_for_each_transport_whichever_asks_first() -> None:
    for first in ("polling", "websocket"):
        made = Packet(packet.MESSAGE, b"\x01\xff")
        for transport in (first, "polling", "websocket"):
            if transport == "polling":
                assert made.encode(b64=True) == "bAf8="
            else:
                assert made.frame() == frame_binary(b"\x01\xff")
    text = Packet(packet.MESSAGE, "é")
    assert text.encode() == text.encode(b64=True) == "4é"
    assert text.frame() == frame_text("4é".encode())


def test_frames_give_the_packets_back_that_they_were_made_of() -> None:
    pieces: list[str | bytes] = ["2é" + "x" * 200, b"\x00" * 70_000, "2"]
    assert [pkt.data for pkt in packets_in(frame_of_pieces(pieces))] == pieces


@pytest.mark.parametrize("text", ["x" * 5_000_000, "é" * 1_500_000])
@pytest.mark.parametrize(
    "framed", [lambda pieces: frame_of(packets_of(pieces)[0]), frame_of_pieces]
)
def test_a_long_text_is_framed_without_a_second_copy_of_it(
    framed: Callable[[list[str | bytes]], bytes], text: str
) -> None:
    size = len(text.encode())
    tracemalloc.start()
    try:
        frame = framed([text])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert frame == frame_text(f"4{text}".encode())
    assert peak < 1.3 * size
