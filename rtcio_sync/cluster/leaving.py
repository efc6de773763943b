"""How a node leaves: its sessions move to an heir, with their ids. # greenlet, unless it says hub

`arriving` is the heir's part, docs/cluster.md has the order of the messages. A node that finds no
heir, and what cannot move, is left to `serving.stop`: it closes them so that they come back.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from ..adapter.emit import RoomIndex
from ..errors import CannotMove, OptionError
from . import moves
from .arriving import FOR_MEMBERS, SEVERAL, Message
from .heirs import Heirs
from .ports import Bus, Packed, Sessions, Tasks
from .replica import Replica
from .wire import DROPPABLE, NODE, SID, Going, Kind, Struct

__all__ = ["Leaving"]

log = logging.getLogger(__name__)

MOMENT = 0.1  # seconds in which the others may say that they leave, too
LOOK_EACH = 0.02
SETTLE_EACH = 0.001  # seconds between two looks whether what came is delivered
FIN_WITHIN = 1.0  # seconds in which all others send to the heir
LAST_WITHIN = 2.0  # seconds in which those that stood still do so
READY_WITHIN = 3.0  # seconds in which the heir answers; it waits for others itself
ECHO_WITHIN = 1.0  # seconds in which all others have read what was sent before
TRIES = 3  # of an heir that does not answer; then those that are left are disconnected
BATCH = 32  # sessions that move at once: their clients wait for each other
MOST_EARLY = 10_000  # messages that wait for the end of a node's stream


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
        self._replica = replica
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
        #: The nodes that leave, too.
        self.going: set[str] = set()
        #: Called with the heir, once it gets what is for this node's members.
        self.on_heir: list[Callable[[str], None]] = []
        #: The node that takes over; `None`: there is none.
        self.heir: str | None = None
        self.begun = False
        #: The sids and the connections that have moved.
        self.gone: set[str] = set()
        self.gone_links: set[str] = set()
        self._number = 0
        self._ids: list[str] = []
        # The nodes that send nothing directly any more, and what came for them before they said so.
        self._fins: set[str] = set()
        self._early: dict[str, list[Message]] = {}
        self._late: set[str] = set()
        # The connections that cannot move, and why: said once.
        self._stays: set[str | tuple[str, str]] = set()
        self._moved = 0
        self._reasons: set[str] = set()
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
        if self.begun or self.sessions is None:
            return False
        self.begun = True
        self._changed = self._tasks.create_event()
        self.say_going()
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

    def say_going(self) -> None:
        """Tells the others that this node stops: nobody leaves to it, or sends sessions back."""
        for node in list(self.bus.nodes):
            self._say_going(node)

    def _say_going(self, node: str) -> None:
        self._post(node, Kind.GOING, Going())

    def _choose(self, until: float, must: Callable[[], bool]) -> str | None:
        """The heir, once it is there; `None`: there will be none."""
        if self.bus.nodes:
            self._tasks.sleep(MOMENT)
        while True:
            late = time.monotonic() > until
            able = [each for each in self.bus.heard if self._is_able(each)]
            waits = self.successor() or self.receives()
            if able and (not waits or late):
                return self._best(able)
            # Of several that need not leave, all but one wait until that one stays.
            if not able and (not waits or late) and (must() or self._is_first()):
                return None
            self._tasks.sleep(LOOK_EACH)

    def _is_able(self, node: str) -> bool:
        return node in self.bus.nodes and node not in self.going

    def _leavers(self) -> list[str]:
        return sorted({self.bus.node, *self.going.intersection(self.bus.nodes)})

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
        for each in self.on_heir:
            each(heir)

    def _ids_in_use(self) -> list[str]:
        """The ids that go along: inherited ones of which no session is left are given up."""
        assert self.sessions is not None
        sids = self.sessions.live()
        for members in self._manager.members.values():
            sids += members
        return [self.bus.node, *(self.heirs.own & {sid[:NODE] for sid in sids} - {self.bus.node})]

    def _say_moving(self, node: str) -> None:
        assert self.heir is not None
        self._post(node, Kind.MOVING, moves.Moving(self._number, self._ids, self.heir))

    def _lives(self, heir: str) -> bool:
        return self.heir == heir and heir in self.bus.nodes

    def _move_all(self, heir: str, drain: float) -> bool:
        """`False`: the heir has died."""
        assert self.sessions is not None
        until = time.monotonic() + drain
        failed, stuck = 0, False
        while self._lives(heir):
            live = [each for each in self.sessions.live() if each not in self._stays]
            idle = [each for each in live if not self.sessions.busy(each)][:BATCH]
            waiting = [each for each in self.sessions.waiting() if each not in self._stays][:BATCH]
            late = time.monotonic() > until
            if (idle or waiting) and failed < TRIES and not (stuck and late):
                moved = self._moved
                failed = 0 if self._batch(heir, idle, waiting) else failed + 1
                stuck = self._moved == moved
                if stuck:  # all of them can move in a moment, or their clients are back
                    self._tasks.sleep(LOOK_EACH)
            elif not live or failed or late:
                self._post(heir, Kind.FAREWELL, moves.Farewell())
                # What the others have still sent here goes on to the heir.
                self._wait(LAST_WITHIN, lambda: self._fins.issuperset(self.bus.nodes))
                return True
            else:
                self._tasks.sleep(LOOK_EACH)
        return False

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
            stay = [each for each in idle if not self._pack(heir, each, descriptors)]
            for which in waiting:
                self._pack_waiting(heir, which)
        if self._lives(heir):
            self._post(heir, Kind.RELEASE, moves.Release(self._number))
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
        for each in others:
            self._post(each, Kind.BARRIER, moves.Barrier(self.bus.node, number))
        self._wait(ECHO_WITHIN, lambda: not self._missing())
        self._slow |= {each for each, _ in self._missing()}
        # Only then: while the heir holds back, nobody may have to wait for somebody else, or two
        # nodes that leave at once would wait for each other.
        late = [each for each in self.bus.nodes if each not in self._fins]
        self._post(heir, Kind.PREPARE, moves.Prepare(number, late))
        self._wait(READY_WITHIN, lambda: self._ready == number or not self._lives(heir))
        until = time.monotonic() + READY_WITHIN
        while not self.settled() and time.monotonic() < until:
            self._tasks.sleep(SETTLE_EACH)
        return self._lives(heir) and self._ready == number

    def _missing(self) -> set[tuple[str, str]]:
        alive = {"", self.bus.node, *self.bus.nodes}
        missing = self._expected - self._seen
        return {pair for pair in missing if alive.issuperset(pair)}

    def _pack(self, heir: str, eio_sid: str, descriptors: list[tuple[str, int]]) -> bool:
        """`False`: it stays, for now or for good."""
        assert self.sessions is not None
        ghosts = self._rooms_of(self._members_of(eio_sid))
        packed = self._taken(heir, eio_sid, lambda take: take.pack(eio_sid))
        if packed is None:
            return False
        if self._send(heir, packed, ghosts):
            self.gone_links.add(eio_sid)
            if packed.fd >= 0:
                descriptors.append((eio_sid, packed.fd))
        elif packed.fd >= 0:
            os.close(packed.fd)
        return True

    def _taken(
        self, heir: str, key: str | tuple[str, str], take: Callable[[Sessions], Packed]
    ) -> Packed | None:
        """`None`: it stays, for now or for good."""
        assert self.sessions is not None
        if not self._lives(heir):
            return None
        try:
            return take(self.sessions)
        except CannotMove as error:
            if not error.later:
                self._stays.add(key)
                self._say_why(error.reason)
        except Exception:
            log.exception("a session could not be taken out of this worker")
            self._stays.add(key)
        return None

    def _say_why(self, reason: str) -> None:
        if reason not in self._reasons:
            self._reasons.add(reason)
            log.warning("a client cannot move to another worker, and has to reconnect: %s", reason)

    def _pack_waiting(self, heir: str, which: tuple[str, str]) -> None:
        ghosts = self._rooms_of([which])
        packed = self._taken(heir, which, lambda take: take.pack_waiting(*which))
        if packed is not None:
            self._send(heir, packed, ghosts)

    def _send(self, heir: str, packed: Packed, ghosts: list[Any]) -> bool:
        """`False`: it is over, since it is too long or the heir has just died."""
        coming = moves.Coming(packed.state, packed.fd >= 0)
        try:
            sent = self._post(heir, Kind.COMING, coming)
        except OptionError:
            sent = False
        if not sent:
            log.warning("a session could not be sent to another worker, and is over")
            return False
        self._moved += 1
        for namespace, sid, rooms, relays in ghosts:
            self.gone.add(sid)
            if rooms:
                self._replica.join(heir, namespace, sid, rooms, relays=relays)
        return True

    def _members_of(self, eio_sid: str) -> list[tuple[str, str]]:
        return [(each.namespace, each.sid) for each in self._manager.members_of(eio_sid)]

    def _rooms_of(self, members: list[tuple[str, str]]) -> list[Any]:
        found = []
        for namespace, sid in members:
            member = self._manager.member(sid, namespace)
            if member is not None:
                found.append((namespace, sid, list(member.rooms or ()), member.relays))
        return found

    # -- what the others say: hub ------------------------------------------------------------------

    def joined(self, node: str) -> None:
        """A new node has to know that this one leaves."""
        if self.begun:
            self._say_going(node)
            if self.heir is not None:
                self._say_moving(node)

    def fin(self, node: str, message: moves.Fin) -> None:
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
        early = self._early.setdefault(origin, [])
        if len(early) < MOST_EARLY or message[1] not in DROPPABLE:
            early.append(message)
        else:
            self._overflowed()

    def passes(self, message: Message) -> bool:
        """Sends on what comes directly for members that have moved; `True`: it is all for them."""
        origin, kind, key, body = message
        heir = self.heir
        if heir is None or kind not in FOR_MEMBERS or origin == heir or origin in self._fins:
            return False
        if kind not in SEVERAL and key[:SID].decode() not in self.gone:
            return False
        self._post(heir, Kind.FOR, moves.For(origin, kind, key, body))
        return kind not in SEVERAL

    def ready(self, node: str, message: moves.Ready) -> None:
        if node == self.heir:
            self._ready = message.number
            self._wake()

    def echo(self, node: str, message: moves.Echo) -> None:
        if message.number == self._barrier:
            self._seen.add((node, message.via))
            self._expected |= {(each, node) for each in message.also}
            self._wake()

    def died(self, node: str) -> None:
        self.going.discard(node)
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
