"""Calls of a server from other threads, and from the hub."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.monkey import get_original

from rtcio_sync import Lobby, Server
from rtcio_sync.errors import RtcioError
from tests.bus import Bus, BusManager
from tests.foreign_threads import in_real_thread
from tests.timing import DEADLINE

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
