"""The workers of ``--workers``, and the template that forks them, as their supervisor knows them.

Nothing here waits: the supervisor does, for all of them at once.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .worker_variables import CONTROL, LIFE, LISTENER, SUPERVISOR

__all__ = ["START", "Template", "Worker"]

#: What asks the template for a worker. The descriptor for its `READY` comes with it.
START = b"w"

START_WITHIN = 30.0  # seconds in which a process is ready
#: The exit code of a process whose end nobody has seen.
LOST = -signal.SIGKILL


class Template:
    """The process that forks workers. ``life``: its other end closes with the supervisor."""

    def __init__(self, command: Sequence[str], listener: socket.socket, life: int) -> None:
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        environ = {
            **os.environ,
            LISTENER: str(listener.fileno()),
            LIFE: str(life),
            SUPERVISOR: str(os.getpid()),
            CONTROL: str(theirs.fileno()),
        }
        with theirs:
            self._process = subprocess.Popen(
                command, env=environ, pass_fds=(listener.fileno(), life, theirs.fileno())
            )
        self._until = time.monotonic() + START_WITHIN
        #: Whether it can fork.
        self.ready = False
        #: Whether it has ended, or is about to.
        self.ended = False
        self._read = b""
        self._asked: deque[Worker] = deque()
        self._workers: dict[int, Worker] = {}

    def fileno(self) -> int:
        """What can be read once it has something to say."""
        return self._control.fileno()

    def has_settled(self) -> bool:
        """Whether it can fork, has ended, or takes too long."""
        late = time.monotonic() > self._until
        if late:
            self.read()  # only now: it may have been ready while this process stood still
        return late or self.ready or self.ended

    def start(self) -> Worker:
        """A new worker, which may not have a process yet."""
        heard, ready = os.pipe()
        worker = Worker(heard)
        self._asked.append(worker)
        try:
            with suppress(OSError):  # it has ended, as the next read says
                socket.send_fds(self._control, [START], [ready])
        finally:
            os.close(ready)
        return worker

    def read(self) -> None:
        """Takes what it has said."""
        if self.ended:
            return
        try:
            while received := self._control.recv(4096):
                *reports, self._read = (self._read + received).split(b"\n")
                for each in reports:
                    self._report(*each.decode().split())
        except BlockingIOError:
            return
        except OSError:
            pass
        self._has_ended()

    def _has_ended(self) -> None:
        self.ended = True
        for worker in (*self._asked, *self._workers.values()):
            worker.lose_template()
        self._asked.clear()
        self._workers.clear()

    def end(self) -> int:
        """Ends it, if it has not ended, and waits until it has; its exit code."""
        if not self.ended:
            self._process.kill()  # it may not listen: what it imports may hang
        code = self._process.wait()
        self.read()
        self._has_ended()  # a fork that has just been made may keep the socket open
        self._control.close()
        return code

    def _report(self, what: str, *numbers: str) -> None:
        if what == "ready":
            self.ready = True
            return
        pid, *code = map(int, numbers)
        if what == "started":
            worker = self._workers[pid] = self._asked.popleft()
            worker.begin(pid)
        else:
            self._workers.pop(pid).code = code[0]


class Worker:
    """One process. ``heard``: the descriptor on which it says that it serves."""

    def __init__(self, heard: int) -> None:
        self._heard: int | None = heard
        self.since = time.monotonic()
        #: Whether it serves.
        self.ready = False
        #: Its exit code, if its template has said it.
        self.code: int | None = None
        self._pid: int | None = None
        #: The signals that it gets once it has a process.
        self._told: list[int] = []
        #: Whether nobody will say that it has ended.
        self._lost = False

    def fileno(self) -> int:
        """What can be read once it serves, or has ended; -1: that has been read."""
        return -1 if self._heard is None else self._heard

    def has_settled(self) -> bool:
        """Whether it serves, has ended, or takes too long."""
        if self._heard is None or self.poll() is not None:
            return True
        late = time.monotonic() - self.since > START_WITHIN
        if late and select.select([self._heard], [], [], 0)[0]:  # only now, as of the template
            self.hear()
        return late

    def hear(self) -> None:
        """Takes what it has said. The descriptor can be read."""
        if self._heard is not None:
            self.ready = os.read(self._heard, 1) == b"r"
            self.listen_no_more()

    def listen_no_more(self) -> None:
        """Is not interested in whether it serves: if it does not yet, it ends when it would."""
        if self._heard is not None:
            os.close(self._heard)
            self._heard = None

    def begin(self, pid: int) -> None:
        """It has a process."""
        self._pid = pid
        for each in self._told:
            self.tell(each)

    def lose_template(self) -> None:
        """Its template has ended."""
        self._lost = True
        if self._pid is None:
            self.code = LOST

    def poll(self) -> int | None:
        """Its exit code; `None`: it lives."""
        if self.code is None and self._lost and not _lives(self._pid):
            self.code = LOST
        return self.code

    def tell(self, number: int) -> None:
        if self._pid is None:
            self._told.append(number)
        elif self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)


def _lives(pid: int | None) -> bool:
    if pid is None:
        return False
    with suppress(ChildProcessError):  # its child by now, if it is the first process of a container
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except OSError:  # the kernel does not say it
        return True
    return state not in ("Z", "X")  # whoever has inherited it may not care
