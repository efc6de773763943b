"""Which members of other nodes are in which rooms, and peer-left to their peers here. # hub

Nothing here waits, unless it says greenlet.
"""

from __future__ import annotations

from functools import partial

from ..adapter.emit import RoomIndex
from ..events import RtcioEvents
from . import messages
from .messages import rooms_of
from .ports import Relays, Tasks
from .remote_rooms import Ghost, Replica

__all__ = ["Presence"]

AT_A_TIME = 100  # dead sockets whose peers are told in one turn of the loop


class Presence:
    """The members of other nodes, as one node is told of them."""

    def __init__(self, manager: RoomIndex, tasks: Tasks, relays: Relays) -> None:
        self._manager = manager
        self._tasks = tasks
        self._relays = relays
        self.replica = Replica()

    def joined(self, node: str, message: messages.Joined) -> None:
        rooms = rooms_of(message.rooms)
        self.replica.join(node, message.namespace, message.sid, rooms, relays=message.relays)

    def left(self, node: str, message: messages.Left) -> None:
        self.replica.leave(node, message.sid, rooms_of(message.rooms))

    def told(self, node: str, message: messages.Member) -> None:
        ghost = self.replica.ghost(message.sid)
        if ghost is not None:
            self._tell_peers(ghost)

    def back(self, node: str, message: messages.Member) -> None:
        ghost = self.replica.ghost(message.sid)
        if ghost is not None:
            ghost.told_rooms, ghost.told = set(), set()

    def lost(self, sid: str) -> bool:
        """A session is over, which was given to another node; whether its peers hear of it."""
        ghost = self.replica.ghost(sid)
        if ghost is None:
            return False
        heard = self._is_heard_of(ghost)
        if heard:
            self._tell_peers(ghost)
        self.replica.leave(ghost.node, sid, list(ghost.rooms))
        return heard

    def _is_heard_of(self, ghost: Ghost) -> bool:
        return ghost.relays or self._relays.serves_namespace(ghost.namespace)

    def died(self, node: str) -> list[Ghost]:
        """A node is dead; its members, whose peers are told."""
        ghosts = self.replica.ghosts_of(node)
        self.replica.drop(node)
        if ghosts:
            self._tasks.spawn(self._tell_of_dead, ghosts)
        return ghosts

    def _tell_of_dead(self, ghosts: list[Ghost]) -> None:  # greenlet
        for number, ghost in enumerate(ghosts):
            if self._is_heard_of(ghost):
                self._tell_peers(ghost)
            if number % AT_A_TIME == AT_A_TIME - 1:
                self._tasks.sleep(0)

    def _tell_peers(self, ghost: Ghost) -> None:  # hub or greenlet
        """Sends peer-left to the sockets of this node that share a room with a lost one, once."""
        rooms = [room for room in ghost.rooms if room not in ghost.told_rooms]
        if not rooms:
            return
        ghost.told_rooms.update(rooms)
        inside = self._manager.sids_in(ghost.namespace, rooms)
        those = [sid for sid in inside if sid not in ghost.told]
        ghost.told.update(those)
        if those:
            event, payload = RtcioEvents.PEER_LEFT, {"id": ghost.sid}
            send = partial(self._manager.emit_here, event, payload, ghost.namespace, those)
            if self._manager.late:
                self._tasks.spawn(send)
            else:
                send()
