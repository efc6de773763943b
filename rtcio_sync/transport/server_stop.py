"""Calls back when the WSGI server of a request begins to stop, and has its process wait for that.

A server that stops does not know of the WebSockets that `takeover` took from it: it neither closes
them nor waits for them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import gevent
from gevent.baseserver import BaseServer
from gevent.pywsgi import WSGIHandler

from .takeover import stack

__all__ = [
    "close_listener",
    "gunicorn_worker",
    "servers_here",
    "servers_of",
    "watch_stop",
    "watch_worker_on_threads",
]

_INTERVAL = 0.1  # seconds between two checks of a worker
ROUNDS = 10  # in which a listener may still get connections while it is being closed


def watch_stop(
    environ: Mapping[str, Any],
    callback: Callable[[], object],
    *,
    patience: float = 10.0,
    is_followed: Callable[[], bool] = lambda: False,
) -> bool:
    """Have `callback` run, in a greenlet, when the server of this request begins to stop.

    The server's process waits for it, at most `patience` seconds. ``is_followed()``: whether
    another process goes on accepting on the same listener. Call it once per process and
    server, where `takeover.find` may be called. Returns False for a server that this module does
    not know.

    gunicorn: its gevent worker exits within about a second after SIGTERM and HUP, within 0.1 s
    after SIGINT, SIGQUIT and others, and waits only for the greenlets of its pools. All of these,
    reloading and `max_requests` set `worker.alive` to False, which is watched here. Every exit also
    calls the `worker_exit` hook of the worker's configuration, where the process waits; the user's
    own hook runs after that. Signal handlers would not do, since applications replace them, nor
    would `atexit`, since the logs are closed by then.

    pywsgi: `stop()` of the server object is wrapped; `serve_forever()` ends with it, too.
    """
    worker = gunicorn_worker()
    if worker is not None:
        _StopCallback(callback, patience, is_followed).of_worker(worker)
        return True
    server = _pywsgi_here()
    if server is not None:
        _StopCallback(callback, patience, is_followed).of_server(server)
    return server is not None


def watch_worker_on_threads(callback: Callable[[], object]) -> None:
    """Have `callback` run when gunicorn's worker of threads begins to stop.

    It has to end the polls and WebSockets: else the worker waits `graceful_timeout` for them.
    """
    worker = gunicorn_worker()
    if worker is None:
        return

    def watch() -> None:
        while worker.alive:
            time.sleep(_INTERVAL)
        callback()

    threading.Thread(target=watch, daemon=True, name="rtcio_sync stop").start()


def gunicorn_worker() -> Any:
    """The gunicorn worker of this process, if it is one: its signal handlers are its methods."""
    module = sys.modules.get("gunicorn.workers.base")
    if module is not None:
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGABRT):
            worker = getattr(signal.getsignal(number), "__self__", None)
            if isinstance(worker, module.Worker):
                return worker
    return None


def servers_here() -> list[Any]:
    """The listening servers of gevent's whose request the caller handles. # greenlet"""
    worker = gunicorn_worker()
    if worker is not None:
        return servers_of(worker)
    server = _pywsgi_here()
    return [] if server is None else [server]


def _pywsgi_here() -> Any:
    """The pywsgi server whose request the caller handles; `None`: it is none of them."""
    for frame in stack(sys._getframe()):
        if frame.f_code is WSGIHandler.handle_one_response.__code__:
            return frame.f_locals["self"].server
    return None


def servers_of(worker: Any) -> list[Any]:
    """The listening servers of gunicorn's gevent worker: a local variable of its main loop."""
    main: Any = gevent.get_hub().parent
    frame = main.gr_frame
    while frame is not None:
        if frame.f_locals.get("self") is worker and "servers" in frame.f_locals:
            return [each for each in frame.f_locals["servers"] if isinstance(each, BaseServer)]
        frame = frame.f_back
    return []


def close_listener(server: Any) -> None:
    """Serves the connections that the kernel has accepted by now, and refuses further ones.

    A server that only stops accepting leaves them with the kernel, which resets them when the
    process ends: their clients may have sent requests, and do not know whether these were handled.
    # hub or greenlet
    """
    server.stop_accepting()
    server.start_accepting = lambda: None  # else it would when a connection of a full pool ends
    _accept_rest(server)
    if not server.closed:
        server.socket.close()


def _close(server: Any, close: Callable[[], None]) -> None:
    """Closes a server of gunicorn's after `_accept_rest`. # greenlet"""
    for _ in range(ROUNDS):
        if not _accept_rest(server):
            break
        gevent.sleep(0)  # gunicorn asks the listener for its address when a connection begins
    close()


def _is_held(listener: int, process: int) -> bool:
    """Whether a process has the same socket; `True`, too, where the system does not tell.

    gunicorn's master closes its listeners before it stops its workers. As long as it has them,
    there will be other workers.
    """
    inode = f"socket:[{os.fstat(listener).st_ino}]"
    folder = Path(f"/proc/{process}/fd")
    try:
        found = list(folder.iterdir())
    except OSError:
        return True
    for each in found:
        with suppress(OSError):  # it is closed by now
            if os.readlink(each) == inode:
                return True
    return False


def _accept_rest(server: Any) -> int:
    """Serves the connections that wait in the kernel; how many there were."""
    count = 0
    while not server.closed and not server.full():
        accepted = server.do_read()
        if not accepted:
            break
        server.do_handle(*accepted)
        count += 1
    return count


def _ignore(number: int, frame: object) -> None:
    """Does nothing with a signal."""


def _heed_no_more_signals() -> None:
    """Ignores further signals, since the process is exiting. # greenlet

    gunicorn's gevent worker handles SIGQUIT and SIGINT in a greenlet. Its exception would be raised
    while the interpreter shuts down, and gevent would print a traceback.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        # Not SIG_IGN: a program that the app's own hook starts would inherit that.
        signal.signal(number, _ignore)
    for _ in range(2):  # signals that came before: a callback of the loop, and its greenlet
        with suppress(SystemExit, KeyboardInterrupt):
            gevent.sleep(0)


class _StopCallback:
    """A callback that runs once, in a greenlet, and can be waited for."""

    def __init__(
        self,
        callback: Callable[[], object],
        patience: float,
        is_followed: Callable[[], bool],
    ) -> None:
        self._callback = callback
        self._patience = patience
        self._is_followed = is_followed
        self._greenlet: gevent.Greenlet[..., object] | None = None

    def of_worker(self, worker: Any) -> None:
        leave = worker.cfg.worker_exit

        def worker_exit(server: Any, worker: Any) -> None:
            self._finish()
            _heed_no_more_signals()
            leave(server, worker)

        worker.cfg.set("worker_exit", worker_exit)
        gevent.spawn(self._watch, worker)

    def of_server(self, server: Any) -> None:
        stop = server.stop

        def stop_after_callback(timeout: float | None = None) -> None:
            server.close()
            self._finish()
            stop(timeout)

        server.stop = stop_after_callback

    def _watch(self, worker: Any) -> None:
        while worker.alive:
            gevent.sleep(_INTERVAL)
        for server in servers_of(worker):
            if server.closed:
                continue
            if self._is_followed() or _is_held(server.socket.fileno(), worker.ppid):
                # gunicorn does the same, up to a second later. Until then this worker would accept
                # and refuse requests of sessions of the next worker.
                server.stop_accepting()
            else:
                server.close = partial(_close, server, server.close)
        self._begin()

    def _begin(self) -> gevent.Greenlet[..., object]:
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._callback)
        return self._greenlet

    def _finish(self) -> None:
        greenlet = self._begin()
        deadline = time.monotonic() + self._patience
        while not greenlet.dead and (left := deadline - time.monotonic()) > 0:
            # A second signal to exit is raised here: the process is exiting already.
            with suppress(SystemExit, KeyboardInterrupt):
                greenlet.join(left)
