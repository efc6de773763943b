"""A host that reloads: its clients move to its new worker, and other hosts send there."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.integration.clients import Driver
from tests.integration.hosts import Traffic, cluster
from tests.integration.many_workers import await_workers
from tests.integration.redis_server import RedisServer
from tests.integration.servers import Running
from tests.timing import DEADLINE


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.kill()


def reload(host: Running) -> None:
    """Has a host with one worker reload, and waits until another worker is there alone."""
    before = await_workers(host, 1)
    host.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 4 * DEADLINE
    while await_workers(host, 1) & before:
        assert time.monotonic() < end, "the old worker stays"
        time.sleep(0.2)


def test_clients_of_another_host_notice_nothing_of_a_reload(
    driver: Driver, redis: RedisServer
) -> None:
    with cluster(redis.url, "gunicorn-gevent", "listen", clean_log=False) as hosts:
        a, b = hosts.on_each(driver)
        sid = a.id
        traffic = Traffic(a, b)
        for _ in range(2):
            traffic.during(lambda: reload(hosts.hosts[0]))
        hosts.await_nodes(2)
        traffic.arrives_once_in_order()
        assert a.id == sid
        assert not a.received("disconnect") and not b.received("#rtcio:peer-left")


def test_a_host_reloads_while_redis_is_full(driver: Driver, redis: RedisServer) -> None:
    with cluster(redis.url, "gunicorn-gevent", "listen", clean_log=False) as hosts:
        a, b = hosts.on_each(driver)
        sid = a.id
        traffic = Traffic(a, b)
        with redis.client() as client:
            client.config_set("maxmemory", 1)
            for host in hosts.hosts:
                host.eventually("/stats", lambda stats: stats["degraded"])
            reload(hosts.hosts[0])
            traffic.send()
            client.config_set("maxmemory", 0)
        hosts.await_nodes(2)
        a.fence(b)
        b.fence(a)
        assert a.id == sid and not a.received("disconnect")


def test_a_host_reloads_while_redis_does_not_answer(
    driver: Driver, redis: RedisServer
) -> None:
    with cluster(redis.url, "gunicorn-gevent", "listen", clean_log=False) as hosts:
        a, b = hosts.on_each(driver)
        sid = a.id
        traffic = Traffic(a, b)
        redis.signal(signal.SIGSTOP)
        reload(hosts.hosts[0])
        traffic.send()
        redis.signal(signal.SIGCONT)
        hosts.await_nodes(2)
        a.fence(b)
        b.fence(a)
        assert a.id == sid and not a.received("disconnect")
