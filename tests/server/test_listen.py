"""`Server.listen` and `Server.stop`: which app is served, and what clients see at the end."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import gevent
import pytest
from gevent.event import Event

from rtcio_sync import NotServing, OptionError, Server
from rtcio_sync.cluster import socket_directory
from rtcio_sync.serving.stop import AT_ONCE
from rtcio_sync.serving.supervised_worker import LIFE, SUPERVISOR
from rtcio_sync.serving.workers import _made
from tests.bus import Bus
from tests.clients import Polling, WebSocket
from tests.cluster.nodes import Node
from tests.serving.running import SIGNALING, Run, running_until_the_end
from tests.timing import DEADLINE, settle, until


@pytest.fixture
def run() -> Iterator[Run]:
    yield from running_until_the_end()


def new_app() -> flask.Flask:
    app = flask.Flask(__name__)
    app.get("/")(lambda: "home")
    return app


# -- listen ----------------------------------------------------------------------------------------


MODES = pytest.mark.parametrize("mode", ["gevent", "threading"])


@MODES
@pytest.mark.parametrize("way", ["app=", "init_app", "listen(app=)"])
def test_the_app_and_the_signaling_are_served_however_the_app_was_given(
    run: Run, way: str, mode: str
) -> None:
    app = new_app()
    server = Server(async_mode=mode, app=app if way == "app=" else None)
    if way == "init_app":
        server.init_app(app)
    running = run(server, **({"app": app} if way == "listen(app=)" else {}))
    assert running.get("/") == "home"
    assert '0{"sid":' in running.get(SIGNALING)
    assert len(server.eio.sockets) == 1


@MODES
def test_an_application_that_is_no_flask_app_is_served_too(run: Run, mode: str) -> None:
    def plain(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"plain"]

    running = run(Server(async_mode=mode), app=plain)
    assert running.get("/") == "plain"
    assert '0{"sid":' in running.get(SIGNALING)


@MODES
def test_a_server_without_an_app_serves_its_own_path_alone(run: Run, mode: str) -> None:
    running = run(Server(async_mode=mode, path="signal"))
    assert '0{"sid":' in running.get(SIGNALING.replace("socket.io", "signal"))
    assert running.get(SIGNALING) == "404"


def test_handlers_run_in_the_context_of_the_app_that_is_listened_with(run: Run) -> None:
    app, server = new_app(), Server()

    def middleware(environ: Any, start_response: Any) -> Any:
        return app(environ, start_response)

    running = run(server, app=middleware)
    assert '0{"sid":' in running.get(SIGNALING)
    (environ,) = server.environ.values()
    assert environ["rtcio.app"] is app


def test_an_invalid_argument_is_refused() -> None:
    with pytest.raises(OptionError, match="port=None"):
        Server().listen(None, host="127.0.0.1")  # type: ignore[arg-type]


# -- stopping --------------------------------------------------------------------------------------


def test_stopping_closes_every_client_so_that_it_reconnects(run: Run) -> None:
    server = Server()
    reasons: list[str] = []
    server.on("disconnect", lambda sid, reason: reasons.append(reason))
    running = run(server)
    polling, socket = Polling(server).join(), WebSocket(server).join()
    open_poll = gevent.spawn(polling.poll)
    settle()
    server.stop()
    assert open_poll.get(timeout=DEADLINE)[0] == 400
    # Neither Socket.IO's DISCONNECT nor Engine.IO's CLOSE.
    assert socket.frame() == (8, (1001).to_bytes(2, "big"))
    running.ended()
    assert reasons == ["server disconnect"] * 2


def test_stopping_waits_for_handlers_and_no_longer_than_the_drain(run: Run) -> None:
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

        running = run(server)
        client = Polling(server).join()
        client.emit("slow")
        assert entered.wait(DEADLINE)
        server.stop()
        if finished:
            settle()
            assert not running.task.dead
            release.set()
        running.ended()
        assert bool(done) is finished
        release.set()


@MODES
def test_a_server_may_listen_on_several_ports_and_stop_ends_all(run: Run, mode: str) -> None:
    server = Server(async_mode=mode)
    several = [run(server) for _ in range(3)]
    assert all('"sid"' in each.get(SIGNALING) for each in several)
    drained: list[int] = []
    server._stop.on_drained.append(lambda: drained.append(1))
    several[1].end()
    for each in several:
        each.ended()
        with pytest.raises(OSError, match="refused"):
            each.get(SIGNALING)
    assert drained == [1]


def test_it_listens_on_several_ports_in_one_thread(run: Run) -> None:
    server = Server()
    served = run(server)
    again = gevent.get_hub().threadpool.spawn(server.listen, 0, "127.0.0.1")
    with pytest.raises(NotServing, match="in that thread"):
        again.get(timeout=DEADLINE)
    assert '"sid"' in served.get(SIGNALING)


def test_stop_without_listen_is_nothing() -> None:
    Server().stop()


def test_many_clients_are_closed_a_few_at_a_time() -> None:
    server = Server(drain_seconds=0.5)
    clients = [server.test_client() for _ in range(AT_ONCE + 20)]
    draining = gevent.spawn(server.shutdown)
    until(lambda: not clients[0].connected)
    left = sum(client.connected for client in clients)
    assert left > len(clients) / 2
    draining.join(DEADLINE)
    assert not any(client.connected for client in clients)


@MODES
def test_a_server_that_has_stopped_says_so_when_it_is_to_listen_again(run: Run, mode: str) -> None:
    server = Server(async_mode=mode)
    run(server).end()
    with pytest.raises(NotServing, match="make another one"):
        server.listen(0, host="127.0.0.1")


FURTHER_PORTS = """
import os, signal
import gevent
from rtcio_sync import Server

server = Server()


def further(port):
    try:
        server.listen(port, host="127.0.0.1")
    except OSError:
        print("taken")
    gevent.spawn(server.listen, 0, host="127.0.0.1", ready=interrupt)


def interrupt(port):
    gevent.spawn_later(0.05, os.kill, os.getpid(), signal.SIGTERM)


server.listen(0, host="127.0.0.1", ready=lambda port: gevent.spawn(further, port))
print("ended")
"""

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


def ended(program: str) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own, which has ended."""
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        check=False,
    )


def test_a_signal_ends_all_though_one_could_not_listen() -> None:
    done = ended(FURTHER_PORTS)
    assert (done.returncode, done.stdout) == (0, "taken\nended\n"), done.stderr


def test_a_signal_ends_listen_and_is_the_processs_own_again_afterwards() -> None:
    done = ended(SIGNALLED)
    assert (done.returncode, done.stdout) == (0, "ended\ninterrupted\n"), done.stderr


# -- what the log says -----------------------------------------------------------------------------


def test_listen_warns_once_of_a_process_that_is_not_patched(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    served = run(Server())
    assert '"sid"' in served.get(SIGNALING)
    assert caplog.text.count("monkey.patch_all()") == 1


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


def test_a_worker_is_dead_for_the_others_once_listen_has_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory(prefix="rtcio", dir="/tmp") as path:
        monkeypatch.setattr(socket_directory, "_bases", lambda: [Path(path)])
        life, held = os.pipe()
        monkeypatch.setenv(LIFE, str(life))
        monkeypatch.setenv(SUPERVISOR, str(os.getppid()))
        server = Server()
        key = f"{server.path} {_made[server.path]}"
        other = Node(master=os.getppid(), key=key)
        try:
            listening = gevent.spawn(server.listen, 0, "127.0.0.1")
            until(lambda: other.handlers.old)
            server.stop()
            until(lambda: other.handlers.dead)
            listening.get(timeout=DEADLINE)
        finally:
            other.mesh.stop()
            os.close(held)
