"""What other processes publish is heard: each message for itself, and junk ends nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from rtcio_sync.adapter.member import Member
from tests.channel_messages import JUNK, crossing, emit, relay
from tests.cluster.process import BackEnd, Process
from tests.values import HOLE


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def client(process: Process) -> Member:
    return process.joined()


@pytest.mark.parametrize("name", JUNK)
def test_junk_is_counted_and_the_next_message_is_heard(
    process: Process, client: Member, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    process.enter(client, "tea")
    junk = crossing(JUNK[name], client.sid, process.manager.host_id)
    for number in range(3):
        process.hear(junk, json.dumps(emit(room="tea", data=[number])))
    assert client.link.taken() == [f'2["news",{number}]' for number in range(3)]
    assert process.dropped == {"channel": 3}
    assert process.rooms(client) == ["tea"]
    assert process.relays == []
    warned = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warned) == 1, "one a minute"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"data": []}, '2["news"]'),
        ({"data": None}, '2["news"]'),
        ({"data": [None], "rtcio_null": True}, '2["news",null]'),
        ({"data": [[1, 2]]}, '2["news",[1,2]]'),
        ({"data": [1, [2]]}, '2["news",1,[2]]'),
        ({"data": 5}, '2["news",5]'),
        ({"data": {"a": 1}, "namespace": None}, None),
    ],
)
def test_an_emit_arrives_as_it_was_published(
    process: Process, client: Member, fields: dict[str, Any], text: str | None
) -> None:
    process.hear(emit(**fields))
    assert client.link.taken() == ([] if text is None else [text])
    assert process.dropped == {}


def test_attachments_of_an_emit_are_put_in(process: Process, client: Member) -> None:
    process.hear(emit(binary=True, data=[[HOLE, 1], "AQL/"]))
    text, attachment = client.link.taken()
    assert text == '51-["news",{"_placeholder":true,"num":0},1]'
    assert attachment == b"\x01\x02\xff"


def test_what_a_process_published_itself_it_does_not_hear(process: Process, client: Member) -> None:
    process.hear(emit(host_id=process.manager.host_id))
    assert client.link.taken() == []
    assert process.dropped == {}


def test_whom_to_skip_is_skipped(process: Process, client: Member) -> None:
    other = process.joined()
    process.enter(other, 7)
    process.hear(emit(skip_sid=[7]))
    assert other.link.taken() == []
    assert client.link.taken() == ['2["news",1]']


def test_a_relay_goes_to_the_relay_with_its_attachments_decoded(process: Process) -> None:
    raw = '{"target":"SID","data":{"_placeholder":true,"num":0}}'
    process.hear(relay(raw=raw, attachments=["AQL/"]))
    (heard,) = process.relays
    assert (heard["raw"], heard["attachments"]) == (raw, [b"\x01\x02\xff"])


def test_rooms_are_entered_left_and_closed(process: Process, client: Member) -> None:
    def say(method: str, **fields: Any) -> list[Any]:
        process.hear({"method": method, "namespace": "/", "host_id": "x", **fields})
        return process.rooms(client)

    assert say("enter_room", sid=client.sid, room="tea") == ["tea"]
    assert say("enter_room", sid=client.sid, room=0) == ["tea", 0]
    assert say("leave_room", sid=client.sid, room="tea") == [0]
    assert say("enter_room", sid="of another process", room="tea") == [0]
    assert say("close_room", room=0) == []
    assert process.dropped == {}


def test_a_socket_is_put_out(process: Process, client: Member) -> None:
    process.hear({"method": "disconnect", "sid": client.sid, "namespace": "/", "host_id": "x"})
    assert process.index.member(client.sid, "/") is None


def test_a_question_of_another_process_is_answered_over_the_channel(
    process: Process, client: Member
) -> None:
    process.hear(emit(callback=["sid", "/", 4], host_id="who asks"))
    assert client.link.taken() == ['21["news",1]']
    process.index.trigger_callback(client.sid, 1, ["yes", b"\xff"])
    (answer,) = process.published()
    assert answer["method"] == "callback"
    assert (answer["host_id"], answer["sid"], answer["id"]) == ("who asks", "sid", 4)
    assert answer["args"] == ["yes", HOLE]
    assert answer["rtcio_attachments"] == ["/w=="]


def test_the_answer_of_another_process_is_who_asked_its(process: Process) -> None:
    answers: list[Any] = []
    process.manager.emit("question", None, room="far", callback=lambda *all_: answers.append(all_))
    (asked,) = process.published()
    room, namespace, number = asked["callback"]
    answer = {"method": "callback", "sid": room, "namespace": namespace, "id": number}
    process.hear(
        {**answer, "host_id": "somebody else", "args": ["no"]},
        {**answer, "host_id": asked["host_id"], "args": [HOLE], "rtcio_attachments": ["AQL/"]},
        {**answer, "host_id": asked["host_id"], "args": ["again"]},
    )
    assert answers == [(b"\x01\x02\xff",)]


def test_a_back_end_that_fails_is_listened_to_again(
    process: Process, client: Member, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []
    process.server.sleep = pauses.append
    listen = process.manager._listen

    def failing() -> Iterator[Any]:
        if len(pauses) < 3:
            raise ConnectionError("the back end is away")
        yield from listen()

    process.manager._listen = failing
    process.hear(emit())
    assert client.link.taken() == ['2["news",1]']
    assert pauses == sorted(pauses) and pauses[0] == 0.0 and 0 < pauses[-1] <= 1.0
    assert caplog.text.count("and tries again") == 3


class Redis(BackEnd):
    """As python-socketio's `RedisManager`, with a Redis that is away for a while."""

    def __init__(self, away: int) -> None:
        super().__init__()
        self.away = away
        self.subscribed: list[str] = []

    def _redis_connect(self) -> None:
        self.pubsub = self

    def subscribe(self, channel: str) -> None:
        if self.away:
            self.away -= 1
            raise ConnectionError("refused")
        self.subscribed.append(channel)

    def listen(self) -> Iterator[Any]:
        self.pubsub = None  # as if who publishes had connected anew
        yield from super()._listen()

    def _listen(self) -> Iterator[Any]:
        yield from self._redis_listen_with_retries()


def test_a_redis_that_was_away_for_long_is_heard_within_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    process = Process(back_end=Redis(away=20))
    client = process.joined()
    pauses: list[float] = []

    class Enough(BaseException):
        pass

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if client.link.sent:
            raise Enough

    process.server.sleep = sleep
    with pytest.raises(Enough):
        process.hear(emit())
    assert client.link.taken() == ['2["news",1]']
    assert pauses[0] == 0.0 and pauses[:20] == sorted(pauses[:20]) and max(pauses) == 1.0
    assert process.manager.subscribed == ["socketio"]
    said = [each for each in caplog.records if "nothing from Redis" in each.getMessage()]
    assert len(said) == 1, "one line a minute"
    assert said[0].getMessage().endswith("refused")
