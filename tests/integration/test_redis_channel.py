"""A `RedisManager` reads a channel, and publishes several messages at once, with a real Redis."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice

import pytest
import redis

from rtcio_sync.cluster import redis_resp
from rtcio_sync.cluster.pubsub_channel import heard, published_together
from tests.integration.redis_server import redis_server
from tests.timing import DEADLINE, wait_until

CHANNEL = "socketio"
MESSAGES = [b"%d " % number + b"x" * (number**3 % 100_000) for number in range(300)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(params=["own", "quickest"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "own":
        monkeypatch.setattr(redis_resp, "parser", redis_resp.PurePython)


def subscribed(client: redis.Redis) -> redis.client.PubSub:
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(CHANNEL)
    return pubsub


@pytest.mark.parametrize("options", [{}, {"protocol": 2}, {"protocol": 3}])
@pytest.mark.usefixtures("parser")
def test_all_is_heard_in_order(url: str, options: dict[str, int]) -> None:
    with redis.Redis.from_url(url, **options) as client:
        pubsub = subscribed(client)
        client.publish(CHANNEL, "with the answer to the subscription")
        listening = heard(pubsub)
        first = next(listening)
        assert (first["type"], first["channel"]) == ("message", CHANNEL.encode())
        assert first["data"] == b"with the answer to the subscription"
        published_together(client, CHANNEL, MESSAGES[:16])
        for each in MESSAGES[16:]:
            client.publish(CHANNEL, each)
        assert [each["data"] for each in islice(listening, len(MESSAGES))] == MESSAGES


def test_it_does_not_read_through_redis_py(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis.Redis.from_url(url) as client:
        pubsub = subscribed(client)
        monkeypatch.setattr(pubsub, "listen", None)
        monkeypatch.setattr(pubsub, "parse_response", None)
        client.publish(CHANNEL, "news")
        assert next(heard(pubsub))["data"] == b"news"


def test_one_that_needs_redis_py_while_it_listens_has_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options in ({"health_check_interval": 1}, {"decode_responses": True}):
        with redis.Redis.from_url(url, **options) as client:
            pubsub = subscribed(client)
            monkeypatch.setattr(redis_resp, "parser", None)
            client.publish(CHANNEL, "news")
            assert next(heard(pubsub))["data"] in ("news", b"news")


def test_it_ends_with_an_error_once_redis_closes_the_connection(url: str) -> None:
    ended: list[Exception] = []

    def listen(pubsub: redis.client.PubSub) -> None:
        try:
            for _ in heard(pubsub):
                pass
        except ConnectionError as error:
            ended.append(error)

    with redis.Redis.from_url(url) as client, redis.Redis.from_url(url) as other:
        listening = threading.Thread(target=listen, args=(subscribed(client),))
        listening.start()
        wait_until(lambda: dict(other.pubsub_numsub(CHANNEL))[CHANNEL.encode()] == 1)
        other.client_kill_filter(_type="pubsub")
        listening.join(DEADLINE)
        assert len(ended) == 1


def test_it_ends_with_the_error_of_a_redis_that_refuses_the_subscription(url: str) -> None:
    with redis.Redis.from_url(url) as other:
        other.acl_setuser(
            "clerk", enabled=True, passwords=["+north"], categories=["+@all"], channels=["tea"]
        )
    with (
        redis.Redis.from_url(url, username="clerk", password="north") as client,
        pytest.raises(ConnectionError, match="NOPERM"),
    ):
        next(heard(subscribed(client)))
