"""Sessions over hosts: a client that comes back to any of them finds its session there."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.clients import SEQ, Driver
from tests.integration.hosts import BACK, Cluster, cluster, returns
from tests.integration.line import Line
from tests.integration.redis_server import redis_server
from tests.timing import DEADLINE


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(scope="module")
def hosts(redis: str) -> Iterator[Cluster]:
    ways = "listen", "pywsgi", "listen"
    # A client on polling asks the wrong host once, of which the log warns.
    with cluster(redis, *ways, connection_state_recovery=True, clean_log=False) as found:
        yield found


@pytest.mark.parametrize("transports", [["websocket"], ["polling"]], ids="-".join)
def test_a_client_finds_its_session_on_every_host_and_misses_nothing(
    driver: Driver, hosts: Cluster, transports: list[str]
) -> None:
    first, second, third = hosts.hosts
    with Line(first.port) as line:
        client = driver.connect(line.url, transports=transports, **BACK)
        others = hosts.on_each(driver)
        sid = client.id
        for each in (client, *others):
            assert each.call("join", "tea") == "ok"
        for number, host in enumerate((second, third, first, second)):
            line.cut()
            client.wait("disconnect", count=number + 1)
            for place, other in enumerate(others):
                start = 100 * number
                other.burst("to", "tea", f"news-{place}", SEQ, count=50, start=start)
                data = {"from": place, "number": SEQ}
                envelope = other.envelope(client, data)
                other.burst("#rtcio:message", envelope, count=50, start=start)
            line.lead_to(host.port)
            line.mend()
            client.wait("connect", count=number + 2)
            for place, other in enumerate(others):
                start = 100 * number + 50
                other.burst("to", "tea", f"news-{place}", SEQ, count=50, start=start)
                data = {"from": place, "number": SEQ}
                envelope = other.envelope(client, data)
                other.burst("#rtcio:message", envelope, count=50, start=start)
            for other in others:
                client.fence(other)
                other.fence(client)
        assert returns(client) == [False, True, True, True, True]
        assert client.id == sid
        assert set(client.call("do", "rooms", sid)) == {sid, "tea"}
        for place, other in enumerate(others):
            client.wait_for(f"news-{place}", 400)  # a fence passes events, which handlers send
            assert [args[0] for args in client.received(f"news-{place}")] == list(range(400))
            found = [each for each in client.relayed() if each.get("from") == place]
            assert [each["number"] for each in found] == list(range(400))
            assert len(other.received("#rtcio:peer-left")) == 4


@pytest.mark.parametrize("way", ["listen", "gunicorn-gevent"])
def test_a_host_that_stops_gives_its_sessions_to_others_and_its_clients_miss_nothing(
    driver: Driver, redis: str, way: str
) -> None:
    with ExitStack() as stack:
        options = {"connection_state_recovery": True, "cluster_prefix": f"stop-{way}"}
        hosts = stack.enter_context(cluster(redis, way, "listen", "listen", **options))
        stopped, second, third = hosts.hosts
        lines = [stack.enter_context(Line(stopped.port)) for _ in range(4)]
        clients = [driver.connect(each.url, transports=["websocket"], **BACK) for each in lines]
        for line, host in zip(lines, (second, third, second, third), strict=True):
            line.lead_to(host.port)
        stay = [driver.connect(host.url, transports=["websocket"]) for host in (second, third)]
        sids = [client.id for client in clients]
        for client in (*clients, *stay):
            assert client.call("join", "tea") == "ok"
        for other in stay:
            other.fence(*clients)
        # On its way when the host stops.
        for client in clients:
            client.burst("to", "tea", client.name, SEQ, count=50)
            client.burst("#rtcio:message", client.envelope(stay[0], [client.name, SEQ]), count=50)
        stopped.process.send_signal(signal.SIGTERM)
        end, count = time.monotonic() + DEADLINE, 0
        while any(len(returns(client)) < 2 for client in clients):
            assert time.monotonic() < end, [returns(client) for client in clients]
            for other in stay:
                other.burst("to", "tea", other.name, SEQ, count=20, start=count)
                for client in clients:
                    envelope = other.envelope(client, [other.name, SEQ])
                    other.burst("#rtcio:message", envelope, count=20, start=count)
            count += 20
            time.sleep(0.1)
        assert stopped.process.wait(DEADLINE) == 0
        for client in clients:
            for other in stay:
                client.wait_for(other.name, count)
                assert [number for (number,) in client.received(other.name)] == list(range(count))
        for client in clients:
            client.fence(*stay)
        for other in stay:
            other.fence(*clients)
            for client in clients:
                other.wait_for(client.name, 50)
                assert [number for (number,) in other.received(client.name)] == list(range(50))
                found = [data for data in client.relayed() if data[0] == other.name]
                assert [number for _, number in found] == list(range(count))
        for client in clients:
            found = [data for data in stay[0].relayed() if data[0] == client.name]
            assert [number for _, number in found] == list(range(50))
        assert [client.id for client in clients] == sids
        assert [returns(client) for client in clients] == [[False, True]] * 4
        for client in (*clients, *stay):
            assert client.received("#rtcio:peer-left") == []
