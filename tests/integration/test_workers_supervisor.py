"""`rtcio-sync --workers N`: the dead are replaced, SIGHUP replaces all, SIGTERM ends all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gevent.event import Event

from rtcio_sync.cli.supervisor import Worker
from tests.integration.clients import Driver
from tests.integration.many_workers import await_workers, everywhere, kill, workers
from tests.integration.servers import running
from tests.timing import DEADLINE, wait_until

BACK = {"reconnection": True, "reconnectionDelay": 50, "reconnectionDelayMax": 100}


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_worker_that_dies_is_replaced_and_its_clients_come_back(driver: Driver) -> None:
    with workers("rtcio-sync") as server:
        a, *others = everywhere(driver, server, **BACK)
        for client in (a, *others):
            client.call("join", "tea")
        left, pid = a.id, a.call("pid")
        kill(pid)
        for client in others:
            assert client.wait_for("#rtcio:peer-left") == [{"id": left}]
        a.wait("connect", count=2)
        pids = await_workers(server)
        assert pid not in pids
        for client in others:
            a.fence(client)
            client.fence(a)


def test_sighup_replaces_all_workers_and_every_client_moves(driver: Driver) -> None:
    with workers("rtcio-sync") as server:
        before = await_workers(server)
        clients = everywhere(driver, server)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: all(map(gone, before)))
        after = await_workers(server)
        assert not before & after
        for client in clients[1:]:
            clients[0].fence(client)
            client.fence(clients[0])
        assert {client.call("pid") for client in clients} <= after


def test_sigterm_ends_all_processes(driver: Driver) -> None:
    with workers("rtcio-sync") as server:
        pids = await_workers(server)
        clients = everywhere(driver, server)
        assert server.terminate() == 0
        for client in clients:
            assert client.wait("disconnect")["reason"] == "transport close"
        assert all(map(gone, pids))


def test_workers_end_with_their_supervisor(driver: Driver) -> None:
    with workers("rtcio-sync", clean_log=False) as server:
        pids = await_workers(server)
        os.kill(server.process.pid, signal.SIGKILL)
        wait_until(lambda: all(map(gone, pids)))


def test_the_public_server_has_one_lobby_for_all_workers(driver: Driver) -> None:
    with running("public-server", environ={"RTCIO_WORKERS": "4"}) as server:
        server.eventually("/health", lambda health: health["workers"] == 4)
        clients = []
        end = time.monotonic() + DEADLINE
        while len({client.id[:4] for client in clients}) < 2:
            assert time.monotonic() < end
            clients.append(driver.connect(server.url, transports=["websocket"]))
        for client in clients:
            client.emit("join-room", {"roomId": "tea"})
            client.wait_for("join-ok")
        clients[0].wait_for("user-connected", len(clients) - 1)
        health = server.eventually("/health", lambda health: health["rooms"] == 1)
        assert (health["sockets"], health["workers"]) == (len(clients), 4)


#: A supervisor of two workers that note their process ids; those that begin while there is a file
#: "broken" or "slow" do not serve.
SUPERVISOR = """
import sys
from rtcio_sync.cli import supervisor
supervisor.START_WITHIN = 3600.0
command = [sys.executable, "-c", sys.argv[2]]
said = lambda port: open(sys.argv[1] + "/said", "w").close()
sys.exit(supervisor.Supervisor(command, 2, patience=0, said=said).run("127.0.0.1", 0))
"""
WORKER = """
import os, signal
with open("begun", "a") as begun:
    begun.write(f"{os.getpid()}\\n")
if os.path.exists("broken"):
    raise SystemExit("this app is broken")
while os.path.exists("slow"):
    signal.pause()
os.write(int(os.environ["RTCIO_SYNC_READY"]), b"r")
signal.pause()
"""


@contextmanager
def supervised(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SUPERVISOR, str(folder), WORKER]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_worker_is_known_to_serve_however_long_another_one_was_waited_for() -> None:
    serve = "import os; os.write(int(os.environ['RTCIO_SYNC_READY']), b'r')"
    command = [sys.executable, "-c", serve]
    heard, life = os.pipe()
    with socket.socket() as listener:
        worker = Worker(command, listener, life)
        assert worker.process.wait(DEADLINE) == 0
        worker.since -= 3600
        worker.wait_ready(Event())
        assert worker.ready
    os.close(heard)
    os.close(life)


def begun(folder: Path, count: int) -> list[int]:
    """The processes of workers, once there are so many."""
    path = folder / "begun"
    wait_until(lambda: path.exists() and path.read_text().count("\n") == count)
    return [int(each) for each in path.read_text().split()]


def test_a_reload_of_an_app_that_is_broken_leaves_the_old_workers(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        wait_until((tmp_path / "said").exists)
        first = begun(tmp_path, 2)
        (tmp_path / "broken").touch()
        process.send_signal(signal.SIGHUP)
        begun(tmp_path, 4)
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(3)]
        assert said.count("this app is broken\n") == 2
        assert said[2] == "The new workers do not start. The old ones go on.\n"
        assert not any(map(gone, first))
        (tmp_path / "broken").unlink()
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: all(map(gone, first)))
        last = begun(tmp_path, 6)[4:]
        assert not any(map(gone, last))
        process.terminate()
        assert process.wait() == 0
        assert all(map(gone, last))


@pytest.mark.parametrize("what", ["the first", "a reload"])
def test_a_supervisor_that_is_told_to_stop_waits_for_no_worker(tmp_path: Path, what: str) -> None:
    slow = tmp_path / "slow"
    if what == "the first":
        slow.touch()
    with supervised(tmp_path) as process:
        if what == "a reload":
            wait_until((tmp_path / "said").exists)
            slow.touch()
            process.send_signal(signal.SIGHUP)
        pids = begun(tmp_path, 1 if what == "the first" else 4)
        process.terminate()
        assert process.wait(DEADLINE) == 0
        assert all(map(gone, pids))
