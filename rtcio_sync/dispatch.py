"""Handlers: how one is called, with which arguments, in which context, and what its error becomes.

All of this runs in greenlets (or threads), never in the hub: it is the app's code.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from weakref import WeakKeyDictionary

from .metrics import Counters

__all__ = ["Callee", "Dispatcher", "first_answer"]

log = logging.getLogger(__name__)

Context = Callable[[Any, str, str, str, tuple[Any, ...]], AbstractContextManager[Any]]


class Callee:
    """A handler and what it declares, read once.

    Raises `TypeError` for what can't be a handler: nothing callable, a coroutine function, or one
    with a keyword-only parameter that has no default.
    """

    __slots__ = ("fn", "least", "most")

    def __init__(self, fn: Callable[..., Any]) -> None:
        if not callable(fn):
            raise TypeError(f"a handler has to be callable, not {type(fn).__name__}")
        if inspect.iscoroutinefunction(fn):
            raise TypeError(f"{fn!r} is a coroutine function; write the handler with plain `def`")
        self.fn = fn
        self.least, self.most = _arity(fn)

    def __call__(self, *args: Any) -> Any:
        """Calls the handler with what it declares: the surplus is cut, what lacks is `None`."""
        if self.most is not None and len(args) > self.most:
            args = args[: self.most]
        elif len(args) < self.least:
            args = (*args, *[None] * (self.least - len(args)))
        return self.fn(*args)


def _arity(fn: Callable[..., Any]) -> tuple[int, int | None]:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # some built-ins have none
        return 0, None
    least = most = 0
    unbounded = False
    for each in parameters:
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD):
            most += 1
            least += each.default is each.empty
        elif each.kind is each.VAR_POSITIONAL:
            unbounded = True
        elif each.kind is each.KEYWORD_ONLY and each.default is each.empty:
            raise TypeError(
                f"{fn!r}: nothing can fill the keyword-only parameter {each.name!r}; "
                "give it a default or make it positional"
            )
    return least, None if unbounded else most


class Dispatcher:
    """Calls an app's handlers for one server."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        #: Makes the context that a handler runs in: `(environ, sid, namespace, event, args)`.
        self.context: Context = _no_context
        #: Logs the exception that is being handled: `(environ, event)`.
        self.report: Callable[[Any, str], None] = _report
        self._callees: WeakKeyDictionary[Any, Callee] = WeakKeyDictionary()

    def callee(self, fn: Any) -> Callee:
        """The `Callee` of a handler in one of python-socketio's registries."""
        known = self._callees.get(fn)
        if known is None:
            known = self._callees[fn] = Callee(fn)
        return known

    def guarded(self, environ: Any, event: str, fn: Callable[..., Any], *args: Any) -> Any:
        """Calls ``fn``; its exception is counted and logged, and the result is then `None`."""
        try:
            return fn(*args)
        except Exception:  # noqa: BLE001  (the app's code may raise anything; `report` logs it)
            self.counters.handler_errors += 1
            self.report(environ, event)
            return None


def first_answer(answers: list[Any]) -> Any:
    """The acknowledgement of an event that several handlers answered: the first not `None`."""
    return next((answer for answer in answers if answer is not None), None)


def _no_context(*_: Any) -> AbstractContextManager[Any]:
    return contextlib.nullcontext()


def _report(environ: Any, event: str) -> None:
    log.exception("the handler of %r raised", event)
