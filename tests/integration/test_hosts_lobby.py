"""A lobby is exact whichever hosts its peers are on, and whatever Redis does meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.clients import Client, Driver
from tests.integration.hosts import Cluster, cluster
from tests.integration.redis_server import RedisServer

SEATS = 8


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.kill()


@pytest.fixture
def hosts(redis: RedisServer) -> Iterator[Cluster]:
    with cluster(redis.url, *["listen"] * 4, module="lobby_workers") as found:
        yield found


def join(client: Client, room: str, **fields: Any) -> None:
    client.emit("join-room", {"roomId": room, **fields})
    client.wait_for("join-ok")


def connected(client: Client) -> list[str]:
    return [args[0]["id"] for args in client.received("user-connected")]


def test_eight_hundred_joins_on_four_hosts_while_redis_restarts_get_exactly_the_seats(
    driver: Driver, redis: RedisServer, hosts: Cluster
) -> None:
    clients = [client for _ in range(200) for client in hosts.on_each(driver)]
    for number, client in enumerate(clients):
        client.emit("join-room", {"roomId": "full"})
        if number == len(clients) // 2:
            redis.kill()
    time.sleep(0.5)
    redis.start()
    for client in clients:
        client.wait_until(
            lambda client=client: client.received("join-ok") or client.received("join-error"),
            "answer",
            60,
        )
    inside = [client for client in clients if client.received("join-ok")]
    refused = [client for client in clients if client.received("join-error")]
    assert (len(inside), len(refused)) == (SEATS, len(clients) - SEATS)
    for client in refused:
        assert client.received("join-error") == [[{"reason": "room-full", "roomId": "full"}]]
    for client in clients[:4]:
        assert sorted(client.call("peers", "full")) == sorted(each.id for each in inside)
    for client in inside:
        others = sorted(each.id for each in inside if each is not client)
        client.wait_until(
            lambda client=client, others=others: sorted(connected(client)) == others, "others"
        )


def test_passwords_presence_and_media_are_the_same_on_all_hosts(
    driver: Driver, hosts: Cluster
) -> None:
    a, b, c, d = hosts.on_each(driver)
    join(a, "tea", name="ann", password="secret")
    b.emit("join-room", {"roomId": "tea"})
    assert b.wait_for("join-error")[0]["reason"] == "password-required"
    b.emit("join-room", {"roomId": "tea", "password": "wrong"})
    assert b.wait_for("join-error", 2)[0]["reason"] == "wrong-password"
    join(b, "tea", name="bob", password="secret")
    b.emit("media-state", {"roomId": "tea", "mic": False, "cam": True})
    a.wait_for("media-state")
    join(c, "tea", password="secret")
    assert [(name, args[0]) for name, args in c.received()] == [
        ("user-connected", {"id": a.id, "name": "ann"}),
        ("user-connected", {"id": b.id, "name": "bob"}),
        ("media-state", {"id": b.id, "roomId": "tea", "mic": False, "cam": True}),
        ("join-ok", {"roomId": "tea"}),
    ]
    a.emit("chat-message", {"roomId": "tea", "text": "hello"})
    for client in (b, c):
        assert client.wait_for("chat-message") == [{"roomId": "tea", "text": "hello", "id": a.id}]
    assert d.call("peers", "tea") == [a.id, b.id, c.id]
    b.emit("leave-room", {"roomId": "tea"})
    assert a.wait_for("user-disconnected") == [{"id": b.id}]


@pytest.mark.parametrize("which", ["the keeper", "another"])
def test_seats_on_a_killed_host_are_free_again_and_their_peers_are_told_once(
    driver: Driver, redis: RedisServer, which: str
) -> None:
    with cluster(redis.url, *["listen"] * 3, module="lobby_workers", clean_log=False) as hosts:
        clients = hosts.on_each(driver)
        keeper = clients[0].call("keeper")
        at = next(
            number
            for number, client in enumerate(clients)
            if (client.id[:4] == keeper) is (which == "the keeper")
        )
        for client in clients:
            join(client, "tea")
        gone, stay = clients[at], [client for client in clients if client is not clients[at]]
        for client in stay:
            client.wait_until(lambda client=client: len(connected(client)) == 2, "both others")
        hosts.hosts[at].kill()
        for client in stay:
            assert client.wait_for("user-disconnected") == [{"id": gone.id}]
            assert client.wait_for("#rtcio:peer-left") == [{"id": gone.id}]
        stay[0].fence(stay[1])
        for client in stay:
            assert sorted(client.call("peers", "tea")) == sorted(each.id for each in stay)
            assert client.received("#rtcio:peer-left") == [[{"id": gone.id}]]
            assert client.received("user-disconnected") == [[{"id": gone.id}]]
