"""Server programs as subprocesses, one for each way of running the library."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.timing import DEADLINE

HERE = Path(__file__).parent
APPS = HERE / "apps"
#: Has the servers do without packages of the tests'.
AS_USERS = HERE / "as_users"
LAUNCHERS = HERE / "launchers"
BIN = Path(sys.executable).parent

#: Seconds a server may take until it answers, on a machine with other work to do.
START_DEADLINE = 120.0


@dataclass(frozen=True)
class Way:
    """A way of running an app: ``command(module, port)``, and the `async_mode` that suits it."""

    command: Callable[[str, int], list[str]]
    async_mode: str = "gevent"


def _launcher(name: str, *flags: str) -> Callable[[str, int], list[str]]:
    def command(module: str, port: int) -> list[str]:
        return [sys.executable, str(LAUNCHERS / name), module, str(port), *flags]

    return command


def _gunicorn(worker: str, *flags: str, workers: int = 1) -> Callable[[str, int], list[str]]:
    def command(module: str, port: int) -> list[str]:
        bind = ("-w", str(workers), "-b", f"127.0.0.1:{port}")
        return [str(BIN / "gunicorn"), "-k", worker, *bind, *flags, f"{module}:app"]

    return command


def _cli(module: str, port: int) -> list[str]:
    return [
        sys.executable, "-m", "rtcio_sync",
        "--app", f"{module}:app", "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip


def _cli_workers(module: str, port: int) -> list[str]:
    return [*_cli(module, port), "--workers", "4"]


def _public_server(module: str, port: int) -> list[str]:
    return [sys.executable, "-m", "rtcio_sync", "--host", "127.0.0.1", "--port", str(port)]


def _uwsgi(module: str, port: int) -> list[str]:
    return [
        str(BIN / "uwsgi"), "--http-socket", f"127.0.0.1:{port}", "--module", f"{module}:app",
        "--gevent", "100", "--gevent-early-monkey-patch", "--master", "--die-on-term",
        "--disable-logging", "--pythonpath", str(APPS), "--virtualenv", sys.prefix,
    ]  # fmt: skip


def _flask(*arguments: str) -> Callable[[str, int], list[str]]:
    def command(module: str, port: int) -> list[str]:
        return [
            sys.executable, "-m", "flask", "--app", f"{module}:app", *arguments,
            "--host", "127.0.0.1", "--port", str(port),
        ]  # fmt: skip

    return command


GEVENT_WEBSOCKET = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"

WAYS: dict[str, Way] = {
    "listen": Way(_launcher("listen.py")),
    "command-line": Way(_cli),
    "public-server": Way(_public_server),
    "pywsgi": Way(_launcher("serve_pywsgi.py")),
    "pywsgi-geventwebsocket": Way(_launcher("serve_pywsgi.py", "--geventwebsocket")),
    "gunicorn-gevent": Way(_gunicorn("gevent")),
    "gunicorn-geventwebsocket": Way(_gunicorn(GEVENT_WEBSOCKET)),
    "werkzeug": Way(_launcher("serve_werkzeug.py"), "threading"),
    "uwsgi": Way(_uwsgi, "gevent_uwsgi"),
    "flask-rtcio-run": Way(_flask("rtcio", "run")),
    "flask-run": Way(_flask("run"), "threading"),
}

#: `SocketIO.run`, of Flask-SocketIO or of ours.
SOCKETIO_RUN = {"socketio-run": Way(_launcher("socketio_run.py"))}


#: Servers of several processes that are one server.
WORKERS: dict[str, Way] = {
    "gevent": Way(_gunicorn("gevent", workers=4)),
    "gevent-preload": Way(_gunicorn("gevent", "--preload", workers=4)),
    "gevent_pywsgi": Way(_gunicorn("gevent_pywsgi", workers=4)),
    "geventwebsocket": Way(_gunicorn(GEVENT_WEBSOCKET, workers=4)),
    "rtcio-sync": Way(_cli_workers),
}

#: One of several hosts, with two workers.
HOSTS: dict[str, Way] = {"gunicorn-2": Way(_gunicorn("gevent", workers=2))}


def _python(module: str, *arguments: str) -> Callable[[str, int], list[str]]:
    def command(app: str, port: int) -> list[str]:
        filled = [each.format(app=app, port=port) for each in arguments]
        return [sys.executable, "-m", module, *filled]

    return command


#: Servers that call the application on a pool of threads, and whether WebSockets work there.
THREADS: dict[str, tuple[Way, bool]] = {
    "gunicorn-threads": (
        Way(_python("gunicorn", "--threads", "16", "-b", "127.0.0.1:{port}", "{app}:app")),
        True,
    ),
    "waitress": (
        Way(_python("waitress", "--listen", "127.0.0.1:{port}", "--threads", "16", "{app}:app")),
        False,
    ),
    "cheroot": (
        Way(_python("cheroot", "--bind", "127.0.0.1:{port}", "--threads", "16", "{app}:app")),
        False,
    ),
}


class Running:
    """A server that answers on `url`, and its log."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        port: int,
        log_path: Path,
        scheme: str = "http",
        host: str = "127.0.0.1",
    ) -> None:
        self.process = process
        self.port = port
        self.host = host
        self.url = f"{scheme}://{host}:{port}"
        self._log_path = log_path

    def log(self, since: int = 0) -> str:
        """What the process wrote on stdout and stderr, from a position that `log_mark` gave."""
        with self._log_path.open("rb") as log:
            log.seek(since)
            return log.read().decode("utf-8", "replace")

    def log_mark(self) -> int:
        return self._log_path.stat().st_size

    def get(self, path: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
        connection = (
            http.client.HTTPConnection(self.host, self.port, timeout=DEADLINE)
            if self.url.startswith("http:")
            else http.client.HTTPSConnection(
                self.host, self.port, timeout=DEADLINE, context=ssl._create_unverified_context()
            )
        )
        connection.request("GET", path, headers={"Connection": "close", **(headers or {})})
        return connection.getresponse()

    def get_json(self, path: str) -> Any:
        response = self.get(path)
        body = response.read()
        assert response.status == 200, (response.status, body)
        return json.loads(body)

    def eventually(self, path: str, condition: Callable[[Any], bool]) -> Any:
        """Ask until the JSON at `path` is as it must become, and return it."""
        end = time.monotonic() + DEADLINE
        while not condition(found := self.get_json(path)):
            assert time.monotonic() < end, f"{path} is still {found}"
            time.sleep(0.05)
        return found

    def release(self) -> None:
        """Let the handlers of the test app go on that wait for it."""
        assert self.get("/release").read() == b"ok"

    def terminate(self, number: int = signal.SIGTERM, timeout: float = DEADLINE) -> int:
        """Send a signal to the process and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """End whatever is left of the server and its workers (it leads a session of its own)."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(
    way: str = "listen",
    module: str = "calls",
    *,
    environ: dict[str, str] | None = None,
    clean_log: bool = True,
    port: int | None = None,
    certificate: str | None = None,
    host: str = "127.0.0.1",
    within: Sequence[str] = (),
    **options: Any,
) -> Iterator[Running]:
    """Start an app of `apps/` in a `way` of running, and stop it afterwards.

    `options` are those of its ``Server``. With `clean_log` the log must be free of warnings, errors
    and tracebacks in the end. `certificate` is a PEM file with key and chain: the server speaks
    TLS. `within` is a command that runs the server somewhere else, where it has the address `host`.
    """
    port = port or free_port()
    how = {**WAYS, **WORKERS, **HOSTS, **SOCKETIO_RUN}.get(way) or THREADS[way][0]
    settings = {"async_mode": how.async_mode, **options}
    with tempfile.TemporaryDirectory() as folder:
        log_path = Path(folder) / "server.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [*within, *how.command(module, port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=APPS,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(map(str, (AS_USERS, APPS, HERE.parent.parent))),
                    "PYTHONUNBUFFERED": "1",
                    "RTCIO_TEST_OPTIONS": json.dumps(settings),
                    # gunicorn's control socket: others that start now must not share its path.
                    "XDG_RUNTIME_DIR": folder,
                    **(_over_tls(certificate) if certificate else {}),
                    **({"RTCIO_TEST_HOST": "0.0.0.0"} if within else {}),
                    **(environ or {}),
                },
                start_new_session=True,
            )
        server = Running(process, port, log_path, "https" if certificate else "http", host)
        try:
            _wait_until_it_answers(server)
            yield server
            if server.process.poll() is None:
                server.terminate()
            if clean_log:
                assert_clean(server.log())
        except BaseException:
            # What the server said is the first thing to read when a test fails.
            sys.stderr.write(f"--- log of {way} {module}:\n{server.log()[-8000:]}\n---\n")
            raise
        finally:
            server.kill()


def _over_tls(certificate: str) -> dict[str, str]:
    # The first for the launchers, the second is how gunicorn takes options from the environment.
    return {
        "RTCIO_TEST_CERTIFICATE": certificate,
        "GUNICORN_CMD_ARGS": f"--certfile {certificate} --keyfile {certificate}",
    }


def assert_clean(log: str, allowed: str = "") -> None:
    """Nothing above info, and no traceback, but for lines with ``allowed`` in them."""
    found = [line for line in complaints(log) if not (allowed and allowed in line)]
    assert not found, "the server complained:\n" + "\n".join(found)


#: How a level above info looks in the formats in use: the test apps', gunicorn's, logging's own.
_COMPLAINTS = (
    "Traceback", "LOG WARNING", "LOG ERROR", "LOG CRITICAL", "[WARNING]", "[ERROR]", "[CRITICAL]",
    "WARNING:", "ERROR:", "Warning:", "SystemExit", "BlockingSwitchOutError",
)  # fmt: skip

#: Werkzeug and uWSGI say these of themselves at each start.
_HARMLESS = (
    "WARNING: This is a development server",
    "WARNING: you are running uWSGI as root",
    # What a client did wrong:
    "a client was refused because it is too old",
    "a client asks for the path ",
)


def complaints(log: str) -> list[str]:
    return [
        line
        for line in log.splitlines()
        if any(sign in line for sign in _COMPLAINTS) and not any(sign in line for sign in _HARMLESS)
    ]


def above_debug(log: str) -> list[str]:
    """The lines of the test apps' log that a logger wrote at info or above.

    Without the one of `listen` that says where it listens.
    """
    return [
        line
        for line in log.splitlines()
        if line.startswith("LOG ") and " DEBUG " not in line and "listening on http" not in line
    ] + complaints(log)


def _ports(worker: int) -> Iterator[int]:
    """Those of one process of pytest's, one after the other, from anywhere among them.

    They are below those that connections get, and no other of these processes hands them out: a
    server takes some time until it listens on the port that it was given.
    """
    own = range(10_000 + worker % _SHARES, 32_000, _SHARES)
    start = random.SystemRandom().randrange(len(own))
    return itertools.cycle([*own[start:], *own[:start]])


#: The processes of pytest's that have ports of their own.
_SHARES = 16
_claim = socket.socket(socket.AF_UNIX)  # as long as this process lives


def _own_share() -> int:
    """A share of the ports that no other pytest on this machine has, if there is one."""
    first = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for share in range(first, first + _SHARES):
        with suppress(OSError):  # another one has it
            _claim.bind(f"\0rtcio_sync tests, share {share % _SHARES} of the ports")
            return share
    return first


_own_ports = _ports(_own_share())


def free_port() -> int:
    """A port that nobody has, and nobody will take meanwhile."""
    while True:
        port = next(_own_ports)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _wait_until_it_answers(server: Running) -> None:
    end = time.monotonic() + START_DEADLINE
    while True:
        code = server.process.poll()
        if code is not None:
            raise AssertionError(f"the server ended at once, with {code}")
        try:
            server.get("/health").read()
            return
        except OSError:
            if time.monotonic() > end:
                raise AssertionError(f"no answer within {START_DEADLINE} s") from None
            # The one sleep of the harness: nobody tells when a port opens.
            time.sleep(0.05)
