"""An app whose views call the server from threads that are not the hub's.

``/do/<kind>/<call>/<sid>`` makes one call in a thread of one kind (`tests.foreign_threads`) and
answers with what came of it.
"""

from __future__ import annotations

import json
import os
from typing import Any

import flask
import socketio
from pages import add_pages

from rtcio_sync import Lobby, Server
from tests.foreign_threads import KINDS

app = flask.Flask(__name__)
options = json.loads(os.environ.get("RTCIO_TEST_OPTIONS", "{}"))
if redis := os.environ.get("RTCIO_TEST_REDIS"):
    options["client_manager"] = socketio.RedisManager(redis)
server = Server(app=app, cors_allowed_origins="*", **options)
lobby = Lobby(server)
add_pages(app, server)
left: list[str] = []


@server.on("disconnect")
def on_disconnect(sid: str) -> None:
    left.append(sid)


@app.get("/left")
def show_left() -> Any:
    return flask.jsonify(left)


def socket_of(sid: str) -> Any:
    return server.sockets[sid]


def remember(sid: str) -> Any:
    server.save_session(sid, {"name": "Ada"})
    return server.get_session(sid)


def numbers(sid: str) -> int:
    for number in range(3000):
        server.emit("number", number, to=sid)
    return 3000


def mixed(sid: str) -> int:
    """Both idioms in turns: their order is that of the calls."""
    for number in range(0, 300, 3):
        server.emit("number", number, to=sid)
        socket_of(sid).emit("number", number + 1)
        server.to(sid).emit("number", number + 2)
    return 300


def misuse(sid: str) -> str:
    try:
        server.emit("unsendable", object(), to=sid)
    except TypeError as error:
        return type(error).__name__
    return "nothing was raised"


CALLS: dict[str, Any] = {
    "emit": lambda sid: server.emit("hello", "emit", to=sid),
    "send": lambda sid: server.send("send", to=sid),
    "call": lambda sid: server.call("question", "why", to=sid, timeout=20),
    "socket-emit": lambda sid: socket_of(sid).emit("hello", "socket-emit"),
    "socket-send": lambda sid: socket_of(sid).send("socket-send"),
    "socket-call": lambda sid: socket_of(sid).call("question", "why", timeout=20),
    "room-emit": lambda sid: server.to("kitchen").emit("hello", "room-emit"),
    "namespace-emit": lambda sid: server.of("/").emit("hello", "namespace-emit"),
    "disconnect": server.disconnect,
    "socket-disconnect": lambda sid: socket_of(sid).disconnect(),
    "socket-close": lambda sid: socket_of(sid).disconnect(close=True),
    "disconnect-sockets": lambda sid: server.to(sid).disconnect_sockets(),
    "engine-disconnect": lambda sid: server.eio.disconnect(socket_of(sid)._member.eio_sid),
    "enter-room": lambda sid: (server.enter_room(sid, "kitchen"), sorted(server.rooms(sid))),
    "join": lambda sid: (socket_of(sid).join("kitchen"), sorted(socket_of(sid).rooms)),
    "sockets-join": lambda sid: (server.sockets_join("kitchen"), sorted(server.rooms(sid))),
    "leave-room": lambda sid: (server.leave_room(sid, "cellar"), sorted(server.rooms(sid))),
    "leave": lambda sid: (socket_of(sid).leave("cellar"), sorted(socket_of(sid).rooms)),
    "sockets-leave": lambda sid: (server.sockets_leave("cellar"), sorted(server.rooms(sid))),
    "close-room": lambda sid: (server.close_room("cellar"), sorted(server.rooms(sid))),
    "fetch-sockets": lambda sid: [each.id for each in server.fetch_sockets()],
    "namespace-rooms": lambda sid: sorted(server.of("/").rooms),
    "session": remember,
    "stats": lambda sid: server.stats()["connected"],
    "lobby-remove": lambda sid: lobby.remove(sid, "tea"),
    "lobby-peers": lambda sid: lobby.peers("tea"),
    # A greenlet is false once it has ended.
    "background": lambda sid: (
        server.start_background_task(lambda: (server.sleep(0.01), server.emit("hello", "task")))
        is not None
    ),
    "numbers": numbers,
    "mixed": mixed,
    "misuse": misuse,
    "unknown-sid": lambda sid: server.get_session("nobody"),
    "stop": lambda sid: server.stop(),
}


@app.get("/do/<kind>/<call>/<sid>")
def do(kind: str, call: str, sid: str) -> Any:
    try:
        return flask.jsonify({"result": KINDS[kind](CALLS[call], sid)})
    except Exception as error:  # noqa: BLE001 - whatever it raised, the test wants to see it
        return flask.jsonify({"error": type(error).__name__, "says": str(error)})


@server.on("prepare")
def prepare(sid: str) -> bool:
    server.enter_room(sid, "cellar")
    return True
