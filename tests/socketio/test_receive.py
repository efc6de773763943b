"""The order of what one client sends: relays and acknowledgements at once, events in their turn."""

from __future__ import annotations

import copy
import json
import logging
import weakref
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import gevent
import msgpack
import pytest
from gevent.event import Event
from gevent.hub import get_hub
from socketio.msgpack_packet import MsgPackPacket
from socketio.packet import ACK, EVENT, Packet

from rtcio_sync import Limits, Server, Socket
from rtcio_sync.errors import ProtocolError
from rtcio_sync.events import RESERVED_EVENTS
from rtcio_sync.socketio import receive as inbound
from rtcio_sync.socketio.inbox_items import Then
from tests.clients import TRANSPORTS, Client, Polling, WebSocket, event, joined, say
from tests.timing import DEADLINE, settle, until


class Gate:
    """A handler that blocks until it is let go, and what happened around it."""

    def __init__(self) -> None:
        self.entered = Event()
        self.release = Event()
        self.log: list[Any] = []

    def __call__(self, *args: Any) -> str:
        self.entered.set()
        assert self.release.wait(DEADLINE), "never released"
        self.log.append("released")
        return "released"

    def wait(self) -> None:
        assert self.entered.wait(DEADLINE), "never entered"


def blocked(server: Server, client: Client) -> Gate:
    """Has ``client`` run a handler that blocks."""
    gate = Gate()
    server.on("block", gate)
    client.emit("block")
    gate.wait()
    return gate


def data_of(client: Client) -> list[Any]:
    return [payload["data"] for payload in client.heard("#rtcio:message")]


# -- relays ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_relay_waits_for_no_handler(kind: str) -> None:
    server = Server()
    a, b = TRANSPORTS[kind](server).join(), TRANSPORTS[kind](server).join()
    gate = blocked(server, a)
    for number in range(20):
        a.relay(b.sid, number)
    until(lambda: server.counters.relayed == 20)
    assert data_of(b) == list(range(20))
    assert gate.log == []
    gate.release.set()


@pytest.mark.parametrize("kind", TRANSPORTS)
@pytest.mark.parametrize("when", ["connection", "event"])
def test_no_relay_comes_before_one_of_a_time_without_listeners(
    kind: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server()
    entered, release = Event(), Event()

    def listen_late(socket: Socket) -> None:
        entered.set()
        assert release.wait(DEADLINE), "never released"
        socket.add_default_listeners()

    @server.of("/own").on("connection")
    def connection(socket: Socket) -> None:
        auth = socket.handshake.auth or {}
        if auth.get("when") == "connection":
            listen_late(socket)
        elif auth.get("when") == "event":
            socket.on("listen", lambda: listen_late(socket))
        else:
            socket.add_default_listeners()

    a, b = (TRANSPORTS[kind](server).join("/own", auth) for auth in ({"when": when}, None))
    if when == "event":
        a.emit("listen", namespace="/own")
    assert entered.wait(DEADLINE), "never entered"
    target, link, before = b.sids["/own"], a.link, server.handling.relay

    def relay(member: Any, passage: Any, args: Any) -> None:
        if passage.payload["data"] == 1:  # the next one arrives just now
            envelope = f'{{"source":"{a.sids["/own"]}","target":"{target}","data":2}}'
            server.eio.arrive(link, f'42/own,["#rtcio:message",{envelope}]'.encode(), False)
        before(member, passage, args)

    monkeypatch.setattr(server.handling, "relay", relay)
    a.relay(target, 1, "/own")
    until(lambda: link.inbox)
    release.set()
    until(lambda: server.counters.relayed == 2)
    assert [each["data"] for each in b.heard("#rtcio:message", "/own")] == [1, 2]


def test_a_relay_that_is_not_plain_waits_for_no_handler_either() -> None:
    server = Server()
    a, b = WebSocket(server).join(), WebSocket(server).join()
    gate = blocked(server, a)
    raw = json.dumps({"source": a.sid, "target": b.sid, "data": {"_placeholder": True, "num": 0}})
    a.send(f'27["#rtcio:message",{raw},1]', f'51-["#rtcio:message",{raw}]', b"x")
    assert [b.next() for _ in range(3)] == [
        f'2["#rtcio:message",{raw}]',
        f'51-["#rtcio:message",{raw}]',
        "beA==",
    ]
    gate.release.set()


def test_relays_wait_until_the_connection_handler_has_returned() -> None:
    server = Server()
    gate = Gate()
    b = Polling(server).join()
    server.on("connection", lambda socket: gate())
    a = Polling(server)
    a.ask_to_join()
    gate.wait()
    a.joined()
    for number in range(5):
        a.relay(b.sid, number)
    settle()
    assert data_of(b) == []
    gate.release.set()
    until(lambda: server.counters.relayed == 5)
    a.relay(b.sid, 5)
    assert data_of(b) == [0, 1, 2, 3, 4, 5]


def test_a_relay_behind_one_that_waits_waits_too() -> None:
    server = Server()
    a, b = Polling(server).join(), Polling(server).join()
    gate = blocked(server, a)
    socket = socket_of(server, a)
    socket.on_any(lambda *args: None)
    a.relay(b.sid, "observed")
    socket.handlers.any = ()
    server.handling.observe(a.member)
    a.relay(b.sid, "plain again")
    settle()
    assert data_of(b) == []
    gate.release.set()
    until(lambda: server.counters.relayed == 2)
    assert data_of(b) == ["observed", "plain again"]
    assert a.member.short


def socket_of(server: Server, client: Client) -> Any:
    return server.of("/").sockets[client.sid]


OBSERVERS: dict[str, Callable[[Server, Any, Any], Any]] = {
    "server.on": lambda server, socket, fn: server.on("#rtcio:message", fn),
    "server.on *": lambda server, socket, fn: server.on("*", fn),
    "socket.on": lambda server, socket, fn: socket.on("#rtcio:message", fn),
    "socket.on_any": lambda server, socket, fn: socket.on_any(fn),
    "socket.use": lambda server, socket, fn: socket.use(fn),
}


@pytest.mark.parametrize("observer", OBSERVERS)
def test_who_asked_for_relays_sees_them_in_their_turn(observer: str) -> None:
    server = Server()
    a, b = Polling(server).join(), Polling(server).join()
    seen: list[Any] = []
    OBSERVERS[observer](
        server, socket_of(server, a), lambda *args: "block" in args or seen.append(args)
    )
    gate = blocked(server, a)
    a.relay(b.sid, 1)
    settle()
    assert data_of(b) == []
    assert seen == []
    gate.release.set()
    until(lambda: seen)
    assert data_of(b) == [1]
    assert len(seen) == 1


@pytest.mark.parametrize("observer", ["server.on", "server.on *", "socket.on", "socket.on_any"])
def test_a_handler_that_raises_on_a_relay_does_not_keep_it(observer: str) -> None:
    server = Server()
    a, b = Polling(server).join(), Polling(server).join()
    OBSERVERS[observer](server, socket_of(server, a), lambda *args: 1 / 0)
    a.relay(b.sid, 1)
    until(lambda: server.counters.handler_errors)
    assert data_of(b) == [1]


@pytest.mark.parametrize("observer", OBSERVERS)
def test_what_a_handler_returns_acknowledges_no_relay(observer: str) -> None:
    server = Server()
    a, b = Polling(server).join(), Polling(server).join()
    OBSERVERS[observer](server, socket_of(server, a), lambda *args: "answer")
    a.emit("#rtcio:message", {"source": a.sid, "target": b.sid, "data": 1}, number=7)
    until(lambda: server.counters.relayed)
    settle()
    assert a.packets() == []


def test_a_middleware_keeps_a_relay_by_raising() -> None:
    server = Server()
    a, b = Polling(server).join(), Polling(server).join()

    @socket_of(server, a).use
    def no_odd_ones(event: str, args: list[Any]) -> None:
        if event == "#rtcio:message" and args[0]["data"] % 2:
            raise PermissionError("odd")

    for number in range(4):
        a.relay(b.sid, number)
    until(lambda: server.counters.relayed == 2)
    assert data_of(b) == [0, 2]
    assert dict(server.counters.dropped) == {"middleware": 2}
    assert server.counters.handler_errors == 0


def deep(payload: Any) -> Any:
    return payload["data"]["list"][1]


CHANGES: dict[str, tuple[Callable[[list[Any]], Any], str]] = {
    "a value": (lambda args: deep(args[0]).update(a=2), '[1,{"a":2,"b":false}]'),
    "true for 1": (lambda args: deep(args[0]).update(a=True), '[1,{"a":true,"b":false}]'),
    "1.0 for 1": (lambda args: deep(args[0]).update(a=1.0), '[1,{"a":1.0,"b":false}]'),
    "0 for false": (lambda args: deep(args[0]).update(b=0), '[1,{"a":1,"b":0}]'),
    "an order": (
        lambda args: deep(args[0]).update(a=deep(args[0]).pop("a")),
        '[1,{"b":false,"a":1}]',
    ),
    "a type": (lambda args: deep(args[0]).update(a=Decimal(1)), '[1,{"a":"1","b":false}]'),
    "a list": (lambda args: args[0]["data"]["list"].reverse(), '[{"a":1,"b":false},1]'),
    "the payload": (lambda args: args.__setitem__(0, {**args[0], "data": {"list": [3]}}), "[3]"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_middleware_changes_in_a_relay_is_sent(change: str) -> None:
    server = Server()
    a, b = Polling(server).join(), Polling(server).join()
    changed, arrives = CHANGES[change]
    socket_of(server, a).use(lambda event, args: changed(args) and None)
    a.relay(b.sid, {"list": [1, {"a": 1, "b": False}]})
    until(lambda: server.counters.relayed)
    head = f'2["#rtcio:message",{{"source":"{a.sid}","target":"{b.sid}","data":{{"list":'
    assert b.packets() == [f"{head}{arrives}}}}}]"]


def test_a_relay_that_no_middleware_changes_keeps_its_text_and_is_not_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A copy takes steps of Python for each of the values, of which there may be many."""
    copied: list[Any] = []
    monkeypatch.setattr(copy, "deepcopy", lambda value: copied.append(value) or value)
    server = Server()
    a, b = Polling(server).join(), Polling(server).join()
    seen: list[Any] = []

    @socket_of(server, a).use
    def look(event: str, args: list[Any]) -> None:
        seen.append(args[0]["data"][2:])
        args[0] = dict(args[0])  # equal, and another one

    data = f'[1e999, "\\ud800", 7E0, {2**70}, {{"same": "x"}}, "x"]'
    raw = f'{{ "source":"{a.sid}" ,"target":"{b.sid}","data": {data}}}'
    a.send(f'2["#rtcio:message",{raw}, "more"]')
    raw_of_bytes = raw.replace("7E0", '{ "_placeholder":true,"num":0}')
    a.send(f'51-["#rtcio:message",{raw_of_bytes}]', b"x")
    until(lambda: server.counters.relayed == 2)
    assert b.packets()[:2] == [
        f'2["#rtcio:message",{raw}]',
        f'51-["#rtcio:message",{raw_of_bytes}]',
    ]
    assert [each[0] for each in seen] == [7.0, b"x"]
    assert copied == []


def test_the_short_way_opens_again_when_nobody_looks_any_more() -> None:
    server = Server()
    a = Polling(server).join()
    socket = socket_of(server, a)
    for each in (1, 2):
        socket.on("#rtcio:message", lambda payload, each=each: each)
    assert not a.member.short
    socket.off("#rtcio:message")
    assert a.member.short
    socket.once("#rtcio:message", lambda payload: None)
    assert not a.member.short
    a.emit("#rtcio:message")
    until(lambda: a.member.short)


def test_in_the_scope_of_a_room_a_relay_follows_the_events_before_it() -> None:
    server = Server(relay_scope="room")
    a, b = Polling(server).join(), Polling(server).join()

    @server.on("join-room")
    def join_room(sid: str, room: str) -> None:
        gevent.sleep(0.01)
        server.enter_room(sid, room)

    server.enter_room(b.sid, "tea")
    envelope = {"source": a.sid, "target": b.sid, "data": 1}
    a.send(event("join-room", "tea"), event("#rtcio:message", envelope))
    until(lambda: server.counters.relayed)
    assert data_of(b) == [1]


# -- events ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("async_handlers", [None, False])
def test_the_events_of_one_socket_are_handled_one_after_the_other(
    async_handlers: bool | None,
) -> None:
    server = Server(async_handlers=async_handlers)
    log: list[Any] = []

    @server.on("step")
    def step(sid: str, number: int) -> None:
        log.append(("begin", number))
        gevent.sleep(0.002 * (5 - number))
        log.append(("end", number))

    a = Polling(server).join()
    a.send(*(event("step", number) for number in range(5)))
    until(lambda: len(log) == 10)
    assert log == [(what, number) for number in range(5) for what in ("begin", "end")]


def test_the_sockets_do_not_wait_for_one_another() -> None:
    server = Server()
    a, b = Polling(server).join(), Polling(server).join()
    gate = blocked(server, a)
    answered = Event()
    server.on("quick", lambda sid: answered.set())
    b.emit("quick")
    assert answered.wait(DEADLINE)
    gate.release.set()


def test_parallel_handlers_are_there_for_who_asks() -> None:
    server = Server(async_handlers=True)
    a = Polling(server).join()
    gate = blocked(server, a)
    answered = Event()
    server.on("quick", lambda sid: answered.set())
    a.emit("quick")
    assert answered.wait(DEADLINE)
    gate.release.set()


@pytest.mark.parametrize(
    "options", [{}, {"json": json}, {"async_mode": "threading"}], ids=["plain", "json", "threads"]
)
def test_what_runs_in_parallel_for_one_client_is_bounded_and_not_lost(
    options: dict[str, Any],
) -> None:
    server = Server(async_handlers=True, **options)
    a = WebSocket(server).join()
    begun: list[int] = []
    done: list[int] = []
    release = server.eio.create_event()

    @server.on("hang")
    def hang(sid: str, number: int, filler: str) -> None:
        begun.append(number)
        assert release.wait(DEADLINE)
        done.append(number)

    sending = gevent.spawn(a.send, *(event("hang", each, "x" * 90_000) for each in range(60)))
    until(lambda: a.link.full)
    settle()
    gevent.sleep(0.2)
    assert 8 <= len(begun) < 20, "of one megabyte"
    assert not sending.dead
    release.set()
    until(lambda: len(done) == 60)
    until(lambda: a.link.inbox_bytes == 0 and not a.link.full)
    sending.join()


def test_events_in_parallel_count_until_they_have_ended_whatever_ends_them() -> None:
    server = Server(async_handlers=True)
    a = WebSocket(server).join()
    release = Event()

    @server.on("hang")
    def hang(sid: str, how: str) -> None:
        assert release.wait(DEADLINE)
        if how == "raise":
            raise OSError
        if how == "kill":
            raise gevent.GreenletExit

    a.send(*(event("hang", how) for how in ("return", "raise", "kill")))
    until(lambda: a.link.tasks == 3)
    assert a.link.inbox is None and a.link.inbox_bytes > 3 * 500
    release.set()
    until(lambda: a.link.tasks == 0)
    assert a.link.inbox_bytes == 0
    a.emit("nobody handles this")
    settle()
    assert a.link.inbox_bytes == 0


@pytest.mark.parametrize("timed", [False, True], ids=["", "timeout"])
@pytest.mark.parametrize(
    "options", [{}, {"json": json}, {"async_mode": "threading"}], ids=["plain", "json", "threads"]
)
def test_callbacks_that_hang_keep_no_more_than_an_inbox_in_memory(
    options: dict[str, Any], timed: bool
) -> None:
    server = Server(**options)
    a = WebSocket(server).join()
    begun: list[int] = []
    done: list[int] = []
    release = server.eio.create_event()

    def hang(number: int, filler: str) -> None:
        begun.append(number)
        assert release.wait(DEADLINE)
        done.append(number)

    for _ in range(60):
        if timed:
            socket = server.sockets[a.sid].timeout(DEADLINE)
            socket.emit("ask", callback=lambda error, *answer: hang(*answer))
        else:
            server.emit("ask", to=a.sid, callback=hang)

    def answer_all() -> None:
        for number in range(1, 61):
            say(a, ACK, [number, "x" * 90_000], number)

    sending = gevent.spawn(answer_all)
    until(lambda: a.link.full)
    settle()
    gevent.sleep(0.2)
    assert 8 <= len(begun) < 20, "of one megabyte"
    assert not sending.dead
    release.set()
    until(lambda: len(done) == 60)
    until(lambda: a.link.inbox_bytes == 0 and not a.link.full)
    sending.join()


@pytest.mark.parametrize("way", ["emit", "call"])
def test_answers_that_wait_for_those_of_others_keep_no_more_than_an_inbox_in_memory(
    way: str,
) -> None:
    server = Server()
    a, b = WebSocket(server).join(), WebSocket(server).join()
    done: list[int] = []
    release = Event()

    def finish(answers: Any) -> None:
        assert release.wait(DEADLINE)
        done.append(len(answers))

    for _ in range(60):
        both = server.timeout(DEADLINE)
        if way == "emit":
            both.emit("ask", callback=lambda error, answers: finish(answers))
        else:
            gevent.spawn(lambda both=both: finish(both.call("ask")))
    asked = [client.next() for _ in range(60) for client in (a, b)]
    assert asked == [f'2{number}["ask"]' for number in range(1, 61) for _ in (a, b)]
    answering = [f'3{number}["{"x" * 90_000}"]' for number in range(1, 61)]
    sending = gevent.spawn(a.send, *answering)
    until(lambda: a.link.full)
    assert not sending.dead
    b.send(*(f"3{number}[]" for number in range(1, 61)))
    if way == "emit":
        settle()
        assert a.link.full, "until the callbacks have returned"
    release.set()
    until(lambda: len(done) == 60)
    sending.join()
    assert done == [2] * 60
    until(lambda: a.link.inbox_bytes == 0 and not a.link.full)


def test_an_answer_counts_no_more_once_the_time_to_wait_for_others_is_over() -> None:
    server = Server()
    a, _ = WebSocket(server).join(), WebSocket(server).join()
    got: list[Any] = []
    server.timeout(0.3).emit("ask", callback=lambda error, answers: got.append(list(answers)))
    assert a.next() == '21["ask"]'
    a.send("31[7]")
    until(lambda: a.link.inbox_bytes > 0 or got)
    until(lambda: got)
    settle()
    assert a.link.inbox_bytes == 0


def test_acknowledgements_come_in_the_order_of_the_events() -> None:
    server = Server()
    server.on("echo", lambda sid, number: number)
    a = Polling(server).join()
    a.send(*(event("echo", number, number=number) for number in range(10)))
    until(lambda: a.link.outbox is not None and len(a.link.outbox) == 10)
    assert a.packets() == [f"3{number}[{number}]" for number in range(10)]


@pytest.mark.parametrize(
    ("answer", "packet"),
    [
        (None, "37[]"),
        (0, "37[0]"),
        ([1, 2], "37[[1,2]]"),
        ((1, 2), "37[1,2]"),
        ((), "37[]"),
        ({"a": None}, '37[{"a":null}]'),
    ],
)
def test_a_result_is_the_acknowledgement(answer: Any, packet: str) -> None:
    server = Server()
    server.on("ask", lambda sid: answer)
    a = Polling(server).join()
    a.emit("ask", number=7)
    assert a.next() == packet


def test_nothing_is_acknowledged_that_was_not_asked_or_handled() -> None:
    server = Server()
    done: list[int] = []
    server.on("tell", lambda sid: done.append(1))
    a = Polling(server).join()
    a.emit("tell")
    a.emit("nobody handles this", number=7)
    until(lambda: done)
    settle()
    assert a.packets() == []


def test_an_error_is_not_acknowledged_and_the_next_event_is_handled() -> None:
    server = Server()
    server.on("fail", lambda sid: 1 / 0)
    server.on("work", lambda sid: "done")
    a = Polling(server).join()
    a.send(event("fail", number=1), event("work", number=2))
    assert a.next() == '32["done"]'
    assert server.counters.handler_errors == 1


def test_an_answer_that_json_cannot_hold_is_an_error_of_the_app() -> None:
    server = Server()
    server.on("fail", lambda sid: object())
    server.on("work", lambda sid: "done")
    a = Polling(server).join()
    a.send(event("fail", number=1), event("work", number=2))
    assert a.next() == '32["done"]'
    assert server.counters.handler_errors == 1


# -- acknowledgements from the client --------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"json": json}], ids=["usual", "a json module of its own"])
@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_handler_may_wait_for_its_own_clients_answer(kind: str, options: dict[str, Any]) -> None:
    server = Server(**options)
    answers: list[Any] = []
    server.on("ask me", lambda sid: answers.append(server.call("q", 1, to=sid, timeout=DEADLINE)))
    a = TRANSPORTS[kind](server).join()
    a.emit("ask me")
    asked = a.next()
    a.send(f"3{asked[1 : asked.index('[')]}[42]")
    until(lambda: answers)
    assert answers == [42]


@pytest.mark.parametrize(("sent", "answer"), [("[]", None), ("[1]", 1), ("[1,2]", (1, 2))])
def test_a_call_gives_what_the_client_answered(sent: str, answer: Any) -> None:
    server = Server()
    a = Polling(server).join()
    asking = gevent.spawn(server.call, "q", to=a.sid, timeout=DEADLINE)
    asked = a.next()
    a.send(f"3{asked[1 : asked.index('[')]}{sent}")
    assert asking.get(timeout=DEADLINE) == answer


def test_a_callback_runs_while_a_handler_blocks() -> None:
    server = Server()
    a = Polling(server).join()
    gate = blocked(server, a)
    answers: list[Any] = []
    server.emit("q", to=a.sid, callback=lambda *answer: answers.append(answer))
    asked = a.next()
    a.send(f"3{asked[1 : asked.index('[')]}[1,2]")
    until(lambda: answers)
    assert answers == [(1, 2)]
    gate.release.set()


def test_a_callback_never_runs_in_the_hub() -> None:
    server = Server()
    a = WebSocket(server).join()
    where: list[Any] = []
    server.emit("q", to=a.sid, callback=lambda: where.append(gevent.getcurrent()))
    asked = a.next()
    a.send(f"3{asked[1 : asked.index('[')]}[]")
    until(lambda: where)
    assert where[0] is not get_hub()


def test_a_callback_that_raises_is_an_error_of_the_app() -> None:
    server = Server()
    a = Polling(server).join()
    server.emit("q", to=a.sid, callback=lambda: 1 / 0)
    asked = a.next()
    a.send(f"3{asked[1 : asked.index('[')]}[]")
    until(lambda: server.counters.handler_errors == 1)
    assert a.events() == []


def test_an_answer_that_nobody_asked_for_changes_nothing() -> None:
    server = Server()
    a = Polling(server).join()
    a.send("30[]", "37[1]", '3/calls,1["x"]')
    assert a.events() == []


# -- attachments -----------------------------------------------------------------------------------


def test_a_binary_event_reaches_its_handler_as_bytes() -> None:
    server = Server()
    heard: list[Any] = []
    server.on("file", lambda sid, *args: heard.append(args))
    a = Polling(server).join()
    a.send('52-["file",{"a":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0}]')
    a.send(b"zero")
    assert heard == []
    a.send(b"one")
    until(lambda: heard)
    assert heard == [({"a": b"one"}, b"zero")]


CLOSING: dict[str, list[str | bytes]] = {
    "an attachment that nobody announced": [b"x"],
    "text where an attachment is due": ['51-["a",{"_placeholder":true,"num":0}]', '2["b"]'],
    "a binary event without a number": ['5["a"]'],
    "too many attachments": ['511-["a"]', *[b"x"] * 11],
    "attachments beyond all measure": ['59999999999-["a"]'],
    "a placeholder for an attachment that is not there": [
        '51-["a",{"_placeholder":true,"num":1}]',
        b"x",
    ],
    "no Socket.IO packet": ["x"],
    "an unknown packet type": ["9"],
    "CONNECT_ERROR, which is the server's": ['4{"message":"no"}'],
    "an event that is no list": ['2{"a":1}'],
    "an event without anything": ["2"],
    "an acknowledgement without an id": ["3[1]"],
    "an acknowledgement that is no list": ['31"a"'],
    "DISCONNECT with a payload": ["1[1]"],
    "CONNECT with a list": ["0/calls,[1]"],
    "half of a JSON array": ['2["a"'],
    "NaN": ['2["a",NaN]'],
    "a relay with a tail": ['2["#rtcio:message",{}]x'],
    "an attachment that no placeholder names": ['51-["a"]', b"x"],
    "two placeholders for one attachment": [
        '51-["a",[{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]]',
        b"x",
    ],
    "attachments before an event of text": ['23-["a"]'],
    "a namespace beyond all measure": [f'2/{"n" * 600},["a"]'],
}


@pytest.mark.parametrize("kind", TRANSPORTS)
@pytest.mark.parametrize("packets", CLOSING.values(), ids=CLOSING)
def test_a_packet_that_cannot_be_read_ends_the_connection_at_once(
    packets: list[str | bytes], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    a, b = TRANSPORTS[kind](server).join(), Polling(server).join()
    for client in (a, b):
        server.enter_room(client.sid, "tea")
    gate = blocked(server, a)
    reasons: list[str] = []
    server.on("disconnect", lambda sid, reason: reasons.append(reason))
    if isinstance(a, Polling):
        a.post(*(f"4{each}" if isinstance(each, str) else "beA==" for each in packets))
    else:
        a.send(*packets)
    # Though a handler of its still runs: its peers hear of it now.
    assert b.next() == f'2["#rtcio:peer-left",{{"id":"{a.sid}"}}]'
    assert gate.log == []
    gate.release.set()
    until(lambda: reasons)
    assert reasons == ["transport error"]
    assert dict(server.counters.closed) == {"packet": 1}
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []


def test_a_packet_that_cannot_be_read_is_logged_at_debug_outside_the_hub(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "rtcio_sync.socketio.receive")
    where: list[Any] = []
    caplog.handler.addFilter(lambda record: where.append(gevent.getcurrent()) or True)
    server = Server()
    a = WebSocket(server).join()
    where.clear()
    a.send("x")
    until(lambda: where)
    assert get_hub() not in where
    name = "rtcio_sync.socketio.receive"
    assert [each.levelname for each in caplog.records if each.name == name] == ["DEBUG"]


def test_attachments_count_for_the_size_of_a_message() -> None:
    server = Server(max_http_buffer_size=1000)
    a = Polling(server).join()
    a.send('52-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
    a.send(b"x" * 600)
    assert a.post("b" + "eHh4" * 200) == 200
    until(lambda: a.link is None or a.link.closed)
    assert dict(server.counters.closed) == {"packet": 1}


def test_the_bound_on_attachments_may_be_lifted() -> None:
    server = Server(limits=Limits(max_attachments=None))
    heard: list[Any] = []
    server.on("many", lambda sid, *args: heard.append(len(args)))
    a = Polling(server).join()
    places = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(12))
    a.send(f'512-["many",{places}]', *[b"x"] * 12)
    until(lambda: heard)
    assert heard == [12]


# -- names that never reach a handler --------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [*([name, "surplus"] for name in sorted(RESERVED_EVENTS)), [], [7], [None], [{}], [["a"]]],
    ids=repr,
)
@pytest.mark.parametrize("options", [{}, {"json": json}], ids=["usual", "a json module of its own"])
def test_a_reserved_name_reaches_no_handler(arguments: list[Any], options: dict[str, Any]) -> None:
    server = Server(**options)
    ran: list[Any] = []
    a = Polling(server).join()
    socket = socket_of(server, a)
    for name in ("connect", "disconnect", "disconnecting", "*"):
        server.on(name, lambda *args: ran.append(args))
    for name in RESERVED_EVENTS:
        socket.on(name, lambda *args: ran.append(args))
    socket.on_any(lambda *args: ran.append(args))
    a.send(f"27{json.dumps(arguments)}")
    until(lambda: server.counters.dropped)
    assert dict(server.counters.dropped) == {"reserved-event": 1}
    assert ran == []
    assert a.packets() == []


def test_an_event_in_a_namespace_that_was_not_joined_is_dropped() -> None:
    server = Server()
    ran: list[Any] = []
    server.on("chat", lambda *args: ran.append(args), namespace="/calls")
    a = Polling(server).join()
    a.emit("chat", namespace="/calls")
    a.relay(a.sid, 1)
    a.emit("#rtcio:message", {"source": a.sid, "target": a.sid, "data": 1}, namespace="/calls")
    assert a.events() == []
    assert ran == []
    assert dict(server.counters.dropped) == {"not-connected": 2, "bad-target": 1}


# -- a JSON module of the app's own ----------------------------------------------------------------


class Watched:
    """A JSON module that notes where it runs."""

    def __init__(self) -> None:
        self.ran_in: list[Any] = []

    def dumps(self, value: Any, **options: Any) -> str:
        self.ran_in.append(gevent.getcurrent())
        return json.dumps(value, separators=(",", ":"))

    def loads(self, text: str, **options: Any) -> Any:
        self.ran_in.append(gevent.getcurrent())
        return json.loads(text)


def test_an_apps_json_module_never_runs_in_the_hub() -> None:
    watched = Watched()
    server = Server(json=watched)
    server.on("echo", lambda sid, *args: args)
    a, b = WebSocket(server).join(), WebSocket(server).join()
    for client in (a, b):
        server.enter_room(client.sid, "tea")
    a.emit("echo", 1, number=7)
    assert a.next() == "37[1]"
    a.relay(b.sid, 1)
    a.send(f'27["#rtcio:message",{{"source":"{a.sid}","target":"{b.sid}","data":2}}]')
    until(lambda: server.counters.relayed == 2)
    assert data_of(b) == [1, 2]
    watched.ran_in.clear()
    a.close()
    assert b.next() == f'2["#rtcio:peer-left",{{"id":"{a.sid}"}}]'
    assert watched.ran_in
    assert get_hub() not in watched.ran_in


def test_with_a_json_module_of_the_apps_own_order_holds_too() -> None:
    server = Server(json=json)
    a, b = WebSocket(server).join(), WebSocket(server).join()
    for number in range(20):
        if number % 2:
            a.relay(b.sid, number)
        else:
            envelope = {"source": a.sid, "target": b.sid, "data": number}
            a.emit("#rtcio:message", envelope, number=7)
    until(lambda: server.counters.relayed == 20)
    assert data_of(b) == list(range(20))


def test_with_a_json_module_of_the_apps_own_a_bad_packet_ends_the_connection() -> None:
    server = Server(json=json)
    a = WebSocket(server).join()
    a.send('2["a"')
    until(lambda: server.counters.closed)
    assert dict(server.counters.closed) == {"packet": 1}


def asking(server: Server) -> list[Any]:
    """Has the handler of ``ask me`` ask back; the answers."""
    answers: list[Any] = []

    @server.on("ask me")
    def ask_me(sid: str) -> None:
        answers.append(server.call("q", 1, to=sid, timeout=DEADLINE))

    return answers


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_with_a_json_module_of_the_apps_own_an_answer_may_come_behind_attachments(
    kind: str,
) -> None:
    heard: list[Any] = []
    server = Server(json=json)
    server.on("big", lambda sid, *args: heard.extend(args))
    a = TRANSPORTS[kind](server).join()
    server.emit("q", to=a.sid, callback=heard.append)
    number = a.next()[1:].removesuffix('["q"]')
    filler = json.dumps(["x"] * 30_000)
    hole = '{"_placeholder":true,"num":0}'
    a.send(f'51-["big",{filler},{hole}]', b"there", f'3{number}["ok"]')
    until(lambda: len(heard) == 3)
    assert "ok" in heard and b"there" in heard
    assert not server.counters.closed


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_with_a_json_module_of_the_apps_own_an_answer_with_bytes_waits_for_no_handler(
    kind: str,
) -> None:
    server = Server(json=json)
    answers = asking(server)
    a = TRANSPORTS[kind](server).join()
    a.emit("ask me")
    number = a.next()[1:].removesuffix('["q",1]')
    holes = ",".join(f'{{"_placeholder":true,"num":{each}}}' for each in range(2))
    a.send(f"62-{number}[[{holes}]]", b"one", b"two")
    until(lambda: answers)
    assert answers == [[b"one", b"two"]]


@pytest.mark.parametrize(
    "messages",
    [
        ('61-7["a"', b"x"),
        ('61-7["a"]', '2["b"]'),
        ('61-7["a"]', b"x"),
        ('61["a"]', b"x"),
        ('611-7["a"]',),
        ('62-7["a"]', b"x" * 600_000, b"x" * 600_000),
    ],
    ids=["json", "text", "placeholder", "head", "number", "size"],
)
def test_with_a_json_module_of_the_apps_own_a_bad_answer_ends_the_connection(
    messages: tuple[str | bytes, ...],
) -> None:
    server = Server(json=json)
    a = WebSocket(server).join()
    a.send(*messages)
    until(lambda: server.counters.closed)
    assert dict(server.counters.closed) == {"packet": 1}


def test_with_a_json_module_of_the_apps_own_an_answer_over_a_bound_is_dropped() -> None:
    server = Server(json=json, limits=Limits(max_values=10))
    a = WebSocket(server).join()
    a.send(f'61-7[{"[]," * 20}{{"_placeholder":true,"num":0}}]', b"x")
    until(lambda: server.counters.dropped)
    assert dict(server.counters.dropped) == {"too-many-values": 1}
    server.on("echo", lambda sid, *args: args)
    a.emit("echo", 1, number=7)
    assert a.next() == "37[1]"


# -- msgpack ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [MsgPackPacket, MsgPackPacket.configure(dumps_default=str)])
def test_in_msgpack_an_answer_waits_for_no_handler(chosen: type) -> None:
    server = Server(serializer=chosen)
    answers = asking(server)
    a = joined(server)
    asked = server.manager.callbacks
    say(a, EVENT, ["ask me"])
    until(lambda: asked.get(a.sid))
    say(a, ACK, ["ok"], max(asked[a.sid]))
    until(lambda: answers)
    assert answers == ["ok"]


def test_in_msgpack_a_relay_with_a_date_is_sent_as_the_middlewares_leave_it() -> None:
    server = Server(serializer="msgpack")
    a, b = server.test_client(), server.test_client()

    @server.of("/").sockets[a.sid].use
    def use(event: str, args: list[Any]) -> None:
        if args[0]["data"][1] == "change it":
            args[0]["data"][0] = msgpack.Timestamp(2)

    for word in ("leave it", "change it"):
        data = [msgpack.Timestamp(1), word]
        a.emit("#rtcio:message", {"source": a.sid, "target": b.sid, "data": data})
    got = [payload["data"][0] for payload in b.received("#rtcio:message")]
    assert got == [msgpack.Timestamp(1), msgpack.Timestamp(2)]


def test_with_a_decoder_of_the_apps_own_a_handler_beside_others_gets_its_answer() -> None:
    class Own(Packet):  # type: ignore[misc]
        def decode(self, encoded_packet: Any) -> Any:
            return super().decode(encoded_packet)

    server = Server(serializer=Own, async_handlers=True)
    answers = asking(server)
    a = WebSocket(server).join()
    a.emit("ask me")
    number = a.next()[1:].removesuffix('["q",1]')
    a.send(f'61-{number}[{{"_placeholder":true,"num":0}}]', b"x")
    until(lambda: answers)
    assert answers == [b"x"]


def test_python_socketios_own_packet_classes_are_decoded_at_once() -> None:
    class Own(MsgPackPacket):  # type: ignore[misc]
        pass

    for chosen in ("default", "msgpack", Packet, MsgPackPacket):
        assert not Server(serializer=chosen).receiver.late
    for own in (Own, MsgPackPacket.configure(dumps_default=str)):
        assert Server(serializer=own).receiver.late


def msgpack_of(**packet: Any) -> bytes:
    import msgpack

    return bytes(msgpack.dumps(packet))


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\xc1",
        msgpack_of(type=2, nsp="/", data={"a": 1}),
        msgpack_of(type=2, nsp=7, data=["a"]),
        msgpack_of(type="2", nsp="/", data=["a"]),
        msgpack_of(type=[2], nsp="/", data=["a"]),
        msgpack_of(type=3, nsp="/", data=[], id="1"),
        msgpack_of(type=3, nsp="/", data=[], id=None),
        msgpack_of(type=0, nsp="/", data=[]),
    ],
    ids=repr,
)
def test_a_msgpack_packet_that_cannot_be_read_ends_the_connection(packet: bytes) -> None:
    server = Server(serializer="msgpack")
    client = server.test_client()
    client._link.receive(packet, True)  # type: ignore[union-attr]
    assert not client.connected
    assert dict(server.counters.closed) == {"packet": 1}


def test_text_to_a_msgpack_server_ends_the_connection() -> None:
    server = Server(serializer="msgpack")
    client = server.test_client()
    client._link.receive(b'42["a"]', False)  # type: ignore[union-attr]
    assert not client.connected


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_relay_that_waited_and_cannot_be_read_anew_is_the_clients_fault(
    kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(text: str) -> None:  # as it does what has more levels than its parser takes
        raise ProtocolError("json")

    monkeypatch.setattr(inbound, "read", refuse)
    server = Server()
    client = TRANSPORTS[kind](server)
    client.send("0", event("#rtcio:message", {}))  # it waits for CONNECT
    until(lambda: server.counters.closed)
    assert dict(server.counters.closed) == {"packet": 1}
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


# -- a socket that has left, or whose connection has -----------------------------------------------


@pytest.mark.parametrize("client", [Polling, WebSocket])
@pytest.mark.parametrize("idiom", ["server.on", "socket.on"])
def test_an_event_in_a_greenlet_of_its_own_is_not_run_for_a_socket_that_has_left(
    client: Callable[[Server], Any], idiom: str
) -> None:
    heard: list[str] = []
    server = Server(async_handlers=True)
    server.on("disconnect", lambda sid, reason: heard.append("disconnect"))
    if idiom == "server.on":
        server.on("x", lambda sid: heard.append("x"))
    else:
        server.on("connection", lambda socket: socket.on("x", lambda: heard.append("x")))
    a = client(server).join()
    a.send('2["x"]', '2["x"]', "1")
    until(lambda: "disconnect" in heard)
    settle()
    # An event may run before, if the hub was paused behind it; none runs afterwards.
    assert heard[heard.index("disconnect") :] == ["disconnect"]


def test_what_came_before_the_end_of_a_connection_is_handled_though_connect_was_slow() -> None:
    heard: list[Any] = []
    release = Event()
    server = Server(namespaces="*")
    server.on("connect", lambda sid, environ: release.wait(DEADLINE) and None, namespace="/slow")
    server.on("connect", lambda sid, environ: heard.append("connect") or None)
    server.on("x", lambda sid: heard.append("x"))
    server.on("disconnect", lambda sid, reason: heard.append(reason))
    a = WebSocket(server)
    a.send("0/slow,", "0", '2["x"]', "1")
    until(lambda: server.manager.members.get("/slow"))
    a.close()
    until(lambda: not server.eio.sockets)
    release.set()
    until(lambda: len(heard) == 3)
    assert heard == ["connect", "x", "client disconnect"]


@pytest.mark.parametrize("mode", ["gevent", "threading"])
def test_what_is_done_is_free_when_the_next_is_handled(mode: str) -> None:
    class Item:
        def __call__(self) -> None: ...

    client = joined(Server(async_mode=mode), "polling")
    items = [Item() for _ in range(3)]
    kept = [weakref.ref(each) for each in items]
    left: list[list[bool]] = []
    begun, go = Event(), Event()
    client.link.enqueue(Then(lambda: (begun.set(), go.wait(DEADLINE))))  # type: ignore[func-returns-value, arg-type]
    assert begun.wait(DEADLINE)
    while items:
        client.link.enqueue(Then(items.pop(0)))
        client.link.enqueue(Then(lambda: left.append([ref() is not None for ref in kept])))
    go.set()
    until(lambda: len(left) == 3)
    assert left == [[False, True, True], [False, False, True], [False, False, False]]
