"""``async_mode="threading"``: two threads that come to the same few lines at once.

Here: handlers, answers and figures.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from rtcio_sync import LimitExceeded, Server, throttle
from rtcio_sync.adapter.gathering import Gathering
from rtcio_sync.adapter.member import Member
from rtcio_sync.adapter.server_call import DisconnectedError, Waiter
from rtcio_sync.metrics import Lag
from rtcio_sync.relay import relay as relay_module
from rtcio_sync.relay.relay import Passage
from rtcio_sync.socketio import handler_run, socket_events
from rtcio_sync.socketio.emit_with_ack import Recipients
from rtcio_sync.socketio.overdue_handlers import PATIENCE, Overdue
from tests.threads import Second, joined, slowed
from tests.timing import wait_until


def test_two_events_that_are_sent_at_once_have_answers_of_their_own(server: Server) -> None:
    client, answers = joined(server), []

    def ask(name: str) -> None:
        server.emit(name, to=client.sid, callback=lambda answer: answers.append((name, answer)))

    second = Second(lambda: ask("b"))

    class Waiting(dict[str, Any]):
        def __contains__(self, sid: object) -> bool:
            known = super().__contains__(sid)
            second.comes()
            return known

    server.manager.callbacks = Waiting()
    ask("a")
    second.ends()
    for _ in range(2):
        number, name = re.findall(r"\d+(?=\[)|[ab]", client.next()[1:])
        client.send(f'3{number}["{name}"]')
    wait_until(lambda: len(answers) == 2)
    assert sorted(answers) == [("a", "a"), ("b", "b")]


@pytest.mark.parametrize("how", ["lost", "disconnected"])
def test_who_leaves_as_it_is_asked_keeps_nobody_waiting(
    server: Server, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    client = joined(server)
    sid, link, before = client.sid, client.link, server.manager.keep_callback
    leave = {
        "lost": lambda: link.close(abort=True, reason="transport close"),
        "disconnected": lambda: server.disconnect(sid),
    }[how]
    second = Second(leave)

    def slowly(*args: Any) -> int:
        second.comes()
        return before(*args)

    monkeypatch.setattr(server.manager, "keep_callback", slowly)
    with pytest.raises(DisconnectedError):
        server.call("question", to=sid, timeout=3)
    second.ends()
    assert len(server.manager.callbacks.get(sid, {})) <= (how == "lost"), "and the counter"


def test_an_answer_may_come_as_its_client_leaves(server: Server) -> None:
    client = joined(server)
    sid, waiter = client.sid, Waiter(threading.Event())
    number = server.manager.keep_callback(sid, waiter)
    second = Second(lambda: client.link.receive(f'43{number}["yes"]'.encode(), False), waits=True)

    class Waiting(dict[int, Any]):
        def copy(self) -> Any:
            found = super().copy()
            second.comes()
            return found

    server.manager.callbacks[sid] = Waiting(server.manager.callbacks[sid])
    server.manager.end_calls(sid)
    second.ends()
    assert (waiter.answer, waiter.left) == (("yes",), False)


def test_answers_that_come_at_once_are_all_gathered() -> None:
    found: list[dict[str, Any]] = []
    gathering = Gathering(lambda: found.append(dict(gathering.answers)))
    first, other = gathering.ask("first"), gathering.ask("other")
    second = Second(lambda: other("yes"))

    class Waiting(dict[str, Any]):
        def pop(self, *args: Any) -> Any:
            taken = super().pop(*args)
            second.comes()
            return taken

    gathering.waiting = Waiting(gathering.waiting)
    first("yes")
    second.ends()
    assert found == [{"first": ("yes",), "other": ("yes",)}]


def test_an_answer_that_comes_as_the_time_is_over_counts_or_is_missing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sid = joined(server).sid
    asked = server.gatherer.begin(Recipients("/", sid, []), "question", (), 0.01)
    second = Second(lambda: asked.gathering.answered(sid, ("yes",)), waits=True)
    monkeypatch.setattr(server.manager, "forget_gathering", lambda gathering: None)
    slowed(asked.gathering, "waiting", second)
    answers, error = server.gatherer.wait(asked)
    second.ends()
    assert list(answers) == [sid]
    assert error is None


def test_a_handler_for_one_event_runs_for_one_of_two_that_come_at_once(server: Server) -> None:
    ran: list[str] = []

    @server.on("connection")
    def connection(socket: Any) -> None:
        socket.once("tea", lambda: ran.append("tea"))

    member = server.manager.member(joined(server).sid, "/")
    second = Second(lambda: server.handling.event(member, None, ["tea"]))

    class Events(dict[str, Any]):
        def get(self, *args: Any) -> Any:
            found = super().get(*args)
            second.comes()
            return found

    member.socket.handlers.events = Events(member.socket.handlers.events)
    server.handling.event(member, None, ["tea"])
    second.ends()
    assert ran == ["tea"]


@pytest.mark.parametrize("method", ["on", "use", "on_any", "on_any_outgoing", "session_end"])
def test_of_two_handlers_that_are_registered_at_once_none_is_lost(
    server: Server, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    joined(server)
    (socket,) = server.fetch_sockets()

    def register() -> None:
        getattr(socket, method)(*(["tea"] if method == "on" else []), lambda *args: None)

    second, before = Second(register), socket_events.Callee

    class Slowly(before):  # type: ignore[misc,valid-type]
        def __init__(self, fn: Any) -> None:
            super().__init__(fn)
            second.comes()

    class Events(dict[str, Any]):
        def get(self, *args: Any) -> Any:
            found = super().get(*args)
            second.comes()
            return found

    if method == "on":
        socket.handlers.events = Events()
    else:
        monkeypatch.setattr(socket_events, "Callee", Slowly)
    register()
    second.ends()
    handlers = socket.handlers
    kinds = (handlers.uses, handlers.any, handlers.outgoing, handlers.ends)
    assert max(len(each) for each in (*kinds, handlers.events.get("tea", ()))) == 2


def test_a_middleware_that_is_registered_while_others_are_looked_for_sees_relays(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = joined(server)
    (socket,) = server.fetch_sockets()
    second = Second(lambda: socket.use(lambda event, args: None))
    before = server.registry.sees_relays

    def slowly(namespace: str) -> bool:
        seen = before(namespace)
        second.comes()
        return seen

    monkeypatch.setattr(server.registry, "sees_relays", slowly)
    server.handling.observe(client.member)
    second.ends()
    assert client.member.observed
    assert not client.member.short


def test_a_rate_that_sockets_share_lets_no_more_through_when_two_use_it_at_once() -> None:
    passed: list[str] = []

    def one() -> None:
        with suppress(LimitExceeded):
            check("tea", [])
            passed.append("tea")

    second = Second(one)

    class Burst(float):
        def __gt__(self, other: object) -> bool:
            second.comes()
            return super().__gt__(other)  # type: ignore[operator]

    check = throttle(0.001, Burst(1))
    one()
    second.ends()
    assert passed == ["tea"]


def test_a_handler_may_return_as_it_is_about_to_be_called_overdue() -> None:
    warned: list[Any] = []
    times = iter([0.0, 2 * PATIENCE])
    overdue = Overdue(
        later=lambda *args: None, spawn=lambda *args: warned.append(args), now=lambda: next(times)
    )
    member = Member("sid", "eio_sid", "/")
    member.link = SimpleNamespace(tested=False)  # type: ignore[assignment]
    number = overdue.begin("tea", member, overdue.now())
    second = Second(lambda: overdue.end(number), waits=True)

    class Running(dict[int, Any]):
        def copy(self) -> Any:
            found = super().copy()
            second.comes()
            return found

    overdue._running = Running(overdue._running)
    overdue._look()
    second.ends()
    assert not warned


def test_what_two_threads_count_at_once_is_counted(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = joined(server), joined(server)
    passage = Passage({"source": a.sid, "target": b.sid, "data": "x" * 100}, None, [])
    second = Second(lambda: server.handling.relay(a.member, passage, ()))
    before = relay_module.size_of

    def slowly(data: Any) -> int:
        size = before(data)
        second.comes()
        return size

    monkeypatch.setattr(relay_module, "size_of", slowly)
    server.handling.relay(a.member, passage, ())
    second.ends()
    assert server.counters.relayed == 2
    assert server.counters.relayed_bytes > 2 * 150


def test_the_seconds_of_two_handlers_that_end_at_once_are_counted(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = server.manager.member(joined(server).sid, "/")
    server.counters.handler_seconds = 0.0
    calls: dict[int, int] = defaultdict(int)

    def handle() -> None:
        server.handling.guarded(member, "tea", (), lambda: None)

    second = Second(handle)

    def clock() -> float:
        """Each handler takes a second."""
        thread = threading.get_ident()
        calls[thread] += 1
        if calls[thread] == 2:
            second.comes()
        return float(calls[thread])

    monkeypatch.setattr(handler_run, "perf_counter", clock)
    handle()
    second.ends()
    assert server.counters.handler_seconds == 2.0


def test_the_loops_delay_may_be_noted_while_somebody_asks_for_it() -> None:
    lag = Lag()
    second = Second(lambda: lag.note(2.0, 0.2))

    class Late(float):
        def __gt__(self, other: object) -> bool:
            second.comes()
            return super().__gt__(other)  # type: ignore[operator]

    for late in (0.1, 0.3):
        lag.note(1.0, 0.0)
        lag._seen[-1] = (1.0, Late(late))
    assert lag.worst(2.0) == 0.3
    second.ends()


def test_a_namespace_may_come_while_somebody_asks_for_the_figures(server: Server) -> None:
    joined(server, "tea")
    second = Second(lambda: server.manager.pre_connect("another", "/another"))

    class Inside(dict[Any, Any]):
        def __len__(self) -> int:
            second.comes()
            return super().__len__()

    server.manager.rooms["/"] = Inside(server.manager.rooms["/"])
    assert server.stats()["rooms"] == 1
    second.ends()
