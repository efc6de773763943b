"""Handlers that compute take turns: whoever computes much does not keep the others waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import gevent.socket
import pytest
import socketio.exceptions

from rtcio_sync import Server
from rtcio_sync.serving.listen import signaling_only
from tests.clients import Client, Polling, WebSocket, event
from tests.timing import DEADLINE, compute, until
from tests.wsgi import environ_of

MANY = 100
FEW = 30  # events of an attacker's that may run between a bystander's question and its answer


class Attacked:
    """A server whose handlers compute; it counts how often."""

    def __init__(self, **options: Any) -> None:
        self.server = server = Server(**options)
        self.done = 0
        server.on("compute", self.handler)
        server.on("disconnect", self.handler)
        server.on("ask", lambda sid: server.emit("asked", to=sid, callback=self.handler))
        server.on("ping", lambda sid: "pong")

    def handler(self, *_: Any) -> None:
        self.done += 1
        compute()

    def burst(self, client: Client, name: str = "compute", many: int = MANY) -> None:
        """Sends all at once."""
        if isinstance(client, Polling):
            link = client.link
            for _ in range(many):
                link.receive(b"4" + event(name).encode(), False)
        else:
            client.send(*[event(name)] * many)


def answer_all(client: WebSocket, end: str = "answered") -> None:
    """Acknowledges all events at once; ``"lost"``: leaves instead."""
    asked = [client.next() for _ in range(MANY)]
    if end == "lost":
        client.close()
    else:
        client.send(*[f"3{each[1 : each.index('[')]}[]" for each in asked])


@pytest.fixture
def bystander_is_served() -> Iterator[Callable[[Attacked, Client], None]]:
    def check(attacked: Attacked, client: Client, few: int = FEW) -> None:
        """Each answer comes after a few of the attacker's events at most."""
        until(lambda: attacked.done > 5)
        waited = []
        while attacked.done < MANY - few and len(waited) < 5:
            before = attacked.done
            client.emit("ping", number=7)
            assert client.next(lambda packet: packet[:1] == "3") == '37["pong"]'
            waited.append(attacked.done - before)
        assert len(waited) == 5, "the bystander's first answer came after the attack"
        assert max(waited) <= few

    yield check


@pytest.mark.parametrize("options", [{}, {"async_handlers": True}])
@pytest.mark.parametrize("kind", [Polling, WebSocket])
def test_one_clients_burst_does_not_hold_the_others(
    kind: Any, options: dict[str, Any], bystander_is_served: Any
) -> None:
    attacked = Attacked(**options)
    attacker, bystander = kind(attacked.server).join(), WebSocket(attacked.server).join()
    attacked.burst(attacker)
    bystander_is_served(attacked, bystander)
    until(lambda: attacked.done == MANY)


def test_many_clients_bursts_do_not_hold_the_others(bystander_is_served: Any) -> None:
    attacked = Attacked()
    attackers = [WebSocket(attacked.server).join() for _ in range(20)]
    bystander = WebSocket(attacked.server).join()
    for each in attackers:
        attacked.burst(each, many=MANY // 20)
    # The first event of each of them is as fresh as the bystander's and comes before it. Where a
    # turn has time for one of these only, it also runs one that is not.
    bystander_is_served(attacked, bystander, 2 * len(attackers) + 10)
    until(lambda: attacked.done == MANY)


def test_callbacks_of_acknowledgements_take_turns(bystander_is_served: Any) -> None:
    attacked = Attacked()
    attacker, bystander = WebSocket(attacked.server).join(), WebSocket(attacked.server).join()
    attacked.burst(attacker, "ask")
    answer_all(attacker)
    bystander_is_served(attacked, bystander)
    until(lambda: attacked.done == MANY)


@pytest.mark.parametrize("end", ["answered", "lost"])
@pytest.mark.parametrize("way", ["one", "several"])
def test_callbacks_with_a_time_out_take_turns(way: str, end: str, bystander_is_served: Any) -> None:
    attacked = Attacked()
    server = attacked.server

    @server.on("gather")
    def gather(sid: str) -> None:
        socket = server.sockets[sid] if way == "one" else server.in_(sid)
        socket.timeout(DEADLINE).emit("asked", callback=attacked.handler)

    attacker, bystander = WebSocket(server).join(), WebSocket(server).join()
    attacked.burst(attacker, "gather")
    answer_all(attacker, end)
    bystander_is_served(attacked, bystander)
    until(lambda: attacked.done >= MANY)


@pytest.mark.parametrize("end", ["answered", "lost"])
@pytest.mark.parametrize("way", ["call", "gather"])
def test_handlers_that_one_client_wakes_from_a_call_take_turns(
    way: str, end: str, bystander_is_served: Any
) -> None:
    attacked = Attacked(async_handlers=True)
    server = attacked.server

    @server.on("call")
    def call(sid: str) -> None:
        try:
            if way == "call":
                server.call("asked", to=sid, timeout=DEADLINE)
            else:
                server.in_(sid).timeout(DEADLINE).call("asked")
        except socketio.exceptions.TimeoutError:
            assert end == "lost"
        attacked.handler()

    attacker, bystander = WebSocket(server).join(), WebSocket(server).join()
    attacked.burst(attacker, "call")
    answer_all(attacker, end)
    bystander_is_served(attacked, bystander)
    until(lambda: attacked.done >= MANY)


@pytest.mark.parametrize("event", ["connection_error", "headers", "initial_headers"])
def test_handlers_of_the_engine_take_turns(event: str, bystander_is_served: Any) -> None:
    attacked = Attacked()
    server = attacked.server
    server.engine.on(event, attacked.handler)
    method = "OPTIONS" if event == "headers" else "GET"
    query = {"sid": "nobody's"} if event == "connection_error" else {}

    def ask_for_many() -> None:  # as a WSGI server that has read all of them
        for _ in range(MANY):
            server.handle_request(environ_of(method, query), lambda status, headers: None)

    server.eio.hub_thread.bind()  # as at the first request
    bystander = WebSocket(server).join()
    asking = gevent.spawn(ask_for_many)
    bystander_is_served(attacked, bystander)
    asking.join()
    assert attacked.done == MANY


@pytest.mark.parametrize("way", ["lost", "put out"])
def test_the_ends_of_many_take_turns(way: str, bystander_is_served: Any) -> None:
    attacked = Attacked()
    bystander = WebSocket(attacked.server).join()
    many = [WebSocket(attacked.server).join() for _ in range(MANY)]
    for each in many:
        attacked.server.enter_room(each.sid, "tea")
    if way == "put out":
        gevent.spawn(attacked.server.in_("tea").disconnect_sockets)
    else:
        for each in many:
            each.close()
    bystander_is_served(attacked, bystander)
    until(lambda: attacked.done == MANY)


def test_relays_that_the_app_wants_to_see_take_turns(bystander_is_served: Any) -> None:
    attacked = Attacked()

    @attacked.server.on("#rtcio:message")
    def seen(sid: str, envelope: Any) -> None:
        attacked.handler()

    a, b, bystander = (WebSocket(attacked.server).join() for _ in range(3))
    envelope = {"source": a.sid, "target": b.sid, "data": 1}
    a.send(*[event("#rtcio:message", envelope)] * MANY)
    bystander_is_served(attacked, bystander)
    until(lambda: attacked.done == MANY)
    assert attacked.server.stats()["relayed"] == MANY


def test_relays_on_the_ordinary_way_take_turns_in_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    senders = [WebSocket(server).join() for _ in range(4)]
    target, bystander = WebSocket(server).join(), WebSocket(server).join()
    forwarded: list[int] = []
    forward = server.relay.forward

    def slowly(member: Any, passage: Any) -> None:
        compute(0.001)
        forward(member, passage)
        if member.sid != bystander.sid:
            forwarded.append(passage.payload["data"])

    monkeypatch.setattr(server.relay, "forward", slowly)
    for each in senders:  # with an acknowledgement's number, which the short way does not take
        each.send(*[
            event("#rtcio:message", {"source": each.sid, "target": target.sid, "data": n}, number=n)
            for n in range(100)
        ])  # fmt: skip
    until(lambda: forwarded)
    bystander.relay(target.sid, "mine")
    until(lambda: server.stats()["relayed"] > len(forwarded))
    assert len(forwarded) < 200
    until(lambda: len(forwarded) == 400)
    arrived = target.heard("#rtcio:message")
    for each in senders:
        mine = [envelope["data"] for envelope in arrived if envelope["source"] == each.sid]
        assert mine == list(range(100))


def test_a_bursts_events_stay_in_order() -> None:
    server = Server()
    seen: list[int] = []

    @server.on("count")
    def count(sid: str, number: int) -> None:
        compute(0.0005)
        seen.append(number)

    client = WebSocket(server).join()
    client.send(*[event("count", number) for number in range(MANY)])
    until(lambda: len(seen) == MANY)
    assert seen == list(range(MANY))


def test_pages_that_are_asked_for_at_once_take_turns() -> None:
    """Of a server without an app; those of an app: `tests/integration`."""
    server, done, pages = Server(), 0, 5 * MANY

    def answer(status: str, headers: Any) -> Any:
        nonlocal done
        done += 1
        compute()

    server.on("ping", lambda sid: "pong")
    server.eio.hub_thread.bind()  # as at the first request
    bystander = WebSocket(server).join()
    application = signaling_only("/socket.io", server.handle_request, server.turn_of_request)

    def ask_for_many() -> None:  # as a WSGI server that has read all of them
        for _ in range(pages):
            application(environ_of("GET", {}, path="/"), answer)

    asking = gevent.spawn(ask_for_many)
    until(lambda: done > 5)
    for _ in range(5):
        before = done
        bystander.emit("ping", number=7)
        assert bystander.next(lambda packet: packet[:1] == "3") == '37["pong"]'
        assert done - before <= FEW
    assert done < pages
    asking.join()
    assert done == pages


def test_a_request_for_a_session_waits_for_no_turn_before_it_is_looked_for() -> None:
    # It has come to the worker with its session, which may move to another one meanwhile.
    order: list[str] = []
    application = signaling_only(
        "/socket.io", lambda *_: order.append("answered") or [], lambda: order.append("a turn")
    )
    application(environ_of("GET", {"sid": "abc"}, path="/socket.io/"), lambda *_: None)
    assert order == ["answered"]
    application(environ_of("GET", {}, path="/elsewhere"), lambda *_: order.append("answered"))
    assert order == ["answered", "a turn", "answered"]


@pytest.mark.parametrize("where", ["before anything is served", "in another thread", "in the hub"])
def test_who_cannot_wait_for_a_turn_does_not(where: str) -> None:
    server = Server()
    if where == "before anything is served":
        server.turn_of_request()
        return
    server.eio.hub_thread.bind()
    hub = gevent.get_hub()
    if where == "in the hub":
        asked = gevent.event.Event()
        hub.loop.run_callback(lambda: (server.turn_of_request(), asked.set()))
        assert asked.wait(DEADLINE)
        return
    hub.threadpool.spawn(lambda: [server.turn_of_request() for _ in range(3)]).get(timeout=DEADLINE)
