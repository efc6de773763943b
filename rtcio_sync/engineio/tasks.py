"""The engine's tasks: greenlets, or threads.

They are threads if ``async_mode`` is ``"threading"``, or if the WSGI server itself runs on threads.
On greenlets the app's code takes turns (`hub.turns`).

Replaced of python-engineio's private names, asserted in ``tests/test_upstream.py``:
``Server._async``, by the driver ``threading._async``, when a server turns out to run on Werkzeug's
threads.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import engineio
from engineio.async_drivers import threading as threads

from ..errors import Refused
from ..hub import interrupts
from ..hub.background_task import BackgroundTask, Contained
from ..hub.foreign_task import ForeignTask
from ..hub.thread import HubThread
from ..hub.turns import LAST, Turns
from ..logs import harmless
from ..metrics import Counters
from ..transport import thread_servers
from ..transport.ports import Environ, Gate
from ..transport.slow_readers import Backlog

__all__ = ["Tasks"]

log = logging.getLogger(__name__)


class Tasks(engineio.Server):
    """The part of the Engine.IO server that runs tasks."""

    async_mode: str
    backlog: Backlog
    counters: Counters
    #: Guards the lines that two threads must not run at once.
    gate: Gate
    #: Whether tasks are threads, so that the gate is one.
    threaded: bool

    def __init__(self, *, adaptable: bool = False, **options: Any) -> None:
        #: The thread that the engine runs in; it carries out public calls of other threads.
        self.hub_thread = self._hub_thread = HubThread()
        self.turns = Turns()
        #: Whether the server may change to threads if the WSGI server runs on them.
        self.adaptable = adaptable
        #: The WSGI server, if it runs on threads; `None`: gevent's, or no request has come yet.
        self._suited: thread_servers.ThreadServer | None = None
        self._suiting = threading.Lock()
        #: Gives the log for exceptions of the app's tasks.
        self.app_log: Callable[[], logging.Logger] = lambda: log
        #: Whether the WSGI server lets a request become a WebSocket.
        self.takes_websockets = True
        super().__init__(**options)

    def _use_mode(self, mode: str) -> None:
        """Runs tasks as ``mode`` says; `backlog` has to be set. # before anything is served"""
        # Greenlets do not switch inside the lines that the gate guards; threads may.
        self.hub_thread.threaded = mode == "threading"
        self.threaded = mode == "threading"
        self.gate = threading.RLock() if self.threaded else contextlib.nullcontext()
        self.backlog.gate = self.gate

    def leave_tasks(self) -> None:
        """Leaves all tasks that have not begun to the parent, in a forked child. # after a fork

        Makes new locks first: threads that are not here may hold the old ones.
        """
        self.hub_thread.abandon()
        self.turns.abandon()
        self._suiting = threading.Lock()
        self._use_mode(self.async_mode)

    def spawn(self, target: Callable[..., Any], *args: Any) -> None:
        """Runs ``target(*args)`` in a greenlet or a thread of its own. # any thread"""
        if self.async_mode == "threading":
            self.start_background_task(target, *args)
        else:
            self.hub_thread.spawn(target, *args)

    def start_background_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        thread = self.hub_thread
        contained = Contained(partial(target, *args, **kwargs), self._task_failed)
        if not thread.elsewhere():
            return self._start(contained, contained)
        task = ForeignTask(thread, contained)
        if thread.serving:
            thread.run(task.begin, partial(self._start, contained=contained))
        else:  # nothing is served yet: the task waits for the hub
            thread.spawn(task.run)
        return task

    def _start(self, run: Callable[[], Any], contained: Contained) -> Any:
        if self.async_mode == "threading":
            return super().start_background_task(run)
        early = None if self.hub_thread.serving else self.hub_thread.early(run)
        task = BackgroundTask(early or run, contained)
        task.start()
        if early is not None:  # it may be killed before it begins
            task.rawlink(lambda ended: self.hub_thread.forget(early))
        return task

    def _task_failed(self) -> None:
        with harmless():
            self.app_log().exception("a background task raised what would end the process")

    def take_turn(self, since: float | None = None) -> None:
        """Waits for a turn to run the app's code (`hub.turns`). Threads do not wait. # greenlet

        ``since``: when the caller began to work; `None`: just now.
        """
        if self.async_mode != "threading":
            self.turns.take(since)

    def turn_of_request(self) -> None:
        """Waits for a turn to answer a request for another page. # any greenlet or thread

        A client may send any number of requests at once. A WSGI server that has read them answers
        one after the other, and none waits, so that no other client would be served meanwhile.
        """
        if self.hub_thread.in_greenlet:
            self.turns.take(LAST)

    def own_turn(self, since: float | None = None) -> None:
        """`take_turn` for a greenlet of this package: logs what is raised into it meanwhile."""
        try:
            self.take_turn(since)
        except BaseException as error:  # noqa: BLE001  (it is logged there)
            self.disturbed(error)

    def disturbed(self, error: BaseException) -> None:
        """Logs ``error``, the exception being handled, which was raised into a waiting greenlet.

        It is a kill, or a time-out that a handler did not cancel, and was meant for the app's code.
        """
        self.counters.handler_errors += 1
        log.exception("an exception was raised in a greenlet that waits for its turn")
        interrupts.heed(error)

    def spawn_in_turn(self, target: Callable[..., Any], *args: Any) -> None:
        """`spawn` for the app's code that can wait for a late turn. # hub or greenlet"""

        def run() -> None:
            self.own_turn(LAST)
            target(*args)

        self.spawn(run)

    # -- the WSGI server: greenlet or thread -------------------------------------------------------

    def _suit_the_server(self, environ: Environ) -> None:
        """Changes to threads if the WSGI server runs on them; logs once what does not work then."""
        if self._suited is not None and self.async_mode == "threading":
            if not self._suited.parallel:
                raise _unsuited("The WSGI server handles one request at a time")
            return
        found = thread_servers.find(environ)
        if found is None or self.async_mode not in ("gevent", "threading"):
            return
        with self._suiting:
            if self.async_mode == "gevent" and found.parallel:
                self._change_to_threads(found)
            first, self._suited = self._suited is None, found
            self.takes_websockets = found.websockets
        if first and found.cannot is not None:
            log.log(logging.WARNING if found.parallel else logging.ERROR, "%s", found.cannot)
        if not found.parallel:
            raise _unsuited("The WSGI server handles one request at a time")

    def _change_to_threads(self, found: thread_servers.ThreadServer) -> None:
        if not self.adaptable or self.sockets:
            log.error(
                "%s runs on threads: make the Server with async_mode='threading', or run the app "
                "with `flask rtcio run` or `gunicorn -k gevent`",
                found.name,
            )
            raise _unsuited("async_mode does not suit this server")
        self._async = threads._async
        self.async_mode = "threading"
        self._use_mode("threading")
        for task in self.hub_thread.left_over():  # the thread that made the server runs no hub
            self.spawn(task)


def _unsuited(message: str) -> Refused:
    return Refused("500 INTERNAL SERVER ERROR", 3, message)
