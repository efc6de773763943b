"""Closes the clients' connections and the listening sockets of the parent in a forked child.

`multiprocessing`, `os.fork` and a `preexec_fn` copy all descriptors. While a child has the
descriptor of a connection, its client does not notice that the server has closed it. While a child
has the listening socket, the server cannot start again on this port. So the child replaces each of
these descriptors by one on which nothing ever happens: code that still uses its number neither
reads the parent's data nor closes a file of somebody else.
"""

from __future__ import annotations

import _socket
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol
from weakref import WeakSet

__all__ = ["serves"]


class Serving(Protocol):
    """A server that has clients."""

    def abandon(self) -> list[int]:
        """Forgets all clients without a message to them; returns the known descriptors."""

    def __hash__(self) -> int: ...


_servers: WeakSet[Serving] = WeakSet()
#: The addresses on which clients connect: ports, and the paths of Unix sockets.
_entrances: set[Any] = set()
#: A quiet replacement for a child's descriptors: one end of a pair whose other end nobody uses.
_quiet: list[socket.socket] = []


def serves(server: Serving, line: Any) -> None:
    """Notes that ``server`` has clients; ``line`` is a socket of one, or the listening socket."""
    _servers.add(server)
    with suppress(OSError, AttributeError):
        if (entrance := _entrance(line)) is not None:
            _entrances.add(entrance)


def _entrance(sock: Any) -> Any:
    address = sock.getsockname()
    return (address[1] if isinstance(address, tuple) else address) or None


def _in_child() -> None:
    if not _servers:
        return
    with suppress(OSError):  # an error here must not stop the child
        found = {fd for server in list(_servers) for fd in server.abandon()}
        found.update(_connections())
        _quiet.extend(socket.socketpair())
        for fd in found:
            os.dup2(_quiet[0].fileno(), fd, inheritable=False)
    _entrances.clear()


def _connections() -> Iterator[int]:
    """The descriptors of all sockets on which clients are connected, or can connect."""
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    for name in os.listdir(folder):
        fd = int(name)
        with suppress(OSError):  # the folder's own descriptor is closed by now
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
            sock = _socket.socket(fileno=fd)
            try:
                if sock.type == socket.SOCK_STREAM and _entrance(sock) in _entrances:
                    yield fd
            finally:
                sock.detach()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
