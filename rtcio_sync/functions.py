"""Functions of the app that do not run when they are called: nothing here would run them later.

A coroutine, a generator and every other awaitable is a true object. Where an app's function decides
who may do something, it would let everybody in.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, TypeVar

__all__ = ["UnrunError", "called", "check_plain", "code_of", "completed", "says_no"]

T = TypeVar("T")

#: The types of most results, which need no closer look.
_PLAIN = frozenset({bool, int, float, str, bytes, list, tuple, dict, type(None)})


class UnrunError(TypeError):
    """An app's function returned what has yet to run."""


def check_plain(fn: Any, *, may_yield: bool = False) -> None:
    """Raises `TypeError`, with the fix, for a coroutine function or a generator function."""
    code = code_of(fn)
    if inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code):
        raise TypeError(f"{fn!r} is a coroutine function; write the handler with plain `def`")
    if not may_yield and inspect.isgeneratorfunction(code):
        raise TypeError(f"{fn!r} has a `yield`, so a call would not run it; use return")


def code_of(fn: Any) -> Any:
    """The function that runs when ``fn`` is called."""
    while isinstance(fn, (functools.partial, staticmethod)) or inspect.ismethod(fn):
        fn = fn.func if isinstance(fn, functools.partial) else fn.__func__
    return fn if inspect.isroutine(fn) else type(fn).__call__


def says_no(answer: Any) -> bool:
    """Whether an app's function has refused with its result: with `False` of any kind.

    numpy's comparisons give a `False` of their own, and a proxy, as werkzeug's, only says that it
    is one: both would let everybody in.
    """
    if answer is None or answer is True:  # most are so
        return False
    kind = isinstance(answer, bool) or type(answer).__name__ in ("bool", "bool_")
    return kind and not answer


def called(fn: Callable[..., T], *args: Any) -> T:
    """The result of ``fn(*args)``. Raises `UnrunError`, as `completed`."""
    return completed(fn, fn(*args))


def completed(fn: Callable[..., Any], answer: T) -> T:
    """``answer``, the result of ``fn``. Raises `UnrunError` for one that has yet to run.

    `check_plain` cannot see it: ``lambda: check()`` is a plain function.
    """
    kind = type(answer)
    if kind in _PLAIN:
        return answer
    if isinstance(answer, GeneratorType):
        answer.close()
        raise UnrunError(f"{fn!r} returned a generator, so nothing has run yet; use return")
    # The type that it gives itself: Flask's proxies have all methods, for whatever they stand for.
    if isinstance(answer, AsyncGeneratorType) or hasattr(answer.__class__, "__await__"):
        if isinstance(answer, CoroutineType):
            answer.close()  # or Python warns, too
        raise UnrunError(f"{fn!r} returned a coroutine, which nothing awaits here")
    return answer
