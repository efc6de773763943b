"""What the kernel and TLS say of a TCP socket, and the events to wait for."""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress

from .ports import RawSocket

__all__ = ["READ", "WRITE", "acknowledged", "reset_at_close", "tls_wants"]

READ, WRITE = 1, 2
"""The event masks of gevent's `loop.io`."""


def acknowledged(sock: RawSocket) -> int | None:
    """Bytes that the peer's kernel has acknowledged since the connection began.

    None if unknown: not TCP, not Linux, or the socket is closed.
    """
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
    except (OSError, AttributeError):
        return None
    if len(info) < _INFO_SIZE:
        return None
    return int.from_bytes(info[_BYTES_ACKED:_INFO_SIZE], sys.byteorder)


_BYTES_ACKED, _INFO_SIZE = 120, 128  # of linux/tcp.h's tcp_info, up to tcpi_bytes_acked


def reset_at_close(sock: RawSocket) -> None:
    """Have the kernel drop what it holds for a peer that does not read, once TCP is closed."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def tls_wants(error: OSError) -> int:
    """READ or WRITE if the TLS socket has to wait for that, else 0."""
    import ssl  # here, since gevent has to patch it before it is imported

    if isinstance(error, ssl.SSLWantReadError):
        return READ
    return WRITE if isinstance(error, ssl.SSLWantWriteError) else 0
