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
    from .adapter.calls import DisconnectedError
    from .errors import (
        ConnectionRefusedError,
        LimitExceeded,
        NotServing,
        OptionError,
        ProtocolError,
        RtcioError,
    )
    from .events import DisconnectReason, MessagePayload, RtcioEvents
    from .ice import ice_servers, turn_credentials
    from .lobby.lobby import Lobby
    from .options import Limits, Options
    from .server import Server
    from .socketio.listeners import add_default_listeners
    from .socketio.namespace import Namespace
    from .socketio.remote import RemoteSocket
    from .socketio.socket import BroadcastOperator, Handshake, Socket
    from .testing import TestClient

__all__ = [
    "BroadcastOperator",
    "ConnectionRefusedError",
    "DisconnectReason",
    "DisconnectedError",
    "Handshake",
    "LimitExceeded",
    "Limits",
    "Lobby",
    "MessagePayload",
    "Namespace",
    "NotServing",
    "OptionError",
    "Options",
    "ProtocolError",
    "RemoteSocket",
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

# A module is imported when one of its names is first used: `python -m rtcio_sync` imports this
# package before its first line runs, and gevent has to patch sockets and TLS before any module
# imports them.
_HOMES = {
    "adapter.calls": ("DisconnectedError",),
    "errors": (
        "ConnectionRefusedError",
        "LimitExceeded",
        "NotServing",
        "OptionError",
        "ProtocolError",
        "RtcioError",
    ),
    "events": ("DisconnectReason", "MessagePayload", "RtcioEvents"),
    "ice": ("ice_servers", "turn_credentials"),
    "socketio.listeners": ("add_default_listeners",),
    "lobby.lobby": ("Lobby",),
    "socketio.namespace": ("Namespace",),
    "socketio.remote": ("RemoteSocket",),
    "options": ("Limits", "Options"),
    "server": ("Server",),
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
