"""A background task of the app, whose exit does not end the server.

gevent hands `SystemExit` and `KeyboardInterrupt` of a greenlet to the main one: one task that calls
`sys.exit` would end `listen`, and so all clients.
"""

from __future__ import annotations

from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType, TracebackType
from typing import TYPE_CHECKING, Any

from gevent import Greenlet

from ..functions import completed
from . import interrupts
from .forked import end_child

if TYPE_CHECKING:
    _Greenlet = Greenlet[[], Any]
else:
    _Greenlet = Greenlet

__all__ = ["BackgroundTask", "Contained"]

#: What a task returns that calls a coroutine function, or a generator function.
_UNRUN = (CoroutineType, GeneratorType, AsyncGeneratorType)

#: What gevent hands to the main greenlet.
_ENDING = (KeyboardInterrupt, SystemExit, SystemError)


class Contained:
    """The function of a task. What would end the server goes to ``report()``, and is kept.

    An exception of a signal still ends it, and `SystemExit` a forked child.
    """

    __slots__ = ("_fn", "_report", "error")

    def __init__(self, fn: Callable[[], Any], report: Callable[[], None]) -> None:
        self._fn = fn
        self._report = report
        #: What it has raised, if that would have ended the server.
        self.error: BaseException | None = None

    def __call__(self) -> Any:
        try:
            value = self._fn()
            return completed(self._fn, value) if isinstance(value, _UNRUN) else value
        except _ENDING as error:
            end_child(error)
            self.error = error
            self._report()
            interrupts.heed(error)
            return None

    def __repr__(self) -> str:
        return repr(self._fn)


class BackgroundTask(_Greenlet):
    """A greenlet that runs a task; to whoever asks it, the task has raised what was contained."""

    def __init__(self, run: Callable[[], Any], contained: Contained) -> None:
        super().__init__(run)
        self._contained = contained

    def successful(self) -> bool:
        return self._contained.error is None and super().successful()

    @property
    def exception(self) -> BaseException | None:
        error = self._contained.error
        return super().exception if error is None else error

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None] | None:
        error = self._contained.error
        return super().exc_info if error is None else (type(error), error, error.__traceback__)
