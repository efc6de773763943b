"""The shapes of an app's handlers, for type checkers. What is called checks nothing of it.

A handler may declare fewer parameters than it is given. Its result is an acknowledgement, which has
to be a value that can be sent: a coroutine is none, so that ``async def`` is found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

__all__ = ["Answer", "EventFn", "UseFn"]

#: What a handler may return: a value of JSON, bytes, or a tuple of several.
Answer = bool | int | float | str | bytes | Sequence[Any] | Mapping[str, Any] | None

#: A handler of an event.
EventFn = TypeVar("EventFn", bound=Callable[..., Answer])
#: A middleware of `Socket.use`: ``fn(event, args)``.
UseFn = TypeVar("UseFn", bound=Callable[[str, list[Any]], Answer] | Callable[[str], Answer])
