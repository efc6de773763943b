"""The app of `test_logs_process.py`: every record of the process, whole, a line of JSON each.

`RTCIO_TEST_OPTIONS` (JSON) holds the options of its ``Server``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import flask

from rtcio_sync import Limits, Lobby, Server, Socket


class Whole(logging.Formatter):
    """All that a record holds, since any of it may get into somebody's log."""

    def format(self, record: logging.LogRecord) -> str:
        held = {name: str(value) for name, value in vars(record).items()}
        text = self.formatException(record.exc_info) if record.exc_info else None
        return "RECORD " + json.dumps({**held, "message": record.getMessage(), "traceback": text})


handler = logging.StreamHandler(sys.stderr)
handler.setFormatter(Whole())
logging.basicConfig(level=logging.DEBUG, handlers=[handler])
for name in ("rtcio_sync.upstream.socketio", "rtcio_sync.upstream.engineio"):
    logging.getLogger(name).setLevel(logging.DEBUG)

options = json.loads(os.environ.get("RTCIO_TEST_OPTIONS", "{}"))
app = flask.Flask(__name__)
server = Server(
    app=app,
    logger=True,
    engineio_logger=True,
    connection_state_recovery=True,
    trusted_proxies=1,
    limits=Limits(max_rooms_per_socket=2),
    **options,
)
Lobby(server)


@app.get("/health")
def health() -> str:
    return "ok"


@server.on("connection")
def connection(socket: Socket) -> None:
    @socket.use
    def refuse(event: str, args: list[Any]) -> None:
        if event.startswith("unwanted"):
            raise ValueError("not here")

    @socket.on("enter")
    def enter(room: str) -> str:
        socket.join(room)
        server.enter_room(socket.id, room)
        server.emit("entered", {"room": room}, to=[room, socket.id])
        server.emit("hello", {"room": room}, to=socket.id)
        server.leave_room(socket.id, room)
        return "done"


@server.on("*")
def anything(event: str, sid: str, *args: Any) -> str:
    if event.startswith("fail"):
        raise ValueError("the app's own words")
    return "done"


@server.of("/refusing").use
def nobody(socket: Socket) -> None:
    raise ConnectionRefusedError("MARK: what only this client may read")
