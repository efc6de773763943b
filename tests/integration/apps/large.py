"""The app of `test_slow_readers.py`: it sends as much as a client asks for."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import threading
from contextlib import suppress
from typing import Any

import flask
import gevent
import socketio
from pages import add_pages

from rtcio_sync import Limits, Server

logging.basicConfig(
    level=logging.INFO, stream=sys.stderr, format="LOG %(levelname)s %(name)s %(message)s"
)

options = json.loads(os.environ.get("RTCIO_TEST_OPTIONS", "{}"))
if options.get("limits"):
    options["limits"] = Limits(**options["limits"])

if os.environ.get("RTCIO_TEST_REDIS"):
    options["client_manager"] = socketio.RedisManager(os.environ["RTCIO_TEST_REDIS"])

app = flask.Flask(__name__)
server = Server(app=app, **options)
add_pages(app, server)


@app.get("/census")
def census() -> Any:
    """What this process has."""
    living = sum(isinstance(each, gevent.Greenlet) and not each.dead for each in gc.get_objects())
    sockets = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            sockets += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
    return flask.jsonify(
        pid=os.getpid(), sockets=sockets, greenlets=living + threading.active_count()
    )


def text(number: int, size: int) -> str:
    """A message's text, which says which one it is."""
    return f"{number:08}" + "x" * (size - 8)


#: The bytes that waited for all clients after each "give".
waited: list[int] = []


@app.get("/waited")
def what_waited() -> Any:
    return flask.jsonify(waited)


@server.on("give")
def give(sid: str, size: int, count: int = 1) -> None:
    for number in range(count):
        server.emit("given", text(number, size), to=sid)
    server.sleep(0.1)  # what was sent is counted at the end of its turn
    waited.append(server.stats()["send_buffer_bytes"])


@server.on("join")
def join(sid: str, room: str) -> bool:
    server.enter_room(sid, room)
    return True


@server.on("share")
def share(sid: str, room: str, size: int, count: int = 1) -> None:
    for number in range(count):
        server.emit("given", text(number, size), to=room, skip_sid=sid)


@server.on("echo")
def echo(sid: str, *args: Any) -> Any:
    return args
