"""How a process ends: what a stopping server does with its clients, and which signals it heeds."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import gevent
import pytest
from gevent.event import Event

from rtcio_sync.hub.thread import HubThread
from rtcio_sync.serving.stop import AT_ONCE, SIGNALS, Stop, on_signals_of_threads
from tests.timing import DEADLINE, in_time


class Client:
    def __init__(self) -> None:
        self.sent_on = 0

    def send_on(self) -> None:
        self.sent_on += 1


class Engine:
    """As much of an Engine.IO server as `Stop` needs. Its clients are closed in no time."""

    async_mode = "gevent"

    def __init__(self, clients: int = 0) -> None:
        self.hub_thread = HubThread()
        self.sockets = {f"{number}": Client() for number in range(clients)}
        self.stopping = False
        self.working = 0
        self.clock_runs = True
        #: How many clients were closed by each of the calls of `sleep`.
        self.closed_before: list[int] = []

    @property
    def closed(self) -> int:
        return sum(client.sent_on for client in self.sockets.values())

    def sleep(self, seconds: float) -> None:
        self.closed_before.append(self.closed)
        gevent.sleep(0)

    def shutdown(self) -> None:
        self.clock_runs = False


# -- the drain -------------------------------------------------------------------------------------


def test_every_client_is_closed_once_and_new_ones_are_refused() -> None:
    engine = Engine(clients=3)
    Stop(engine, drain_seconds=1).drain()
    assert [client.sent_on for client in engine.sockets.values()] == [1, 1, 1]
    assert engine.stopping
    assert not engine.clock_runs
    assert engine.hub_thread.ended


def test_who_is_dead_for_another_refuses_new_clients_before_it_closes_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("os.kill", lambda pid, number: asked.append(number))
    engine = Engine()

    class Watching(Client):
        def send_on(self) -> None:
            assert engine.stopping
            super().send_on()

    engine.sockets = {"0": Watching()}
    Stop(engine, drain_seconds=1).give_up("abcd")
    assert engine.closed == 1 and asked == [signal.SIGTERM]


def test_new_clients_are_refused_before_the_first_is_closed() -> None:
    engine = Engine()

    class Watching(Client):
        def send_on(self) -> None:
            assert engine.stopping

    engine.sockets = {"a": Watching()}
    Stop(engine, drain_seconds=1).drain()


def test_few_clients_are_closed_in_one_step() -> None:
    engine = Engine(clients=AT_ONCE)
    Stop(engine, drain_seconds=1).drain()
    assert engine.closed_before == [AT_ONCE]


def test_many_clients_are_closed_in_steps() -> None:
    clients = AT_ONCE + 20
    engine = Engine(clients=clients)
    Stop(engine, drain_seconds=1).drain()
    closed = engine.closed_before
    assert closed == sorted(closed)
    assert 0 < closed[0] < clients / 2
    assert closed[-1] == clients
    assert len(set(closed)) > 10


def test_handlers_that_end_are_waited_for() -> None:
    engine = Engine()
    engine.working = 1
    draining = gevent.spawn(Stop(engine, drain_seconds=DEADLINE).drain)
    gevent.sleep(0.01)
    assert not draining.dead
    engine.working = 0
    with in_time():
        draining.get()


def test_handlers_that_do_not_end_are_waited_for_no_longer_than_the_drain() -> None:
    engine = Engine()
    engine.working = 1
    begun = time.monotonic()
    with in_time():
        Stop(engine, drain_seconds=0.05).drain()
    assert time.monotonic() - begun >= 0.05
    assert engine.working == 1


# -- Server.stop -----------------------------------------------------------------------------------


def test_stopping_what_does_not_listen_is_nothing() -> None:
    Stop(Engine(), drain_seconds=1).ask()


def test_listen_hears_that_it_is_to_end() -> None:
    stop, events = Stop(Engine(), drain_seconds=1), [Event(), Event()]
    with stop.listens(events[0]) as first, stop.listens(events[1]) as second:
        assert (first, second) == (True, False)
        assert not any(each.is_set() for each in events)
        for _ in range(2):
            stop.ask()
            assert all(each.is_set() for each in events)


def test_listen_hears_it_from_another_thread() -> None:
    engine, event = Engine(), Event()
    engine.hub_thread.bind()
    stop = Stop(engine, drain_seconds=1)
    with stop.listens(event):
        asking: Any = threading.Thread(target=stop.ask)
        asking.start()
        with in_time():
            event.wait()
        asking.join(DEADLINE)
    assert not asking.is_alive()


def test_stopping_a_server_that_has_ended_is_nothing() -> None:
    engine, event = Engine(), Event()
    stop = Stop(engine, drain_seconds=1)
    with stop.listens(event):
        stop.drain()
        stop.ask()
        assert not event.is_set()


def test_a_server_that_serves_again_drains_again() -> None:
    engine = Engine()
    stop, drained = Stop(engine, drain_seconds=1), []
    stop.on_drained.append(lambda: drained.append(1))
    for times in (1, 2):
        first, second = Event(), Event()
        with stop.listens(first):
            with stop.listens(second):
                stop.drain_in_turn(first)
            stop.drain_in_turn(first)
        assert len(drained) == times


# -- the first request -----------------------------------------------------------------------------


def test_the_first_request_warns_of_a_process_that_is_not_patched(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Stop(Engine(), drain_seconds=1).first_request({})
    assert caplog.text.count("monkey.patch_all()") == 1


def test_the_first_request_does_not_warn_again_after_listen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stop = Stop(Engine(), drain_seconds=1)
    with stop.listens(Event()):
        pass
    stop.first_request({})
    assert caplog.text == ""


# -- signals ---------------------------------------------------------------------------------------


def test_signals_on_threads_are_the_processs_own_again_afterwards() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    heard: list[int] = []
    restore = on_signals_of_threads(lambda: heard.append(1))
    try:
        for number in SIGNALS:
            signal.raise_signal(number)
    finally:
        restore()
    assert heard == [1, 1]
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_another_thread_than_the_main_one_handles_no_signals() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    done: list[Any] = []

    def handle() -> None:
        restore = on_signals_of_threads(lambda: None)
        done.append([signal.getsignal(number) for number in SIGNALS])
        restore()

    thread = threading.Thread(target=handle)
    thread.start()
    thread.join(DEADLINE)
    assert done == [before]
