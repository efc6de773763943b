"""Connections that a gunicorn worker hands on while it stops."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import socket as green

from rtcio_sync.serving.gunicorn import Front


class Giver:
    """Notes what is given, and to whom."""

    def __init__(self) -> None:
        self.given: list[tuple[str, int, bytes]] = []

    def give(self, node: str, descriptor: int, listener: int, read: bytes) -> bool:
        self.given.append((node, listener, read))
        return True


@pytest.mark.parametrize("number", [0, 1])
def test_a_connection_goes_on_though_its_listener_has_been_closed(number: int) -> None:
    listeners = [green.create_server(("127.0.0.1", 0)) for _ in range(2)]
    served: list[Any] = []
    worker = SimpleNamespace(
        sockets=listeners, cfg=SimpleNamespace(is_ssl=False), server_class=None,
        handle=lambda *given: served.append(given), handle_request=None, alive=True,
        timeout_ctx=lambda: gevent.Timeout(5, False), servers=[], notify=lambda: None,
        nr_conns=0, log=None, max_requests=0,
    )  # fmt: skip
    node: Any = SimpleNamespace(alone=False, heir="Heir", owner=lambda sid: None)
    giver: Any = Giver()
    front = Front(worker, node, giver, lambda *given: True)
    front._exit = SimpleNamespace(install=lambda: None, request=lambda: None)  # type: ignore[assignment]
    front.install()
    listener = listeners[number]
    with socket.create_connection(listener.getsockname()):
        client, address = listener.accept()
        for each in listeners:
            each.close()
        worker.handle(listener, client, address)
    assert giver.given == [("Heir", number, b"")]
    assert served == []
