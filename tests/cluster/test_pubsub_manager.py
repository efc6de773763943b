"""What goes out to other processes: in order, bounded, and only what they can know again."""

from __future__ import annotations

import json
from typing import Any

import pytest
import socketio

from rtcio_sync.adapter.emit import RoomIndex
from rtcio_sync.cluster import pubsub_manager
from rtcio_sync.cluster.pubsub_manager import graft
from rtcio_sync.errors import OptionError
from tests.cluster.process import BackEnd, Process
from tests.steps import steps
from tests.values import HOLE


def test_what_is_no_manager_stays_as_it_is() -> None:
    other = object()
    assert graft(other) is other


def test_a_grafted_manager_is_still_what_it_was_and_has_the_index() -> None:
    for kind in (BackEnd, socketio.Manager):
        manager = kind()
        assert graft(manager) is manager
        assert isinstance(manager, kind) and isinstance(manager, RoomIndex)
        assert graft(manager) is manager
        assert manager.members == {}


def test_an_emit_is_published_as_python_socketio_publishes_it() -> None:
    process = Process()
    a = process.joined()
    process.manager.emit("news", ({"n": 1}, 2), room="tea", skip_sid=[a.sid])
    process.manager.emit("news", None)
    process.manager.emit("news", None, to=["tea", 0], room="not this one", namespace="/calls")
    one, two, three = process.published()
    assert one["method"] == "emit" and one["host_id"] == process.manager.host_id
    assert (one["event"], one["data"], one["binary"]) == ("news", [{"n": 1}, 2], False)
    assert (one["namespace"], one["room"], one["skip_sid"]) == ("/", "tea", a.sid)
    assert (two["data"], two["room"], two["skip_sid"]) == ([None], None, None)
    assert (three["namespace"], three["room"]) == ("/calls", ["tea", 0])


def test_one_argument_of_null_is_told_from_none() -> None:
    process = Process()
    for data in ((None,), float("nan"), (None, None)):
        process.manager.emit("news", data)
    assert [bool(each.get("rtcio_null")) for each in process.published()] == [True, True, False]


def test_attachments_are_published_beside_their_placeholders() -> None:
    process = Process()
    process.manager.emit("news", {"a": b"\xff"})
    (message,) = process.published()
    assert message["binary"] is True
    assert message["data"] == [[{"a": HOLE}], "/w=="]


def test_what_the_app_changes_afterwards_is_published_as_it_was() -> None:
    process = Process(serving=True)
    data = {"list": [1]}
    process.manager.emit("news", data)
    data["list"].append(2)
    process.run()
    (message,) = process.published()
    assert message["data"] == [{"list": [1]}]


@pytest.mark.parametrize("beside", [None, b"x", "\ud800", ["\ud800", b"x"]], ids=range(4))
def test_a_large_event_is_published_without_steps_of_python_for_each_value(beside: Any) -> None:
    process = Process(serving=True)

    def emit(count: int) -> None:
        process.manager.emit("news", ([{"a": [1.5, "x"]}] * count, beside))

    emit(1000)
    assert steps(lambda: emit(4000)) == steps(lambda: emit(1000))


def test_an_emit_to_nobody_is_not_published() -> None:
    process = Process()
    process.manager.emit("news", 1, to=[])
    process.manager.emit("news", 1, room=())
    assert process.published() == []


@pytest.mark.parametrize("room", [b"bytes", object, ("a",).__class__])
def test_a_room_that_other_processes_cannot_know_is_refused_at_once(room: Any) -> None:
    process = Process()
    for call in (
        lambda: process.manager.emit("news", 1, to=room),
        lambda: process.manager.emit("news", 1, to=["tea", room]),
        lambda: process.manager.emit("news", 1, skip_sid=room),
        lambda: process.manager.close_room(room),
        lambda: process.manager.enter_room("far", "/", room),
        lambda: process.manager.leave_room("far", "/", room),
    ):
        with pytest.raises(OptionError, match="in one process only"):
            call()
    assert process.published() == []
    own = process.joined()
    process.enter(own, room)
    assert process.rooms(own) == [room], "here it is a room like any other"


def test_what_cannot_be_sent_is_refused_and_not_published() -> None:
    process = Process()
    with pytest.raises(TypeError, match="'news'"):
        process.manager.emit("news", object())
    assert process.published() == []


def test_a_socket_of_this_process_is_put_into_rooms_here() -> None:
    process = Process()
    a = process.joined()
    process.manager.enter_room(a.sid, "/", "tea")
    process.manager.leave_room(a.sid, "/", "tea")
    assert process.published() == []
    process.manager.enter_room("far", "/", "tea")
    process.manager.leave_room("far", "/", "tea")
    assert [each["method"] for each in process.published()] == ["enter_room", "leave_room"]


def test_messages_are_published_by_one_task_in_their_order() -> None:
    process = Process(serving=True)
    for number in range(5):
        process.manager.emit("news", number)
    assert process.published() == []
    assert len(process.later) == 1
    process.run()
    assert [each["data"] for each in process.published()] == [[number] for number in range(5)]
    process.manager.emit("news", "more")
    process.run()
    assert [each["data"] for each in process.published()] == [["more"]]


@pytest.mark.parametrize(
    ("bound", "most"), [("MAX_UNPUBLISHED", 3), ("MAX_UNPUBLISHED_BYTES", 40_000)]
)
def test_what_waits_for_the_back_end_is_bounded_and_the_rest_counted(
    monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    monkeypatch.setattr(pubsub_manager, bound, most)
    process = Process(serving=True)
    for number in range(8):
        process.manager.emit("news", f"{number}" + "x" * 10_000)
    dropped = process.counters.dropped["publish-overflow"]
    assert 0 < dropped < 8
    process.run()
    kept = [each["data"][0][0] for each in process.published()]
    assert kept == [str(number) for number in range(8 - dropped)]
    process.manager.emit("news", "again")
    process.run()
    assert process.counters.dropped["publish-overflow"] == dropped


def test_what_the_back_end_does_not_take_is_counted_and_the_next_message_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    process = Process()
    process.manager.failures = 3
    for number in range(5):
        process.manager.emit("news", number)
    assert [each["data"] for each in process.published()] == [[3], [4]]
    assert process.dropped == {"unpublished": 3}
    assert caplog.text.count("could not publish") == 1, "one line a minute"


class Redis:
    """Remembers what each write has published."""

    def __init__(self) -> None:
        self.writes: list[list[Any]] = []
        #: The writes that fail before one succeeds.
        self.failures = 0
        self._waiting: list[Any] | None = None

    def pipeline(self, *, transaction: bool) -> Redis:
        assert not transaction
        self._waiting = []
        return self

    def publish(self, channel: str, message: str) -> None:
        assert channel == "socketio"
        data = json.loads(message)["data"][0]
        if self._waiting is None:
            self._write([data])
        else:
            self._waiting.append(data)

    def execute(self) -> None:
        waiting, self._waiting = self._waiting or [], None
        self._write(waiting)

    def _write(self, some: list[Any]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("Redis is away")
        self.writes.append(some)


class Connected(socketio.RedisManager):
    """Connected to a `Redis` from the start."""

    def __init__(self) -> None:
        super().__init__()
        self._redis_connect()

    def _redis_connect(self) -> None:
        self.connected = True
        self.redis = self.redis or Redis()


def test_messages_that_wait_for_redis_are_published_many_at_once() -> None:
    process = Process(serving=True, back_end=Connected())
    for number in range(40):
        process.manager.emit("news", number)
    large = ["x" * 40_000] * 2
    for each in large:
        process.manager.emit("news", each)
    process.run()
    writes = process.manager.redis.writes
    assert [each for some in writes for each in some] == [*range(40), *large]
    assert [len(each) for each in writes] == [16, 16, 9, 1]


def test_if_redis_does_not_take_them_at_once_each_is_tried_by_itself() -> None:
    process = Process(serving=True, back_end=Connected())
    process.manager.redis.failures = 1 + 2  # the write of all, and both tries of the first
    done: list[int] = []
    for number in range(3):
        process.manager._publish({"data": [number]}, lambda number=number: done.append(number))
    process.run()
    assert process.manager.redis.writes == [[1], [2]]
    assert done == [1, 2]
    assert process.dropped == {"unpublished": 1}


def test_a_manager_that_publishes_in_its_own_way_gets_one_at_a_time() -> None:
    class Own(Connected):
        def _publish(self, data: Any) -> None:
            self.redis.publish(self.channel, json.dumps(data))

    process = Process(serving=True, back_end=Own())
    for number in range(3):
        process.manager.emit("news", number)
    process.run()
    assert process.manager.redis.writes == [[0], [1], [2]]


def test_a_relay_counts_once_it_is_published_and_rooms_that_cross_are_named() -> None:
    process = Process()
    done: list[int] = []
    message = {"event": "#rtcio:message", "namespace": "/", "target": "far", "rooms": ["a", b"", 1]}
    process.manager.failures = 1
    for _ in range(2):
        assert process.manager.publish_relay(message, lambda: done.append(1))
    assert done == [1]
    (published,) = process.published()
    assert published["rtcio_relay"]["rooms"] == ["a", 1]
    assert published["room"] == pubsub_manager.Published.NOBODY
    assert published["data"] == [None]


def test_an_announcement_is_published_for_the_rooms_that_cross() -> None:
    process = Process()
    gone, near = process.joined(), process.joined()
    process.enter(near, "tea", b"bytes")
    rooms = ["tea", b"bytes"]
    told = process.manager.announce("left", {}, "/", rooms, {gone.sid}, {"coffee", b"seen"})
    assert told == {gone.sid, near.sid}
    assert near.link.taken() == ['2["left",{}]']
    (message,) = process.published()
    assert (message["room"], message["skip_sid"]) == ("tea", "coffee")
    process.manager.announce("left", {}, "/", [b"bytes"], told, {"tea"})
    assert process.published() == []


def test_a_callback_names_its_recipients_and_is_kept_until_it_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pubsub_manager, "MAX_CALLBACKS", 3)
    process = Process()
    with pytest.raises(OptionError, match="recipients"):
        process.manager.emit("question", None, callback=print)
    for number in range(6):
        process.manager.emit("question", None, to=f"far{number}", callback=print)
    process.manager.emit("question", None, to=["far", "away"], callback=print)
    asked = [each["callback"] for each in process.published()]
    assert asked[0] == ("far0", "/", 1)
    assert asked[-1][0] == pubsub_manager.SEVERAL
    kept = set(process.index.callbacks)
    assert kept == {"far4", "far5", pubsub_manager.SEVERAL}


def test_one_that_has_left_here_is_not_asked_elsewhere() -> None:
    process = Process()
    a = process.joined()
    process.leave(a.sid)
    process.manager.emit("question", None, to=a.sid, callback=print)
    assert process.published() == []
    assert process.manager.nobody_answers(a.sid, "/")
    assert not process.manager.nobody_answers("of another process", "/")
