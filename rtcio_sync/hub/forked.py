"""Closes the clients' connections and the listening sockets of the parent in a forked child.

`multiprocessing`, `os.fork` and a `preexec_fn` copy all descriptors. While a child has the
descriptor of a connection, its client does not notice that the server has closed it. While a child
has the listening socket, the server cannot start again on this port. So the child replaces each of
these descriptors by one on which nothing ever happens: code that still uses its number neither
reads the parent's data nor closes a file of somebody else. The child's event loop may have seen
just before that a client is there: so a read, or an accept, finds that there is nothing yet.
"""

from __future__ import annotations

import _socket
import os
import secrets
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol
from weakref import WeakSet

__all__ = ["end_child", "holds", "serves"]


class Serving(Protocol):
    """A server that has clients."""

    def abandon(self) -> list[int]:
        """Forgets all clients without a message to them; returns the known descriptors."""

    def __hash__(self) -> int: ...


_servers: WeakSet[Serving] = WeakSet()
#: The addresses on which clients connect: ports, and the paths of Unix sockets.
_entrances: set[Any] = set()
#: Whether this process has clients; and whether it has none, and is a forked child of one that had.
_has_clients = _is_child = False
#: Where a child makes a socket; `tempfile` finds it under a lock that another thread may hold.
_folder = ""
#: The quiet replacements for a child's descriptors.
_quiet: list[_socket.socket] = []


def holds(part: Serving) -> None:
    """Notes what has something to leave to the parent in a forked child, though no clients."""
    global _folder
    _servers.add(part)
    if not _folder:
        with suppress(OSError):  # there is no place for files
            _folder = tempfile.gettempdir()


def serves(server: Serving, line: Any) -> None:
    """Notes that ``server`` has clients.

    ``line``: a socket of one, or the listening socket; `None`: there is none that is known.
    """
    global _has_clients, _is_child
    holds(server)
    _has_clients, _is_child = True, False
    with suppress(OSError, AttributeError):
        if (entrance := _entrance(line)) is not None:
            _entrances.add(entrance)


def _entrance(sock: Any) -> Any:
    address = sock.getsockname()
    return (address[1] if isinstance(address, tuple) else address) or None


def end_child(error: BaseException) -> None:
    """Ends a forked child in which the app's code raised `SystemExit`; else does nothing.

    As a child of `multiprocessing`, without what the parent has registered for its own end.
    """
    if not (_is_child and isinstance(error, SystemExit)):
        return
    code = error.code
    if not (code is None or isinstance(code, int)):
        with suppress(Exception):  # there may be none
            sys.stderr.write(f"{code}\n")
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # there may be none
            stream.flush()
    os._exit((code or 0) & 0xFF)


def _in_child() -> None:
    global _has_clients, _is_child
    if not _servers:
        return
    # A master that forks its workers has no clients.
    _has_clients, _is_child = False, _has_clients or _is_child
    # With a default time-out, a socket object for a descriptor makes it non-blocking: the parent's.
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(None)
    try:
        found, errors = _abandoned()
        with suppress(OSError):  # an error here must not stop the child
            _replace(found)
    finally:
        socket.setdefaulttimeout(timeout)
    _entrances.clear()
    if errors:
        raise errors[0]  # the interpreter writes it to stderr, and the child goes on


def _abandoned() -> tuple[set[int], list[Exception]]:
    """The descriptors of all servers. If one fails, the others forget their clients, too."""
    found: set[int] = set()
    errors: list[Exception] = []
    for server in list(_servers):
        try:
            found.update(server.abandon())
        except Exception as error:  # noqa: BLE001  (whatever it is)
            errors.append(error)
    return found, errors


def _replace(found: set[int]) -> None:
    """Replaces these descriptors, and those of all sockets of clients."""
    found.update(_connections())
    listening = {fd for fd in found if _listens(fd)}
    for fds, quiet in ((listening, _quiet_listener), (found - listening, _quiet_line)):
        if fds:
            sock = quiet()
            for fd in fds:
                os.dup2(sock.fileno(), fd, inheritable=False)


def _listens(fd: int) -> bool:
    try:
        sock = _socket.socket(fileno=fd)
    except OSError:  # it is none
        return False
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False
    finally:
        sock.detach()


def _quiet_line() -> _socket.socket:
    """One end of a pair whose other end nobody uses."""
    pair = _socket.socketpair()
    for each in pair:
        each.setblocking(False)
        _quiet.append(each)
    return pair[0]


def _quiet_listener() -> _socket.socket:
    """A listening socket to which nobody can connect. A line would fail when code accepts."""
    if not _folder:
        return _quiet_line()
    listener = _socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder = os.path.join(_folder, f"rtcio-{secrets.token_hex(16)}")
        os.mkdir(folder, 0o700)
        try:
            path = os.path.join(folder, "quiet")
            listener.bind(path)
            os.unlink(path)  # nobody finds it any more
        finally:
            os.rmdir(folder)
        listener.listen(0)
    except OSError:  # there is no place for files, or its name is too long
        listener.close()
        return _quiet_line()
    listener.setblocking(False)
    _quiet.append(listener)
    return listener


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
