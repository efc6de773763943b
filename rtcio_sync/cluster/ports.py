"""What the cluster offers to the parts above it, and what it needs of them: Protocols.

`Bus` is the interface of every carrier. `local_bus.Mesh` carries between the workers of one host, a
`Remote` between hosts, and `combined_bus.Both` is the two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

__all__ = [
    "Bus",
    "Carrier",
    "Figures",
    "Handlers",
    "Packed",
    "Relays",
    "Remote",
    "Sessions",
    "Tasks",
]

#: Of what goes over Redis: ``messages_in``, ``messages_out``, ``bytes_in``, ``bytes_out``,
#: ``resent``, ``unprotected``, ``dropped`` (by reason), ``oldest_seconds`` (of what waits to be
#: acknowledged), ``round_trip_seconds``.
Figures: TypeAlias = dict[str, Any]


class Carrier(Protocol):
    """Carries messages between nodes: each once, those of one node to another in order."""

    @property
    def node(self) -> str:
        """The id of this node: the first four characters of the sids that it makes."""

    @property
    def nodes(self) -> Collection[str]:
        """The ids of the other nodes that live."""

    def post(
        self, node: str, kind: int, body: bytes, key: bytes = b"", *, now: bool = False
    ) -> bool:
        """Sends a message; never blocks. # hub or greenlet

        ``now``: before anything that is sent to a client afterwards; else with the other messages
        of this turn of the loop. `False`: the node does not live, or too much waits for it. Only a
        message of a kind in `messages.DROPPABLE` is dropped for that: over a further bound, the
        node is given up, and dead for this one.
        """


class Bus(Carrier, Protocol):
    """What the parts above know of a node's bus."""

    @property
    def neighbours(self) -> Collection[str]:
        """Those of ``nodes`` that are on this host: sessions can move to them."""

    @property
    def heard(self) -> Collection[str]:
        """Those whose messages arrive here by now."""

    def born(self, node: str) -> int:
        """When a node, this one or another, has claimed its id."""

    @property
    def pids(self) -> Collection[int]:
        """The processes of all nodes of this host that have said theirs, this one included."""

    @property
    def eldest(self) -> str | None:
        """The node that has lived longest, this one included; `None`: not all have said it."""

    def shared_file(self, name: str) -> int | None:
        """A descriptor of a file that the nodes of this host share, to read and to append.

        Each time the same one. It is the caller's to use, and the bus' to close, when it stops.
        `None`: there is none.
        """

    def waiting(self, node: str) -> int:
        """How many bytes wait for a node of this host to read them."""

    @property
    def sent(self) -> bool:
        """Whether all that was posted has left this process."""

    def is_stopped(self, node: str) -> bool:
        """Whether a signal or a debugger has stopped a node of this host, and it goes on later.

        `False`, too, where the system does not say so.
        """


class Remote(Carrier, Protocol):
    """The bus between hosts."""

    @property
    def heard(self) -> Collection[str]:
        """As of a `Bus`."""

    @property
    def births(self) -> Mapping[str, int]:
        """When each other node has begun."""

    @property
    def sent(self) -> bool:
        """As of a `Bus`: whether Redis has all."""

    @property
    def degraded(self) -> bool:
        """Whether something is wrong: there is no contact, or Redis refuses something."""

    @property
    def reaches(self) -> bool:
        """Whether messages arrive soon: there is contact, and Redis is not full."""

    @property
    def trouble(self) -> str:
        """Why there is none, or was none last."""

    def figures(self) -> Figures: ...

    def start(self) -> None:
        """Looks for the others. Returns at once."""

    def wait(self, seconds: float) -> bool:
        """Waits for the first contact; whether there is one. # greenlet"""

    def bury(self, node: str) -> None:
        """A node of this host is dead. # hub or greenlet"""

    def leave(self) -> None:
        """Says that this node has ended; takes at most a second. # greenlet"""

    def stop(self) -> None:
        """Ends at once, and calls no handler. # hub or greenlet"""

    def abandon(self) -> list[int]:
        """Is this node no more, in a forked child; gives all descriptors. # after a fork"""


class Handlers(Protocol):
    """What a bus calls. # hub"""

    def received(self, node: str, kind: int, key: bytes, body: bytes) -> None:
        """A message of another node. Raises `ProtocolError` if it cannot be read."""

    def joined(self, node: str) -> None:
        """A node lives: what is posted to it from now on arrives."""

    def met(self, node: str) -> None:
        """A node has said how old it is."""

    def died(self, node: str) -> None:
        """A node is dead. All that it has sent was received."""

    def overflowed(self) -> None:
        """A message was dropped, since too much waits for its node."""

    def given_up(self, node: str) -> None:
        """This node has stood still for so long that another one regards it as dead."""


class Relays(Protocol):
    """What the cluster needs of the relay. # hub or greenlet"""

    def from_node(self, sid: str, namespace: str, message: bytes) -> None:
        """Delivers a relay of a client of another node: its packet, as it came."""

    def from_elsewhere(self, relay: dict[str, Any]) -> None:
        """Delivers one that did not take the short way."""

    def serves_namespace(self, namespace: str) -> bool:
        """Whether the sockets of a namespace have the default listeners."""


class Tasks(Protocol):
    """What the cluster needs of the engine."""

    def spawn(self, target: Callable[..., Any], *args: Any) -> None:
        """Runs ``target(*args)`` in a greenlet. # any thread"""

    def spawn_in_turn(self, target: Callable[..., Any], *args: Any) -> None:
        """The same for the app's code."""

    def create_event(self) -> Any: ...

    def sleep(self, seconds: float) -> Any: ...


class Packed(NamedTuple):
    """A session that was taken out of this process."""

    #: Everything that another process needs to go on, unread and unsent bytes included.
    state: bytes
    #: The descriptor of its WebSocket, the receiver's to close; -1: it is on polling, or waits.
    fd: int


class Sessions(Protocol):
    """Takes sessions out of this process, and those of others in (`socketio.session_transfer`).

    A connection is named by its ``eio_sid``. Nothing here blocks. # hub or greenlet
    """

    def live(self) -> list[str]:
        """The connections of this process that are open."""

    def busy(self, eio_sid: str) -> bool:
        """Whether something of it is under way that has to end here.

        A handler runs or waits for its turn, `call` waits for its answer, an upgrade or a POST is
        under way. It passes by itself, unless the app's code or the client never ends.
        """

    def end_calls(self) -> bool:
        """Ends each `call` that waits for an answer, as if its clients had left.

        `False`: there is none.
        """

    def freeze(self, eio_sid: str) -> None:
        """Handles nothing of its client any more: what it sends waits. It still gets all."""

    def thaw(self, eio_sid: str) -> None:
        """Goes on after `freeze`."""

    def pack(self, eio_sid: str) -> Packed:
        """Takes a frozen connection out of this process; the client and the peers hear nothing.

        An open poll is answered with NOOP. A POST that came since `freeze` goes along, and is
        answered with 200. From now on its sids are none of this process. Handlers of `on_moved`
        are spawned. Raises `CannotMove` and leaves it as it was, frozen; ``later``: it is busy
        again, so thaw it and try again.
        """

    def waiting(self) -> list[tuple[str, str]]:
        """The namespace and sid of each session that waits for its client to come back."""

    def pack_waiting(self, namespace: str, sid: str) -> Packed:
        """`pack` for one of `waiting`."""

    @property
    def may_return(self) -> bool:
        """Whether a session outlives its connection (`adapter.session_store`)."""

    def polls(self, eio_sid: str) -> bool:
        """Whether it is on polling, with no upgrade under way: it has no socket to take along."""

    def send_away(self, eio_sid: str) -> None:
        """Tells the client to connect anew, for `pack_away`. It is busy until the client knows.

        What the client has sent by then is handled. Nobody hears that it is lost.
        """

    def pack_away(self, eio_sid: str) -> list[Packed]:
        """Takes the sockets of a frozen connection out of this process, one by one, and ends it.

        In the order of its members. Raises `CannotMove` as `pack` does.
        """

    def kept(self, namespace: str, pid: str) -> tuple[str, list[Any], bool] | None:
        """The session with this key: its sid, its rooms, and whether its peers hear of its end.

        `None`: it is not here.
        """

    def pack_kept(self, namespace: str, pid: str) -> Packed:
        """`pack` for the session with this key, whose client has come back to another node.

        It is packed without a connection. Raises `CannotMove`; ``later`` if its old connection
        has to end first, which is closed.
        """

    def lives(self, name: str) -> bool:
        """Whether it is the sid, or the key, of a session in this process."""

    def adopt(self, state: bytes) -> tuple[str, list[tuple[str, str]]]:
        """Makes the session in this process.

        Returns ``eio_sid``, and the namespace and the sid of each of its sockets. These are in
        their rooms, and what is sent to them waits in the outbox until `attach`. No node is told.
        If `attach` does not follow within 10 seconds, the connection is lost. Raises
        `ProtocolError` for a state that cannot be read.
        """

    def attach(self, eio_sid: str, fd: int) -> bool:
        """Goes on with it: sends what waits, reads, and runs the handlers of the app.

        ``fd``: its WebSocket's, which is ours from now on; -1: it is on polling. `False`: there is
        no such session (any more), and the descriptor is closed.
        """
