"""How a node leaves: its sessions move to an heir, with their ids. # greenlet, unless it says hub

`handover_heir` is the heir's part, docs/cluster.md has the order of the messages. A node that finds
no heir, and what cannot move, is left to `serving.stop`: it closes them so that they come back.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from ..adapter.emit import RoomIndex
from ..engineio.ids import NODE, SID
from . import handover_messages
from .handover_heir import FOR_MEMBERS, SEVERAL
from .handover_sending import Sending
from .held_messages import HeldMessages, Message
from .id_owners import Heirs
from .messages import Going, Kind, Struct
from .ports import Bus, Sessions, Tasks
from .remote_rooms import Replica

__all__ = ["Leaving"]

log = logging.getLogger(__name__)

MOMENT = 0.1  # seconds in which the others may say that they leave, too
LOOK_EACH = 0.02
SETTLE_EACH = 0.001  # seconds between two looks whether what came is delivered
CLAIMS_WITHIN = 2.0  # seconds in which sessions that move one by one have moved
FIN_WITHIN = 1.0  # seconds in which all others send to the heir
LAST_WITHIN = 2.0  # seconds in which those that stood still do so
READY_WITHIN = 3.0  # seconds in which the heir answers; it waits for others itself
ECHO_WITHIN = 1.0  # seconds in which all others have read what was sent before
TRIES = 3  # of an heir that does not answer; then those that are left are disconnected
BATCH = 32  # sessions that move at once: their clients wait for each other
MOST_AWAY = 100  # clients that are told at once to connect to another host


class Leaving:
    """The end of one node, for which it has ``sessions``.

    ``successor()``: whether another process will be a node soon, in place of this one.
    ``give(node, fd, about)`` sends a descriptor.
    """

    def __init__(
        self,
        manager: RoomIndex,
        replica: Replica,
        tasks: Tasks,
        handle: Callable[[Message], None],
        post: Callable[[str, int, Struct], bool],
        overflowed: Callable[[], None],
    ) -> None:
        self._manager = manager
        self._tasks = tasks
        self._handle = handle
        self._post = post
        self._overflowed = overflowed
        self.bus: Bus
        self.heirs: Heirs
        self.sessions: Sessions | None = None
        self.give: Callable[[str, int, bytes], bool] = lambda node, fd, about: False
        self.successor: Callable[[], bool] = lambda: False
        #: Whether another node leaves to this one now.
        self.receives: Callable[[], bool] = lambda: False
        #: Whether all that has come for members was given to them.
        self.settled: Callable[[], bool] = lambda: True
        #: Whether no session is on its way to another node, or here, because of its client.
        self.at_rest: Callable[[], bool] = lambda: True
        #: The nodes that leave, too.
        self.going: set[str] = set()
        #: Those of them that have all of their sessions until their heirs have them.
        self.serving: set[str] = set()
        #: Called with the heir, once it gets what is for this node's members.
        self.on_heir: list[Callable[[str], None]] = []
        #: The same, if that one is on another host.
        self.on_far_heir: list[Callable[[str], None]] = []
        self.is_far = False
        #: Whether requests for sessions of a node of another host find it from every host.
        self.is_addressed: Callable[[str], bool] = lambda node: False
        #: Whether other hosts are in reach.
        self.reaches_far: Callable[[], bool] = lambda: True
        #: The node that takes over; `None`: there is none.
        self.heir: str | None = None
        self.begun = self._serves = False
        self._is_dead = False
        #: The sids and the connections that have moved.
        self._sending = Sending(manager, replica, post, self._lives)
        self.gone, self.gone_links = self._sending.gone, self._sending.gone_links
        self._number = 0
        self._ids: list[str] = []
        # The nodes that send nothing directly any more, and what came for them before they said so.
        self._fins: set[str] = set()
        self._early: dict[str, HeldMessages] = {}
        self._late: set[str] = set()
        # The connections whose clients were told to connect to another host.
        self._away: set[str] = set()
        self._slow: set[str] = set()
        self._ready = 0
        self._barrier = 0
        self._expected: set[tuple[str, str]] = set()
        self._seen: set[tuple[str, str]] = set()
        self._changed: Any = None

    # -- the whole -------------------------------------------------------------------------------

    def run(self, *, wait: float, drain: float, must: Callable[[], bool] = lambda: True) -> bool:
        """Moves all sessions that can move; `False`: there is no heir.

        ``wait``: seconds in which a successor may come; meanwhile this node serves as before.
        ``drain``: seconds in which handlers may finish. ``must()``: whether it leaves in any case;
        if not, it stays if there is no heir, and may leave later.
        """
        if self.begun or self._is_dead or self.sessions is None:
            return False
        self.begun = True
        self._changed = self._tasks.create_event()
        self.say_going(serves=True)
        self._await_claims()
        until = time.monotonic() + wait
        while (heir := self._choose(until, must)) is not None:
            self._begin(heir)
            if self._move_all(heir, drain):
                return True
        if not must():
            self.begun = False
            for node in list(self.bus.nodes):
                self._post(node, Kind.GOING, Going(stays=True))
        return False

    def _await_claims(self) -> None:
        """Waits until all know of the sessions that have lately come or gone one by one."""
        until = time.monotonic() + CLAIMS_WITHIN
        while not self.at_rest() and time.monotonic() < until:
            self._tasks.sleep(LOOK_EACH)

    @property
    def empty(self) -> bool:
        """Whether no session is left here."""
        return self.sessions is None or not (self.sessions.live() or self.sessions.waiting())

    def say_going(self, *, serves: bool) -> None:
        """Tells the others that this node stops: nobody leaves to it.

        ``serves``: it has its sessions until its heir has them, and clients come back to them.
        """
        self._serves = serves
        for node in list(self.bus.nodes):
            self._say_going(node)

    def _say_going(self, node: str) -> None:
        self._post(node, Kind.GOING, Going(serves=self._serves))

    def _choose(self, until: float, must: Callable[[], bool]) -> str | None:
        """The heir, once it is there; `None`: there will be none."""
        if self.bus.neighbours:
            self._tasks.sleep(MOMENT)
        while not self._is_dead:
            late = time.monotonic() > until
            able = [each for each in self.bus.heard if self._is_able(each)]
            waits = self.successor() or self.receives()
            if able and (not waits or late):
                return self._best(able)
            # Of several that need not leave, all but one wait until that one stays.
            if not able and (not waits or late) and (must() or self._is_first()):
                return self._far_heir() if must() else None
            self._tasks.sleep(LOOK_EACH)
        return None

    def _is_able(self, node: str) -> bool:
        return node in self.bus.neighbours and node not in self.going

    def _far_heir(self) -> str | None:
        """A node of another host, for sessions whose clients come back there or elsewhere."""
        if self.sessions is None or not self.sessions.may_return or not self.reaches_far():
            return None
        near = self.bus.neighbours
        able = [n for n in self.bus.heard if n in self.bus.nodes and n not in near]
        able = [node for node in able if node not in self.going]
        return self._best(able) if able else None

    def _leavers(self) -> list[str]:
        return sorted({self.bus.node, *self.going.intersection(self.bus.neighbours)})

    def _is_first(self) -> bool:
        return self._leavers()[0] == self.bus.node

    def _best(self, able: list[str]) -> str:
        """Whoever has inherited least, then the youngest; those that leave at once spread."""
        inherited, born = self.heirs.inherited, self.bus.born
        able.sort(key=lambda node: (inherited.get(node, 0), -born(node), node))
        return able[self._leavers().index(self.bus.node) % len(able)]

    def _begin(self, heir: str) -> None:
        self._number += 1
        self._fins.clear()
        self._late.clear()
        self._slow.clear()
        self._ids = self._ids_in_use()
        self.heirs.moving(self.bus.node, self._ids, heir)
        self.heir = heir
        for node in list(self.bus.nodes):
            self._say_moving(node)
        self._wait(FIN_WITHIN, lambda: self._fins.issuperset(self.bus.nodes))
        self._late = set(self.bus.nodes) - self._fins  # they stand still, and are not waited for
        for node in self._late:
            self._let_in(node)
        self.is_far = heir not in self.bus.neighbours
        for each in self.on_far_heir if self.is_far else self.on_heir:
            each(heir)

    def _ids_in_use(self) -> list[str]:
        """The ids that go along: inherited ones of which no session is left are given up."""
        assert self.sessions is not None
        sids = self.sessions.live()
        for members in self._manager.members.values():
            sids += members
        inherited = self.heirs.own & {sid[:NODE] for sid in sids} - {self.bus.node}
        return [self.bus.node, *inherited, *self.heirs.names]

    def _say_moving(self, node: str) -> None:
        heir, nodes = self.heir, self.heirs.nodes
        assert heir is not None
        # A new node need not hear of sessions that have followed their clients since.
        ids = [each for each in self._ids if nodes.get(each, heir) == heir]
        self._post(node, Kind.MOVING, handover_messages.Moving(self._number, ids, heir))

    def _lives(self, heir: str) -> bool:
        return self.heir == heir and heir in self.bus.nodes and not self._is_dead

    def _move_all(self, heir: str, drain: float) -> bool:
        """`False`: the heir has died."""
        assert self.sessions is not None
        until = time.monotonic() + drain
        failed, stuck, hurry = 0, False, False
        while self._lives(heir):
            late = time.monotonic() > until
            if late or hurry:  # a client that has not answered by now would have to reconnect
                if self.sessions.end_calls() and not hurry:
                    until, late = time.monotonic() + drain, False  # for those that have asked
                hurry = True
            live = [each for each in self.sessions.live() if each not in self._sending.stays]
            ready = self._ready_for(heir, live) if self.is_far else live
            idle = [each for each in ready if not self.sessions.busy(each)][:BATCH]
            waiting = [each for each in self.sessions.waiting() if each not in self._sending.stays][
                :BATCH
            ]
            if (idle or waiting) and failed < TRIES and not (stuck and late):
                moved = self._sending.moved
                failed = 0 if self._batch(heir, idle, waiting) else failed + 1
                stuck = not failed and self._sending.moved == moved
                if stuck:  # all of them can move in a moment, or their clients are back
                    self._tasks.sleep(LOOK_EACH)
                else:  # it took its time, in which handlers of the others had to wait
                    until = max(until, time.monotonic() + drain)
            elif not live or failed >= TRIES or late:
                self._post(heir, Kind.FAREWELL, handover_messages.Farewell())
                # What the others have still sent here goes on to the heir.
                self._wait(LAST_WITHIN, lambda: self._fins.issuperset(self.bus.nodes))
                return True
            else:
                self._tasks.sleep(LOOK_EACH)
        return False

    def _ready_for(self, heir: str, live: list[str]) -> list[str]:
        """The connections that can move to another host.

        Requests of clients on polling follow. Some of the others are told to connect there.
        """
        assert self.sessions is not None
        told = [each for each in live if each in self._away]
        others = [each for each in live if each not in self._away]
        follow = [each for each in others if self._follows(heir, each)]
        rest = set(others).difference(follow)
        for each in [each for each in others if each in rest][: MOST_AWAY - len(told)]:
            self._away.add(each)
            self.sessions.send_away(each)
        return told + follow

    def _follows(self, heir: str, eio_sid: str) -> bool:
        assert self.sessions is not None
        return self.is_addressed(heir) and self.sessions.polls(eio_sid)

    def _pack(self, heir: str, descriptors: list[tuple[str, int]], eio_sid: str) -> bool:
        assert self.sessions is not None
        if eio_sid in self._away:
            return self._sending.pack_away(self.sessions, heir, eio_sid)
        if self.is_far and not self.sessions.polls(eio_sid):
            return False  # it has begun to upgrade
        return self._sending.pack(self.sessions, heir, descriptors, eio_sid)

    # -- a batch ---------------------------------------------------------------------------------

    def _batch(self, heir: str, idle: list[str], waiting: list[tuple[str, str]]) -> bool:
        """`False`: the heir does not answer."""
        assert self.sessions is not None
        for each in idle:
            self.sessions.freeze(each)
        descriptors: list[tuple[str, int]] = []
        stay = idle
        stands_by = self._stand_by(heir)
        if stands_by:
            # Without a pause until the release: nothing comes or goes meanwhile.
            stay = [each for each in idle if not self._pack(heir, descriptors, each)]
            for which in waiting:
                self._sending.pack_waiting(self.sessions, heir, which)
        if self._lives(heir):
            release = handover_messages.Release(self._barrier, list(self._slow))
            self._post(heir, Kind.RELEASE, release)
        for each in stay:  # not before: they may send something to those that have just moved
            self.sessions.thaw(each)
        given = True
        for eio_sid, fd in descriptors:
            # If it cannot be sent, its client comes again, and finds its session if that is kept.
            # After one that the heir did not take in time, the others would come too late.
            try:
                given = given and self.give(heir, fd, eio_sid.encode())
            finally:
                os.close(fd)
        return stands_by

    def _stand_by(self, heir: str) -> bool:
        """Has all others read what they were sent, and the heir hold back what comes."""
        self._barrier += 1
        number = self._barrier
        self._seen.clear()
        others = set(self.bus.nodes) - {heir} - self._slow
        self._expected = {(each, "") for each in others}
        for each in others | self._slow:
            self._post(each, Kind.BARRIER, handover_messages.Barrier(self.bus.node, number))
        self._wait(ECHO_WITHIN, lambda: not self._missing())
        self._slow |= {each for each, _ in self._missing()}
        # Only then: while the heir holds back, nobody may have to wait for somebody else, or two
        # nodes that leave at once would wait for each other.
        late = [each for each in self.bus.nodes if each not in self._fins]
        self._post(heir, Kind.PREPARE, handover_messages.Prepare(number, late))
        self._wait(READY_WITHIN, lambda: self._ready == number or not self._lives(heir))
        until = time.monotonic() + READY_WITHIN
        while not self.settled() and time.monotonic() < until:
            self._tasks.sleep(SETTLE_EACH)
        return self._lives(heir) and self._ready == number

    def _missing(self) -> set[tuple[str, str]]:
        alive = {"", self.bus.node, *self.bus.nodes}
        missing = self._expected - self._seen
        return {pair for pair in missing if alive.issuperset(pair)}

    # -- what the others say: hub ------------------------------------------------------------------

    def joined(self, node: str) -> None:
        """A new node has to know that this one leaves."""
        if self.begun:
            self._say_going(node)
            if self.heir is not None:
                self._say_moving(node)

    def fin(self, node: str, message: handover_messages.Fin) -> None:
        if message.number == self._number:
            self._fins.add(node)
            self._let_in(node)
            self._wake()

    def _let_in(self, node: str) -> None:
        for message in self._early.pop(node, ()):
            self._handle(message)

    def passed_on(self, message: Message) -> None:
        """Something for members of this node has come through the heir."""
        origin = message[0]
        if origin in self._fins or origin in self._late or origin not in self.bus.nodes:
            self._handle(message)
            return
        if origin not in self._early:
            self._early[origin] = HeldMessages(self._overflowed)
        self._early[origin].add(message)

    def passes(self, message: Message) -> bool:
        """Sends on what comes directly for members that have moved; `True`: it is all for them."""
        origin, kind, key, body = message
        heir = self.heir
        if heir is None or kind not in FOR_MEMBERS or origin == heir or origin in self._fins:
            return False
        if kind not in SEVERAL and key[:SID].decode() not in self.gone:
            return False
        self._post(heir, Kind.FOR, handover_messages.For(origin, kind, key, body))
        return kind not in SEVERAL

    def ready(self, node: str, message: handover_messages.Ready) -> None:
        if node == self.heir:
            self._ready = message.number
            self._wake()

    def echo(self, node: str, message: handover_messages.Echo) -> None:
        if message.number == self._barrier:
            self._seen.add((node, message.via))
            self._expected |= {(each, node) for each in message.also}
            self._wake()

    def given_up(self) -> None:
        """A node has told its members that this one is dead, so nothing may move any more."""
        self._is_dead = True
        self._wake()

    def died(self, node: str) -> None:
        self.going.discard(node)
        self.serving.discard(node)
        self._fins.discard(node)
        self._let_in(node)
        if node == self.heir:
            self.heir = None
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()

    def _wait(self, seconds: float, over: Callable[[], bool]) -> None:
        """Blocks until it is ``over``, or for so long. # greenlet"""
        until = time.monotonic() + seconds
        while not over() and (left := until - time.monotonic()) > 0:
            self._changed.wait(left)
            self._changed.clear()
