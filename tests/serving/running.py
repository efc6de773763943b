"""`listen` in this process, on a free port of this machine alone, and what a client gets there."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.event import AsyncResult
from werkzeug.serving import BaseWSGIServer

from rtcio_sync.engineio.server import Server as Engine
from rtcio_sync.serving.listen import listen, signaling_only
from rtcio_sync.serving.listen_options import Listening
from rtcio_sync.serving.stop import Stop
from tests.timing import DEADLINE, in_time

SIGNALING = "/socket.io/?EIO=4&transport=polling"


class Bare:
    """An Engine.IO server that `listen` serves, with nothing above it."""

    def __init__(self, mode: str = "gevent", *, drain_seconds: float = 1.0, **options: Any) -> None:
        self.engine = Engine(async_mode=mode, **options)
        self.ending = Stop(self.engine, drain_seconds=drain_seconds)

    @property
    def async_mode(self) -> str:
        return self.engine.async_mode

    def listen(self, port: int, host: str, *, application: Any = None, **options: Any) -> None:
        threads = self.async_mode == "threading"
        asked = Listening.of(port, host, options, threads=threads)
        served = application or signaling_only("/socket.io", self.engine.handle_request)
        listen(self.engine, self.ending, asked, served, "/socket.io/")

    def stop(self) -> None:
        self.ending.ask()


class Running:
    """A server that listens, in a greenlet or, if it runs on threads, in a thread.

    ``server``: anything with `listen`, `stop` and `async_mode`, such as `Bare` or a `Server`.
    """

    def __init__(self, server: Any, **options: Any) -> None:
        self.server = server
        self.on_threads = server.async_mode == "threading"
        given = {"port": 0, "host": "127.0.0.1", **options}
        if not self.on_threads:
            told: Any = AsyncResult()
            self.task: Any = gevent.spawn(server.listen, ready=told.set, **given)
            self.port = told.get(timeout=DEADLINE)
            return
        begun = threading.Event()
        self.port = 0

        def ready(port: int) -> None:
            self.port = port
            begun.set()

        self.task = threading.Thread(target=server.listen, kwargs={"ready": ready, **given})
        self.task.start()
        assert begun.wait(DEADLINE)

    def get(self, path: str, tls: Any = None) -> str:
        """The body of an answer, or the status of one that is an error."""
        scheme = "http" if tls is None else "https"
        url = f"{scheme}://localhost:{self.port}{path}"
        # A real thread, so that neither kind of server waits for its own client.
        answer = gevent.get_hub().threadpool.spawn(_fetch, url, tls)
        return str(answer.get(timeout=DEADLINE))

    def ask(self, request: str) -> str:
        """All that comes for these bytes, until the server closes the connection."""
        with in_time(), gevent.socket.create_connection(("127.0.0.1", self.port)) as sock:
            sock.sendall(request.encode())
            answer = b""
            while more := sock.recv(65536):
                answer += more
        return answer.decode()

    def end(self) -> None:
        """Stops the server; it has to end without an exception."""
        self.server.stop()
        self.ended()

    def ended(self) -> None:
        """Waits for the end, which something else has caused."""
        self.task.join(DEADLINE)
        if self.on_threads:
            assert not self.task.is_alive()
        else:
            assert self.task.successful()


def _fetch(url: str, tls: Any) -> str:
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE, context=tls) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return f"{error.code}"


Run = Callable[..., Running]


def running_until_the_end() -> Iterator[Run]:
    """For a fixture: starts servers, and stops them after the test."""
    started: list[Running] = []

    def run(server: Any, **options: Any) -> Running:
        started.append(Running(server, **options))
        return started[-1]

    with pytest.MonkeyPatch.context() as patch:
        # A server on threads looks every half second whether it was stopped.
        patch.setattr(BaseWSGIServer.serve_forever, "__defaults__", (0.02,))
        yield run
        for each in started:
            each.end()
