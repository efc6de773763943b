"""Greenlets that are used again, because a new one costs more than most tasks.

A new greenlet costs some 10 µs, most of it for the memory of its stack. A greenlet that has done
its task waits for the next one, and to hand it over costs 1 µs.

For the task it is as good as a new one: a `gevent.Greenlet` with an empty context, without
greenlet-locals, links or attributes, and to which nobody refers. If a task leaves anything behind,
its greenlet ends. So nothing of one task reaches the next: an app may have kept the greenlet to
kill it later, or have left a ``gevent.Timeout`` that will be raised in it.

A task gets its greenlet when it begins. So tasks that do not wait all run in the same greenlet, one
after the other.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from sys import getrefcount
from typing import TYPE_CHECKING, Any, cast
from weakref import getweakrefcount

from gevent import Greenlet, GreenletExit
from gevent.hub import get_hub

from .ports import Loop, Watcher

if TYPE_CHECKING:
    _Greenlet = Greenlet[[], None]
else:
    _Greenlet = Greenlet

__all__ = ["MOST", "SPARE_FOR", "Pool", "PooledGreenlet"]

MOST = 32
"""Greenlets of one pool that may wait for a task."""

SPARE_FOR = 1.0
"""Seconds after which the greenlets end that were not needed meanwhile."""


class Pool:
    """The greenlets of one thread's hub that wait for a task.

    All but `close` is for the hub's thread.
    """

    def __init__(self) -> None:
        self._most = MOST
        self._left = False  # whether its tasks are those of the process that has forked this one
        self._idle: list[PooledGreenlet] = []  # the one that was used last stands last
        #: Their task has ended, and the hub has not looked yet.
        self.done: list[PooledGreenlet] = []
        #: Whether the hub has switched to one of them, in `run`.
        self.switched = False
        self._loop: Loop | None = None  # that of the greenlets that wait
        self._timer: Watcher | None = None
        self._spare = 0  # how many have been idle since the timer began

    def spawn(self, target: Callable[..., object], *args: Any) -> None:
        """Runs ``target(*args)`` in a greenlet, in the order of the calls, as `gevent.spawn` does.

        # hub or greenlet
        """
        get_hub().loop.run_callback(self.run, target, *args)

    def run(self, target: Callable[..., object], *args: Any) -> None:
        """Runs ``target(*args)`` in a greenlet now; returns when it ends or waits. # hub"""
        idle = self._idle
        greenlet = idle.pop() if idle else None
        if len(idle) < self._spare:
            self._spare = len(idle)
        # Most often it is as `look` has found it. (Here, for speed.)
        if greenlet is None or getrefcount(greenlet) != greenlet.references or greenlet.disturbed:
            greenlet = self._another(greenlet)
        greenlet.task = (self, target, args)
        self.switched = True
        greenlet.switch()
        self.switched = False
        if self.done:
            del greenlet  # `look` counts references
            self.look()

    def close(self) -> None:
        """Ends the greenlets that wait. What is spawned later runs, and its greenlet ends then.

        # any thread
        """
        self._most = 0
        idle, self._idle = self._idle, []
        timer, self._timer = self._timer, None
        if self._loop is not None:
            with suppress(Exception):  # at the end of the process the loop may be gone
                self._loop.run_callback_threadsafe(_end_all, idle, timer)

    def abandon(self) -> None:
        """Runs no task that has not begun, in a forked child. # after a fork"""
        self._left, self._most, self._idle = True, 0, []

    def __del__(self) -> None:
        # A greenlet that waits is referred to by its own stack, so nothing else would end it.
        self.close()

    def _another(self, taken: PooledGreenlet | None) -> PooledGreenlet:  # hub
        """One that may run a task; ``taken`` may not."""
        if taken is not None:
            taken.end()
            del taken
        idle = self._idle
        while idle:
            greenlet = idle.pop()
            if len(idle) < self._spare:
                self._spare = len(idle)
            if getrefcount(greenlet) == greenlet.references and not greenlet.disturbed:
                return greenlet
            greenlet.end()
        if self._left:
            raise GreenletExit  # gevent does not log this one
        greenlet = PooledGreenlet()
        greenlet.references = getrefcount(greenlet)
        return greenlet

    def look(self) -> None:  # hub
        """Keeps those that are done for another task, if theirs has left nothing behind."""
        done = self.done
        while done:
            greenlet = done.pop()
            if (
                getrefcount(greenlet) == greenlet.references
                and len(self._idle) < self._most
                and not (greenlet.disturbed or greenlet.has_links() or greenlet.__dict__)
                and not getweakrefcount(greenlet)
            ):
                greenlet.gr_context = None
                self._idle.append(greenlet)
                if self._timer is None:
                    self._start_timer()
            else:
                greenlet.end()

    # -- the end of those that are not needed ------------------------------------------------------

    def _start_timer(self) -> None:
        self._spare = len(self._idle)
        self._loop = cast("Loop", get_hub().loop)
        self._timer = self._loop.timer(SPARE_FOR)
        # It does not refer to the pool: while it runs, the pool may be dropped.
        self._timer.start(_end_spare, weakref.ref(self))

    def end_spare(self) -> None:
        """Ends the greenlets that were not needed since the timer began. # hub"""
        spare, self._idle = self._idle[: self._spare], self._idle[self._spare :]
        timer, self._timer = self._timer, None
        _end_all(spare, timer)
        if self._idle:
            self._start_timer()


def _end_spare(pool: weakref.ref[Pool]) -> None:
    found = pool()
    if found is not None:
        found.end_spare()


def _end_all(greenlets: list[PooledGreenlet], timer: Watcher | None) -> None:  # hub
    if timer is not None:
        timer.stop()
        timer.close()
    for greenlet in greenlets:
        greenlet.end()


class PooledGreenlet(_Greenlet):
    """A greenlet of a pool: runs one task after the other, and waits in between."""

    __slots__ = ("disturbed", "references", "task")

    def __init__(self) -> None:
        super().__init__()
        #: The task that it runs, with its pool; `None` while it waits.
        self.task: tuple[Pool, Callable[..., object], tuple[Any, ...]] | None = None
        #: How many references it has while it waits and nobody else refers to it.
        self.references = 0
        #: Whether an exception was raised in it from outside.
        self.disturbed = False
        self.switch()  # it begins to wait

    def _run(self) -> None:
        wait = get_hub().switch
        while True:
            wait()
            if self.task is None:
                return
            pool, target, args = self.task
            target(*args)
            self.task = None
            pool.done.append(self)
            if not pool.switched:  # its task has waited
                self.loop.run_callback(pool.look)
            del pool, target, args  # nothing of the task stays while it waits

    def throw(self, *args: Any) -> Any:
        """Raises an exception in it: a kill, or a time-out. It runs no other task then."""
        self.disturbed = True
        return super().throw(*args)

    def end(self) -> None:
        """Ends it; it has no task. # hub"""
        self.switch()

    def __repr__(self) -> str:
        what = "waits for a task"
        if self.task is not None:
            _, target, args = self.task
            name = getattr(target, "__qualname__", None) or repr(target)
            what = f"{name}({', '.join(repr(each)[:50] for each in args)})"
        return f"<{type(self).__name__} at {id(self):#x}: {what}>"
