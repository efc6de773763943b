"""One session follows its client to a node of another host. # hub, unless it says greenlet

N is the node that the client has reached, H the one with its session. N claims the session with the
key that the client names, and H packs it and gives it to N in one go. From then on its sid and its
key are N's (`id_owners`), and `session_switchover` has all others know it. docs/cluster.md, "A
session that follows its client", says why nothing is lost, doubled or out of order.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any

from ..engineio.ids import SID
from ..errors import CannotMove, ProtocolError
from ..transport.ports import Later
from .handover_heir import FOR_MEMBERS, SEVERAL, Handler
from .handover_messages import Barrier, Claim, Echo, Given, Mine, Over, Refused
from .held_messages import HeldMessages
from .id_owners import Heirs
from .messages import Left, Struct, can_be_sent, decoded, encoded
from .ports import Bus, Sessions, Tasks
from .remote_rooms import Replica
from .session_switchover import OVER, REFUSED, Switchover, Tell

__all__ = ["Claims"]

CLAIM_WITHIN = 5.0  # seconds in which a client gets its session; then it gets a new one
ECHO_WITHIN = 1.0  # seconds in which all others have read what the client has sent before
AGAIN = 0.05  # seconds after which a session is claimed again that cannot move yet
SWEEP_EACH = 60.0  # seconds between two looks for sessions that are over

CLAIM, GIVEN, BARRIER, ECHO = "session claim", "session given", "session barrier", "session echo"


class _Claimed:
    """A claim of this node. ``copies``: what it has sent to ``node`` since, for members there."""

    def __init__(self, node: str, pid: str, done: Any, overflowed: Callable[[], None]) -> None:
        self.node = node
        self.pid = pid
        self.done = done
        self.copies = HeldMessages(overflowed)
        self.given = self.later = False


class _Echoes:
    """Who has read all that a session's client has sent at the node before, and who has to."""

    def __init__(self, complete: Any) -> None:
        #: Who has to read it, and the node through which it comes to it: ``""``: directly.
        self.missing: set[tuple[str, str]] = set()
        self._seen: set[tuple[str, str]] = set()
        #: Set while nobody is missing.
        self.complete = complete

    def expect(self, pairs: Iterable[tuple[str, str]], alive: Collection[str]) -> None:
        """The dead need not read it."""
        living = {"", *alive}
        self.missing.update(each for each in pairs if living.issuperset(each))
        self._look()

    def heard(self, pair: tuple[str, str]) -> None:
        self._seen.add(pair)
        self._look()

    def died(self, node: str) -> None:
        self.missing = {each for each in self.missing if node not in each}
        self._look()

    def end(self) -> None:
        self.missing.clear()
        self._look()

    def _look(self) -> None:
        self.missing -= self._seen
        if self.missing:
            self.complete.clear()
        else:
            self.complete.set()


class Claims:
    """The claims of one node, and of others to its sessions.

    ``leaves()``: whether this node leaves: its sessions move with it. ``receives()``: whether
    another one leaves to it. ``lost``: as `Switchover` has it. ``failed(what, error)`` logs it.
    """

    def __init__(
        self,
        replica: Replica,
        tasks: Tasks,
        later: Later,
        *,
        handle: Handler,
        post: Callable[[str, int, Struct], object],
        tell: Tell,
        overflowed: Callable[[], None],
        leaves: Callable[[], bool],
        receives: Callable[[], bool],
        lost: Callable[[str], bool],
        failed: Callable[[str, Exception], None],
    ) -> None:
        self._tasks = tasks
        self._later = later
        self._handle = handle
        self._tell = tell
        self._overflowed = overflowed
        self._failed = failed
        self._leaves, self._receives = leaves, receives
        self.switchover = Switchover(
            replica,
            later,
            handle=handle,
            post=post,
            tell=tell,
            changed=self._note,
            lost=lost,
            overflowed=overflowed,
        )
        self.bus: Bus
        self.heirs: Heirs
        self.sessions: Sessions | None = None
        self._numbers = itertools.count(1)
        #: The keys to the sessions whose clients are here, and what is set when each was fetched.
        self._wanted: dict[str, Any] = {}
        self._claimed: dict[int, _Claimed] = {}
        self._echoes: dict[int, _Echoes] = {}
        # Barriers that are answered when nothing of their nodes is held back any more.
        self._late: list[tuple[str, Barrier]] = []
        #: Empty while nothing is under way.
        self.open: set[str] = set()
        self.inline: dict[str, Callable[[str, int, bytes], None]] = {
            **self.switchover.inline,
            CLAIM: self._claim,
            GIVEN: self._given,
            BARRIER: self._barrier,
            ECHO: self._echo,
            OVER: self._over,
        }

    def begin(self, bus: Bus, heirs: Heirs) -> None:
        self.bus = self.switchover.bus = bus
        self.heirs = self.switchover.heirs = heirs
        self._later(SWEEP_EACH, self._sweep)

    def begin_anew(self) -> None:
        """This node has another id, and its sessions are over."""
        for claimed in self._claimed.values():
            claimed.done.set()
        for echoes in self._echoes.values():
            echoes.end()
        self._claimed.clear()
        self._late.clear()
        self.switchover.begin_anew()
        self._note()

    def _note(self) -> None:
        self.open.clear()
        if self._claimed or not self.switchover.settled:
            self.open.add("some")
        if self._late:
            self._answer_late()

    @property
    def settled(self) -> bool:
        """Whether all nodes know where the sessions are that have moved."""
        return not self.open

    # -- N: claims ---------------------------------------------------------------------------------

    def fetch(self, namespace: str, pid: str) -> bool:
        """Gets the session with this key from another host; whether it is here now. # greenlet"""
        fetched = self._wanted.get(pid)
        if fetched is not None:  # an older connection of this client fetches it
            fetched.wait(CLAIM_WITHIN)
            return self.heirs.has(pid)
        fetched = self._wanted[pid] = self._tasks.create_event()
        try:
            return self._fetch(namespace, pid)
        finally:
            del self._wanted[pid]
            fetched.set()

    def _fetch(self, namespace: str, pid: str) -> bool:
        until = time.monotonic() + CLAIM_WITHIN
        while (left := until - time.monotonic()) > 0 and not self._leaves():
            node = self.heirs.holder(pid)
            if node is None or node in self.bus.neighbours or node not in self.bus.nodes:
                return node is None and self.heirs.has(pid)
            claimed = self._ask(node, namespace, pid, left)
            if claimed.given:
                return True
            if not claimed.later:
                return False
            self._tasks.sleep(AGAIN)
        return False

    def _ask(self, node: str, namespace: str, pid: str, seconds: float) -> _Claimed:
        number = next(self._numbers)
        done = self._tasks.create_event()
        claimed = self._claimed[number] = _Claimed(node, pid, done, self._overflowed)
        echoes = self._echoes[number] = _Echoes(self._tasks.create_event())
        self._note()
        try:
            self._tell(node, CLAIM, encoded(Claim(number, namespace, pid)))
            # If it comes too late, it is here all the same, and waits for its client.
            claimed.done.wait(seconds)
            if claimed.given and echoes.missing:
                # Until then the client may not speak here: it would overtake what it has said.
                echoes.complete.wait(ECHO_WITHIN)
        finally:
            del self._echoes[number]
        return claimed

    def _echo(self, node: str, number: int, body: bytes) -> None:
        self._heard(node, decoded(Echo, body))

    def _heard(self, node: str, echo: Echo) -> None:
        echoes = self._echoes.get(echo.number)
        if echoes is not None:
            echoes.expect([(each, node) for each in echo.also], [self.bus.node, *self.bus.nodes])
            echoes.heard((node, echo.via))

    def sent(self, node: str, kind: int, key: bytes, body: bytes) -> None:
        """This node sends something for members of another one: perhaps for one on its way here.

        That node does not pass it on here.
        """
        if kind not in FOR_MEMBERS:
            return
        for claimed in self._claimed.values():
            if claimed.node == node:
                claimed.copies.add((self.bus.node, kind, key, body))

    def _given(self, node: str, number: int, body: bytes) -> None:
        given = decoded(Given, body)
        claimed = self._claimed.get(given.number)
        if claimed is None or claimed.node != node:
            return
        del self._claimed[given.number]
        claimed.later = given.later
        echoes = self._echoes.get(given.number)
        if echoes is not None:
            alive = [self.bus.node, *self.bus.nodes]
            echoes.expect([(each, "") for each in given.others], alive)
        try:
            if given.state:
                claimed.given = self._adopt(given, claimed)
        finally:
            self._note()
            claimed.done.set()

    def _adopt(self, given: Given, claimed: _Claimed) -> bool:
        assert self.sessions is not None
        try:
            _, ((namespace, sid),) = self.sessions.adopt(given.state)
        except Exception as error:  # noqa: BLE001 - the node before has to hear of it
            self._overflowed()
            if not isinstance(error, ProtocolError):
                self._failed("A session from another host could not be created", error)
            self._tell(claimed.node, REFUSED, encoded(Refused(given.number)))
            return False
        rooms = [room for room in given.rooms if can_be_sent(room)]
        mine = Mine(namespace, sid, claimed.pid, rooms, given.relays, claimed.node)
        self.switchover.take(mine, given.others)
        for message in claimed.copies:
            if message[1] in SEVERAL:
                self._handle(message, only={sid})
            elif message[2][:SID].decode() == sid:
                self._handle(message)
        self.switchover.announce(mine)
        return True

    # -- H: gives ----------------------------------------------------------------------------------

    def _claim(self, node: str, number: int, body: bytes) -> None:
        claim = decoded(Claim, body)
        given = Given(claim.number, later=self._may_come(claim.pid))
        try:
            made = self._give(node, claim)
            if made is not None:
                self._tell(node, GIVEN, encoded(made))
                return
        except CannotMove as error:
            given.later = error.later
        except Exception as error:  # noqa: BLE001 - the client waits for an answer
            self._failed("A session could not be given to another host", error)
            self.switchover.refused(node, claim.number)
            given.later = False
        self._tell(node, GIVEN, encoded(given))

    def _may_come(self, pid: str) -> bool:
        """Whether a session that is not here may be here soon, or is known to be elsewhere."""
        return self._leaves() or self._receives() or self.heirs.holder(pid) is not None

    def _give(self, node: str, claim: Claim) -> Given | None:
        """`None`: it is not here. Raises `CannotMove`."""
        if self.sessions is None:
            return None
        found = self.sessions.kept(claim.namespace, claim.pid)
        if found is None:
            return None
        sid, rooms, relays = found
        if self._leaves() or claim.pid in self._wanted or not self.switchover.is_settled(sid):
            raise CannotMove("it moves", later=True)
        left = Left(claim.namespace, sid, [room for room in rooms if can_be_sent(room)])
        give = partial(self.switchover.give, node, claim.number, left, claim.pid, relays)
        try:
            state = self.sessions.pack_kept(claim.namespace, claim.pid).state
        except CannotMove:
            raise
        except Exception:
            if not self.sessions.lives(sid):  # its peers have to hear that it is lost
                give()
            raise
        others = [each for each in self.bus.nodes if each != node]
        for each in others:
            self._tell(each, BARRIER, encoded(Barrier(node, claim.number)))
        give()
        return Given(
            claim.number,
            state=state,
            rooms=left.rooms,
            relays=relays,
            others=others,
        )

    # -- X: has read all that the client has sent at H ---------------------------------------------

    def _barrier(self, node: str, number: int, body: bytes) -> None:
        barrier = decoded(Barrier, body)
        if not barrier.via and self.switchover.holds_of(node):
            self._late.append((node, barrier))
        else:
            self._answer(barrier)

    def _answer_late(self) -> None:
        late, self._late = self._late, []
        for node, barrier in late:
            if self.switchover.holds_of(node):
                self._late.append((node, barrier))
            else:
                self._answer(barrier)

    def _answer(self, barrier: Barrier) -> None:
        """``also``: the nodes to which some of it was passed on."""
        also = [] if barrier.via else list(self.switchover.receivers - {self.bus.node})
        echo = Echo(barrier.number, barrier.via, also)
        if barrier.origin == self.bus.node:
            self._heard(self.bus.node, echo)
        else:
            self._tell(barrier.origin, ECHO, encoded(echo))
        for each in also:
            passed = Barrier(barrier.origin, barrier.number, self.bus.node)
            self._tell(each, BARRIER, encoded(passed))

    # -- the end -----------------------------------------------------------------------------------

    def died(self, node: str) -> None:
        """A node is dead. All that it has sent was received."""
        for number, claimed in list(self._claimed.items()):
            if claimed.node == node:
                del self._claimed[number]
                claimed.later = True  # its heir may have it
                claimed.done.set()
        for echoes in self._echoes.values():
            echoes.died(node)
        self.switchover.died(node)
        self._note()

    def _sweep(self) -> None:
        """Tells the others of sessions that are over, whose names they need not know any more."""
        self._later(SWEEP_EACH, self._sweep)
        if self.sessions is None or self._leaves():
            return
        coming = self.switchover.coming
        names = [name for name in self.heirs.names if name not in coming]
        over = [name for name in names if not self.sessions.lives(name)]
        if over:
            self.switchover.ended(over)
            self.heirs.forget(over, self.bus.node)
            for node in list(self.bus.nodes):
                self._tell(node, OVER, encoded(Over(over)))

    def _over(self, node: str, number: int, body: bytes) -> None:
        self.heirs.forget(decoded(Over, body).names, node)
