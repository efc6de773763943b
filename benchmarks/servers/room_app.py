"""The handlers of the measured application, the same under every Python server.

``join`` enters a room and is acknowledged; ``say`` goes to the others in the room; ``where`` is
answered with the id of the process.
"""

import os

import socketio


def add_handlers(server: socketio.Server) -> None:
    @server.on("join")
    def join(sid: str, room: str) -> None:
        server.enter_room(sid, room)

    @server.on("say")
    def say(sid: str, room: str, payload: object) -> None:
        server.emit("say", payload, to=room, skip_sid=sid)

    @server.on("where")
    def where(sid: str) -> int:
        return os.getpid()
