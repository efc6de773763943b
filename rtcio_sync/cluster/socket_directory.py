"""The directory in which the nodes of one master find each other, and the claim of an id.

Every name is made here, of numbers and of ids that `engineio.ids.is_node` accepts.
"""

from __future__ import annotations

import _socket
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from gevent.socket import socket as GreenSocket

from ..engineio.ids import is_node, new_node

__all__ = ["BACKLOG", "Claim", "Directory", "Unavailable", "process_is_stopped", "same_user"]

#: Streams of other nodes that may wait to be accepted.
BACKLOG = 128

_LONGEST_PATH = 100  # bytes; the kernel takes 107, on macOS 103
_TRIES = 100
_TICK = 20_000_000  # nanoseconds; the kernel's are 1 to 10 ms long

#: How the names of shared files begin.
_SHARED = ".shared-"

_OURS = re.compile(r"rtcio_sync-(?P<uid>[0-9]+)-(?P<pid>[0-9]+)-(?P<start>[0-9]+)")


class Unavailable(OSError):
    """There is no place for the directory; the text says why."""


class Directory:
    """The directory of one server's nodes.

    ``before``: the master whose place ``master`` takes. While both run, the nodes of ``master``
    are in the directory of that one, too. Raises `Unavailable`.
    """

    def __init__(self, master: int, key: str, before: int | None = None) -> None:
        uid = os.geteuid()
        name = _name_of(master, uid)
        inner = hashlib.sha256(key.encode()).hexdigest()[:8]
        why = []
        for base in _bases():
            path = base / name
            if len(os.fsencode(path / inner)) + 12 > _LONGEST_PATH:
                why.append(f"{base}: its path is too long")
                continue
            try:
                _make(path, uid)
                _make(path / inner, uid)
            except OSError as error:
                why.append(f"{base}: {error.strerror or error}")
                continue
            self.path = path / inner
            # Where its nodes are: here, and where those of the master before are.
            self._paths = [self.path]
            if before is not None and (base / _name_of(before, uid) / inner).is_dir():
                self._paths.append(base / _name_of(before, uid) / inner)
            self._found: list[str] = []
            self._read_at: tuple[int, ...] = ()
            _sweep(base, uid)
            return
        raise Unavailable("; ".join(why))

    def others(self, node: str) -> list[str]:
        """The ids that other nodes have claimed. Reads the directory only if it has changed."""
        changed = tuple(map(_changed, self._paths))
        if changed != self._read_at:
            names = [name for path in self._paths for name in _names_in(path)]
            self._found = list(dict.fromkeys(names))
            # Of two changes within a tick of the kernel's clock, the second does not show.
            self._read_at = changed if max(changed) < time.time_ns() - _TICK else ()
        return [each for each in self._found if each != node]

    def secret(self) -> bytes:
        """Random bytes that all nodes of the directory know."""
        path, made = self.path / ".secret", self.path / f".{secrets.token_hex(4)}"
        made.write_bytes(secrets.token_bytes(32))  # the directory keeps others out
        try:
            for each in (self._paths[-1] / ".secret", made):
                with suppress(FileExistsError, FileNotFoundError):
                    os.link(each, path)
            return path.read_bytes()
        finally:
            os.unlink(made)

    def shared(self, name: str) -> int:
        """A descriptor of a file that all nodes share, to read and to append. Raises `OSError`.

        It stays until the last node has gone. ``name``: letters and digits.
        """
        path, eldest = (each / f"{_SHARED}{name}" for each in (self.path, self._paths[-1]))
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        with suppress(FileExistsError, FileNotFoundError):
            if path != eldest:
                os.close(os.open(eldest, flags, 0o600))
                os.link(eldest, path)
        return os.open(path, flags, 0o600)

    def born(self, node: str) -> int | None:
        """When a node has claimed its id; `None`: its file is gone."""
        return max(_changed(path / node) for path in self._paths) or None

    def touch(self, node: str) -> None:
        """Shows a cleaner of old files that the directory is in use."""
        for inner in self._paths:
            for path in (inner.parent, inner, inner / node, *inner.glob(f"{_SHARED}*")):
                with suppress(OSError):  # the time of its making stays: see `born`
                    os.utime(path, ns=(time.time_ns(), os.stat(path).st_mtime_ns))

    def claim(self, hidden: Path, node: str) -> None:
        """Gives a node its id. Raises `FileExistsError` if another one has it."""
        taken: list[Path] = []
        try:
            for path in self._paths:
                os.link(hidden, path / node)
                taken.append(path / node)
        except OSError:
            for each in taken:
                os.unlink(each)
            raise

    def release(self, node: str) -> None:
        """Takes the id back, and removes what no node is in."""
        for path in self._paths:
            with suppress(OSError):
                os.unlink(path / node)
            with suppress(OSError):
                names = os.listdir(path)
                if all(each == ".secret" or each.startswith(_SHARED) for each in names):
                    for each in names:  # it was the last
                        os.unlink(path / each)
                path.rmdir()
                path.parent.rmdir()

    def connect(self, node: str) -> _socket.socket:
        """A connection to another node, without blocking.

        Raises `BlockingIOError` if it has to be tried again, `ProcessLookupError` if the node is
        dead, and `PermissionError` if another user listens there.
        """
        sock = _socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(str(self._file_of(node)))
        except (ConnectionRefusedError, FileNotFoundError):
            sock.close()
            for path in self._paths:
                with suppress(OSError):
                    os.unlink(path / node)
            raise ProcessLookupError(node) from None
        except BaseException:
            sock.close()
            raise
        if not same_user(sock):
            sock.close()
            raise PermissionError(node)
        return sock

    def _file_of(self, node: str) -> Path:
        return next((path / node for path in self._paths if _changed(path / node)), self.path)


class Claim:
    """An id that belongs to this process, and the socket on which it listens."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._hidden = directory.path / f".{secrets.token_hex(4)}"
        self.socket = GreenSocket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.bind(str(self._hidden))
            self.socket.listen(BACKLOG)
            self.socket.setblocking(False)
            self.node = self._claim()
        except BaseException:
            self.socket.close()
            raise
        finally:
            with suppress(OSError):
                os.unlink(self._hidden)

    def _claim(self) -> str:
        for _ in range(_TRIES):
            node = new_node()
            with suppress(FileExistsError):
                self._directory.claim(self._hidden, node)
                return node
        raise OSError("no id is free")

    def release(self) -> None:
        """Gives the id back: new nodes do not find this one any more."""
        self._directory.release(self.node)
        self.socket.close()


def same_user(sock: _socket.socket) -> bool:
    """Whether the process at the other end belongs to this user, as far as the kernel tells."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:  # not Linux: the directory's permissions say so
        return True
    found = sock.getsockopt(socket.SOL_SOCKET, option, 12)
    return int.from_bytes(found[4:8], sys.byteorder) == os.geteuid()


def _bases() -> list[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    found = [runtime] if runtime else []
    with suppress(OSError):  # nothing is writable
        found.append(tempfile.gettempdir())
    return [Path(each) for each in (*found, "/dev/shm") if os.path.isdir(each)]


def _make(path: Path, uid: int) -> None:
    """Makes a directory, or takes one that this user alone may use. Raises `OSError`."""
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
        raise PermissionError(f"{path} belongs to another user, or other users may use it")


def _name_of(master: int, uid: int) -> str:
    return f"rtcio_sync-{uid}-{master}-{_start_of(master)}"


def _changed(path: Path) -> int:
    """When a file or directory was changed; 0: there is none."""
    with suppress(OSError):
        return os.stat(path).st_mtime_ns
    return 0


def _names_in(path: Path) -> list[str]:
    """The ids in a directory."""
    with suppress(OSError):
        return [each for each in os.listdir(path) if is_node(each)]
    return []


def _start_of(pid: int) -> int:
    """When a process began, in a unit of the kernel's; 0: unknown."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def process_is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped a process; `False`, too: it is unknown."""
    return _stat(pid)[:1] in (["T"], ["t"])


def _stat(pid: int) -> list[str]:
    """What Linux says of a process, from its state on (`proc_pid_stat(5)`); empty: nothing."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _sweep(base: Path, uid: int) -> None:
    """Removes the directories of masters that are dead."""
    with suppress(OSError):
        for name in os.listdir(base):
            match = _OURS.fullmatch(name)
            if match is None or int(match["uid"]) != uid:
                continue
            if not _lives(int(match["pid"]), int(match["start"])):
                shutil.rmtree(base / name, ignore_errors=True)


def _lives(pid: int, start: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return start == _start_of(pid)
