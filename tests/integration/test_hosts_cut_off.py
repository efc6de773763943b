"""Hosts as network namespaces: one is cut off from the others and from Redis, and comes back.

Needs root and ``ip`` (iproute2). In CI it fails without them; elsewhere it is skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from tests.integration.clients import Driver
from tests.integration.hosts import Cluster, Traffic
from tests.integration.redis_server import RedisServer
from tests.integration.servers import running

IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def run(*command: str) -> None:
    subprocess.run([IP or "ip", *command], check=True, capture_output=True)


def needs_namespaces() -> str | None:
    """Why there can be none; `None`: there can."""
    name = f"rtcio-probe-{os.getpid()}"
    try:
        run("netns", "add", name)
        run("netns", "del", name)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespaces: {error}"
    return None


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    why = needs_namespaces()
    if why is not None:
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)


@dataclass
class Net:
    """A network namespace with one cable to this one. ``address``: this end of the cable."""

    name: str
    cable: str
    address: str
    inside: str

    @property
    def within(self) -> tuple[str, ...]:
        """The command that runs a program inside."""
        return (IP or "ip", "netns", "exec", self.name)

    def unplug(self) -> None:
        run("link", "set", self.cable, "down")

    def plug(self) -> None:
        run("link", "set", self.cable, "up")


@contextmanager
def net(number: int) -> Iterator[Net]:
    tag = f"{os.getpid() % 10_000}{number}"
    name, cable, other = f"rtcio-{tag}", f"rtv{tag}", f"rtw{tag}"
    subnet = f"10.{100 + os.getpid() % 100}.{number}"
    made = Net(name, cable, f"{subnet}.1", f"{subnet}.2")
    run("netns", "add", name)
    try:
        run("link", "add", cable, "type", "veth", "peer", "name", other, "netns", name)
        run("addr", "add", f"{made.address}/24", "dev", cable)
        run("link", "set", cable, "up")
        run("-n", name, "addr", "add", f"{made.inside}/24", "dev", other)
        run("-n", name, "link", "set", other, "up")
        run("-n", name, "link", "set", "lo", "up")
        yield made
    finally:
        run("netns", "del", name)


@contextmanager
def three_hosts(nets: list[Net]) -> Iterator[Cluster]:
    """Two hosts here, and one in a namespace, which reaches Redis over its cable."""
    with ExitStack() as stack:
        redis = RedisServer("--protected-mode", "no", bind="0.0.0.0")
        stack.callback(redis.kill)
        hosts = []
        for number in range(3):
            far = nets[0] if number == 2 else None
            address = "127.0.0.1" if far is None else far.address
            hosts.append(
                stack.enter_context(
                    running(
                        "listen",
                        "many_workers",
                        clean_log=False,
                        cluster=f"redis://{address}:{redis.port}/0",
                        host="127.0.0.1" if far is None else far.inside,
                        within=() if far is None else far.within,
                    )
                )
            )
        cluster = Cluster(hosts, redis.url)
        cluster.await_nodes(3)
        yield cluster


def test_a_host_that_is_cut_off_for_a_moment_loses_nothing(driver: Driver) -> None:
    with net(1) as far, three_hosts([far]) as hosts:
        a, b = hosts.on_each(driver)[:2]
        with Driver(far.within) as inside:
            c = inside.connect(f"http://127.0.0.1:{hosts.hosts[2].port}", transports=["websocket"])
            near, across = Traffic(a, b), Traffic(hosts.on_each(driver)[0], c, "across")
            far.unplug()
            end = time.monotonic() + 4
            while time.monotonic() < end:
                near.send()
                across.send()
                time.sleep(0.2)
            far.plug()
            near.arrives_once_in_order()
            across.arrives_once_in_order()
            for client in (a, b, c):
                assert client.received("#rtcio:peer-left") == []
            assert hosts.hosts[0].get_json("/stats")["nodes"] == 3


def test_a_host_that_is_cut_off_for_long_is_buried_and_its_clients_come_back(
    driver: Driver,
) -> None:
    with net(2) as far, three_hosts([far]) as hosts:
        a, b = hosts.on_each(driver)[:2]
        with Driver(far.within) as inside:
            c = inside.connect(
                f"http://127.0.0.1:{hosts.hosts[2].port}",
                transports=["websocket"],
                reconnection=True,
            )
            before = c.id
            traffic = Traffic(a, b)
            c.call("join", "traffic")
            c.fence(a, b)
            far.unplug()
            for client in (a, b):
                assert client.wait_for("#rtcio:peer-left") == [{"id": before}]
            traffic.send()
            assert c.received("#rtcio:peer-left") == []
            far.plug()
            c.wait("disconnect")
            c.wait("connect", count=2)
            assert c.id[:4] != before[:4]
            hosts.await_nodes(3)
            c.fence(a)
            a.fence(c)
            traffic.arrives_once_in_order()
            for client in (a, b):
                assert client.received("#rtcio:peer-left") == [[{"id": before}]]
