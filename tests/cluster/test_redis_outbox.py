"""What is sent over Redis arrives once and in order, whatever Redis loses: without Redis."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from rtcio_sync.cluster.frames import Frames, frame
from rtcio_sync.cluster.messages import DROPPABLE, Kind
from rtcio_sync.cluster.redis_intake import Intake, Verdict
from rtcio_sync.cluster.redis_outbox import HEADER, Bounds, Budget, Entry, Outbox
from tests.timing import Clock

LOSSY_KIND, FIRM_KIND = Kind.RELAY, Kind.JOINED
HELLO = 200


class Sender:
    def __init__(self, budget: Budget | None = None, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.dropped: Counter[str] = Counter()
        self.budget = budget or Budget(Bounds())
        self.box = Outbox(
            (b"aaaa", 7),
            1,
            budget=self.budget,
            clock=self.clock.now,
            begin=lambda epoch: frame(HELLO, b"%d" % epoch),
            dropped=self._drop,
        )

    def _drop(self, reason: str, messages: int) -> None:
        self.dropped[reason] += messages

    def add(self, number: int, kind: int = LOSSY_KIND, size: int = 0) -> bool:
        body = b"%d " % number + bytes(size)
        return self.box.add(frame(kind, body), lossy=kind in DROPPABLE)


def numbers(entries: list[Entry]) -> list[int]:
    return [entry.number for entry in entries]


def bodies(entry: Entry) -> list[bytes]:
    return [each.body for each in Frames().feed(entry.value[HEADER.size :])]


def confirm(box: Outbox, entries: list[Entry]) -> None:
    for entry in entries:
        box.added(entry, b"1-%d" % entry.number)


def test_messages_that_wait_together_become_one_entry_after_the_first_of_the_epoch() -> None:
    sender = Sender()
    assert numbers(sender.box.take(10**6)) == [0]
    for number in range(3):
        sender.add(number)
    (entry,) = sender.box.take(10**6)
    assert HEADER.unpack_from(entry.value) == (b"aaaa", 7, 1, 1)
    assert bodies(entry) == [b"0 ", b"1 ", b"2 "]
    assert not sender.box.waits


def test_entries_of_several_messages_have_a_bound_and_a_larger_message_has_its_own() -> None:
    sender = Sender()
    sizes = [30_000, 30_000, 30_000, 500_000, 10]
    for number, size in enumerate(sizes):
        sender.add(number, size=size)
    taken = sender.box.take(10**7)
    assert [len(bodies(entry)) for entry in taken] == [3, 1, 1, 1]
    assert b"".join(body[:1] for entry in taken for body in bodies(entry)) == b"101234"


def test_what_is_taken_at_once_is_bounded() -> None:
    sender = Sender()
    for number in range(10):
        sender.add(number, size=60_000)
    sizes = []
    while sender.box.waits:
        sizes.append(sum(len(entry.value) for entry in sender.box.take(100_000)))
    assert len(sizes) >= 4 and max(sizes) < 170_000


def test_an_acknowledgement_frees_all_memory_and_one_of_another_epoch_none() -> None:
    sender = Sender()
    for number in range(100):
        sender.add(number, size=1000)
    confirm(sender.box, sender.box.take(10**7))
    kept = sender.box.kept
    sender.box.acknowledged(2, 10**9)
    assert sender.box.kept == kept > 100_000
    sender.box.acknowledged(1, 10**9)
    assert sender.box.kept == sender.box.inside == sender.budget.kept == 0
    assert not sender.box.unacknowledged and not sender.box.unconfirmed


def test_an_entry_that_redis_did_not_take_is_sent_again_with_all_after_it() -> None:
    sender = Sender()
    sender.box.take(10**6)
    taken = []
    for number in range(3):
        sender.add(number)
        taken += sender.box.take(10**6)
    sender.box.refused(taken[1])
    assert numbers(sender.box.take(10**6)) == [2, 3]


def test_after_a_connection_only_what_is_not_confirmed_is_sent_again() -> None:
    sender = Sender()
    first = sender.box.take(10**6)
    confirm(sender.box, first)
    sender.add(0)
    sender.box.take(10**6)
    sender.box.rewind_unconfirmed()
    assert numbers(sender.box.take(10**6)) == [1]
    sender.box.rewind()
    assert numbers(sender.box.take(10**6)) == [0, 1]


def test_what_redis_has_leaves_the_memory_first_and_is_dropped_only_if_redis_loses_it() -> None:
    sender = Sender(Budget(Bounds(each=100_000)))
    confirm(sender.box, sender.box.take(10**6))
    for number in range(300):
        kind = FIRM_KIND if number % 10 == 0 else LOSSY_KIND
        assert sender.add(number, kind, size=1000)
        confirm(sender.box, sender.box.take(10**6))
    assert sender.box.kept <= 100_000
    assert sender.box.unprotected > 150
    assert sender.dropped == {}
    # Redis forgets everything: what is kept is sent again, with no gap, and all firm messages.
    sender.box.rewind()
    again = sender.box.take(10**7)
    assert numbers(again) == list(range(301))
    left = [int(body.split()[0]) for entry in again[1:] for body in bodies(entry)]
    assert set(range(0, 300, 10)) <= set(left)
    assert sender.dropped == {"lost": sender.box.unprotected}
    assert len(left) + sender.box.unprotected == 300


def test_more_than_the_bound_is_refused_while_redis_confirms_nothing() -> None:
    sender = Sender(Budget(Bounds(each=100_000)))
    taken = [sender.add(number, size=1000) for number in range(200)]
    assert taken == [True] * taken.count(True) + [False] * taken.count(False)
    assert 60 < taken.count(True) < 100
    assert sender.add(200, FIRM_KIND, size=1000)
    assert sender.box.kept <= 105_000
    assert sender.dropped == {}


def test_all_nodes_together_have_a_bound() -> None:
    budget, clock = Budget(Bounds(all=100_000)), Clock()
    one, two = Sender(budget, clock), Sender(budget, clock)
    for number in range(60):
        assert one.add(number, size=1000)
    confirm(one.box, one.box.take(10**7))
    # What is confirmed for one makes room for the other.
    taken = [two.add(number, size=1000) for number in range(100)]
    assert one.box.unprotected > 0
    assert 50 < taken.count(True) < 100
    assert budget.kept <= 100_000


def test_an_inbox_has_a_bound_with_what_others_have_sent() -> None:
    sender = Sender(Budget(Bounds(inside=100_000)))
    sender.box.of_others = 50_000
    taken = []
    for number in range(100):
        taken.append(sender.add(number, size=1000))
        confirm(sender.box, sender.box.take(10**6))
    assert 30 < taken.count(True) < 50
    assert sender.add(0, FIRM_KIND)
    sender.box.acknowledged(1, 10)
    assert sender.add(0, size=1000)


def test_lossy_messages_that_wait_too_long_are_dropped_and_no_others() -> None:
    sender = Sender()
    sender.box.take(10**6)
    for number in range(10):
        sender.add(number, FIRM_KIND if number % 2 else LOSSY_KIND)
    sender.box.expire()
    sender.clock.advance(30)
    sender.add(10)
    sender.box.expire()
    assert sender.dropped == {}
    sender.clock.advance(31)
    sender.box.expire()
    assert sender.dropped == {"expired": 5}
    sender.box.rewind()
    found = [body for entry in sender.box.take(10**6)[1:] for body in bodies(entry)]
    assert found == [b"1 ", b"3 ", b"5 ", b"7 ", b"9 ", b"10 "]


def test_too_many_firm_messages_fill_an_outbox_after_all_others_were_dropped() -> None:
    sender = Sender(Budget(Bounds(each=100_000)))
    for number in range(60):
        sender.add(number, size=1000)
    full = []
    for number in range(300):
        assert sender.add(number, FIRM_KIND, size=1000)
        full.append(sender.box.full())
        if full[-1]:
            break
    assert full[-1] and 80 < len(full) < 170
    assert sender.dropped == {"overflow": 60}
    sender.box.reset(2)
    assert not sender.box.full()
    (entry,) = sender.box.take(10**6)
    assert HEADER.unpack_from(entry.value) == (b"aaaa", 7, 2, 0)
    assert sender.box.kept == sender.budget.kept < 1000


def test_one_large_firm_message_is_not_too_much_and_a_large_lossy_one_is_refused() -> None:
    sender = Sender(Budget(Bounds(each=100_000)))
    assert not sender.add(0, size=100_000)
    assert sender.add(1, FIRM_KIND, size=400_000)
    assert sender.add(2, FIRM_KIND, size=1000)
    assert not sender.box.full()


def test_the_messages_of_a_dead_node_are_counted() -> None:
    sender = Sender()
    for number in range(10):
        sender.add(number, FIRM_KIND if number % 2 else LOSSY_KIND)
        if number == 6:
            confirm(sender.box, sender.box.take(10**6))
    sender.box.end()
    assert sender.dropped == {"died": 5}
    assert sender.budget.kept == 0 and not sender.budget.boxes


def test_redis_may_answer_about_a_node_that_has_died_since() -> None:
    sender = Sender()
    for number in range(3):
        sender.add(number)
        confirm(sender.box, sender.box.take(10**6))
    sender.box.end()
    sender.box.acknowledged(1, 2)
    assert sender.budget.kept == 0 and not sender.box.waits and not sender.box.unacknowledged


def test_an_entry_in_redis_is_recognised_by_its_own_header() -> None:
    sender, other = Sender(), Sender()
    (entry,) = sender.box.take(10**6)
    assert sender.box.is_entry(0, [[b"1-0", [b"m", entry.value]]])
    assert not sender.box.is_entry(1, [[b"1-0", [b"m", entry.value]]])
    other.box.reset(2)
    assert not other.box.is_entry(0, [[b"1-0", [b"m", entry.value]]])
    for found in (None, [], [[b"1-0", []]], [[b"1-0", [b"b", b"1"]]], 7, [7]):
        assert not sender.box.is_entry(0, found)


@pytest.mark.parametrize(
    ("epoch", "number", "verdict"),
    [
        (2, 3, Verdict.TAKE),
        (2, 2, Verdict.AGAIN),
        (2, 0, Verdict.AGAIN),
        (2, 4, Verdict.GAP),
        (1, 3, Verdict.STALE),
        (3, 3, Verdict.STALE),
        (3, 0, Verdict.ANEW),
    ],
)
def test_an_entry_is_judged_by_epoch_and_number(epoch: int, number: int, verdict: str) -> None:
    intake = Intake()
    for each in range(3):
        assert intake.judge(2, each, 2) == Verdict.TAKE
    assert intake.judge(epoch, number, 2) == verdict
    assert intake.following == (4 if verdict == Verdict.TAKE else 3)


class Redis:
    """One stream in memory that loses things, and the two ends of it."""

    def __init__(self, seed: int, bounds: Bounds) -> None:
        self.random = random.Random(seed)
        self.sender = Sender(Budget(bounds))
        self.stream: list[tuple[bytes, Entry]] = []
        self.ids = 0
        self.at = 0  # how far the receiver has read
        self.intake = Intake()
        self.acked = 0
        self.got: list[int] = []
        self.kinds: dict[int, int] = {}
        self.nack: int | None = None
        self.posted = 0

    @property
    def box(self) -> Outbox:
        return self.sender.box

    def post(self) -> None:
        kind = self.random.choice((LOSSY_KIND, LOSSY_KIND, FIRM_KIND))
        if self.sender.add(self.posted, kind, self.random.choice((0, 100, 5000))):
            self.kinds[self.posted] = kind
            self.posted += 1

    def write(self) -> None:
        """Some are taken; after one that is not, the connection may be lost, with some replies."""
        taken = self.box.take(self.random.choice((1, 1000, 10**6)))
        what = self.random.random()
        for entry in taken:
            if what < 0.1 and self.random.random() < 0.3:  # the inbox is not there
                self.box.refused(entry)
                continue
            self.ids += 1
            where = b"%d-0" % self.ids
            # A copy: what is stripped later stays whole in Redis.
            copy = Entry(entry.number, entry.value, entry.made)
            self.stream.append((where, copy))
            if what > 0.9 and self.random.random() < 0.5:  # no reply from here on
                self.lost_connection()
                return
            self.box.added(entry, where)

    def lost_connection(self) -> None:
        self.box.rewind_unconfirmed()
        self.check()

    def check(self) -> None:
        """Asks whether the last confirmed entry is there."""
        last = self.box.last
        where = dict(self.stream)
        self.poll()
        if last is None or self.box.last != last:
            return
        found = where.get(last[1])
        sent = [] if found is None else [[last[1], [b"m", found.value]]]
        if not self.box.is_entry(last[0], sent):
            self.box.rewind()

    def read(self) -> None:
        for _ in range(self.random.choice((1, 5, 100))):
            if self.at >= len(self.stream):
                return
            _, entry = self.stream[self.at]
            self.at += 1
            _, _, epoch, number = HEADER.unpack_from(entry.value)
            verdict = self.intake.judge(epoch, number, 1)
            if verdict == Verdict.TAKE:
                self.nack = None
                for each in Frames().feed(entry.value[HEADER.size :]):
                    if each.kind != HELLO:
                        self.got.append(int(each.body.split()[0]))
            elif verdict == Verdict.GAP:
                self.nack = self.intake.following

    def acknowledge(self) -> None:
        self.acked = self.intake.following
        del self.stream[: self.at]
        self.at = 0

    def poll(self) -> None:
        self.box.acknowledged(1, self.acked)

    def ask_again(self) -> None:
        if self.nack is not None:
            self.box.rewind(self.nack)

    def read_again(self) -> None:
        self.at = 0

    def forget(self) -> None:
        """It comes back empty."""
        self.stream.clear()
        self.at = self.acked = 0
        self.lost_connection()

    def forget_the_end(self) -> None:
        """A replica that did not have all becomes the master."""
        del self.stream[self.random.randrange(len(self.stream) + 1) :]
        self.at = min(self.at, len(self.stream))
        self.ids = 0 if self.random.random() < 0.3 else self.ids  # its clock is behind
        self.at = 0
        self.lost_connection()

    def run(self, steps: int, faults: list[Callable[[], None]]) -> None:
        usual = [self.post, self.post, self.write, self.read, self.acknowledge, self.poll]
        for _ in range(steps):
            self.random.choice(usual if self.random.random() < 0.9 else faults)()
        for _ in range(50):  # Redis is well again
            while self.box.waits:
                for entry in self.box.take(10**7):
                    self.ids += 1
                    self.stream.append((b"%d-0" % self.ids, Entry(entry.number, entry.value, 0)))
                    self.box.added(entry, b"%d-0" % self.ids)
            for _ in range(len(self.stream)):
                self.read()
            self.ask_again()
            self.acknowledge()
            self.check()


@pytest.mark.parametrize("seed", range(60))
def test_whatever_redis_loses_all_arrives_once_and_in_order(seed: int) -> None:
    redis = Redis(seed, Bounds())
    faults: list[Callable[[], Any]] = [
        redis.ask_again, redis.read_again, redis.forget, redis.forget_the_end,
        redis.lost_connection, redis.check,
    ]  # fmt: skip
    redis.run(600, faults)
    assert redis.got == list(range(redis.posted))
    assert redis.posted > 100
    assert redis.sender.dropped == {}
    assert redis.box.kept == redis.box.inside == 0


@pytest.mark.parametrize("seed", range(60))
def test_within_small_bounds_only_lossy_messages_are_missing_and_they_are_counted(
    seed: int,
) -> None:
    redis = Redis(seed, Bounds(each=30_000, all=10**6))

    def expire() -> None:
        redis.sender.clock.advance(redis.random.choice((1, 40)))
        redis.box.expire()

    redis.run(600, [redis.ask_again, redis.forget, redis.forget_the_end, expire])
    assert redis.got == sorted(set(redis.got))  # in order, and none twice
    missing = set(range(redis.posted)) - set(redis.got)
    assert all(redis.kinds[each] in DROPPABLE for each in missing)
    assert sum(redis.sender.dropped.values()) >= len(missing)
    assert redis.box.kept == redis.box.inside == 0
