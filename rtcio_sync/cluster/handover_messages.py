"""The messages with which the sessions of a node that leaves move to its heir. Pure.

docs/cluster.md, "Leaving", has their order. A is the node that leaves, H its heir, N any other one.
The last ones are of sessions that follow their clients to another host (`session_claims`).
"""

from __future__ import annotations

from typing import Any

from .messages import Kind, Struct

__all__ = [
    "STRUCTURES", "After", "Barrier", "Claim", "Coming", "Echo", "Farewell", "Fin", "For", "Given",
    "Inherited", "Mine", "Moving", "Of", "Over", "Parted", "Pending", "Prepare", "Ready", "Refused",
    "Release", "Switched",
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
    """A to H: the end of a batch. ``slow``: nodes that have not echoed this `Barrier` of A."""

    number: int
    slow: list[str]


class After(Struct):
    """H to a slow N: what follows comes after this `Barrier` of ``source``."""

    source: str
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


# -- one session follows its client to node N, from H; X is any other node -------------------------


class Claim(Struct):
    """N to H: give me the session with this key."""

    number: int
    namespace: str
    pid: str


class Given(Struct):
    """H to N: the session, or none. ``later``: ask again.

    ``others``: the nodes whose messages for it H passes on until they have switched.
    """

    number: int
    later: bool = False
    state: bytes = b""
    rooms: list[Any] = []  # noqa: RUF012  (msgspec copies it)
    relays: bool = False
    others: list[str] = []  # noqa: RUF012


class Refused(Struct):
    """N to H: the session that was given for this `Claim` could not be made here."""

    number: int


class Mine(Struct):
    """N to X: a member, in these rooms, and the key to its session are N's. ``before``: H."""

    namespace: str
    sid: str
    pid: str
    rooms: list[Any]
    relays: bool
    before: str


class Of(Struct):
    """What is said of a session: X to N: I send to you now. X to H: and nothing more to you, but to
    ``node``. H to N: nothing more of ``node`` comes through me."""

    sid: str
    node: str


class Over(Struct):
    """N to all: these sids and keys are nobody's any more."""

    names: list[str]


#: The structure of each kind.
STRUCTURES: dict[int, type[Struct]] = {
    Kind.MOVING: Moving,
    Kind.INHERITED: Inherited,
    Kind.FOR: For,
    Kind.SWITCHED: Switched,
    Kind.PREPARE: Prepare,
    Kind.BARRIER: Barrier,
    Kind.AFTER: After,
    Kind.COMING: Coming,
    Kind.RELEASE: Release,
    Kind.FAREWELL: Farewell,
    Kind.FIN: Fin,
    Kind.READY: Ready,
    Kind.ECHO: Echo,
    Kind.PARTED: Parted,
}
