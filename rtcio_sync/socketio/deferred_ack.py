"""The acknowledgement of an event that its handler sends later, or never."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ..adapter.member import Member, Stage
from ..hub.thread import HubThread, any_thread

__all__ = ["UNWANTED", "Ack", "answering"]


class Ack:
    """Sends the acknowledgement that `Server.defer_ack` has taken over: ``ack(*answer)``.

    Any thread may call it, once. Further calls are ignored, as in Node, and so are calls after the
    client's connection has ended. If it is never called, no acknowledgement is sent. Raises
    `TypeError` and `ValueError` for data that cannot be sent; then it may be called again.
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
        """Whether the client asked for an acknowledgement; if not, a call does nothing."""
        return self._number is not None

    @any_thread
    def __call__(self, *answer: Any) -> None:
        if self._given or self._number is None:
            return
        self._given = True
        member = self._member
        if member is None:
            return
        # The number of an acknowledgement is valid on one connection only.
        connected = member.stage is Stage.CONNECTED or member.stage is Stage.MOVED
        if connected and member.returns == self._returns:
            try:
                self._send(member, self._number, answer)
            except BaseException:  # data that cannot be sent: the app may give other data
                self._given = False
                raise


def _nowhere(member: Member, number: int, answer: Any) -> None:
    """Sends nothing: the client did not ask for it."""


#: The `Ack` of an event for which the client asked no acknowledgement, as for most events.
UNWANTED = Ack(HubThread(), _nowhere, None, None)

#: The acknowledgement of the event that is handled in this context.
answering: ContextVar[Ack | None] = ContextVar("rtcio_answering", default=None)
