"""Calls in threads other than the hub's, one kind of thread for each that an app may have.

Each of `KINDS` takes a function and its arguments, runs it in such a thread, lets the hub go on
meanwhile, and gives its result back, or raises what it raised.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import gevent
from gevent.monkey import get_original

from tests.timing import until

start_new_thread = get_original("_thread", "start_new_thread")


class Outcome:
    """What a function returned or raised, in a thread that gevent knows nothing of."""

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.fn, self.args = fn, args
        self.over = False
        self.result: Any = None
        self.error: BaseException | None = None

    def work(self) -> None:
        try:
            self.result = self.fn(*self.args)
        except BaseException as error:  # noqa: BLE001 - whatever it is
            self.error = error
        self.over = True

    def wait(self) -> Any:
        """Waits in a greenlet: the hub goes on."""
        until(lambda: self.over)
        if self.error is not None:
            raise self.error
        return self.result


def in_pool(fn: Callable[..., Any], *args: Any) -> Any:
    return gevent.get_hub().threadpool.apply(fn, args)


def in_real_thread(fn: Callable[..., Any], *args: Any) -> Any:
    outcome = Outcome(fn, args)
    start_new_thread(outcome.work, ())
    return outcome.wait()


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


def in_c_thread(fn: Callable[..., Any], *args: Any) -> Any:
    """In a thread that a C library made: Python hears of it when it is called back."""
    outcome = Outcome(fn, args)

    def called_back(_: Any) -> None:
        outcome.work()

    callback = _CALLBACK(called_back)
    thread = ctypes.c_ulong()
    libc = ctypes.CDLL(None)
    failed = libc.pthread_create(ctypes.byref(thread), None, callback, None)
    assert failed == 0
    try:
        return outcome.wait()
    finally:
        libc.pthread_join(thread, None)


KINDS: dict[str, Callable[..., Any]] = {
    "pool": in_pool,
    "real": in_real_thread,
    "c-callback": in_c_thread,
}
