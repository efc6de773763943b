"""What fails between hosts: Redis, its connections, a host that stands still. Nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.clients import Driver
from tests.integration.hosts import Traffic, cluster
from tests.integration.redis_server import RedisServer, cut, emptied, killed, stopped
from tests.integration.servers import free_port, running
from tests.timing import wait_until


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.kill()


FAULTS = {
    "killed-briefly": killed(0.2),
    "killed": killed(5),
    "stopped": stopped(4),
    "cut": cut,
    "emptied": emptied,
}


@pytest.mark.parametrize("ways", [("listen", "listen"), ("gunicorn-2", "gunicorn-2")], ids=str)
def test_relays_and_events_pass_through_whatever_redis_does(
    driver: Driver, redis: RedisServer, ways: tuple[str, str]
) -> None:
    nodes = sum(int(way.partition("-")[2] or 1) for way in ways)
    with cluster(redis.url, *ways, nodes=nodes) as hosts:
        traffic = Traffic(*hosts.on_each(driver))
        peers = hosts.on_each(driver)
        for fault in FAULTS.values():
            traffic.during(lambda fault=fault: fault(redis))
        traffic.arrives_once_in_order()
        hosts.await_nodes(nodes)
        for client in (*peers, traffic.a, traffic.b):
            assert client.received("#rtcio:peer-left") == []


def test_a_host_that_stood_still_for_long_is_buried_and_its_clients_come_back(
    driver: Driver, redis: RedisServer
) -> None:
    with cluster(redis.url, "listen", "listen", "listen", clean_log=False) as hosts:
        a, b = hosts.on_each(driver)[:2]
        c = driver.connect(hosts.hosts[2].url, transports=["websocket"], reconnection=True)
        for client in (a, b, c):
            client.call("join", "tea")
        a.fence(b, c)
        b.fence(a, c)
        c.fence(a, b)
        traffic = Traffic(a, b)
        before = c.id
        hosts.hosts[2].process.send_signal(signal.SIGSTOP)
        for client in (a, b):
            assert client.wait_for("#rtcio:peer-left") == [{"id": before}]
        traffic.send()
        a.relay(before, "nobody")
        stats = hosts.hosts[0].eventually("/stats", lambda stats: stats["dropped"])
        assert stats["dropped"] == {"unknown-target": 1}
        hosts.hosts[2].process.send_signal(signal.SIGCONT)
        c.wait("disconnect")
        c.wait("connect", count=2)
        assert c.id[:4] != before[:4]
        hosts.await_nodes(3)
        c.fence(a, b)
        a.fence(c)
        traffic.arrives_once_in_order()
        for client in (a, b):
            assert client.received("#rtcio:peer-left") == [[{"id": before}]]
        said = [line for line in hosts.hosts[2].log().splitlines() if "LOG WARNING" in line]
        assert len(said) == 1 and "treat it as dead" in said[0]


def test_one_worker_that_stands_still_is_not_buried(driver: Driver, redis: RedisServer) -> None:
    with cluster(redis.url, "gunicorn-2", "listen", nodes=3) as hosts:
        b = driver.connect(hosts.hosts[1].url, transports=["websocket"])
        a = driver.connect(hosts.hosts[0].url, transports=["websocket"])
        pid = a.call("pid")
        for client in (a, b):
            client.call("join", "tea")
        a.fence(b)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(12)  # longer than a host may stand still
        b.relay(a, {"number": 1})
        os.kill(pid, signal.SIGCONT)
        a.wait_until(lambda: {"number": 1} in a.relayed(), "relay")
        a.fence(b)
        assert b.received("#rtcio:peer-left") == []


def degraded(host: Any) -> bool:
    return bool(host.get_json("/stats")["degraded"])


def test_hosts_that_start_without_redis_serve_their_own_clients_until_it_comes(
    driver: Driver,
) -> None:
    port = free_port()
    with cluster(f"redis://127.0.0.1:{port}/0", nodes=0) as hosts:
        (a, b), (c, d) = hosts.on_each(driver), hosts.on_each(driver)
        for one, other in ((a, c), (b, d)):
            one.call("join", "tea")
            one.fence(other)
        assert all(degraded(host) for host in hosts.hosts)
        redis = RedisServer(port=port)
        try:
            hosts.await_nodes(2)
            wait_until(lambda: not any(degraded(host) for host in hosts.hosts))
            a.fence(b)
            b.fence(a)
            c.call("do", "emit", "tea", "news")
            for client in (a, b):
                client.wait_for("news")
            assert a.received("#rtcio:peer-left") == []
            redis.kill()
            for host in hosts.hosts:
                host.eventually("/stats", lambda stats: stats["degraded"])
            a.fence(c)  # it goes on serving
            assert driver.connect(hosts.hosts[0].url, transports=["websocket"]).call("pid")
        finally:
            redis.kill()


def test_a_host_that_requires_redis_does_not_start_without_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with (
        pytest.raises(AssertionError, match="the server ended at once"),
        running("listen", "many_workers", cluster=url, cluster_required=True, clean_log=False),
    ):
        pass
    assert "no contact to the cluster's Redis: Error 111" in capsys.readouterr().err
