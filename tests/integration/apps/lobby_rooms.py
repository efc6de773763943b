"""A Flask app with a lobby: what two peers need to find each other."""

from __future__ import annotations

import json
import logging
import os
import sys

import flask

from rtcio_sync import Lobby, Server

logging.basicConfig(
    level=logging.DEBUG, stream=sys.stderr, format="LOG %(levelname)s %(name)s %(message)s"
)

app = flask.Flask(__name__)
server = Server(app=app, **json.loads(os.environ.get("RTCIO_TEST_OPTIONS", "{}")))
lobby = Lobby(server)


@app.get("/health")
def health() -> str:
    return "ok"
