"""The callbacks of events that were sent, until the client's acknowledgement comes.

Overridden of upstream's ``Manager``: ``trigger_callback``. Used as it is: ``_generate_ack_id``.
``tests/test_upstream.py`` asserts each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from socketio.manager import Manager

from ..functions import called
from ..logs import tell
from .ports import Host
from .recipients import rooms_in
from .server_call import Waiter

__all__ = ["MAX_CALLBACKS", "Callbacks", "Owed"]

log = logging.getLogger(__name__)

MAX_CALLBACKS = 10_000  # callbacks that wait for one client; over it the oldest is forgotten


class Owed:
    """A callback that another process keeps, and forgets when it hears that no answer will come."""

    __slots__ = ()

    def lose(self) -> None:
        """One of its clients will not answer any more. # hub or greenlet"""
        raise NotImplementedError


class Callbacks(Manager):
    """The part of the manager that keeps callbacks, by sid and number. # hub or greenlet"""

    server: Host

    def keep_callback(self, sid: str, callback: Callable[..., Any]) -> int:
        """Keeps a callback until ``sid`` acknowledges its event; returns the event's number."""
        with self.server.eio.gate:  # or two threads could give two events the same number
            number: int = self._generate_ack_id(sid, callback)
            several = len(self.callbacks[sid]) > MAX_CALLBACKS + 1  # and the counter
            if several and not isinstance(callback, Waiter):
                self._forget_oldest(self.callbacks[sid])
        return number

    def _forget_oldest(self, waiting: dict[int, Any]) -> None:  # gate held
        """Forgets the oldest callback of a client that does not acknowledge events."""
        for number, callback in waiting.items():
            if number and not isinstance(callback, Waiter):  # 0: the counter; `call` has a time-out
                del waiting[number]
                self.server.counters.dropped["unanswered"] += 1
                if isinstance(callback, Owed):
                    callback.lose()
                break

    def take_callback(self, sid: str, number: Any) -> Callable[..., Any] | None:
        """Removes and returns the callback of an acknowledgement; `None`: there is none."""
        waiting = self.callbacks.get(sid)
        if not waiting or not number:  # upstream keeps the counter under 0
            return None
        with self.server.eio.gate:  # another thread may look for the oldest
            callback: Callable[..., Any] | None = waiting.pop(number, None)
        return callback

    def trigger_callback(self, sid: str, id: Any, data: Iterable[Any]) -> None:
        callback = self.take_callback(sid, id)
        if callback is None:
            tell(log, "%(rtcio_sid)s acknowledged an event without a callback", sid=sid)
        else:
            called(callback, *data)

    def end_calls(self, sid: str) -> None:
        """Ends the calls that wait for an answer of a lost socket. # hub or greenlet

        Callbacks stay while it may return, because its client may still acknowledge events.
        """
        waiting = self.callbacks.get(sid, {})
        # A copy, not list(items()): to make the pairs, Python up to 3.11 may collect garbage, and
        # run another thread meanwhile, which changes the dict.
        for number, callback in waiting.copy().items():
            # Another thread may have taken it meanwhile, for an answer.
            if isinstance(callback, Waiter) and waiting.pop(number, None) is not None:
                callback.lose()

    def end_callbacks(self, sid: str) -> None:
        """Ends all callbacks of a socket that has left for good. # hub or greenlet"""
        self.end_calls(sid)
        for callback in list(self.callbacks.pop(sid, {}).values()):
            if isinstance(callback, Owed):
                callback.lose()

    def forget(self, waiter: Waiter, room: Any) -> None:
        """Removes the callbacks of a `Waiter` that does not wait any more."""
        for sid in [*waiter.asked, *rooms_in(room)]:
            waiting = self.callbacks.get(sid, {})
            for number, callback in waiting.copy().items():  # other threads change it
                if callback is waiter:
                    waiting.pop(number, None)
