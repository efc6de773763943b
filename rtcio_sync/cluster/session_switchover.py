"""Messages for a session that has gone to another node, until all nodes send them there. # hub

H has given the session to N (`session_claims`), X is any other node. N says to each X that it has
the session. From then on X sends to N what is for it, says so to N, and says to H that nothing more
comes. H passes on to N what still comes from X, and at its end, that it is the end. Until then N
holds back what X sends to it directly. So what X sends to one session stays in order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

from msgspec.structs import replace

from ..engineio.ids import SID, is_pid
from ..errors import ProtocolError
from ..protocol.envelope import Drop
from ..transport.ports import Later
from .handover_heir import FOR_MEMBERS, SEVERAL, Handler
from .handover_messages import For, Mine, Of, Over, Refused
from .held_messages import HeldMessages, Message
from .id_owners import Heirs
from .messages import Kind, Left, Member, Struct, decoded, encoded, rooms_of
from .ports import Bus
from .remote_rooms import Replica

__all__ = ["OVER", "REFUSED", "Switchover", "Tell"]

SETTLE_WITHIN = 5.0  # seconds in which all others have heard who has a session

MINE, SWITCHED, FIN, LAST = "session here", "session switched", "session fin", "session last"
OVER = "session over"
REFUSED = "session refused"


class Tell(Protocol):
    """Tells a node something, in order with all that is posted to it."""

    def __call__(self, node: str, what: str, about: bytes) -> None: ...


class _Given:
    """A session that ``node`` has got, and whose messages still come here from ``senders``.

    ``number``: of its claim. ``left``: what they are told if it is lost.
    """

    def __init__(
        self, node: str, number: int, senders: Iterable[str], left: Left, pid: str
    ) -> None:
        self.node = node
        self.number = number
        self.pid = pid
        self.senders = set(senders)
        self.left = left

    def passes(self, origin: str) -> bool:
        """Whether an event of a node is to be passed on. The node with the session has a copy."""
        return origin in self.senders and origin != self.node


class _Sender:
    """What another node sends for a session that has come here."""

    __slots__ = ("finished", "held", "switched")

    def __init__(self, overflowed: Callable[[], None], *, switched: bool, finished: bool) -> None:
        #: It sends here; nothing more of it comes through the node before.
        self.switched, self.finished = switched, finished
        self.held = HeldMessages(overflowed)


class _Taken:
    """A session that has come from ``source``, until all others have switched."""

    def __init__(self, mine: Mine, senders: dict[str, _Sender]) -> None:
        self.mine = mine
        self.source = mine.before
        self.pid = mine.pid
        self.senders = senders


class Switchover:
    """The sessions of one node that have just come, or gone.

    ``changed()`` is called when one of them is settled, or a further one is not. ``lost(sid)``
    tells the peers here of one that is over; it returns whether peers hear of it.
    """

    def __init__(
        self,
        replica: Replica,
        later: Later,
        *,
        handle: Handler,
        post: Callable[[str, int, Struct], object],
        tell: Tell,
        changed: Callable[[], None],
        lost: Callable[[str], bool],
        overflowed: Callable[[], None],
    ) -> None:
        self._replica = replica
        self._later = later
        self._handle = handle
        self._post = post
        self._tell = tell
        self._changed = changed
        self._lost_here = lost
        self._overflowed = overflowed
        self.bus: Bus
        self.heirs: Heirs
        self._given: dict[str, _Given] = {}
        self._taken: dict[str, _Taken] = {}
        # By node that was not met in time: the sessions here that it may take for another node's.
        self._unmet: dict[str, dict[str, Mine]] = {}
        self.inline: dict[str, Callable[[str, int, bytes], None]] = {
            MINE: self._mine,
            SWITCHED: self._has_switched,
            FIN: self._fin,
            LAST: self._last,
            REFUSED: self._refused,
        }

    def begin_anew(self) -> None:
        """All sessions are over."""
        self._given.clear()
        self._taken.clear()
        self._unmet.clear()

    @property
    def settled(self) -> bool:
        """Whether all nodes know where the sessions are that have moved."""
        return not (self._given or self._taken)

    def is_settled(self, sid: str) -> bool:
        """The same for one session that has come here."""
        return sid not in self._taken

    @property
    def coming(self) -> set[str]:
        """The sids and the keys of sessions that have come here, and of which not all know yet."""
        return {name for sid, each in self._taken.items() for name in (sid, each.pid)}

    def holds_of(self, node: str) -> bool:
        """Whether something of a node may be held back."""
        return any(node in each.senders for each in self._taken.values())

    @property
    def receivers(self) -> set[str]:
        """The nodes to which messages are passed on."""
        return {each.node for each in self._given.values()}

    # -- H -----------------------------------------------------------------------------------------

    def give(self, node: str, number: int, left: Left, pid: str, relays: bool) -> None:
        """A node gets a session, and all that comes for it from now on."""
        sid = left.sid
        self._given[sid] = given = _Given(node, number, self.bus.nodes, left, pid)
        self.ended([sid])
        self._later(SETTLE_WITHIN, self._forget, sid, given)
        self.heirs.moved((sid, pid), node)
        if left.rooms:
            self._replica.join(node, left.namespace, sid, left.rooms, relays=relays)
        self._changed()

    def _forget(self, sid: str, given: _Given) -> None:
        if self._given.get(sid) is given:
            del self._given[sid]
            self._changed()

    def _refused(self, node: str, number: int, body: bytes) -> None:
        self.refused(node, decoded(Refused, body).number)

    def refused(self, node: str, number: int) -> None:
        """What was given for this claim is at no node: it is over, and all hear of that."""
        for sid, given in list(self._given.items()):
            if (given.node, given.number) == (node, number):
                self._end(sid, given)

    def _end(self, sid: str, given: _Given) -> None:
        heard, namespace = self._lost_here(sid), given.left.namespace
        self.heirs.forget((sid, given.pid), given.node)
        for each in list(self.bus.nodes):
            if heard:
                self._post(each, Kind.TOLD, Member(namespace, sid))
            self._post(each, Kind.LEFT, given.left)
            self._tell(each, OVER, encoded(Over([sid, given.pid])))
        self._forget(sid, given)

    def _fin(self, node: str, number: int, body: bytes) -> None:
        of = decoded(Of, body)
        self._finished(of.sid, of.node, node)

    def _finished(self, sid: str, holder: str, sender: str) -> None:
        self._tell(holder, LAST, encoded(Of(sid, sender)))
        given = self._given.get(sid)
        if given is not None and given.node == holder:
            given.senders.discard(sender)
            if not given.senders:
                self._forget(sid, given)

    # -- X -----------------------------------------------------------------------------------------

    def _mine(self, node: str, number: int, body: bytes) -> None:
        mine = decoded(Mine, body)
        if len(mine.sid) != SID or not is_pid(mine.pid) or mine.sid in self._taken:
            raise ProtocolError(Drop.CHANNEL)
        self.heirs.moved((mine.sid, mine.pid), node)
        rooms = rooms_of(mine.rooms)
        self._replica.become(node, mine.namespace, mine.sid, rooms, relays=mine.relays)
        self._tell(node, SWITCHED, encoded(Of(mine.sid, mine.before)))
        if mine.before in self.bus.nodes:
            self._tell(mine.before, FIN, encoded(Of(mine.sid, node)))
        else:
            self._tell(node, LAST, encoded(Of(mine.sid, self.bus.node)))

    # -- N -----------------------------------------------------------------------------------------

    def take(self, mine: Mine, others: Collection[str]) -> None:
        """A session has come. ``others``: of which the node before passes on what comes."""
        sid, source, alive = mine.sid, mine.before, self.bus.nodes
        senders = {
            # One of the two may know already that a third one is dead, or not yet that it lives.
            each: _Sender(self._overflowed, switched=each not in alive, finished=each not in others)
            for each in {*others, *alive} - {self.bus.node, source}
        }
        if senders:
            self._await(mine, senders)
        self.heirs.taken((sid, mine.pid))
        self._replica.take(sid)
        self._tell(source, FIN, encoded(Of(sid, self.bus.node)))
        self._changed()

    def _await(self, mine: Mine, senders: dict[str, _Sender]) -> None:
        self._taken[mine.sid] = taken = _Taken(mine, senders)
        self._later(SETTLE_WITHIN, self._enough, mine.sid, taken)

    def announce(self, mine: Mine) -> None:
        """Says to all others that it is here."""
        body = encoded(mine)
        for node in list(self.bus.nodes):
            if node != mine.before:
                self._tell(node, MINE, body)

    def joined(self, node: str, rooms_of: Callable[[str, str], list[Any]]) -> None:
        """A node lives of which the node before has known first: it has to hear of this, too.

        Called before it hears of any members here. ``rooms_of(sid, namespace)``: those of one.
        """
        for sid, mine in self._unmet.pop(node, {}).items():
            finished = mine.before not in self.bus.nodes
            sender = _Sender(self._overflowed, switched=False, finished=finished)
            if sid not in self._taken:
                self._await(mine, {})
            self._taken[sid].senders.setdefault(node, sender)
        for sid, taken in self._taken.items():
            if node in taken.senders:
                taken.senders[node].switched = False
                rooms = rooms_of(sid, taken.mine.namespace)
                self._tell(node, MINE, encoded(replace(taken.mine, rooms=rooms)))
        self._changed()

    def ended(self, sids: Collection[str]) -> None:
        """Sessions are not here any more."""
        for node, mine in list(self._unmet.items()):
            for sid in sids:
                mine.pop(sid, None)
            if not mine:
                del self._unmet[node]

    def _has_switched(self, node: str, number: int, body: bytes) -> None:
        of = decoded(Of, body)
        sender = self._sender(of.sid, node)
        if sender is not None:
            sender.switched = True
            self._settle(of.sid, node)

    def _last(self, node: str, number: int, body: bytes) -> None:
        of = decoded(Of, body)
        sender = self._sender(of.sid, of.node)
        if sender is not None:
            sender.finished = True
            self._settle(of.sid, of.node)

    def _sender(self, sid: str, node: str) -> _Sender | None:
        taken = self._taken.get(sid)
        return None if taken is None else taken.senders.get(node)

    def _settle(self, sid: str, node: str) -> None:
        taken = self._taken[sid]
        sender = taken.senders[node]
        if not (sender.switched and sender.finished):
            return
        del taken.senders[node]
        if not taken.senders:
            del self._taken[sid]
        for message in sender.held:
            self._handle(message, only={sid} if message[1] in SEVERAL else None)
        self._changed()

    def _enough(self, sid: str, taken: _Taken) -> None:
        """Somebody stands still, or is not met."""
        for node, sender in list(taken.senders.items()):
            if self._taken.get(sid) is taken:
                if node not in self.bus.nodes:
                    self._unmet.setdefault(node, {})[sid] = taken.mine
                sender.switched = sender.finished = True
                self._settle(sid, node)

    # -- messages for members ----------------------------------------------------------------------

    def hidden_from(self, origin: str) -> Collection[str]:
        """The sids that an event which has come directly from a node is not for, now."""
        taken = self._taken
        return {sid for sid, each in taken.items() if origin in each.senders} if taken else ()

    def takes(self, message: Message) -> bool:
        """Passes on, or holds back, what another node has sent; `True`: it is for nobody here."""
        origin, kind, key, _ = message
        if kind in SEVERAL:
            gone = [sid for sid, each in self._given.items() if each.passes(origin)]
            self._pass_several(message, gone)
            for each in self._taken.values():
                sender = each.senders.get(origin)
                if sender is not None and sender.switched:
                    sender.held.add(message)
            return False
        if kind not in FOR_MEMBERS or not key:
            return False
        sid = key[:SID].decode()
        given = self._given.get(sid)
        if given is not None:
            if given.node != origin:
                self._post(given.node, Kind.FOR, For(*message))
            return True
        sender = self._sender(sid, origin)
        if sender is None:
            return False
        sender.held.add(message)
        return True

    def pass_again(self, message: Message, sids: Collection[str]) -> None:
        """Passes an event on that came for members which have left to this node, and moved on."""
        if self._given:
            self._pass_several(message, [sid for sid in sids if sid in self._given])

    def _pass_several(self, message: Message, sids: Iterable[str]) -> None:
        to: dict[str, list[str]] = {}
        for sid in sids:
            to.setdefault(self._given[sid].node, []).append(sid)
        origin, kind, _, body = message
        for node, those in to.items():
            self._post(node, Kind.FOR, For(origin, kind, "".join(those).encode(), body))

    def passed(self, message: Message) -> bool:
        """Something that H has passed on; `False`: it was for no session that has come here.

        The key of an event has the sids that it is for.
        """
        _, kind, key, _ = message
        if kind in SEVERAL:
            text = key.decode("ascii", "replace")
            sids = [text[at : at + SID] for at in range(0, len(text), SID)]
            here = {sid for sid in sids if sid in self.heirs.own}
            if here:
                self._handle(message, only=here)
            self.pass_again(message, sids)
            return bool(sids)
        sid = key[:SID].decode()
        given = self._given.get(sid)
        if given is not None:
            self._post(given.node, Kind.FOR, For(*message))
        elif sid in self.heirs.own:
            self._handle(message)
        else:
            return False
        return True

    # -- the end -----------------------------------------------------------------------------------

    def died(self, node: str) -> None:
        """A node is dead. All that it has sent was received."""
        for sid, given in list(self._given.items()):
            if given.node == node:
                del self._given[sid]
                self._lost(given)
            elif node in given.senders:
                self._finished(sid, given.node, node)
        for sid, taken in list(self._taken.items()):
            for each, sender in list(taken.senders.items()):
                sender.switched = sender.switched or each == node
                sender.finished = sender.finished or taken.source == node
                self._settle(sid, each)

    def _lost(self, given: _Given) -> None:
        """A session has died on its way: for those that have not switched, it is still here."""
        left: Any = given.left
        for each in given.senders - {given.node}:
            self._post(each, Kind.TOLD, Member(left.namespace, left.sid))
            self._tell(each, OVER, encoded(Over([left.sid, given.pid])))
            # What the dead node has said of it may still be on its way to that one.
            self._later(SETTLE_WITHIN, self._post, each, Kind.LEFT, left)
