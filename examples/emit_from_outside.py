"""A cron job, a Celery task or a script emits to a running server's clients, through Redis.

    python examples/emit_from_outside.py                            # the server
    python examples/emit_from_outside.py demo "We close at noon."   # the job: room and text

REDIS_URL is the address of Redis. All servers that use it are one: start several, on any host.
"""

from gevent import monkey

monkey.patch_all()

import os
import sys

import try_it

from rtcio_sync import Emitter, RtcioEvents, Server

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")


def announce(room, words):
    """A Celery task would call this; it needs neither the server nor gevent."""
    Emitter(REDIS_URL).to(room).emit("announcement", {"text": words})


def serve():
    server = Server(cors_allowed_origins="*", cluster=REDIS_URL)

    @server.on("connection")
    def on_connection(socket):
        @socket.on("join-room")
        def join_room(data):
            socket.join(data["roomId"])
            socket.to(data["roomId"]).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})

    port = int(os.environ.get("PORT", 3001))
    server.listen(port, host="127.0.0.1", app=try_it.app())  # with a page to try it


if __name__ == "__main__":
    announce(*sys.argv[1:]) if sys.argv[1:] else serve()
