"""The heir's part when a node leaves: takes its sessions over, one batch after another. # hub

From the first moment the heir gets what is for the members of the other node, and passes on to it
what that one still has. While a batch of sessions is on its way, the heir holds that back; when the
batch is there, it gives the new members what was for them, and passes on the rest. So what one node
sends to one member stays in order, wherever the member is.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection
from typing import Any, Protocol

from ..engineio.ids import SID
from ..errors import ProtocolError
from ..transport.ports import Later
from . import handover_messages
from .held_messages import HeldMessages, Message
from .id_owners import Heirs
from .messages import Kind, encoded
from .ports import Bus, Sessions
from .remote_rooms import Replica

__all__ = ["Arrivals", "Front"]

SWITCH_WITHIN = 1.0  # seconds in which the others send to the heir
ATTACH_WITHIN = 10.0  # seconds that a descriptor waits for its session

#: Kinds that are for several members: the others' keys name the one member.
SEVERAL = frozenset({Kind.EMIT, Kind.CLOSE, Kind.MANY})
FOR_MEMBERS = SEVERAL | {
    Kind.RELAY, Kind.FORWARD, Kind.ENTER, Kind.LEAVE, Kind.DISCONNECT, Kind.ASK,
}  # fmt: skip


class Handler(Protocol):
    """Handles a message. ``only``: for these members alone."""

    def __call__(self, message: Message, *, only: Collection[str] | None = None) -> None: ...


class Front:
    """One node that leaves to this one."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.ids: list[str] = []
        #: The nodes that send here what is for its members.
        self.switched: set[str] = set()
        #: The sids of its members that have come, and the connections.
        self.adopted: set[str] = set()
        self.links: set[str] = set()
        #: What is held back while a batch is on its way; `None`: nothing is.
        self.held: HeldMessages | None = None
        #: The batch: sessions that are made when it is complete.
        self.coming: list[handover_messages.Coming] = []
        #: What it asked for before all have switched: its number, and the nodes that may be late.
        self.asked: tuple[int, set[str]] | None = None


class Arrivals:
    """The nodes that leave to this one. ``handle``: does what a message says.

    ``tell_joined(namespace, sid)`` tells all other nodes in which rooms a member of this one is.
    """

    def __init__(
        self,
        replica: Replica,
        handle: Handler,
        post: Callable[[str, int, Any], object],
        later: Later,
        overflowed: Callable[[], None],
        tell_joined: Callable[[str, str], None],
    ) -> None:
        self._replica = replica
        self._handle = handle
        self._post = post
        self._later = later
        self._overflowed = overflowed
        self._tell_joined = tell_joined
        self.bus: Bus
        self.heirs: Heirs
        self.sessions: Sessions | None = None
        #: Called with a node that died before it could say that it leaves.
        self.orphaned: Callable[[str], object] = self.finish
        #: Called with each connection that has come, and the ids that come along.
        self.on_link: Callable[[str, Collection[str]], None] = lambda eio_sid, ids: None
        #: By the node that leaves; empty unless one does.
        self.fronts: dict[str, Front] = {}
        # Descriptors that have come before their sessions, and sessions that have come before their
        # descriptors. A session may come several times within `ATTACH_WITHIN`: each time it has
        # another number, which its timer knows.
        self._descriptors: dict[str, tuple[int, int]] = {}
        self._awaited: dict[str, int] = {}
        self._numbers = itertools.count()

    # -- the beginning -----------------------------------------------------------------------------

    def begin(self, source: str, ids: list[str]) -> Front | None:
        """A node leaves to this one; `None`: it has left already."""
        front = self.fronts.get(source)
        if front is None:
            if self.sessions is None or self.heirs.own.issuperset(ids):
                return None
            front = self.fronts[source] = Front(source)
        front.ids = ids
        self.heirs.moving(source, ids, self.bus.node)
        return front

    def switched(self, node: str, message: handover_messages.Switched) -> None:
        """From now on a node sends here what is for the members of another."""
        front = self.begin(message.source, message.ids)
        if front is None:
            return
        front.switched.add(node)
        if message.source not in self.bus.nodes:  # it died before it could say so itself
            self.orphaned(message.source)
        else:
            self._answer(front)

    def prepare(self, node: str, message: handover_messages.Prepare) -> None:
        front = self.fronts.get(node)
        if front is not None:
            front.asked = message.number, set(message.late)
            self._later(SWITCH_WITHIN, self._enough, front, message.number)
            self._answer(front)

    def _enough(self, front: Front, number: int) -> None:
        """Somebody stands still: it is not waited for any longer."""
        if front.asked is not None and front.asked[0] == number:
            front.asked = number, set(self.bus.nodes)
            self._answer(front)

    def _answer(self, front: Front) -> None:
        """Begins to hold back, once all send here."""
        if front.asked is None:
            return
        number, late = front.asked
        if set(self.bus.nodes) - late - front.switched - {front.source}:
            return
        front.asked = None
        front.held = HeldMessages(self._overflowed)
        self._post(front.source, Kind.READY, handover_messages.Ready(number))

    # -- while it lasts ----------------------------------------------------------------------------

    def of(self, sid: str) -> Front | None:
        """The node that may still have a member, and leaves to this one."""
        source = self.heirs.holder(sid)
        front = None if source is None else self.fronts.get(source)
        return None if front is None or sid in front.adopted else front

    def has(self, eio_sid: str) -> bool:
        """Whether a connection has come from a node that leaves to this one."""
        return any(eio_sid in front.links for front in self.fronts.values())

    def passes(self, message: Message) -> bool:
        """Passes on what is for members that have not come; `True`: it is for nobody here.

        ``message`` is of another node.
        """
        origin, kind, key, _ = message
        if kind not in FOR_MEMBERS:
            return False
        if kind not in SEVERAL:
            front = self.of(_sid(key)) if key else None
            if front is None or origin == front.source:
                return False
            self._pass_on(front, message)
            return True
        for front in self.fronts.values():
            if origin in front.switched and origin != front.source:
                self._pass_on(front, message)
        return False

    def hidden_from(self, origin: str) -> Collection[str]:
        """The sids that an event of a node is not for: it has sent it to their old node, too."""
        if not self.fronts:
            return ()
        found: set[str] = set()
        for front in self.fronts.values():
            if origin not in (front.source, self.bus.node) and origin not in front.switched:
                found |= front.adopted
        return found

    def hold(self, node: str, kind: int, key: bytes, body: bytes) -> bool:
        """Holds back a message of this node for members of another; `False`: it may be sent."""
        front = self.fronts.get(node)
        if front is None or front.held is None or kind not in FOR_MEMBERS:
            return False
        front.held.add((self.bus.node, kind, key, body))
        return True

    def barrier(self, node: str, message: handover_messages.Barrier) -> None:
        """A node that leaves wants to know whether all that it has sent has come."""
        also = [each for each in self.fronts if each != message.origin]
        self._post(
            message.origin, Kind.ECHO, handover_messages.Echo(message.number, message.via, also)
        )
        message.via = self.bus.node
        for source in also:
            passed = message.origin, Kind.BARRIER, b"", encoded(message)
            self._pass_on(self.fronts[source], passed)

    def _pass_on(self, front: Front, message: Message) -> None:
        if front.held is not None:
            front.held.add(message)
            return
        origin, kind, key, body = message
        if origin == self.bus.node:
            self.bus.post(front.source, kind, body, key)
        else:
            self._post(front.source, Kind.FOR, handover_messages.For(origin, kind, key, body))

    def passed_back(self, front: Front, message: Message) -> None:
        """The node that leaves has got something for members that have come here."""
        _, kind, key, _ = message
        if kind in SEVERAL:
            self._handle(message, only=front.adopted)
        elif _sid(key) in front.adopted:
            self._handle(message)

    # -- a batch -----------------------------------------------------------------------------------

    def coming(self, node: str, message: handover_messages.Coming) -> None:
        front = self.fronts.get(node)
        if front is not None:
            front.coming.append(message)

    def release(self, node: str, message: handover_messages.Release | None = None) -> None:
        """The batch is complete: makes its sessions, and hands on what was held back."""
        front = self.fronts.get(node)
        if front is None:
            return
        front.asked = None
        if message is not None:
            for slow in message.slow:
                self._post(slow, Kind.AFTER, handover_messages.After(node, message.number))
        fresh, links = self._adopt(front)
        held, front.held = front.held, None
        for each in held or ():
            self._give(front, each, fresh)
        for eio_sid, descriptor in links:
            self._attach(eio_sid, descriptor=descriptor)

    def _adopt(self, front: Front) -> tuple[set[str], list[tuple[str, bool]]]:
        coming, front.coming = front.coming, []
        found: list[tuple[str, str]] = []
        links: list[tuple[str, bool]] = []
        for each in coming:
            assert self.sessions is not None
            try:
                eio_sid, members = self.sessions.adopt(each.state)
            except ProtocolError:  # of another version: its client comes again
                self._overflowed()
                continue
            found += members
            if eio_sid:
                front.links.add(eio_sid)
                links.append((eio_sid, each.descriptor))
                self.on_link(eio_sid, front.ids)
        fresh = {sid for _, sid in found}
        front.adopted |= fresh
        for namespace, sid in found:
            self._replica.take(sid)
            self._tell_joined(namespace, sid)
        return fresh, links

    def _give(self, front: Front, message: Message, fresh: Collection[str]) -> None:
        _, kind, key, _ = message
        if kind in SEVERAL:
            if fresh:
                self._handle(message, only=fresh)
            self._pass_on(front, message)
        elif key and _sid(key) in front.adopted:
            self._handle(message)
        else:
            self._pass_on(front, message)

    def _attach(self, eio_sid: str, *, descriptor: bool) -> None:
        assert self.sessions is not None
        fd = self._descriptors.pop(eio_sid, (-1, 0))[0] if descriptor else -1
        if fd >= 0 or not descriptor:
            self.sessions.attach(eio_sid, fd)
        else:
            number = self._awaited[eio_sid] = next(self._numbers)
            self._later(ATTACH_WITHIN, self._await_no_more, eio_sid, number)

    def _await_no_more(self, eio_sid: str, number: int) -> None:
        if self._awaited.get(eio_sid) == number:
            del self._awaited[eio_sid]

    def descriptor(self, fd: int, about: bytes) -> None:
        """The WebSocket of a session has come, perhaps before it. ``about``: its connection."""
        eio_sid = about.decode("ascii", "replace")
        if eio_sid in self._awaited and self.sessions is not None:
            del self._awaited[eio_sid]
            self.sessions.attach(eio_sid, fd)
        else:
            self._close(eio_sid)
            number = next(self._numbers)
            self._descriptors[eio_sid] = fd, number
            self._later(ATTACH_WITHIN, self._close, eio_sid, number)

    def _close(self, eio_sid: str, number: int | None = None) -> None:
        """Closes a descriptor that waits: any, or only the one with this number."""
        fd, of = self._descriptors.get(eio_sid, (-1, -1))
        if fd >= 0 and number in (None, of):
            del self._descriptors[eio_sid]
            os.close(fd)

    # -- the end -----------------------------------------------------------------------------------

    def finish(self, node: str) -> Front | None:
        """All that could come of a node has come, or it is dead: its ids are this node's now."""
        self.release(node)
        front = self.fronts.pop(node, None)
        if front is None:
            return None
        self.heirs.inherited_by(node, front.ids, self.bus.node)
        # But for sessions that have followed their clients since: a new node knows nothing of that.
        ids = [each for each in front.ids if each in self.heirs.own]
        inherited = handover_messages.Inherited(node, ids, list(front.adopted))
        for each in list(self.bus.nodes):
            self._post(each, Kind.INHERITED, inherited)
        return front

    def died(self, node: str) -> None:
        """A node is dead: it need not send here any more."""
        for front in list(self.fronts.values()):
            self._answer(front)


def _sid(key: bytes) -> str:
    return key[:SID].decode()
