"""An app with sessions that are in the middle of something when their worker leaves."""

from __future__ import annotations

import json
import os
from typing import Any

import flask
import gevent
from pages import add_pages

from rtcio_sync import Limits, Server

app = flask.Flask(__name__)
app.secret_key = "a key"
options = json.loads(os.environ.get("RTCIO_TEST_OPTIONS", "{}"))
server = Server(app=app, limits=Limits(events_per_second=None), **options)
add_pages(app, server)


@app.get("/pid")
def pid() -> Any:
    return flask.jsonify(os.getpid())


def connection(socket: Any) -> None:
    socket.emit("greeted", os.getpid(), socket.moved, socket.recovered)

    @socket.on("slow")
    def slow(seconds: float) -> int:
        gevent.sleep(seconds)
        return os.getpid()

    @socket.on("flood")
    def flood(count: int, size: int) -> None:
        for number in range(count):
            socket.emit("flooded", number, "x" * size)

    @socket.on("ask")
    def ask() -> Any:
        return socket.call("question", timeout=60)

    @socket.on("count")
    def count() -> list[int]:
        socket.data["count"] = socket.data.get("count", 0) + 1
        flask.session["count"] = flask.session.get("count", 0) + 1
        return [socket.data["count"], flask.session["count"]]

    @socket.on("echo")
    def echo(*args: Any) -> Any:
        return args

    @socket.on("keep")
    def keep(value: Any) -> str:
        # A value that no other process can get.
        socket.data["kept"] = object() if value is None else value
        return "kept"


server.of("/").on("connection")(connection)
server.of("/two").on("connection")(connection)
