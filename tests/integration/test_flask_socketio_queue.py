"""``SocketIO(message_queue=…)``: what other processes emit reaches clients, with a real Redis."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import flask_socketio

import rtcio_sync.flask_socketio
from tests.integration.clients import Driver
from tests.integration.redis_server import redis_server
from tests.integration.servers import Running, running
from tests.timing import DEADLINE, wait_until


@contextmanager
def served(url: str) -> Iterator[Running]:
    environ = {
        "RTCIO_TEST_IMPORT": "rtcio_sync.flask_socketio",
        "RTCIO_TEST_SOCKETIO": json.dumps({"message_queue": url}),
    }
    with running("socketio-run", "flask_socketio_calls", environ=environ) as server:
        yield server


def test_apps_are_one_and_processes_of_both_packages_emit_to_their_clients(node: Driver) -> None:
    with redis_server() as url, served(url) as one, served(url) as other:
        clients = [
            node.connect(server.url, transports=["websocket"], auth={"as": "a user"})
            for server in (one, other)
        ]

        def all_hear(emit: Callable[[], Any], event: str, args: list[Any]) -> None:
            """Until the servers have found each other, and listen to Redis."""

            def hear() -> bool:
                emit()
                return all(args in client.received(event) for client in clients)

            wait_until(hear, DEADLINE)

        all_hear(lambda: one.get("/emit").read(), "news", ["of", "two"])
        for package in (rtcio_sync.flask_socketio, flask_socketio):
            name = package.__name__
            outside: Any = package.SocketIO(message_queue=url)
            all_hear(partial(outside.emit, "news", name, to="tea"), "news", [name])
            all_hear(partial(outside.send, name), "message", [name])
        outside.close_room("tea")
        for client in clients:
            wait_until(lambda: client.call("my rooms") == [client.id], DEADLINE)  # noqa: B023
