"""The clock of all connections: real connections, the time told by the test or by gevent."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import gevent
import pytest
from engineio import packet

from rtcio_sync import Limits
from rtcio_sync.engineio.heartbeat import AT_ONCE, LATENESS, TOGETHER, Beat, Heartbeat
from rtcio_sync.engineio.server import Server
from rtcio_sync.engineio.socket import Socket
from rtcio_sync.engineio.state import State
from tests.timing import DEADLINE, Clock, settle

INTERVAL, TIMEOUT = 25.0, 20.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Any:
    """A server whose clock stands still; `beat(server)` is what a second of it does."""
    made = Server(ping_interval=INTERVAL, ping_timeout=TIMEOUT, limits=Limits(connect_timeout=90))
    made.heartbeat = Heartbeat(made, made.heartbeat.ping, clock.now)
    yield made
    made.shutdown()


def connected(server: Any) -> Socket:
    socket = Socket(server, server.generate_id())
    server.sockets[socket.sid] = socket
    socket.state = State.POLLING
    server.heartbeat.begin(socket)
    return socket


def pings(socket: Socket) -> int:
    return [each.packet_type for each in socket.outbox or ()].count(packet.PING)


def beat(server: Any) -> None:
    server.heartbeat._beat(server.heartbeat.now())


def test_a_client_that_answers_is_pinged_once_an_interval(server: Any, clock: Clock) -> None:
    socket = connected(server)
    for count in range(1, 4):
        clock.advance(INTERVAL - TOGETHER - 0.001)
        beat(server)
        assert pings(socket) == count - 1
        clock.advance(TOGETHER + 0.001)
        beat(server)
        beat(server)
        assert pings(socket) == count
        server.heartbeat.answered(socket)
    assert not socket.closed


def test_pings_that_are_due_within_a_moment_go_out_together(server: Any, clock: Clock) -> None:
    one = connected(server)
    clock.advance(TOGETHER * 0.9)
    other = connected(server)
    clock.advance(TOGETHER * 0.2)
    third = connected(server)
    clock.advance(INTERVAL - TOGETHER * 1.1)
    beat(server)
    assert [pings(each) for each in (one, other, third)] == [1, 1, 0]


def test_a_ping_that_was_early_leaves_the_whole_timeout_for_its_answer(
    server: Any, clock: Clock
) -> None:
    connected(server)
    clock.advance(TOGETHER * 0.9)
    early = connected(server)
    clock.advance(INTERVAL - TOGETHER * 0.9)
    beat(server)
    assert pings(early) == 1
    clock.advance(TIMEOUT - 0.001)
    beat(server)
    assert not early.closed
    clock.advance(0.001)
    beat(server)
    assert early.closed


def test_a_short_interval_is_kept(clock: Clock) -> None:
    server = Server(ping_interval=0.3, ping_timeout=0.2)
    server.heartbeat = Heartbeat(server, server.heartbeat.ping, clock.now)
    socket = connected(server)
    clock.advance(0.29)
    beat(server)
    assert pings(socket) == 0
    clock.advance(0.01)
    beat(server)
    assert pings(socket) == 1
    server.shutdown()


def test_a_client_that_does_not_answer_is_closed_on_time(server: Any, clock: Clock) -> None:
    socket = connected(server)
    clock.advance(INTERVAL)
    beat(server)
    clock.advance(TIMEOUT - 0.001)
    beat(server)
    assert not socket.closed and not server.heartbeat.overdue(socket)
    clock.advance(0.001)
    assert server.heartbeat.overdue(socket)
    beat(server)
    assert socket.closed
    assert server.counters.closed == {"ping-timeout": 1}


def test_a_ping_that_goes_out_a_little_late_does_not_put_the_end_off(
    server: Any, clock: Clock
) -> None:
    socket = connected(server)
    clock.advance(INTERVAL + LATENESS / 2)
    beat(server)
    clock.advance(TIMEOUT - LATENESS / 2)
    assert server.heartbeat.overdue(socket)


def test_a_process_that_stood_still_leaves_a_client_the_whole_timeout(
    server: Any, clock: Clock
) -> None:
    socket = connected(server)
    clock.advance(INTERVAL + TIMEOUT + 1)
    beat(server)
    assert pings(socket) == 1
    clock.advance(TIMEOUT - 0.001)
    beat(server)
    assert not socket.closed
    clock.advance(0.001)
    beat(server)
    assert socket.closed


def test_an_answer_that_nobody_asked_for_changes_nothing(server: Any, clock: Clock) -> None:
    socket = connected(server)
    server.heartbeat.answered(socket)
    clock.advance(INTERVAL)
    server.heartbeat.answered(socket)
    beat(server)
    assert pings(socket) == 1


def test_others_have_their_turn_while_very_many_are_pinged(server: Any, clock: Clock) -> None:
    sockets = [connected(server) for _ in range(3 * AT_ONCE)]
    clock.advance(INTERVAL)
    seen: list[int] = []
    gevent.spawn(lambda: seen.append(sum(map(pings, sockets))))
    beat(server)
    assert seen[0] < len(sockets) == sum(map(pings, sockets))


def test_one_that_cannot_be_pinged_keeps_no_other_from_its_ping(
    server: Any, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    broken, other = connected(server), connected(server)
    broken.transport = object()  # type: ignore[assignment]
    clock.advance(INTERVAL)
    beat(server)
    assert pings(other) == 1
    assert "a connection's ping failed" in caplog.text


def test_a_closed_connection_is_not_pinged(server: Any, clock: Clock) -> None:
    socket = connected(server)
    socket.close(abort=True)
    clock.advance(INTERVAL)
    beat(server)
    assert pings(socket) == 0


@pytest.mark.parametrize("passed", [0, INTERVAL], ids=["before its ping", "after its ping"])
def test_a_closed_connection_is_let_go_of_at_once(server: Any, clock: Clock, passed: float) -> None:
    socket = connected(server)
    clock.advance(passed)
    beat(server)
    assert pings(socket) == (1 if passed else 0)
    kept = weakref.ref(socket)
    socket.close(abort=True)
    del socket
    settle()  # the app's handler of the end has run
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("left", [1, INTERVAL / 2], ids=["another batch", "the batch it was in"])
def test_a_connection_that_comes_back_from_another_process_is_pinged_once(
    server: Any, clock: Clock, left: float
) -> None:
    first = connected(server)
    clock.advance(INTERVAL / 2)
    where = server.heartbeat.state(first)
    assert where == Beat(INTERVAL / 2, INTERVAL / 2, None)
    server.forget(first)
    second = Socket(server, first.sid)
    server.sockets[second.sid] = second
    second.state = State.POLLING
    server.heartbeat.go_on(second, Beat(INTERVAL / 2, left, None))
    for _ in range(3):
        clock.advance(INTERVAL / 2)
        beat(server)
        server.heartbeat.answered(second)
    assert (pings(first), pings(second)) == (0, 2)


def test_a_server_that_monitors_no_clients_closes_none(clock: Clock) -> None:
    server: Any = Server(monitor_clients=False, ping_interval=INTERVAL, ping_timeout=TIMEOUT)
    server.heartbeat = Heartbeat(server, server.heartbeat.ping, clock.now)
    socket = connected(server)
    clock.advance(INTERVAL)
    beat(server)
    clock.advance(TIMEOUT)
    beat(server)
    assert pings(socket) == 1
    assert not socket.closed and not server.heartbeat.overdue(socket)
    server.shutdown()


def test_a_client_that_joins_nothing_is_closed_in_time(server: Any, clock: Clock) -> None:
    late, in_time = connected(server), connected(server)
    in_time.root = object()
    clock.advance(89)
    beat(server)
    for socket in (late, in_time):
        server.heartbeat.answered(socket)
    clock.advance(1)
    beat(server)
    assert late.closed and not in_time.closed
    assert server.counters.closed == {"connect-timeout": 1}


def test_an_engine_alone_has_nothing_that_a_client_must_join(clock: Clock) -> None:
    server: Any = Server(ping_interval=3600)
    server.heartbeat = Heartbeat(server, server.heartbeat.ping, clock.now)
    socket = connected(server)
    clock.advance(3599)
    beat(server)
    assert not socket.closed
    server.shutdown()


def test_what_is_due_sooner_wakes_a_clock_that_sleeps_for_what_is_due_later() -> None:
    server = Server()
    done = gevent.event.Event()
    server.heartbeat.later(3600, done.set)
    gevent.sleep(0)  # the clock's greenlet goes to sleep
    assert not done.is_set()
    server.heartbeat.later(0.01, done.set)
    assert done.wait(DEADLINE)
    server.shutdown()


def test_a_clock_that_was_stopped_starts_again() -> None:
    server = Server()
    server.shutdown()
    done = gevent.event.Event()
    server.heartbeat.later(0.01, done.set)
    assert done.wait(DEADLINE)
    server.shutdown()


def test_one_connection_whose_ping_fails_stops_no_other_ones_clock() -> None:
    server = Server()

    def fail() -> None:
        raise RuntimeError("of the test")

    done = gevent.event.Event()
    server.heartbeat.later(0.001, fail)
    server.heartbeat.later(0.01, done.set)
    assert done.wait(DEADLINE)
    server.shutdown()
