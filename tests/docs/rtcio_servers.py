"""The two servers of rtc.io's documentation that its pages build on, and what clients do there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rtcio_sync import RtcioEvents, Server, Socket, TestClient
from tests.wsgi import WEBSOCKET, environ_of, request

ROOM = "stand-up"
EXAMPLE = Path(__file__).parents[2] / "examples" / "port_of_the_node_example.py"


def join(client: TestClient, name: str, room: str = ROOM) -> None:
    client.emit("join-room", {"roomId": room, "name": name})


def two_in_a_room(server: Server) -> tuple[TestClient, TestClient]:
    """A is there, B comes."""
    a, b = server.test_client(), server.test_client()
    join(a, "alice")
    join(b, "bob")
    return a, b


def envelope(source: TestClient, target: TestClient, data: Any) -> dict[str, Any]:
    return {"source": source.sid, "target": target.sid, "data": data}


def complete(server: Server) -> None:
    """The complete example: rooms, presence, the start of the handshake."""

    @server.on("connection")
    def on_connection(socket: Socket) -> None:
        @socket.on("join-room")
        def join_room(data: Any) -> None:
            room, name = data["roomId"], data["name"]
            socket.data["name"] = name
            socket.join(room)
            socket.to(room).emit("user-connected", {"id": socket.id, "name": name})
            socket.to(room).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})

        @socket.on("disconnecting")
        def disconnecting() -> None:
            for room in socket.rooms - {socket.id}:
                socket.to(room).emit("user-disconnected", {"id": socket.id})


def quickstart(server: Server) -> dict[str, Any]:
    """The handlers of the example that ports the quickstart; its media states."""
    code = EXAMPLE.read_text()
    handlers = code[code.index("last_media_state = ") : code.index("if __name__")]
    names: dict[str, Any] = {"server": server, "RtcioEvents": RtcioEvents}
    exec(compile(handlers, EXAMPLE.name, "exec"), names)
    states: dict[str, Any] = names["last_media_state"]
    return states


def status(server: Any, origin: str | None, transport: str = "polling") -> int:
    extra = WEBSOCKET if transport == "websocket" else {}
    headers = {**extra, **({"Origin": origin} if origin else {})}
    environ = environ_of("GET", {"transport": transport}, headers=headers)
    application = server.handle_request if isinstance(server, Server) else server
    return request(application, environ)[0]
