"""Lets others have their turn while one client sends faster than its request can be parsed.

gevent switches greenlets only when one waits. The parsers of pywsgi and gunicorn read a body of
tiny chunks, with long extensions or with endless trailers, and never wait as long as it comes fast
enough: nobody else would be served meanwhile, and no time-out would end it.
"""

from __future__ import annotations

import socket
from typing import Any

import gevent

__all__ = ["Fair", "read_fairly"]

IN_ONE_GO = 16384  # bytes; of the worst of bodies, some milliseconds
SHORTLY = 0.0001  # seconds; after sleep(0) the loop would not look at its sockets


class Fair:
    """A mixin for what is read from: `counted` has to be told of it."""

    _read = 0

    def counted(self, size: int) -> None:
        """So many bytes were read. # greenlet: lets others run now and then"""
        self._read += size
        if self._read > IN_ONE_GO:
            self._read = 0
            gevent.sleep(SHORTLY)


class _FairIO(Fair, socket.SocketIO):
    """What a file of a socket reads from."""

    def readinto(self, buffer: Any) -> int | None:
        size = super().readinto(buffer)
        if size:
            self.counted(size)
        return size


def read_fairly(file: Any, sock: Any) -> None:
    """Has ``file``, which ``sock.makefile`` has made, read so; another is left as it is."""
    raw = getattr(file, "raw", None)
    if type(raw) is socket.SocketIO and not isinstance(sock, Fair):
        raw.__class__ = _FairIO
