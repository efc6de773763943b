"""Several hosts that are one server: processes of one machine that have only a Redis in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.integration.clients import SEQ, Client, Driver
from tests.integration.servers import Running, free_port, running

#: Options of a client that comes back at once.
BACK = {"reconnection": True, "reconnectionDelay": 50, "reconnectionDelayMax": 100}


def returns(client: Client) -> list[bool]:
    """Whether each of a client's connections has got its session back."""
    return [report["recovered"] for report in client.reports if report["type"] == "connect"]


class Cluster:
    """Some hosts, each a server of one or several workers."""

    def __init__(self, hosts: list[Running], redis: str) -> None:
        self.hosts = hosts
        self.redis = redis

    def await_nodes(self, count: int) -> None:
        """Waits until each host answers that there are ``count`` workers in all."""
        for host in self.hosts:
            if host.process.poll() is None:
                host.eventually("/stats", lambda stats: stats["nodes"] == count)

    def on_each(self, driver: Driver, **options: Any) -> list[Client]:
        """Connected clients, one on each host."""
        options.setdefault("transports", ["websocket"])
        return [driver.connect(host.url, **options) for host in self.hosts]


@contextmanager
def cluster(
    redis: str,
    *ways: str,
    module: str = "many_workers",
    clean_log: bool = True,
    environ: dict[str, str] | None = None,
    nodes: int | None = None,
    addressed: bool = False,
    **options: Any,
) -> Iterator[Cluster]:
    """Servers, each started in its way, that all know each other.

    ``addressed``: each has a ``cluster_address``.
    """
    ways = ways or ("listen", "listen")
    options.setdefault("cluster", redis)
    with ExitStack() as stack:
        hosts = []
        for way in ways:
            port = free_port()
            if addressed:
                options["cluster_address"] = f"127.0.0.1:{port}"
            server = running(
                way, module, environ=environ, clean_log=clean_log, port=port, **options
            )
            hosts.append(stack.enter_context(server))
        made = Cluster(hosts, redis)
        if nodes != 0:
            made.await_nodes(nodes or len(hosts))
        yield made


def relay_in_a_ring(clients: list[Client], count: int = 50) -> None:
    """Each sends numbered relays to the next; each arrives once, in order."""
    ring = [*clients[1:], clients[0]]
    before = {target.name: len(target.relayed()) for target in ring}
    for client, target in zip(clients, ring, strict=True):
        client.burst("#rtcio:message", client.envelope(target, {"number": SEQ}), count=count)
    for client, target in zip(clients, ring, strict=True):
        client.fence(target)
        found = target.relayed()[before[target.name] :]
        assert [data["number"] for data in found] == list(range(count))


AT_A_TIME = 20  # messages of each kind


class Traffic:
    """Numbered relays between two clients, both ways, and numbered events to the room of both."""

    def __init__(self, a: Client, b: Client, room: str = "traffic") -> None:
        self.a, self.b, self.room = a, b, room
        self.count = 0
        for client in (a, b):
            assert client.call("join", room) == "ok"
        a.fence(b)
        b.fence(a)

    def send(self) -> None:
        for client, other in ((self.a, self.b), (self.b, self.a)):
            start, envelope = self.count, client.envelope(other, {"number": SEQ})
            client.burst("#rtcio:message", envelope, count=AT_A_TIME, start=start)
            client.burst("to", self.room, "news", SEQ, count=AT_A_TIME, start=start)
        self.count += AT_A_TIME

    def during(self, fault: Callable[[], None], seconds: float = 1.0) -> None:
        """Sends before, during and after a fault."""
        fault_at, end = time.monotonic() + seconds, None
        while end is None or time.monotonic() < end:
            self.send()
            time.sleep(0.1)
            if end is None and time.monotonic() > fault_at:
                fault()
                end = time.monotonic() + seconds

    def arrives_once_in_order(self) -> None:
        self.send()
        for client in (self.a, self.b):
            client.wait_until(
                lambda client=client: len(client.received("news")) >= self.count, "events", 60
            )
        self.a.fence(self.b)
        self.b.fence(self.a)
        for client in (self.a, self.b):
            assert [data["number"] for data in client.relayed()] == list(range(self.count))
            assert [args[0] for args in client.received("news")] == list(range(self.count))
