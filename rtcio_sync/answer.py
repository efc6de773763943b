"""How an HTTP answer of the Engine.IO endpoint leaves, where the WSGI server would not do it so."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

__all__ = ["InOnePiece"]

_CORK = getattr(socket, "TCP_CORK", None)  # Linux alone has it


class InOnePiece:
    """A body that reaches the client together with its head.

    gunicorn and pywsgi write the two one after the other. Of a refusal, aiohttp takes the head for
    the answer and has closed the connection before the body comes, on which python-engineio's
    `AsyncClient` ends with an error of aiohttp's that it does not expect: it never reconnects.
    """

    def __init__(self, body: bytes, line: Any) -> None:
        self._body = body
        self._line = line
        self._cork(1)

    def __iter__(self) -> Iterator[bytes]:
        yield self._body

    def close(self) -> None:
        """The server has written all of it (PEP 3333)."""
        self._cork(0)

    def _cork(self, on: int) -> None:
        if _CORK is not None:
            with suppress(OSError):  # a Unix socket, or one that is closed by now
                self._line.setsockopt(socket.IPPROTO_TCP, _CORK, on)
