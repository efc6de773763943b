"""rtcio_sync with its default options: the application that gunicorn and ``listen()`` serve."""

from gevent import monkey

monkey.patch_all()

import socketio  # noqa: E402 - nothing is imported before the patch

from benchmarks.servers.room_app import add_handlers  # noqa: E402
from rtcio_sync import Server  # noqa: E402

server = Server()
add_handlers(server)
application = socketio.WSGIApp(server)
