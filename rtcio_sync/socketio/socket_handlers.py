"""The handlers that an app has registered on one `Socket`."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from gevent.monkey import get_original

from ..errors import RtcioError
from ..events import RtcioEvents
from ..functions import says_no
from .handler_call import Callee, Dispatcher, Who

__all__ = ["CHANGING", "SocketHandlers"]

#: Hold it to change the handlers of a socket: of two threads that do, none may undo what the other
#: did. It is the interpreter's own, since any thread may register a handler, on gevent too; nobody
#: waits while he holds it. Who holds it may take it again: a signal handler of the app, or a
#: ``__del__``, may come between any two statements.
CHANGING: AbstractContextManager[Any] = get_original("_thread", "RLock")()
if hasattr(os, "register_at_fork"):  # in a child, the thread that held it may not be there
    os.register_at_fork(after_in_child=CHANGING._at_fork_reinit)  # type: ignore[attr-defined]


class SocketHandlers:
    """The handlers of one socket, in the order in which they were registered. # greenlet

    Tuples instead of lists: most sockets have no handlers of most kinds, and an empty tuple is
    free.
    """

    __slots__ = ("any", "ends", "events", "outgoing", "unmet", "uses")

    def __init__(self) -> None:
        #: By event: the handlers, and whether each is for one event only.
        self.events: dict[str, tuple[tuple[Callee, bool], ...]] = {}
        #: Handlers of every event; they run before the others.
        self.any: tuple[Callee, ...] = ()
        #: Handlers of every event that is sent to the client.
        self.outgoing: tuple[Callee, ...] = ()
        #: The middlewares.
        self.uses: tuple[Callee, ...] = ()
        #: Handlers for the end of the session, and whether each also runs for one that could not go
        #: on after its connection.
        self.ends: tuple[tuple[Callee, bool], ...] = ()
        #: Whether it had such handlers in another process: in this one, ``connection`` handlers
        #: have to register them again.
        self.unmet = False

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

    def of(self, event: str) -> list[Callable[..., Any]]:
        """The app's functions for an event."""
        return [callee.fn for callee, _ in self.events.get(event, ())]

    def names(self) -> list[str]:
        """The events that have a handler."""
        return [event for event, found in self.events.copy().items() if found]

    def passed(self, event: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Runs the middlewares and returns the changed arguments. Raises their exceptions.

        Raises `RtcioError` if one returns `False`, as for a middleware of connections: it has said
        no, though by the rules of another one.
        """
        given = list(args)
        for use in self.uses:
            if says_no(use(event, given)):
                raise RtcioError("a middleware returned False")
        return tuple(given)

    def take(self, event: str) -> list[Callee]:
        """The handlers for one event that happens now; those for one event only are removed.

        `CHANGING` is held.
        """
        found = self.events.get(event, ())
        if any(once for _, once in found):
            self.forget_once(event)
        return [callee for callee, _ in found]

    def forget_once(self, event: str) -> None:
        """Removes the handlers that were registered for one such event only. `CHANGING` is held."""
        found = self.events.get(event, ())
        self.events[event] = tuple(each for each in found if not each[1])

    def end(self, dispatcher: Dispatcher, environ: Any, event: str, reason: str, who: Who) -> None:
        """Runs the handlers of ``"disconnecting"`` or ``"disconnect"``."""
        for callee, _ in self.events.get(event, ()):
            dispatcher.guarded(environ, event, callee, reason, who=who)


def without(callees: tuple[Callee, ...], fn: Any) -> tuple[Callee, ...]:
    """``callees`` without those that call ``fn``; `None`: none is left."""
    return () if fn is None else tuple(each for each in callees if each.fn != fn)
