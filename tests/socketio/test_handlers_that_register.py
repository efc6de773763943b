"""A handler that registers handlers while it runs: they are for the next time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rtcio_sync import Server, Socket
from rtcio_sync.cluster import messages
from rtcio_sync.cluster.shared_rooms import body_of
from rtcio_sync.parser.packet import TextPacket
from rtcio_sync.socketio.socket_handlers import SocketHandlers
from tests.clients import Polling
from tests.interrupting import signal_handler
from tests.timing import settle, until
from tests.wsgi import environ_of, request

MANY = 50
"""So often a handler registers itself: a server that goes on for ever fails, and does not hang."""

Register = Callable[[Any], Any]


def in_socket(register: Callable[[Socket, Any], Any]) -> Callable[[Server, Any], Any]:
    def on_server(server: Server, fn: Any) -> Any:
        for socket in server.sockets.values():
            register(socket, fn)
        if not server.sockets:
            server.on("connection", lambda socket: register(socket, fn))

    return on_server


def server_side(server: Server, client: Polling) -> None:
    body, attachments = body_of(TextPacket, [])
    server.server_side.answer(messages.encoded(messages.Event("/", "ask", body, attachments)))


def refused(server: Server, client: Polling) -> None:
    assert request(server.handle_request, environ_of("GET", {"EIO": "2"}))[0] == 400


def opens(server: Server, client: Polling) -> None:
    Polling(server)


def joins(server: Server, client: Polling) -> None:
    client.join()


def asks(server: Server, client: Polling) -> None:
    client.join().emit("ask")


def leaves(server: Server, client: Polling) -> None:
    server.disconnect(client.join().sid)


def closes(server: Server, client: Polling) -> None:
    client.join()
    server.sockets[client.sid].conn.close()


#: How each kind is registered, and what makes it run.
KINDS: dict[str, tuple[Callable[[Server, Any], Any], Callable[[Server, Polling], Any]]] = {
    "connection": (lambda server, fn: server.on("connection", fn), joins),
    "use": (lambda server, fn: server.use(fn), joins),
    "new namespace": (lambda server, fn: server.on_new_namespace(fn), lambda it, _: it.of("/new")),
    "error": (lambda server, fn: server.on_error(fn), asks),
    "headers": (
        lambda server, fn: server.engine.on("initial_headers", fn),
        lambda it, _: Polling(it),
    ),
    "refused": (lambda server, fn: server.engine.on("connection_error", fn), refused),
    "server side": (lambda server, fn: server.on_server_side("ask", fn), server_side),
    "event": (in_socket(lambda socket, fn: socket.on("ask", fn)), asks),
    "any": (in_socket(lambda socket, fn: socket.on_any(fn)), asks),
    "outgoing": (in_socket(lambda socket, fn: socket.on_any_outgoing(fn)), asks),
    "socket.use": (in_socket(lambda socket, fn: socket.use(fn)), asks),
    "disconnect": (in_socket(lambda socket, fn: socket.on("disconnect", fn)), leaves),
    "close": (in_socket(lambda socket, fn: socket.conn.on("close", fn)), closes),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_that_registers_itself_runs_once(kind: str) -> None:
    server = Server()
    client = Polling(server)
    register, provoke = KINDS[kind]
    ran: list[Any] = []

    def handler(*args: Any) -> None:
        ran.append(args)
        if len(ran) < MANY:
            register(server, handler)

    @server.on("ask")
    def ask(sid: str) -> None:
        server.emit("news")
        assert kind != "error"

    register(server, handler)
    provoke(server, client)
    until(lambda: ran)
    settle()
    assert len(ran) == 1


@pytest.mark.parametrize("change", ["add", "remove", "take"])
def test_a_signal_handler_may_register_one_while_handlers_change(
    monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    server = Server()
    client = Polling(server).join()
    socket = server.sockets[client.sid]
    original = getattr(SocketHandlers, change)

    def begun(self: Any, *args: Any, **options: Any) -> Any:
        interrupt()
        return original(self, *args, **options)

    monkeypatch.setattr(SocketHandlers, change, begun)
    with signal_handler(lambda: socket.on_any(print)) as interrupt:
        socket.on("error", print)
        member = server.manager.member(client.sid, "/")
        assert member is not None
        server.handling._tell_of_refusal(member, socket, "x", OSError())
        socket.off("error", print)
    assert socket.listeners_any() == [print]
    assert socket.listeners("error") == []
