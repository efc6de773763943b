"""What a forked child must not keep: the clients of its parent, and the sockets that it listens on.

`multiprocessing`, `os.fork` and a `preexec_fn` copy all descriptors. A client whose connection a
child still has does not hear that the server has closed it, and a server cannot start again while
a child has its port. So in the child each of them becomes another, on which nothing ever happens:
what still names the descriptor neither reads what is the parent's nor closes what is another's.
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
    """What has clients."""

    def abandon(self) -> list[int]:
        """Forgets all clients without a word to anybody; the descriptors that are known."""

    def __hash__(self) -> int: ...


_servers: WeakSet[Serving] = WeakSet()
#: Where clients come in: ports, and the paths of Unix sockets.
_entrances: set[Any] = set()
#: What lets a child's descriptors be quiet: two ends of which nobody uses the other.
_quiet: list[socket.socket] = []


def serves(server: Serving, line: Any) -> None:
    """The ``server`` has clients; ``line`` is a socket of one, or the one that it listens on."""
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
    with suppress(OSError):  # the child has to come up, whatever happens here
        found = {fd for server in list(_servers) for fd in server.abandon()}
        found.update(_connections())
        _quiet.extend(socket.socketpair())
        for fd in found:
            os.dup2(_quiet[0].fileno(), fd, inheritable=False)
    _entrances.clear()


def _connections() -> Iterator[int]:
    """The descriptors of all sockets that clients have come in by, or can."""
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    for name in os.listdir(folder):
        fd = int(name)
        with suppress(OSError):  # the folder's own is closed by now
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
