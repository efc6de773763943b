"""The template of ``--workers``: a process that has imported the server, and forks the workers.

Its forks share its memory: the modules of the server and of what it stands on, which are most of a
worker without an app. It imports nothing of the app's, and each generation of workers has a
template of its own. So SIGHUP to the supervisor loads the app and the packages again.

It has no event loop, no thread and no greenlet, which a fork would copy. It waits with the
functions of the standard library that gevent has replaced. Signals are blocked in it, so that one
to all processes of the command (Ctrl-C, a service manager that stops) leaves it able to say how
its workers have ended.
"""

from __future__ import annotations

import _socket
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gevent import monkey
from gevent.os import fork_gevent

from ..garbage_collector import freeze_for_forks
from .worker_variables import CONTROL, READY

__all__ = ["become_worker"]

BLOCKED = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}


def become_worker() -> bool:
    """Forks a worker whenever the supervisor asks for one.

    Returns `True` in each of them; in the template `False`, once there is no supervisor any more.
    """
    control = _socket.socket(fileno=int(os.environ.pop(CONTROL)))
    control.setblocking(False)
    freeze_for_forks()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    with _child_signals() as ended:
        ready = _serve(control, ended)
    control.close()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if ready is None:
        return False
    os.environ[READY] = str(ready)
    return True


def _serve(control: _socket.socket, ended: int) -> int | None:
    """The descriptor for `READY` in a worker; `None`: the supervisor has closed the socket."""
    poll = monkey.get_original("select", "poll")()
    for each in (control.fileno(), ended):
        poll.register(each, 1)  # POLLIN
    _tell(control, b"ready")
    while True:
        poll.poll()
        with suppress(BlockingIOError):
            while os.read(ended, 4096):
                pass
        _reap(control)
        try:
            request, fds, _, _ = socket.recv_fds(control, 1, 1)  # type: ignore[arg-type]
        except BlockingIOError:
            continue
        except OSError:
            return None
        if not request:
            return None
        os.set_inheritable(fds[0], False)
        pid = fork_gevent()
        if pid == 0:
            return fds[0]
        os.close(fds[0])
        _tell(control, b"started %d" % pid)


def _reap(control: _socket.socket) -> None:
    waitpid = monkey.get_original("os", "waitpid")
    with suppress(ChildProcessError):
        while (found := waitpid(-1, os.WNOHANG)) != (0, 0):
            pid, status = found
            _tell(control, b"ended %d %d" % (pid, os.waitstatus_to_exitcode(status)))


def _tell(control: _socket.socket, report: bytes) -> None:
    with suppress(OSError):  # there is no supervisor any more: the next read says so
        control.send(report + b"\n")


@contextmanager
def _child_signals() -> Iterator[int]:
    """Gives a descriptor that can be read once a child has ended."""
    # gevent's would start an event loop.
    set_handler: Any = monkey.get_original("signal", "signal")
    reads, writes = os.pipe()
    for each in (reads, writes):
        os.set_blocking(each, False)
    handler = set_handler(signal.SIGCHLD, lambda *_: None)
    woken = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    try:
        yield reads
    finally:
        signal.set_wakeup_fd(woken)
        set_handler(signal.SIGCHLD, handler)
        os.close(reads)
        os.close(writes)
