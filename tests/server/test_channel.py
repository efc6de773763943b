"""A pub/sub channel that anybody may publish on: junk ends nothing, what is said arrives."""

from __future__ import annotations

import base64
import enum
import json
import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
import socketio
from hypothesis import given, settings
from hypothesis import strategies as st

from rtcio_sync import Server, add_default_listeners
from rtcio_sync.cluster import pubsub_manager as published
from tests.bus import Bus, PlainProcess
from tests.channel_messages import JUNK, crossing, relay
from tests.clients import Polling
from tests.timing import DEADLINE, settle, until


class Absent(enum.Enum):
    YET = None


@pytest.mark.parametrize("name", JUNK)
def test_junk_ends_nothing_and_is_counted_and_the_next_message_arrives(
    pair: tuple[Server, Server], bus: Bus, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.INFO)
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    there.enter_room(b.sid, "tea")
    settle()
    manager = there.manager
    for number in range(3):
        manager.queue.put(crossing(JUNK[name], b.sid, manager.host_id))
        here.emit("news", number, to="tea")
        a.relay(b.sid, number)
    until(lambda: there.stats()["relayed"] == 3)
    settle()
    assert b.events() == [
        event
        for number in range(3)
        for event in (
            ["news", number],
            ["#rtcio:message", {"source": a.sid, "target": b.sid, "data": number}],
        )
    ]
    assert there.stats()["dropped"] == {"channel": 3}
    assert there.stats()["handler_errors"] == 0
    assert there.rooms(b.sid) == [b.sid, "tea"]
    name = "rtcio_sync.cluster.pubsub_subscriber"
    said = [record for record in caplog.records if record.name == name]
    assert len([record for record in said if record.levelno >= logging.WARNING]) == 1
    assert not any(record.exc_info for record in said)
    assert not any(record.levelno >= logging.ERROR for record in caplog.records)


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
        | st.sampled_from(["emit", "callback", "disconnect", "enter_room", "SID", "/"]),
        lambda inner: st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["method", "event", "data", "binary", "namespace", "room", "skip_sid", "callback",
                 "sid", "id", "args", "host_id", "rtcio_relay", "raw", "target", "attachments"]
            ),
            inner,
            max_size=12,
        ),
        max_leaves=30,
    )
)  # fmt: skip
def test_whatever_is_published_raises_nothing_but_what_is_counted(message: Any) -> None:
    server = ALONE
    before = server.counters.dropped["channel"]
    server.manager._hear(json.dumps(message))
    if not isinstance(message, dict) or message.get("method") not in (
        "emit", "callback", "disconnect", "enter_room", "leave_room", "close_room",
    ):  # fmt: skip
        assert server.counters.dropped["channel"] == before + 1


BUS = Bus()
ALONE = Server(client_manager=BUS.manager())


def test_a_back_end_that_fails_is_listened_to_again(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(client_manager=bus.manager())
    client = Polling(server).join()
    settle()
    manager = server.manager

    def failing() -> Iterator[Any]:
        manager._listen = type(manager)._listen.__get__(manager)
        raise ConnectionError("the back end is away")
        yield

    manager._listen = failing
    gevent.kill(manager.listener, ConnectionError("a pickle"))
    until(lambda: "tries again" in caplog.text)
    bus.manager(write_only=True).emit("news", 1, room=client.sid)
    assert client.next() == '2["news",1]'


@pytest.mark.parametrize("name", [each for each in JUNK if each.startswith("a relay")])
def test_a_relay_that_is_junk_reaches_nobody_of_somebody_elses_server(bus: Bus, name: str) -> None:
    plain = PlainProcess(bus, add_default_listeners)
    sid, host_id = plain.sid, plain.server.manager.host_id
    listeners = plain.server.rtcio_listeners
    listeners.on_published(json.loads(crossing(JUNK[name], sid, host_id)))
    listeners.on_published(json.loads(crossing(relay(), sid, host_id)))
    assert plain.heard == [f'2["#rtcio:message",{{"source":"x","target":"{sid}","data":1}}]']


# -- what is said arrives as it was said -----------------------------------------------------------


ARGUMENTS: list[tuple[Any, ...]] = [
    (),
    (None,),
    (None, None),
    ([],),
    ({},),
    ([1, 2],),
    ((1, 2),),
    ([[1]],),
    ([None],),
    ("a", None, [1], {"b": None}),
    (0,),
    (False,),
    ("",),
    (2**53, 1.5, "é\u2028"),
    (b"\x00\x01",),
    ([b"", {"deep": [b"\xff"]}], None),
    (b"", b"two"),
]


def as_sent(arguments: tuple[Any, ...]) -> tuple[str, list[bytes]]:
    """What a client gets: the text of the packet, and the attachments."""
    attachments: list[bytes] = []

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            attachments.append(value)
            return {"_placeholder": True, "num": len(attachments) - 1}
        if isinstance(value, (list, tuple)):
            return [plain(each) for each in value]
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        return value

    text = json.dumps(["news", *map(plain, arguments)], separators=(",", ":"), ensure_ascii=False)
    return (f"5{len(attachments)}-{text}" if attachments else f"2{text}"), attachments


EMITTERS: dict[str, Callable[[Server, tuple[Any, ...]], None]] = {
    "operator": lambda server, args: server.in_("tea").emit("news", *args),
    "namespace": lambda server, args: server.of("/").emit("news", *args),
    "server": lambda server, args: server.emit("news", args, to="tea"),
}


@pytest.mark.parametrize(
    ("emitter", "arguments"),
    [
        (emitter, arguments)
        for emitter in EMITTERS
        for arguments in ARGUMENTS
        # To a namespace one tuple is python-socketio's spelling of several arguments.
        if (emitter, arguments) != ("namespace", ((1, 2),))
    ],
    ids=repr,
)
def test_arguments_arrive_as_they_were_given_here_and_there(
    pair: tuple[Server, Server], emitter: str, arguments: tuple[Any, ...]
) -> None:
    clients = [Polling(server).join() for server in pair]
    for server, client in zip(pair, clients, strict=True):
        server.enter_room(client.sid, "tea")
    text, attachments = as_sent(arguments)
    settle()
    EMITTERS[emitter](pair[0], arguments)
    for client in clients:
        assert client.next() == text
        for each in attachments:
            assert client.next() == "b" + base64.b64encode(each).decode()
        assert client.packets() == []


@pytest.mark.parametrize("name", ["list", "dict", "bytes"])
def test_what_the_app_changes_afterwards_arrives_as_it_was_when_it_was_emitted(
    pair: tuple[Server, Server], name: str
) -> None:
    here, there = pair
    Polling(here).join()
    client = Polling(there).join()
    settle()
    data: Any = {"list": [0], "dict": {"n": 0}, "bytes": {"n": 0, "b": b"x"}}[name]
    key: Any = 0 if name == "list" else "n"
    for number in range(3):
        data[key] = number
        here.in_(client.sid).emit("news", data)
    data[key] = "changed"
    seen = []
    while len(seen) < 3:
        packet = client.next()
        if packet[0] in "25":
            seen.append(json.loads(packet[packet.index("[") :])[1][key])
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, '2["news"]'), ((None,), '2["news",null]'), ([], '2["news",[]]'), ((), '2["news"]'),
        (math.nan, '2["news",null]'), ((-math.inf,), '2["news",null]'),
        (Absent.YET, '2["news",null]'),
    ],
)  # fmt: skip
def test_none_is_no_argument_in_python_socketios_idiom_here_and_there(
    pair: tuple[Server, Server], data: Any, text: str
) -> None:
    clients = [Polling(server).join() for server in pair]
    settle()
    pair[0].emit("news", data)
    assert [client.next() for client in clients] == [text, text]


@pytest.mark.parametrize("data", [None, [1], (1, None), {"a": b"x"}])
def test_a_program_of_python_socketios_is_understood(bus: Bus, data: Any) -> None:
    client = Polling(Server(client_manager=bus.manager())).join()
    bus.manager(write_only=True).emit("news", data)
    given = () if data is None else data if isinstance(data, tuple) else (data,)
    assert client.next() == as_sent(given)[0]


def test_a_plain_server_on_the_channel_understands_what_ours_publishes(bus: Bus) -> None:
    plain = PlainProcess(bus)
    server = Server(client_manager=bus.manager())
    Polling(server).join()
    for arguments in [(), (1,), ([1, 2],), (1, [2]), (None, 1), (b"x",)]:
        server.of("/").emit("news", *arguments)
    until(lambda: len(plain.heard) == 7)
    assert plain.heard == [
        '2["news"]', '2["news",1]', '2["news",[1,2]]', '2["news",1,[2]]', '2["news",null,1]',
        '51-["news",{"_placeholder":true,"num":0}]', b"x",
    ]  # fmt: skip


# -- callbacks -------------------------------------------------------------------------------------


def answer(client: Polling, *arguments: str, attachments: tuple[bytes, ...] = ()) -> None:
    """Acknowledges the next event of a client."""
    asked = client.next()
    number = asked[1:].partition("[")[0]
    text = f"{number}[{','.join(arguments)}]"
    client.send(f"6{len(attachments)}-{text}" if attachments else f"3{text}", *attachments)


@pytest.mark.parametrize(
    ("given", "attachments", "result"),
    [
        ((), (), None),
        (("null",), (), None),
        (("[1,2]",), (), [1, 2]),
        (("1", "null"), (), (1, None)),
        (('{"_placeholder":true,"num":0}',), (b"\xff",), b"\xff"),
        (('[{"_placeholder":true,"num":0}]', "2"), (b"",), ([b""], 2)),
    ],
)
def test_an_answer_crosses_as_it_was_given(
    pair: tuple[Server, Server], given: Any, attachments: tuple[bytes, ...], result: Any
) -> None:
    here, there = pair
    Polling(here).join()
    client = Polling(there).join()
    settle()
    asking = gevent.spawn(here.call, "question", to=client.sid, timeout=DEADLINE)
    answer(client, *given, attachments=attachments)
    assert asking.get(timeout=DEADLINE) == result


def test_a_callback_may_be_asked_of_several_in_several_processes(
    pair: tuple[Server, Server],
) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    settle()
    answers: list[Any] = []
    here.emit("question", to=[a.sid, b.sid], callback=lambda *args: answers.append(args))
    answer(b, "2")
    until(lambda: answers)
    assert answers == [(2,)]
    with pytest.raises(ValueError, match="recipients"):
        here.emit("question", callback=print)


def test_callbacks_that_nobody_answers_are_forgotten_in_the_end(
    pair: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "MAX_CALLBACKS", 20)
    here, there = pair
    Polling(here).join()  # whoever listens has had a client
    client = Polling(there).join()
    settle()
    for number in range(100):
        for to in ("nobody here", f"gone {number}", ["nobody", "here"]):
            here.emit("question", to=to, callback=print)
    with pytest.raises(socketio.exceptions.TimeoutError):
        here.call("question", to=["nobody", "here"], timeout=0.01)
    kept = here.manager.callbacks
    assert sum(len(waiting) - 1 for waiting in kept.values()) <= 20
    assert len(kept) <= 20
    answers: list[Any] = []
    here.emit("question", to=client.sid, callback=lambda *args: answers.append(args))
    answer(client, "1")
    until(lambda: answers)


# -- who leaves ------------------------------------------------------------------------------------


def test_who_joins_a_room_while_it_leaves_is_told_of_once_in_each_process(
    pair: tuple[Server, Server],
) -> None:
    here, there = pair
    leaving = Polling(here).join()
    near, far, late = Polling(here).join(), Polling(there).join(), Polling(there).join()
    here.enter_room(leaving.sid, "tea")
    for server, client, rooms in (
        (here, near, ("tea", "coffee")),
        (there, far, ("tea", "coffee")),
        (there, late, ("coffee",)),
    ):
        for room in rooms:
            server.enter_room(client.sid, room)

    @here.on("disconnect")
    def disconnect(sid: str) -> None:
        here.enter_room(sid, "coffee")

    gone = leaving.sid
    leaving.close()
    for client in (near, far, late):
        assert client.next() == f'2["#rtcio:peer-left",{{"id":"{gone}"}}]'
    settle()
    for client in (near, far, late):
        assert client.packets() == []


def test_who_leaves_a_room_that_other_processes_cannot_know_leaves_quietly(
    pair: tuple[Server, Server],
) -> None:
    here, there = pair
    leaving, near, far = Polling(here).join(), Polling(here).join(), Polling(there).join()
    for server, client in ((here, leaving), (here, near), (there, far)):
        server.enter_room(client.sid, b"bytes")
        server.enter_room(client.sid, 7)
    gone = leaving.sid
    leaving.close()
    for client in (near, far):
        assert client.next() == f'2["#rtcio:peer-left",{{"id":"{gone}"}}]'
        assert client.packets() == []
    assert here.rooms(gone) == []


def test_rooms_of_two_processes_are_the_same_by_name_and_kind(bus: Bus) -> None:
    here, there = (Server(client_manager=bus.manager(), relay_scope="room") for _ in range(2))
    a, b = Polling(here).join(), Polling(there).join()
    here.enter_room(a.sid, 0)
    there.enter_room(b.sid, "0")
    a.relay(b.sid, "strangers")
    until(lambda: there.stats()["dropped"])
    there.enter_room(b.sid, 0)
    a.relay(b.sid, "friends")
    until(lambda: there.stats()["relayed"])
    assert [each["data"] for each in b.heard("#rtcio:message")] == ["friends"]


def test_one_that_is_away_is_put_into_rooms_and_out_of_them_by_another_process(bus: Bus) -> None:
    here = Server(client_manager=bus.manager())
    there = Server(client_manager=bus.manager(), connection_state_recovery=True)
    client = Polling(there)
    client.join()
    there.enter_room(client.sid, "tea")
    settle()
    client.link.close(abort=True, reason="transport close")
    until(lambda: there.stats()["away"] == 1)
    here.leave_room(client.sid, "tea")
    here.enter_room(client.sid, "coffee")
    until(lambda: there.rooms(client.sid) == [client.sid, "coffee"])
