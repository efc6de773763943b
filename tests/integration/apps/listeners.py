"""`add_default_listeners` on servers that are not ours: python-socketio's, and Flask-SocketIO's.

`RTCIO_TEST_HOST` says whose (``plain``, ``flask-socketio``), `RTCIO_TEST_HOOK` when the listeners
are added: ``first``, or ``last``, after the app's own handlers.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import flask
import flask_socketio
import socketio

from rtcio_sync import add_default_listeners

logging.basicConfig(
    level=logging.DEBUG, stream=sys.stderr, format="LOG %(levelname)s %(name)s %(message)s"
)

app = flask.Flask(__name__)
app.secret_key = "of the tests"
options = json.loads(os.environ["RTCIO_TEST_OPTIONS"])
heard: list[Any] = []


@app.get("/health")
def health() -> str:
    return "ok"


@app.get("/heard")
def show_heard() -> Any:
    return flask.jsonify(heard)


def on_plain(hook: str) -> None:
    server = socketio.Server(**options)
    app.wsgi_app = socketio.WSGIApp(server, app.wsgi_app)  # type: ignore[method-assign]
    if hook == "first":
        add_default_listeners(server)

    @server.on("join-room")
    def join_room(sid: str, data: dict[str, Any]) -> bool:
        server.enter_room(sid, data["roomId"])
        return True

    @server.on("disconnect")
    def disconnect(sid: str, reason: str) -> None:
        heard.append(["disconnect", sid, server.rooms(sid)])

    if hook == "last":
        add_default_listeners(server)


def on_flask_socketio(hook: str) -> None:
    sio = flask_socketio.SocketIO(app, **options)
    if hook == "first":
        add_default_listeners(sio.server)

    @sio.on("join-room")
    def join_room(data: dict[str, Any]) -> bool:
        flask_socketio.join_room(data["roomId"])
        return True

    @sio.on("disconnect")
    def disconnect(reason: str) -> None:
        heard.append(["disconnect", flask.request.sid, flask_socketio.rooms()])  # type: ignore[attr-defined]

    if hook == "last":
        add_default_listeners(sio.server)


{"plain": on_plain, "flask-socketio": on_flask_socketio}[os.environ["RTCIO_TEST_HOST"]](
    os.environ["RTCIO_TEST_HOOK"]
)
