"""The handlers that an app has registered on one `Socket`."""

from __future__ import annotations

from typing import Any

from ..events import RtcioEvents
from .dispatch import Callee, Dispatcher, Who

__all__ = ["SocketHandlers"]


class SocketHandlers:
    """The handlers of one socket, in the order in which they were registered. # greenlet

    Tuples instead of lists: most sockets have no handlers of most kinds, and an empty tuple is
    free.
    """

    __slots__ = ("any", "ends", "events", "uses")

    def __init__(self) -> None:
        #: By event: the handlers, and whether each is for one event only.
        self.events: dict[str, tuple[tuple[Callee, bool], ...]] = {}
        #: Handlers of every event; they run before the others.
        self.any: tuple[Callee, ...] = ()
        #: The middlewares.
        self.uses: tuple[Callee, ...] = ()
        #: Handlers for the end of the session.
        self.ends: list[Callee] = []

    @property
    def observing(self) -> bool:
        """Whether one of them has to see the socket's relays."""
        return bool(self.any or self.uses or self.events.get(RtcioEvents.MESSAGE))

    def add(self, event: str, callee: Callee, *, once: bool) -> None:
        self.events[event] = (*self.events.get(event, ()), (callee, once))

    def remove(self, event: str, fn: Any) -> None:
        """Removes the handlers that call ``fn``; `None`: all of the event."""
        kept = () if fn is None else self.events.get(event, ())
        self.events[event] = tuple(each for each in kept if each[0].fn != fn)

    def passed(self, event: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Runs the middlewares and returns the changed arguments. Raises their exceptions."""
        given = list(args)
        for use in self.uses:
            use(event, given)
        return tuple(given)

    def forget_once(self, event: str) -> None:
        """Removes the handlers that were registered for one such event only."""
        found = self.events.get(event, ())
        self.events[event] = tuple(each for each in found if not each[1])

    def end(self, dispatcher: Dispatcher, environ: Any, event: str, reason: str, who: Who) -> None:
        """Runs the handlers of ``"disconnecting"`` or ``"disconnect"``."""
        for callee, _ in self.events.get(event, ()):
            dispatcher.guarded(environ, event, callee, reason, who=who)
