"""Greenlets that run one task after the other, and bring nothing of one task to the next."""

from __future__ import annotations

import functools
import gc
import weakref
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import gevent
import gevent.local
import pytest
from gevent.event import Event
from gevent.hub import get_hub

from rtcio_sync.hub import greenlet_pool
from rtcio_sync.hub.greenlet_pool import MOST, Pool, PooledGreenlet
from tests.foreign_threads import in_real_thread
from tests.timing import DEADLINE, until

of_a_task = ContextVar("of_a_task", default="nothing")
local = gevent.local.local()


@pytest.fixture
def pool() -> Pool:
    return Pool()


def in_a_hub_of_its_own(test: Callable[..., None]) -> Callable[..., None]:
    """Runs a test in a thread of its own: servers of other tests have greenlets in this one."""

    def alone(*args: Any, **named: Any) -> None:
        try:
            test(*args, **named)
            for each in (*args, *named.values()):
                if isinstance(each, Pool):
                    each.close()
            until(lambda: not living())
        finally:
            get_hub().destroy(destroy_loop=True)

    @functools.wraps(test)
    def run_it(*args: Any, **named: Any) -> None:
        in_real_thread(functools.partial(alone, *args, **named))

    return run_it


def living() -> list[PooledGreenlet]:
    """The greenlets of the pools of this test."""
    found = [each for each in gc.get_objects() if type(each) is PooledGreenlet]
    return [each for each in found if each.parent is get_hub() and not each.dead]


class Ran:
    """Records the greenlets in which a task runs, without a reference to them."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.done = Event()

    def __call__(self, *args: Any) -> None:
        self.ids.append(id(gevent.getcurrent()))
        self.done.set()

    def wait(self, pool: Pool) -> int:
        """Runs it as a task of the pool; returns the id of its greenlet."""
        self.done.clear()
        pool.spawn(self)
        assert self.done.wait(DEADLINE)
        return self.ids[-1]


def run(pool: Pool, task: Any) -> Any:
    """Runs a task and returns its result, when the hub has looked at its greenlet."""
    results: list[Any] = []
    done = Event()

    def work() -> None:
        results.append(task())
        done.set()

    pool.spawn(work)
    assert done.wait(DEADLINE)
    gevent.sleep(0)
    return results[0]


@in_a_hub_of_its_own
def test_tasks_begin_in_the_order_of_their_calls_and_those_that_do_not_wait_share_a_greenlet(
    pool: Pool,
) -> None:
    order: list[int] = []
    ran = Ran()

    def task(number: int) -> None:
        order.append(number)
        ran()

    for number in range(100):
        pool.spawn(task, number)
    until(lambda: len(order) == 100)
    assert order == list(range(100))
    assert len(set(ran.ids)) == 1


@in_a_hub_of_its_own
def test_the_greenlet_of_a_task_that_waits_runs_the_next_after_it(pool: Pool) -> None:
    def wait() -> int:
        gevent.sleep(0.001)
        return id(gevent.getcurrent())

    first = run(pool, wait)
    assert run(pool, wait) == first


@in_a_hub_of_its_own
def test_tasks_that_wait_run_beside_each_other(pool: Pool) -> None:
    release, begun = Event(), []

    def task() -> None:
        begun.append(id(gevent.getcurrent()))
        release.wait(DEADLINE)

    for _ in range(10):
        pool.spawn(task)
    until(lambda: len(begun) == 10)
    assert len(set(begun)) == 10
    release.set()


@in_a_hub_of_its_own
def test_a_task_runs_in_a_greenlet_of_gevents_that_names_it(pool: Pool) -> None:
    def named(number: int) -> str:
        assert isinstance(gevent.getcurrent(), gevent.Greenlet)
        assert gevent.getcurrent().parent is get_hub()
        return repr(gevent.getcurrent())

    text = run(pool, lambda: named(7))
    assert "run.<locals>.work()" in text
    waiting = [repr(each) for each in living()]
    assert [each.partition(": ")[2] for each in waiting] == ["waits for a task>"]


# -- nothing of one task reaches the next ----------------------------------------------------------


@in_a_hub_of_its_own
def test_a_task_does_not_see_the_context_variables_of_the_task_before(pool: Pool) -> None:
    first = run(pool, lambda: (of_a_task.set("first"), id(gevent.getcurrent()))[1])
    assert run(pool, lambda: (of_a_task.get(), id(gevent.getcurrent()))) == ("nothing", first)


@in_a_hub_of_its_own
def test_a_task_does_not_see_the_context_variables_of_who_spawned_it(pool: Pool) -> None:
    of_a_task.set("spawner")
    try:
        assert run(pool, of_a_task.get) == "nothing"
    finally:
        of_a_task.set("nothing")


@in_a_hub_of_its_own
def test_a_task_does_not_see_greenlet_locals_of_the_task_before(pool: Pool) -> None:
    run(pool, lambda: setattr(local, "user", "first"))
    assert run(pool, lambda: getattr(local, "user", None)) is None


@in_a_hub_of_its_own
def test_a_task_does_not_see_attributes_that_the_task_before_gave_its_greenlet(pool: Pool) -> None:
    run(pool, lambda: setattr(gevent.getcurrent(), "user", "first"))
    assert run(pool, lambda: getattr(gevent.getcurrent(), "user", None)) is None


@in_a_hub_of_its_own
def test_a_time_out_that_a_task_left_behind_is_not_raised_in_another(pool: Pool) -> None:
    timeout = gevent.Timeout(0.02)
    try:
        run(pool, timeout.start)
        run(pool, lambda: gevent.sleep(0.1))  # it would be raised here
    finally:
        timeout.close()


@pytest.mark.parametrize("block", [True, False])
@in_a_hub_of_its_own
def test_who_has_kept_the_greenlet_of_a_task_does_not_kill_another(pool: Pool, block: bool) -> None:
    kept = run(pool, gevent.getcurrent)
    release, ended = Event(), []

    def task() -> None:
        release.wait(DEADLINE)
        ended.append(True)

    pool.spawn(task)
    gevent.sleep(0)
    with gevent.Timeout(DEADLINE):
        kept.kill(block=block)
        kept.join()
    release.set()
    until(lambda: ended)


@in_a_hub_of_its_own
def test_a_kill_that_is_on_its_way_when_a_task_ends_does_not_reach_the_next(pool: Pool) -> None:
    release, ended = Event(), []

    def ends_at_once() -> None:
        gevent.getcurrent().kill(block=False)  # type: ignore[attr-defined]

    def task() -> None:
        release.wait(DEADLINE)
        ended.append(True)

    pool.spawn(ends_at_once)
    pool.spawn(task)
    gevent.sleep(0.01)
    release.set()
    until(lambda: ended)


@in_a_hub_of_its_own
def test_a_weak_reference_to_the_greenlet_of_a_task_dies_with_the_task(pool: Pool) -> None:
    kept = run(pool, lambda: weakref.ref(gevent.getcurrent()))
    other = run(pool, gevent.getcurrent)
    assert kept() is not other


@in_a_hub_of_its_own
def test_what_a_task_got_is_free_when_it_has_ended(pool: Pool) -> None:
    class Big:
        pass

    big = Big()
    known = weakref.ref(big)
    pool.spawn(lambda given: of_a_task.set(given), big)
    del big
    gevent.sleep(0)
    assert known() is None


# -- a task that does not end by itself ------------------------------------------------------------


@in_a_hub_of_its_own
def test_a_task_that_is_killed_ends_with_its_greenlet_and_others_run(pool: Pool) -> None:
    running: list[Any] = []

    def task() -> None:
        running.append(gevent.getcurrent())
        with suppress(gevent.GreenletExit):  # as a guard of handlers does
            Event().wait()

    pool.spawn(task)
    until(lambda: running)
    with gevent.Timeout(DEADLINE):
        running[0].kill()
    assert running[0].dead
    assert run(pool, lambda: "runs") == "runs"


@in_a_hub_of_its_own
def test_who_waits_for_the_greenlet_of_a_task_goes_on_when_the_task_ends(pool: Pool) -> None:
    running: list[Any] = []
    release = Event()

    def task() -> None:
        running.append(gevent.getcurrent())
        release.wait(DEADLINE)

    pool.spawn(task)
    until(lambda: running)
    waiting = gevent.spawn(running.pop().join)
    gevent.sleep(0)
    release.set()
    waiting.get(timeout=DEADLINE)


@in_a_hub_of_its_own
def test_an_exception_goes_to_the_hub_with_the_task_and_the_next_one_runs(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, object]] = []

    def handle_error(context: Any, kind: Any, value: Any, traceback: Any) -> None:
        told.append((repr(context), kind))

    monkeypatch.setattr(get_hub(), "handle_error", handle_error)

    def fails(number: int) -> None:
        raise LookupError(number)

    pool.spawn(fails, 7)
    until(lambda: told)
    assert told[0][1] is LookupError
    assert "fails(7)" in told[0][0]
    assert run(pool, lambda: "runs") == "runs"


# -- how many wait ---------------------------------------------------------------------------------


def many_at_once(pool: Pool, number: int) -> None:
    release = Event()
    for _ in range(number):
        pool.spawn(release.wait, DEADLINE)
    until(lambda: len(living()) == number)
    release.set()


@in_a_hub_of_its_own
def test_a_bounded_number_of_greenlets_waits_and_ends_when_they_are_not_needed(pool: Pool) -> None:
    many_at_once(pool, 2 * MOST)
    until(lambda: len(living()) <= MOST)
    until(lambda: not living())


@in_a_hub_of_its_own
def test_a_greenlet_that_was_needed_meanwhile_is_no_spare_one(pool: Pool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(greenlet_pool, "SPARE_FOR", 1000)
        in_hub = get_hub().loop.run_callback
        many_at_once(pool, 3)
        until(lambda: len(pool._idle) == 3)
        in_hub(pool.end_spare)  # from now on those that are left count
        until(lambda: len(living()) == 2)
        run(pool, lambda: None)
        in_hub(pool.end_spare)
        until(lambda: len(living()) < 2)
        assert len(living()) == 1


@in_a_hub_of_its_own
def test_closed_it_has_no_greenlets_and_still_runs_tasks() -> None:
    pool = Pool()
    many_at_once(pool, 5)
    pool.close()
    until(lambda: not living())
    assert run(pool, lambda: "runs") == "runs"
    assert not living()


@in_a_hub_of_its_own
def test_its_greenlets_end_with_it() -> None:
    pool = Pool()
    many_at_once(pool, 5)
    run(pool, lambda: None)
    del pool
    gc.collect()
    gevent.sleep(0)
    assert not living()


def test_a_pool_of_a_forked_childs_parent_begins_no_task(capfd: pytest.CaptureFixture[str]) -> None:
    pool, own, done = Pool(), Pool(), []
    go_on = Event()

    def goes_on() -> None:
        go_on.wait()
        done.append("has begun")

    pool.spawn(goes_on)
    gevent.sleep(0)
    pool.spawn(done.append, "has not begun")
    pool.abandon()
    own.spawn(done.append, "own")
    go_on.set()
    until(lambda: len(done) == 2)
    assert sorted(done) == ["has begun", "own"]
    assert capfd.readouterr().err == ""
