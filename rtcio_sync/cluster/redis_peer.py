"""Another node as the bus over Redis knows it, and the messages that only buses see. Pure."""

from __future__ import annotations

from .messages import Struct
from .redis_intake import Intake
from .redis_writer import Target

__all__ = ["Dead", "Hello", "Note", "Peer"]


class Note:
    """The kinds of messages that only buses see."""

    HELLO = 200
    DEAD = 201
    BYE = 202


class Hello(Struct):
    """The first message of an epoch."""

    version: int
    host: str
    born: int


class Dead(Struct):
    """A node is buried."""

    node: str
    token: int


class Peer:
    """Another node."""

    __slots__ = (
        "born", "gap", "host", "intake", "nacked", "node", "repeated", "target", "token",
    )  # fmt: skip

    def __init__(self, node: str, token: int, host: str, born: int, target: Target) -> None:
        self.node = node
        self.token = token
        self.host = host
        self.born = born
        self.target = target
        self.intake = Intake()
        #: Whether entries are missing, and when it was last told.
        self.gap = False
        self.nacked = 0.0
        #: From which number on it was last sent entries again, and when.
        self.repeated = -1, 0.0

    @property
    def epoch(self) -> int:
        """The epoch of the two nodes."""
        return self.target.outbox.epoch

    def begin_again(self, epoch: int) -> None:
        """Drops what waits for it, and begins another epoch."""
        self.target.outbox.reset(epoch)
        self.intake = Intake()
        self.gap = False
        self.repeated = -1, 0.0
