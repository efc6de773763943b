"""Python's garbage collector in tests, as the moment at which other threads run."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def at_each_collection(do: Callable[[], Any]) -> Iterator[None]:
    """Calls ``do`` whenever Python collects garbage, again and again: other threads may run then.

    Up to Python 3.11 this happens in the middle of ``list(…items())`` too, which makes a tuple for
    each pair.
    """

    def collects(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            do()

    before = gc.get_threshold()
    taken = [(each, each) for each in range(3000)]  # those that Python keeps for the next pairs
    gc.callbacks.append(collects)
    gc.set_threshold(1)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(collects)
        taken.clear()
