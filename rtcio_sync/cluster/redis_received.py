"""What has come over Redis: each message once and in order, or it is asked for again. # hub"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import gevent

from ..errors import ProtocolError
from ..logs import Seldom
from .emitter_inbox import Outside
from .frames import Frames
from .messages import decoded
from .ports import Handlers
from .redis_heartbeats import EACH
from .redis_intake import Verdict
from .redis_membership import OLDEST_VERSION, VERSION, Identity
from .redis_nodes import Nodes
from .redis_outbox import HEADER
from .redis_peer import Dead, Hello, Note, Peer
from .redis_reader import Arrived, nack

__all__ = ["Received"]

log = logging.getLogger(__name__)

AGAIN = 3.0  # seconds in which the same entries are not sent again


class Received:
    """What comes for the node ``me``, for its ``handlers``.

    ``note(node, epoch, following)``: all before ``following`` has come, and is to be acknowledged.
    """

    def __init__(
        self,
        me: Identity,
        token: int,
        known: Nodes,
        *,
        handlers: Handlers,
        figures: dict[str, int],
        note: Callable[[str, int, int], None],
    ) -> None:
        self._me = me
        self._token = token
        self._known = known
        self._peers = known.peers
        self._handlers = handlers
        self._figures = figures
        self._note = note
        self._outside = Outside()
        self._errors = Seldom()

    def arrived(self, entry: Arrived) -> None:
        """Something of a node is in the inbox."""
        node, token = entry.sender, entry.token
        if node == self._me.node or self._known.is_dead(node, token):
            return
        peer = self._peers.get(node)
        if peer is None or peer.token != token:
            peer = self._stranger(entry)
            if peer is None:
                return
        verdict = peer.intake.judge(entry.epoch, entry.number, peer.epoch)
        if verdict == Verdict.ANEW:
            self._known.begin_again(peer, entry.epoch)
            verdict = peer.intake.judge(entry.epoch, entry.number, entry.epoch)
        if verdict == Verdict.GAP:
            self.ask_again(peer)
        elif verdict != Verdict.STALE:
            self._note(node, entry.epoch, peer.intake.following)
            if verdict == Verdict.TAKE:
                peer.gap = False
                self._hand_on(peer, entry.body)

    def asked_again(self, asked: Arrived) -> None:
        """A node misses what this one has sent, from a number on."""
        peer = self._peers.get(asked.sender)
        if peer is None or peer.token != asked.token:
            return
        target, now = peer.target, time.monotonic()
        if asked.epoch != peer.epoch:
            return
        number, when = peer.repeated
        if asked.number != number or now - when > AGAIN:  # else it is on its way
            peer.repeated = asked.number, now
            target.outbox.rewind(asked.number)
            target.writer.resume(target)

    def unreadable(self) -> None:
        """Something in the inbox is dropped."""
        self._known.drop("channel", 1)

    def from_outside(self, value: bytes) -> None:
        """Something of a process that is no node (`emitter`) is in the inbox."""
        for kind, key, body in self._outside.take(value):
            self._figures["messages_in"] += 1
            self._handlers.received("", kind, key, body)

    def _stranger(self, entry: Arrived) -> Peer | None:
        """A node whose first entry it is."""
        if entry.number:
            return None
        frames = Frames().feed(entry.body)
        if not frames or frames[0].kind != Note.HELLO:
            raise ProtocolError("channel")
        hello = decoded(Hello, frames[0].body)
        if not OLDEST_VERSION <= hello.version <= VERSION or hello.host == self._me.host:
            return None
        return self._known.meet(entry.sender, entry.token, hello.host, hello.born)

    def ask_again(self, peer: Peer) -> None:
        """Asks for entries that Redis has lost, at once and then every second.

        Not as a message: those of this node may be missing there, too.
        """
        now = time.monotonic()
        peer.gap = True
        if now - peer.nacked >= EACH:
            peer.nacked = now
            target = peer.target
            given = self._me.node.encode(), self._token, peer.epoch, peer.intake.following
            target.writer.call(nack(target.inbox, HEADER.pack(*given)), lambda reply: None)

    def _hand_on(self, peer: Peer, body: bytes) -> None:
        node, figures = peer.node, self._figures
        figures["bytes_in"] += len(body)
        for kind, key, content in Frames().feed(body):
            if kind >= Note.HELLO:
                self._noted(peer, kind, content)
            else:
                figures["messages_in"] += 1
                try:
                    self._handlers.received(node, kind, key, content)
                except (ProtocolError, UnicodeDecodeError):
                    self.unreadable()
                except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
                    self.unreadable()
                    more = self._errors.more(time.monotonic())
                    if more is not None:
                        said = "A message from another node failed%s"
                        gevent.spawn(log.error, said, more, exc_info=error)
            if self._peers.get(node) is not peer:
                return

    def _noted(self, peer: Peer, kind: int, body: bytes) -> None:
        if kind == Note.BYE:
            self._known.died(peer.node, peer.token)
        elif kind == Note.DEAD:
            dead = decoded(Dead, body)
            if dead.node != self._me.node:
                self._known.died(dead.node, dead.token)
