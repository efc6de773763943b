"""`rtcio-sync --workers N`: the dead are replaced, SIGHUP replaces all, SIGTERM ends all."""

from __future__ import annotations

import os
import signal
import time

from tests.integration.clients import Driver
from tests.integration.many_workers import await_workers, everywhere, kill, workers
from tests.integration.servers import running
from tests.timing import wait_until

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
        end = time.monotonic() + 30
        while len({client.id[:4] for client in clients}) < 2:
            assert time.monotonic() < end
            clients.append(driver.connect(server.url, transports=["websocket"]))
        for client in clients:
            client.emit("join-room", {"roomId": "tea"})
            client.wait_for("join-ok")
        clients[0].wait_for("user-connected", len(clients) - 1)
        health = server.eventually("/health", lambda health: health["rooms"] == 1)
        assert (health["sockets"], health["workers"]) == (len(clients), 4)
