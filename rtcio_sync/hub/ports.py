"""What we use of gevent's event loop: Protocols.

gevent's own types for these stand in modules that exist for type checkers alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["IoWatcher", "Loop", "TimerWatcher", "Watcher"]


class Watcher(Protocol):
    """Has the loop call back when something happens."""

    def start(self, callback: Callable[..., object], *args: object) -> None:
        """Calls ``callback(*args)`` in the hub, from now on."""

    def stop(self) -> None:
        """Calls no more; `start` may follow."""

    def close(self) -> None:
        """Gives back what the loop holds for it."""


class IoWatcher(Watcher, Protocol):
    """Watches a descriptor."""

    @property
    def active(self) -> bool:
        """Whether it was started, and not stopped."""


class TimerWatcher(Watcher, Protocol):
    """Calls back once."""

    def start(
        self, callback: Callable[..., object], *args: object, update: bool | None = None
    ) -> None:
        """Calls ``callback(*args)`` in the hub. ``update``: the time counts from now, and not from
        when the loop last looked at the clock."""

    def feed(self, events: int, callback: Callable[..., object], *args: object) -> None:
        """Has ``callback(*args)`` called as if the watcher had got these events. (libev only.)"""


class Loop(Protocol):
    """An event loop."""

    def io(self, fd: int, events: int, ref: bool = True, priority: int | None = None) -> IoWatcher:
        """A watcher of a descriptor; it is not started.

        Watchers with a higher priority are called first; `None`: 0.
        """

    def timer(
        self, after: float, repeat: float = 0.0, *, ref: bool = True, priority: int = 0
    ) -> TimerWatcher:
        """A watcher that calls back once, so many seconds after its start.

        ``repeat``: the seconds between further calls; 0: none. To start it anew does not reset the
        time. ``ref``: whether the loop goes on as long as it is active.
        """

    def run_callback(self, func: Callable[..., object], *args: object) -> object:
        """Calls ``func(*args)`` in the hub, at the end of the loop's turn."""

    def run_callback_threadsafe(self, func: Callable[..., object], *args: object) -> object:
        """The same from another thread, and it wakes the loop."""
