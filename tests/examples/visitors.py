"""What clients of the examples do: connect, join, relay, be refused, carry a session's cookie."""

from __future__ import annotations

import urllib.request
from typing import Any

from tests.integration.clients import Client, Driver
from tests.integration.servers import Running
from tests.timing import DEADLINE


def connect(node: Driver, server: Running, **options: Any) -> Client:
    return node.connect(server.url, transports=["websocket"], **options)


def join(client: Client, room: str = "demo", **fields: Any) -> list[Any]:
    """Returns when the handler has; what it acknowledged."""
    return client.answer(client.ask("join-room", {"roomId": room, **fields}))


def relay_both_ways(a: Client, b: Client) -> None:
    before = len(a.relayed()), len(b.relayed())
    a.relay(b, {"description": {"type": "offer", "sdp": "v=0"}})
    a.fence(b)
    b.relay(a, {"description": {"type": "answer", "sdp": "v=0"}})
    b.fence(a)
    assert (len(a.relayed()), len(b.relayed())) == (before[0] + 1, before[1] + 1)


def refusal(node: Driver, server: Running, **options: Any) -> tuple[str, Any]:
    """The message and the data with which a client is turned away."""
    report = node.open(server.url, transports=["websocket"], **options).wait("connect_error")
    return report["message"], None if report["data"] == {"$undefined": True} else report["data"]


def cookie_of(request: urllib.request.Request | str) -> dict[str, dict[str, str]]:
    """The session that a view gave, as an option of socket.io-client."""
    with urllib.request.urlopen(request, timeout=DEADLINE) as response:
        return {"extraHeaders": {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}}
