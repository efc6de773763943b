"""Requests that a load balancer without stickiness sends to the wrong host: `cluster_address`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.clients import Driver
from tests.integration.hosts import Cluster, cluster, relay_in_a_ring
from tests.integration.many_workers import nginx
from tests.integration.redis_server import redis_server
from tests.timing import DEADLINE


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with redis_server() as url:
        yield url


TRANSPORTS = (["polling"], ["polling", "websocket"], ["websocket"])


@pytest.mark.parametrize(
    "ways", [("gunicorn-2", "gunicorn-2"), ("listen", "pywsgi"), ("gunicorn-gevent", "listen")]
)
def test_every_client_behind_a_round_robin_keeps_its_session(
    driver: Driver, redis: str, ways: tuple[str, str], tmp_path: Path
) -> None:
    nodes = sum(2 if way.endswith("-2") else 1 for way in ways)
    prefix = "-".join(ways)
    with (
        cluster(redis, *ways, cluster_prefix=prefix, nodes=nodes, addressed=True) as hosts,
        nginx(hosts.hosts[0], tmp_path, hosts.hosts[1]) as url,
    ):
        clients = [driver.open(url, transports=TRANSPORTS[n % 3]) for n in range(12)]
        for client in clients:
            client.wait("connect")
        for client in clients[1::3]:
            client.wait("upgrade")
        assert len({client.id[:4] for client in clients}) > 1
        relay_in_a_ring(clients)
        for client in clients:
            client.burst("join", "tea", count=1)
            assert client.call("join", "tea") == "ok"
            assert [client.transport for _ in range(1)] == [
                "polling" if client in clients[::3] else "websocket"
            ]
        big = {"bytes": b"\0\xff" * 100_000, "text": "ä" * 50_000}
        clients[0].relay(clients[3], big)
        clients[1].relay(clients[4], big)
        for client in (clients[3], clients[4]):
            client.wait_until(lambda client=client: big in client.relayed(), "the large relay")
        relay_in_a_ring(clients, count=20)
        for client in clients:
            assert client.reports and not [r for r in client.reports if r["type"] == "disconnect"]


def sid_at(hosts: Cluster, number: int) -> str:
    text = hosts.hosts[number].get("/socket.io/?EIO=4&transport=polling").read().decode()
    return text.split('"sid":"')[1][:20]


def test_what_cannot_be_sent_on_is_refused(driver: Driver, redis: str) -> None:
    with cluster(redis, cluster_prefix="refused", addressed=True, clean_log=False) as hosts:
        one, other = hosts.hosts
        sid = sid_at(hosts, 0)
        path = f"/socket.io/?EIO=4&transport=polling&sid={sid}"
        end = time.monotonic() + DEADLINE
        while (answer := other.get(path)).status != 200:  # until the address is known
            assert time.monotonic() < end
        assert answer.read().startswith(b"2")  # the first ping
        assert other.get(path, {"Rtcio-Sent-On": "3"}).status == 400
        unknown = sid[:4] + "x" * 16
        assert other.get(f"/socket.io/?EIO=4&transport=polling&sid={unknown}").status == 400
        os.killpg(one.process.pid, 9)
        assert other.get(path).status == 400
        assert [line for line in other.log().splitlines() if "LOG WARNING" in line] == []
