"""Releases side by side: a host of today's, and a node of the release that had version 1."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.clients import Driver
from tests.integration.frozen_node import EMIT, JOINED, LEFT, RELAY, FrozenNode, frame, pack, unpack
from tests.integration.hosts import Cluster, cluster
from tests.integration.redis_server import redis_server
from tests.timing import wait_until


@pytest.fixture
def host() -> Iterator[Cluster]:
    with redis_server() as url, cluster(url, "listen", nodes=1) as found:
        yield found


@pytest.fixture
def frozen(host: Cluster) -> Iterator[FrozenNode]:
    node = FrozenNode(host.redis)
    yield node
    node.stop()


def test_relays_events_rooms_and_peer_left_pass_between_the_two(
    driver: Driver, host: Cluster, frozen: FrozenNode
) -> None:
    (a,) = host.on_each(driver)
    node, other = a.id[:4], "Froz" + "y" * 16
    host.await_nodes(2)
    a.call("join", "tea")
    wait_until(lambda: any(unpack(body)[1:3] == [a.id, ["tea"]] for _, kind, _, body in frozen.heard
                      if kind == JOINED))  # fmt: skip

    frozen.post(node, frame(JOINED, pack(["/", other, ["tea"], True])))
    packet = '42["#rtcio:message",{"source":"%s","target":"%s","data":{"n":1.0}}]' % (other, a.id)  # noqa: UP031
    frozen.post(node, frame(RELAY, packet.encode(), f"{a.id}/".encode()))
    news = ["/", ["tea"], [], '["news",{"a":"ä"}]', [], None, False]
    frozen.post(node, frame(EMIT, pack(news)))
    assert a.wait_for("#rtcio:message") == [{"source": other, "target": a.id, "data": {"n": 1.0}}]
    assert a.wait_for("news") == [{"a": "ä"}]

    a.relay(other, {"back": 1})
    a.call("to", "tea", "answer", 2)
    wait_until(lambda: {RELAY, EMIT} <= {kind for _, kind, _, _ in frozen.heard})
    ((key, body),) = [(key, body) for _, kind, key, body in frozen.heard if kind == RELAY]
    assert key == f"{other}/".encode()
    assert body.startswith(b'42["#rtcio:message",') and b'"data":{"back":1}' in body
    (emitted,) = [unpack(body) for _, kind, _, body in frozen.heard if kind == EMIT]
    assert emitted[:5] == ["/", ["tea"], [a.id], '["answer",2]', []]

    # What a later release adds to a message is after what this one knows.
    frozen.post(node, frame(EMIT, pack([*news, False, "new", 1])), frame(199, b"a new kind"))
    a.wait_for("news", 2)
    frozen.post(node, frame(LEFT, pack(["/", other, ["tea"]])))
    frozen.post(node, frame(JOINED, pack(["/", other, ["tea"], True])))
    frozen.stop()
    assert a.wait_for("#rtcio:peer-left") == [{"id": other}]


def test_nothing_is_resent_to_a_node_that_acknowledges(
    driver: Driver, host: Cluster, frozen: FrozenNode
) -> None:
    (a,) = host.on_each(driver)
    host.await_nodes(2)
    for number in range(50):
        a.relay("Froz" + "y" * 16, number)
    wait_until(lambda: sum(kind == RELAY for _, kind, _, _ in frozen.heard) == 50)
    host.hosts[0].eventually("/stats", lambda stats: stats["cluster_oldest_seconds"] == 0)
    assert host.hosts[0].get_json("/stats")["cluster_resent"] == 0
