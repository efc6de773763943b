"""`calls`, with Socket.IO's own idiom beside it and ways to do things to clients that are away."""

from __future__ import annotations

import os
from typing import Any

import flask
from calls import app, heard, released, server

from rtcio_sync import ConnectionRefusedError

__all__ = ["app", "server"]

banned: set[str] = set()


def enter(socket: Any) -> None:
    heard.append(["connection", socket.id, socket.recovered, socket.data.get("name")])
    socket.data.setdefault("name", socket.handshake.auth.get("name"))
    socket.on("disconnect", lambda reason: heard.append(["lost", socket.id, reason]))
    socket.on_session_end(lambda: heard.append(["session end", socket.id]))

    @socket.on("slow-join")
    def slow_join(room: str) -> None:
        heard.append(["slow-join", socket.id])
        released.wait(60)
        socket.join(room)
        socket.emit("joined", room)


server.of("/").on("connection")(enter)
server.of("/calls").on("connection")(enter)


def bouncer(socket: Any) -> None:
    name = socket.handshake.auth.get("name")
    heard.append(["use", name])
    if name in banned:
        raise ConnectionRefusedError("banned", {"name": name})


if os.environ.get("RTCIO_TEST_BOUNCER"):
    server.use(bouncer)


@app.get("/ban/<name>")
def ban(name: str) -> str:
    banned.add(name)
    return "ok"


@app.get("/do/<what>")
def do(what: str) -> Any:
    """Something to the sockets in the room ``kitchen``, or to the sid in the query."""
    sid = flask.request.args.get("sid", "")
    return flask.jsonify(
        {
            "disconnect": lambda: server.disconnect(sid),
            "disconnect_sockets": lambda: server.in_("kitchen").disconnect_sockets(),
            "sockets_leave": lambda: server.in_("kitchen").sockets_leave("kitchen"),
            "close_room": lambda: server.close_room("kitchen"),
            "save_session": lambda: server.save_session(sid, {"user": sid}),
            "get_session": lambda: server.get_session(sid),
            "emit": lambda: server.emit("said", "to the kitchen", to="kitchen"),
        }[what]()
    )
