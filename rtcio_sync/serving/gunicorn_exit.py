"""How a gunicorn worker leaves: SIGTERM and ``max_requests`` first move its sessions to another.

Until that is done the worker runs as ever: it says to the master that it lives, and serves. Only
then it gets the signal.

Used of gunicorn's private names, and asserted in ``tests/test_upstream.py``: of a worker
``handle_exit``, ``nr`` and ``max_requests``.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import gevent

__all__ = ["AGAIN", "LOOKS", "Exit", "MoveOut"]

# Seconds of the graceful time-out that are left when waiting for a successor ends, if that is at
# most half of it.
SPARE = 5.0
LATER = 50  # requests until a worker that could not leave after ``max_requests`` tries again
AGAIN = 0.05  # seconds between two looks for connections that are idle by now
LOOKS = 4

MoveOut = Callable[[float, Callable[[], bool]], bool]


class Exit:
    """The end of one worker.

    ``move_out(wait, must)`` moves the sessions, and waits so many seconds for a successor. `False`:
    there is nobody to move them to; ``must()``: whether the worker leaves then, too.
    ``alone()``: whether there is no other worker. ``hand_on()`` hands over what is idle.
    """

    def __init__(
        self,
        worker: Any,
        move_out: MoveOut,
        alone: Callable[[], bool],
        hand_on: Callable[[], None],
    ) -> None:
        self._worker = worker
        self._move_out = move_out
        self._alone = alone
        self._hand_on = hand_on
        self._begun = False
        self._must = False
        self._before: Any = None
        #: Until when it waits for another worker before it leaves after ``max_requests``.
        self._alone_until: float | None = None

    def install(self) -> None:
        """Gets SIGTERM before the worker does. # before it serves"""
        before, worker = signal.getsignal(signal.SIGTERM), self._worker
        if callable(before):
            self._before = before
            signal.signal(signal.SIGTERM, self._asked)
            after = worker.cfg.worker_exit

            def worker_exit(server: Any, worker: Any) -> None:
                after(server, worker)
                # The master still asks, and may do so while the interpreter ends, when nobody
                # handles signals any more.
                signal.signal(signal.SIGTERM, signal.SIG_IGN)

            worker.cfg.set("worker_exit", worker_exit)

    def _asked(self, number: int, frame: Any) -> None:
        # The master asks once a second until the worker has ended.
        self._must = True
        self._begin()

    def request(self) -> None:
        """A request begins; after ``max_requests`` the worker leaves. # greenlet

        While the others are being replaced and it is alone, it stays: it has all clients, and
        nobody to whom it could move them.
        """
        worker = self._worker
        if worker.nr + 1 < worker.max_requests:
            return
        if not self._alone():
            worker.max_requests = sys.maxsize  # or it would leave at once
            self._alone_until = None
            self._begin()
        elif worker.cfg.workers > 1:
            self._alone_until = self._alone_until or time.monotonic() + self._patience()
            if time.monotonic() < self._alone_until:
                worker.max_requests = worker.nr + LATER

    def _patience(self) -> float:
        """Seconds that it waits for another worker."""
        whole: float = self._worker.cfg.graceful_timeout
        return max(whole - SPARE, whole / 2)

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            gevent.spawn(self._leave)

    def _leave(self) -> None:
        worker = self._worker
        moved = False
        try:
            moved = self._move_out(self._patience(), lambda: self._must)
        except Exception:
            worker.log.exception("The sessions of this worker could not be moved")
            self._must = True
        if moved or self._must:
            self._end()
        else:  # all others leave, too: this is the one that stays
            self._begun = False
            worker.max_requests = worker.nr + LATER

    def _end(self) -> None:
        for _ in range(LOOKS):
            self._hand_on()
            gevent.sleep(AGAIN)
        if self._before is not None:
            self._before(signal.SIGTERM, None)
        else:
            self._worker.alive = False
