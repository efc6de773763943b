"""compose-hosts.yaml as processes: clients of both hosts, a host's death, and its status."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.examples.two_hosts import PASSWORD, Hosts
from tests.integration.clients import Driver
from tests.timing import DEADLINE, wait_until


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with Driver() as driver:
        yield driver


def test_peers_on_both_hosts_meet_in_a_room_and_a_host_may_die(
    driver: Driver, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        hosts = Hosts(stack, tmp_path)
        transports = (["polling"], ["polling", "websocket"], ["websocket"])
        clients = [
            driver.open(hosts.url, transports=transports[number % 3], reconnection=True)
            for number in range(8)
        ]
        for number, client in enumerate(clients):
            client.wait("connect")
            client.emit("join-room", {"roomId": "tea", "name": f"n{number}"})
            client.wait_for("join-ok")
        ninth = driver.connect(hosts.url, transports=["websocket"])
        ninth.emit("join-room", {"roomId": "tea"})
        assert ninth.wait_for("join-error")[0]["reason"] == "room-full"
        for client in clients:
            client.wait_for("user-connected", len(clients) - 1)
            client.relay(clients[0] if client is not clients[0] else clients[1], {"candidate": 1})
        clients[0].wait_for("#rtcio:message", 7)

        hosts.hosts[0].kill()
        hosts.hosts[1].eventually("/health", lambda figures: figures["nodes"] == 2)
        for client in clients:  # those of the dead host come back, to the other one
            end = time.monotonic() + DEADLINE
            while True:
                assert time.monotonic() < end
                connects = [r for r in client.reports if r["type"] in ("connect", "disconnect")]
                if connects[-1]["type"] == "connect":
                    break
                time.sleep(0.1)
        again = driver.connect(hosts.url, transports=["websocket"])
        again.emit("join-room", {"roomId": "other"})
        again.wait_for("join-ok")


def test_its_status_is_shown(tmp_path: Path) -> None:
    with ExitStack() as stack:
        hosts = Hosts(stack, tmp_path)
        # A worker that a busy machine keeps waiting is marked for a moment.
        wait_until(lambda: " !" not in hosts.status().stdout)
        table = hosts.status().stdout
        assert table.splitlines()[-1] == "4 workers on 2 hosts"
        assert len(table.splitlines()) == 6
        assert len({each["host"] for each in hosts.nodes()}) == 2
        wait_until(lambda: all(each["silent"] < 6 and not each["stale"] for each in hosts.nodes()))
    done = hosts.status()
    assert done.returncode == 1 and "Redis does not answer" in done.stderr
    assert PASSWORD not in done.stderr
