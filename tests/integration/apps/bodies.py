"""Pages that read their body, or do not, and answers that have none."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import flask

from rtcio_sync import Limits, Server

logging.basicConfig(
    level=logging.INFO, stream=sys.stderr, format="LOG %(levelname)s %(name)s %(message)s"
)

options = json.loads(os.environ.get("RTCIO_TEST_OPTIONS", "{}"))
if options.get("limits"):
    options["limits"] = Limits(**options["limits"])

app = flask.Flask(__name__)
app.logger.disabled = True  # a page here raises on request


def plain(status: str) -> Any:
    """An application that writes a body whatever it was asked."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response(status, [("Content-Type", "text/plain")])
        return iter([b"more", b"than", b"one"])

    return application


PLAIN = {
    "/plain": plain("200 OK"),
    "/plain-204": plain("204 No Content"),
    "/plain-304": plain("304 Not Modified"),
}
wsgi_app = app.wsgi_app


def mounted(environ: dict[str, Any], start_response: Any) -> Any:
    return PLAIN.get(environ["PATH_INFO"], wsgi_app)(environ, start_response)


app.wsgi_app = mounted  # type: ignore[method-assign]
server = Server(app=app, **options)


@app.get("/health")
def health() -> str:
    return "ok"


@app.post("/unread")
def unread() -> str:
    return "ok"


@app.post("/echo")
def echo() -> flask.Response:
    def pieces() -> Iterator[bytes]:
        yield b"begun "
        while piece := flask.request.stream.read(5000):
            yield piece

    return flask.Response(flask.stream_with_context(pieces()))


@app.get("/long")
def long() -> str:
    return "x" * 6_000_000


@app.get("/stream")
def stream() -> flask.Response:
    return flask.Response(iter(["a", "b"]))


@app.get("/no-content")
def no_content() -> tuple[str, int]:
    return "", 204


@app.get("/not-modified")
def not_modified() -> tuple[str, int]:
    return "", 304


@app.get("/raises")
def raises() -> str:
    raise ValueError("raised on request")
