"""A WebSocket that was open in another process."""

from __future__ import annotations

import socket

import pytest

from rtcio_sync.engineio.server import Server
from rtcio_sync.protocol.websocket_frames import Parser, frame_binary, frame_text
from rtcio_sync.transport.ports import Carried
from tests.timing import DEADLINE, settle
from tests.wsgi import environ_of


@pytest.mark.parametrize("query", [{}, {"b64": "1"}])
def test_who_takes_no_binary_frames_gets_none_but_the_rest_of_what_was_begun(
    query: dict[str, str],
) -> None:
    server = Server()
    ours, theirs = socket.socketpair()
    theirs.settimeout(DEADLINE)
    rest = b"\x82\x01"  # of a frame that the other process has begun to send
    carried = Carried([rest], Parser(1000).state())
    server.transfer.welcome("sid", environ_of("GET", query), ours, carried)
    server.send("sid", b"\xff")
    settle()
    assert theirs.recv(100) == rest + (frame_text(b"b/w==") if query else frame_binary(b"\xff"))
    server.disconnect()
    theirs.close()
