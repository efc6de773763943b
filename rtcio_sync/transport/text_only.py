"""WebSockets of clients that take no binary frames: each binary message goes as base64.

So Engine.IO has it on polling, and Node's server on a WebSocket whose query has ``b64``. What is
sent comes in frames that many connections share, so the frames of these few are made anew.
"""

from __future__ import annotations

import base64

from ..protocol.websocket_frames import frame_text
from .driver import DriverWebSocket, frames_of
from .websocket import WebSocket

__all__ = ["TextDriver", "TextWebSocket", "as_text"]

_IS_CONTROL = 0x08  # RFC 6455 5.5


def as_text(data: bytes) -> bytes:
    """Frames of ours, whole ones, with ``b`` and base64 instead of each binary message."""
    if b"\x82" not in data or data[0] & _IS_CONTROL:  # a control frame goes alone
        return data
    return b"".join(
        [
            frame_text(b"b" + base64.b64encode(payload) if binary else payload)
            for payload, binary in frames_of(data)
        ]
    )


class TextWebSocket(WebSocket):
    """A `WebSocket` without binary frames."""

    __slots__ = ()

    def send(self, frame: bytes) -> None:
        super().send(as_text(frame))

    def send_now(self, frame: bytes) -> None:
        self.send(frame)  # the other one may send a part of a frame, and the rest with `send`


class TextDriver(DriverWebSocket):
    """A `DriverWebSocket` without binary frames."""

    def send(self, frame: bytes) -> None:
        super().send(as_text(frame))

    send_now = send
