"""Calls of a server from other threads, and from the hub."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.monkey import get_original

from rtcio_sync import Lobby, Server
from rtcio_sync.errors import NotServing, OptionError, RtcioError
from rtcio_sync.hub import foreign_task
from rtcio_sync.hub.background_task import Contained
from rtcio_sync.hub.foreign_task import ForeignTask
from tests.bus import Bus, BusManager
from tests.foreign_threads import in_real_thread
from tests.timing import DEADLINE, wait_until

get_ident = get_original("_thread", "get_ident")


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.shutdown()


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


def test_a_task_is_waited_for_where_it_was_started(
    server: Server, elsewhere: Callable[..., Any]
) -> None:
    server._hub_thread.bind()

    def work(result: Any) -> Any:
        server.sleep(0.02)
        if isinstance(result, Exception):
            raise result
        return get_ident(), result

    def joined() -> Any:
        task = server.start_background_task(work, result=5)
        before = task.ready(), task.dead, task.successful(), task.value
        task.join(timeout=0.001)
        early = task.ready()
        task.join(timeout=DEADLINE)
        after = task.ready(), task.dead, task.successful(), task.value
        return before, early, after, task.get(timeout=DEADLINE), task.exception

    done = (get_ident(), 5)
    assert elsewhere(joined) == (
        (False, False, False, None), False, (True, True, True, done), done, None,
    )  # fmt: skip
    with pytest.raises(KeyError, match="x"):
        elsewhere(lambda: server.start_background_task(work, KeyError("x")).get())
    with pytest.raises(gevent.Timeout):
        elsewhere(lambda: server.start_background_task(work, 1).get(timeout=0.001))
    with pytest.raises(gevent.Timeout):
        elsewhere(lambda: server.start_background_task(work, 1).get(block=False))


def test_a_task_is_killed_where_it_was_started(
    server: Server, elsewhere: Callable[..., Any]
) -> None:
    server._hub_thread.bind()
    log: list[str] = []

    def work() -> None:
        log.append("begun")
        try:
            gevent.sleep(DEADLINE)
        finally:
            log.append("ended")

    def killed() -> Any:
        task = server.start_background_task(work)
        wait_until(lambda: log)
        task.kill()
        task.kill()
        return task.ready(), task.exception, type(task.get())

    assert elsewhere(killed) == (True, None, gevent.GreenletExit)
    assert log == ["begun", "ended"]


@pytest.mark.parametrize("error", [gevent.GreenletExit, OSError])
def test_a_task_that_is_killed_before_it_begins_has_ended(server: Server, error: Any) -> None:
    server._hub_thread.bind()
    ran: list[int] = []
    task = ForeignTask(server._hub_thread, Contained(lambda: ran.append(1), lambda: None))
    task.begin(gevent.spawn)
    task.kill(error)  # the loop did not turn in between
    assert task.ready() and ran == []
    if error is OSError:
        assert isinstance(task.exception, OSError) and not task.successful()
    else:
        assert isinstance(task.get(), gevent.GreenletExit) and task.successful()


def test_a_task_of_another_thread_is_waited_for_in_the_one_that_serves(server: Server) -> None:
    server._hub_thread.bind()
    task = in_real_thread(server.start_background_task, lambda: gevent.sleep(0.02) or "done")
    task.join(timeout=0.001)
    assert not task.ready()
    assert task.get(timeout=DEADLINE) == "done"


def test_a_task_that_is_started_before_anything_is_served_is_waited_for_until_it_ran(
    elsewhere: Callable[..., Any],
) -> None:
    made: list[Server] = []
    over = threading.Event()

    def make() -> None:
        made.append(Server(async_mode="gevent"))
        over.wait(DEADLINE)  # no hub runs there; another thread would get the id of one that ended

    maker = threading.Thread(target=make)
    maker.start()
    wait_until(lambda: made)
    server = made[0]
    task = elsewhere(server.start_background_task, lambda: "done")
    assert elsewhere(task.join, 0.01) is None and not task.ready()
    other = elsewhere(server.start_background_task, lambda: "done")
    other.kill()
    assert other.ready() and isinstance(other.get(), gevent.GreenletExit)
    waiting = gevent.spawn(elsewhere, task.get)
    gevent.sleep(0.02)
    server._hub_thread.bind()
    assert waiting.get(timeout=DEADLINE) == "done"
    assert isinstance(other.value, gevent.GreenletExit), "it did not run"
    over.set()
    maker.join()


def test_who_waits_for_a_task_hears_that_the_server_has_stopped(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_task, "LOOK_FOR_LIFE", 0.01)
    server._hub_thread.bind()
    task = in_real_thread(server.start_background_task, gevent.sleep, DEADLINE)
    waiting = gevent.spawn(in_real_thread, task.join)
    gevent.sleep(0.05)
    server._hub_thread.end()
    with pytest.raises(NotServing):
        waiting.get(timeout=DEADLINE)
    task.kill()


@pytest.mark.parametrize("mode", [None, "gevent"])
def test_a_task_that_its_maker_started_runs_in_the_thread_that_serves(mode: str | None) -> None:
    server = Server(async_mode=mode)
    ran: list[int] = []
    server.start_background_task(lambda: ran.append(get_ident()))

    def serve() -> None:
        server._hub_thread.bind()
        gevent.sleep(0)

    serving = threading.Thread(target=serve)
    serving.start()
    serving.join()  # the hub of this thread does not run meanwhile
    assert ran == [serving.ident]


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


def test_call_in_the_hub_raises_and_names_the_fix(server: Server) -> None:
    client = server.test_client()
    raised = gevent.event.AsyncResult()

    def in_hub() -> None:
        try:
            server.call("question", to=client.sid)
        except RtcioError as error:
            raised.set(error)

    gevent.get_hub().loop.run_callback(in_hub)
    assert "gevent.spawn(call" in str(raised.get(timeout=DEADLINE))


def test_disconnect_in_the_hub_runs_its_handlers_in_a_greenlet(server: Server) -> None:
    ran_in = gevent.event.AsyncResult()

    @server.on("disconnect")
    def on_disconnect(sid: str) -> None:
        gevent.sleep(0)
        ran_in.set(gevent.getcurrent())

    client = server.test_client()
    gevent.get_hub().loop.run_callback(server.disconnect, client.sid)
    assert ran_in.get(timeout=DEADLINE) is not gevent.get_hub()


def test_what_is_no_sid_is_refused_at_once_in_the_hub_too(server: Server) -> None:
    client = server.test_client()
    socket: Any = server.sockets[client.sid or ""]
    raised = gevent.event.AsyncResult()

    def in_hub() -> None:
        try:
            raised.set(server.disconnect(socket))
        except OptionError as error:
            raised.set(error)

    gevent.get_hub().loop.run_callback(in_hub)
    assert "write socket.id" in str(raised.get(timeout=DEADLINE))


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


@pytest.mark.parametrize(
    "emit",
    [
        lambda parent: parent.emit("news", 1),
        lambda parent: parent.send(1),
        lambda parent: parent.to("tea").emit("news", 1),
        lambda parent: parent.volatile.emit("news", 1),
    ],
    ids=["emit", "send", "to", "volatile"],
)
def test_what_is_emitted_to_dynamic_namespaces_is_sent_by_the_thread_that_serves(
    server: Server, elsewhere: Callable[..., Any], emit: Callable[[Any], None]
) -> None:
    parent = server.of(re.compile("^/shop-"))
    client = server.test_client(namespace="/shop-1")
    server.enter_room(client.sid or "", "tea", namespace="/shop-1")
    server._hub_thread.bind()
    threads: list[int] = []
    sent = server.manager.emit

    def watched(*args: Any, **options: Any) -> None:
        threads.append(get_ident())
        sent(*args, **options)

    server.manager.emit = watched  # type: ignore[method-assign]
    elsewhere(emit, parent)
    assert threads == [get_ident()]
    assert [args for _, args in client.received()] == [[1]]
    server._hub_thread.end()
    with pytest.raises(NotServing):
        elsewhere(emit, parent)
