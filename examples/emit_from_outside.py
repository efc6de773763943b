"""A cron job, a Celery task or a script emits to a running server's clients, through Redis.

    python examples/emit_from_outside.py                            # the server
    python examples/emit_from_outside.py demo "We close at noon."   # the job: room and text

REDIS_URL is the address of Redis. The same manager lets several servers share their rooms.
"""

from gevent import monkey

monkey.patch_all()

import os
import sys

import socketio

from rtcio_sync import RtcioEvents, Server

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")


def announce(room, words):
    """A Celery task would call this; it needs neither the server nor gevent."""
    outside = socketio.RedisManager(REDIS_URL, write_only=True)
    outside.emit("announcement", {"text": words}, room=room)


def serve():
    manager = socketio.RedisManager(REDIS_URL)
    server = Server(cors_allowed_origins="*", client_manager=manager)

    @server.on("connection")
    def on_connection(socket):
        @socket.on("join-room")
        def join_room(data):
            socket.join(data["roomId"])
            socket.to(data["roomId"]).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})

    server.listen(int(os.environ.get("PORT", 3001)), host="127.0.0.1")


if __name__ == "__main__":
    announce(*sys.argv[1:]) if sys.argv[1:] else serve()
