"""The public server's rooms as an app for gunicorn, on one host or on several.

    gunicorn -k gevent -w 4 public_rooms:app

The room page is at http://localhost:8000.

RTCIO_CLUSTER, like redis://host:6379/0: the Redis of all hosts that are one server; CLUSTER_SECRET:
at least 16 characters, the same on all of them; CLUSTER_ADDRESS, like 10.0.0.5:8000: where the
others reach this one.
"""

import os

from flask import Flask

from rtcio_sync import Lobby, Server
from rtcio_sync.pages import RoomPage

options = {}
if os.environ.get("RTCIO_CLUSTER", "").startswith("redis"):
    options = {"cluster": os.environ["RTCIO_CLUSTER"]}
    for name in ("cluster_secret", "cluster_address"):
        if value := os.environ.get(name.upper()):
            options[name] = value

app = Flask(__name__)
server = Server(app=app, cors_allowed_origins="*", connection_state_recovery=True, **options)
lobby = Lobby(server, max_peers=8)
RoomPage(server, url_prefix="/", lobby=lobby)


@app.get("/health")
def health():
    """For a load balancer: a host without Redis still serves its own clients, so this is 200."""
    figures = server.stats(cluster="host")
    status = "degraded" if figures["degraded"] else "ok"
    return {"status": status, "workers": figures["workers"], "nodes": figures["nodes"]}
