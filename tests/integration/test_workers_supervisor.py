"""`rtcio-sync --workers N`: the dead are replaced, SIGHUP replaces all, SIGTERM ends all."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from rtcio_sync.cli.worker_process import Template, Worker
from tests.integration.clients import Driver
from tests.integration.many_workers import await_workers, everywhere, kill, workers
from tests.integration.servers import running
from tests.timing import DEADLINE, wait_until

BACK = {"reconnection": True, "reconnectionDelay": 50, "reconnectionDelayMax": 100}


def gone(pid: int) -> bool:
    """Also one that whoever has inherited it has not waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return True


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
#: "broken" or "slow" do not serve, and a template that begins while there is "no template" fails.
SUPERVISOR = """
import os, sys
from rtcio_sync.cli import supervisor, worker_process
worker_process.START_WITHIN = 3600.0
supervisor.END_WITHIN = float(os.environ.get("END_WITHIN", "3600"))
command = [sys.executable, "-c", sys.argv[2]]
said = lambda port: open(sys.argv[1] + "/said", "w").close()
sys.exit(supervisor.Supervisor(command, 2, patience=0, said=said).run("127.0.0.1", 0))
"""
WORKER = """
import os, signal
from rtcio_sync.cli.worker_template import become_worker
if os.path.exists("no template"):
    raise SystemExit("this installation is broken")
if not become_worker():
    raise SystemExit
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
def supervised(folder: Path, **environ: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SUPERVISOR, str(folder), WORKER]
    with subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_worker_is_known_to_serve_however_long_another_one_was_waited_for() -> None:
    heard, ready = os.pipe()
    worker = Worker(heard)
    assert not worker.has_settled()
    worker.since -= 3600
    os.write(ready, b"r")
    os.close(ready)
    assert worker.has_settled()
    assert worker.ready


#: A template that dies just after it has forked: the fork still has its socket.
FORKING = """
import os, time
if os.fork() == 0:
    with open("forked", "w") as forked:
        forked.write(f"{os.getpid()}\\n")
time.sleep(3600)
"""


def test_a_template_has_ended_although_a_fork_of_it_keeps_its_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    heard, life = os.pipe()
    with socket.socket() as listener:
        template = Template([sys.executable, "-c", FORKING], listener, life)
    worker = template.start()
    forked = tmp_path / "forked"
    wait_until(lambda: forked.exists() and forked.read_text().endswith("\n"))
    try:
        assert template.end() == -signal.SIGKILL
        assert template.ended
        assert worker.poll() is not None
        assert not template.ready
    finally:
        os.kill(int(forked.read_text()), signal.SIGKILL)
        worker.listen_no_more()
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


def test_a_reload_whose_template_cannot_begin_leaves_the_old_workers(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        wait_until((tmp_path / "said").exists)
        first = begun(tmp_path, 2)
        (tmp_path / "no template").touch()
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        assert process.stderr.readline() == "this installation is broken\n"
        assert process.stderr.readline() == "The new workers do not start. The old ones go on.\n"
        assert not any(map(gone, first))
        os.kill(first[0], signal.SIGKILL)  # the old template still forks
        last = begun(tmp_path, 3)[2]
        process.terminate()
        assert process.wait(DEADLINE) == 0
        assert gone(first[1])
        assert gone(last)


def test_a_template_that_cannot_begin_at_all_ends_the_command(tmp_path: Path) -> None:
    (tmp_path / "no template").touch()
    with supervised(tmp_path) as process:
        assert process.wait(DEADLINE) == 1
    assert not (tmp_path / "begun").exists()


def test_workers_outlive_their_template_and_are_still_replaced(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        wait_until((tmp_path / "said").exists)
        first = begun(tmp_path, 2)
        template = parent(first[0])
        assert parent(template) == process.pid
        os.kill(template, signal.SIGKILL)
        wait_until(lambda: parent(first[0]) != template)
        os.kill(first[0], signal.SIGKILL)
        third = begun(tmp_path, 3)[2]
        assert parent(third) not in (template, process.pid)
        assert not gone(first[1])
        os.kill(third, signal.SIGKILL)
        begun(tmp_path, 4)
        process.terminate()
        assert process.wait(DEADLINE) == 0
        assert all(map(gone, begun(tmp_path, 4)))


def test_a_template_that_does_not_answer_holds_up_nobody_for_good(tmp_path: Path) -> None:
    with supervised(tmp_path, END_WITHIN="0.5") as process:
        wait_until((tmp_path / "said").exists)
        first = begun(tmp_path, 2)
        os.kill(parent(first[0]), signal.SIGSTOP)
        process.terminate()
        assert process.wait(DEADLINE) == 0
        assert all(map(gone, first))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_ends_them_quietly(
    driver: Driver, number: signal.Signals
) -> None:
    # Ctrl-C in a terminal; systemd stops a service so.
    with workers("rtcio-sync") as server:
        pids = await_workers(server)
        clients = everywhere(driver, server)
        for pid in (parent(min(pids)), *pids, server.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        for client in clients:
            assert client.wait("disconnect")["reason"] == "transport close"
        assert server.process.wait(DEADLINE) == 0
        assert all(map(gone, pids))


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_workers_share_the_memory_of_what_they_have_in_common(driver: Driver) -> None:
    with workers("rtcio-sync") as server:
        for pid in await_workers(server):
            sizes = Path(f"/proc/{pid}/smaps_rollup").read_text()
            (shared,) = re.findall(r"Shared_Dirty: +(\d+) kB", sizes)
            assert int(shared) > 15_000
        assert "gevent" not in Path(f"/proc/{server.process.pid}/maps").read_text()
