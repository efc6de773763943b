"""Functions that do not run when they are called, and plain ones that return such a result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any


async def coroutine(*_: Any) -> bool:
    return False


def generator(*_: Any) -> Iterator[bool]:
    yield False


async def both(*_: Any) -> Any:
    yield False


class Later:
    """Another library's promise."""

    def __await__(self) -> Iterator[Any]:
        yield


def future(*_: Any) -> Any:
    loop = asyncio.new_event_loop()
    loop.close()
    return loop.create_future()


#: What nobody runs, as an app's plain function returns it.
UNRUN: dict[str, Callable[..., Any]] = {
    "coroutine": lambda *_: coroutine(),
    "generator": lambda *_: generator(),
    "async generator": lambda *_: both(),
    "future": future,
    "promise": lambda *_: Later(),
}
