"""`Server.call`: waits for a client's acknowledgement."""

from __future__ import annotations

from typing import Any

from socketio import exceptions

from ..errors import RtcioError

__all__ = ["DisconnectedError", "Waiter"]


class DisconnectedError(RtcioError, exceptions.TimeoutError):
    """`Server.call` asked a client that has left, or that left before it answered.

    A subclass of python-socketio's ``TimeoutError``, so code that catches that one catches this. A
    handler that does not catch it ends; it is counted as a drop and not logged as an error.
    """

    #: The label under which it is counted.
    reason = "client-left"


class Waiter:
    """The callback of `Server.call`: safe in the hub."""

    def __init__(self, event: Any) -> None:
        self.event = event
        self.answer: tuple[Any, ...] = ()
        #: The sids of the recipients.
        self.asked: list[str] = []
        #: Whether the last recipient has left.
        self.left = False
        self._lost = 0

    def __call__(self, *answer: Any) -> None:
        self.answer = answer
        self.event.set()

    def lose(self) -> None:
        """A recipient has left. # hub or greenlet"""
        self._lost += 1
        if self._lost >= len(self.asked):
            self.left = True
            self.event.set()
