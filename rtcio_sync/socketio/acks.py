"""The acknowledgement of an event that its handler gives later, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ..adapter.member import Member, Stage
from ..hub.thread import HubThread, any_thread

__all__ = ["UNWANTED", "Ack", "answering"]


class Ack:
    """Gives the acknowledgement that `Server.defer_ack` has taken over: ``ack(*answer)``.

    Called once, from any thread: what follows is ignored, as in Node, and so is what comes after
    the client's connection has ended. Never called, the acknowledgement is withheld.
    """

    __slots__ = (
        "_given",
        "_hub_thread",
        "_member",
        "_number",
        "_returns",
        "_send",
        "late",
        "taken",
    )

    def __init__(
        self,
        thread: HubThread,
        send: Callable[[Member, int, Any], None],
        member: Member | None,
        number: int | None,
    ) -> None:
        self._hub_thread = thread
        self._send = send
        self._member = member
        self._number = number
        self._returns = 0 if member is None else member.returns
        self._given = False
        #: Whether the handler has taken it over, and whether it is too late for that.
        self.taken = False
        self.late = False

    @property
    def wanted(self) -> bool:
        """Whether the client asked for one; if not, calling this does nothing."""
        return self._number is not None

    @any_thread
    def __call__(self, *answer: Any) -> None:
        if self._given or self._number is None:
            return
        self._given = True
        member = self._member
        if member is None:
            return
        # Its number means something on that one connection.
        if member.stage is Stage.CONNECTED and member.returns == self._returns:
            self._send(member, self._number, answer)


def _nowhere(member: Member, number: int, answer: Any) -> None:
    """Nobody asked for it."""


#: Stands for the acknowledgement that a client did not ask for, as of most events.
UNWANTED = Ack(HubThread(), _nowhere, None, None)

#: The acknowledgement of the event that is being handled here.
answering: ContextVar[Ack | None] = ContextVar("rtcio_answering", default=None)
