"""rtcio_sync with its default options: the application that gunicorn and ``listen()`` serve.

Variables of the environment: ``RECOVERY`` turns connection state recovery on, ``ATTACKED`` adds
faulty handlers, ``LOBBY`` a lobby, ``REDIS`` (a URL) a Redis client manager, ``MSGPACK`` a second
server at ``/packed``, which speaks it.
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402 - nothing is imported before the patch

import socketio  # noqa: E402

from benchmarks.servers.room_app import add_handlers  # noqa: E402
from rtcio_sync import Server  # noqa: E402

redis = os.environ.get("REDIS")
server = Server(
    connection_state_recovery=bool(os.environ.get("RECOVERY")),
    client_manager=socketio.RedisManager(redis) if redis else None,
)
add_handlers(server)
beside = [Server(serializer="msgpack")] if os.environ.get("MSGPACK") else []
if os.environ.get("ATTACKED"):
    from benchmarks.servers.misbehaving import add_misbehaving

    add_misbehaving(server, *beside)
if os.environ.get("LOBBY"):
    from rtcio_sync import Lobby

    lobby = Lobby(server)
application = socketio.WSGIApp(server)
for packed in beside:
    add_handlers(packed)
    application = socketio.WSGIApp(packed, application, socketio_path="packed")
