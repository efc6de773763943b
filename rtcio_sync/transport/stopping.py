"""The end of the WSGI server that a request came from: who is told, and who waits for whom.

A server that stops neither tells the WebSockets that `takeover` has taken from it, nor waits for
them. So the engine asks to be told, and the server's process waits until its clients are closed.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import gevent
from gevent.baseserver import BaseServer
from gevent.pywsgi import WSGIHandler

from .takeover import stack

__all__ = ["watch_stop", "watch_worker_on_threads"]

_INTERVAL = 0.1  # seconds between two looks at a worker


def watch_stop(
    environ: Mapping[str, Any], callback: Callable[[], object], *, patience: float = 10.0
) -> bool:
    """Have `callback` run, in a greenlet, when the server of this request begins to stop.

    The server's process waits for it, at most `patience` seconds. Call it once per process and
    server, where `takeover.find` may be called. False: a server this module does not know.

    gunicorn: at SIGTERM and HUP its gevent worker leaves within about a second, at SIGINT, SIGQUIT
    and so on within 0.1 s, and asks only the greenlets of its pools. All of these ways, reloading
    and `max_requests` too, clear `worker.alive`, which is what is watched; and all of them, also an
    exit that clears nothing, pass the `worker_exit` hook of the worker's own configuration, which
    is where the process waits. The user's own hook still runs, after it. Neither signal handlers
    (applications replace them) nor `atexit` (too late: the logs are closed) would hold for all.

    pywsgi: `stop()` of this server object, which is also how `serve_forever()` ends.
    """
    worker = _gunicorn_worker()
    if worker is not None:
        _Farewell(callback, patience).of_worker(worker)
        return True
    for frame in stack(sys._getframe()):
        if frame.f_code is WSGIHandler.handle_one_response.__code__:
            _Farewell(callback, patience).of_server(frame.f_locals["self"].server)
            return True
    return False


def watch_worker_on_threads(callback: Callable[[], object]) -> None:
    """Have `callback` run when gunicorn's worker of threads begins to stop, whose requests it ends.

    Else the worker waits `graceful_timeout` for polls and WebSockets that nobody ends.
    """
    worker = _gunicorn_worker()
    if worker is None:
        return

    def watch() -> None:
        while worker.alive:
            time.sleep(_INTERVAL)
        callback()

    threading.Thread(target=watch, daemon=True, name="rtcio_sync stop").start()


def _gunicorn_worker() -> Any:
    """The worker that this process is, if it is one: it handles its own signals."""
    module = sys.modules.get("gunicorn.workers.base")
    if module is not None:
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGABRT):
            worker = getattr(signal.getsignal(number), "__self__", None)
            if isinstance(worker, module.Worker):
                return worker
    return None


def _servers(worker: Any) -> list[Any]:
    """What listens in gunicorn's gevent worker, which has it in its main loop alone."""
    main: Any = gevent.get_hub().parent
    frame = main.gr_frame
    while frame is not None:
        if frame.f_locals.get("self") is worker and "servers" in frame.f_locals:
            return [each for each in frame.f_locals["servers"] if isinstance(each, BaseServer)]
        frame = frame.f_back
    return []


def _heed_no_more_signals() -> None:
    """The process is leaving: who tells it once more gets no traceback for it. # greenlet

    gunicorn's gevent worker handles SIGQUIT and SIGINT in a greenlet of its own, which would end in
    the interpreter's shutdown, and gevent would print what ends it.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    for _ in range(2):  # what was told until now: a callback of the loop, and its greenlet
        with suppress(SystemExit, KeyboardInterrupt):
            gevent.sleep(0)


class _Farewell:
    """A callback that runs once, in a greenlet, however many ask for it, and can be waited for."""

    def __init__(self, callback: Callable[[], object], patience: float) -> None:
        self._callback = callback
        self._patience = patience
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
        for server in _servers(worker):
            # gunicorn does so too, up to a second later. Until then this worker would get requests
            # of sessions that have begun in the next one, and refuse them.
            server.stop_accepting()
        self._begin()

    def _begin(self) -> gevent.Greenlet[..., object]:
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._callback)
        return self._greenlet

    def _finish(self) -> None:
        greenlet = self._begin()
        deadline = time.monotonic() + self._patience
        while not greenlet.dead and (left := deadline - time.monotonic()) > 0:
            # What is thrown in here is that the process is told a second time to leave, which is
            # what it is doing.
            with suppress(SystemExit, KeyboardInterrupt):
                greenlet.join(left)
