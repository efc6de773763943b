"""A lobby of several workers."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import flask
import gevent
from gevent import get_hub
from gevent.event import AsyncResult, Event
from pages import add_pages

from rtcio_sync import Limits, Lobby, Server
from rtcio_sync.lobby.rooms import LobbyRoom

logging.basicConfig(
    level=logging.DEBUG, stream=sys.stderr, format="LOG %(levelname)s %(name)s %(message)s"
)

if "RTCIO_TEST_SLOW_STEPS" in os.environ:
    depart = LobbyRoom.depart

    def depart_slowly(room: LobbyRoom, *args: Any) -> None:
        gevent.sleep(float(os.environ["RTCIO_TEST_SLOW_STEPS"]))
        depart(room, *args)

    LobbyRoom.depart = depart_slowly

app = flask.Flask(__name__)
options = json.loads(os.environ.get("RTCIO_TEST_OPTIONS", "{}"))
limits = Limits(events_per_second=None, max_rooms_per_socket=2)
server = Server(app=app, cors_allowed_origins="*", limits=limits, **options)
judged = Event()


def authorize(socket: Any, room: str, name: str | None, password: str | None) -> bool:
    if name != "judge me":
        return True
    socket.emit("judging")
    return bool(judged.wait(60))


lobby = Lobby(server, max_peers=8, authorize=authorize)
add_pages(app, server)


@app.get("/all-stats")
def all_stats() -> Any:
    return flask.jsonify(server.stats(cluster=True))


@server.on("connection")
def on_connection(socket: Any) -> None:
    socket.on("pid")(os.getpid)
    socket.on("keeper")(lambda: lobby._keeper._node or server.exchange.bus.node)
    socket.on("deputy")(lambda: lobby._keeper._deputy.node)
    socket.on("peers")(lobby.peers)
    socket.on("lobby-stats")(lobby.stats)
    socket.on("remove")(lobby.remove)
    socket.on("judge")(judged.set)
    socket.on("rooms")(lambda: list(socket.rooms))
    socket.on("in-hub")(in_hub)
    socket.on("take-out")(lambda sid, room: server.leave_room(sid, room))


CALLS: dict[str, Any] = {
    "peers": lobby.peers,
    "remove": lobby.remove,
    "lobby-stats": lobby.stats,
    "stats": lambda: bool(server.stats(cluster=True)),
    "fetch": lambda: bool(server.fetch_sockets()),
    "fetch-namespace": lambda: bool(server.of("/").fetch_sockets()),
    "fetch-room": lambda: bool(server.to("tea").fetch_sockets()),
    "call": lambda sid: server.call("question", to=sid),
    "side-call": lambda: server.server_side_call("question"),
}


def in_hub(name: str, *args: Any) -> Any:
    """What a call raises, or returns, in the hub."""
    result = AsyncResult()

    def run() -> None:
        try:
            result.set(["answer", CALLS[name](*args)])
        except Exception as error:  # noqa: BLE001  (the test wants its name)
            result.set([type(error).__name__, str(error)])

    get_hub().loop.run_callback(run)
    return result.get(timeout=20)


@app.get("/pid")
def show_pid() -> Any:
    return flask.jsonify(os.getpid())
