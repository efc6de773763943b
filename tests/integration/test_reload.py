"""A gunicorn worker that is replaced or stopped sends its clients on, and leaves in time."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.integration.aiortc_peers import Background
from tests.integration.clients import Client, Driver
from tests.integration.servers import APPS, Running, complaints, free_port, running
from tests.timing import DEADLINE

ROOT = Path(__file__).parents[2]

CROWD = 200

#: Seconds, the default of `drain_seconds`.
DRAIN = 1

#: Seconds within which the old worker must be gone. Time that the kernel had it wait for a core is
#: taken off; the allowance is for what cannot be: that this process, which watches, waits for one.
BOUND = DRAIN + 1
ALLOWANCE = 8

BACK = {"reconnection": True, "reconnectionDelay": 100, "reconnectionDelayMax": 200}


class Crowd:
    """Many Socket.IO clients of a few lines, on WebSockets of the `websockets` library."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._connections: list[ClientConnection] = []

    def join(self, server: Running) -> None:
        """Connect each of them; it is in the main namespace afterwards."""

        async def all_join() -> list[ClientConnection]:
            # A few at a time: the queue of the listening socket is finite.
            turn = asyncio.Semaphore(20)
            return await asyncio.gather(*(_join(server.port, turn) for _ in range(CROWD)))

        self._connections = self._background.run(all_join())

    def wait_closed(self) -> list[tuple[list[str | bytes], int | None]]:
        """What each heard until the server closed it, and the close code."""

        async def all_closed() -> list[tuple[list[str | bytes], int | None]]:
            return await asyncio.gather(*map(_until_closed, self._connections))

        return self._background.run(all_closed())


async def _join(port: int, turn: asyncio.Semaphore) -> ClientConnection:
    async with turn:
        connection = await connect(
            f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket",
            # A socket of our own, so that no proxy of the environment's comes between.
            sock=socket.create_connection(("127.0.0.1", port)),
            compression=None,
            ping_interval=None,
            open_timeout=DEADLINE,
        )
        assert str(await connection.recv()).startswith("0{")
        await connection.send("40")
        assert str(await connection.recv()).startswith('40{"sid":')
        return connection


async def _until_closed(connection: ClientConnection) -> tuple[list[str | bytes], int | None]:
    heard: list[str | bytes] = []
    try:
        while True:
            heard.append(await connection.recv())
    except ConnectionClosed:
        return heard, connection.close_code


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    background = Background()
    yield Crowd(background)
    background.stop()


def some_clients(server: Running, node: Driver) -> list[Client]:
    return [
        node.connect(server.url, transports=["websocket"], **BACK),
        node.connect(server.url, transports=["polling"], **BACK),
        node.connect(server.url, **BACK),
    ]


class Departure:
    """When a worker was gone, watched from a thread."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        self._gone_at: float | None = None
        self._starved = self._starved_before = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def begin(self) -> None:
        """Count from now."""
        self._began = time.monotonic()
        self._starved_before = self._waited_for_a_core()
        self._thread.start()

    def seconds(self) -> float:
        """What the worker took, without the time in which other processes had the cores."""
        self._thread.join(2 * DEADLINE)
        assert self._gone_at is not None, "the old worker stays"
        return self._gone_at - self._began - (self._starved - self._starved_before)

    def _watch(self) -> None:
        with suppress(OSError):
            # Until it has ended; when its parent collects it is not its own doing.
            while self._process.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z":
                self._starved = self._waited_for_a_core()
                time.sleep(0.02)
        self._gone_at = time.monotonic()

    def _waited_for_a_core(self) -> float:
        # Nanoseconds on a core, nanoseconds ready for one, and how often.
        return int(self._process.joinpath("schedstat").read_text().split()[1]) / 1e9


def worker_of(server: Running) -> int:
    return int(server.get("/pid").read())


def assert_told_and_back(clients: list[Client]) -> None:
    """Each lost its connection, not by its own will, and is there again."""
    reasons = [client.wait("disconnect")["reason"] for client in clients]
    assert reasons == ["transport close", "transport error", "transport close"]
    for client in clients:
        client.wait("connect", count=2)
        # No attempt was left hanging, which would have cost it 20 seconds.
        errors = [each for each in client.reports if each["type"] == "connect_error"]
        assert "timeout" not in [error["message"] for error in errors]
    assert clients[0].wait("disconnect")["code"] == 1001
    clients[0].fence(clients[1], clients[2])


def touched(server: Running, app_file: Path) -> None:
    """Save the app's file; return once the worker has seen it."""
    mark = server.log_mark()
    os.utime(app_file, (time.time() + 10, time.time() + 10))
    end = time.monotonic() + DEADLINE
    while "Worker reloading" not in server.log(mark):
        assert time.monotonic() < end, "nobody noticed"
        time.sleep(0.01)


def hung_up(server: Running, _: Path) -> None:
    server.process.send_signal(signal.SIGHUP)


RELOADS: dict[str, tuple[Callable[[Running, Path], None], str]] = {
    "HUP": (hung_up, ""),
    "reload": (touched, "--reload"),
}


@pytest.mark.parametrize(
    ("way", "cause"),
    [
        ("gunicorn-gevent", "HUP"),
        ("gunicorn-geventwebsocket", "HUP"),
        ("gunicorn-gevent", "reload"),
    ],
)
def test_a_worker_that_is_replaced_sends_its_clients_to_the_next(
    node: Driver, crowd: Crowd, tmp_path: Path, cause: str, way: str
) -> None:
    act, options = RELOADS[cause]
    app_file = tmp_path / "app_of_this_test.py"
    app_file.write_text("from two_parsers import app\n")
    search = os.pathsep.join([str(tmp_path), str(APPS), str(ROOT)])
    # Alone: otherwise its clients would move, and notice nothing (`test_workers_reload`).
    environ = {"PYTHONPATH": search, "GUNICORN_CMD_ARGS": options, "RTCIO_CLUSTER": "0"}
    with running(way, app_file.stem, environ=environ, clean_log=False) as server:
        crowd.join(server)
        clients = some_clients(server, node)
        old = worker_of(server)
        departure = Departure(old)

        act(server, app_file)
        departure.begin()
        # No DISCONNECT of Socket.IO's: a client stays away after it. And no close packet of
        # Engine.IO's: python-engineio's clients stay away after that.
        assert crowd.wait_closed() == [([], 1001)] * CROWD
        assert departure.seconds() < BOUND + ALLOWANCE
        assert_told_and_back(clients)
        crowd.join(server)
        assert worker_of(server) != old

        server.terminate()
        assert [line for line in complaints(server.log()) if "Reloader is on" not in line] == []


@pytest.mark.parametrize(
    ("way", "number"),
    [
        ("gunicorn-gevent", signal.SIGTERM),
        ("gunicorn-geventwebsocket", signal.SIGTERM),
        ("gunicorn-gevent", signal.SIGINT),
    ],
)
def test_a_worker_that_is_stopped_sends_its_clients_to_the_next_server(
    node: Driver, crowd: Crowd, number: int, way: str
) -> None:
    port = free_port()
    with ExitStack() as stack:
        server = stack.enter_context(running(way, "two_parsers", port=port))
        crowd.join(server)
        clients = some_clients(server, node)
        departure = Departure(worker_of(server))

        server.process.send_signal(number)
        departure.begin()
        assert crowd.wait_closed() == [([], 1001)] * CROWD
        assert departure.seconds() < BOUND + ALLOWANCE
        assert server.process.wait(DEADLINE) == 0

        next_one = stack.enter_context(running(way, "two_parsers", port=port))
        assert_told_and_back(clients)
        crowd.join(next_one)
