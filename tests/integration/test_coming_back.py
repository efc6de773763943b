"""Every kind of client returns to a server that was stopped, or whose worker was replaced."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import socketio

from tests.integration.aiortc_peers import Background
from tests.integration.clients import Driver
from tests.integration.servers import Running, free_port, running
from tests.timing import DEADLINE

BACK = {"reconnection_delay": 0.2, "reconnection_delay_max": 0.5}


class Followed:
    """A client and what it went through: ``connect``, and the reason of each disconnect."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self._news = threading.Condition()

    def note(self, what: str) -> None:
        with self._news:
            self.story.append(what)
            self._news.notify_all()

    def wait_connects(self, number: int) -> None:
        with self._news:
            assert self._news.wait_for(
                lambda: self.story.count("connect") >= number, 2 * DEADLINE
            ), self.story

    def echo(self) -> Any:
        raise NotImplementedError


class Threaded(Followed):
    """python-socketio's `Client`."""

    def __init__(self, url: str, transports: list[str]) -> None:
        super().__init__()
        self._client = socketio.Client(**BACK)
        self._client.on("connect", lambda: self.note("connect"))
        self._client.on("disconnect", self.note)
        self._client.connect(url, transports=transports, wait_timeout=DEADLINE)

    def echo(self) -> Any:
        return self._client.call("echo", "hello", timeout=DEADLINE)

    def leave(self) -> None:
        self._client.shutdown()


class Asynchronous(Followed):
    """python-socketio's `AsyncClient`."""

    def __init__(self, url: str, transports: list[str]) -> None:
        super().__init__()
        self._background = Background()

        async def connect() -> None:
            self._client = socketio.AsyncClient(**BACK)
            self._client.on("connect", lambda: self.note("connect"))
            self._client.on("disconnect", self.note)
            await self._client.connect(url, transports=transports, wait_timeout=DEADLINE)

        self._background.run(connect())

    def echo(self) -> Any:
        return self._background.run(self._client.call("echo", "hello", timeout=DEADLINE))

    def leave(self) -> None:
        self._background.run(self._client.shutdown())
        self._background.run(asyncio.sleep(0.1))
        self._background.stop()


class Node(Followed):
    """socket.io-client."""

    def __init__(self, driver: Driver, url: str, transports: list[str]) -> None:
        super().__init__()
        back = {"reconnection": True, "reconnectionDelay": 200, "reconnectionDelayMax": 500}
        self._client = driver.connect(url, transports=transports, **back)

    def wait_connects(self, number: int) -> None:
        self._client.wait("connect", count=number, timeout=2 * DEADLINE)
        # No attempt was left hanging, which would have cost it 20 seconds.
        errors = [each for each in self._client.reports if each["type"] == "connect_error"]
        assert "timeout" not in [error["message"] for error in errors]

    def echo(self) -> Any:
        return self._client.answer(self._client.ask("echo", "hello"))[0]

    def leave(self) -> None:
        self._client.disconnect()


TRANSPORTS = (["websocket"], ["polling"], ["polling", "websocket"])


@pytest.fixture
def everybody(node: Driver) -> Iterator[Callable[[str], list[Any]]]:
    """Connects each client over each transport to a URL."""
    with ExitStack() as stack:

        def connect(url: str) -> list[Any]:
            clients: list[Any] = []
            for transports in TRANSPORTS:
                for made in (
                    Threaded(url, transports),
                    Asynchronous(url, transports),
                    Node(node, url, transports),
                ):
                    stack.callback(made.leave)
                    clients.append(made)
            return clients

        yield connect


def all_back(clients: list[Any]) -> None:
    for client in clients:
        client.wait_connects(2)
    for client in clients:
        assert client.echo() == "hello"


def reasons(server: Running) -> list[str]:
    return [each[2] for each in server.get_json("/heard") if each[0] == "disconnect"]


WAYS = ["listen", "pywsgi", "gunicorn-gevent", "gunicorn-geventwebsocket"]


@pytest.mark.parametrize("recovery", [False, True], ids=["", "recovery"])
@pytest.mark.parametrize("way", WAYS)
def test_every_client_comes_back_to_a_server_that_was_restarted(
    everybody: Callable[[str], list[Any]], way: str, recovery: bool
) -> None:
    port = free_port()
    options = {"connection_state_recovery": recovery, "ping_interval": 60}
    with running(way, port=port, clean_log=way != "pywsgi", **options) as server:
        clients = everybody(server.url)
        # `pywsgi.WSGIServer.serve_forever` leaves signals to its caller: there it is killed.
        server.terminate(signal.SIGTERM)
    with running(way, port=port, **options):
        all_back(clients)


@pytest.mark.parametrize("recovery", [False, True], ids=["", "recovery"])
@pytest.mark.parametrize("way", ["gunicorn-gevent", "gunicorn-geventwebsocket"])
def test_every_client_comes_back_to_a_worker_that_was_replaced(
    everybody: Callable[[str], list[Any]], way: str, recovery: bool
) -> None:
    options = {"connection_state_recovery": recovery, "ping_interval": 60}
    # In a cluster they would move, and notice nothing (`test_workers_reload`).
    with running(way, clean_log=False, cluster=False, **options) as server:
        clients = everybody(server.url)
        server.process.send_signal(signal.SIGHUP)
        all_back(clients)
        assert "Traceback" not in server.log()
