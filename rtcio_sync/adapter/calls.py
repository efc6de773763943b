"""Who waits for a client's acknowledgement in `Server.call`, and what it raises."""

from __future__ import annotations

from typing import Any

from socketio import exceptions

from ..errors import RtcioError

__all__ = ["DisconnectedError", "Waiter"]


class DisconnectedError(RtcioError, exceptions.TimeoutError):
    """`Server.call` asked a client that has left, or that left before it answered.

    A kind of python-socketio's ``TimeoutError``: who catches that one catches this, only sooner.
    Uncaught in a handler, it is counted as a drop and not logged as the handler's error.
    """

    #: What it is counted under.
    reason = "client-left"


class Waiter:
    """The callback of `Server.call`: safe in the hub."""

    def __init__(self, event: Any) -> None:
        self.event = event
        self.answer: tuple[Any, ...] = ()
        #: The sids that were asked.
        self.asked: list[str] = []
        #: Whether the last of them has left.
        self.left = False
        self._lost = 0

    def __call__(self, *answer: Any) -> None:
        self.answer = answer
        self.event.set()

    def lose(self) -> None:
        """One who was asked has left. # hub or greenlet"""
        self._lost += 1
        if self._lost >= len(self.asked):
            self.left = True
            self.event.set()
