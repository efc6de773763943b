"""The bus between hosts, over Redis: an inbox for each node, which that node alone reads.

Redis carries, and says who lives (`redis_membership`). It keeps nothing that cannot be told again:
a Redis that forgets everything loses no message (`redis_outbox`).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, KeysView, Mapping
from typing import Any

import gevent
from gevent.event import Event

from ..hub.ports import Loop, TimerWatcher
from ..transport.outgoing import turn_here
from .frames import frame
from .messages import DROPPABLE, encoded
from .ports import Handlers
from .redis_addresses import door
from .redis_faults import Faults
from .redis_heartbeats import EACH
from .redis_link import Door
from .redis_masters import Masters
from .redis_membership import OLDEST_VERSION, TOKENS, VERSION, Census, Identity, Record
from .redis_nodes import Nodes
from .redis_outbox import Bounds
from .redis_peer import Dead, Note, Peer
from .redis_reader import Reader
from .redis_received import Received
from .redis_resp import ErrorReply, command

__all__ = ["RedisBus"]

log = logging.getLogger(__name__)

TICK = EACH / 2
SILENT = 3.0  # seconds without an answer, after which this counts as no contact
LAST_WORDS = 1.0  # seconds that a node which leaves waits for Redis


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
        self._faults = Faults(self._door.where)
        self._handlers = handlers
        self._me = me
        self._prefix = prefix
        self._on_refused = refused
        self.node = me.node
        self._token = 1 + secrets.randbelow(TOKENS - 1)
        self._turn = turn_here()
        self._reader: Reader | None = None
        self._tick: TimerWatcher | None = None
        self._leaving = self._stopped = False
        self._contact = Event()
        self._figures = {"messages_in": 0, "messages_out": 0, "bytes_in": 0, "bytes_out": 0}
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
            failed=self._faults.failed,
            refused=self._faults.refused,
            relocated=self._relocated,
        )
        self._known = self._no_nodes(bounds or Bounds(), dropped)
        self._received = Received(
            me,
            self._token,
            self._known,
            handlers=handlers,
            figures=self._figures,
            note=self._take_note,
        )
        self._peers = self._known.peers
        #: The other nodes that live.
        self.nodes: KeysView[str] = self._peers.keys()
        #: When they have begun, as they say.
        self.births: Mapping[str, int] = self._known.births

    def _no_nodes(self, bounds: Bounds, dropped: Callable[[str, int], None]) -> Nodes:
        """The other nodes, before any was met."""
        return Nodes(
            self._me,
            self._token,
            handlers=self._handlers,
            census=self._census,
            masters=self._masters,
            keys=self._keys,
            ready=self._contact.is_set,
            forget=self._forget,
            bounds=bounds,
            dropped=dropped,
        )

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
            arrived=self._received.arrived, outside=self._received.from_outside, ready=self._ready,
            call=self._call_inbox, failed=masters.failed, objected=masters.objected,
            nacked=self._received.asked_again, unreadable=self._received.unreadable,
        )  # fmt: skip
        self._tick = self._loop.timer(TICK, TICK, ref=False)
        self._tick.start(self._ticked)

    def wait(self, seconds: float) -> bool:
        """Waits for the first contact; whether there is one. # greenlet"""
        return bool(self._contact.wait(seconds))

    @property
    def _away(self) -> bool:
        """Whether there is no contact."""
        return not self._contact.is_set() or self._census.silent > SILENT

    @property
    def degraded(self) -> bool:
        """As `ports.Remote.degraded`."""
        return self._away or self._faults.refusing

    @property
    def reaches(self) -> bool:
        """As `ports.Remote.reaches`."""
        return not (self._away or self._faults.full)

    @property
    def trouble(self) -> str:
        """As `ports.Remote.trouble`."""
        return self._faults.why

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
            self._loop.run_callback(self._known.park, peer)
        else:
            target.writer.want(target, now=now)
        return True

    @property
    def heard(self) -> list[str]:
        """As `ports.Bus.heard`."""
        return [node for node, peer in self._peers.items() if peer.intake.following]

    def bury(self, node: str) -> None:
        """A node of this host is dead. # hub or greenlet"""
        self._census.ended(node)

    def figures(self) -> dict[str, Any]:
        """Of what goes over Redis."""
        return {
            **self._figures,
            **self._known.figures(),
            "round_trip_seconds": self._census.round_trip,
        }

    @property
    def sent(self) -> bool:
        """As `ports.Remote.sent`."""
        return not any(peer.target.outbox.unconfirmed for peer in self._peers.values())

    def leave(self) -> None:
        """Says that this node has ended; takes at most a second. # greenlet"""
        self._leaving = True
        for peer in self._peers.values():
            self._note(peer, Note.BYE, b"")
            peer.target.writer.want(peer.target, now=True)
        if self._away:
            return
        end = time.monotonic() + LAST_WORDS
        while time.monotonic() < end and not self.sent:
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
        self._known.clear()

    def abandon(self) -> list[int]:
        """Is this node no more, in a forked child: the parent is. # after a fork

        It reads nothing, sends nothing and does not connect again. Gives all descriptors.
        """
        self._leaving = self._stopped = True
        if self._tick is not None:
            self._tick.stop()
        found = self._masters.abandon()
        if self._reader is not None:
            found.append(self._reader.abandon())
        self._known.clear()
        return [fd for fd in found if fd >= 0]

    # -- connections ---------------------------------------------------------------------------

    def _keys(self, node: str) -> tuple[str, str]:
        base = f"{self._prefix}:{{n:{node}}}"
        return f"{base}:inbox", f"{base}:acks"

    def _take_note(self, node: str, epoch: int, following: int) -> None:
        assert self._reader is not None
        self._reader.note(node, epoch, following)

    def _forget(self, node: str) -> None:
        if self._reader is not None:
            self._reader.forget(node)

    def _call_nodes(self, made: bytes, replied: Callable[[Any], None]) -> bool:
        return self._masters.call(self._census.keys[0], made, replied)

    def _call_inbox(self, made: bytes, replied: Callable[[Any], None]) -> bool:
        return self._masters.call(self._keys(self.node)[0], made, replied)

    def _disconnected(self) -> None:
        self._census.disconnected()
        self._contact.clear()
        if not self._stopped:
            self._faults.lost("its connection has ended")

    def _relocated(self) -> None:
        if self._reader is not None:
            self._reader.line.move(self._door.place(self._keys(self.node)[0]))

    # -- as `redis_membership.Events` --------------------------------------------------------------

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
        if self._known.is_dead(node, record.token):
            self._census.bury_again(node, record.token)
        elif record.host != self._me.host:
            if not OLDEST_VERSION <= record.version <= VERSION:
                said = "node %s speaks another version (%s) of the protocol over Redis"
                gevent.spawn(log.warning, said, node, record.version)
                return
            self._known.meet(node, record.token, record.host, record.born)

    def dead(self, node: str, token: int) -> None:
        assert self._reader is not None
        self._reader.after_all(lambda: self._known.died(node, token))

    def buried(self, node: str, token: int) -> None:
        self.dead(node, token)
        body = encoded(Dead(node, token))
        for peer in self._peers.values():
            if peer.node != node:
                self._note(peer, Note.DEAD, body)
        inbox, acks = self._keys(node)
        self._masters.call(inbox, command("DEL", inbox, acks), self._masters.checked)

    def _note(self, peer: Peer, kind: int, body: bytes) -> None:
        peer.target.outbox.add(frame(kind, body), lossy=False)
        peer.target.writer.want(peer.target)

    def _look_at_redis(self) -> None:
        away = self._away
        if away and self._contact.is_set():
            self._faults.lost("it does not answer")
        self._faults.look(away=away)

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
                self._known.unpark()
                for peer in self._peers.values():
                    if peer.gap:
                        self._received.ask_again(peer)
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            gevent.spawn(log.error, "The bus over Redis failed", exc_info=error)
