"""Moves the sessions of clients of this process from one server to another."""

from __future__ import annotations

from typing import Any

import gevent

from rtcio_sync import Server
from rtcio_sync.errors import CannotMove
from tests.clients import Client
from tests.timing import in_time, until


def servers(number: int = 2, **options: Any) -> list[Server]:
    """Servers that are one app: each with the same handlers, if `app` gives them."""
    return [Server(**options) for _ in range(number)]


def pack(server: Server, eio_sid: str) -> Any:
    """Takes a session out of a server, once it is idle."""
    departing = server.departing
    with in_time():
        while True:
            until(lambda: not departing.busy(eio_sid))
            departing.freeze(eio_sid)
            gevent.sleep(0)
            try:
                return departing.pack(eio_sid)
            except CannotMove as error:
                departing.thaw(eio_sid)
                if not error.later:
                    raise


def move(client: Client, target: Server) -> Client:
    """Moves the session of a client; the client goes on as if nothing was."""
    packed = pack(client.server, client.eio_sid)
    assert target.departing.adopt(packed.state)[0] == client.eio_sid
    assert target.departing.attach(client.eio_sid, packed.fd)
    client.server, client.engine = target, target.eio
    if hasattr(client, "app"):
        client.app = target.handle_request
    return client
