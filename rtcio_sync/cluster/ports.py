"""What the cluster offers to the parts above it, and what it needs of them: Protocols.

`Bus` is the interface of every carrier. `mesh.Mesh` carries between the workers of one host.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

__all__ = ["Bus", "Handlers", "Relays", "Tasks"]


class Bus(Protocol):
    """Carries messages between nodes: each once, those of one node to another in order."""

    @property
    def node(self) -> str:
        """The id of this node: the first four characters of the sids that it makes."""

    @property
    def nodes(self) -> Collection[str]:
        """The ids of the other nodes that live."""

    @property
    def eldest(self) -> str | None:
        """The node that has lived longest, this one included; `None`: not all have said it."""

    def post(
        self, node: str, kind: int, body: bytes, key: bytes = b"", *, now: bool = False
    ) -> bool:
        """Sends a message; never blocks. # hub or greenlet

        ``now``: before anything that is sent to a client afterwards; else with the other messages
        of this turn of the loop. `False`: the node does not live, or too much waits for it.
        """


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
