"""Who is dead: judged by the time in which Redis answered, whoever stood still."""

from __future__ import annotations

import random

import pytest

from rtcio_sync.cluster.redis_heartbeats import DEAD_AFTER, EACH, Beats
from tests.timing import Clock


class Redis:
    """The marks of all nodes, and a clock for the ages of the marks."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.marks: dict[str, int] = {}
        self.made: dict[str, float] = {}

    def beat(self, node: str) -> None:
        self.marks[node] = self.marks.get(node, 0) + 1
        self.made[node] = self.clock.now()

    def ages(self) -> dict[str, float]:
        return {node: self.clock.now() - made for node, made in self.made.items()}


class Judge:
    """A node that asks for the marks of others."""

    def __init__(self, redis: Redis, *others: str) -> None:
        self.redis, self.clock = redis, redis.clock
        self.beats = Beats(self.clock.now)
        for each in others:
            self.beats.watch(each)

    def ask(self, late: float = 0.01) -> list[str]:
        """The answer comes so many seconds later."""
        self.beats.ask()
        self.clock.advance(late)
        return self.beats.answer(dict(self.redis.marks), self.redis.ages())


@pytest.fixture
def clock() -> Clock:
    return Clock()


def seconds_until_dead(judge: Judge, victim: str, lives: str = "") -> float:
    began = judge.clock.now()
    while True:
        if lives:
            judge.redis.beat(lives)
        dead = judge.ask()
        assert lives not in dead
        if dead == [victim]:
            return judge.clock.now() - began
        judge.clock.advance(EACH - 0.01)
        assert judge.clock.now() - began < 60


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.98])
def test_a_node_that_stands_still_is_dead_in_time_and_no_other(clock: Clock, phase: float) -> None:
    redis = Redis(clock)
    judge = Judge(redis, "dead", "live")
    for _ in range(5):
        redis.beat("dead")
        redis.beat("live")
        clock.advance(phase)
        assert judge.ask() == []
        clock.advance(EACH - phase - 0.01)
    redis.beat("dead")
    clock.advance(phase)
    took = seconds_until_dead(judge, "dead", "live")
    assert DEAD_AFTER - 1 < phase + took < 7.8


def test_nobody_is_dead_while_redis_does_not_answer(clock: Clock) -> None:
    redis = Redis(clock)
    judge = Judge(redis, "a", "b")
    redis.beat("a"), redis.beat("b")
    assert judge.ask() == []
    assert judge.ask(late=30) == []  # Redis was stopped: the marks are old
    redis.beat("a"), redis.beat("b")
    clock.advance(1)
    assert judge.ask() == []
    assert judge.beats.good < 3


def test_nobody_is_dead_since_this_node_stood_still(clock: Clock) -> None:
    redis = Redis(clock)
    judge = Judge(redis, "a")
    redis.beat("a")
    assert judge.ask() == []
    clock.advance(100)  # and `a` with it: both were suspended
    assert judge.ask() == []
    redis.beat("a")
    clock.advance(1)
    assert judge.ask() == []


def test_a_slow_redis_delays_the_judgement(clock: Clock) -> None:
    redis = Redis(clock)
    judge = Judge(redis, "dead")
    redis.beat("dead")
    judge.ask()
    for _ in range(20):  # never within the time that counts
        assert judge.ask(late=0.95) == []
    assert DEAD_AFTER - 2 < seconds_until_dead(judge, "dead") < DEAD_AFTER + 1.5


def test_a_node_whose_mark_redis_has_forgotten_is_dead_as_late_as_one_that_stands_still(
    clock: Clock,
) -> None:
    redis = Redis(clock)
    judge = Judge(redis, "dead", "live")
    redis.beat("dead"), redis.beat("live")
    assert judge.ask() == []
    redis.marks.clear()
    redis.made.clear()
    took = seconds_until_dead(judge, "dead", "live")
    assert DEAD_AFTER - 1 < took < 8


def test_a_node_is_known_to_live_when_its_mark_has_changed(clock: Clock) -> None:
    redis = Redis(clock)
    redis.beat("a")
    judge = Judge(redis)
    judge.beats.watch("a", redis.marks["a"])
    judge.ask()
    assert not judge.beats.moved("a")
    redis.beat("a")
    judge.ask()
    assert judge.beats.moved("a")
    judge.beats.forget("a")
    assert not judge.beats.moved("a")


@pytest.mark.parametrize("seed", range(30))
def test_who_beats_at_least_every_four_seconds_is_never_dead(seed: int) -> None:
    choose = random.Random(seed)
    clock = Clock()
    redis = Redis(clock)
    judge = Judge(redis, "a")
    last = clock.now()
    redis.beat("a")
    for _ in range(500):
        clock.advance(choose.uniform(0.1, 1.2))
        if clock.now() - last > choose.uniform(0, 4):
            redis.beat("a")
            last = clock.now()
        late = choose.choice((0.01, 0.01, 0.5, 3.0))
        stopped = late > 1
        assert judge.ask(late) == []
        if stopped:  # nobody could beat meanwhile
            last += late
