"""Calls from other threads are carried out in the one that serves, or say why they are not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.monkey import get_original

from rtcio_sync import Lobby, Server
from rtcio_sync.errors import NotServing, RtcioError
from rtcio_sync.hub import thread as hub_thread
from rtcio_sync.hub.thread import HubThread
from tests.bus import Bus, BusManager
from tests.foreign_threads import KINDS, Outcome, in_real_thread, start_new_thread

get_ident = get_original("_thread", "get_ident")


@pytest.fixture
def thread() -> HubThread:
    made = HubThread()
    made.bind()
    return made


@pytest.fixture(params=list(KINDS))
def elsewhere(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return KINDS[request.param]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.shutdown()


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


def test_before_anything_is_served_a_call_runs_where_it_is_made() -> None:
    thread = HubThread()
    assert in_real_thread(lambda: thread.run(get_ident) == get_ident()) is True


@pytest.mark.parametrize("call", ["emit", "send"])
def test_a_broadcast_before_anything_is_served_is_made_at_once(
    server: Server, elsewhere: Callable[..., Any], call: str
) -> None:
    emitted: list[Any] = []
    server.manager.emit = lambda event, data, *_, **__: emitted.append(data)  # type: ignore[method-assign]
    elsewhere(getattr(server, call), *(["message"] if call == "emit" else []), "early")
    assert emitted == ["early"]


def test_a_task_that_is_started_before_anything_is_served_runs_then(
    server: Server, elsewhere: Callable[..., Any]
) -> None:
    ran: list[int] = []
    elsewhere(server.start_background_task, lambda: ran.append(get_ident()))
    server._hub_thread.bind()
    gevent.sleep(0)
    assert ran == [get_ident()]


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


def test_what_is_spawned_before_anything_is_served_runs_in_a_makers_hub_that_runs(
    elsewhere: Callable[..., Any],
) -> None:
    """As in a worker of gunicorn's that has no client yet."""
    gevent.sleep(0)  # now the thread has a hub
    thread = HubThread()
    ran = gevent.event.AsyncResult()
    elsewhere(thread.spawn, lambda: ran.set(get_ident()))
    assert ran.get(timeout=5) == get_ident()
    assert not thread.serving


def test_what_other_threads_publish_before_anything_is_served_leaves_in_the_makers_thread(
    elsewhere: Callable[..., Any],
) -> None:
    """A back end's connection belongs to the hub of the thread that opened it."""
    gevent.sleep(0)
    bus = Bus()
    threads: list[int] = []
    bus_publish = BusManager._publish

    class Watched(BusManager):
        def _publish(self, data: Any) -> None:
            threads.append(get_ident())
            bus_publish(self, data)

    server = Server(client_manager=Watched(bus))
    elsewhere(server.emit, "early", 1)
    with gevent.Timeout(10):
        while not bus.published:
            gevent.sleep(0.001)
    assert threads == [get_ident()]
    bus.close()


def test_what_is_spawned_from_another_thread_runs_in_the_hubs(
    thread: HubThread, elsewhere: Callable[..., Any]
) -> None:
    ran = gevent.event.AsyncResult()
    elsewhere(thread.spawn, lambda: ran.set(get_ident()))
    assert ran.get(timeout=5) == get_ident()


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


# -- the server's own calls ------------------------------------------------------------------------


def test_call_in_the_hub_raises_and_names_the_fix(server: Server) -> None:
    client = server.test_client()
    raised = gevent.event.AsyncResult()

    def in_hub() -> None:
        try:
            server.call("question", to=client.sid)
        except RtcioError as error:
            raised.set(error)

    gevent.get_hub().loop.run_callback(in_hub)
    assert "gevent.spawn(call" in str(raised.get(timeout=5))


def test_disconnect_in_the_hub_runs_its_handlers_in_a_greenlet(server: Server) -> None:
    ran_in = gevent.event.AsyncResult()

    @server.on("disconnect")
    def on_disconnect(sid: str) -> None:
        gevent.sleep(0)
        ran_in.set(gevent.getcurrent())

    client = server.test_client()
    gevent.get_hub().loop.run_callback(server.disconnect, client.sid)
    assert ran_in.get(timeout=5) is not gevent.get_hub()


def test_stop_twice_or_without_listen_is_no_mistake(server: Server) -> None:
    server.stop()
    in_real_thread(server.stop)


@pytest.mark.parametrize("name", ["peers", "remove", "stats"])
def test_a_lobby_is_asked_from_any_thread(server: Server, name: str) -> None:
    lobby = Lobby(server)
    client = server.test_client()
    client.emit("join-room", {"roomId": "tea"})
    given: dict[str, tuple[Any, ...]] = {
        "peers": ("tea",), "remove": (client.sid, "tea"), "stats": (),
    }  # fmt: skip
    answers = {"peers": [client.sid], "remove": True, "stats": {"rooms": 1, "peers": 1}}
    assert in_real_thread(getattr(lobby, name), *given[name]) == answers[name]


def test_this_process_is_not_patched_so_that_threading_is_real() -> None:
    assert threading.Thread.__module__ == "threading"
