"""The app of `test_attacks.py` and of the fuzzer: handlers, some of them bad, and what it costs.

`RTCIO_TEST_OPTIONS` (JSON) holds the options of its ``Server``; with ``lobby`` among them it has a
lobby instead of a ``join-room`` of its own. `RTCIO_TEST_REDIS` (a URL) gives it a client manager. A
second server beside it speaks MessagePack, at ``/packed``.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import threading
from collections import defaultdict
from typing import Any

import flask
import gevent
import socketio
from pages import add_pages

from benchmarks.servers.misbehaving import add_misbehaving
from benchmarks.servers.room_app import add_handlers
from rtcio_sync import Limits, Lobby, Server

logging.basicConfig(
    level=logging.INFO, stream=sys.stderr, format="LOG %(levelname)s %(name)s %(message)s"
)

options = json.loads(os.environ.get("RTCIO_TEST_OPTIONS", "{}"))
if options.get("limits"):
    options["limits"] = Limits(**options["limits"])

has_lobby = options.pop("lobby", False)
if redis := os.environ.get("RTCIO_TEST_REDIS"):
    options["client_manager"] = socketio.RedisManager(redis)
app = flask.Flask(__name__)
server = Server(app=app, **{"cors_allowed_origins": "*", "namespaces": "*", **options})
packed = Server(cors_allowed_origins="*", serializer="msgpack")
app.wsgi_app = socketio.WSGIApp(  # type: ignore[method-assign]
    packed, app.wsgi_app, socketio_path="packed"
)
released = add_pages(app, server)
counted: defaultdict[str, list[int]] = defaultdict(list)


@app.get("/census")
def census() -> Any:
    """What this process has."""
    living = sum(isinstance(each, gevent.Greenlet) and not each.dead for each in gc.get_objects())
    return flask.jsonify(
        pid=os.getpid(),
        greenlets=living,
        threads=threading.active_count(),
        descriptors=len(os.listdir("/proc/self/fd")),
        packed=len(packed.eio.sockets),
        packed_dropped=sum(packed.stats()["dropped"].values()),
    )


@app.get("/counted/<key>")
def show_counted(key: str) -> Any:
    """The numbers that `count` was given under a key, in order."""
    return flask.jsonify(counted[key])


@server.on("join")
def join(sid: str, room: str) -> None:
    server.enter_room(sid, room)


@server.on("count")
def count(sid: str, key: str, number: int, ballast: Any = None) -> None:
    counted[key].append(number)


if has_lobby:
    lobby = Lobby(server)
else:

    @server.on("join-room")
    def join_room(sid: str, room: str) -> bool:
        server.enter_room(sid, room)
        return True


add_misbehaving(server)
add_handlers(packed)


@server.on("block")
def block(sid: str) -> None:
    released.wait(60)


@server.on("disconnect")
def disconnect(sid: str, reason: str | None = None) -> None:
    # python-socketio runs this one for a client's event of that name.
    counted[sid].append(-1)


@server.on("*")
def anything(event: str, sid: str, *args: Any) -> None:
    counted[f"any:{event}"].append(len(args))
