"""Who is too slow, and what waits in all: the rules alone, on a clock that the test moves."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcio_sync.transport.slow_readers import (
    ITEM,
    LARGE,
    MANY,
    PROGRESS,
    SLOT,
    STALL,
    Backlog,
    Holdings,
    memory_of,
)
from tests.collecting import at_each_collection
from tests.steps import steps
from tests.timing import Clock


class Client:
    """One that takes ``speed`` bytes a second of what waits for it."""

    def __init__(self, house: House, waits: int = 2 * LARGE, speed: float | None = 0) -> None:
        self.house = house
        self.held: list[tuple[Any, int]] = []
        self.begun = house.clock.time
        self.speed = speed
        self.closed = False
        self.size = waits

    def waits(self) -> int:
        return self.size

    def taken(self) -> int | None:
        seconds = self.house.clock.time - self.begun
        return None if self.speed is None else int(seconds * self.speed)

    def hold(self, item: Any, size: int) -> None:
        self.held.append((item, size))
        self.house.backlog.join(self)
        self.house.backlog.hold(item, size)
        self.house.backlog.check()

    def give_up(self) -> None:
        self.closed = True
        for item, size in self.held:
            self.house.backlog.release(item, size)
        self.house.backlog.leave(self)


class House:
    def __init__(self, bound: int | None = None) -> None:
        self.clock = Clock()
        self.backlog = Backlog(bound, now=self.clock.now, later=self.clock.later)
        self.over: list[int | None] = []
        self.backlog.on_total = self.over.append

    def client(self, waits: int = 2 * LARGE, speed: float | None = 0) -> Client:
        made = Client(self, waits, speed)
        self.backlog.join(made)
        return made


# -- progress --------------------------------------------------------------------------------------


def test_who_takes_nothing_of_much_is_given_up_after_five_seconds() -> None:
    house = House()
    client = house.client()
    house.clock.advance(STALL - 0.5)
    assert not client.closed
    house.clock.advance(3)
    assert client.closed


@pytest.mark.parametrize("waits", [0, 1, LARGE])
def test_who_takes_nothing_of_little_is_not(waits: int) -> None:
    house = House()
    client = house.client(waits=waits)
    house.clock.advance(1000)
    assert not client.closed


@pytest.mark.parametrize("times", [1.5, 10, 1000])
def test_who_takes_enough_is_not_however_much_waits(times: float) -> None:
    house = House()
    client = house.client(waits=1000 * LARGE, speed=times * PROGRESS / STALL)
    house.clock.advance(1000)
    assert not client.closed


@pytest.mark.parametrize("times", [0.0001, 0.5, 0.7])
def test_who_takes_too_little_is(times: float) -> None:
    house = House()
    client = house.client(speed=times * PROGRESS / STALL)
    house.clock.advance(2 * STALL)
    assert client.closed


def test_who_stops_taking_is_given_up_though_it_has_taken_much_before() -> None:
    house = House()
    client = house.client(speed=10 * PROGRESS)
    house.clock.advance(20)
    taken = client.taken()
    client.taken = lambda: taken  # type: ignore[method-assign]
    house.clock.advance(STALL + 2)
    assert client.closed


def test_the_seconds_count_from_when_much_waits() -> None:
    house = House()
    client = house.client(waits=10)
    house.clock.advance(100)
    client.size = 2 * LARGE
    house.clock.advance(STALL - 0.5)
    assert not client.closed
    house.clock.advance(3)
    assert client.closed


def test_of_whom_nobody_can_tell_nobody_says_that_it_is_slow() -> None:
    house = House()
    client = house.client(speed=None)
    house.clock.advance(1000)
    assert not client.closed


def test_whether_a_client_takes_what_waits_can_be_asked() -> None:
    house = House()
    deaf, keen = house.client(waits=10), house.client(waits=10, speed=PROGRESS)
    house.clock.advance(3)
    assert house.backlog.moves(keen) and not house.backlog.moves(deaf)
    house.backlog.leave(keen)
    assert not house.backlog.moves(keen)


def test_others_may_wait_while_the_clock_looks() -> None:
    house = House()
    clients = [house.client() for _ in range(50)]
    with at_each_collection(house.client):
        house.clock.advance(STALL + 1)
    assert all(client.closed for client in clients)


def test_others_may_wait_while_the_slowest_are_looked_for() -> None:
    house = House(bound=100)
    clients = [house.client() for _ in range(50)]
    with at_each_collection(house.client):
        clients[0].hold("x", 1000)
    assert clients[0].closed


def test_while_nothing_waits_nobody_looks() -> None:
    house = House()
    client = house.client()
    house.backlog.leave(client)
    house.clock.advance(10)
    assert house.clock.due == []


# -- all together ----------------------------------------------------------------------------------


def test_over_the_total_the_slowest_goes_and_the_others_stay() -> None:
    house = House(bound=1000 + 10 * ITEM)
    keen, slow, deaf = (house.client(waits=10, speed=speed) for speed in (500, 50, 0))
    house.clock.advance(10)
    for number, client in enumerate((keen, slow, deaf)):
        client.hold(f"of {number}", 300)
    assert not deaf.closed
    keen.hold("and more", 2000)
    assert [keen.closed, slow.closed, deaf.closed] == [False, True, True]
    assert house.over == [1000 + 10 * ITEM]


def test_what_many_share_counts_once() -> None:
    house = House(bound=100_000)
    frame = b"x" * 60_000
    clients = [house.client() for _ in range(1000)]
    for client in clients:
        client.hold(frame, len(frame))
    assert not any(client.closed for client in clients)
    assert house.backlog.holdings.size == 60_000
    assert house.backlog.holdings.cost == 60_000 + ITEM + 999 * SLOT


def test_many_small_messages_count_as_what_they_cost() -> None:
    house = House(bound=100_000)
    client = house.client()
    for number in range(400):
        client.hold(f"{number}", 4)
    assert house.backlog.holdings.size == 1600
    assert not client.closed
    for number in range(400, 600):
        client.hold(f"{number}", 4)
    assert client.closed


def test_without_a_bound_nobody_goes() -> None:
    house = House()
    client = house.client()
    client.hold("much", 10**12)
    assert not client.closed


def test_who_leaves_may_be_the_news_that_is_too_much() -> None:
    house = House(bound=1000 + 2 * ITEM)
    first, second = house.client(waits=3), house.client(waits=2)
    first.hold("one", 700)
    give_up = first.give_up

    def and_tell() -> None:
        give_up()
        second.hold("the first has left", 100)

    first.give_up = and_tell  # type: ignore[method-assign]
    second.hold("two", 600)
    assert first.closed and not second.closed


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5))))
def test_what_is_let_go_leaves_nothing(moves: list[tuple[int, int]]) -> None:
    items = [b"%d" % number * 10 for number in range(6)]
    holdings = Holdings()
    held: list[bytes] = []
    for kind, which in moves:
        if kind:
            holdings.hold(items[which], 10, 100)
            held.append(items[which])
        elif items[which] in held:
            holdings.release(items[which], 10, 100)
            held.remove(items[which])
        assert holdings.size == 10 * len(set(held))
        distinct = len(set(held))
        assert holdings.cost == 100 * distinct + SLOT * (len(held) - distinct)
    for item in held:
        holdings.release(item, 10, 100)
    assert (holdings.size, holdings.cost) == (0, 0)
    holdings.release(items[0], 10, 100)
    assert (holdings.size, holdings.cost) == (0, 0)


# -- memory ----------------------------------------------------------------------------------------


def counted(value: Any) -> int:
    inside: list[Any] = []
    if isinstance(value, dict):
        inside = [*value, *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        inside = list(value)
    return sys.getsizeof(value) + sum(map(counted, inside))


KINDS: list[Any] = [
    {"a": 1, "b": ["x" * 500, {}]}, [], [2**70, "ä", b"y", None], (1.5, True), {2}, frozenset([3]),
    OrderedDict(c=[4]), "z", 5, object(),
]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, MANY, 3 * MANY])
def test_the_memory_of_many_values_is_that_of_each(count: int) -> None:
    for value in (KINDS * count, dict.fromkeys(range(count), KINDS), [KINDS, [KINDS] * count]):
        assert memory_of(value, 10**9) == counted(value)


@pytest.mark.parametrize("value", [{"a": 1}, [], "x", 7, [1.5, {"b": None}]], ids=str)
def test_memory_is_counted_without_steps_of_python_for_each_value(value: Any) -> None:
    few, many = [value] * 2 * MANY, [value] * 20 * MANY
    assert steps(lambda: memory_of(many, 10**9)) == steps(lambda: memory_of(few, 10**9))


def test_memory_over_the_bound_is_not_counted_on() -> None:
    value: Any = 0
    for _ in range(8):
        value = [value] * 1000  # 10 ** 24 values
    assert memory_of(value, 1_000_000) > 1_000_000
    assert memory_of([value] * 2 * MANY, 1_000_000) > 1_000_000
