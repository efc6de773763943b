"""Emits with a time-out, and the acknowledgements of several clients."""

from __future__ import annotations

import gc
import json
import logging
import re
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gevent
import gevent.event
import pytest
import socketio
from socketio.packet import ACK

from rtcio_sync import Answers, OptionError, Server, Socket, TestClient, UnansweredError
from rtcio_sync.adapter.server_call import DisconnectedError
from rtcio_sync.cluster import messages
from rtcio_sync.cluster.handover_messages import Pending
from rtcio_sync.cluster.remote_callbacks import Questions, RemoteCallback, RemoteWaiter
from rtcio_sync.cluster.remote_events import RemoteEvents
from rtcio_sync.errors import NotServing, ProtocolError
from rtcio_sync.parser.packet import event_pieces
from rtcio_sync.socketio import emit_with_ack
from rtcio_sync.socketio.emit_with_ack import Gatherer, Recipients
from tests.bus import Bus
from tests.clients import WebSocket, joined, say
from tests.cluster.sharing import Bus as NodeBus
from tests.cluster.sharing import sharing
from tests.timing import DEADLINE, Clock, until
from tests.unrun import UNRUN

SHORT = 0.05


def room_of(count: int = 3, **options: Any) -> tuple[Server, list[TestClient]]:
    """Clients in the room "tea", and one that is not."""
    server = Server(**options)
    clients = [server.test_client() for _ in range(count)]
    for client in clients:
        server.sockets[client.sid or ""].join("tea")
    server.test_client()
    return server, clients


def in_greenlet(call: Callable[[], Any]) -> Any:
    """Begins a call that waits."""
    greenlet = gevent.spawn(call)
    gevent.sleep(0)
    return greenlet


@pytest.mark.parametrize("name", ["call", "emit_with_ack"])
def test_a_call_to_a_room_gives_all_answers(name: str) -> None:
    server, clients = room_of()
    greenlet = in_greenlet(lambda: getattr(server.to("tea").timeout(DEADLINE), name)("ready?", 1))
    for number, client in enumerate(clients):
        client.acknowledge("ready?", number)
    answers = greenlet.get(timeout=DEADLINE)
    assert isinstance(answers, Answers)
    assert answers == [0, 1, 2]
    assert answers.by_sid == {client.sid: n for n, client in enumerate(clients)}
    assert all(client.received("ready?") == [1] for client in clients)
    assert not any(len(each) > 1 for each in server.manager.callbacks.values())


def test_an_answer_is_one_argument_a_tuple_or_none() -> None:
    server, clients = room_of()
    greenlet = in_greenlet(lambda: server.to("tea").call("ready?", timeout=DEADLINE))
    for client, answer in zip(clients, [(), (1,), (1, 2)], strict=True):
        client.acknowledge("ready?", *answer)
    assert greenlet.get(timeout=DEADLINE) == [None, 1, (1, 2)]


def test_who_does_not_answer_in_time_is_named_with_the_answers_of_the_others() -> None:
    server, clients = room_of()
    greenlet = in_greenlet(lambda: server.to("tea").timeout(SHORT).call("ready?"))
    clients[1].acknowledge("ready?", "yes")
    with pytest.raises(UnansweredError, match="1 answered, 2 did not") as raised:
        greenlet.get(timeout=DEADLINE)
    assert isinstance(raised.value, socketio.exceptions.TimeoutError)
    assert raised.value.answers == ["yes"]
    assert raised.value.silent == [clients[0].sid, clients[2].sid]
    clients[0].acknowledge("ready?", "too late")
    assert raised.value.answers == ["yes"]


def test_a_client_that_leaves_is_not_waited_for() -> None:
    server, clients = room_of()
    greenlet = in_greenlet(lambda: server.to("tea").timeout(3600).call("ready?"))
    for client in clients[:2]:
        client.acknowledge("ready?", 1)
    gone = clients[2].sid
    clients[2].disconnect()
    with pytest.raises(UnansweredError) as raised:
        greenlet.get(timeout=DEADLINE)
    assert raised.value.silent == [gone]


def test_nobody_is_not_waited_for() -> None:
    server, _ = room_of()
    assert server.to("nobody").timeout(3600).call("ready?") == []
    assert server.of("/empty").timeout(3600).call("ready?") == []


def test_a_callback_gets_all_answers_once() -> None:
    server, clients = room_of()
    got: list[Any] = []
    server.to("tea").timeout(DEADLINE).emit("ready?", callback=lambda *args: got.append(args))
    for number, client in enumerate(clients):
        client.acknowledge("ready?", number)
    until(lambda: got)
    assert got == [(None, [0, 1, 2])]


@pytest.mark.parametrize("together", [True, False])
def test_the_data_of_a_question_to_a_room_is_encoded_once(together: bool) -> None:
    """Each client is asked with a number of its own; the data may be large."""
    written: list[Any] = []

    class Counted:
        loads = staticmethod(json.loads)

        @staticmethod
        def dumps(value: Any, **options: Any) -> str:
            written.append(value)
            return json.dumps(value, **options)

    server, clients = room_of(json=Counted)
    written.clear()
    got: list[Any] = []
    data, answered = (1, b"x"), lambda *args: got.append(args)
    if together:
        server.to("tea").timeout(DEADLINE).emit("ready?", data, callback=answered)
    else:
        server.emit("ready?", data, to="tea", callback=answered)
    for number, client in enumerate(clients):
        client.acknowledge("ready?", number)
    until(lambda: len(got) == (1 if together else 3))
    assert got == ([(None, [0, 1, 2])] if together else [(0,), (1,), (2,)])
    assert len([each for each in written if each[0] == "ready?"]) == 1


def test_a_callback_gets_the_error_and_the_answers_that_came() -> None:
    server, clients = room_of()
    got: list[Any] = []
    server.to("tea").timeout(SHORT).emit("ready?", callback=lambda *args: got.append(args))
    clients[0].acknowledge("ready?", "yes")
    until(lambda: got)
    ((error, answers),) = got
    assert isinstance(error, UnansweredError)
    assert answers == ["yes"] == error.answers


def test_a_callback_that_raises_is_logged_as_a_handler() -> None:
    server, _ = room_of()
    server.to("nobody").timeout(SHORT).emit("ready?", callback=lambda error: 1 / 0)
    until(lambda: server.stats()["handler_errors"] == 1)


def test_one_client_has_a_time_out_too() -> None:
    server, (client, *_) = room_of()
    socket = server.sockets[client.sid or ""]
    got: list[Any] = []
    socket.timeout(DEADLINE).emit("ready?", callback=lambda *args: got.append(args))
    client.acknowledge("ready?", 1, 2)
    until(lambda: got)
    assert got == [(None, 1, 2)]
    socket.timeout(SHORT).emit("ready?", callback=lambda error, answer: got.append((error, answer)))
    until(lambda: len(got) > 1)
    assert isinstance(got[1][0], UnansweredError)
    assert got[1][1] is None


def test_one_client_is_called_with_the_chosen_time_out() -> None:
    server, (client, *_) = room_of()
    socket = server.sockets[client.sid or ""]
    with pytest.raises(socketio.exceptions.TimeoutError, match="no client answered"):
        socket.timeout(SHORT).call("ready?")
    greenlet = in_greenlet(lambda: socket.emit_with_ack("ready?", timeout=DEADLINE))
    client.acknowledge("ready?", "late")  # of the call before
    client.acknowledge("ready?", "yes")
    assert greenlet.get(timeout=DEADLINE) == "yes"


@pytest.mark.parametrize("seconds", [0, -1, None, "5", True, float("nan")])
def test_what_is_no_time_is_refused(seconds: Any) -> None:
    server, _ = room_of()
    with pytest.raises(OptionError):
        server.to("tea").timeout(seconds).emit("ready?", callback=print)


@pytest.mark.parametrize("answered", [lambda *answer: None, print, [].append])
def test_a_function_behind_the_data_is_refused_with_the_fix(answered: Any) -> None:
    """Where Node has the callback: whether somebody is there or not."""
    server = Server()
    dynamic = server.of(re.compile("^/room-"))
    for rooms in (server.to("nobody"), server.timeout(5), dynamic.to("tea")):
        with pytest.raises(TypeError, match=r"write \.timeout\(5\)\.emit\(…, callback=…\)"):
            rooms.emit("question", 1, answered)
    client = server.test_client()
    socket = server.sockets[str(client.sid)]
    for one in (socket, socket.timeout(5)):
        with pytest.raises(TypeError, match=r"the acknowledgement is given as callback=…$"):
            one.emit("question", 1, answered)
    with pytest.raises(TypeError, match=r"at \[1\]\['a'\] .* call it"):
        server.emit("question", {"a": answered})
    assert client.received() == []


def test_the_callback_of_data_that_cannot_be_sent_is_not_kept() -> None:
    """Else it would keep its client's, and in time push out those that may still be called."""
    server = Server()
    client = server.test_client()
    for _ in range(3):
        with pytest.raises(TypeError, match="cannot be sent"):
            server.emit("question", {1, 2}, to=client.sid, callback=print)
    assert [list(each) for each in server.manager.callbacks.values()] == [[0]]  # the counter
    server.emit("question", to=client.sid, callback=print)
    client.acknowledge("question")


def test_a_callback_of_several_needs_a_time() -> None:
    server, _ = room_of()
    with pytest.raises(OptionError, match=r"timeout\(5\)"):
        server.to("tea").emit("ready?", callback=print)


def test_nothing_waits_in_the_hub() -> None:
    server, _ = room_of()
    refused: list[BaseException] = []

    def call() -> None:
        try:
            server.to("tea").call("ready?")
        except NotServing as error:
            refused.append(error)

    gevent.get_hub().loop.run_callback(call)
    until(lambda: refused)


def test_over_a_client_manager_only_this_process_is_asked() -> None:
    server, clients = room_of(client_manager=Bus().manager())
    with pytest.raises(OptionError, match="local"):
        server.to("tea").timeout(5).call("ready?")
    greenlet = in_greenlet(lambda: server.to("tea").local.timeout(DEADLINE).call("ready?"))
    for client in clients:
        client.acknowledge("ready?", 1)
    assert greenlet.get(timeout=DEADLINE) == [1, 1, 1]


def test_over_a_client_manager_a_client_of_this_process_has_a_time_out() -> None:
    server, (client, *_) = room_of(client_manager=Bus().manager())
    socket = server.sockets[client.sid or ""]
    got: list[Any] = []
    socket.timeout(DEADLINE).emit("ready?", callback=lambda *args: got.append(args))
    client.acknowledge("ready?", 1)
    until(lambda: got)
    assert got == [(None, 1)]


@pytest.mark.parametrize("several", [False, True], ids=["alone", "over a client_manager"])
def test_who_has_left_has_not_answered(several: bool) -> None:
    server, clients = room_of(client_manager=Bus().manager() if several else None)
    socket = server.sockets[clients[0].sid or ""]
    clients[0].disconnect()
    got: list[Any] = []
    for chosen in (socket.timeout(3600), socket.timeout(3600).volatile):
        chosen.emit("ready?", callback=lambda *args: got.append(args))
    until(lambda: len(got) == 2)
    for (error,) in got:
        assert isinstance(error, UnansweredError)
        assert (error.answers, error.silent) == ([], [socket.id])
    for call in (socket.timeout(3600).call, socket.timeout(3600).volatile.call):
        with pytest.raises(DisconnectedError):
            call("ready?")


def test_over_a_client_manager_no_callback_is_kept_for_who_does_not_read() -> None:
    server = Server(client_manager=Bus().manager())
    late, socket, _ = late_and_ready(server)
    for _ in range(3):
        socket.volatile.emit("plain", callback=lambda: pytest.fail("it is not sent"))
    assert not server.manager.callbacks
    assert not late.heard("plain")
    socket.volatile.emit("plain", callback=lambda: None)
    assert list(server.manager.callbacks) == [late.sid]


# -- other workers ---------------------------------------------------------------------------------


def gather_for_another(
    server: Server, seconds: float = DEADLINE, **flags: Any
) -> list[tuple[str, int, Any]]:
    """The replies to the question 7 of the worker "nnnn" for the answers of all clients."""
    replies: list[tuple[str, int, Any]] = []

    def reply(node: str, number: int, body: bytes | None) -> None:
        found = None if body is None else messages.decoded(messages.Gathered, body)
        replies.append((node, number, found))

    server.gatherer.reply = reply
    server.gatherer.pieces = lambda event, number: event_pieces(
        server.packet_class, "/", ["ready?"], number
    )
    emit = messages.Emit("/", None, [], '["ready?"]', [], **flags)
    server.gatherer.asked("nnnn", 7, messages.encoded(messages.Gather(emit, seconds)))
    return replies


def gathering_for_others(server: Server) -> Clock:
    """Gives the server a gatherer with a clock that a test moves."""
    clock = Clock()
    server.gatherer = Gatherer(
        server.manager,
        create_event=gevent.event.Event,
        spawn=lambda do: pytest.fail("nothing is spawned"),
        now=clock.now,
        later=clock.later,
    )
    return clock


class Answer(list[Any]):
    """Can be weakly referenced."""


def test_answers_for_another_worker_are_let_go_once_all_have_come() -> None:
    server, _ = room_of(1)
    clock = gathering_for_others(server)
    refs: list[weakref.ref[Any]] = []
    for _ in range(20):
        replies = gather_for_another(server)
        for sid, waiting in list(server.manager.callbacks.items()):
            answer = Answer(["yes"])
            refs.append(weakref.ref(answer))
            server.manager.trigger_callback(sid, max(waiting), [answer])
            del answer
        assert [sorted(found.sids) for _, _, found in replies] == [sorted(server.sockets)]
    gc.collect()
    assert len(refs) == 40 and not any(ref() for ref in refs)
    assert len(clock.due) == 1


def test_an_answer_for_another_worker_counts_as_waiting_until_all_have_come() -> None:
    server = Server()
    first, second = joined(server), joined(server)
    replies = gather_for_another(server)
    say(first, ACK, ["yes"], 1)
    until(lambda: first.link.inbox_bytes > 0)
    say(second, ACK, ["no"], 1)
    until(lambda: replies)
    assert first.link.inbox_bytes == second.link.inbox_bytes == 0


def test_each_question_of_another_worker_ends_when_its_own_time_is_over() -> None:
    server, _ = room_of(1)
    clock = gathering_for_others(server)
    begun = clock.now()
    for seconds in (30, 10, 20):
        gather_for_another(server, seconds=seconds)
    ended: list[float] = []

    def reply(node: str, number: int, body: bytes | None) -> None:
        assert messages.decoded(messages.Gathered, body or b"").silent == list(server.sockets)
        ended.append(clock.now() - begun)

    server.gatherer.reply = reply
    clock.advance(60)
    assert ended == [10, 20, 30]
    assert not clock.due


#: What MessagePack has, and JSON with attachments cannot tell apart.
LIKE_A_PLACEHOLDER = [{"_placeholder": True}, b"x"]
NOT_JSON: list[Any] = [LIKE_A_PLACEHOLDER, [{"deep": LIKE_A_PLACEHOLDER}]]


@pytest.mark.parametrize("answer", NOT_JSON, ids=["a placeholder", "deep inside"])
def test_an_answer_that_no_other_worker_can_read_counts_as_silent(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(serializer="msgpack")
    good, bad = joined(server), joined(server)
    sids = [each.sid for each in (good, bad)]
    replies = gather_for_another(server)
    number = {sid: max(waiting) for sid, waiting in server.manager.callbacks.items()}
    say(good, ACK, ["yes"], number[sids[0]])
    say(bad, ACK, [answer], number[sids[1]])
    until(lambda: replies)
    ((node, asked, found),) = replies
    assert (node, asked) == ("nnnn", 7)
    assert (found.sids, found.body, found.silent) == (sids[:1], '[["yes"]]', sids[1:])
    assert server.stats()["dropped"]["malformed"] == 1
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert len(server.sockets) == 2, "nobody loses the connection"


def test_a_worker_that_cannot_make_a_reply_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    server, _ = room_of(1)
    replies = gather_for_another(server)
    monkeypatch.setattr(emit_with_ack, "body_of", lambda *args: 1 / 0)
    for client in server.sockets.values():
        server.manager.end_calls(client.id)
    assert replies == [("nnnn", 7, None)]


@pytest.mark.parametrize(
    "answer", [*NOT_JSON, {b"key": 1}], ids=["a placeholder", "deep inside", "a key of bytes"]
)
@pytest.mark.parametrize("waits", [False, True])
def test_the_worker_that_asked_hears_that_an_answer_could_not_be_sent(
    answer: Any, waits: bool
) -> None:
    server = Server()
    posted: list[tuple[str, int]] = []
    events = RemoteEvents(
        server.manager,
        server.eio,
        guard=server.dispatcher.guarded,
        post=lambda node, kind, message: posted.append((node, kind)),
        asked=lambda: pytest.fail("it asks nobody"),
        hidden_from=lambda node: (),
    )
    pending = Pending("nnnn", 7, "", waits)
    waiter = RemoteWaiter(events, pending) if waits else RemoteCallback(events, pending)
    waiter(answer)
    assert posted == [("nnnn", messages.Kind.LOST)]
    assert server.stats()["dropped"]["malformed"] == 1


@pytest.mark.parametrize("apart", [False, True], ids=["for all", "for itself"])
def test_the_worker_that_waits_hears_that_the_client_has_left(apart: bool) -> None:
    server = Server()
    client = joined(server)
    posted: list[int] = []
    events = RemoteEvents(
        server.manager,
        server.eio,
        guard=server.dispatcher.guarded,
        post=lambda node, kind, message: posted.append(kind),
        asked=lambda: pytest.fail("it asks nobody"),
        hidden_from=lambda node: (),
    )
    question = messages.Emit("/", [client.sid], [], '["question"]', [], 7, waits=True)
    events.emit("nnnn", question, [client.sid] if apart else None)
    client.close()
    until(lambda: server.manager.member(client.sid, "/") is None)
    assert posted == [*([messages.Kind.PARTED] if apart else []), messages.Kind.LOST]


@pytest.mark.parametrize("kind", UNRUN)
def test_a_callback_for_a_client_of_another_worker_has_to_run_when_it_is_called(kind: str) -> None:
    server = Server()
    asked: Any = SimpleNamespace(callback=lambda number: UNRUN[kind])
    events = RemoteEvents(
        server.manager,
        server.eio,
        guard=server.dispatcher.guarded,
        post=lambda node, kind, message: pytest.fail("it tells nobody"),
        asked=lambda: asked,
        hidden_from=lambda node: (),
    )
    events.answer("nnnn", messages.Answer(7, '["yes"]', []))
    until(lambda: server.stats()["handler_errors"] == 1)


@pytest.mark.parametrize("kind", UNRUN)
def test_so_has_one_over_a_client_manager(kind: str) -> None:
    bus = Bus()
    here, there = (Server(client_manager=bus.manager()) for _ in range(2))
    there.test_client()
    client = joined(here)
    there.emit("ready?", to=client.sid, callback=UNRUN[kind])
    until(lambda: len(here.manager.callbacks.get(client.sid, ())) == 2)  # and the counter
    say(client, ACK, ["yes"], max(here.manager.callbacks[client.sid]))
    until(lambda: there.stats()["handler_errors"] == 1)


@pytest.mark.parametrize("answer", NOT_JSON, ids=["a placeholder", "deep inside"])
def test_over_a_client_manager_an_answer_that_cannot_be_sent_is_dropped(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bus = Bus()
    here, there = (Server(client_manager=bus.manager(), serializer="msgpack") for _ in range(2))
    there.test_client()
    client = joined(here)
    got: list[Any] = []
    for _ in range(2):
        there.emit("ready?", to=client.sid, callback=lambda *args: got.append(args))
    until(lambda: len(here.manager.callbacks.get(client.sid, ())) == 3)  # and the counter
    first, second = sorted(each for each in here.manager.callbacks[client.sid] if each)
    say(client, ACK, [answer], first)
    say(client, ACK, ["yes"], second)
    until(lambda: got)
    assert got == [("yes",)]
    assert here.stats()["dropped"]["malformed"] == 1
    assert here.stats()["handler_errors"] == 0
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
    bus.close()


def test_waiting_begins_when_the_event_is_sent() -> None:
    clock, waits = Clock(), []

    class Done:
        def set(self) -> None:
            """Nobody answers."""

        def wait(self, seconds: float) -> None:
            waits.append(seconds)

    server, _ = room_of()
    gatherer = Gatherer(
        server.manager,
        create_event=Done,
        spawn=lambda do: pytest.fail("nothing is spawned"),
        now=clock.now,
        later=clock.later,
    )
    for late in (4, 50):
        asked = gatherer.begin(Recipients("/", ["tea"], []), "ready?", (), 10)
        clock.time += late
        gatherer.wait(asked)
    assert waits == [6, 0]


def gatherer_of(fake: Any) -> Gatherer:
    return Gatherer(
        fake.index,
        create_event=gevent.event.Event,
        spawn=lambda do: None,
        now=fake.clock.now,
        later=fake.clock.later,
    )


def test_a_question_that_could_not_be_asked_here_is_forgotten_elsewhere() -> None:
    fake = sharing(NodeBus("aaaa"))
    manager: Any = fake.index
    manager.questions = Questions(lambda: None)
    manager.holders_of = lambda namespace, rooms: ["aaaa"]
    manager.gather = lambda *args, **options: 1 / 0
    gatherer = gatherer_of(fake)
    with pytest.raises(ZeroDivisionError):
        gatherer.begin(Recipients("/", None, []), "ready?", (), 10)
    with pytest.raises(KeyError):
        manager.questions.wait(1, 0)


def test_the_clients_of_a_worker_that_dies_have_not_answered() -> None:
    fake = sharing(NodeBus("aaaa"))
    manager: Any = fake.index
    manager.questions = Questions(gevent.event.Event)
    manager.holders_of = lambda namespace, rooms: ["bbbb", "cccc"]
    manager.gather = lambda gathering, *args, **options: gathering.settle()
    gatherer = gatherer_of(fake)
    asked = gatherer.begin(Recipients("/", ["tea"], []), "ready?", (), DEADLINE)
    answer = messages.Gathered(["sid"], '[["yes"]]', [], [])
    manager.questions.replied("cccc", asked.question, messages.encoded(answer))
    manager.questions.died("bbbb")
    answers, error = gatherer.wait(asked)
    assert answers == {"sid": ("yes",)}
    assert error is not None and error.silent == []


def test_an_event_that_cannot_be_encoded_for_these_clients_is_answered_at_once() -> None:
    server, _ = room_of(1)
    replies = gather_for_another(server)  # the room's client and the other one
    server.gatherer.pieces = lambda event, number: 1 / 0
    emit = messages.Emit("/", None, [], '["ready?"]', [])
    with pytest.raises(ZeroDivisionError):
        server.gatherer.asked("nnnn", 8, messages.encoded(messages.Gather(emit, DEADLINE)))
    ((node, number, found),) = replies
    assert (node, number) == ("nnnn", 8)
    assert sorted(found.silent) == sorted(server.sockets)
    waiting = [number for each in server.manager.callbacks.values() for number in each if number]
    assert waiting == [1, 1], "those of the first question alone"


def test_what_another_worker_asks_is_read_before_a_greenlet_begins() -> None:
    server, _ = room_of(1, json=json)
    (socket, *_) = server.sockets.values()
    socket.on_any_outgoing(print)
    emit = messages.Emit("/", None, [], "[unreadable]", [])
    with pytest.raises(ProtocolError):
        server.gatherer.asked("nnnn", 8, messages.encoded(messages.Gather(emit, DEADLINE)))


def test_a_callback_is_forgotten_if_nothing_can_wait_for_it() -> None:
    server, _ = room_of()
    clock = Clock()
    server.gatherer = Gatherer(
        server.manager,
        create_event=gevent.event.Event,
        spawn=lambda do: 1 / 0,  # no thread can be started, for example
        now=clock.now,
        later=clock.later,
    )
    with pytest.raises(ZeroDivisionError):
        server.to("tea").timeout(3600).emit("ready?", callback=print)
    assert not any(len(each) > 1 for each in server.manager.callbacks.values())


# -- volatile, compress ----------------------------------------------------------------------------


def test_a_volatile_event_reaches_who_is_ready() -> None:
    server, clients = room_of()
    socket = server.sockets[clients[0].sid or ""]
    server.to("tea").volatile.emit("news", 1)
    server.volatile.emit("news", 2)
    socket.volatile.emit("news", 3)
    socket.volatile.to("tea").emit("news", 4)
    assert clients[0].received("news") == [1, 2, 3]
    assert clients[1].received("news") == [1, 2, 4]


def test_a_volatile_event_is_dropped_for_who_does_not_read() -> None:
    server = Server()
    client = WebSocket(server).join()
    socket = server.sockets[client.sid]
    socket.volatile.emit("news", 1)
    until(lambda: client.heard("news"))
    link = server.eio.sockets[client.eio_sid]
    while not link.transport.late:
        socket.emit("flood", "x" * 100_000)
        gevent.sleep(0)
    socket.volatile.emit("news", 2)
    socket.emit("news", 3)
    assert client.heard("news") == [3]


def late_and_ready(server: Server) -> tuple[WebSocket, Socket, WebSocket]:
    """One that does not read, its socket, and one that does."""
    late, ready = WebSocket(server).join(), WebSocket(server).join()
    socket = server.sockets[late.sid]
    while not server.eio.sockets[late.eio_sid].transport.late:
        socket.emit("flood", "x" * 100_000)
        gevent.sleep(0)
    return late, socket, ready


def test_who_does_not_read_is_not_sent_a_volatile_event_with_a_callback() -> None:
    server = Server()
    late, socket, _ = late_and_ready(server)
    got: list[Any] = []
    socket.volatile.emit("plain", callback=lambda: got.append("plain"))
    socket.volatile.timeout(3600).emit("timed", callback=lambda error: got.append(error))
    until(lambda: got)
    (error,) = got
    assert isinstance(error, UnansweredError)
    assert error.silent == [late.sid]
    call = in_greenlet(lambda: socket.volatile.call("called", timeout=3600))
    with pytest.raises(UnansweredError):
        call.get(timeout=DEADLINE)
    assert [late.heard(name) for name in ("plain", "timed", "called")] == [[], [], []]


def test_a_volatile_question_to_several_is_for_those_that_read() -> None:
    server = Server()
    late, _, ready = late_and_ready(server)
    greenlet = in_greenlet(lambda: server.volatile.timeout(3600).call("ready?"))
    replies = gather_for_another(server, volatile=True)
    for name in ("1", "2"):
        number = ready.next(lambda packet: "ready?" in packet)[1:].partition("[")[0]
        ready.send(f'3{number}["{name}"]')
    with pytest.raises(UnansweredError) as raised:
        greenlet.get(timeout=DEADLINE)
    assert (raised.value.answers, raised.value.silent) == (["1"], [late.sid])
    until(lambda: replies)
    found = replies[0][2]
    assert (found.sids, found.body, found.silent) == ([ready.sid], '[["2"]]', [late.sid])
    assert late.heard("ready?") == []


def test_a_volatile_call_is_answered_as_any_other() -> None:
    server, (client, *_) = room_of()
    socket = server.sockets[client.sid or ""]
    greenlet = in_greenlet(lambda: socket.volatile.call("ready?", timeout=DEADLINE))
    client.acknowledge("ready?", 1, 2)
    assert greenlet.get(timeout=DEADLINE) == (1, 2)
    client.disconnect()
    with pytest.raises(DisconnectedError):
        socket.volatile.call("ready?")


def test_a_volatile_event_waits_for_no_session() -> None:
    server = Server(connection_state_recovery=True)
    client = server.test_client()
    client.emit("x")
    server.emit("news", 1)
    client.disconnect()
    server.volatile.emit("news", 2)
    server.emit("news", 3)
    client.connect()
    assert client.recovered
    assert client.received("news") == [1, 3]


def test_compress_changes_nothing() -> None:
    server, clients = room_of()
    socket = server.sockets[clients[0].sid or ""]
    server.to("tea").compress(True).emit("news", 1)
    server.compress(False).emit("news", 2)
    socket.compress(False).emit("news", 3)
    socket.timeout(1).compress(True).emit("news", 4)
    assert clients[0].received("news") == [1, 2, 3, 4]


def test_local_is_for_the_sockets_of_this_process() -> None:
    server, clients = room_of()
    socket = server.sockets[clients[0].sid or ""]
    server.local.emit("news", 1)
    socket.local.emit("news", 2)
    assert clients[0].received("news") == [1]
    assert clients[1].received("news") == [1, 2]
    assert len(server.local.fetch_sockets()) == len(clients) + 1
    server.to("tea").local.sockets_join("new")
    assert len(server.to("new").fetch_sockets()) == len(clients)


# -- what is no time-out ---------------------------------------------------------------------------


CALLS: dict[str, Callable[[Server, Socket, Any], Any]] = {
    "server.call": lambda server, socket, seconds: server.call("x", to=socket.id, timeout=seconds),
    "socket.call": lambda server, socket, seconds: socket.call("x", timeout=seconds),
    "socket.timeout.call": lambda server, socket, seconds: socket.timeout(seconds).call("x"),
    "socket.volatile.call": lambda _, socket, seconds: socket.volatile.call("x", timeout=seconds),
    "a broadcast": lambda server, socket, seconds: server.timeout(seconds).call("x"),
    "server_side_call": lambda server, _, seconds: server.server_side_call("x", timeout=seconds),
}


@pytest.mark.parametrize("seconds", ["5", b"5", [5], float("nan")], ids=str)
@pytest.mark.parametrize("way", CALLS)
def test_a_call_refuses_what_is_no_time(way: str, seconds: Any) -> None:
    """gevent's hub, and so the whole process, would stop for NaN."""
    server, (client,) = room_of(1)
    socket = server.sockets[client.sid or ""]
    with pytest.raises(OptionError, match="seconds"):
        CALLS[way](server, socket, seconds)
    assert not client.received("x")


@pytest.mark.parametrize("seconds", [None, 0, -1, "5", True, float("inf")], ids=str)
def test_a_time_out_is_checked_where_it_is_written(seconds: Any) -> None:
    server, (client,) = room_of(1)
    socket = server.sockets[client.sid or ""]
    for chooses in (socket, socket.volatile, server, server.of("/"), server.to("tea")):
        with pytest.raises(OptionError, match="above 0"):
            chooses.timeout(seconds)


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_call_of_python_socketio_need_not_wait(seconds: float) -> None:
    server, (client,) = room_of(1)
    with pytest.raises(socketio.exceptions.TimeoutError):
        server.call("ready?", to=client.sid, timeout=seconds)
    assert client.received("ready?")


def test_what_cannot_be_sent_to_other_workers_is_refused_also_without_any() -> None:
    server = Server()
    for send in (server.server_side_emit, server.server_side_call):
        with pytest.raises(OptionError, match="name is a string"):
            send(5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="'news' cannot be sent"):
            send("news", object())
