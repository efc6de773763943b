"""Workers that leave while many clients talk: no client notices anything.

`RELOAD=full` (`make reloads`) is the long form: 500 WebSockets, 100 polling clients, three reloads.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.clients import Client, Driver
from tests.integration.crowd import Crowd, crowd
from tests.integration.line import Line
from tests.integration.many_workers import await_workers, everywhere, kill, workers
from tests.integration.servers import Running, running
from tests.timing import DEADLINE, wait_until

FULL = os.environ.get("RELOAD") == "full"

#: WebSockets, polling clients, milliseconds between two messages of each, and reloads.
SIZE = (500, 100, 1000, 3) if FULL else (40, 10, 100, 2)

#: How long an old worker waits for its successor to have loaded the app, on a busy machine, too.
PATIENCE = "--graceful-timeout 300"
PATIENT = {"GUNICORN_CMD_ARGS": PATIENCE}
BACK = {"reconnection": True, "reconnectionDelay": 50, "reconnectionDelayMax": 100}


def others(server: Running, before: set[int], count: int) -> set[int]:
    """Waits until ``count`` workers are there, and none of those ``before``."""
    end = time.monotonic() + 4 * DEADLINE
    while True:
        found = await_workers(server, count)
        if not found & before:
            return found
        assert time.monotonic() < end, "the old workers stay"
        time.sleep(0.2)


def talk(there: Crowd, seconds: float = 1.0) -> None:
    """The clients talk for some time, so that what follows happens in the middle of it."""
    time.sleep(seconds)


def reload(server: Running, there: Crowd, count: int, times: int) -> None:
    pids = await_workers(server, count)
    for _ in range(times):
        talk(there)
        server.process.send_signal(signal.SIGHUP)
        pids = others(server, pids, count)
    talk(there)


@pytest.mark.parametrize(
    "way", ["gevent", "gevent-preload", "geventwebsocket", "gevent_pywsgi", "rtcio-sync"]
)
def test_nobody_notices_a_reload(way: str) -> None:
    websockets, pollings, every, times = SIZE
    start = workers(way, environ=PATIENT)
    with start as server, crowd(server.url, websockets, pollings, every) as there:
        reload(server, there, 4, times)
        found = there.assert_undisturbed()
    assert len(set(found.pop("sids"))) == websockets + pollings
    assert set(found.pop("cuts")) == {0}
    print(f"{way}: {found}")


def disconnects(client: Client) -> list[object]:
    return [each for each in client.reports if each["type"] == "disconnect"]


def test_clients_on_polling_that_have_come_back_notice_no_reload(driver: Driver) -> None:
    # Most of them have come back through another worker than the one with their session.
    recovering = workers(environ=PATIENT, connection_state_recovery=True)
    with recovering as server, Line(server.port) as line:
        clients = everywhere(driver, line, each=3, transports=["polling"], **BACK)
        line.cut()
        for client in clients:
            client.wait("disconnect")
        line.mend()
        for client in clients:
            client.wait("connect", count=2)
        pids = await_workers(server)
        for _ in range(2):
            server.process.send_signal(signal.SIGHUP)
            pids = others(server, pids, 4)
            assert {client.call("pid") for client in clients} <= pids
        for client in clients:
            assert len(disconnects(client)) == 1
            client.disconnect()


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_clients_that_lose_their_connections_during_a_reload_come_back_to_their_sessions(
    driver: Driver, transport: str
) -> None:
    # The old workers wait for the new ones, then they move their sessions; both takes a while.
    recovering = workers(environ=PATIENT, connection_state_recovery=True)
    with recovering as server, Line(server.port) as line:
        clients = everywhere(driver, line, each=3, transports=[transport], **BACK)
        sids = [client.id for client in clients]
        before = await_workers(server)
        server.process.send_signal(signal.SIGHUP)
        for number in range(5):
            line.cut()
            for client in clients:
                client.wait("disconnect", count=number + 1)
            line.mend()
            for client in clients:
                client.wait("connect", count=number + 2)
        after = others(server, before, 4)
        assert {client.call("pid") for client in clients} <= after
        assert [client.id for client in clients] == sids
        for client in clients:
            back = [report["recovered"] for report in client.reports if report["type"] == "connect"]
            assert back == [False, *[True] * 5]
            client.disconnect()


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_call_that_nobody_answers_keeps_no_client_in_a_worker_that_leaves(
    driver: Driver, transport: str
) -> None:
    with workers(environ=PATIENT) as server:
        clients = everywhere(driver, server, each=2, transports=[transport])
        for client in clients:
            client.call("join", "tea")
        asked = clients[0].ask("do", "gather", "tea", 120, "a question")
        for client in clients:
            client.wait_for("a question", 1)
        before = await_workers(server)
        server.process.send_signal(signal.SIGHUP)
        ((silent, answers),) = clients[0].answer(asked)
        assert set(silent) <= {client.id for client in clients} and not answers
        after = others(server, before, 4)
        assert {client.call("pid") for client in clients} <= after
        for client in clients:
            assert not disconnects(client)
            client.disconnect()


def test_nobody_notices_the_reload_of_a_single_worker() -> None:
    alone = running("gunicorn-gevent", "many_workers", environ=PATIENT)
    with alone as server, crowd(server.url, 12, 4) as there:
        reload(server, there, 1, 2)
        there.assert_undisturbed()


def test_nobody_notices_that_there_are_fewer_workers() -> None:
    with workers(environ=PATIENT) as server, crowd(server.url, 24, 8) as there:
        talk(there)
        server.process.send_signal(signal.SIGTTOU)
        await_workers(server, 3)
        server.process.send_signal(signal.SIGTTOU)
        await_workers(server, 2)
        talk(there)
        there.assert_undisturbed()


def test_nobody_notices_that_workers_are_replaced_after_so_many_requests() -> None:
    options = {"GUNICORN_CMD_ARGS": f"{PATIENCE} --max-requests 300 --max-requests-jitter 100"}
    with workers(environ=options) as server:
        with crowd(server.url, 24, 8) as there:
            before = await_workers(server)
            replaced: set[int] = set()
            while len(replaced) < 3:
                replaced |= before - await_workers(server)
            talk(there)
            there.assert_undisturbed()
        # gunicorn's own SIGTERM is lost on a worker that has just been forked.
        await_workers(server)


@pytest.mark.timeout(16 * DEADLINE)
def test_nobody_notices_that_another_master_takes_the_place_of_the_first() -> None:
    # As for another version of gunicorn or Python. The first master ends when the second serves.
    with workers(environ=PATIENT) as server, crowd(server.url, 24, 8) as there:
        before = await_workers(server)
        talk(there)
        server.process.send_signal(signal.SIGUSR2)
        await_count(server, 8)
        (second,) = children_of(server.process.pid) - before
        talk(there)
        server.terminate(timeout=4 * DEADLINE)
        await_count(server, 4)
        pids = children_of(second)
        os.kill(second, signal.SIGHUP)
        wait_until(lambda: not children_of(second) & pids, 4 * DEADLINE)
        await_count(server, 4)
        talk(there)
        there.assert_undisturbed()


def await_count(server: Running, count: int) -> None:
    """Waits until a worker knows of so many; each to be asked might get no connection for long."""
    wait_until(lambda: server.get_json("/stats")["workers"] == count, 4 * DEADLINE)


def children_of(pid: int) -> set[int]:
    return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def leaving(server: Running) -> Callable[[], bool]:
    """Whether a worker has begun to leave: there is one that younger ones know of, too."""
    mark = server.log_mark()
    return lambda: "Booting worker" in server.log(mark)


def test_the_others_lose_nothing_if_a_worker_is_killed_while_it_leaves() -> None:
    with workers(clean_log=False, environ=PATIENT) as server, crowd(server.url, 24, 8) as there:
        before = await_workers(server)
        victim = min(before)
        talk(there)
        begun = leaving(server)
        server.process.send_signal(signal.SIGHUP)
        wait_until(begun)
        talk(there, 0.5)
        kill(victim)
        others(server, before, 4)
        talk(there)
        found = there.stop()
    lost = {each[1] for each in found["trouble"] if each[3] == "disconnect"}
    for _, number, _, what, *_ in found["trouble"]:
        assert number in lost or what == "peer-left" or number // 4 in {n // 4 for n in lost}
    for sender, receiver, *_ in found["missing"]:
        assert {sender, receiver} & lost
