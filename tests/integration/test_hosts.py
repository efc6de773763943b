"""Several hosts are one server over Redis: real servers, real socket.io-clients."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtcio_sync import Emitter
from tests.integration.clients import Client, Driver
from tests.integration.hosts import Cluster, cluster, relay_in_a_ring
from tests.integration.many_workers import ask
from tests.integration.redis_server import RedisServer, redis_server


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(scope="module")
def hosts(redis: str) -> Iterator[Cluster]:
    with cluster(redis, "listen", "pywsgi", "listen") as found:
        yield found


def join(room: str, *clients: Client, told: list[Client]) -> None:
    """The clients are in the room, and the hosts of those that are ``told`` know it."""
    for client in clients:
        assert client.call("join", room) == "ok"
    for client in clients:
        client.fence(*[other for other in told if other is not client])


def test_relays_reach_the_clients_of_other_hosts_once_and_in_order(
    driver: Driver, hosts: Cluster
) -> None:
    relay_in_a_ring([*hosts.on_each(driver), *hosts.on_each(driver)])


def test_a_relay_arrives_byte_for_byte_with_attachments_too(driver: Driver, hosts: Cluster) -> None:
    a, b, _ = hosts.on_each(driver)
    data = {"a": "ä \u2028", "n": 1.0, "deep": [[[{"x": None}]]], "bytes": b"\0\1\2" * 100}
    a.relay(b, data)
    assert b.wait_for("#rtcio:message") == [a.envelope(b, data)]


def test_a_relay_to_a_sid_that_no_host_knows_is_dropped_and_counted(
    driver: Driver, hosts: Cluster
) -> None:
    a, b, _ = hosts.on_each(driver)

    def count(stats: dict[str, Any]) -> int:
        return stats["dropped"].get("unknown-target", 0)

    before = count(hosts.hosts[0].get_json("/all-stats"))
    a.relay("x" * 20, "nobody")
    a.relay(b.id[:4] + "y" * 16, "nobody there")
    a.fence(b)
    assert b.received("#rtcio:message")[:-1] == []
    hosts.hosts[0].eventually("/all-stats", lambda stats: count(stats) == before + 2)


def test_emits_to_rooms_and_sids_reach_all_hosts_once(driver: Driver, hosts: Cluster) -> None:
    a, b, c = hosts.on_each(driver)
    join("tea", a, b, told=[c])
    join("cake", a, b, told=[c])
    c.call("do", "emit", ["tea", "cake"], "news", {"n": 1}, "")
    c.call("do", "emit", [c.id, b.id], "two")
    c.call("do", "emit-skip", "tea", [b.id], "not-b")
    c.call("do", "except", "tea", "not-tea")
    c.call("do", "emit", None, "end")  # each host hears it after the others
    for client in (a, b, c):
        client.wait_for("end")
    assert a.received() == [("news", [{"n": 1}, ""]), ("not-b", []), ("end", [])]
    fences = "#rtcio:message"
    assert [event for event, _ in b.received()] == ["news", "two", "end"]
    assert [event for event, _ in c.received() if event != fences] == ["two", "not-tea", "end"]


def test_calls_and_callbacks_reach_the_clients_of_other_hosts(
    driver: Driver, hosts: Cluster
) -> None:
    a, b, c = hosts.on_each(driver)
    b.answers("question", "yes", b"\0")
    assert a.call("do", "call", b.id, "question") == ["answer", ["yes", b"\0"]]
    assert a.call("do", "callback", b.id, "question") == "ok"
    c.wait_until(lambda: a.call("do", "asked") == [["yes", b"\0"]], "the callback")


def test_a_call_to_a_room_gathers_the_answers_of_all_hosts(driver: Driver, hosts: Cluster) -> None:
    clients = hosts.on_each(driver)
    join("quorum", *clients, told=clients)
    for number, client in enumerate(clients):
        client.answers("ready?", number)
    answers = {client.id: number for number, client in enumerate(clients)}
    assert clients[0].call("do", "gather", "quorum", 60, "ready?") == [[], answers]
    clients[0].call("do", "volatile", "quorum", "news", 1)
    for client in clients:
        client.wait_for("news")
    silent = sorted(client.id for client in clients)
    assert clients[0].call("do", "gather", "quorum", 0.2, "never answered") == [silent, {}]


def test_sockets_of_other_hosts_are_fetched_joined_left_and_disconnected(
    driver: Driver, hosts: Cluster
) -> None:
    a, b, c = hosts.on_each(driver, auth={"name": "x"})
    join("far", b, c, told=[a])
    found = a.call("do", "fetch", "far")
    assert {each["id"]: each["kind"] for each in found} == {
        b.id: "RemoteSocket",
        c.id: "RemoteSocket",
    }
    assert all(each["auth"] == {"name": "x"} for each in found)
    a.call("do", "sockets-join", "far", "other")
    a.call("do", "emit", "other", "in-other")
    for client in (b, c):
        client.wait_for("in-other")
    a.call("do", "sockets-leave", "far", "other")
    a.call("do", "disconnect", b.id)
    b.wait("disconnect", reason="io server disconnect")
    a.call("do", "disconnect-sockets", "far")
    c.wait("disconnect", reason="io server disconnect")


def test_server_side_events_reach_all_hosts(driver: Driver, hosts: Cluster) -> None:
    (a, *_) = hosts.on_each(driver)
    kind, answers = a.call("do", "side-call", "note", "x", 1)
    assert kind == "answer"
    assert [answer[1:] for answer in answers] == [["x", 1]] * 2
    assert len({answer[0] for answer in answers}) == 2


def test_peers_on_other_hosts_hear_of_a_socket_that_leaves(driver: Driver, hosts: Cluster) -> None:
    a, b, c = hosts.on_each(driver)
    join("left", a, b, c, told=[a, b, c])
    gone = c.id
    c.kill()
    for client in (a, b):
        assert client.wait_for("#rtcio:peer-left") == [{"id": gone}]
    a.fence(b)
    assert b.received("#rtcio:peer-left") == [[{"id": gone}]]


def test_stats_of_one_host_and_of_all(driver: Driver, hosts: Cluster) -> None:
    clients = [client for _ in range(2) for client in hosts.on_each(driver)]
    one = hosts.hosts[0]
    one.eventually("/stats", lambda stats: stats["connected"] == 2)
    everything = one.eventually("/all-stats", lambda stats: stats["connected"] == len(clients))
    assert everything["nodes"] == 3 and everything["workers"] == 1
    assert not everything["degraded"]
    assert everything["cluster_messages_out"] > 0


def test_a_host_that_stops_is_gone_for_the_others_at_once(driver: Driver, redis: str) -> None:
    with cluster(redis, cluster_prefix="stops") as hosts:
        a, b = hosts.on_each(driver)
        join("tea", a, b, told=[a, b])
        gone = b.id
        hosts.hosts[1].terminate()
        assert a.wait_for("#rtcio:peer-left") == [{"id": gone}]
        hosts.await_nodes(1)


def test_peers_of_a_killed_host_hear_peer_left_once(driver: Driver, redis: str) -> None:
    with cluster(redis, "listen", "listen", "listen", cluster_prefix="dies") as hosts:
        a, b, c = hosts.on_each(driver)
        join("tea", a, b, c, told=[a, b, c])
        gone = c.id
        hosts.hosts[2].kill()
        for client in (a, b):
            assert client.wait_for("#rtcio:peer-left") == [{"id": gone}]
        hosts.await_nodes(2)
        a.fence(b)
        b.fence(a)
        for client in (a, b):
            assert client.received("#rtcio:peer-left") == [[{"id": gone}]]


def test_a_session_of_another_host_is_unknown_and_the_log_names_both_cures(
    driver: Driver, redis: str
) -> None:
    with cluster(redis, cluster_prefix="strays", clean_log=False) as hosts:
        one, other = hosts.hosts
        response = one.get("/socket.io/?EIO=4&transport=polling")
        text = response.read().decode()
        sid = text.split('"sid":"')[1][:20]
        for _ in range(3):
            refused = other.get(f"/socket.io/?EIO=4&transport=polling&sid={sid}")
            assert refused.status == 400
            assert b"Session ID unknown" in refused.read()
        said = [line for line in other.log().splitlines() if "LOG WARNING" in line]
        assert len(said) == 1
        assert "cluster_address" in said[0] and "hash" in said[0]


def test_two_gunicorns_of_two_workers_are_one_server(driver: Driver, redis: str) -> None:
    ways = ("gunicorn-2", "gunicorn-2")
    with cluster(redis, *ways, cluster_prefix="guni", nodes=4) as hosts:
        clients: dict[str, Client] = {}
        while len(clients) < 4:
            for client in hosts.on_each(driver):
                clients.setdefault(client.id[:4], client)
        relay_in_a_ring(list(clients.values()))
        others = list(clients.values())[1:]
        join("tea", *clients.values(), told=list(clients.values()))
        ask(hosts.hosts[1], "emit", "tea", "news", 1)
        for client in clients.values():
            assert client.wait_for("news") == [1]
        polling = driver.connect(hosts.hosts[0].url, transports=["polling"])
        relay_in_a_ring([polling, *others])
        assert hosts.hosts[0].get_json("/stats")["workers"] == 2


def test_a_killed_worker_of_another_host_is_noticed(driver: Driver, redis: str) -> None:
    ways = ("gunicorn-2", "listen")
    with cluster(redis, *ways, cluster_prefix="worker", nodes=3, clean_log=False) as hosts:
        a = driver.connect(hosts.hosts[0].url, transports=["websocket"])
        b = driver.connect(hosts.hosts[1].url, transports=["websocket"])
        join("tea", a, b, told=[a, b])
        os.kill(a.call("pid"), signal.SIGKILL)
        assert b.wait_for("#rtcio:peer-left") == [{"id": a.id}]


def test_the_guides_user_may_do_all_that_is_needed_and_no_more(driver: Driver) -> None:
    guide = (Path(__file__).parents[2] / "docs/deployment.md").read_text()
    (rule,) = re.findall(r"^user rtcio (.*)$", guide, re.MULTILINE)
    server = RedisServer()
    try:
        with server.client() as admin:
            admin.execute_command("ACL", "SETUSER", "rtcio", *rule.split())
            url = server.url.replace("redis://", "redis://rtcio:password@")
            with cluster(url, "listen", "listen", "listen", clean_log=False) as hosts:
                a, b, c = hosts.on_each(driver)
                relay_in_a_ring([a, b, c])
                join("tea", a, b, c, told=[a, b, c])
                Emitter(url).to("tea").emit("news")
                for client in (a, b, c):
                    client.wait_for("news")
                gone = c.id
                hosts.hosts[2].kill()
                assert a.wait_for("#rtcio:peer-left") == [{"id": gone}]
                hosts.await_nodes(2)
                command = [sys.executable, "-m", "rtcio_sync", "cluster", "status", url]
                assert "2 workers on 2 hosts" in subprocess.check_output(command, text=True)
            denied = {entry["object"] for entry in admin.acl_log()}
            assert denied <= {"client|setinfo", "client|maint_notifications", "hello"}, denied
            allowed = {word for word in rule.split() if word.startswith("+")}
            assert not any(word.startswith("+@") for word in allowed)
    finally:
        server.kill()
