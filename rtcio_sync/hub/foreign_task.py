"""A background task that another thread has started, for that thread: its greenlet is the hub's.

gevent's own methods work in the thread of the greenlet alone: elsewhere `join` raises
`greenlet.error`, and `kill` does nothing or raises `LoopExit`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.monkey import get_original

from .background_task import Contained
from .thread import HubThread, refuse_in_hub

__all__ = ["ForeignTask"]

LOOK_AGAIN = 0.01  # seconds between two looks of a greenlet that waits
LOOK_FOR_LIFE = 5.0  # seconds after which a thread that waits looks whether the hub still runs

_new_lock: Callable[[], Any] = get_original("_thread", "allocate_lock")


class ForeignTask:
    """What `start_background_task` gives in another thread; any thread may use it.

    It has the methods of a greenlet that matter: `join`, `get`, `kill`, `ready`, `successful`,
    `dead`, `value` and `exception`.
    """

    def __init__(self, thread: HubThread, target: Contained) -> None:
        self._thread = thread
        self._target: Contained | None = target
        self._task: Any = None
        #: Whether it has ended, or will never begin.
        self._over = False
        self._done, self._free = _new_lock(), _new_lock()
        self._done.acquire()
        #: As a greenlet's: what the task has returned, and what it has raised.
        self.value: Any = None
        self.exception: BaseException | None = None

    def begin(self, start: Callable[[Callable[[], Any]], Any]) -> None:
        """Has ``start(run)`` give it a greenlet of its own. # in the hub's thread"""
        self._free.acquire(False)
        self._task = task = start(self._run)
        if hasattr(task, "rawlink"):  # else the server has just turned out to run on threads
            task.rawlink(self._ended)

    def run(self) -> None:
        """Runs it here, unless it was killed before. # greenlet or thread"""
        if self._free.acquire(False):
            self._task = gevent.getcurrent()
            self._run()

    def _run(self) -> Any:
        target = self._target
        if target is None:
            return None
        try:
            value = target()
        except BaseException as error:
            self._end(None, error)
            raise
        self._end(value, target.error)
        return value

    def _ended(self, task: Any) -> None:
        """Its greenlet has ended; if that was killed before it began, `_run` did not run."""
        self._end(task.value, task.exception)

    def _end(self, value: Any, error: BaseException | None) -> None:
        if isinstance(error, gevent.GreenletExit):  # as in a greenlet, this is its result
            value, error = error, None
        if not self._over:
            self.value, self.exception, self._over = value, error, True
            self._task = self._target = None
            self._done.release()

    # -- any thread ------------------------------------------------------------------------------

    def join(self, timeout: float | None = None) -> None:
        """Waits until it has ended, or for ``timeout`` seconds.

        Raises `NotServing` if the server has stopped meanwhile, or does not answer.
        """
        if not self._over and (self._thread.elsewhere() or self._thread.threaded):
            self._wait_in_thread(timeout)
        elif not self._over:
            refuse_in_hub("join")
            until = _end_of(timeout)
            while not self._over and time.monotonic() < until:
                gevent.sleep(min(LOOK_AGAIN, max(0.0, until - time.monotonic())))

    def _wait_in_thread(self, timeout: float | None) -> None:
        until = _end_of(timeout)
        while not self._done.acquire(timeout=_within(until)):
            if time.monotonic() >= until:
                return
            self._thread.look_for_life()
        self._done.release()  # for others that wait

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """What it returns, or raises what it has raised.

        Raises `gevent.Timeout` if that is not there in time; without ``block``, if it is not there.
        """
        if block:
            self.join(timeout)
        if not self._over:
            raise gevent.Timeout
        if self.exception is not None:
            raise self.exception
        return self.value

    def kill(
        self, exception: Any = gevent.GreenletExit, block: bool = True, timeout: float | None = None
    ) -> None:
        """Raises ``exception`` in it; then it waits for its end, or for ``timeout`` seconds."""
        if self._over:
            return
        if self._free.acquire(False):  # it has not begun, and never does
            self._end(gevent.GreenletExit(), None)
            return
        if self._thread.elsewhere():
            self._thread.run(self._kill, exception)
        else:
            self._kill(exception)
        if block:
            self.join(timeout)

    def _kill(self, exception: Any) -> None:
        task = self._task
        if task is not None:
            task.kill(exception, block=False)

    def ready(self) -> bool:
        """Whether it has ended."""
        return self._over

    @property
    def dead(self) -> bool:
        """Whether it has ended."""
        return self._over

    def successful(self) -> bool:
        """Whether it has ended, and has raised nothing."""
        return self._over and self.exception is None


def _end_of(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout


def _within(until: float) -> float:
    return max(0.0, min(until - time.monotonic(), LOOK_FOR_LIFE))
