"""rtcio_sync with its default options: the application that gunicorn and ``listen()`` serve.

The environment variable ``RECOVERY`` turns connection state recovery on.
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402 - nothing is imported before the patch

import socketio  # noqa: E402

from benchmarks.servers.room_app import add_handlers  # noqa: E402
from rtcio_sync import Server  # noqa: E402

server = Server(connection_state_recovery=bool(os.environ.get("RECOVERY")))
add_handlers(server)
application = socketio.WSGIApp(server)
