"""The other nodes of the bus over Redis: met, parked while too much waits for them, dead. # hub"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import gevent

from .frames import frame
from .messages import encoded
from .ports import Handlers
from .redis_masters import Masters
from .redis_membership import VERSION, Census, Identity
from .redis_outbox import Bounds, Budget, Outbox
from .redis_peer import Hello, Note, Peer
from .redis_writer import Target

__all__ = ["Nodes"]

log = logging.getLogger(__name__)

MOST_GRAVES = 10_000  # dead nodes that are remembered
PARKED = 5.0  # seconds until a node is met again for which too much waited


class Nodes:
    """The others, for the node ``me``.

    ``keys(node)``: of its inbox and its acknowledgements. ``ready()``: whether there is contact to
    Redis. ``forget(node)`` is called when one is dead. ``dropped``: as for `RedisBus`.
    """

    def __init__(
        self,
        me: Identity,
        token: int,
        *,
        handlers: Handlers,
        census: Census,
        masters: Masters,
        keys: Callable[[str], tuple[str, str]],
        ready: Callable[[], bool],
        forget: Callable[[str], None],
        bounds: Bounds,
        dropped: Callable[[str, int], None],
    ) -> None:
        self._me = me
        self._token = token
        self._hello = encoded(Hello(VERSION, me.host, me.born))
        self._handlers = handlers
        self._census = census
        self._masters = masters
        self._keys = keys
        self._ready = ready
        self._forget = forget
        self._on_dropped = dropped
        self._budget = Budget(bounds)
        #: Those that live and are met, and when they have begun, as they say.
        self.peers: dict[str, Peer] = {}
        self.births: dict[str, int] = {}
        self._graves: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._parked: dict[str, tuple[Peer, float]] = {}
        self._past = {"resent": 0, "unprotected": 0}  # of peers that are dead
        self._dropped: dict[str, int] = {}

    def is_dead(self, node: str, token: int) -> bool:
        return (node, token) in self._graves

    def clear(self) -> None:
        """Forgets all that live, and calls no handler."""
        self.peers.clear()
        self.births.clear()

    def figures(self) -> dict[str, Any]:
        """Of what goes to them."""
        boxes = [peer.target.outbox for peer in self.peers.values()]
        oldest = [box.oldest for box in boxes if box.oldest is not None]
        return {
            "resent": self._past["resent"] + sum(box.resent for box in boxes),
            "unprotected": self._past["unprotected"] + sum(box.unprotected for box in boxes),
            "dropped": dict(self._dropped),
            "kept_bytes": self._budget.kept,
            "oldest_seconds": time.monotonic() - min(oldest) if oldest else 0.0,
        }

    def meet(self, node: str, token: int, host: str, born: int) -> Peer | None:
        """A node lives; `None`: it is parked, and met later."""
        peer = self.peers.get(node)
        if peer is not None and peer.token != token:
            self.died(node, peer.token)
            peer = None
        if peer is None and node not in self._parked:
            peer = Peer(node, token, host, born, self._target(node))
            self._census.met(node, token)
            if self._budget.spent:  # it will be told all rooms of this node: one after the other
                self._parked[node] = peer, 0.0
                return None
            self._join(peer)
        return peer

    def _join(self, peer: Peer) -> None:
        node, target = peer.node, peer.target
        self.peers[node] = peer
        self.births[node] = peer.born
        self._masters.add(target)
        target.writer.want(target)
        self._handlers.joined(node)
        self._handlers.met(node)

    def _target(self, node: str) -> Target:
        inbox, acks = self._keys(node)
        outbox = Outbox(
            (self._me.node.encode(), self._token),
            1,
            budget=self._budget,
            clock=time.monotonic,
            begin=lambda epoch: frame(Note.HELLO, self._hello),
            dropped=self.drop,
        )
        return Target(self._me.node, inbox, acks, outbox, self._masters.writer(inbox))

    def drop(self, reason: str, messages: int) -> None:
        """Counts messages that are given up."""
        self._dropped[reason] = self._dropped.get(reason, 0) + messages
        self._on_dropped(reason, messages)

    def died(self, node: str, token: int) -> None:
        """A node is dead: it is never met again."""
        self._graves[node, token] = None
        if len(self._graves) > MOST_GRAVES:
            self._graves.popitem(last=False)
        parked = self._parked.pop(node, None)
        if parked is not None:
            parked[0].target.outbox.end()
        peer = self.peers.get(node)
        if peer is None or peer.token != token:
            return
        outbox = peer.target.outbox
        self._past["resent"] += outbox.resent
        self._past["unprotected"] += outbox.unprotected
        self._census.forget(node)
        self._forget(node)
        self._part(peer)
        outbox.end()

    def _part(self, peer: Peer) -> None:
        del self.peers[peer.node]
        del self.births[peer.node]
        peer.target.writer.discard(peer.target)
        self._handlers.died(peer.node)

    def begin_again(self, peer: Peer, epoch: int) -> None:
        """One of the two had to drop what must not be missed: both tell each other all again."""
        self._part(peer)
        peer.begin_again(epoch)
        self._join(peer)

    def park(self, peer: Peer) -> None:
        """Too much waits for a node: nothing is kept for it until it can be told all again."""
        if self.peers.get(peer.node) is peer:
            self._part(peer)
            peer.begin_again(peer.epoch + 1)
            self._parked[peer.node] = peer, time.monotonic() + PARKED
            said = "too many messages wait for node %s: it gets the whole state again later"
            gevent.spawn(log.warning, said, peer.node)

    def unpark(self) -> None:
        """Meets parked nodes, as far as there is room."""
        now = time.monotonic()
        for node, (peer, when) in list(self._parked.items()):
            if self._budget.spent or not self._ready():
                return
            if now >= when and self._masters.writer(peer.target.inbox).line.link is not None:
                del self._parked[node]
                self._join(peer)
