"""The rtc.io signaling server for Flask, gunicorn and gevent: plain blocking Python.

::

    from rtcio_sync import RtcioEvents, Server

    server = Server(cors_allowed_origins="*")

    @server.on("connection")
    def on_connection(socket):
        @socket.on("join-room")
        def join_room(data):
            socket.join(data["roomId"])
            socket.to(data["roomId"]).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})

    server.listen(3001)
"""

from ._version import __version__
from .errors import ConnectionRefusedError, OptionError, ProtocolError, RtcioError
from .events import DisconnectReason, MessagePayload, RtcioEvents
from .ice import ice_servers, turn_credentials
from .listeners import add_default_listeners
from .lobby import Lobby
from .options import Limits, Options
from .server import Server
from .sockets import BroadcastOperator, Handshake, Namespace, Socket
from .testing import TestClient

__all__ = [
    "BroadcastOperator",
    "ConnectionRefusedError",
    "DisconnectReason",
    "Handshake",
    "Limits",
    "Lobby",
    "MessagePayload",
    "Namespace",
    "OptionError",
    "Options",
    "ProtocolError",
    "RtcioError",
    "RtcioEvents",
    "Server",
    "Socket",
    "TestClient",
    "__version__",
    "add_default_listeners",
    "ice_servers",
    "turn_credentials",
]
