"""A socket from which something was read before its server sees it."""

from __future__ import annotations

import socket
from typing import Any

from gevent.socket import socket as GeventSocket

from ..transport.fair_reading import Fair

__all__ = ["Reread"]


class Reread(Fair, GeventSocket):
    """A TCP connection that gives ``data``, which was read from it, once more.

    It takes the descriptor over from ``sock``.
    """

    def __init__(self, sock: Any, data: bytes) -> None:
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self._data = data

    def left(self) -> bytes:
        """What was read and not given yet."""
        return self._data

    def recv(self, size: int = 65536, flags: int = 0) -> bytes:
        data = self._data
        if not data or size <= 0:
            data = super().recv(size, flags)
            if not flags:
                self.counted(len(data))
            return data
        if not flags & socket.MSG_PEEK:
            self._data = data[size:]
        return data[:size]

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        if not self._data:
            size = super().recv_into(buffer, nbytes, flags)
            self.counted(size)
            return size
        view = memoryview(buffer).cast("B")
        data = self.recv(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data)
