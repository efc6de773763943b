"""The app of `test_gunicorn_http.py`: it tells the environs of requests to its Socket.IO path."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

import flask
from pages import add_pages

from rtcio_sync import Server

logging.basicConfig(
    level=logging.INFO, stream=sys.stderr, format="LOG %(levelname)s %(name)s %(message)s"
)

app = flask.Flask(__name__)
server = Server(app=app, **json.loads(os.environ.get("RTCIO_TEST_OPTIONS", "{}")))
add_pages(app, server)

seen: list[dict[str, str]] = []
inner = app.wsgi_app


def recorder(environ: dict[str, Any], start_response: Any) -> Any:
    if environ["PATH_INFO"].startswith("/socket.io"):
        seen.append({key: f"{type(each).__name__} {each}" for key, each in environ.items()})
    if "raise" in environ["QUERY_STRING"]:
        raise RuntimeError("of the app's")
    if environ["QUERY_STRING"].endswith("&wait"):
        time.sleep(4)  # longer than a worker takes that has nothing to do
    return inner(environ, start_response)


app.wsgi_app = recorder  # type: ignore[method-assign]


@app.get("/environs")
def environs() -> Any:
    return flask.jsonify(seen)


@app.get("/wait")
def wait() -> str:
    time.sleep(0.1)
    return "waited"
