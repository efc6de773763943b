"""A node that leaves does not hang, and loses nothing of others, whatever a session does."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from rtcio_sync.cluster import handover_giver, handover_messages
from rtcio_sync.cluster.handover_giver import TRIES, Leaving
from rtcio_sync.cluster.id_owners import Heirs
from rtcio_sync.cluster.messages import Kind
from rtcio_sync.cluster.ports import Packed
from rtcio_sync.cluster.remote_rooms import Replica
from rtcio_sync.errors import CannotMove, OptionError
from tests.timing import DEADLINE

ME, HEIR = "aaaa", "bbbb"


class Tasks:
    def create_event(self) -> Any:
        return self

    def wait(self, seconds: float) -> None: ...

    def set(self) -> None: ...

    def clear(self) -> None: ...

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.001))


class Rooms:
    members: dict[str, Any] = {}  # noqa: RUF012

    def members_of(self, eio_sid: str) -> list[Any]:
        return []

    def member(self, sid: str, namespace: str) -> None:
        return None


class Bus:
    node = ME
    nodes = heard = neighbours = (HEIR,)

    def born(self, node: str) -> int:
        return 1


class Sessions:
    """Of ``live`` and ``away`` each is asked for; what is in ``refuses`` raises that."""

    def __init__(self, live: list[str], away: list[str], refuses: dict[str, Exception]) -> None:
        self.here, self.away, self.refuses = live, away, refuses
        self.frozen: set[str] = set()
        #: Looks until one of them is not busy any more.
        self.looks: dict[str, int] = {}

    def live(self) -> list[str]:
        return list(self.here)

    def waiting(self) -> list[tuple[str, str]]:
        return [("/", sid) for sid in self.away]

    def busy(self, eio_sid: str) -> bool:
        left = self.looks[eio_sid] = self.looks.get(eio_sid, 0) - 1
        return left >= 0

    def end_calls(self) -> bool:
        return False

    def freeze(self, eio_sid: str) -> None:
        self.frozen.add(eio_sid)

    def thaw(self, eio_sid: str) -> None:
        self.frozen.discard(eio_sid)

    def pack(self, eio_sid: str) -> Packed:
        return self._pack(eio_sid, self.here, os.dup(1))

    def pack_waiting(self, namespace: str, sid: str) -> Packed:
        return self._pack(sid, self.away, -1)

    def _pack(self, name: str, inside: list[str], fd: int) -> Packed:
        if name in self.refuses:
            if fd >= 0:
                os.close(fd)
            raise self.refuses[name]
        inside.remove(name)
        self.frozen.discard(name)
        return Packed(name.encode(), fd)


class Heir:
    """Answers after ``late`` seconds, and not at all at first; keeps what it gets.

    ``too_long``: states that cannot be sent. ``deaf``: how often it does not answer.
    """

    def __init__(
        self,
        too_long: tuple[str, ...] = (),
        *,
        takes: bool = True,
        late: float = 0,
        deaf: int = 0,
    ) -> None:
        self.got: list[str] = []
        self.given: list[str] = []
        self.released = 0
        self.farewells = 0
        self.too_long = too_long
        self.takes = takes
        self.late, self.deaf = late, deaf

    def _post(self, node: str, kind: int, message: Any) -> bool:
        if kind == Kind.MOVING:
            self.leaving.fin(node, handover_messages.Fin(message.number))
        elif kind == Kind.PREPARE and self.deaf:
            self.deaf -= 1
        elif kind == Kind.PREPARE:
            time.sleep(self.late)
            self.leaving.ready(node, handover_messages.Ready(message.number))
        elif kind == Kind.COMING:
            if message.state.decode() in self.too_long:
                raise OptionError("too long")
            self.got.append(message.state.decode())
        self.released += kind == Kind.RELEASE
        self.farewells += kind == Kind.FAREWELL
        return True

    def _give(self, node: str, fd: int, about: bytes) -> bool:
        self.given.append(about.decode())
        return self.takes

    def leave(
        self,
        sessions: Sessions,
        drain: float = 0.2,
        wait: float = 0,
        successor: Callable[[], bool] = lambda: False,
    ) -> bool:
        ignored: Any = lambda *args: None  # noqa: E731
        parts: Any = Rooms(), Replica(), Tasks(), ignored, self._post, ignored
        leaving = self.leaving = Leaving(*parts)
        leaving.bus = Bus()  # type: ignore[assignment]
        leaving.heirs = Heirs(ME, leaving.bus.nodes)
        leaving.sessions = sessions  # type: ignore[assignment]

        leaving.give = self._give
        leaving.successor = successor
        return leaving.run(wait=wait, drain=drain)


REFUSALS = {
    "for good": CannotMove("socket.data has a value of type object"),
    "for now": CannotMove("its client comes back", later=True),
    "by an error": KeyError("a bug"),
}


@pytest.mark.timeout(DEADLINE)
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("live", [[], ["x", "y", "z"]], ids=["none live", "some live"])
def test_a_session_that_cannot_move_holds_nobody_up(
    live: list[str], refusal: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    heir = Heir()
    sessions = Sessions(list(live), ["p", "q", "r"], {"q": refusal, "y": refusal})
    assert heir.leave(sessions)
    assert set(heir.got) == {"p", "r", *live} - {"y"}
    assert set(heir.given) == set(live) - {"y"}
    assert heir.farewells == 1 and heir.released >= 1
    assert sessions.frozen == set()
    assert sessions.away == ["q"]


@pytest.mark.timeout(DEADLINE)
def test_a_session_that_cannot_be_sent_costs_no_other_and_no_descriptor() -> None:
    heir = Heir(too_long=("y", "q"))
    sessions = Sessions(["x", "y", "z"], ["p", "q"], {})
    before = len(os.listdir("/proc/self/fd"))
    assert heir.leave(sessions)
    assert heir.got == ["x", "z", "p"] and heir.given == ["x", "z"]
    assert heir.farewells == 1
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.timeout(DEADLINE)
def test_after_a_descriptor_that_is_not_taken_the_others_are_closed_at_once() -> None:
    heir = Heir(takes=False)
    before = len(os.listdir("/proc/self/fd"))
    assert heir.leave(Sessions(["x", "y", "z"], [], {}))
    assert heir.given == ["x"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_sessions_that_wait_go_in_several_batches() -> None:
    heir = Heir()
    names = [f"{number:03}" for number in range(100)]
    assert heir.leave(Sessions([], list(names), {}))
    assert sorted(heir.got) == names
    assert heir.released > TRIES


@pytest.mark.parametrize("looks", [0, 3], ids=["idle", "one busy"])
def test_an_heir_that_is_late_gets_all_of_them(looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover_giver, "READY_WITHIN", 0.05)
    heir = Heir(deaf=TRIES - 1)
    sessions = Sessions(["x", "y"], ["p"], {})
    sessions.looks["y"] = looks
    assert heir.leave(sessions, drain=0.04)
    assert set(heir.got) == {"x", "y", "p"} and heir.farewells == 1


def test_the_time_in_which_others_move_is_not_a_busy_ones() -> None:
    heir = Heir(late=0.3)
    sessions = Sessions(["x", "y"], [], {})
    sessions.looks["y"] = 3
    assert heir.leave(sessions, drain=0.2)
    assert heir.got == ["x", "y"]


def test_an_heir_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover_giver, "READY_WITHIN", 0.05)
    heir = Heir(deaf=100)
    assert heir.leave(Sessions(["x"], [], {}))
    assert heir.got == [] and heir.farewells == 1 and heir.deaf == 100 - TRIES


@pytest.mark.timeout(DEADLINE)
@pytest.mark.parametrize("looks", [1, 3])
def test_who_is_dead_for_another_waits_for_no_successor_and_moves_nothing(looks: int) -> None:
    heir = Heir()
    asked = 0

    def successor() -> bool:
        nonlocal asked
        asked += 1
        if asked == looks:
            heir.leaving.given_up()
        return True

    assert not heir.leave(Sessions(["x"], ["p"], {}), wait=10 * DEADLINE, successor=successor)
    assert asked == looks and heir.got == [] and heir.farewells == 0
    assert not heir.leaving.run(wait=10 * DEADLINE, drain=0)


@pytest.mark.timeout(DEADLINE)
def test_who_is_dead_for_another_while_it_moves_moves_no_more() -> None:
    heir = Heir()

    class Moving(Sessions):
        def busy(self, eio_sid: str) -> bool:
            heir.leaving.given_up()
            return True

    sessions = Moving(["x"], ["p"], {})
    assert not heir.leave(sessions, drain=10 * DEADLINE)
    assert heir.given == [] and heir.farewells == 0 and sessions.frozen == set()
