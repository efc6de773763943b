"""The names on the wire: the rtc.io events, the reserved names, the reasons of a disconnect."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

__all__ = [
    "RESERVED_EVENTS",
    "UNREADABLE_EVENTS",
    "DisconnectReason",
    "Event",
    "MessagePayload",
    "RtcioEvents",
    "node_reason",
    "upstream_reason",
]


class RtcioEvents:
    """The seven event names of the rtc.io protocol, plain strings.

    Only ``MESSAGE`` is ever sent by a client and only ``MESSAGE``, ``PEER_LEFT`` and ``INIT_OFFER``
    by a server; the other four are reserved names that nobody emits.
    """

    #: client → server → client: ``{"source": sid, "target": sid, "data": …}``; the library relays
    MESSAGE = "#rtcio:message"
    #: server → clients: ``{"id": sid}``; sent by the library to the rooms of a leaving socket
    PEER_LEFT = "#rtcio:peer-left"
    #: server → clients: ``{"source": sid}``; sent by the app to a room's peers when one joins
    INIT_OFFER = "#rtcio:init-offer"
    #: reserved, never emitted
    OFFER = "#rtcio:offer"
    #: reserved, never emitted
    ANSWER = "#rtcio:answer"
    #: reserved, never emitted
    CANDIDATE = "#rtcio:candidate"
    #: reserved, never emitted
    STREAM_META = "#rtcio:stream-meta"


class MessagePayload(TypedDict):
    """The envelope of ``#rtcio:message``; the server never looks inside ``data``."""

    source: str
    target: str
    data: Any


#: An event: its name and its arguments, as `socket.use` gets them and `TestClient.received` gives
#: them.
Event = tuple[str, list[Any]]

#: Names with a special meaning in Socket.IO, on the client or the server. As an event from a client
#: they never reach a handler (python-socketio would run the app's ``disconnect`` handler).
RESERVED_EVENTS = frozenset(
    {
        "*",
        "__disconnect_final",
        "connect",
        "connect_error",
        "connection",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
    }
)

#: Those that socket.io-client takes for an error of its server: it closes the connection.
UNREADABLE_EVENTS = RESERVED_EVENTS - {"*", "__disconnect_final", "connection"}

#: The reasons that a ``Socket``'s ``disconnecting`` and ``disconnect`` handlers get, as in Node.
DisconnectReason = Literal[
    "client namespace disconnect",
    "server namespace disconnect",
    "server shutting down",
    "ping timeout",
    "transport close",
    "transport error",
    "parse error",
    "forced close",
]

#: Engine.IO's CLOSE packet from a client. Node and python-socketio have different names for it.
CLIENT_CLOSE = "client close"

#: A WebSocket closed with 1001, "going away" (RFC 6455 7.4.1): the page was left. Node and
#: python-socketio call it a transport close, but this client does not come back.
PAGE_LEFT = "page left"

# Node's reason → python-socketio's, which knows five (`socketio.Server.reason`).
_UPSTREAM = {
    CLIENT_CLOSE: "client disconnect",
    PAGE_LEFT: "transport close",
    "client namespace disconnect": "client disconnect",
    "server namespace disconnect": "server disconnect",
    "server shutting down": "server disconnect",
    "ping timeout": "ping timeout",
    "transport close": "transport close",
    "transport error": "transport error",
    "parse error": "transport error",
    "forced close": "server disconnect",
}
_NODE = {
    CLIENT_CLOSE: "transport close",
    PAGE_LEFT: "transport close",
    "client disconnect": "client namespace disconnect",
    "server disconnect": "server namespace disconnect",
}


def upstream_reason(reason: str) -> str:
    """The reason for ``(sid, reason)`` handlers, from Node's reason; unknown ones unchanged."""
    return _UPSTREAM.get(reason, reason)


def node_reason(reason: str) -> str:
    """The reason for a ``Socket``'s handlers, from python-socketio's; unknown ones unchanged."""
    return _NODE.get(reason, reason)
