"""A server process in this one: `listen`, what it tells at its start, and how it ends."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask
import gevent
import gevent.socket
import gunicorn.config
import gunicorn.workers.base
import pytest
from gevent import monkey, pywsgi
from gevent.event import AsyncResult, Event

from rtcio_sync import Limits, Server
from rtcio_sync.serving import listen as serving_module
from tests.bus import Bus
from tests.clients import Polling, WebSocket
from tests.timing import DEADLINE, in_time, settle, until


class Listening:
    """A server that listens in a greenlet, on a free port of this machine alone."""

    def __init__(self, server: Server, **options: Any) -> None:
        self.server = server
        port: Any = AsyncResult()
        self.greenlet = gevent.spawn(
            server.listen, 0, host="127.0.0.1", ready=port.set, log=None, **options
        )
        self.port = port.get(timeout=DEADLINE)

    def get(self, path: str) -> str:
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    def ask(self, request: str) -> str:
        with in_time(), gevent.socket.create_connection(("127.0.0.1", self.port)) as sock:
            sock.sendall(request.encode())
            answer = b""
            while more := sock.recv(65536):
                answer += more
        return answer.decode()

    def end(self) -> None:
        self.greenlet.join(DEADLINE)
        assert self.greenlet.successful()


@pytest.fixture
def listening() -> Iterator[Callable[..., Listening]]:
    started: list[Listening] = []

    def start(server: Server, **options: Any) -> Listening:
        started.append(Listening(server, **options))
        return started[-1]

    yield start
    for each in started:
        each.server.stop()
        each.end()


def new_app() -> flask.Flask:
    app = flask.Flask(__name__)
    app.get("/")(lambda: "home")
    return app


# -- listen ----------------------------------------------------------------------------------------


def test_a_server_without_an_app_serves_its_own_path_alone(
    listening: Callable[..., Listening],
) -> None:
    running = listening(Server())
    assert '0{"sid":' in running.get("/socket.io/?EIO=4&transport=polling")
    assert running.get("/").startswith("HTTP/1.1 404")
    assert running.get("/socket.iox").startswith("HTTP/1.1 404")


@pytest.mark.parametrize("way", ["app=", "init_app", "listen(app=)"])
def test_the_app_is_served_however_it_was_given(
    listening: Callable[..., Listening], way: str
) -> None:
    app = new_app()
    server = Server(app=app) if way == "app=" else Server()
    if way == "init_app":
        server.init_app(app)
    running = listening(server, **({"app": app} if way == "listen(app=)" else {}))
    assert running.get("/").endswith("home")
    if way != "listen(app=)":
        assert '0{"sid":' in running.get("/socket.io/?EIO=4&transport=polling")


@pytest.mark.parametrize(("size", "writes"), [(100, 1), (100_000, 2)])
def test_a_short_answer_is_written_together_with_its_head(
    listening: Callable[..., Listening], monkeypatch: pytest.MonkeyPatch, size: int, writes: int
) -> None:
    written: list[int] = []
    send = gevent.socket.socket.sendall

    def counted(sock: Any, data: Any, *args: Any) -> Any:
        if sock.getsockname()[1] == port:
            written.append(len(data))
        return send(sock, data, *args)

    app = flask.Flask(__name__)
    app.get("/")(lambda: "x" * size)
    port = 0
    server = listening(Server(app=app))
    port = server.port
    monkeypatch.setattr(gevent.socket.socket, "sendall", counted)
    answer = server.get("/")
    assert answer.endswith("x" * size)
    assert len(written) == writes and sum(written) == len(answer)


def test_an_address_that_is_taken_is_an_os_error(listening: Callable[..., Listening]) -> None:
    running = listening(Server())
    with pytest.raises(OSError):
        Server().listen(running.port, host="127.0.0.1")


def test_a_client_that_is_slow_with_its_headers_is_hung_up_on(
    listening: Callable[..., Listening],
) -> None:
    running = listening(Server(limits=Limits(handshake_timeout=0.1)))
    for request in ("", "GET / HTTP/1.1\r\nHost: "):
        answer = running.ask(request)
        assert answer == "" or answer.startswith("HTTP/1.1 400")


# -- stopping --------------------------------------------------------------------------------------


def test_stopping_closes_every_client_so_that_it_comes_back(
    listening: Callable[..., Listening],
) -> None:
    server = Server()
    reasons: list[str] = []
    server.on("disconnect", lambda sid, reason: reasons.append(reason))
    running = listening(server)
    polling, socket = Polling(server).join(), WebSocket(server).join()
    open_poll = gevent.spawn(polling.poll)
    settle()
    server.stop()
    assert open_poll.get(timeout=DEADLINE)[0] == 400
    # Neither Socket.IO's DISCONNECT nor Engine.IO's CLOSE.
    assert socket.frame() == (8, (1001).to_bytes(2, "big"))
    running.end()
    assert reasons == ["server disconnect"] * 2


def test_stopping_waits_for_handlers_and_no_longer_than_the_drain(
    listening: Callable[..., Listening],
) -> None:
    for drain, finished in ((10.0, True), (0.1, False)):
        server = Server(drain_seconds=drain)
        entered, release = Event(), Event()
        done: list[bool] = []

        @server.on("slow")
        def slow(
            sid: str, entered: Any = entered, release: Any = release, done: Any = done
        ) -> None:
            entered.set()
            release.wait(DEADLINE)
            done.append(True)

        running = listening(server)
        client = Polling(server).join()
        client.emit("slow")
        assert entered.wait(DEADLINE)
        server.stop()
        if finished:
            settle()
            assert not running.greenlet.dead
            release.set()
        running.end()
        assert bool(done) is finished
        release.set()


def test_stop_without_listen_is_nothing() -> None:
    Server().stop()


def test_many_clients_are_closed_a_few_at_a_time() -> None:
    server = Server(drain_seconds=0.5)
    clients = [server.test_client() for _ in range(serving_module.AT_ONCE + 20)]
    draining = gevent.spawn(server.shutdown)
    until(lambda: not clients[0].connected)
    left = sum(client.connected for client in clients)
    assert left > len(clients) / 2
    draining.join(DEADLINE)
    assert not any(client.connected for client in clients)


SIGNALLED = """
import os, signal
import gevent
from rtcio_sync import Server

server = Server()


def interrupt(port):
    gevent.spawn_later(0.05, os.kill, os.getpid(), signal.SIGTERM)


server.listen(0, host="127.0.0.1", ready=interrupt)
print("ended")
try:
    os.kill(os.getpid(), signal.SIGINT)
    gevent.sleep(5)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_signal_ends_listen_and_is_its_own_again_afterwards() -> None:
    assert output_of(SIGNALLED) == "ended\ninterrupted\n"


def output_of(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_listen_on_threads_is_stopped_from_another_one() -> None:
    app = new_app()
    server = Server(app=app, async_mode="threading")
    ports: list[int] = []
    thread = threading.Thread(
        target=lambda: server.listen(0, host="127.0.0.1", ready=ports.append), daemon=True
    )
    thread.start()
    deadline = time.monotonic() + DEADLINE
    while not ports:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/", timeout=DEADLINE) as answer:
        assert answer.read() == b"home"
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    server.stop()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert handlers == [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]


# -- what it tells ---------------------------------------------------------------------------------


def test_a_patched_process_is_not_warned() -> None:
    program = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import logging, sys; logging.basicConfig(stream=sys.stdout)\n"
        "from rtcio_sync.serving.listen import warn_if_unpatched; warn_if_unpatched()"
    )
    assert output_of(program) == ""


def test_this_process_is_not_patched() -> None:
    # What the tests above and below stand on.
    assert not monkey.is_module_patched("socket")


def test_listen_warns_once_of_a_process_that_is_not_patched(
    listening: Callable[..., Listening], caplog: pytest.LogCaptureFixture
) -> None:
    served = listening(Server())
    assert '"sid"' in served.get("/socket.io/?EIO=4&transport=polling")
    assert caplog.text.count("monkey.patch_all()") == 1


class Worker(gunicorn.workers.base.Worker):  # type: ignore[misc]
    """A gunicorn worker that loads an app with a server in it; no more of it is started."""

    def __init__(self, workers: int, age: int) -> None:
        self.cfg = gunicorn.config.Config()
        self.cfg.set("workers", workers)
        self.age = age

    def load_wsgi(self, **options: Any) -> None:
        Server(**options)


Worker.__module__ = "gunicorn.workers.of_the_tests"


@pytest.mark.parametrize(
    ("workers", "age", "bus", "warned"),
    [(1, 1, False, 0), (2, 1, False, 1), (2, 2, False, 0), (2, 1, True, 0)],
    ids=["one worker", "the first of two", "the second of two", "with a client manager"],
)
def test_several_workers_that_cannot_reach_each_other_are_warned_of_once(
    workers: int, age: int, bus: bool, warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    Worker(workers, age).load_wsgi(**({"client_manager": Bus().manager()} if bus else {}))
    assert len(caplog.records) == warned
    for record in caplog.records:
        assert "`-w 1`" in record.getMessage()
        assert "client_manager" in record.getMessage()


def test_making_a_server_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Server(app=new_app())
    Server(client_manager=Bus().manager())
    assert caplog.records == []


def test_a_server_leaves_the_loggers_of_others_alone() -> None:
    names = ("", "socketio", "socketio.server", "engineio", "engineio.server", "rtcio_sync")
    before = {name: list(logging.getLogger(name).handlers) for name in names}
    levels = {name: logging.getLogger(name).level for name in names}
    Server(logger=True, engineio_logger=True)
    Server()
    assert {name: logging.getLogger(name).handlers for name in names} == before
    assert {name: logging.getLogger(name).level for name in names} == levels
    for name in ("rtcio_sync.upstream.socketio", "rtcio_sync.upstream.engineio"):
        assert logging.getLogger(name).handlers == []


def test_pywsgi_serves_it_as_any_application() -> None:
    server = Server()
    application = serving_module.not_found(server)
    http = pywsgi.WSGIServer(("127.0.0.1", 0), application, log=None)
    http.start()
    try:
        with in_time(), gevent.socket.create_connection(("127.0.0.1", http.server_port)) as sock:
            sock.sendall(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.0\r\n\r\n")
            assert b'0{"sid":' in sock.recv(65536)
    finally:
        http.stop()
