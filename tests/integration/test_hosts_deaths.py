"""Hosts that are killed: their clients' peers hear of it once, and nothing of them stays anywhere.

`DEATHS=100` (`make deaths`) is the long form.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

import pytest

from tests.integration.clients import Client, Driver
from tests.integration.hosts import Cluster, cluster
from tests.integration.redis_server import redis_server
from tests.timing import DEADLINE

DEATHS = int(os.environ.get("DEATHS", "3"))
AT_ONCE = min(DEATHS, 10)


@pytest.mark.timeout(DEADLINE * (4 + 4 * DEATHS // AT_ONCE))
def test_no_ghost_is_left_of_hosts_that_are_killed(driver: Driver) -> None:
    with redis_server() as redis, cluster(redis, module="lobby_workers") as living:
        stay = [living.on_each(driver) for _ in range(AT_ONCE)]
        for number, pair in enumerate(stay):
            for client in pair:
                enter(client, number)
        slowest = 0.0
        for death in range(0, DEATHS, AT_ONCE):
            before = [len(client.received("#rtcio:peer-left")) for pair in stay for client in pair]
            with ExitStack() as stack:
                slowest = max(slowest, die(stack, driver, redis, living, stay))
            living.await_nodes(2)
            for client, heard in zip((c for pair in stay for c in pair), before, strict=True):
                assert len(client.received("#rtcio:peer-left")) == heard + 1
                assert len(client.received("user-disconnected")) == heard + 1
            for number, pair in enumerate(stay):
                for client in pair:
                    assert sorted(client.call("peers", f"room {number}")) == sorted(
                        each.id for each in pair
                    )
            for host in living.hosts:
                found = host.eventually(
                    "/all-stats", lambda stats: stats["connected"] == 2 * AT_ONCE
                )
                assert found["rooms"] == AT_ONCE, (death, found)
        print(f"{DEATHS} deaths; the last peer heard of one after {slowest:.1f} s at most")


def enter(client: Client, number: int) -> None:
    client.emit("join-room", {"roomId": f"room {number}"})
    client.wait_for("join-ok")


def die(
    stack: ExitStack, driver: Driver, redis: str, living: Cluster, stay: list[list[Client]]
) -> float:
    """Hosts come with a client each, and are killed; seconds until all peers hear of it."""
    ways = ["listen"] * AT_ONCE
    started = cluster(redis, *ways, module="lobby_workers", clean_log=False, nodes=2 + AT_ONCE)
    doomed = stack.enter_context(started)
    living.await_nodes(2 + AT_ONCE)
    lost = doomed.on_each(driver)
    for number, client in enumerate(lost):
        enter(client, number)
        for other in stay[number]:
            other.wait_until(
                lambda other=other, client=client: (
                    [{"id": client.id}] in other.received("user-connected")
                ),
                "the new peer",
            )
    for host in doomed.hosts:
        host.kill()
    killed = time.monotonic()
    for number, client in enumerate(lost):
        for other in stay[number]:
            for event in ("#rtcio:peer-left", "user-disconnected"):
                other.wait_until(
                    lambda other=other, client=client, event=event: (
                        [{"id": client.id}] in other.received(event)
                    ),
                    event,
                )
    return time.monotonic() - killed
