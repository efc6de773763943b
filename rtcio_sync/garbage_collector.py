"""Spares Python's garbage collector what cannot pay off: it stops the process while it works.

It looks for objects that refer to each other in a circle. Decoded data has no such circles, and
what an app is made of stays as long as the process.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collects", "freeze_for_forks", "frozen", "uncollected"]

OWN = 1000  # objects that CPython itself may freeze at its start (3.12: some hundred)

#: The frozen objects that do not show that the app has frozen its own.
_known = OWN


def collects() -> bool:
    """Whether the objects that are made now may start a collection."""
    return gc.isenabled() and gc.get_threshold()[0] > 0


@contextmanager
def uncollected() -> Iterator[None]:
    """Has nothing collected meanwhile, because of the objects that are made.

    Sets the threshold instead of `gc.disable`: an app or another thread that turns the collector
    off or on meanwhile finds it as it left it.
    """
    if not collects():  # the app wants it so, or a caller that does the same
        yield
        return
    thresholds = gc.get_threshold()
    try:
        gc.set_threshold(0, *thresholds[1:])
        yield
    finally:
        if not gc.get_threshold()[0]:
            gc.set_threshold(*thresholds)


@contextmanager
def frozen() -> Iterator[None]:
    """Has the collector leave alone what exists now; for a process that begins to serve.

    A full collection, in which all clients wait, then looks only at what came since. Does nothing
    if the app has frozen its objects itself, or has turned the collector off.
    """
    if gc.get_freeze_count() > _known or not gc.isenabled():
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def freeze_for_forks() -> None:
    """Has the collector leave alone what exists now, here and in forked children.

    It writes to each object that it looks at, and a page that is written to is shared no longer.
    """
    global _known
    gc.collect()
    gc.freeze()
    _known = gc.get_freeze_count() + OWN
