"""Acknowledgements that are given later or withheld, and arguments that a middleware changes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import gevent
import pytest
import socketio

from rtcio_sync import OptionError, Server
from rtcio_sync.socketio.deferred_ack import Ack
from tests.clients import TRANSPORTS, Client, WebSocket, event
from tests.timing import DEADLINE, settle, until

Handler = Callable[[], Any]


def _server(server: Server, handler: Handler, namespace: str) -> None:
    server.on("ask", lambda sid: handler(), namespace=namespace)


def _socket(server: Server, handler: Handler, namespace: str) -> None:
    server.of(namespace).on("connection", lambda socket: socket.on("ask", handler))


def _class(server: Server, handler: Handler, namespace: str) -> None:
    class Calls(socketio.Namespace):
        def on_ask(self, sid: str) -> Any:
            return handler()

    server.register_namespace(Calls(namespace))


def _catch_all(server: Server, handler: Handler, namespace: str) -> None:
    server.on("*", lambda event, sid: handler() if event == "ask" else None, namespace=namespace)


IDIOMS = {"server.on": _server, "socket.on": _socket, "a class": _class, "a catch-all": _catch_all}


def ask(client: Client, namespace: str = "/") -> None:
    client.emit("ask", number=7, namespace=namespace)


@pytest.mark.parametrize("options", [{}, {"async_handlers": True}, {"json": json}])
@pytest.mark.parametrize("namespace", ["/", "/calls"])
@pytest.mark.parametrize("kind", TRANSPORTS)
@pytest.mark.parametrize("idiom", IDIOMS)
def test_an_acknowledgement_may_be_given_later(
    idiom: str, kind: str, namespace: str, options: dict[str, Any]
) -> None:
    server = Server(**options)
    acks: list[Ack] = []
    IDIOMS[idiom](server, lambda: acks.append(server.defer_ack()), namespace)
    client = TRANSPORTS[kind](server).join(namespace)
    until(lambda: server.manager.member(client.sids[namespace], namespace).ready)
    ask(client, namespace)
    until(lambda: acks)
    assert client.packets(namespace) == []
    assert acks[0].wanted
    acks[0]({"ok": 1}, "two")
    acks[0]("again")
    where = "" if namespace == "/" else f"{namespace},"
    assert client.packets(namespace) == [f'3{where}7[{{"ok":1}},"two"]']


@pytest.mark.parametrize(
    ("answer", "sent"), [((), "[]"), ((None,), "[null]"), (([1, 2],), "[[1,2]]"), ((0,), "[0]")]
)
def test_it_is_what_it_is_called_with(answer: tuple[Any, ...], sent: str) -> None:
    server = Server()
    server.on("ask", lambda sid: gevent.spawn_later(0.01, server.defer_ack(), *answer) and None)
    client = WebSocket(server).join()
    ask(client)
    assert client.next() == f"37{sent}"


@pytest.mark.parametrize("returns", [None, "a result"])
@pytest.mark.parametrize("idiom", IDIOMS)
def test_one_that_is_never_given_is_withheld(idiom: str, returns: Any) -> None:
    server = Server()

    def handler() -> Any:
        server.defer_ack()
        return returns

    IDIOMS[idiom](server, handler, "/")
    client = WebSocket(server).join()
    until(lambda: client.member.ready)
    ask(client)
    server.on("after", lambda sid: "served")
    client.emit("after", number=8)
    assert client.next(lambda packet: packet[:1] == "3") == '38["served"]'


def test_without_it_a_handler_that_returns_nothing_acknowledges() -> None:
    server = Server()
    server.on("ask", lambda sid: None)
    client = WebSocket(server).join()
    ask(client)
    assert client.next() == "37[]"


def test_of_several_handlers_one_may_take_it_over() -> None:
    server = Server()
    acks: list[Ack] = []
    server.on("ask", lambda sid: "from the server's")
    server.on("connection", lambda socket: socket.on("ask", take))

    def take() -> None:
        acks.append(server.defer_ack())

    client = WebSocket(server).join()
    until(lambda: client.member.ready)
    ask(client)
    until(lambda: acks)
    acks[0]("from the socket's")
    assert client.packets() == ['37["from the socket\'s"]']


def test_it_may_be_given_inside_of_the_handler_and_before_it_raises() -> None:
    server = Server()

    @server.on("ask")
    def handler(sid: str) -> None:
        server.defer_ack()("early")
        raise KeyError("a bug")

    client = WebSocket(server).join()
    ask(client)
    assert client.next() == '37["early"]'


def test_it_may_be_given_by_another_thread() -> None:
    server = Server()
    acks: list[Ack] = []
    server.on("ask", lambda sid: acks.append(server.defer_ack()))
    server.eio.hub_thread.bind()
    client = WebSocket(server).join()
    ask(client)
    until(lambda: acks)
    thread = threading.Thread(target=acks[0], args=("from a thread",))
    thread.start()
    assert client.next() == '37["from a thread"]'
    thread.join(DEADLINE)


def test_data_that_cannot_be_sent_leaves_it_to_be_given() -> None:
    server = Server()

    @server.on("ask")
    def ask(sid: str) -> None:
        ack = server.defer_ack()
        with pytest.raises(TypeError, match="an acknowledgement cannot be sent"):
            ack({1, 2})
        ack({"error": "strange"})
        ack("too late")

    assert server.test_client().call("ask") == {"error": "strange"}


def test_nobody_gets_an_acknowledgement_that_none_asked_for() -> None:
    server = Server()
    acks: list[Ack] = []
    server.on("ask", lambda sid: acks.append(server.defer_ack()))
    client = WebSocket(server).join()
    client.emit("ask")
    until(lambda: acks)
    assert not acks[0].wanted
    acks[0]("nobody")
    assert client.packets() == []


@pytest.mark.parametrize("recovery", [None, True])
def test_one_that_comes_after_the_end_goes_nowhere(recovery: Any) -> None:
    server = Server(connection_state_recovery=recovery)
    acks: list[Ack] = []
    server.on("ask", lambda sid: acks.append(server.defer_ack()))
    client = WebSocket(server)
    client.ask_to_join()
    key = json.loads(client.next()[1:])
    client.sids["/"] = key["sid"]
    ask(client)
    until(lambda: acks)
    client.close()
    until(lambda: key["sid"] not in server.sockets)
    acks[0]("late")
    again = WebSocket(server)
    again.ask_to_join(auth={"pid": key["pid"]} if recovery else None)
    again.next()
    acks[0]("later still")
    server.emit("last")
    assert again.next().startswith('2["last"')


def test_outside_of_a_handler_there_is_none_to_take_over() -> None:
    server = Server()
    with pytest.raises(OptionError, match="in the handler of an event"):
        server.defer_ack()
    late: list[Any] = []

    def too_late() -> None:
        try:
            server.defer_ack()
        except OptionError as error:
            late.append(error)

    server.on("ask", lambda sid: gevent.spawn_later(0.01, too_late) and None)
    server.on("connect", lambda sid, environ: too_late())
    client = WebSocket(server).join()
    assert len(late) == 1
    ask(client)
    assert client.next() == "37[]"
    until(lambda: len(late) == 2)


def test_the_test_client_knows_it() -> None:
    server = Server()
    server.on("ask", lambda sid: server.defer_ack()("at once"))
    assert server.test_client().call("ask") == "at once"


# -- what a middleware changes ---------------------------------------------------------------------


def change(name: str, args: list[Any]) -> None:
    args[0]["seen"] = True
    args[1] = "replaced"
    args.append("added")


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_what_a_middleware_changes_reaches_the_handlers_of_both_idioms(kind: str) -> None:
    server = Server()
    seen: list[Any] = []
    server.on("chat", lambda sid, *args: seen.append(("server", args)))

    @server.on("connection")
    def connection(socket: Any) -> None:
        socket.use(change)
        socket.use(lambda name, args: seen.append(("use", tuple(args))))
        socket.on("chat", lambda *args: seen.append(("socket", args)))
        socket.on_any(lambda name, *args: seen.append(("any", args)))

    client = TRANSPORTS[kind](server).join()
    until(lambda: client.member.ready)
    client.emit("chat", {"text": "hi"}, 2)
    until(lambda: len(seen) == 4)
    changed = ({"text": "hi", "seen": True}, "replaced", "added")
    assert seen == [(who, changed) for who in ("use", "server", "any", "socket")]


def test_a_middleware_may_take_arguments_away() -> None:
    server = Server()
    seen: list[Any] = []
    server.on("chat", lambda sid, *args: seen.append(args))
    server.on("connection", lambda socket: socket.use(lambda name, args: args.clear()))
    client = WebSocket(server).join()
    until(lambda: client.member.ready)
    client.emit("chat", 1, 2)
    until(lambda: seen)
    assert seen == [()]


def relayed(change: Callable[[dict[str, Any]], Any], **options: Any) -> tuple[Server, Any]:
    """A server whose sender's relay a middleware changes, and what arrived of it."""
    server = Server(**options)
    a, b = WebSocket(server).join(), WebSocket(server).join()
    until(lambda: a.member.ready and b.member.ready)

    def use(name: str, args: list[Any]) -> None:
        changed = change(args[0])
        if changed is not None:
            args[0] = changed

    server.sockets[a.sid].use(use)
    packet = f'2["#rtcio:message",{{ "source":"{a.sid}", "target":"{b.sid}","data":1.0}}]'
    a.send(packet)
    until(
        lambda: (
            a.member.waiting == 0
            and a.link.inbox is None
            and (server.stats()["relayed"] or server.stats()["dropped"])
        )
    )
    return server, [each.replace(a.sid, "A").replace(b.sid, "B") for each in b.packets()]


def test_a_relay_that_no_middleware_changes_keeps_its_characters() -> None:
    _, arrived = relayed(lambda envelope: None)
    assert arrived == ['2["#rtcio:message",{ "source":"A", "target":"B","data":1.0}]']


@pytest.mark.parametrize("way", ["in place", "replaced"])
def test_a_relay_that_a_middleware_changes_is_sent_on_as_changed(way: str) -> None:
    def change(envelope: dict[str, Any]) -> Any:
        if way == "replaced":
            return {**envelope, "data": {"filtered": b"\x01"}}
        envelope["data"] = {"filtered": b"\x01"}
        return None

    _, arrived = relayed(change)
    assert arrived == [
        '51-["#rtcio:message",{"source":"A","target":"B",'
        '"data":{"filtered":{"_placeholder":true,"num":0}}}]',
        "bAQ==",
    ]


@pytest.mark.parametrize("field", ["source", "target"])
def test_a_changed_relay_has_to_keep_the_rules(field: str) -> None:
    server, arrived = relayed(lambda envelope: {**envelope, field: "somebody"})
    assert arrived == []
    assert sum(server.stats()["dropped"].values()) == 1


def test_relays_in_one_go_are_changed_each() -> None:
    server = Server()
    a, b = WebSocket(server).join(), WebSocket(server).join()
    until(lambda: a.member.ready)
    server.sockets[a.sid].use(lambda name, args: args[0].update(data="changed"))
    envelope = {"source": a.sid, "target": b.sid, "data": 1}
    a.send(*[event("#rtcio:message", envelope)] * 5)
    until(lambda: server.stats()["relayed"] == 5)
    settle()
    assert [each["data"] for each in b.heard("#rtcio:message")] == ["changed"] * 5
