"""Connections that a gunicorn worker hands on while it stops."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import gevent
import gunicorn.config
import pytest
from gevent import socket as green
from gunicorn.workers.ggevent import GeventWorker

from rtcio_sync.serving.gunicorn import Front, keep_addresses


class Giver:
    """Notes what is given, and to whom."""

    def __init__(self) -> None:
        self.given: list[tuple[str, int, bytes]] = []

    def give(self, node: str, descriptor: int, listener: int, read: bytes) -> bool:
        self.given.append((node, listener, read))
        return True


class Worker(GeventWorker):  # type: ignore[misc]
    """gunicorn's, as far as it needs to be to handle one connection."""

    def __init__(self, listener: Any) -> None:
        self.cfg = gunicorn.config.Config()
        self.sockets = [listener]
        self.log = SimpleNamespace(debug=print, exception=lambda *said: self.told.append(said))
        self.told: list[Any] = []
        self.served: list[Any] = []

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        self.served.append((listener_name, req.path))
        raise StopIteration


@pytest.mark.parametrize("ours", [False, True])
def test_what_was_accepted_before_the_listener_was_closed_is_served(ours: bool) -> None:
    with green.create_server(("127.0.0.1", 0)) as listener:
        worker, name = Worker(listener), listener.getsockname()
        if ours:
            keep_addresses(worker)
        with green.create_connection(name) as client:
            client.sendall(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
            accepted, address = worker.sockets[0].accept()
            worker.sockets[0].close()
            worker.handle(worker.sockets[0], accepted, address)
    if ours:
        assert (worker.served, worker.told) == ([(name, "/page")], [])
    else:  # upstream loses it, and writes a traceback
        assert (worker.served, worker.told) == ([], [("Socket error processing request.",)])


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
