"""A lobby of several workers."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import flask
from pages import add_pages

from rtcio_sync import Limits, Lobby, Server

logging.basicConfig(
    level=logging.DEBUG, stream=sys.stderr, format="LOG %(levelname)s %(name)s %(message)s"
)

app = flask.Flask(__name__)
options = json.loads(os.environ.get("RTCIO_TEST_OPTIONS", "{}"))
limits = Limits(events_per_second=None, max_rooms_per_socket=2)
server = Server(app=app, cors_allowed_origins="*", limits=limits, **options)
lobby = Lobby(server, max_peers=8)
add_pages(app, server)


@server.on("connection")
def on_connection(socket: Any) -> None:
    socket.on("pid")(os.getpid)
    socket.on("keeper")(lambda: server.exchange.bus.eldest)
    socket.on("peers")(lobby.peers)
    socket.on("lobby-stats")(lobby.stats)
    socket.on("remove")(lobby.remove)
    socket.on("take-out")(lambda sid, room: server.leave_room(sid, room))


@app.get("/pid")
def show_pid() -> Any:
    return flask.jsonify(os.getpid())
