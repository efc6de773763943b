"""``message_queue``: options of `Server` for its URL, and a process that only publishes there."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any

import socketio

from ..config.option_values import is_redis
from ..errors import OptionError
from ..events import UNREADABLE_EVENTS
from ..protocol.names import check_name, namespace_name

__all__ = ["Publisher", "manager_of", "queue_options"]

#: Flask-SocketIO's own, so that processes which still use it are heard.
CHANNEL = "flask-socketio"


def queue_options(url: str, channel: str | None, async_mode: str | None) -> dict[str, Any]:
    """The options of a `Server` for the URL of a message queue.

    With the address of a Redis it is one with the servers of all hosts, and hears what processes
    without clients publish on the channel. Any other queue, and threads, where there is no cluster,
    need one of python-socketio's client managers.
    """
    threads = async_mode == "threading" or "FLASK_RUN_FROM_CLI" in os.environ
    if threads or not is_redis(url):
        return {"client_manager": manager_of(url, channel, write_only=False)}
    known = channel or CHANNEL
    return {"cluster": url, "cluster_prefix": _prefix(known), "cluster_external": known}


def _prefix(channel: str) -> str:
    """One for each channel, of the characters that a prefix may have."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,50}", channel):
        channel = hashlib.sha256(channel.encode()).hexdigest()[:32]
    return f"rtcio:{channel}"


def manager_of(url: str, channel: str | None, *, write_only: bool) -> Any:
    """The client manager for the URL of a message queue.

    ``write_only``: for a process without clients, which emits to those of others.
    """
    if url.startswith(("redis", "valkey", "unix://")):
        kind = socketio.RedisManager
    elif url.startswith("kafka://"):
        kind = socketio.KafkaManager
    elif url.startswith("zmq"):
        kind = socketio.ZmqManager
    else:
        kind = socketio.KombuManager
    return kind(url, channel=channel or CHANNEL, write_only=write_only)


class Publisher:
    """`SocketIO.server` in a process without clients: what others do for it."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager

    def on(self, *args: Any, **kwargs: Any) -> None:
        """No client's event comes here. The `SocketIO` keeps its handlers for an app."""

    register_namespace = on

    def emit(
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        room: Any = None,
        skip_sid: Any = None,
        namespace: str | None = None,
        callback: Any = None,
        ignore_queue: bool = False,
    ) -> None:
        """Raises `OptionError` for a ``callback``: nobody could answer this process.

        And for a name as `Server.emit`.
        """
        if callback is not None:
            raise OptionError("callback: a process without clients cannot get acknowledgements")
        check_name(event, UNREADABLE_EVENTS)
        where, room = namespace_name(namespace), room if to is None else to
        self.manager.emit(event, data, namespace=where, room=room, skip_sid=skip_sid)

    def enter_room(self, sid: str, room: Any, namespace: str | None = None) -> None:
        self.manager.enter_room(sid, namespace_name(namespace), room)

    def leave_room(self, sid: str, room: Any, namespace: str | None = None) -> None:
        self.manager.leave_room(sid, namespace_name(namespace), room)

    def close_room(self, room: Any, namespace: str | None = None) -> None:
        self.manager.close_room(room, namespace=namespace_name(namespace))

    def disconnect(self, sid: str, namespace: str | None = None) -> None:
        self.manager.disconnect(sid, namespace=namespace_name(namespace))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"a SocketIO without an app has no clients, so {name!r} does not work: call "
            "init_app(app) in the process that has clients"
        )
