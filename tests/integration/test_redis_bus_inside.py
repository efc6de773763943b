"""Buses in this process on a real Redis: what they keep in it, and what strangers may write."""

from __future__ import annotations

import logging
import os
import re
import secrets
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import redis
import trustme

from rtcio_sync.cluster import redis_faults, redis_membership, redis_nodes, redis_peer, redis_reader
from rtcio_sync.cluster.emitter_inbox import OUTSIDE
from rtcio_sync.cluster.frames import HEAD, frame
from rtcio_sync.cluster.messages import Kind, encoded
from rtcio_sync.cluster.ports import Remote
from rtcio_sync.cluster.redis_outbox import HEADER, Bounds
from rtcio_sync.cluster.redis_survey import survey
from rtcio_sync.errors import OptionError
from tests.cluster.redis_nodes import RedisNode
from tests.forking import in_child
from tests.integration.redis_node import RedisProcess
from tests.integration.redis_server import PROGRAM, RedisCluster, RedisServer, hung
from tests.integration.servers import free_port
from tests.timing import until, wait_until

pytestmark = pytest.mark.integration

Make = Callable[..., RedisNode]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    made = RedisServer()
    yield made
    made.kill()


@pytest.fixture
def make(server: RedisServer) -> Iterator[Make]:
    made: list[RedisNode] = []

    def make(**options: Any) -> RedisNode:
        made.append(RedisNode(options.pop("url", server.url), **options))
        return made[-1]

    yield make
    for each in made:
        each.bus.stop()
    gevent.sleep(0)  # what they still say is not the next test's


def meet(*nodes: RedisNode) -> None:
    until(lambda: all(len(each.bus.nodes) == len(nodes) - 1 for each in nodes))


def answers(*nodes: RedisNode) -> None:
    """Waits until each has got something from each other."""
    for a in nodes:
        for b in nodes:
            if a is not b:
                body = secrets.token_bytes(4)
                assert a.post(b, 77, body)
                until(lambda b=b, body=body: body in b.bodies())


def test_the_keys_are_under_the_prefix_and_each_in_one_slot(
    server: RedisServer, make: Make
) -> None:
    a, b = make(prefix="one"), make(prefix="one")
    other = make(prefix="two")
    meet(a, b)
    answers(a, b)
    until(lambda: not other.bus.degraded)
    assert list(other.bus.nodes) == []
    with server.client() as client:
        found = {each.decode() for each in client.keys("*")}
    assert found <= {
        *(f"one:{{nodes}}:{each}" for each in ("records", "beats", "graves")),
        *(f"one:{{n:{node.id}}}:{each}" for node in (a, b) for each in ("inbox", "acks")),
        *(f"two:{{nodes}}:{each}" for each in ("records", "beats", "graves")),
        f"two:{{n:{other.id}}}:inbox",
    }
    assert f"one:{{n:{a.id}}}:inbox" in found


def test_a_bus_is_what_the_cluster_expects_of_one(make: Make) -> None:
    a, b = make(), make()
    bus: Remote = a.bus
    meet(a, b)
    until(lambda: list(bus.heard) == [b.id])
    assert (bus.node, list(bus.nodes)) == (a.id, [b.id])
    assert dict(bus.births) == {b.id: b.me.born}


def test_what_was_read_leaves_the_inbox(server: RedisServer, make: Make) -> None:
    a, b = make(), make()
    meet(a, b)
    for number in range(50):
        for _ in range(20):
            a.post(b, 77, bytes(1000), b"%d" % number)
        gevent.sleep(0.005)
    until(lambda: len(b.handlers.messages) == 1000)
    with server.client() as client:
        until(lambda: client.xlen(f"rtcio:{{n:{b.id}}}:inbox") < 20)
    until(lambda: a.bus.figures()["kept_bytes"] == 0)


def test_messages_that_come_one_by_one_are_acknowledged_together(
    server: RedisServer, make: Make
) -> None:
    a, b = make(), make()
    meet(a, b)
    answers(a, b)
    with server.client() as client:
        client.config_resetstat()
        start = time.monotonic()
        for number in range(200):
            body = b"%d" % number
            assert a.post(b, 77, body)
            while b.bodies()[-1] != body:
                gevent.sleep(0.001)
        seconds = time.monotonic() - start
        acknowledgements = client.info("commandstats")["cmdstat_xtrim"]["calls"]
    assert acknowledgements <= 200 / redis_reader.ACK_EACH + seconds / redis_reader.ACK_AFTER + 2


def test_a_user_with_a_password_and_few_rights_is_enough(server: RedisServer, make: Make) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "rtcio", "on", ">secret", "~rtcio:*", *RIGHTS)
        client.execute_command("ACL", "SETUSER", "default", "off")
    url = server.url.replace("://", "://rtcio:secret@")
    a, b = make(url=url), make(url=url)
    meet(a, b)
    answers(a, b)
    for each in (a, b):
        assert each.handlers.overflows == 0


#: The rights that the guide names.
GUIDE = Path(__file__).parents[2] / "docs/deployment.md"
(_NAMED,) = re.findall(r"^user rtcio on >password ~rtcio:\* (\+.*)$", GUIDE.read_text(), re.M)
RIGHTS = ["-@all", *_NAMED.split()]


@pytest.mark.skipif(PROGRAM != "redis-server", reason="the servers of PyPI's wheels have no TLS")
@pytest.mark.parametrize("flags", [(), ("--plain",)], ids=["patched", "not patched"])
def test_redis_may_speak_tls(tmp_path: Path, flags: tuple[str, ...]) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / "server.pem")
    )
    port = free_port()
    options = f"--tls-port {port} --tls-cert-file server.pem --tls-key-file server.pem"
    options += " --tls-ca-cert-file ca.pem --tls-auth-clients no"
    server = RedisServer(*options.split(), folder=tmp_path)
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
    nodes = [RedisProcess(url, name, *flags) for name in ("aaaa", "bbbb")]
    try:
        wait_until(lambda: all(each.report()["nodes"] for each in nodes))
        for each in nodes:
            each.post(50, 100_000)  # of several records
        wait_until(lambda: all(sum(each.report()["following"].values()) > 100 for each in nodes))
        for each in nodes:
            assert set(each.report()["disordered"].values()) == {0}
    finally:
        for each in nodes:
            each.end()
        server.kill()


def test_redis_may_be_on_a_unix_socket_and_have_several_databases(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="rtcio", dir="/tmp") as folder:
        server = RedisServer("--unixsocket", f"{folder}/redis")
        a, b = nodes = [RedisNode(f"unix://{folder}/redis?db=3") for _ in range(2)]
        try:
            meet(a, b)
            answers(a, b)
            with server.client() as client:
                assert client.keys("*") == []
        finally:
            for each in nodes:
                each.bus.stop()
            server.kill()


def test_a_forked_child_gives_the_parents_connections_up(server: RedisServer, make: Make) -> None:
    a, b = make(), make()
    meet(a, b)

    def has_given_up() -> bool:
        given = a.bus.abandon()
        sockets = [stat.S_ISSOCK(os.fstat(fd).st_mode) for fd in given]
        assert a.bus._tick is not None
        apart = not a.bus.nodes and not a.post(b, 77, b"") and not a.bus._tick.active
        return sockets == [True, True] and apart

    assert in_child(has_given_up)
    answers(a, b)


def warnings(caplog: pytest.LogCaptureFixture, server: RedisServer | None = None) -> list[str]:
    """What was warned of, of this server: nodes of the test before may still say something."""
    found = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    return [each for each in found if server is None or f"127.0.0.1:{server.port} " in each]


REFUSED = {
    "redis://nobody:hunter2@{}/0": "check the user and the password",
    "redis://:hunter2@{}/0": "leave the password out",
    "redis://{}/99": "another number",
    "redis+cluster://{}": "no Redis Cluster",
    "redis+sentinel://{}/calls": "addresses of Sentinels",
}


@pytest.mark.parametrize(("address", "fix"), REFUSED.items(), ids=REFUSED)
def test_a_redis_that_refuses_is_a_warning_at_once_with_cause_and_fix(
    server: RedisServer, make: Make, caplog: pytest.LogCaptureFixture, address: str, fix: str
) -> None:
    caplog.set_level(logging.INFO)
    lonely = make(url=address.format(f"127.0.0.1:{server.port}"))
    until(lambda: warnings(caplog))
    gevent.sleep(1)  # it tries again, and says nothing
    assert lonely.bus.degraded
    (said,) = warnings(caplog)
    assert f"127.0.0.1:{server.port}" in said and "refuses" in said and fix in said
    assert "hunter2" not in caplog.text
    assert len(caplog.records) == 1


def test_a_password_that_is_missing_is_told_and_that_it_is_mended(
    server: RedisServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with server.client() as client:
        client.config_set("requirepass", "secret")
        lonely = make()
        until(lambda: warnings(caplog))
        gevent.sleep(1)
        (said,) = warnings(caplog)
        assert "needs a password" in said
        client.config_set("requirepass", "")
    until(lambda: not lonely.bus.degraded)
    until(lambda: "refuses nothing" in caplog.text)


def test_a_master_of_a_redis_cluster_is_told_from_a_redis(
    tmp_path: Path, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    masters = RedisCluster(tmp_path)
    try:
        make(url=masters.master_of("other").url)
        make(url=masters.masters[0].url)
        make(url=masters.masters[1].url)
        until(lambda: warnings(caplog))
        assert "redis+cluster://" in warnings(caplog)[0]
    finally:
        masters.stop()


@pytest.mark.parametrize(
    "right", ["eval", "time", "hset", "hget", "hmget", "hgetall", "xadd", "xread", "xtrim", "del"]
)
def test_a_right_that_the_user_lacks_is_named(
    server: RedisServer, make: Make, caplog: pytest.LogCaptureFixture, right: str
) -> None:
    with server.client() as client:
        given = [each for each in RIGHTS if each != f"+{right}"]
        client.execute_command("ACL", "SETUSER", "rtcio", "on", ">secret", "~rtcio:*", *given)
    url = server.url.replace("://", "://rtcio:secret@")
    nodes = [make(url=url), make(url=url)]
    until(lambda: warnings(caplog, server))
    assert all("docs/deployment.md" in each for each in warnings(caplog, server))
    for each in nodes:
        each.bus.stop()
    gevent.sleep(0.1)  # what they still say is not the next test's


def test_a_full_redis_is_degraded_and_told_and_loses_nothing(
    server: RedisServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    a, b = make(), make()
    meet(a, b)
    answers(a, b)
    assert not a.bus.degraded
    with server.client() as client:
        client.config_set("maxmemory", 1)
        until(lambda: a.bus.degraded and b.bus.degraded)
        until(lambda: len(warnings(caplog, server)) == 2)
        for each in warnings(caplog, server):
            assert f"127.0.0.1:{server.port}" in each and "raise maxmemory" in each
        assert a.post(b, Kind.RELAY, b"it waits")
        gevent.sleep(8)  # longer than a node may stand still
        assert a.handlers.dead == b.handlers.dead == []
        assert a.bus.degraded and b.bus.degraded and len(warnings(caplog, server)) == 2
        client.config_set("maxmemory", 0)
    until(lambda: b"it waits" in b.bodies())
    answers(a, b)
    until(lambda: not (a.bus.degraded or b.bus.degraded))
    until(lambda: caplog.text.count("refuses nothing") == 2)


def test_an_address_where_nobody_answers_is_a_warning_after_a_while(
    make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_faults, "LATE", 2.0)
    caplog.set_level(logging.INFO)
    port = free_port()
    lonely = make(url=f"redis://:hunter2@127.0.0.1:{port}/0")
    until(lambda: warnings(caplog))
    gevent.sleep(2)
    (said,) = warnings(caplog)
    assert f"127.0.0.1:{port}" in said and "refused" in said
    server = RedisServer("--requirepass", "hunter2", port=port, password="hunter2")
    try:
        until(lambda: not lonely.bus.degraded)
        until(lambda: "answers again" in caplog.text)
    finally:
        server.kill()
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    "url", ["redis+sentinel://host", "redis://host:port/0", "redis+cluster://,", "ftp://x"]
)
def test_an_address_that_cannot_be_read_is_refused(make: Make, url: str) -> None:
    with pytest.raises(OptionError):
        make(url=url)


def test_an_inbox_that_somebody_removes_is_made_again(
    server: RedisServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_reader, "BLOCK", 0.5)
    a, b = make(), make()
    meet(a, b)
    answers(a, b)
    until(lambda: a.bus.figures()["kept_bytes"] == b.bus.figures()["kept_bytes"] == 0)
    with server.client() as client:
        client.delete(f"rtcio:{{n:{b.id}}}:inbox", f"rtcio:{{n:{b.id}}}:acks")
    answers(a, b)
    assert a.handlers.dead == b.handlers.dead == []


def test_a_redis_that_hangs_is_no_contact(server: RedisServer, make: Make) -> None:
    a, b = make(), make()
    meet(a, b)
    until(lambda: not a.bus.degraded)
    with hung(server.url):
        until(lambda: a.bus.degraded)
    until(lambda: not a.bus.degraded)
    answers(a, b)


# -- what strangers may write --------------------------------------------------------------------


def header(node: str, token: int = 1, epoch: int = 1, number: int = 0) -> bytes:
    return HEADER.pack(node.encode(), token, epoch, number)


HELLO = frame(
    redis_peer.Note.HELLO, encoded(redis_peer.Hello(redis_membership.VERSION, "their host", 1))
)

STRANGE: dict[str, dict[bytes, bytes]] = {
    "no header": {b"m": b"xxxx"},
    "two fields": {b"m": b"xxxx", b"n": b"y"},
    "another field": {b"zzz": b"\xff"},
    "an id that is none": {b"m": header("a/..") + HELLO},
    "no hello": {b"m": header("evil") + frame(Kind.JOINED, b"x")},
    "half a frame": {b"m": header("evil") + HELLO[:-1]},
    "a frame that is too long": {b"m": header("evil") + HEAD.pack(2**32 - 1, 1, 0) + b"x"},
    "a hello that is none": {b"m": header("evil") + frame(redis_peer.Note.HELLO, b"\xc1")},
    "another version": {
        b"m": header("evil")
        + frame(redis_peer.Note.HELLO, encoded(redis_peer.Hello(999, "their host", 1)))
    },
    "a number from the middle": {b"m": header("evil", number=7) + HELLO},
    "a wish of a stranger": {b"n": header("evil", number=2**63)},
}


@pytest.mark.parametrize("fields", STRANGE.values(), ids=STRANGE)
def test_a_strange_entry_is_dropped_and_those_around_it_arrive(
    server: RedisServer, make: Make, fields: dict[bytes, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    a, b = make(), make()
    meet(a, b)
    with server.client() as client:
        for _ in range(3):
            client.xadd(f"rtcio:{{n:{b.id}}}:inbox", fields)
            answers(a, b)
    assert b.handlers.living == [a.id]
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


def test_entries_that_cannot_be_read_are_counted_and_told_once(
    server: RedisServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = make(), make()
    meet(a, b)
    with server.client() as client:
        for number in range(1, 6):
            value = OUTSIDE.pack(b"somebody", number) + b"\xff" * 20
            client.xadd(f"rtcio:{{n:{b.id}}}:inbox", {"x": value})
    answers(a, b)
    until(lambda: caplog.records)
    assert b.dropped == {"channel": 5}
    assert [each.levelname for each in caplog.records] == ["WARNING"]


def test_a_strange_message_of_a_node_is_dropped_and_counted(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = make(), make()
    meet(a, b)
    assert a.post(b, 77, b"unreadable")
    answers(a, b)
    assert b.dropped == {"channel": 1}
    for _ in range(3):
        assert a.post(b, 77, b"raises")
    answers(a, b)
    assert b.dropped == {"channel": 4}
    assert len([each for each in caplog.records if each.levelno >= logging.ERROR]) == 1


STRANGE_KEYS: dict[str, Callable[[redis.Redis, str], object]] = {
    "a record that is none": lambda client, node: client.hset(
        "rtcio:{nodes}:records", "evil", b"\xc1"
    ),
    "a mark that is none": lambda client, node: client.hset("rtcio:{nodes}:beats", "evil", b"x"),
    "a name that is none": lambda client, node: client.hset("rtcio:{nodes}:beats", "../x", 2**33),
    "an acknowledgement that is none": lambda client, node: client.hset(
        f"rtcio:{{n:{node}}}:acks", mapping={"evil": "1 1", node: "x", "": b"\xff"}
    ),
}


@pytest.mark.parametrize("write", STRANGE_KEYS.values(), ids=STRANGE_KEYS)
def test_strange_values_in_redis_harm_nobody(
    server: RedisServer,
    make: Make,
    write: Callable[[redis.Redis, str], object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    a, b = make(), make()
    meet(a, b)
    with server.client() as client:
        write(client, a.id)
    gevent.sleep(1.5)  # a beat
    c = make()
    meet(a, b, c)
    answers(a, b, c)
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


def test_a_key_of_another_type_is_told_and_mended_by_its_removal(
    server: RedisServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with server.client() as client:
        client.set("rtcio:{nodes}:beats", "text")
        a, b = make(), make()
        until(lambda: any("WRONGTYPE" in each.getMessage() for each in caplog.records))
        client.delete("rtcio:{nodes}:beats")
    meet(a, b)
    answers(a, b)


# -- who lives -----------------------------------------------------------------------------------


def test_a_node_whose_inbox_is_of_another_type_is_listed_with_the_others(
    server: RedisServer, make: Make
) -> None:
    a, b = make(), make()
    meet(a, b)
    with server.client() as client:
        until(lambda: len(survey(client, "rtcio")) == 2)
        a.bus.stop()
        client.set(f"rtcio:{{n:{a.id}}}:inbox", "somebody's")
        found = {each.node: each for each in survey(client, "rtcio")}
    assert (found[a.id].inbox, found[a.id].inbox_bytes) == (None, None)
    assert found[b.id].inbox is not None
    command = [sys.executable, "-m", "rtcio_sync", "cluster", "status", server.url]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert "2 workers on 2 hosts" in said and "?" in said


def test_what_a_dead_cluster_has_left_is_buried_and_was_never_taken_to_live(
    server: RedisServer, make: Make
) -> None:
    old = make()
    until(lambda: not old.bus.degraded)
    old.bus.stop()
    gevent.sleep(redis_membership.FRESH + 0.5)
    new = make()
    with server.client() as client:
        until(lambda: client.hkeys("rtcio:{nodes}:beats") == [new.id.encode()])
        until(lambda: not client.exists(f"rtcio:{{n:{old.id}}}:inbox"))
    assert new.handlers.living == []


def test_a_dead_node_that_redis_remembers_again_is_buried_again(
    server: RedisServer, make: Make
) -> None:
    # As when a replica becomes the master that did not know of the burial.
    a, b = make(), make()
    meet(a, b)
    with server.client() as client:
        keys = ("rtcio:{nodes}:beats", "rtcio:{nodes}:records")
        before = [client.hgetall(key) for key in keys]
        b.bus.leave()
        b.bus.stop()
        until(lambda: a.handlers.dead)
        client.delete("rtcio:{nodes}:graves")
        for key, value in zip(keys, before, strict=True):
            client.hset(key, mapping=value)
        until(lambda: client.hkeys(keys[0]) == [a.id.encode()])
    assert a.handlers.dead == [b.id]
    assert a.handlers.living == [b.id]


# -- too much for a node that is alive -------------------------------------------------------------


def test_when_firm_messages_had_to_be_dropped_both_nodes_begin_anew(
    server: RedisServer, make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    monkeypatch.setattr(redis_nodes, "PARKED", 0.5)
    a, b = make(bounds=Bounds(each=100_000)), make()
    c = make()
    meet(a, b, c)
    answers(a, b, c)
    server.kill()
    until(lambda: a.bus.degraded and b.bus.degraded)
    while a.post(b, Kind.JOINED, bytes(1000)):
        gevent.sleep(0)
    until(lambda: a.handlers.dead == [b.id])
    assert not a.post(b, Kind.JOINED, b"nobody")
    assert a.bus.figures()["kept_bytes"] < 10_000
    server.start()
    until(lambda: a.handlers.living.count(b.id) == b.handlers.living.count(a.id) == 2)
    assert b.handlers.dead == [a.id]
    messages = len(b.handlers.messages)
    answers(a, b, c)
    # Nothing of what was dropped came, and nobody else has noticed.
    assert not any(body == bytes(1000) for *_, body in b.handlers.messages[messages:])
    assert c.handlers.dead == []
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


class Telling(RedisNode):
    """A node that tells each other one much, as one with many members does."""

    def tell(self, size: int) -> None:
        joined = self.handlers.joined

        def tell(node: str) -> None:
            joined(node)
            for _ in range(20):
                assert self.bus.post(node, Kind.JOINED, bytes(size // 20))

        self.handlers.joined = tell  # type: ignore[method-assign]


def test_a_node_with_much_to_tell_meets_the_others_one_after_the_other(
    server: RedisServer, make: Make
) -> None:
    others = [make() for _ in range(5)]
    meet(*others)
    most: list[int] = []
    teller = Telling(server.url, bounds=Bounds(each=400_000, all=300_000))
    try:
        teller.tell(200_000)

        def all_are_told() -> bool:
            most.append(teller.bus.figures()["kept_bytes"])
            return all(len(each.handlers.messages) == 20 for each in others)

        until(all_are_told)
        assert max(most) < 550_000
        assert sorted(teller.handlers.living) == sorted(each.id for each in others)
        assert teller.handlers.dead == []
    finally:
        teller.bus.stop()
