"""`add_default_listeners`: the relay and peer-left, for any Socket.IO server."""

from __future__ import annotations

from typing import Any

import socketio

from ..protocol.names import namespace_name
from ..relay.foreign_servers import ForeignListeners
from .handler_run import Handling
from .namespace import Namespace
from .socket import Socket

__all__ = ["add_default_listeners"]


def add_default_listeners(target: Any, namespace: str | None = None) -> None:
    """Gives sockets the rtc.io listeners: the relay of ``#rtcio:message``, and peer-left.

    ``target``: a `Socket` inside a ``connection`` handler (only that socket), a `Namespace`, or a
    server: a `Server`, any other `socketio.Server`, or a Flask-SocketIO extension after its
    ``init_app``. ``namespace``: of a server; `None` is ``"/"``. A `Server` calls it itself for
    ``"/"``. A second call changes nothing. Raises `TypeError` for anything else.
    """
    if isinstance(target, Socket):
        target.add_default_listeners()
        return
    by_name = not isinstance(target, Namespace)  # otherwise of one that may be dynamic, and go
    if isinstance(target, Namespace):
        target, namespace = target.server, target.name
    server = target if isinstance(target, socketio.Server) else getattr(target, "server", None)
    if not isinstance(server, socketio.Server):
        raise TypeError(
            "add_default_listeners takes a Socket, a Namespace or a socketio.Server, not "
            f"{type(target).__name__}"
        )
    handling = getattr(server, "handling", None)
    name = namespace_name(namespace)
    if isinstance(handling, Handling):
        handling.serve_relays(name, while_open=not by_name)
    else:
        ForeignListeners.of(server).namespaces.add(name)
