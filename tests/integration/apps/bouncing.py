"""What `node/engine_cases.js` talks to: an Engine.IO server that greets and sends messages back."""

from __future__ import annotations

import json
import logging
import sys
import urllib.parse
from typing import Any

import flask

from rtcio_sync import Server
from rtcio_sync.engineio.server import Server as EngineServer

logging.basicConfig(
    level=logging.INFO, stream=sys.stderr, format="LOG %(levelname)s %(name)s %(message)s"
)

engine = EngineServer(
    cors_allowed_origins="*",
    ping_interval=0.5,
    max_http_buffer_size=100,
    cookie="io",
)
app = flask.Flask(__name__)
server = Server(app=app)
behind = app.wsgi_app


def both(environ: dict[str, Any], start_response: Any) -> Any:
    if environ["PATH_INFO"].startswith("/engine.io/"):
        query = urllib.parse.parse_qs(environ["QUERY_STRING"])
        if environ["REQUEST_METHOD"] == "POST" and "sid" in query:
            headers[query["sid"][0]] = json.dumps(
                {
                    name[5:].lower().replace("_", "-"): value
                    for name, value in environ.items()
                    if name.startswith("HTTP_")
                }
            )
        return engine.handle_request(environ, start_response)
    return behind(environ, start_response)


app.wsgi_app = both  # type: ignore[method-assign]
#: Those of the last POST of each session, as JSON.
headers: dict[str, str] = {}


@app.get("/health")
def health() -> str:
    return "ok"


@engine.on("connect")
def connect(sid: str, environ: dict[str, Any]) -> bool:
    if "deny" in environ["QUERY_STRING"]:
        return False
    engine.send(sid, "hi")
    return True


@engine.on("message")
def message(sid: str, data: str | bytes) -> None:
    if data == "give binary":
        engine.send(sid, bytes(range(5)))
    elif data == "give utf8":
        engine.send(sid, "пойду спать всем спокойной ночи")
    elif data == "give headers":
        engine.send(sid, headers[sid])
    elif data == "close me":
        engine.disconnect(sid)
    else:
        engine.send(sid, data)
