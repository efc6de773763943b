"""What a node knows of nodes that leave and of their heirs, and its own part in that. # hub

`handover_giver` is the part of the node that leaves, `handover_heir` that of its heir. Here is that
of all others, and the end of a node: who of its members is lost, and who is its heir's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ..adapter.emit import RoomIndex
from ..transport.ports import Later
from . import handover_messages
from .handover_giver import Leaving
from .handover_heir import SEVERAL, Arrivals, Handler
from .held_messages import Message
from .id_owners import Heirs
from .messages import Kind, Struct, can_be_sent
from .ports import Bus, Sessions, Tasks
from .remote_rooms import Replica
from .session_claims import Claims
from .session_switchover import Tell

__all__ = ["Lost", "Succession"]

INHERITED_WITHIN = 2.0  # seconds in which an heir says what it has got of a node that died

#: Whether the member with a sid is lost, now that a node is dead.
Lost = Callable[[str], bool]


class Succession:
    """``bury(node, ids, lost)``: a node is dead; nobody has its ``ids`` any more.

    ``lost`` and ``failed``: as `Claims` has them.
    """

    def __init__(
        self,
        manager: RoomIndex,
        replica: Replica,
        tasks: Tasks,
        later: Later,
        *,
        handle: Handler,
        post: Callable[[str, int, Struct], bool],
        overflowed: Callable[[], None],
        bury: Callable[[str, Collection[str], Lost], None],
        tell_joined: Callable[[str, str], None],
        tell: Tell,
        lost: Callable[[str], bool],
        failed: Callable[[str, Exception], None],
    ) -> None:
        self._manager = manager
        self._later = later
        self._post = post
        self._handle = handle
        self._bury_now = bury
        self.arrivals = Arrivals(replica, handle, post, later, overflowed, tell_joined)
        self.leaving = Leaving(manager, replica, tasks, handle, post, overflowed)
        self.leaving.receives = lambda: bool(self.arrivals.fronts)
        self.claims = Claims(
            replica,
            tasks,
            later,
            handle=handle,
            post=post,
            tell=tell,
            overflowed=overflowed,
            leaves=lambda: self.leaving.begun,
            receives=lambda: bool(self.arrivals.fronts),
            lost=lost,
            failed=failed,
        )
        self.leaving.at_rest = lambda: self.claims.settled
        self.heirs: Heirs
        self.bus: Bus
        # Of nodes that have left: their ids, and the sids that live on.
        self._kept: dict[str, tuple[set[str], set[str]]] = {}
        #: Dead nodes of which their heirs have to say what they have got.
        self._unburied: set[str] = set()
        #: By node that leaves: what it has said, if its heir is not known here yet.
        self._unknown: dict[str, handover_messages.Moving] = {}

    def begin(self, bus: Bus) -> None:
        """The bus is there."""
        self.bus = self.arrivals.bus = self.leaving.bus = bus
        self.heirs = self.arrivals.heirs = self.leaving.heirs = Heirs(bus.node, bus.nodes)
        self.claims.begin(bus, self.heirs)

    def begin_anew(self) -> None:
        """The bus has another id, and all other nodes were dead for a moment."""
        self.heirs.begin_anew(self.bus.node)
        self.claims.begin_anew()
        self._kept.clear()
        self._unknown.clear()

    def enable(self, sessions: Sessions) -> None:
        """Sessions can come and go."""
        self.arrivals.sessions = self.leaving.sessions = self.claims.sessions = sessions

    @property
    def handlers(self) -> dict[int, Callable[[str, object], None]]:
        """What to call for each kind of message: ``(node, structure)``."""
        arrivals, leaving = self.arrivals, self.leaving
        found: dict[int, Callable[..., None]] = {
            Kind.MOVING: self._moving,
            Kind.INHERITED: self._inherited,
            Kind.FOR: self._for,
            Kind.SWITCHED: arrivals.switched,
            Kind.PREPARE: arrivals.prepare,
            Kind.COMING: arrivals.coming,
            Kind.RELEASE: arrivals.release,
            Kind.FAREWELL: self._farewell,
            Kind.FIN: leaving.fin,
            Kind.READY: leaving.ready,
            Kind.ECHO: leaving.echo,
        }
        return found

    def takes(self, message: Message) -> bool:
        """Sends a message of another node on; `True`: it is not for members of this one."""
        if self.claims.open and self.claims.switchover.takes(message):
            return True
        return self.arrivals.passes(message) or self.leaving.passes(message)

    def joined(self, node: str) -> None:
        self.heirs.joined(node)
        self.claims.switchover.joined(node, self._rooms_of)
        inherited = [each for each in self.heirs.own if each != self.bus.node]
        if inherited:
            self._post(node, Kind.INHERITED, handover_messages.Inherited("", inherited, []))
        self.leaving.joined(node)
        for source, message in list(self._unknown.items()):
            if message.heir == node and source in self.bus.nodes:
                self._moving(source, message)

    def _rooms_of(self, sid: str, namespace: str) -> list[Any]:
        """The rooms of a member here that another node can know by their names."""
        member = self._manager.member(sid, namespace)
        return [] if member is None else [each for each in member.rooms or () if can_be_sent(each)]

    # -- another node leaves -----------------------------------------------------------------------

    def _moving(self, node: str, message: handover_messages.Moving) -> None:
        heir = message.heir
        self._unknown.pop(node, None)
        if heir == self.bus.node:
            self.arrivals.begin(node, message.ids)
        elif heir in self.bus.nodes:
            self.heirs.moving(node, message.ids, heir)
            self._post(heir, Kind.SWITCHED, handover_messages.Switched(node, message.ids))
        else:
            self._unknown[node] = message
            return
        self._post(node, Kind.FIN, handover_messages.Fin(message.number))

    def _for(self, node: str, message: handover_messages.For) -> None:
        body = message.node, message.kind, message.key, message.body
        if self.claims.switchover.passed(body):
            return
        front = self.arrivals.fronts.get(node)
        if front is not None:
            self.arrivals.passed_back(front, body)
            if message.kind in SEVERAL:
                self.claims.switchover.pass_again(body, front.adopted)
        elif node == self.leaving.heir:
            self.leaving.passed_on(body)
        elif node in self._kept:  # it has just left to this node
            self._handle(body, only=self._kept[node][1] if message.kind in SEVERAL else None)

    # -- the end of a node -------------------------------------------------------------------------

    def _farewell(self, node: str, message: handover_messages.Farewell) -> None:
        self._finish(node)

    def _finish(self, node: str) -> None:
        """This node has all that it gets of another one."""
        front = self.arrivals.finish(node)
        if front is not None:
            self._kept[node] = set(front.ids), front.adopted

    def _inherited(self, node: str, message: handover_messages.Inherited) -> None:
        self.heirs.inherited_by(message.source, message.ids, node)
        if not message.source:
            return
        if message.source in self._unburied:
            self._kept[message.source] = set(message.ids), set(message.kept)
            self._bury(message.source)
        elif message.source in self.bus.nodes:
            self._kept[message.source] = set(message.ids), set(message.kept)
        else:  # it died too long ago to wait for this: those that were not lost yet are now
            ids, kept, heirs = set(message.ids), set(message.kept), self.heirs
            self._bury_now(
                message.source,
                (),
                lambda sid: sid[:4] in ids and sid not in kept and not heirs.is_placed(sid),
            )

    def died(self, node: str) -> None:
        self._unknown.pop(node, None)
        self.claims.died(node)
        self.leaving.died(node)
        if node in self.arrivals.fronts:
            self._finish(node)
        self.arrivals.died(node)
        for each in list(self._unburied):  # whose heir this one was
            if self.heirs.nodes.get(each) == node:
                self._bury(each)
        self._unburied.add(node)
        heir = self.heirs.nodes.get(node)
        if self.heirs.is_leaving(node) and heir != node and heir in self.bus.nodes:
            self._later(INHERITED_WITHIN, self._bury, node)
        else:
            self._bury(node)

    def _bury(self, node: str) -> None:
        if node not in self._unburied:
            return
        self._unburied.discard(node)
        ids = self.heirs.died(node)
        left, kept = self._kept.pop(node, (set(), set()))
        gone, heirs = ids | left, self.heirs

        def lost(sid: str) -> bool:
            if sid in gone:
                return sid not in kept
            # One that has followed its client elsewhere lives on.
            return sid[:4] in gone and sid not in kept and not heirs.is_placed(sid)

        self._bury_now(node, ids, lost)
