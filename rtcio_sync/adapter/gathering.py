"""Gathers the acknowledgements of one event that several clients got. # hub or greenlet"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from socketio import exceptions

from ..errors import RtcioError
from .server_call import Waiter

__all__ = ["Answers", "Gathering", "UnansweredError"]


class Answers(list[Any]):
    """The answers of several clients, in the order in which they came.

    The answer of a client is its one argument, a tuple of several, or `None` for none.
    """

    def __init__(self, by_sid: dict[str, Any]) -> None:
        super().__init__(by_sid.values())
        #: The answers by sid.
        self.by_sid = by_sid


class UnansweredError(RtcioError, exceptions.TimeoutError):
    """Some of several clients did not acknowledge an event in time, or have left before.

    A subclass of python-socketio's ``TimeoutError``.
    """

    def __init__(self, event: str, seconds: float, answers: Answers, silent: list[str]) -> None:
        super().__init__(
            f"not all clients answered {event!r} within {seconds:g} s: {len(answers)} answered, "
            f"{len(silent)} did not"
        )
        #: The answers of the others.
        self.answers = answers
        #: The sids of those that did not answer. A worker that has died, or did not say who they
        #: are in time, adds none.
        self.silent = silent


class Gathering:
    """The answers that have come, and who may still answer. ``done``: called once, at the end."""

    def __init__(self, done: Callable[[], Any]) -> None:
        self._done: Callable[[], Any] | None = done
        #: By sid: the arguments of the acknowledgement.
        self.answers: dict[str, tuple[Any, ...]] = {}
        #: Those that have left.
        self.left: list[str] = []
        #: Those that may still answer.
        self.waiting: dict[str, OneAnswer] = {}
        self._holds: list[Callable[[], None]] = []
        self._released = False

    def ask(self, sid: str) -> OneAnswer:
        """The callback for one client."""
        made = self.waiting[sid] = OneAnswer(self, sid)
        return made

    def answered(self, sid: str, answer: tuple[Any, ...]) -> None:
        if sid in self.waiting:
            # First the answer: whoever does not find it in `waiting`, in another thread, finds it.
            self.answers[sid] = answer
            self.waiting.pop(sid, None)
            self.settle()

    def lost(self, sid: str) -> None:
        self.left.append(sid)
        self.waiting.pop(sid, None)
        self.settle()

    def settle(self) -> None:
        """Ends it if nobody may answer any more."""
        if not self.waiting:
            self.end()

    def end(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            done()

    def hold(self, release: Callable[[], None]) -> None:
        """Has ``release`` called once the answers are not needed any more."""
        self._holds.append(release)
        if self._released:  # in another thread
            self.release()

    def release(self) -> None:
        """The answers are not needed any more."""
        self._released = True
        with suppress(IndexError):  # two threads may take one after the other
            while self._holds:
                self._holds.pop()()

    @property
    def silent(self) -> list[str]:
        """Those that have not answered."""
        return [*self.left, *self.waiting]


class OneAnswer(Waiter):
    """The callback of one of several clients."""

    def __init__(self, gathering: Gathering, sid: str) -> None:
        super().__init__(None)
        self._gathering = gathering
        self._sid = sid
        self.asked.append(sid)

    def __call__(self, *answer: Any) -> None:
        self._gathering.answered(self._sid, answer)

    def hold(self, release: Callable[[], None]) -> None:
        """As `Gathering.hold`."""
        self._gathering.hold(release)

    def lose(self) -> None:
        self._gathering.lost(self._sid)
