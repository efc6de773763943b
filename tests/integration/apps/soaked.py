"""The app of the soak: it keeps nothing, so that what grows is the server's, and does much wrong.

`RTCIO_TEST_OPTIONS` (JSON) holds the options of its ``Server``.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
from typing import Any

import flask
import gevent
from pages import add_pages

from benchmarks.servers.misbehaving import add_misbehaving
from rtcio_sync import Server

logging.basicConfig(
    level=logging.INFO, stream=sys.stderr, format="LOG %(levelname)s %(name)s %(message)s"
)

app = flask.Flask(__name__)
server = Server(app=app, **json.loads(os.environ.get("RTCIO_TEST_OPTIONS", "{}")))
add_pages(app, server)
add_misbehaving(server)


@app.get("/census")
def census() -> Any:
    """What this process has; to count takes some 20 ms, in which it does nothing else."""
    living = sum(isinstance(each, gevent.Greenlet) and not each.dead for each in gc.get_objects())
    return flask.jsonify(pid=os.getpid(), greenlets=living)


@server.on("join")
def join(sid: str, room: str) -> None:
    server.enter_room(sid, room)
