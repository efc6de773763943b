"""What is heard on the channel of other libraries' emitters, whatever anybody publishes there."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
import redis as redis_py

from rtcio_sync import Limits, Server
from rtcio_sync.cluster import external_emits
from rtcio_sync.cluster.external_emits import External
from rtcio_sync.cluster.messages import Emit, Kind, Many, decoded
from rtcio_sync.hub import forked
from tests.channel_messages import JUNK, crossing
from tests.relay.moving_nodes import Bus, Network
from tests.timing import settle, until

GOOD: dict[str, dict[str, Any]] = {
    "emit": {
        "event": "news", "data": [1], "namespace": "/", "room": "tea", "skip_sid": None,
        "callback": None, "binary": False,
    },
    "disconnect": {"sid": "sid", "namespace": "/"},
    "enter_room": {"sid": "sid", "namespace": "/", "room": "tea"},
    "leave_room": {"sid": "sid", "namespace": "/", "room": "tea"},
    "close_room": {"namespace": "/", "room": "tea"},
}  # fmt: skip

#: Without these, a message is complete, too.
OPTIONAL = {"namespace", "skip_sid", "callback", "binary"}

MESSAGE: dict[str, Any] = {"type": "message", "pattern": None, "channel": b"old"}

MISSING = object()
WRONG: list[Any] = [MISSING, None, 5, 1.5, True, "", "text", [], ["a"], [[]], [None], {}, {"a": 1}]


class PubSub:
    """redis-py's, whose messages a test says."""

    connection: Any = None

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.subscribed: list[str] = []
        self.answers = True
        self.ended = 0

    def pubsub(self, **_: Any) -> PubSub:
        return self

    def __enter__(self) -> PubSub:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended += 1

    def subscribe(self, channel: str) -> None:
        self.subscribed.append(channel)
        if self.answers:
            self.messages.append({"type": "subscribe", "pattern": None, "data": 1})

    def psubscribe(self, *_: str) -> None: ...

    def get_message(self, timeout: float) -> Any:
        gevent.sleep(0)
        if not self.messages:
            return None
        message = self.messages.pop(0)
        if isinstance(message, Exception):
            raise message
        return message

    def publish(self, message: Any) -> None:
        if isinstance(message, (dict, list)):
            message = json.dumps(message)
        if isinstance(message, str):
            message = message.encode()
        self.messages.append({**MESSAGE, "data": message})


class Noted:
    """What is to be done: ``asked``; ``fails``: it cannot be."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bytes]] = []
        self.refusals = 0
        self.fails: Exception | None = None

    def received(self, node: str, kind: int, key: bytes, body: bytes) -> None:
        if self.fails is not None:
            raise self.fails
        self.asked.append((kind, body))

    def refused(self) -> None:
        self.refusals += 1


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> PubSub:
    made = PubSub()
    monkeypatch.setattr(external_emits, "client", lambda url: lambda: made)
    monkeypatch.setattr(external_emits.monkey, "is_module_patched", lambda name: True)
    return made


@pytest.fixture
def external(redis: PubSub, noted: Noted) -> Iterator[External]:
    made = External("redis://nowhere", "old", noted)
    made.start()
    yield made
    made.stop()


@pytest.mark.parametrize("method", GOOD)
@pytest.mark.usefixtures("external")
def test_a_message_with_any_field_missing_or_of_a_wrong_type_ends_nothing(
    method: str, redis: PubSub, noted: Noted
) -> None:
    good = {"method": method, **GOOD[method]}
    sent = 0
    for name in ["method", *GOOD[method]]:
        for value in WRONG:
            message = {key: each for key, each in good.items() if key != name}
            redis.publish(message if value is MISSING else {**message, name: value})
            sent += 1
    redis.publish(good)
    until(lambda: len(noted.asked) + noted.refusals == sent + 1)
    last = noted.asked[-1]
    redis.publish(good)
    until(lambda: len(noted.asked) + noted.refusals == sent + 2)
    assert noted.asked[-1] == last and noted.refusals
    for kind, body in noted.asked:  # what was let through can be read by nodes
        if kind != Kind.CLOSE:
            decoded(Emit if kind == Kind.EMIT else Many, body)


@pytest.mark.parametrize(
    ("method", "field"),
    [
        (method, each)
        for method, fields in GOOD.items()
        for each in fields
        if each not in OPTIONAL and (method, each) != ("emit", "room")  # no room means everybody
    ],
)
@pytest.mark.usefixtures("external")
def test_a_message_without_a_field_that_it_needs_is_refused(
    method: str, field: str, redis: PubSub, noted: Noted
) -> None:
    redis.publish({"method": method, **{k: v for k, v in GOOD[method].items() if k != field}})
    until(lambda: noted.refusals == 1)
    assert noted.asked == []


@pytest.mark.usefixtures("external")
def test_junk_ends_nothing(redis: PubSub, noted: Noted) -> None:
    junk = [crossing(each, "sid", "host") for each in JUNK.values()]
    for each in junk:
        redis.publish(each)
    redis.publish({"method": "emit", **GOOD["emit"]})
    until(lambda: len(noted.asked) + noted.refusals == len(junk) + 1)
    assert noted.asked[-1][0] == Kind.EMIT


@pytest.mark.parametrize("error", [LookupError(), ValueError(), ZeroDivisionError()])
@pytest.mark.usefixtures("external")
def test_whatever_a_message_sets_off_the_next_is_heard(
    error: Exception, redis: PubSub, noted: Noted
) -> None:
    good = {"method": "emit", **GOOD["emit"]}
    noted.fails = error
    redis.publish(good)
    until(lambda: noted.refusals == 1)
    noted.fails = None
    redis.publish(good)
    until(lambda: noted.asked)


def test_a_right_that_is_missing_is_told_once_a_minute(
    redis: PubSub,
    external: External,
    noted: Noted,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(external_emits, "AGAIN", 0.0)
    refused = redis_py.exceptions.NoPermissionError("no permissions to access the channel")
    redis.messages += [redis_py.ConnectionError("it restarts"), refused, refused, refused]
    redis.publish({"method": "emit", **GOOD["emit"]})
    until(lambda: noted.asked)
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "no permissions" in record.getMessage()


def test_a_connection_on_which_nothing_is_answered_is_made_anew(
    redis: PubSub, external: External, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AGAIN", "ASK_AFTER", "ANSWER_WITHIN"):
        monkeypatch.setattr(external_emits, name, 0.0)
    redis.answers = False
    until(lambda: redis.ended)
    assert len(redis.subscribed) > redis.ended  # each connection was asked before
    redis.answers = True
    until(lambda: len(redis.subscribed) > 6)
    settle()
    ended = redis.ended
    until(lambda: len(redis.subscribed) > 20)
    assert redis.ended == ended
    redis.publish({"method": "emit", **GOOD["emit"]})
    until(lambda: noted.asked)


def test_a_forked_child_gives_the_connection_up_and_hears_nothing(
    redis: PubSub, external: External, noted: Noted
) -> None:
    with socket.socket() as sock:
        redis.connection = SimpleNamespace(_sock=sock)
        settle()
        assert external.abandon() == [sock.fileno()]
        assert external in forked._servers
    redis.publish({"method": "emit", **GOOD["emit"]})
    settle()
    assert noted.asked == []


def test_a_node_that_ends_hears_nothing_more(redis: PubSub, server: Server) -> None:
    node = server._node
    assert node is not None and server.exchange is not None
    node._external = External("redis://nowhere", "old", server.exchange)
    node._external.start()
    settle()
    node.end()
    client = server.test_client()
    published(redis, many("join", "tea"))
    settle()
    assert "tea" not in server.rooms(client.sid)


# -- what is done to the sockets of this node ------------------------------------------------------


def many(what: str, room: str, sids: list[str] | None = None) -> dict[str, Any]:
    """As Node's emitters ask it."""
    number = {"join": 2, "leave": 3}[what]
    return {"type": number, "opts": {"rooms": sids or [], "except": []}, "rooms": [room]}


@pytest.fixture
def server() -> Server:
    made = Server(limits=Limits(max_rooms_per_socket=2))
    assert made.exchange is not None
    made.exchange.bus = Bus(Network(0), "n000", 0)  # type: ignore[assignment]
    return made


def published(redis: PubSub, request: dict[str, Any]) -> None:
    data = json.dumps(request).encode()
    asked = {"type": "pmessage", "pattern": b"x", "channel": b"old-request#/#", "data": data}
    redis.messages.append(asked)


def test_a_socket_that_may_enter_no_more_rooms_stops_no_other(
    redis: PubSub, server: Server
) -> None:
    full, others = server.test_client(), [server.test_client() for _ in range(3)]
    server.enter_room(full.sid, "one")
    server.enter_room(full.sid, "two")
    assert server.exchange is not None
    external = External("redis://nowhere", "old", server.exchange)
    external.start()
    published(redis, many("join", "tea"))
    until(lambda: all("tea" in server.rooms(each.sid) for each in others))
    external.stop()
    assert "tea" not in server.rooms(full.sid)
    assert server.stats()["dropped"] == {"rooms": 1}


@pytest.mark.parametrize("what", ["join", "leave"])
def test_a_socket_that_leaves_meanwhile_stops_no_other(
    what: str, redis: PubSub, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, *others = (server.test_client() for _ in range(4))
    if what == "leave":
        for each in others:
            server.enter_room(each.sid, "tea")
    name = "enter_room" if what == "join" else "leave_room"
    plain = getattr(server.manager, name)

    def leaves(sid: str, *args: Any, **options: Any) -> None:
        if sid == gone.sid:
            raise ValueError("sid is not connected to requested namespace")
        plain(sid, *args, **options)

    monkeypatch.setattr(server.manager, name, leaves)
    assert server.exchange is not None
    external = External("redis://nowhere", "old", server.exchange)
    external.start()
    published(redis, many(what, "tea"))
    until(lambda: all(("tea" in server.rooms(e.sid)) == (what == "join") for e in others))
    external.stop()


def test_for_an_app_of_this_process_misuse_still_raises(server: Server) -> None:
    others, _ = server.test_client(), server.test_client()
    with pytest.raises(ValueError, match="the sid of another socket"):
        server.sockets_join(others.sid)
