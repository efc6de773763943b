"""A Flask app with a signaling server and handlers in it, as the tests want them.

The environment says which library serves it (`RTCIO_TEST_LIBRARY`: ``ours``, or ``plain`` for
python-socketio as it is), with which options (`RTCIO_TEST_OPTIONS`, JSON) and whether over Redis
(`RTCIO_TEST_REDIS`, a URL). It patches nothing: that is up to whatever starts it.
"""

from __future__ import annotations

import builtins
import json
import logging
import os
import random
import sys
from typing import Any

import flask
import socketio
from pages import add_pages

# Everything that anybody logs, so that the tests see it in the server's log.
logging.basicConfig(
    level=logging.DEBUG, stream=sys.stderr, format="LOG %(levelname)s %(name)s %(message)s"
)

if os.environ.get("RTCIO_TEST_WITHOUT_GEVENT_WEBSOCKET"):
    # As if it were not installed: python-engineio then takes simple-websocket.
    sys.modules["geventwebsocket"] = None  # type: ignore[assignment]

LIBRARY = os.environ.get("RTCIO_TEST_LIBRARY", "ours")

app = flask.Flask(__name__)
app.secret_key = "of the tests"


def new_server() -> Any:
    options = json.loads(os.environ.get("RTCIO_TEST_OPTIONS", "{}"))
    options.setdefault("cors_allowed_origins", "*")
    redis = os.environ.get("RTCIO_TEST_REDIS")
    if redis:
        options["client_manager"] = socketio.RedisManager(redis)
    if LIBRARY == "plain":
        server = socketio.Server(**options)
        app.wsgi_app = socketio.WSGIApp(server, app.wsgi_app)  # type: ignore[method-assign]
        return server
    from rtcio_sync import Limits, Server

    if options.get("limits"):
        options["limits"] = Limits(**options["limits"])
    return Server(app=app, **options)


server = new_server()
released = add_pages(app, server)
heard: list[Any] = []


@app.get("/login/<name>")
def login(name: str) -> str:
    flask.session["user"] = name
    return "ok"


@app.get("/heard")
def show_heard() -> Any:
    """What the handlers below noted down."""
    return flask.jsonify(heard)


@app.get("/rooms")
def rooms() -> Any:
    """The sockets in each room of each namespace, as python-socketio's manager holds them."""
    found = {
        f"{namespace} {room}": sorted(members)
        for namespace, of_namespace in list(server.manager.rooms.items())
        for room, members in list(of_namespace.items())
    }
    return flask.jsonify(found)


@app.get("/connections")
def connections() -> Any:
    """The Engine.IO connections that python-socketio knows."""
    return flask.jsonify(list(server.environ))


@server.on("connect")
def connect(sid: str, environ: dict[str, Any], auth: Any = None) -> None:
    wishes = auth if isinstance(auth, dict) else {}
    for room in wishes.get("rooms", []):
        server.enter_room(sid, room)
    if wishes.get("slow"):
        heard.append(["connecting", wishes["slow"]])
        released.wait(60)
        heard.append(["connected", wishes["slow"]])
    if "type-error" in environ["QUERY_STRING"]:
        heard.append(["connect"])
        raise TypeError("the app's own")
    if wishes.get("refuse"):
        raise socketio.exceptions.ConnectionRefusedError("not you", {"why": "said so"})


@server.on("disconnect")
def disconnect(sid: str, reason: Any = None) -> None:
    heard.append(["disconnect", sid, reason])
    for room in server.rooms(sid):
        if room != sid:
            server.emit("gone", {"id": sid}, to=room, skip_sid=sid)
    if error := os.environ.get("RTCIO_TEST_DISCONNECT_RAISES"):
        raise getattr(builtins, error)("the app's own disconnect handler raises")


@server.on("join-room")
def join_room(sid: str, data: dict[str, Any]) -> None:
    server.enter_room(sid, data["roomId"])
    server.emit("join-ok", {"roomId": data["roomId"]}, to=sid)


@server.on("leave-room")
def leave_room(sid: str, data: dict[str, Any]) -> bool:
    server.leave_room(sid, data["roomId"])
    return True


@server.on("kick")
def kick(sid: str, other: str) -> None:
    server.disconnect(other)


@server.on("kick-out")
def kick_out(sid: str, word: str) -> None:
    socket = server.sockets[sid]
    socket.emit("word", word)
    socket.disconnect(True)


@server.on("say")
def say(sid: str, room: str, words: Any) -> None:
    server.emit("said", words, to=room, skip_sid=sid)


@server.on("echo")
def echo(sid: str, *args: Any) -> Any:
    return args


@server.on("note")
def note(sid: str, *args: Any) -> None:
    heard.append(["note", *args])


@server.on("block")
def block(sid: str) -> str:
    """Block until `/release`; a test that never gets there sees another answer."""
    return "unblocked" if released.wait(60) else "never released"


@server.on("ask-back")
def ask_back(sid: str, question: Any) -> Any:
    return server.call("question", question, to=sid, timeout=20)


@server.on("flood")
def flood(sid: str, count: int, size: int) -> None:
    # Random, as some transports compress.
    text = random.Random(0).randbytes(size // 2).hex()
    for number in range(count):
        server.emit("drop", [number, text], to=sid)
    heard.append(["flooded", sid])


@server.on("whoami")
def whoami(sid: str) -> Any:
    return flask.session.get("user")


@server.on("set-user")
def set_user(sid: str, name: str) -> bool:
    flask.session["user"] = name
    return True


@server.on("raise")
def raise_error(sid: str) -> None:
    raise ValueError("raised on request")


@server.on("echo", namespace="/calls")
def echo_in_calls(sid: str, *args: Any) -> Any:
    return ("calls", *args)


@server.on("join-room", namespace="/calls")
def join_room_in_calls(sid: str, data: dict[str, Any]) -> bool:
    server.enter_room(sid, data["roomId"], namespace="/calls")
    return True


if namespace := os.environ.get("RTCIO_TEST_LISTENERS"):
    from rtcio_sync import add_default_listeners

    add_default_listeners(server, namespace=namespace)
