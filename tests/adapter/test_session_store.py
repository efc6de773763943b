"""What a session keeps, for how long, and what a returning client gets of it: the rules alone."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcio_sync.adapter import session_store
from rtcio_sync.adapter.member import Member, Stage
from rtcio_sync.adapter.recovery_options import RecoveryOptions
from rtcio_sync.adapter.session_log import Kept, Session, Stamp
from rtcio_sync.adapter.session_store import EVENT, PLACE, Recovery
from rtcio_sync.errors import OptionError
from tests.timing import Clock


class House:
    """A `Recovery` with one session in it."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.ended: list[Member] = []
        self.dropped: list[str] = []
        self.recovery = Recovery(
            RecoveryOptions(**options),
            now=self.clock.now,
            later=self.clock.later,
            end=self.ended.append,
            drop=self.dropped.append,
        )
        self.member = self.new_member()
        self.session: Session = self.member.session

    def new_member(self, namespace: str = "/") -> Member:
        member = Member("sid", "eio", namespace)
        member.stage = Stage.CONNECTED
        self.recovery.begin(member)
        return member

    def send(self, frame: bytes = b"frame") -> str:
        """Notes an event; its offset."""
        number = self.recovery.number()
        self.session.keep(Kept(number, self.clock.now(), frame))
        return self.recovery.spelt(number)

    def return_(self) -> None:
        self.recovery.away -= 1
        self.member.stage = Stage.CONNECTED
        self.member.returns += 1
        self.session.resumed()

    @property
    def kept(self) -> int:
        return len(self.session._log or ())


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [None, False])
def test_it_is_off_by_default(given: Any) -> None:
    assert RecoveryOptions.of(given) is None


def test_true_stands_for_two_minutes_no_middlewares_and_a_megabyte() -> None:
    assert RecoveryOptions.of(True) == RecoveryOptions(120, True, 1_000_000)
    assert RecoveryOptions.of({}) == RecoveryOptions()


def test_each_default_may_be_replaced() -> None:
    options = {
        "max_disconnection_duration": 0.5, "skip_middlewares": False, "max_recovery_bytes": 10,
    }  # fmt: skip
    assert RecoveryOptions.of(options) == RecoveryOptions(0.5, False, 10)


@pytest.mark.parametrize(
    "given",
    [
        1, "yes", [], {"max_disconnection_durations": 1}, {"maxDisconnectionDuration": 1},
        {"max_disconnection_duration": 0}, {"max_disconnection_duration": -1},
        {"max_disconnection_duration": "120"}, {"max_disconnection_duration": None},
        {"max_disconnection_duration": True}, {"max_disconnection_duration": float("nan")},
        {"max_recovery_bytes": 0}, {"max_recovery_bytes": None}, {"max_recovery_total": 0},
        {"max_recovery_total": "much"}, {"skip_middlewares": "no"},
    ],
    ids=repr,
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(given: Any) -> None:
    with pytest.raises(OptionError, match="connection_state_recovery"):
        RecoveryOptions.of(given)


def test_no_session_keeps_more_than_its_client_may_be_sent_at_once() -> None:
    options = RecoveryOptions(max_recovery_bytes=1000)
    assert options.within(None) == options.within(5000) == options
    assert options.within(10).max_recovery_bytes == 10


# -- pids ------------------------------------------------------------------------------------------


def test_a_session_is_found_by_its_pid_in_its_namespace() -> None:
    house = House()
    assert house.recovery.find("/", {"pid": house.session.pid}) is house.session
    assert house.recovery.find("/calls", {"pid": house.session.pid}) is None


@pytest.mark.parametrize(
    "auth",
    [None, {}, [], "pid", 5, *({"pid": pid} for pid in (None, "", "sid", ["x"], 0, True))],
    ids=repr,
)
def test_no_session_is_found_by_anything_else(auth: Any) -> None:
    assert House().recovery.find("/", auth) is None


def test_a_pid_is_not_to_be_guessed() -> None:
    house = House()
    pids = {house.new_member().session.pid for _ in range(100)}
    assert len(pids) == 100
    assert all(len(pid) >= 24 for pid in pids)  # 144 bits


def test_a_closed_session_is_not_found_and_keeps_nothing() -> None:
    house = House()
    house.send()
    house.recovery.close(house.member)
    house.send()
    assert house.recovery.find("/", {"pid": house.session.pid}) is None
    assert house.session.missed(None) == []
    assert not house.recovery.may_return(house.member, "transport close")


# -- what is a loss --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason",
    ["transport close", "transport error", "ping timeout", "forced close", "client close"],
)
def test_who_lost_the_connection_may_return(reason: str) -> None:
    house = House()
    assert house.recovery.may_return(house.member, reason)


@pytest.mark.parametrize(
    "reason",
    [
        "client namespace disconnect", "server namespace disconnect", "parse error", "page left",
        "server shutting down",
    ],
)  # fmt: skip
def test_who_left_or_was_put_out_may_not(reason: str) -> None:
    house = House()
    assert not house.recovery.may_return(house.member, reason)


# -- what is missed --------------------------------------------------------------------------------


def test_what_came_after_the_offset_was_missed() -> None:
    house = House()
    house.send(b"one")
    offset = house.send(b"two")
    house.send(b"three")
    house.send(b"four")
    assert house.session.missed(offset) == [b"three", b"four"]


def test_who_had_received_nothing_missed_everything() -> None:
    house = House()
    house.send(b"one")
    house.send(b"two")
    assert house.session.missed(None) == [b"one", b"two"]


def test_who_had_received_everything_missed_nothing() -> None:
    house = House()
    assert house.session.missed(None) == []
    assert house.session.missed(house.send()) == []


def test_an_offset_of_an_earlier_process_means_that_nothing_was_received() -> None:
    """socket.io-client keeps its offset when it gets a fresh session, until the first event."""
    before, house = House(), House()
    stale = [before.send() for _ in range(3)][-1]
    house.send(b"one")
    house.send(b"two")
    assert house.session.missed(stale) == [b"one", b"two"]


def test_an_offset_of_an_earlier_session_means_that_nothing_was_received() -> None:
    house = House()
    stale = house.send()
    house.session = house.new_member().session
    house.send(b"one")
    assert house.session.missed(stale) == [b"one"]


@pytest.mark.parametrize(
    "offset", ["", "1", "-1", "0x1", 5, True, [], {}, "mark", "mark 1", "mark1\n", "markG", "é" * 8]
)
def test_what_is_no_offset_is_none(offset: Any) -> None:
    house = House()
    house.send()
    assert house.session.missed(offset) is None


def test_an_offset_that_no_event_has_had_yet_is_none() -> None:
    house = House()
    house.send()
    assert house.session.missed(house.recovery.spelt(house.recovery.last + 1)) is None
    assert house.session.missed(house.recovery.spelt(10**15)) is None


def test_an_offset_is_a_short_text_that_grows() -> None:
    session_store = House().recovery
    offsets = [session_store.spelt(session_store.number()) for _ in range(300)]
    assert [session_store.number_of(offset) for offset in offsets] == list(range(1, 301))
    assert all(offset.isascii() and len(offset) <= 8 for offset in offsets)


def test_an_encoder_that_lets_others_send_gets_a_number_after_theirs() -> None:
    session_store = House().recovery
    inner: list[int] = []

    def deliver(made: str, stamp: Stamp | None) -> tuple[str, int]:
        assert stamp is not None
        return made, stamp[0]

    def encode(offset: str | None) -> str:
        if not inner:
            inner.append(session_store.send(str, deliver)[1])
        return str(offset)

    made, number = session_store.send(encode, deliver)
    assert number > inner[0]
    assert made == session_store.spelt(number)


# -- bounds ----------------------------------------------------------------------------------------


def test_over_its_bytes_a_session_lets_the_oldest_go() -> None:
    house = House(max_recovery_bytes=10)
    offsets = [house.send(b"four") for _ in range(3)]
    assert house.session.missed(offsets[0]) == [b"four", b"four"]
    assert house.session.missed(None) is None, "what it needs is gone"
    house.send(b"eleven bytes")
    assert house.session.missed(offsets[2]) is None
    assert house.kept == 0


def test_while_connected_events_older_than_the_window_go() -> None:
    house = House(max_disconnection_duration=120)
    first = house.send()
    house.clock.advance(100)
    second = house.send()
    house.clock.advance(30)
    house.send(b"last")
    assert house.session.missed(None) is None
    assert house.session.missed(first) == [b"frame", b"last"]
    assert house.session.missed(second) == [b"last"]


def test_they_go_without_a_new_one_too() -> None:
    house = House(max_disconnection_duration=120)
    offset = house.send(b"x" * 1000)
    house.clock.advance(60)
    house.send(b"later")
    house.clock.advance(61)
    assert house.kept == 1
    house.clock.advance(60)
    assert (house.kept, house.session._size) == (0, 0)
    assert house.clock.due == [], "an idle session costs no timer"
    assert house.session.missed(offset) is None
    house.send(b"new")
    house.clock.advance(130)
    assert house.kept == 0


def test_while_its_client_is_away_everything_is_kept() -> None:
    house = House(max_disconnection_duration=120)
    offset = house.send()
    house.clock.advance(119)
    house.send(b"in flight")
    house.recovery.park(house.member)
    house.clock.advance(60)
    house.send(b"missed")
    house.clock.advance(59)
    assert house.session.missed(offset) == [b"in flight", b"missed"]


def test_what_was_replayed_is_kept_for_a_window_more() -> None:
    house = House(max_disconnection_duration=120)
    offset = house.send()
    house.recovery.park(house.member)
    house.send(b"missed")
    house.clock.advance(119)
    house.return_()
    house.clock.advance(5)
    house.send(b"new")
    assert house.session.missed(offset) == [b"missed", b"new"], "the replay got lost as well"
    house.clock.advance(250)
    assert house.kept == 0


def test_one_event_to_many_is_kept_once() -> None:
    house = House()
    others = [house.new_member().session for _ in range(3)]
    event = Kept(house.recovery.number(), house.clock.now(), b"frame")
    for session in others:
        session.keep(event)
    assert len({id(session._log[0]) for session in others if session._log}) == 1


def test_what_is_kept_does_not_bring_a_full_collection_nearer() -> None:
    house = House(max_recovery_bytes=10**7)
    house.send()
    made = [Kept(house.recovery.number(), house.clock.now(), b"frame") for _ in range(1000)]
    gc.collect()
    gc.disable()
    try:
        before = gc.get_count()[0]
        for event in made:
            house.session.keep(event)
        assert gc.get_count()[0] - before < 100, "objects that the collector looks at"
    finally:
        gc.enable()
    assert not any(gc.is_tracked(event) for event in made)


# -- the end of waiting ----------------------------------------------------------------------------


def test_who_stays_away_too_long_is_ended_once() -> None:
    house = House(max_disconnection_duration=120)
    assert house.member.enter(Stage.LEAVING) and house.member.enter(Stage.GONE)
    house.recovery.park(house.member)
    assert (house.member.stage, house.recovery.away) == (Stage.AWAY, 1)
    house.clock.advance(119)
    assert house.ended == []
    house.clock.advance(1)
    assert house.ended == [house.member]
    house.clock.advance(1000)
    assert house.ended == [house.member]


def test_who_returned_is_not_ended_by_an_earlier_loss() -> None:
    house = House(max_disconnection_duration=120)
    house.recovery.park(house.member)
    house.clock.advance(100)
    house.return_()
    house.recovery.park(house.member)
    house.clock.advance(119)
    assert house.ended == []
    house.clock.advance(1)
    assert house.ended == [house.member]


def test_who_is_being_let_in_is_not_ended_and_not_forgotten() -> None:
    house = House(max_disconnection_duration=120)
    house.recovery.park(house.member)
    house.session.taken = object()
    house.clock.advance(150)
    assert house.ended == []
    house.session.taken = None  # its new connection was lost, too
    house.clock.advance(2)
    assert house.ended == [house.member]


# -- against a model -------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 40)),
        st.tuples(st.just("receive"), st.integers(0, 5)),
        st.tuples(st.just("pass"), st.integers(0, 90)),
        st.tuples(st.sampled_from(["lose", "return"]), st.just(0)),
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_what_is_missed_is_exactly_what_was_not_received_or_nothing_at_all(
    steps: list[tuple[str, int]],
) -> None:
    house = House(max_disconnection_duration=100, max_recovery_bytes=100)
    sent: list[tuple[str, float, bytes]] = []
    received = 0
    away = False
    for step, amount in steps:
        if step == "send":
            frame = bytes([len(sent) % 256]) * amount
            sent.append((house.send(frame), house.clock.time, frame))
        elif step == "receive" and not away:
            received = min(len(sent), received + amount)
        elif step == "pass" and not away:
            house.clock.advance(amount)
        elif step == "lose" and not away:
            away = True
            house.recovery.park(house.member)
        elif step == "return" and away:
            away = False
            house.return_()
        offset = sent[received - 1][0] if received else None
        missing = [frame for _, _, frame in sent[received:]]
        found = house.session.missed(offset)
        assert found is None or found == missing
        recent = all(at > house.clock.time - 100 for _, at, _ in sent[received:])
        if recent and sum(map(len, missing)) <= 100:
            assert found == missing
        assert house.session._size <= 100
        assert house.session._size == sum(len(each.frame) for each in house.session._log or ())


# -- all sessions together -------------------------------------------------------------------------


def send_to(house: House, sessions: list[Session], frame: bytes) -> str:
    """Notes one event for several sessions, as a room's is; its offset."""
    number = house.recovery.number()
    event = Kept(number, house.clock.now(), frame)
    for session in sessions:
        session.keep(event)
    return house.recovery.spelt(number)


def test_over_the_total_the_oldest_events_of_all_sessions_go() -> None:
    house = House(max_recovery_total=5 * (10_000 + EVENT))
    others = [house.new_member().session for _ in range(9)]
    offsets = [send_to(house, [each], b"x" * 10_000) for each in (house.session, *others)]
    kept = [session.missed(None) is not None for session in (house.session, *others)]
    assert kept == [False] * 5 + [True] * 5
    assert house.session.missed(offsets[0]) == [], "who has received it misses nothing"
    assert house.dropped == ["recovery-total"] * 5
    assert house.recovery.bytes == 5 * (10_000 + EVENT)


def test_a_session_that_lost_an_event_keeps_what_came_after_it() -> None:
    house = House(max_recovery_total=2 * (1000 + EVENT))
    offsets = [house.send(b"x" * 1000) for _ in range(4)]
    assert house.session.missed(offsets[0]) is None
    assert house.session.missed(offsets[1]) == [b"x" * 1000] * 2


def test_an_event_of_many_sessions_counts_once() -> None:
    house = House(max_recovery_total=100_000)
    sessions = [house.new_member().session for _ in range(100)]
    send_to(house, sessions, b"x" * 50_000)
    assert all(session.missed(None) == [b"x" * 50_000] for session in sessions)
    assert house.recovery.bytes == 50_000 + EVENT + 99 * PLACE
    assert house.dropped == []


def test_many_small_events_count_as_what_they_cost() -> None:
    house = House(max_recovery_total=100 * EVENT)
    for _ in range(1000):
        house.send(b"x")
    assert house.kept < 100


def test_an_event_that_is_over_the_total_by_itself_is_sent_and_not_kept() -> None:
    house = House(max_recovery_total=100_000)
    before, offset = house.send(), house.send(b"x" * 100_000)
    assert house.kept == 0 and house.recovery.bytes == 0
    assert house.session.missed(before) is None
    assert house.session.missed(offset) == []


@pytest.mark.parametrize("half", [0, 1])
def test_an_exception_within_a_step_does_not_lift_the_total(half: int) -> None:
    house = House(max_recovery_total=5000)
    house.send(b"x" * 100)
    del house.recovery._order[half]  # as if a signal's handler had raised between the two halves
    for _ in range(60):
        house.send(b"x" * 100)
    assert house.recovery.bytes <= 5000
    assert house.kept > 5


def test_the_total_may_be_lifted() -> None:
    house = House(max_recovery_total=None, max_recovery_bytes=10**9)
    for _ in range(100):
        house.send(b"x" * 1_000_000)
    assert house.kept == 100 and house.recovery.bytes > 100_000_000


def test_what_went_otherwise_is_counted_no_more() -> None:
    house = House(max_recovery_bytes=5000, max_disconnection_duration=120)
    other = house.new_member()
    for _ in range(5000):
        send_to(house, [house.session, other.session], b"x" * 1000)
    assert len(house.recovery._order) < 2000
    assert house.recovery.bytes == 5 * (1000 + EVENT + PLACE)
    house.recovery.close(other)
    assert house.recovery.bytes == 5 * (1000 + EVENT)
    house.clock.advance(300)
    assert house.recovery.bytes == 0
    assert house.dropped == []


def test_so_many_wait_and_the_one_that_has_waited_longest_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_store, "MOST_AWAY", 3)
    house = House()
    members = [house.new_member() for _ in range(5)]
    for number, member in enumerate(members):
        house.recovery.park(member)
        if number == 0:
            house.recovery.back(member.session)
            member.returns += 1
            house.recovery.park(member)
        house.clock.advance(0.001)
        for ended in house.ended:
            house.recovery.close(ended)
    assert house.ended == members[:2]
    assert house.recovery.away == 3
    assert house.dropped == ["recovery-total"] * 2


def lost_with(house: House, auth: Any = None, environ: dict[str, Any] | None = None) -> Member:
    """One that is away, and what its client had sent when it came."""
    member = house.new_member()
    member.auth = auth
    if environ is not None:
        member.socket = SimpleNamespace(handshake=SimpleNamespace(environ=environ))
    house.recovery.park(member)
    return member


@pytest.mark.parametrize("what", ["auth", "environ", "rooms"])
def test_what_clients_that_are_away_have_sent_counts_too_and_the_longest_away_go(what: str) -> None:
    house = House(max_recovery_total=400_000)
    text = "x" * 10_000
    members: list[Member] = []
    for _ in range(30):
        if what == "auth":
            members.append(lost_with(house, auth={"token": text}))
        elif what == "environ":
            members.append(lost_with(house, environ={"HTTP_X": text, "rtcio.port": 1}))
        else:
            member = house.new_member()
            member.rooms = {text: None}
            house.recovery.park(member)
            members.append(member)
        house.clock.advance(0.001)
        for ended in house.ended:
            house.recovery.close(ended)
    gone = len(house.ended)
    assert 10 <= gone < 20 and house.ended == members[:gone]
    assert 100_000 < house.recovery.bytes <= 200_000
    assert house.dropped == ["recovery-total"] * gone
    for member in members[gone:]:
        house.recovery.back(member.session)
    assert house.recovery.bytes == 0


def test_what_clients_that_are_away_have_sent_leaves_less_room_for_events() -> None:
    house = House(max_recovery_total=100_000)
    lost_with(house, environ={"HTTP_X": "x" * 40_000})
    for _ in range(10):
        house.send(b"x" * 10_000)
    assert house.kept == 5
    assert house.recovery.bytes <= 100_000


# -- what has ended --------------------------------------------------------------------------------


def in_memory(house: House) -> int:
    """How many sessions of a house are in memory, its own aside."""
    gc.collect()
    sessions = [each for each in gc.get_objects() if type(each) is Session]
    return sum(each._store is house.recovery for each in sessions) - 1


@pytest.mark.parametrize("together", [1, 5])
def test_those_that_left_on_purpose_are_freed_at_once(together: int) -> None:
    house = House()
    for number in range(200):
        members = [house.new_member() for _ in range(together)]
        if number % 2:  # they were away before
            for member in members:
                house.recovery.park(member)
                house.recovery.back(member.session)
                member.returns += 1
                member.session.resumed()
        event = Kept(house.recovery.number(), house.clock.now(), b"frame")
        house.recovery.keep(event, [member.session for member in members])
        for member in members:
            house.recovery.close(member)
    del member, members
    assert house.recovery.bytes == 0 and in_memory(house) == 0


def test_those_that_were_thrown_away_are_freed_at_once() -> None:
    house = House(max_recovery_total=400_000)
    for _ in range(100):
        member = house.new_member()
        member.session.keep(Kept(house.recovery.number(), house.clock.now(), b"frame"))
        member.auth = {"token": "x" * 10_000}
        house.recovery.park(member)
        house.clock.advance(0.001)
        for ended in house.ended:
            house.recovery.close(ended)
        house.ended.clear()
    del ended, member
    assert house.recovery.away < 20 and in_memory(house) == house.recovery.away


def test_one_that_left_and_came_again_is_not_ended_by_its_earlier_loss() -> None:
    house = House(max_disconnection_duration=120)
    house.recovery.park(house.member)
    state = house.session.state()
    house.recovery.take_out(house.session)
    house.clock.advance(60)  # in another process, where its client has come back
    house.member = Member("sid", "eio", "/")
    house.member.stage = Stage.CONNECTED
    house.recovery.take_in(house.member, state)
    house.recovery.park(house.member)
    house.clock.advance(119)
    assert house.ended == []
    house.clock.advance(1)
    assert house.ended == [house.member]
