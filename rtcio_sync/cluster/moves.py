"""The messages with which the sessions of a node that leaves move to its heir. Pure.

docs/cluster.md, "Leaving", has their order. A is the node that leaves, H its heir, N any other one.
"""

from __future__ import annotations

from .wire import Struct

__all__ = [
    "Barrier", "Coming", "Echo", "Farewell", "Fin", "For", "Inherited", "Moving",
    "Parted", "Pending", "Prepare", "Ready", "Release", "Switched",
]  # fmt: skip


class Moving(Struct):
    """A to all: from now on, what is for the members of these ids goes to H.

    ``number``: which attempt of A it is; the heir before may have died.
    """

    number: int
    ids: list[str]
    heir: str


class Fin(Struct):
    """N to A: nothing more comes to A's members on this stream."""

    number: int


class Switched(Struct):
    """N to H: what comes after this is for A's members, too."""

    source: str
    ids: list[str]


class Prepare(Struct):
    """A to H: hold back what is for A's members, and say so. ``late``: nodes without a FIN."""

    number: int
    late: list[str]


class Ready(Struct):
    """H to A: all that H has passed on for A's members was before this."""

    number: int


class Barrier(Struct):
    """A to N: send it back. ``origin``: A; ``via``: the node that has passed it on."""

    origin: str
    number: int
    via: str = ""


class Echo(Struct):
    """N to A: the barrier has come, ``via`` a node or directly; it went on to ``also``."""

    number: int
    via: str
    also: list[str]


class Coming(Struct):
    """A to H: a session, as bytes. It is made at the next `Release`.

    ``descriptor``: whether that of its WebSocket follows.
    """

    state: bytes
    descriptor: bool


class Release(Struct):
    """A to H: the end of a batch."""

    number: int


class For(Struct):
    """What ``node`` has sent for A's members: H to A, or A to H if the member has moved."""

    node: str
    kind: int
    key: bytes
    body: bytes


class Farewell(Struct):
    """A to H: no session is left."""


class Inherited(Struct):
    """H to all: these ids of ``source`` are H's now. ``kept``: the sids that it has adopted."""

    source: str
    ids: list[str]
    kept: list[str]


class Parted(Struct):
    """A to N: a socket that was asked for an answer has moved; H answers for it."""

    number: int
    of: str


class Pending(Struct):
    """An acknowledgement that another node waits for: a part of a session's state.

    ``node`` has sent the event under ``number``, ``of`` names the socket, and with ``waits`` that
    node hears of the end of the socket.
    """

    node: str
    number: int
    of: str
    waits: bool
