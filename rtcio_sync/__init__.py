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

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .adapter.gathering import Answers, UnansweredError
    from .adapter.server_call import DisconnectedError
    from .cluster.emitter import Emitter
    from .errors import (
        ConnectionRefusedError,
        LimitExceeded,
        NotServing,
        OptionError,
        ProtocolError,
        RtcioError,
    )
    from .events import DisconnectReason, Event, MessagePayload, RtcioEvents
    from .ice import ice_servers, turn_credentials
    from .lobby.lobby import Lobby
    from .options import Limits, Options
    from .server import Server
    from .server_options import ServerOptions
    from .socketio.default_listeners import add_default_listeners
    from .socketio.dynamic_namespaces import ParentNamespace
    from .socketio.namespace import Namespace
    from .socketio.remote_socket import RemoteSocket
    from .socketio.server_engine import EngineError
    from .socketio.socket import BroadcastOperator, Handshake, Socket
    from .socketio.throttle import throttle
    from .testing import TestClient

__all__ = [
    "Answers",
    "BroadcastOperator",
    "ConnectionRefusedError",
    "DisconnectReason",
    "DisconnectedError",
    "Emitter",
    "EngineError",
    "Event",
    "Handshake",
    "LimitExceeded",
    "Limits",
    "Lobby",
    "MessagePayload",
    "Namespace",
    "NotServing",
    "OptionError",
    "Options",
    "ParentNamespace",
    "ProtocolError",
    "RemoteSocket",
    "RtcioError",
    "RtcioEvents",
    "Server",
    "ServerOptions",
    "Socket",
    "TestClient",
    "UnansweredError",
    "__version__",
    "add_default_listeners",
    "ice_servers",
    "throttle",
    "turn_credentials",
]

# A module is imported when one of its names is first used: `python -m rtcio_sync` imports this
# package before its first line runs, and gevent has to patch sockets and TLS before any module
# imports them.
_HOMES = {
    "adapter.server_call": ("DisconnectedError",),
    "cluster.emitter": ("Emitter",),
    "adapter.gathering": ("Answers", "UnansweredError"),
    "errors": (
        "ConnectionRefusedError",
        "LimitExceeded",
        "NotServing",
        "OptionError",
        "ProtocolError",
        "RtcioError",
    ),
    "events": ("DisconnectReason", "Event", "MessagePayload", "RtcioEvents"),
    "ice": ("ice_servers", "turn_credentials"),
    "socketio.server_engine": ("EngineError",),
    "socketio.default_listeners": ("add_default_listeners",),
    "lobby.lobby": ("Lobby",),
    "socketio.namespace": ("Namespace",),
    "socketio.dynamic_namespaces": ("ParentNamespace",),
    "socketio.remote_socket": ("RemoteSocket",),
    "socketio.throttle": ("throttle",),
    "options": ("Limits", "Options"),
    "server": ("Server",),
    "server_options": ("ServerOptions",),
    "socketio.socket": ("BroadcastOperator", "Handshake", "Socket"),
    "testing": ("TestClient",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f".{home}", __name__), name)
    except AttributeError as error:
        # Python takes an AttributeError from here for a missing name and hides the cause: a
        # dependency that is broken, too old or shadowed.
        raise ImportError(f"{__name__}.{name} cannot be loaded: {error}") from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
