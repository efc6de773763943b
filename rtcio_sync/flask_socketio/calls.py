"""The functions for handlers: what they leave out comes from the event that is handled.

``to``, and ``room`` as another name for it: a room, a sid, or a list of them. An empty one is the
sender, as with Flask-SocketIO: ``to=data.get("room")`` never reaches everybody by mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..protocol.names import namespace_name
from .current import extension, namespace_now, sid_now

__all__ = [
    "call",
    "close_room",
    "disconnect",
    "emit",
    "join_room",
    "leave_room",
    "rooms",
    "send",
]

#: As ``namespace``: that of the event. `None` and ``""`` are ``"/"``.
_OF_EVENT: Any = object()


def emit(
    event: str,
    data: Any = None,
    *,
    namespace: str | None = _OF_EVENT,
    to: Any = None,
    room: Any = None,
    broadcast: bool = False,
    include_self: bool = True,
    skip_sid: Any = None,
    callback: Callable[..., Any] | None = None,
    ignore_queue: bool = False,
) -> None:
    """Emits an event to the client whose event is handled, or to others.

    ``to``: to a room or a client instead. ``broadcast``: without ``to``, to everybody in the
    namespace. ``namespace``: that of the event by default. ``data``, ``include_self``,
    ``skip_sid``, ``callback`` and ``ignore_queue``: as `SocketIO.emit`.
    """
    extension().emit(
        event,
        data,
        namespace=_namespace(namespace),
        to=_recipients(to, room, broadcast),
        include_self=include_self,
        skip_sid=skip_sid,
        callback=callback,
        ignore_queue=ignore_queue,
    )


def send(
    message: Any,
    *,
    json: bool = False,
    namespace: str | None = _OF_EVENT,
    to: Any = None,
    room: Any = None,
    broadcast: bool = False,
    include_self: bool = True,
    skip_sid: Any = None,
    callback: Callable[..., Any] | None = None,
    ignore_queue: bool = False,
) -> None:
    """`emit` of the event ``"message"``, or ``"json"`` with ``json=True``."""
    emit(
        "json" if json else "message",
        message,
        namespace=namespace,
        to=to or room,
        broadcast=broadcast,
        include_self=include_self,
        skip_sid=skip_sid if include_self else None,
        callback=callback,
        ignore_queue=ignore_queue,
    )


def call(
    event: str,
    data: Any = None,
    *,
    namespace: str | None = _OF_EVENT,
    to: Any = None,
    room: Any = None,
    timeout: float = 60,
    ignore_queue: bool = False,
) -> Any:
    """Emits to one client, by default the one whose event is handled, and waits for its answer.

    ``timeout`` is in seconds. Raises as `SocketIO.call`.
    """
    return extension().call(
        event,
        data,
        namespace=_namespace(namespace),
        to=_recipients(to, room, False),
        timeout=timeout,
        ignore_queue=ignore_queue,
    )


def join_room(room: Any, sid: str | None = None, namespace: str | None = None) -> None:
    """Joins the client to a room. ``sid``: another client. Raises as `Server.enter_room`."""
    extension().server.enter_room(sid or sid_now(), room, namespace=namespace or namespace_now())


def leave_room(room: Any, sid: str | None = None, namespace: str | None = None) -> None:
    """Takes the client out of a room. ``sid``: another client."""
    extension().server.leave_room(sid or sid_now(), room, namespace=namespace or namespace_now())


def close_room(room: Any, namespace: str | None = None) -> None:
    """Takes all clients out of a room."""
    extension().server.close_room(room, namespace=namespace or namespace_now())


def rooms(sid: str | None = None, namespace: str | None = None) -> list[Any]:
    """The rooms of the client, its own (named by its sid) included. ``sid``: another client.

    In the order in which the rooms were created, as with Flask-SocketIO.
    """
    server, name = extension().server, namespace_name(namespace or namespace_now())
    found: list[Any] = server.rooms(sid or sid_now(), namespace=name)
    return sorted(found, key=lambda room: server.manager.created(room, name))


def disconnect(sid: str | None = None, namespace: str | None = None, silent: bool = False) -> None:
    """Disconnects the client from the namespace. ``sid``: another client. ``silent``: unused."""
    extension().server.disconnect(sid or sid_now(), namespace=namespace or namespace_now())


def _namespace(given: Any) -> Any:
    return namespace_now() if given is _OF_EVENT else given


def _recipients(to: Any, room: Any, broadcast: bool) -> Any:
    return to or room or (None if broadcast else sid_now())
