"""Frames for who takes no binary ones: each binary message goes as ``b`` and base64."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcio_sync.protocol.websocket_frames import frame_binary, frame_close, frame_pong, frame_text
from rtcio_sync.transport.driver import frames_of
from rtcio_sync.transport.text_only import TextWebSocket, as_text
from tests.timing import DEADLINE, settle
from tests.transport.peers import Owner, tcp

messages = st.text(max_size=150) | st.binary(max_size=150)


@given(st.lists(messages, max_size=4))
def test_text_stays_and_binary_is_base64(sent: list[str | bytes]) -> None:
    frames = [
        frame_binary(each) if isinstance(each, bytes) else frame_text(each.encode())
        for each in sent
    ]
    expected = [
        b"b" + base64.b64encode(each) if isinstance(each, bytes) else each.encode() for each in sent
    ]
    assert list(frames_of(as_text(b"".join(frames)))) == [(each, False) for each in expected]


@pytest.mark.parametrize("size", [70_000, 300, 0])
def test_the_length_is_of_the_base64(size: int) -> None:
    payload = b"\x82" * size
    assert as_text(frame_binary(payload)) == frame_text(b"b" + base64.b64encode(payload))
    assert as_text(frame_text(payload)) == frame_text(payload)


@pytest.mark.parametrize("control", [frame_pong(b"\x82\x01a"), frame_close(1000, "\u0082")])
def test_a_control_frame_stays(control: bytes) -> None:
    assert as_text(control) == control


def test_nothing_is_sent_past_it() -> None:
    ours, theirs = tcp()
    websocket = TextWebSocket(ours, Owner(), max_size=1000, max_buffered=None)
    websocket.send(frame_text(b"4a") + frame_binary(b"\xff"))
    websocket.send_now(frame_binary(b"\x01"))
    settle()
    theirs.settimeout(DEADLINE)
    got = theirs.recv(1000)
    websocket.abort()
    theirs.close()
    assert got == b"".join(frame_text(each) for each in (b"4a", b"b/w==", b"bAQ=="))
