"""What waits in a connection's inbox until its turn comes (`engineio.inbox`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..adapter.member import Member
from ..parser.decoder import Decoded
from ..relay.relay import Passage

__all__ = [
    "Connect",
    "Disconnect",
    "Event",
    "Item",
    "Lost",
    "MaybeRelay",
    "Relay",
    "Then",
    "Undecoded",
]


class Connect(NamedTuple):
    """A CONNECT packet."""

    namespace: str
    auth: Any


class Disconnect(NamedTuple):
    """A DISCONNECT packet."""

    namespace: str


class Event(NamedTuple):
    """An event for the app's handlers: the acknowledgement's id, or `None`; name and arguments."""

    namespace: str
    number: int | None
    data: list[Any]


class MaybeRelay(NamedTuple):
    """An event that is a relay if its sender, who is not connected yet, will have the listeners."""

    namespace: str
    decoded: Decoded


class Relay(NamedTuple):
    """A relay that the app sees first, or that waits behind one; and the event's arguments."""

    member: Member
    passage: Passage
    args: tuple[Any, ...]


class Undecoded(NamedTuple):
    """A message that the app's own code decodes, and the members whose relays wait for it."""

    message: bytes
    binary: bool
    held: list[Member]


class Then(NamedTuple):
    """Something of ours that is to happen behind all that came before."""

    do: Callable[[], Any]


class Lost(NamedTuple):
    """The connection is over."""

    reason: str


Item = Connect | Disconnect | Event | MaybeRelay | Relay | Undecoded | Then | Lost
