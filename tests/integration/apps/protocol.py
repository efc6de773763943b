"""What the conformance suites of the two protocols talk to: two servers in one Flask app.

On ``/socket.io/`` a `Server` whose handlers echo: the connect payload as ``auth``, ``message`` as
``message-back``, ``message-with-ack`` as its acknowledgement. On ``/engine.io/`` an Engine.IO
server with no Socket.IO above it, that sends each message back.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import engineio
import flask

from rtcio_sync import Limits, Server
from rtcio_sync.engineio.server import Server as EngineServer

logging.basicConfig(
    level=logging.DEBUG, stream=sys.stderr, format="LOG %(levelname)s %(name)s %(message)s"
)

options = json.loads(os.environ.get("RTCIO_TEST_OPTIONS", "{}"))
limits = Limits(**options.pop("limits", {}))

app = flask.Flask(__name__)
server = Server(app=app, cors_allowed_origins="*", limits=limits, **options)
engine = EngineServer(cors_allowed_origins="*", **options)
app.wsgi_app = engineio.WSGIApp(engine, app.wsgi_app)  # type: ignore[method-assign]

#: What the Engine.IO server has told its app: ``[event, sid]``, or ``[event, sid, reason]``.
told: list[list[str]] = []


@app.get("/health")
def health() -> str:
    return "ok"


@app.get("/told")
def what_was_told() -> flask.Response:
    return flask.jsonify(told)


# -- Engine.IO -------------------------------------------------------------------------------------


@engine.on("connect")
def engine_connect(sid: str, environ: dict[str, Any]) -> None:
    told.append(["connect", sid])


@engine.on("message")
def engine_message(sid: str, data: str | bytes) -> None:
    if data == "close me":
        engine.disconnect(sid)
    else:
        engine.send(sid, data)


@engine.on("disconnect")
def engine_disconnect(sid: str, reason: str) -> None:
    told.append(["disconnect", sid, reason])


# -- Socket.IO -------------------------------------------------------------------------------------


def echo_in(namespace: str) -> None:
    @server.on("connect", namespace=namespace)
    def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
        server.emit("auth", auth or {}, to=sid, namespace=namespace)

    @server.on("message", namespace=namespace)
    def message(sid: str, *data: Any) -> None:
        server.emit("message-back", data, to=sid, namespace=namespace)

    @server.on("message-with-ack", namespace=namespace)
    def message_with_ack(sid: str, *data: Any) -> Any:
        return data

    @server.on("ask", namespace=namespace)
    def ask(sid: str, *data: Any) -> None:
        """Has the client asked for an acknowledgement, and sends it back."""
        server.emit(
            "question",
            data,
            to=sid,
            namespace=namespace,
            callback=lambda *answer: server.emit("answer", answer, to=sid, namespace=namespace),
        )

    @server.on("leave", namespace=namespace)
    def leave(sid: str) -> None:
        server.disconnect(sid, namespace=namespace)


echo_in("/")
echo_in("/custom")
