"""The rooms of the members of other nodes, as those nodes have told.

Plain data, used by one thread. # hub or greenlet
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from typing import Any

__all__ = ["Expected", "Ghost", "Replica"]


class Ghost:
    """A member of another node, in rooms."""

    __slots__ = ("namespace", "node", "relays", "rooms", "sid", "told", "told_rooms")

    def __init__(self, node: str, namespace: str, sid: str, *, relays: bool) -> None:
        self.node = node
        self.namespace = namespace
        self.sid = sid
        #: Whether its peers hear of its end.
        self.relays = relays
        #: Its rooms, in the order of joining.
        self.rooms: dict[Any, None] = {}
        #: The rooms and the sids of this node that got its peer-left already.
        self.told_rooms: set[Any] = set()
        self.told: set[str] = set()


class Expected:
    """Joins that this node has asked others for, and that they have not told of yet.

    Until then a room may have members there, of which the replica does not know.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._asked: dict[tuple[str, int], list[tuple[str, Any]]] = {}
        self._nodes: dict[tuple[str, Any], dict[str, int]] = {}
        # What one node alone was asked for.
        self._one: dict[int, str] = {}

    def begin(self, nodes: Iterable[str], namespace: str, rooms: Iterable[Any]) -> int:
        """These nodes are asked for joins to these rooms; returns the number for `done`."""
        number = next(self._numbers)
        nodes = list(nodes)
        if len(nodes) == 1:
            self._one[number] = nodes[0]
        places = [(namespace, room) for room in rooms]
        for node in nodes:
            self._asked[node, number] = places
            for place in places:
                counted = self._nodes.setdefault(place, {})
                counted[node] = counted.get(node, 0) + 1
        return number

    def done(self, node: str, number: int) -> None:
        """A node has done it, and has told what came of it."""
        # If one node was asked, and not this one: the member has moved to this one.
        asked = self._one.pop(number, node)
        for place in self._asked.pop((asked, number), ()):
            counted = self._nodes[place]
            counted[asked] -= 1
            if not counted[asked]:
                del counted[asked]
                if not counted:
                    del self._nodes[place]

    def nodes_of(self, namespace: str, room: Any) -> Iterable[str]:
        """The nodes that may have members in a room."""
        return self._nodes.get((namespace, room), ())

    def drop(self, node: str) -> None:
        """A node is dead."""
        for asked, number in list(self._asked):
            if asked == node:
                self.done(node, number)


class Replica:
    """The members of other nodes that are in rooms, by sid, by room and by node."""

    def __init__(self) -> None:
        self.expected = Expected()
        self._by_node: dict[str, dict[str, Ghost]] = {}
        # The nodes of members that have moved to another one: by sid.
        self._moved: dict[str, str] = {}
        # By namespace and room: how many members of each node are inside.
        self._inside: dict[tuple[str, Any], dict[str, int]] = {}

    def ghost(self, sid: str) -> Ghost | None:
        """The member with this sid, if it is in a room."""
        node = self._moved.get(sid, sid[:4]) if self._moved else sid[:4]
        found: Ghost | None = self._by_node.get(node, {}).get(sid)
        return found

    def nodes_in(self, namespace: str, room: Any) -> Iterable[str]:
        """The nodes that have members in a room, or may have by now."""
        found = self._inside.get((namespace, room), ())
        expected = self.expected.nodes_of(namespace, room)
        return {*found, *expected} if expected else found

    def places(self, nodes: Collection[str]) -> set[tuple[str, Any]]:
        """The rooms with members of any of these nodes, and their namespaces."""
        return {
            place for place, inside in self._inside.items() if not inside.keys().isdisjoint(nodes)
        }

    def rooms_of(self, sid: str) -> list[Any]:
        """The rooms of a member, in the order of joining."""
        found = self.ghost(sid)
        return [] if found is None else list(found.rooms)

    def ghosts_of(self, node: str) -> list[Ghost]:
        """The members of a node."""
        return list(self._by_node.get(node, {}).values())

    def join(
        self, node: str, namespace: str, sid: str, rooms: Iterable[Any], *, relays: bool
    ) -> None:
        """A member of ``node`` is in these rooms."""
        self.move(sid, node)
        if node != sid[:4]:
            self._moved[sid] = node
        here = self._by_node.setdefault(node, {})
        ghost = here.get(sid)
        if ghost is None:
            ghost = here[sid] = Ghost(node, namespace, sid, relays=relays)
        ghost.relays = relays
        for room in rooms:
            if room not in ghost.rooms:
                ghost.rooms[room] = None
                self._more(ghost, room)

    def become(
        self, node: str, namespace: str, sid: str, rooms: Iterable[Any], *, relays: bool
    ) -> None:
        """A member is one of ``node``, and in these rooms and no others."""
        now = list(rooms)
        ghost = self.ghost(sid)
        if ghost is not None:
            self.leave(ghost.node, sid, [room for room in ghost.rooms if room not in now])
        if now:
            self.join(node, namespace, sid, now, relays=relays)

    def leave(self, node: str, sid: str, rooms: Iterable[Any]) -> None:
        """It is no longer in these."""
        here = self._by_node.get(node, {})
        ghost = here.get(sid)
        if ghost is None:
            return
        for room in rooms:
            if room in ghost.rooms:
                del ghost.rooms[room]
                ghost.told_rooms.discard(room)
                self._less(ghost, room)
        if not ghost.rooms:
            del here[sid]
            self._moved.pop(sid, None)

    def move(self, sid: str, node: str) -> None:
        """A member is one of another node now, if it was not before."""
        ghost = self.ghost(sid)
        if ghost is None or ghost.node == node:
            return
        self._moved[sid] = node
        del self._by_node[ghost.node][sid]
        for room in ghost.rooms:
            self._less(ghost, room)
        ghost.node = node
        self._by_node.setdefault(node, {})[sid] = ghost
        for room in ghost.rooms:
            self._more(ghost, room)

    def take(self, sid: str) -> None:
        """A member is one of this node now."""
        ghost = self.ghost(sid)
        self._moved.pop(sid, None)
        if ghost is not None:
            del self._by_node[ghost.node][sid]
            for room in ghost.rooms:
                self._less(ghost, room)

    def drop(self, node: str) -> None:
        """A node is dead."""
        self.expected.drop(node)
        for ghost in self._by_node.pop(node, {}).values():
            self._moved.pop(ghost.sid, None)
            for room in ghost.rooms:
                self._less(ghost, room)

    def _more(self, ghost: Ghost, room: Any) -> None:
        inside = self._inside.setdefault((ghost.namespace, room), {})
        inside[ghost.node] = inside.get(ghost.node, 0) + 1

    def _less(self, ghost: Ghost, room: Any) -> None:
        place = ghost.namespace, room
        inside = self._inside[place]
        inside[ghost.node] -= 1
        if not inside[ghost.node]:
            del inside[ghost.node]
            if not inside:
                del self._inside[place]
