"""The thread that runs the hub: calls from others are carried out there, or say why not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.monkey import get_original

from rtcio_sync.errors import NotServing
from rtcio_sync.hub import thread as hub_thread
from rtcio_sync.hub.thread import HubThread
from tests.foreign_threads import Outcome, in_real_thread, start_new_thread
from tests.timing import DEADLINE

get_ident = get_original("_thread", "get_ident")


@pytest.fixture
def thread() -> HubThread:
    made = HubThread()
    made.bind()
    return made


def test_a_call_is_carried_out_in_the_thread_that_serves(
    thread: HubThread, elsewhere: Callable[..., Any]
) -> None:
    here = get_ident()
    assert elsewhere(get_ident) != here, "the thread is another one"
    assert elsewhere(thread.run, get_ident) == here


def test_its_arguments_and_its_result_cross(
    thread: HubThread, elsewhere: Callable[..., Any]
) -> None:
    assert elsewhere(lambda: thread.run(sorted, [2, 1], reverse=False)) == [1, 2]


@pytest.mark.parametrize("error", [KeyError("x"), gevent.Timeout(1), SystemExit(3)])
def test_what_it_raises_is_raised_where_it_was_called(
    thread: HubThread, elsewhere: Callable[..., Any], error: BaseException
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        elsewhere(thread.run, fail)
    assert raised.value is error


def test_a_call_may_wait_for_the_hub(thread: HubThread, elsewhere: Callable[..., Any]) -> None:
    assert elsewhere(thread.run, lambda: gevent.sleep(0.01) or "waited") == "waited"


def test_calls_of_one_thread_keep_their_order(thread: HubThread) -> None:
    seen: list[int] = []

    def many() -> None:
        for number in range(500):
            thread.run(seen.append, number)

    in_real_thread(many)
    assert seen == list(range(500))


def test_many_threads_at_once_all_get_their_own_answer(thread: HubThread) -> None:
    outcomes = [
        Outcome(lambda n=n: [thread.run(lambda k=k: (n, k)) for k in range(50)], ())
        for n in range(8)
    ]
    for each in outcomes:
        start_new_thread(each.work, ())
    assert [each.wait() for each in outcomes] == [[(n, k) for k in range(50)] for n in range(8)]


def test_after_the_end_it_raises_and_names_the_fix(
    thread: HubThread, elsewhere: Callable[..., Any]
) -> None:
    thread.end()
    with pytest.raises(NotServing, match=r"has stopped.*before stop\(\)"):
        elsewhere(thread.run, get_ident)


def test_after_the_end_of_the_thread_that_served_another_one_may_serve(
    elsewhere: Callable[..., Any],
) -> None:
    made = HubThread()

    def serve() -> None:
        made.bind()
        gevent.get_hub().destroy(destroy_loop=True)

    in_real_thread(serve)
    for call in (lambda: made.run(get_ident), made.look_for_life):
        with pytest.raises(NotServing, match="has stopped"):
            call()
    made.bind()
    assert elsewhere(made.run, get_ident) == get_ident()


def test_a_hub_that_does_not_answer_is_told_of_and_the_call_is_not_made_later(
    thread: HubThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_thread, "ANSWER_WITHIN", 0.05)
    made: list[int] = []
    outcome = Outcome(thread.run, (made.append, 1))
    start_new_thread(outcome.work, ())
    while not outcome.over:
        get_original("time", "sleep")(0.01)  # the hub stands still
    with pytest.raises(NotServing, match=r"did not answer.*monkey\.patch_all"):
        outcome.wait()
    gevent.sleep(0.05)
    assert made == []


def test_a_hub_that_ends_while_a_call_waits_is_told_of(
    thread: HubThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_thread, "ANSWER_WITHIN", 0.05)
    outcome = Outcome(thread.run, (gevent.sleep, 60))
    start_new_thread(outcome.work, ())
    gevent.sleep(0.02)
    thread.end()
    with pytest.raises(NotServing):
        outcome.wait()


def test_a_hub_that_ends_before_a_call_has_begun_has_not_stood_still(
    thread: HubThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_thread, "ANSWER_WITHIN", 0.2)
    handed_over = threading.Event()
    hand_over = thread._hand_over
    thread._hand_over = lambda *args: (hand_over(*args), handed_over.set())  # type: ignore
    outcome = Outcome(thread.run, (get_ident,))
    start_new_thread(outcome.work, ())
    while not handed_over.is_set():
        get_original("time", "sleep")(0.001)  # this thread's hub does not run any more
    thread.end()
    while not outcome.over:
        get_original("time", "sleep")(0.01)
    with pytest.raises(NotServing, match="has stopped"):
        outcome.wait()


def test_before_anything_is_served_a_call_runs_where_it_is_made() -> None:
    thread = HubThread()
    assert in_real_thread(lambda: thread.run(get_ident) == get_ident()) is True


def test_what_is_spawned_before_anything_is_served_waits_for_the_hub(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_thread, "get_hub_if_exists", lambda: None)
    thread = HubThread()
    ran: list[int] = []
    in_real_thread(thread.spawn, lambda: ran.append(get_ident()))
    gevent.sleep(0.01)
    assert ran == []
    thread.bind()
    gevent.sleep(0)
    assert ran == [get_ident()]


@pytest.mark.parametrize("ended", [False, True])
def test_what_its_maker_spawned_runs_in_the_thread_that_serves(ended: bool) -> None:
    """The maker's hub may never run: its thread waits for that one, or has ended."""
    ran: list[int] = []

    def make() -> HubThread:
        made = HubThread()
        made.spawn(lambda: ran.append(get_ident()))
        return made

    served: list[int] = []

    def serve(thread: HubThread) -> None:
        thread.bind()
        gevent.sleep(0)
        served.append(get_ident())

    serving = threading.Thread(target=serve, args=(in_real_thread(make) if ended else make(),))
    serving.start()
    serving.join()  # the hub of this thread does not run meanwhile
    assert ran == served
    gevent.sleep(0)
    assert len(ran) == 1, "whichever hub comes first runs it"


def test_what_is_spawned_before_anything_is_served_runs_in_a_makers_hub_that_runs(
    elsewhere: Callable[..., Any],
) -> None:
    """As in a worker of gunicorn's that has no client yet."""
    gevent.sleep(0)  # now the thread has a hub
    thread = HubThread()
    ran = gevent.event.AsyncResult()
    elsewhere(thread.spawn, lambda: ran.set(get_ident()))
    assert ran.get(timeout=DEADLINE) == get_ident()
    assert not thread.serving


def test_what_is_spawned_from_another_thread_runs_in_the_hubs(
    thread: HubThread, elsewhere: Callable[..., Any]
) -> None:
    ran = gevent.event.AsyncResult()
    elsewhere(thread.spawn, lambda: ran.set(get_ident()))
    assert ran.get(timeout=DEADLINE) == get_ident()


def test_the_first_thread_that_serves_stays_it_but_for_listen() -> None:
    thread = HubThread()

    def serve(anew: bool) -> bool:
        thread.bind(anew=anew)
        return not thread.elsewhere()

    thread.bind()
    assert in_real_thread(serve, False) is False
    assert not thread.elsewhere()
    assert in_real_thread(serve, True) is True
    assert thread.elsewhere()


def test_on_threads_each_call_runs_where_it_is_made() -> None:
    thread = HubThread()
    thread.threaded = True
    assert in_real_thread(thread.elsewhere) is False


def test_this_process_is_not_patched_so_that_threading_is_real() -> None:
    assert threading.Thread.__module__ == "threading"
