"""An app with mistakes: a type checker finds one in each line that says so, and no other."""

from __future__ import annotations

from typing import Any

from rtcio_sync import Server, Socket

server = Server(ping_intervall=25)  # wrong: misspelt
Server(ping_interval="25 s")  # wrong: no number
Server(relay_scope="rooms")  # wrong: no such scope
Server(transports=["webtransport"])  # wrong: no such transport
Server(connection_state_recovery={"duration": 5})  # wrong: no such key


@server.on("connection")  # wrong: a sid is no socket
def a_sid(sid: str) -> None: ...


@server.on("connection")  # wrong: two are too many
def too_many(socket: Socket, data: Any, more: Any) -> None: ...


@server.on("connection")  # wrong: nothing awaits it
async def awaited(socket: Socket) -> None: ...


@server.use  # wrong: it gets a socket
def middleware(environ: dict[str, Any]) -> None: ...


@server.on("chat")  # wrong: nothing awaits it
async def chat(sid: str, data: Any) -> None: ...


@server.on("number")  # wrong: this cannot be sent
def number(sid: str) -> complex:
    return 1j


@server.on_error  # wrong: it gets an exception
def failed(event: str) -> None: ...


@server.on("connection")
def on_connection(socket: Socket) -> None:
    @socket.use  # wrong: it gets an event and a list
    def use(args: list[Any], event: str) -> None: ...

    socket.on("chat", 7)  # wrong: no handler
    socket.timeout("5")  # wrong: no number
    socket.emit(7)  # wrong: no name
    server.of("/calls").on("connection", 7)  # wrong: no handler
