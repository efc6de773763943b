"""Flask-SocketIO's API on `rtcio_sync.Server`: an app moves by changing its import.

::

    from flask import Flask
    from rtcio_sync.flask_socketio import SocketIO, emit, join_room

    app = Flask(__name__)
    socketio = SocketIO(app)

    @socketio.on("join")
    def join(data):
        join_room(data["room"])
        emit("joined", data, to=data["room"])

    socketio.run(app)
"""

from __future__ import annotations

from ..errors import ConnectionRefusedError
from .calls import call, close_room, disconnect, emit, join_room, leave_room, rooms, send
from .extension import SocketIO
from .namespace import Namespace
from .testing import SocketIOTestClient

__all__ = [
    "ConnectionRefusedError",
    "Namespace",
    "SocketIO",
    "SocketIOTestClient",
    "call",
    "close_room",
    "disconnect",
    "emit",
    "join_room",
    "leave_room",
    "rooms",
    "send",
]
