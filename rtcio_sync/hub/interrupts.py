"""Handles exceptions of an app's handler that do not derive from `Exception`.

``gevent.Timeout``, ``GreenletExit``, ``SystemExit`` and ``KeyboardInterrupt`` end only the handler;
they are counted and logged like every other error. Two of them also concern the server. A greenlet
that was killed has to end, so another greenlet continues its work. An exception that a signal of
the operating system raised still stops the process, wherever it was raised.
"""

from __future__ import annotations

import dis
import signal
from contextvars import ContextVar

import gevent

__all__ = ["heed", "killed", "was_killed"]

#: Whether a kill of this greenlet was caught in a handler.
killed = ContextVar("rtcio_killed", default=False)


def heed(error: BaseException) -> None:
    """Does what a caught ``error`` asks for beside the end of the handler. # greenlet

    Raises it again in the main greenlet, where the caller of a `testing.TestClient` waits.
    """
    if isinstance(error, gevent.GreenletExit):
        killed.set(True)
    elif isinstance(error, (SystemExit, KeyboardInterrupt)) and _came_from_a_signal(error):
        if gevent.getcurrent().parent is None:
            raise error
        gevent.spawn(_raise, error)  # gevent hands what ends this greenlet to the main one


def was_killed() -> bool:
    """Whether the running greenlet was killed since it was last asked. # greenlet"""
    if not killed.get():
        return False
    killed.set(False)
    return True


def _raise(error: BaseException) -> None:
    raise error


def _came_from_a_signal(error: BaseException) -> bool:
    """Whether a signal's handler raised ``error``, and not a statement of the app's."""
    known = (getattr(signal.getsignal(each), "__code__", None) for each in signal.valid_signals())
    handlers = {each for each in known if each is not None}
    last = error.__traceback__
    while last is not None:
        if last.tb_frame.f_code in handlers:
            return True
        if last.tb_next is None:
            break
        last = last.tb_next
    # Python's own handler of SIGINT has no frame: the last one was interrupted somewhere else than
    # at a `raise`.
    return (
        isinstance(error, KeyboardInterrupt)
        and last is not None
        and dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]] != "RAISE_VARARGS"
    )
