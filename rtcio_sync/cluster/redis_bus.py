"""The bus between hosts, over Redis: an inbox for each node, which that node alone reads.

Redis carries, and says who lives (`census`). It keeps nothing that cannot be told again: a Redis
that forgets everything loses no message (`outbox`).
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, KeysView, Mapping
from typing import Any

import gevent
from gevent.event import Event

from ..errors import ProtocolError
from ..hub.ports import Loop, TimerWatcher
from ..transport.outgoing import turn_here
from .beats import EACH
from .census import OLDEST_VERSION, TOKENS, VERSION, Census, Identity, Record
from .doors import door
from .masters import Masters
from .outbox import HEADER, Bounds, Budget, Outbox, Verdict
from .peer import Dead, Hello, Note, Peer
from .ports import Handlers
from .reader import Arrived, Reader, nack
from .redis_link import Door
from .resp import ErrorReply, command
from .wire import DROPPABLE, Frames, decoded, encoded, frame
from .writer import Target

__all__ = ["RedisBus"]

log = logging.getLogger(__name__)

TICK = EACH / 2
SILENT = 3.0  # seconds without an answer, after which this counts as no contact
LAST_WORDS = 1.0  # seconds that a node which leaves waits for Redis
MOST_GRAVES = 10_000  # dead nodes that are remembered
AGAIN = 3.0  # seconds in which the same entries are not sent again
PARKED = 5.0  # seconds until a node is met again for which too much waited


class RedisBus:
    """The bus of one node. Raises `OptionError` for an address that cannot be read.

    ``refused(reason)``: the id was ``taken`` by another node, or this node was ``buried`` while it
    stood still. Nothing is carried any more: its owner has to close its clients and to begin anew
    with another id. # hub
    ``status()``: how many sessions and rooms there are. ``dropped(reason, messages)`` is called
    when messages are given up that `post` had taken.
    """

    def __init__(
        self,
        url: str,
        handlers: Handlers,
        me: Identity,
        *,
        prefix: str = "rtcio",
        refused: Callable[[str], None] = lambda reason: None,
        status: Callable[[], tuple[int, int]] = lambda: (0, 0),
        dropped: Callable[[str, int], None] = lambda reason, messages: None,
        bounds: Bounds | None = None,
    ) -> None:
        self._door: Door = door(url)
        self._handlers = handlers
        self._me = me
        self._prefix = prefix
        self._on_refused = refused
        self._on_dropped = dropped
        self.node = me.node
        self._token = 1 + secrets.randbelow(TOKENS - 1)
        self._hello = encoded(Hello(VERSION, me.host, me.born))
        self._budget = Budget(bounds or Bounds())
        self._peers: dict[str, Peer] = {}
        self._births: dict[str, int] = {}
        self._graves: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._turn = turn_here()
        self._reader: Reader | None = None
        self._tick: TimerWatcher | None = None
        self._leaving = self._stopped = False
        self._lost = False  # whether the log has said that Redis does not answer
        self._contact = Event()
        self._figures = {"messages_in": 0, "messages_out": 0, "bytes_in": 0, "bytes_out": 0}
        self._past = {"resent": 0, "unprotected": 0}  # of peers that are dead
        self._dropped: dict[str, int] = {}
        self._parked: dict[str, tuple[Peer, float]] = {}
        self._ticks = 0
        self._census = Census(
            me, self._token, prefix, call=self._call_nodes, events=self, status=status
        )
        self._masters = Masters(
            self._door,
            self._turn,
            (self._census.keys[0], self._keys(me.node)[0]),
            connected=self._census.connected,
            disconnected=self._disconnected,
            failed=self._say_lost,
            relocated=self._relocated,
        )
        #: The other nodes that live.
        self.nodes: KeysView[str] = self._peers.keys()
        #: When they have begun, as they say.
        self.births: Mapping[str, int] = self._births

    @property
    def _loop(self) -> Loop:
        return self._turn.loop

    # -- the owner's ---------------------------------------------------------------------------

    def start(self) -> None:
        """Looks for the others. Returns at once. # hub or greenlet"""
        masters = self._masters
        masters.start()
        inbox, acks = self._keys(self.node)
        self._reader = Reader(
            self._door, inbox, acks, self._token, self._turn,
            arrived=self._arrived, ready=self._ready, call=self._call_inbox,
            failed=masters.failed, objected=masters.objected, nacked=self._asked_again,
        )  # fmt: skip
        self._tick = self._loop.timer(TICK, TICK, ref=False)
        self._tick.start(self._ticked)

    def wait(self, seconds: float) -> bool:
        """Waits for the first contact; whether there is one. # greenlet"""
        return bool(self._contact.wait(seconds))

    @property
    def degraded(self) -> bool:
        """Whether there is no contact."""
        return not self._contact.is_set() or self._census.silent > SILENT

    def post(
        self, node: str, kind: int, body: bytes, key: bytes = b"", *, now: bool = False
    ) -> bool:
        """As `ports.Bus.post`."""
        peer = self._peers.get(node)
        if peer is None or self._leaving:
            return False
        made = frame(kind, body, key)
        target = peer.target
        if not target.outbox.add(made, lossy=kind in DROPPABLE):
            self._handlers.overflowed()
            return False
        figures = self._figures
        figures["messages_out"] += 1
        figures["bytes_out"] += len(made)
        if target.outbox.full():
            self._loop.run_callback(self._park, peer)
        else:
            target.writer.want(target, now=now)
        return True

    @property
    def heard(self) -> list[str]:
        """As `ports.Bus.heard`."""
        return [node for node, peer in self._peers.items() if peer.intake.following]

    def born(self, node: str) -> int:
        """As `ports.Bus.born`."""
        return self._births.get(node, self._me.born)

    @property
    def pids(self) -> list[int]:
        """As `ports.Bus.pids`: no others, as a process is that of a host."""
        return [os.getpid()]

    @property
    def eldest(self) -> str | None:
        """As `ports.Bus.eldest`."""
        births = {**self._births, self.node: self._me.born}
        return min(births, key=lambda node: (births[node], node))

    def host_of(self, node: str) -> str | None:
        """The host of a node that lives."""
        peer = self._peers.get(node)
        return None if peer is None else peer.host

    def bury(self, node: str) -> None:
        """A node of this host is dead. # hub or greenlet"""
        self._census.ended(node)

    def figures(self) -> dict[str, Any]:
        """Of what goes over Redis."""
        boxes = [peer.target.outbox for peer in self._peers.values()]
        oldest = [box.oldest for box in boxes if box.oldest is not None]
        return {
            **self._figures,
            "resent": self._past["resent"] + sum(box.resent for box in boxes),
            "unprotected": self._past["unprotected"] + sum(box.unprotected for box in boxes),
            "dropped": dict(self._dropped),
            "kept_bytes": self._budget.kept,
            "oldest_seconds": time.monotonic() - min(oldest) if oldest else 0.0,
            "round_trip_seconds": self._census.round_trip,
        }

    def leave(self) -> None:
        """Says that this node has ended; takes at most a second. # greenlet"""
        self._leaving = True
        for peer in self._peers.values():
            self._note(peer, Note.BYE, b"")
            peer.target.writer.want(peer.target, now=True)
        if self.degraded:
            return
        end = time.monotonic() + LAST_WORDS
        while time.monotonic() < end and any(
            peer.target.outbox.unconfirmed for peer in self._peers.values()
        ):
            gevent.sleep(0.01)
        done = Event()
        self._census.leave(done.set)
        self._call_inbox(command("DEL", *self._keys(self.node)), lambda reply: None)
        done.wait(max(0.0, end - time.monotonic()))

    def stop(self) -> None:
        """Ends at once, and calls no handler. # hub or greenlet"""
        if self._stopped:
            return
        self._stopped = True
        if self._tick is not None:
            self._tick.close()
        if self._reader is not None:
            self._reader.stop()
        self._masters.stop()
        self._peers.clear()
        self._births.clear()

    def abandon(self) -> list[int]:
        """Gives all descriptors, in a forked child: they are the parent's. # after a fork"""
        lines = [writer.line for writer in self._masters.writers]
        if self._reader is not None:
            lines.append(self._reader.line)
        return [fd for fd in (line.fileno() for line in lines) if fd >= 0]

    # -- connections ---------------------------------------------------------------------------

    def _keys(self, node: str) -> tuple[str, str]:
        base = f"{self._prefix}:{{n:{node}}}"
        return f"{base}:inbox", f"{base}:acks"

    def _call_nodes(self, made: bytes, replied: Callable[[Any], None]) -> bool:
        return self._masters.call(self._census.keys[0], made, replied)

    def _call_inbox(self, made: bytes, replied: Callable[[Any], None]) -> bool:
        return self._masters.call(self._keys(self.node)[0], made, replied)

    def _disconnected(self) -> None:
        self._census.disconnected()
        self._contact.clear()
        self._say_lost("its connection has ended")

    def _say_lost(self, why: str) -> None:
        if not self._lost and not self._stopped:
            self._lost = True
            said = "no contact to Redis (%s): other hosts are out of reach; trying again"
            gevent.spawn(log.info, said, why)

    def _relocated(self) -> None:
        if self._reader is not None:
            self._reader.line.move(self._door.place(self._keys(self.node)[0]))

    # -- as `census.Events` --------------------------------------------------------------------

    def claimed(self) -> None:
        assert self._reader is not None
        self._reader.open()

    def _ready(self) -> None:
        """The id is this node's, and its inbox is there."""
        self._contact.set()
        self._census.beat()

    def refused(self, reason: str) -> None:
        if self._leaving:
            return
        self.stop()
        self._on_refused(reason)

    def objected(self, error: ErrorReply) -> None:
        self._masters.objected(error)

    def found(self, node: str, record: Record) -> None:
        if (node, record.token) in self._graves:
            self._census.bury_again(node, record.token)
        elif record.host != self._me.host:
            if not OLDEST_VERSION <= record.version <= VERSION:
                said = "node %s speaks another version (%s) of the protocol over Redis"
                gevent.spawn(log.warning, said, node, record.version)
                return
            self._meet(node, record.token, record.host, record.born)

    def dead(self, node: str, token: int) -> None:
        assert self._reader is not None
        self._reader.after_all(lambda: self._died(node, token))

    def buried(self, node: str, token: int) -> None:
        self.dead(node, token)
        body = encoded(Dead(node, token))
        for peer in self._peers.values():
            if peer.node != node:
                self._note(peer, Note.DEAD, body)
        inbox, acks = self._keys(node)
        self._masters.call(inbox, command("DEL", inbox, acks), lambda reply: None)

    # -- the others ----------------------------------------------------------------------------

    def _meet(self, node: str, token: int, host: str, born: int) -> Peer | None:
        peer = self._peers.get(node)
        if peer is not None and peer.token != token:
            self._died(node, peer.token)
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
        self._peers[node] = peer
        self._births[node] = peer.born
        self._masters.add(target)
        target.writer.want(target)
        self._handlers.joined(node)
        self._handlers.met(node)

    def _target(self, node: str) -> Target:
        inbox, acks = self._keys(node)
        outbox = Outbox(
            (self.node.encode(), self._token),
            1,
            budget=self._budget,
            clock=time.monotonic,
            begin=lambda epoch: frame(Note.HELLO, self._hello),
            dropped=self._drop,
        )
        return Target(self.node, inbox, acks, outbox, self._masters.writer(inbox))

    def _drop(self, reason: str, messages: int) -> None:
        self._dropped[reason] = self._dropped.get(reason, 0) + messages
        self._on_dropped(reason, messages)

    def _died(self, node: str, token: int) -> None:
        self._graves[node, token] = None
        if len(self._graves) > MOST_GRAVES:
            self._graves.popitem(last=False)
        parked = self._parked.pop(node, None)
        if parked is not None:
            parked[0].target.outbox.end()
        peer = self._peers.get(node)
        if peer is None or peer.token != token:
            return
        outbox = peer.target.outbox
        self._past["resent"] += outbox.resent
        self._past["unprotected"] += outbox.unprotected
        self._census.forget(node)
        if self._reader is not None:
            self._reader.forget(node)
        self._part(peer)
        outbox.end()

    def _part(self, peer: Peer) -> None:
        del self._peers[peer.node]
        del self._births[peer.node]
        peer.target.writer.discard(peer.target)
        self._handlers.died(peer.node)

    def _begin_again(self, peer: Peer, epoch: int) -> None:
        """One of the two had to drop what must not be missed: both tell each other all again."""
        self._part(peer)
        peer.begin_again(epoch)
        self._join(peer)

    def _park(self, peer: Peer) -> None:
        """Too much waits for a node: nothing is kept for it until it can be told all again."""
        if self._peers.get(peer.node) is peer:
            self._part(peer)
            peer.begin_again(peer.epoch + 1)
            self._parked[peer.node] = peer, time.monotonic() + PARKED
            said = "too much waits for node %s: both begin anew when Redis takes it"
            gevent.spawn(log.warning, said, peer.node)

    def _unpark(self) -> None:
        now = time.monotonic()
        for node, (peer, when) in list(self._parked.items()):
            if self._budget.spent or not self._contact.is_set():
                return
            if now >= when and self._masters.writer(peer.target.inbox).line.link is not None:
                del self._parked[node]
                self._join(peer)

    # -- what arrives --------------------------------------------------------------------------

    def _arrived(self, entry: Arrived) -> None:
        node, token = entry.sender, entry.token
        if node == self.node or (node, token) in self._graves:
            return
        peer = self._peers.get(node)
        if peer is None or peer.token != token:
            peer = self._stranger(entry)
            if peer is None:
                return
        assert self._reader is not None
        verdict = peer.intake.judge(entry.epoch, entry.number, peer.epoch)
        if verdict == Verdict.ANEW:
            self._begin_again(peer, entry.epoch)
            verdict = peer.intake.judge(entry.epoch, entry.number, entry.epoch)
        if verdict == Verdict.GAP:
            self._missing(peer)
        elif verdict != Verdict.STALE:
            self._reader.note(node, entry.epoch, peer.intake.following)
            if verdict == Verdict.TAKE:
                peer.gap = False
                self._hand_on(peer, entry.body)

    def _asked_again(self, asked: Arrived) -> None:
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
        return self._meet(entry.sender, entry.token, hello.host, hello.born)

    def _missing(self, peer: Peer) -> None:
        """Asks for entries that Redis has lost, at once and then every second.

        Not as a message: those of this node may be missing there, too.
        """
        now = time.monotonic()
        peer.gap = True
        if now - peer.nacked >= EACH:
            peer.nacked = now
            target = peer.target
            given = self.node.encode(), self._token, peer.epoch, peer.intake.following
            target.writer.call(nack(target.inbox, HEADER.pack(*given)), lambda reply: None)

    def _note(self, peer: Peer, kind: int, body: bytes) -> None:
        peer.target.outbox.add(frame(kind, body), lossy=False)
        peer.target.writer.want(peer.target)

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
                except ProtocolError:
                    self._drop("channel", 1)
                except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
                    gevent.spawn(log.error, "A message of another node failed", exc_info=error)
            if self._peers.get(node) is not peer:
                return

    def _noted(self, peer: Peer, kind: int, body: bytes) -> None:
        if kind == Note.BYE:
            self._died(peer.node, peer.token)
        elif kind == Note.DEAD:
            dead = decoded(Dead, body)
            if dead.node != self.node:
                self._died(dead.node, dead.token)

    def _look_at_redis(self) -> None:
        if self._contact.is_set() and self.degraded:
            self._say_lost("it does not answer")
        elif self._lost and not self.degraded:
            self._lost = False
            gevent.spawn(log.info, "Redis answers again")

    def _ticked(self) -> None:
        try:
            if self._reader is not None:
                self._reader.line.check()
            self._ticks += 1
            for writer in self._masters.writers:
                writer.line.check()
                if self._ticks % 2:
                    writer.tick()
            if self._ticks % 2:
                self._look_at_redis()
                self._census.beat()
                self._unpark()
                for peer in self._peers.values():
                    if peer.gap:
                        self._missing(peer)
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            gevent.spawn(log.error, "The bus over Redis failed", exc_info=error)
