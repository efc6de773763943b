"""A process without clients emits into a cluster: `Emitter`."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import redis as redis_py
import socketio
from click.testing import CliRunner

from rtcio_sync import Emitter, OptionError
from rtcio_sync.cli.cluster import cluster as commands
from rtcio_sync.cluster import external_emits
from rtcio_sync.cluster.emitter import WITHIN
from rtcio_sync.cluster.redis_addresses import door, failures
from rtcio_sync.cluster.redis_membership import keys_of
from rtcio_sync.cluster.redis_survey import inbox_of
from tests.integration.clients import Driver
from tests.integration.hosts import Cluster, cluster
from tests.integration.redis_server import RedisCluster, RedisServer, hung
from tests.integration.servers import free_port
from tests.timing import DEADLINE, wait_until


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def hosts(redis: RedisServer) -> Iterator[Cluster]:
    with cluster(redis.url, "gunicorn-2", "listen", nodes=3) as found:
        yield found


def test_it_emits_to_rooms_and_sids_of_all_hosts_once(
    driver: Driver, redis: RedisServer, hosts: Cluster
) -> None:
    a, b = hosts.on_each(driver)
    c, d = hosts.on_each(driver)
    for client in (a, b, c):
        client.call("join", "tea")
    outside = Emitter(redis.url)
    outside.to("tea").except_(c.id).emit("news", {"n": 1}, b"\0\xff", None)
    outside.to(c.id, d.id).emit("two")
    outside.to([]).emit("nobody")
    outside.of("/other").emit("nobody")
    outside.emit("all")
    for client in (a, b, c, d):
        client.wait_for("all")
    for client in (a, b):
        assert client.received() == [("news", [{"n": 1}, b"\0\xff", None]), ("all", [])]
    for client in (c, d):
        assert client.received() == [("two", []), ("all", [])]


def test_it_joins_takes_out_and_disconnects(
    driver: Driver, redis: RedisServer, hosts: Cluster
) -> None:
    a, b = hosts.on_each(driver)
    outside = Emitter(redis.url)
    outside.in_(a.id, b.id).sockets_join("late", "early")
    outside.to(a.id).sockets_leave("early")
    outside.to("early").emit("early")
    outside.to("late").emit("late")
    for client in (a, b):
        client.wait_for("late")
    assert [event for event, _ in a.received()] == ["late"]
    assert [event for event, _ in b.received()] == ["early", "late"]
    outside.to("late").disconnect_sockets()
    for client in (a, b):
        client.wait("disconnect", reason="io server disconnect")


def test_nothing_is_lost_or_doubled_while_redis_restarts(
    driver: Driver, redis: RedisServer, hosts: Cluster
) -> None:
    clients = hosts.on_each(driver)
    outside = Emitter(redis.url)
    count = 200
    failed: list[Exception] = []
    sent = 0
    emits = threading.Lock()

    def emit_all() -> None:
        nonlocal sent
        try:
            for number in range(count):
                with emits:
                    outside.emit("number", number)
                    sent += 1
                time.sleep(0.01)
        except Exception as error:  # noqa: BLE001  (the test shows it)
            failed.append(error)

    thread = threading.Thread(target=emit_all)
    thread.start()
    time.sleep(0.5)
    with emits:  # what Redis has confirmed, and no node has read, would be gone with Redis
        for client in clients:
            client.wait_for("number", sent)
        redis.kill()
    time.sleep(1)
    redis.start()
    thread.join()
    assert failed == []
    for client in clients:
        client.wait_for("number", count)
        assert [args[0] for args in client.received("number")] == list(range(count))


def test_it_works_in_a_plain_process_and_in_its_forked_children(
    driver: Driver, redis: RedisServer, hosts: Cluster
) -> None:
    clients = hosts.on_each(driver)
    code = f"""
import os
from rtcio_sync import Emitter
outside = Emitter({redis.url!r})
outside.emit("from", "parent")
for name in ("one", "other"):
    if not os.fork():
        outside.emit("from", name)
        os._exit(0)
    os.wait()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    for client in clients:
        client.wait_for("from", 3)
        assert client.received("from") == [["parent"], ["one"], ["other"]]


def test_without_redis_it_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtcio_sync.cluster.emitter.WITHIN", 0.5)
    server = RedisServer()
    server.kill()
    with pytest.raises(Exception, match="refused"):
        Emitter(server.url).emit("news")


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_a_wrong_password_raises_at_once(empty: RedisServer, scheme: str) -> None:
    url = empty.url.replace("redis://", f"{scheme}://me:wrong@").removesuffix("/0")
    began = time.monotonic()
    with pytest.raises(failures(), match="invalid username-password pair"):
        Emitter(url).emit("news")
    with empty.client() as raw:
        raw.execute_command("ACL", "SETUSER", "few", "on", ">secret", "~rtcio:*", "-@all", "+time")
    with pytest.raises(redis_py.ResponseError, match="no permissions"):
        Emitter(empty.url.replace("://", "://few:secret@")).emit("news")
    assert time.monotonic() - began < WITHIN / 2


def test_a_redis_cluster_that_is_away_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtcio_sync.cluster.emitter.WITHIN", 0.5)
    url = f"redis+cluster://127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(failures(), match="cannot be connected"):
        Emitter(url).emit("news")
    assert time.monotonic() - began > 0.5
    status = CliRunner().invoke(commands, ["status", url])
    assert status.exit_code == 1 and "Redis does not answer" in status.output
    tries: list[str] = []
    external = external_emits.External(url, "old", SimpleNamespace())
    monkeypatch.setattr(external, "_failed", lambda error: tries.append(str(error)))
    monkeypatch.setattr(external_emits.gevent, "sleep", lambda _: external.stop())
    external._listen()
    assert len(tries) == 1


def test_the_status_of_a_cluster_says_that_redis_refuses_and_why(tmp_path: Path) -> None:
    server = RedisServer("--requirepass", "secret", password="secret")
    address = f"127.0.0.1:{server.port}"
    try:
        for url, why in (
            (f"redis://:hunter2@{address}", "check the user and the password"),
            (f"redis://{address}", "the address needs a password"),
            (f"redis://:secret@{address}/99", "another number"),
            (f"redis+cluster://:secret@{address}", "no Redis Cluster"),
            (f"redis+cluster://:hunter2@{address}", "check the user and the password"),
        ):
            status = CliRunner().invoke(commands, ["status", url])
            assert status.exit_code == 1 and "Error: Redis refuses: " in status.output
            assert why in status.output and "hunter2" not in status.output
        assert CliRunner().invoke(commands, ["status", server.url]).output == "no nodes\n"
    finally:
        server.kill()
    masters = RedisCluster(tmp_path)
    try:
        url = next(each.url for each in masters.masters if each is not masters.master_of("nodes"))
        status = CliRunner().invoke(commands, ["status", url])
        assert status.exit_code == 1 and "begin the address with redis+cluster://" in status.output
    finally:
        masters.stop()


class Inboxes:
    """Nodes that only Redis knows."""

    def __init__(self, server: Any, *nodes: str) -> None:
        self.client = server.client()
        self.client.flushall()
        for node in nodes:
            self.beat(node)
            self.client.xadd(inbox_of("rtcio", node), {"b": "1"})

    def beat(self, node: str) -> None:
        now: Any = self.client.time()
        if isinstance(now, dict):  # of each master
            now = next(iter(now.values()))
        self.client.hset(keys_of("rtcio")[1], node, (1 << 32) + now[0] * 10)

    def forget(self, node: str) -> None:
        self.client.hdel(keys_of("rtcio")[1], node)

    def of(self, node: str) -> list[Any]:
        """What was written to the inbox of a node."""
        entries: Any = self.client.xrange(inbox_of("rtcio", node))
        return [fields for _, fields in entries if b"x" in fields]


@pytest.fixture
def empty() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.kill()


def test_an_inbox_that_nobody_reads_is_written_to_for_a_while_and_bounded(
    empty: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtcio_sync.cluster.emitter.MOST_ENTRIES", 100)
    monkeypatch.setattr("rtcio_sync.cluster.emitter.WITHIN", 0.5)
    inboxes, outside = Inboxes(empty, "aaaa", "bbbb"), Emitter(empty.url)
    for number in range(500):
        outside.emit("number", number)
    for node in ("aaaa", "bbbb"):
        assert 100 <= len(inboxes.of(node)) < 400
    inboxes.forget("bbbb")
    before = inboxes.of("bbbb")[-1]
    outside.emit("it may be there again")
    assert inboxes.of("bbbb")[-1] != before

    def no_more() -> bool:
        before = inboxes.of("bbbb")[-1]
        outside.emit("another")
        return bool(inboxes.of("bbbb")[-1] == before)

    wait_until(no_more)
    before = inboxes.of("aaaa")[-1]
    outside.emit("the last")
    assert inboxes.of("aaaa")[-1] != before
    inboxes.beat("bbbb")
    assert not no_more()


def test_an_inbox_is_bounded_in_bytes_and_what_does_not_fit_is_counted_and_named(
    empty: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rtcio_sync.cluster.emitter.INSIDE", 3_000_000)
    inboxes, outside = Inboxes(empty, "aaaa", "bbbb"), Emitter(empty.url)
    for _ in range(500):  # Redis' guess at the size of a stream would be far off
        inboxes.client.xadd(inbox_of("rtcio", "aaaa"), {"m": "a node's"})
    for number in range(40):
        outside.to("tea").emit("number", number, "x" * 100_000)
        inboxes.client.xtrim(inbox_of("rtcio", "bbbb"), 0)  # it reads
    stays: Any = inboxes.client.memory_usage(inbox_of("rtcio", "aaaa"), samples=0)
    assert 2_900_000 < stays < 3_050_000  # Redis rounds up
    assert len(inboxes.of("aaaa")) + outside.dropped == 40
    Emitter(empty.url).emit("by another", "x" * 100_000)
    assert len(inboxes.of("bbbb")) == 1
    assert len(inboxes.of("aaaa")) + outside.dropped == 40
    said = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(said) == 2 and all("worker aaaa" in each for each in said)  # one of each emitter
    before = outside.dropped
    inboxes.client.xtrim(inbox_of("rtcio", "aaaa"), 0)
    outside.emit("it reads again")
    assert len(inboxes.of("aaaa")) == 1 and outside.dropped == before


def test_a_message_that_a_server_would_not_send_either_is_refused(empty: RedisServer) -> None:
    inboxes, outside = Inboxes(empty, "aaaa"), Emitter(empty.url)
    with pytest.raises(OptionError, match="16 MB"):
        outside.emit("large", "x" * 16_000_000)
    with pytest.raises(OptionError, match="16 MB"):
        outside.emit("large", b"x" * 16_000_000)
    with pytest.raises(OptionError, match="16 MB"):
        outside.to("x" * 16_000_000).sockets_join("tea")
    assert inboxes.of("aaaa") == []
    outside.emit("large", b"x" * 15_000_000)
    # Twice in the same words, where Redis needs seconds for so much: a node reads it once.
    assert len({each[b"x"] for each in inboxes.of("aaaa")}) == 1


def test_the_inboxes_may_be_on_several_masters_of_a_redis_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtcio_sync.cluster.emitter.INSIDE", 500_000)
    masters = RedisCluster(tmp_path)
    try:
        outside, nodes = Emitter(masters.url), ("aaaa", "bbbb", "cccc", "dddd")
        inboxes = Inboxes(SimpleNamespace(client=door(masters.url).client), *nodes)
        for _ in range(10):
            outside.emit("number", "x" * 100_000)
        kept = [len(inboxes.of(node)) for node in nodes]
        assert min(kept) >= 4 and sum(kept) + outside.dropped == 40
        moved = inbox_of("rtcio", "aaaa")
        home = masters.master_of(moved)
        masters.move(moved, next(each for each in masters.masters if each is not home))
        outside.emit("small")
        assert [len(inboxes.of(node)) for node in nodes] == [each + 1 for each in kept]
    finally:
        masters.stop()


def test_an_inbox_that_refuses_is_told_and_the_others_get_each_event_once(
    empty: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtcio_sync.cluster.emitter.WITHIN", 1.0)
    inboxes, outside = Inboxes(empty, "aaaa", "bbbb", "cccc"), Emitter(empty.url)
    inboxes.client.set(inbox_of("rtcio", "bbbb"), "somebody's")
    with pytest.raises(redis_py.ResponseError, match="WRONGTYPE"):
        outside.emit("news")
    assert [len(inboxes.of(node)) for node in ("aaaa", "cccc")] == [1, 1]


def test_who_listens_for_others_notices_a_redis_that_answers_no_more(
    empty: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOOK_EACH", "ASK_AFTER", "ANSWER_WITHIN"):
        monkeypatch.setattr(external_emits, name, 0.2)
    heard: list[int] = []
    takes = SimpleNamespace(
        received=lambda node, kind, key, body: heard.append(kind), refused=lambda: None
    )
    external = external_emits.External(empty.url, "old", takes)
    raised: list[Exception] = []

    def listen() -> None:
        try:
            external._hear_all()
        except Exception as error:  # noqa: BLE001  (the test looks at it)
            raised.append(error)

    thread = threading.Thread(target=listen)
    thread.start()
    with empty.client() as client:
        wait_until(lambda: client.pubsub_numsub("old")[0][1] == 1)
        asked: Any = client.info("commandstats")
        known = asked["cmdstat_subscribe"]["calls"]

        def calls() -> int:
            stats: Any = client.info("commandstats")
            return int(stats["cmdstat_subscribe"]["calls"])

        wait_until(lambda: calls() > known + 2)
        client.publish("old", json.dumps({"method": "emit", "event": "news", "data": 1}))
        wait_until(lambda: heard)
    assert raised == []
    with hung(empty.url):
        thread.join(DEADLINE)
    assert [type(each) for each in raised] == [ConnectionError]


def test_misuse_is_an_error_that_names_the_fix(redis: RedisServer) -> None:
    outside = Emitter(redis.url)
    for misuse in (
        lambda: Emitter("localhost"),
        lambda: Emitter(redis.url, prefix="{a}"),
        lambda: outside.to(),
        lambda: outside.to({}),
        lambda: outside.emit("connect"),
        lambda: outside.of("*"),
    ):
        with pytest.raises(OptionError):
            misuse()


def test_write_only_managers_of_python_socketio_reach_the_clients_if_asked_for(
    driver: Driver, redis: RedisServer
) -> None:
    with cluster(redis.url, cluster_prefix="external", cluster_external="old") as hosts:
        a, b = hosts.on_each(driver)
        for client in (a, b):
            client.call("join", "tea")
        with redis.client() as raw:
            wait_until(lambda: raw.pubsub_numsub("old")[0][1] == 2)
            outside = socketio.RedisManager(redis.url, channel="old", write_only=True)
            raw.publish("old", b"junk")
            outside.emit("news", {"n": 1, "bytes": b"\0\xff"}, room="tea", skip_sid=a.id)
            outside.emit("two", ("a", None), room=[a.id, b.id])
            outside.enter_room(b.id, "/", "late")
            outside.leave_room(b.id, "/", "tea")
            outside.emit("late", (), room="late")
            outside.emit("tea", (), room="tea")
            outside.emit("all", ())
            for client in (a, b):
                client.wait_for("all")
            assert a.received() == [("two", ["a", None]), ("tea", []), ("all", [])]
            news = ("news", [{"n": 1, "bytes": b"\0\xff"}])
            assert b.received() == [news, ("two", ["a", None]), ("late", []), ("all", [])]
            # As Node's emitter with this key publishes it.
            event = {"type": 2, "data": ["node", {"n": b"\0"}], "nsp": "/"}
            named = {"rooms": ["late"], "flags": {}, "except": []}
            raw.publish("old#/#late#", msgspec.msgpack.encode(["emitter", event, named]))
            made = {"type": 2, "opts": {"rooms": [a.id], "except": []}, "rooms": ["late"]}
            raw.publish("old-request#/#", json.dumps(made))
            event["data"] = ["after", 1]
            raw.publish("old#/#late#", msgspec.msgpack.encode(["emitter", event, named]))
            for client in (a, b):
                assert client.wait_for("after") == [1]
            assert b.received("node") == [[{"n": b"\0"}]] and a.received("node") == []
            asked = {"method": "disconnect", "sid": a.id, "namespace": "/", "host_id": "other"}
            raw.publish("old", json.dumps(asked))
            a.wait("disconnect", reason="io server disconnect")
            for host in hosts.hosts:
                assert host.get_json("/stats")["dropped"] == {"channel": 1}
