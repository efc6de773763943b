"""An app that uses the API as it is meant: a type checker finds nothing."""

from __future__ import annotations

import re
from typing import Any

import flask

from rtcio_sync import (
    Answers,
    ConnectionRefusedError,
    EngineError,
    Event,
    Limits,
    Lobby,
    Namespace,
    ParentNamespace,
    RemoteSocket,
    Server,
    ServerOptions,
    Socket,
    UnansweredError,
    throttle,
)

app = flask.Flask(__name__)
options: ServerOptions = {"ping_interval": 25, "cors_allowed_origins": ["https://example.com"]}
server = Server(app=app, limits=Limits(events_per_second=None), ping_interval=(25, 5))
chosen = Server(**options)
other = Server(app, transports="websocket", cluster="redis://localhost")
untyped: dict[str, Any] = {"ping_timeout": 5}
third = Server(**untyped)


@server.use
def check(socket: Socket) -> None:
    if "token" not in socket.handshake.auth:
        raise ConnectionRefusedError("no token")


@server.on("connection")
def on_connection(socket: Socket) -> None:
    @socket.on("join")
    def join(room: str) -> dict[str, int]:
        socket.join(room)
        socket.to(room).emit("joined", {"id": socket.id})
        return {"rooms": len(socket.rooms)}

    @socket.use
    def drop(event: str, args: list[Any]) -> None:
        seen: Event = (event, args)
        print(seen)

    socket.use(throttle(10))
    socket.on("chat", lambda text: socket.broadcast.emit("chat", text))

    @socket.on_any_outgoing
    def sent(event: str, *args: object) -> None: ...

    @socket.conn.on("upgrade")
    def upgraded() -> None: ...

    @socket.session_end
    def gone() -> None: ...

    answer = socket.timeout(5).call("ready?")
    print(answer, socket.nsp.name, socket.conn.transport.name, socket.request.headers)


@server.on("old idiom")
def old(sid: str, data: dict[str, Any]) -> str:
    server.enter_room(sid, data["room"])
    return "ok"


@server.on("disconnect")
def left(sid: str, reason: str) -> None: ...


@server.on_error
def failed(error: Exception, event: str, socket: Socket | None) -> dict[str, str]:
    return {"error": event}


@server.on_error
def counted(error: Exception) -> None: ...


@server.engine.on("connection_error")
def refused(error: EngineError) -> None:
    print(error.code, error.message)


rooms: ParentNamespace = server.of(re.compile("^/room-"))
calls: Namespace = server.of("/calls")
rooms.emit("news")


@calls.on("connection")
def on_call(socket: Socket) -> None: ...


def ask(room: str) -> list[Any]:
    try:
        answers: Answers = server.to(room).timeout(5).call("vote")
        return answers
    except UnansweredError as error:
        return [*error.answers, *error.silent]


def everybody() -> list[str]:
    found: list[Socket | RemoteSocket] = server.sockets.in_("tea").fetch_sockets()
    return [each.id for each in found]


lobby = Lobby(server, max_peers=8)
