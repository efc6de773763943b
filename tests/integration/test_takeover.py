"""WebSockets taken over from each WSGI server, and how each of them stops."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from tests.frames import ACCEPT, masked, upgrade_request
from tests.integration.echo_app import DRAIN
from tests.integration.servers import assert_clean, complaints, free_port
from tests.timing import DEADLINE, wait_until

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

#: The worker of gevent-websocket.
GEVENTWEBSOCKET = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"

AUTHORITY = trustme.CA()


class Client:
    """A WebSocket of the `websockets` library, in one thread.

    Its own client reads in one thread and writes in another. Over TLS, Python's sockets do not bear
    that: now and then what was written is never sent.
    """

    def __init__(self, sock: socket.socket, uri: str) -> None:
        self._sock = sock
        self._protocol = ClientProtocol(parse_uri(uri), max_size=None)
        self._events: list[Any] = []
        self._protocol.send_request(self._protocol.connect())
        response = self._event()
        assert isinstance(response, Response) and response.status_code == 101, response

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with suppress(OSError):
            if exc_info[0] is None and self.close_code is None:
                self._protocol.send_close(1000)
                self.wait_closed()
        self._sock.close()

    def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        self._flush()

    def recv(self) -> str | bytes:
        frame = self._event()
        assert isinstance(frame, Frame) and frame.opcode in (Opcode.TEXT, Opcode.BINARY), frame
        data = bytes(frame.data)
        return data.decode() if frame.opcode == Opcode.TEXT else data

    def wait_closed(self) -> int | None:
        """Answer the server's close frame; its code, 1006 if TCP just ended."""
        while self._event() is not None:
            pass
        return self.close_code

    @property
    def close_code(self) -> int | None:
        return self._protocol.close_code

    def _event(self) -> Any:
        """The next answer or frame; None at the end of TCP."""
        self._flush()
        while not self._events:
            data = self._sock.recv(65536)
            if not data:
                self._protocol.receive_eof()
                return None
            self._protocol.receive_data(data)
            self._flush()
            self._events += self._protocol.events_received()
        return self._events.pop(0)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._sock.sendall(data)


class Server:
    """A server of the echo app, its log, and how to reach it."""

    def __init__(self, way: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self.way = way
        self.port = port
        self.process = process
        self._log = log
        self.tls: ssl.SSLContext | None = None
        if way.endswith("-tls"):
            self.tls = ssl.create_default_context()
            AUTHORITY.configure_trust(self.tls)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def forget_log(self) -> None:
        """Do not hold against the server what the test has found to be right."""
        self._log.write_text("")

    def raw(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)
        return self.tls.wrap_socket(sock, server_hostname="127.0.0.1") if self.tls else sock

    def client(self, query: str = "") -> Client:
        return Client(self.raw(), f"ws://127.0.0.1:{self.port}/{query}")

    def state(self) -> dict[str, Any]:
        with self.raw() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            response = http.client.HTTPResponse(sock)
            response.begin()
            state: dict[str, Any] = json.loads(response.read())
            return state

    def eventually(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + DEADLINE
        while True:
            # Between one worker and the next there is nobody to ask.
            with suppress(OSError, http.client.HTTPException):
                if condition(state := self.state()):
                    return state
            assert time.monotonic() < end, "it did not become so"
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(DEADLINE)


def command(way: str, port: int, certificate: str, *arguments: str) -> list[str]:
    server, _, rest = way.removesuffix("-tls").partition(" ")
    tls = way.endswith("-tls")
    if server == "pywsgi":
        flags = ["--certificate", certificate] if tls else []
        flags += ["--geventwebsocket"] if rest else []
        return [sys.executable, "-m", "tests.integration.echo_app", str(port), *flags]
    worker = {"geventwebsocket": GEVENTWEBSOCKET}.get(rest, rest)
    flags = ["--certfile", certificate, "--keyfile", certificate] if tls else []
    return [
        *(str(BIN / "gunicorn"), "-k", worker, "-b", f"127.0.0.1:{port}"),
        *("--access-logfile", "-", "--keep-alive", "30", *flags, *arguments),
        "tests.integration.echo_app:app",
    ]


@contextmanager
def serving(way: str, *arguments: str, **environ: str) -> Iterator[Server]:
    """The echo app in a way of serving it; in the end the log has to be clean."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder, "server.pem")
        AUTHORITY.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            str(certificate)
        )
        log = Path(folder, "log")
        with log.open("ab") as output:
            process = subprocess.Popen(
                command(way, port, str(certificate), *arguments),
                cwd=ROOT,
                env={**os.environ, **environ},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(way, port, process, log)
        try:
            wait_until_it_answers(server)
            yield server
            server.stop()
            assert_clean(server.log)
        except BaseException:
            sys.stderr.write(f"--- log of {way}:\n{server.log[-8000:]}\n---\n")
            raise
        finally:
            if process.poll() is None or way.startswith("gunicorn"):
                kill_session(process)


def kill_session(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until_it_answers(server: Server) -> None:
    end = time.monotonic() + DEADLINE
    while True:
        try:
            server.state()
            return
        except (OSError, http.client.HTTPException):
            assert server.process.poll() is None, "the server ended at once"
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.1)


PLAIN = [
    "pywsgi",
    "pywsgi geventwebsocket",
    "gunicorn gevent",
    "gunicorn gevent_pywsgi",
    "gunicorn geventwebsocket",
]
TLS = [f"{way}-tls" for way in PLAIN]

#: gevent-websocket answers the handshake itself, with its own mistakes, and logs none.
HANDSHAKE_IS_OURS = [way for way in PLAIN + TLS if "geventwebsocket" not in way]


@pytest.fixture(scope="module", params=PLAIN + TLS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(request.param) as running:
        yield running


# --- the handshake and the bytes around it --------------------------------------------------------


def read_head(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers, and what came behind them."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(4096)
        assert piece, data
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
    return int(lines[0].split()[1]), headers, rest


def read_exactly(sock: socket.socket, size: int, data: bytes = b"") -> bytes:
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, data
        data += piece
    return data


def echoes(client: Client) -> None:
    for message in ("short", "é" * 1000, random.Random(0).randbytes(900_000), b"", "last"):
        client.send(message)
        assert client.recv() == message


def test_messages_of_all_sizes_come_back(server: Server) -> None:
    with server.client() as client:
        echoes(client)


def test_the_answer_to_the_handshake_is_that_of_the_rfc(server: Server) -> None:
    with server.raw() as sock:
        sock.sendall(upgrade_request())
        status, headers, rest = read_head(sock)
        assert status == 101 and rest == b""
        assert headers["upgrade"].lower() == "websocket"
        assert headers["connection"].lower() == "upgrade"
        assert headers["sec-websocket-accept"] == ACCEPT
        assert "transfer-encoding" not in headers and "content-length" not in headers


def test_frames_sent_with_the_handshake_are_not_lost(server: Server) -> None:
    for _ in range(50):
        with server.raw() as sock:
            sock.sendall(upgrade_request() + masked(1, b"early"))
            rest = read_head(sock)[2]
            assert read_exactly(sock, 7, rest) == b"\x81\x05early"


def test_more_than_the_server_reads_at_a_time_with_the_handshake_is_not_lost(
    server: Server,
) -> None:
    frames = [f"{number:04}".encode() * 50 for number in range(300)]
    with server.raw() as sock:
        sock.sendall(upgrade_request() + b"".join(masked(1, frame) for frame in frames))
        expected = b"".join(b"\x81\x7e\x00\xc8" + frame for frame in frames)
        assert read_exactly(sock, len(expected), read_head(sock)[2]) == expected


def test_frames_sent_upon_the_answer_are_not_lost(server: Server) -> None:
    # They arrive while the server ends the request.
    for _ in range(50):
        with server.raw() as sock:
            sock.sendall(upgrade_request())
            assert read_head(sock)[2] == b""
            sock.sendall(masked(1, b"prompt"))
            assert read_exactly(sock, 8) == b"\x81\x06prompt"


def test_a_frame_cut_by_the_end_of_the_handshake_is_put_together(server: Server) -> None:
    frame = masked(1, b"cut in two")
    with server.raw() as sock:
        sock.sendall(upgrade_request() + frame[:5])
        rest = read_head(sock)[2]
        sock.sendall(frame[5:])
        assert read_exactly(sock, 12, rest) == b"\x81\x0acut in two"


def test_a_connection_that_served_requests_before_can_be_upgraded(server: Server) -> None:
    with server.raw() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        response = http.client.HTTPResponse(sock)
        response.begin()
        response.read()
        assert response.status == 200
        sock.sendall(
            upgrade_request().replace(b": Upgrade\r\n", b": keep-alive, Upgrade\r\n")
            + masked(1, b"hello")
        )
        status, _, rest = read_head(sock)
        assert status == 101
        assert read_exactly(sock, 7, rest) == b"\x81\x05hello"


@pytest.mark.parametrize("server", HANDSHAKE_IS_OURS, indirect=True)
@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ=", 400),
        (b"Version: 13", b"Version: 14", 426),
        (b"Connection: Upgrade", b"Connection: keep-alive", 400),
    ],
)
def test_a_bad_handshake_is_refused(server: Server, old: bytes, new: bytes, status: int) -> None:
    with server.raw() as sock:
        sock.sendall(upgrade_request().replace(old, new))
        response = http.client.HTTPResponse(sock)
        response.begin()
        response.read()
        assert response.status == status
        assert response.getheader("Sec-WebSocket-Version") == ("13" if status == 426 else None)


# --- what a connection leaves to the server -------------------------------------------------------


@pytest.mark.parametrize("server", HANDSHAKE_IS_OURS, indirect=True)
def test_the_access_log_has_a_line_with_101(server: Server) -> None:
    with server.client("?logged=1") as client:
        echoes(client)
    end = time.monotonic() + DEADLINE
    while not (lines := [line for line in server.log.splitlines() if "logged=1" in line]):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert [" 101 " in line for line in lines] == [True]


def test_an_open_connection_costs_a_greenlet_only_over_tls(server: Server) -> None:
    before = at_rest(server)
    with ExitStack() as stack:
        for _ in range(10):
            client = stack.enter_context(server.client())
            client.send("hello")
            assert client.recv() == "hello"
        parked = 10 if server.tls else 0
        server.eventually(
            lambda state: (
                state["open"] == 10 and parked <= state["greenlets"] <= before["greenlets"] + parked
            )
        )


def at_rest(server: Server) -> dict[str, Any]:
    """Its state with nobody connected, once it has all that its first WebSocket makes it start."""
    with server.client() as client:
        echoes(client)
    return server.eventually(lambda state: state["open"] == 0)


def test_nothing_is_left_of_connections_that_ended(server: Server) -> None:
    before = at_rest(server)
    for _ in range(10):
        with server.client() as client:
            echoes(client)
    server.eventually(
        lambda state: all(
            state[what] <= before[what] for what in ("open", "descriptors", "greenlets")
        )
    )


# gevent-websocket over TLS logs an error of its own when its 101 finds the client gone.
@pytest.mark.parametrize(
    "server", PLAIN + [way for way in HANDSHAKE_IS_OURS if "tls" in way], indirect=True
)
@pytest.mark.parametrize("query", ["", "?sleep=1"])
def test_a_reset_during_the_handshake_leaves_nothing(server: Server, query: str) -> None:
    before = at_rest(server)
    for _ in range(10):
        reset(server, query)
    if query:
        time.sleep(1.2)
    server.eventually(
        lambda state: all(
            state[what] <= before[what] for what in ("open", "descriptors", "greenlets")
        )
    )


def reset(server: Server, query: str = "") -> None:
    """Send a handshake and reset the connection, without waiting for the answer."""
    sock = server.raw()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.sendall(upgrade_request(f"/{query}"))
    if query:
        time.sleep(0.1)  # the application is called, and sleeps, before the reset comes
    sock.close()


# --- what may stand in front ----------------------------------------------------------------------


@pytest.mark.parametrize("middleware", ["adding", "holding-back"])
@pytest.mark.parametrize("way", [way for way in PLAIN if "geventwebsocket" not in way])
def test_middlewares_that_wrap_start_response_are_no_obstacle(way: str, middleware: str) -> None:
    with serving(way, MIDDLEWARE=middleware) as server:
        with server.raw() as sock:
            sock.sendall(upgrade_request() + masked(1, b"early"))
            status, headers, rest = read_head(sock)
            assert status == 101
            assert headers.get("x-added") == ("yes" if middleware == "adding" else None)
            assert read_exactly(sock, 7, rest) == b"\x81\x05early"
        with server.client() as client:
            echoes(client)
        server.stop()
        assert server.log.count(" 101 ") == 2


@pytest.mark.parametrize("arguments", [["--preload"], ["--keep-alive", "0"], ["--threads", "4"]])
def test_gunicorns_options_are_no_obstacle(arguments: list[str]) -> None:
    with serving("gunicorn gevent", *arguments) as server, server.client() as client:
        echoes(client)


def test_another_server_is_not_taken_over() -> None:
    # Patched, its sockets are gevent's: they look like pywsgi's.
    program = (
        "from gevent import monkey; monkey.patch_all()\n"
        "from wsgiref.simple_server import make_server\n"
        "from tests.integration.echo_app import app\n"
        "import sys; make_server('127.0.0.1', int(sys.argv[1]), app).serve_forever()\n"
    )
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(port)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + DEADLINE
        while True:
            try:
                sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
                break
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.1)
        with sock:
            sock.sendall(upgrade_request())
            assert read_head(sock)[0] == 501
    finally:
        process.kill()
        process.wait()


# --- how a server stops ---------------------------------------------------------------------------

CLIENTS = 20


@contextmanager
def clients(server: Server, count: int = CLIENTS) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        made = [stack.enter_context(server.client()) for _ in range(count)]
        for client in made:
            client.send("hello")
            assert client.recv() == "hello"
        yield made


def ends(pid: int) -> None:
    """Wait until a worker is gone."""
    end = time.monotonic() + DEADLINE
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end, "the old worker stays"
        time.sleep(0.1)


def state_of(pid: int) -> str:
    """What the kernel says of a process; ``S``: it waits."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


STOPS = [
    *((way, signal.SIGTERM) for way in [*PLAIN, "pywsgi-tls", "gunicorn gevent_pywsgi-tls"]),
    *(("gunicorn gevent", number) for number in (signal.SIGINT, signal.SIGQUIT)),
    *(("gunicorn gevent-tls", number) for number in (signal.SIGTERM, signal.SIGINT)),
]


@pytest.mark.parametrize(("way", "number"), STOPS)
def test_a_server_that_stops_tells_every_client_and_waits(way: str, number: int) -> None:
    with serving(way) as server, clients(server) as opened:
        server.process.send_signal(number)
        assert [client.wait_closed() for client in opened] == [1001] * CLIENTS
        assert server.process.wait(DEADLINE) == 0
        assert f"drained {CLIENTS}" in server.log, "it gave up within DRAIN seconds"


def test_an_interrupt_of_a_whole_process_group_is_as_good_as_one() -> None:
    # So a terminal does it: the worker is told by it, and again by the master.
    with serving("gunicorn gevent") as server, clients(server) as opened:
        os.killpg(server.process.pid, signal.SIGINT)
        assert [client.wait_closed() for client in opened] == [1001] * CLIENTS
        assert server.process.wait(DEADLINE) == 0
        assert f"drained {CLIENTS}" in server.log


def test_an_interrupt_of_serve_forever_tells_every_client_and_waits() -> None:
    with serving("pywsgi") as server, clients(server) as opened:
        server.state()  # Python raises the interrupt anywhere: not while it writes to a client
        # gevent hears of one that comes just before its loop waits when something else happens.
        wait_until(lambda: state_of(server.process.pid) == "S")
        server.process.send_signal(signal.SIGINT)
        assert [client.wait_closed() for client in opened] == [1001] * CLIENTS
        server.process.wait(DEADLINE)
        assert f"drained {CLIENTS}" in server.log
        assert "KeyboardInterrupt" in server.log
        server.forget_log()


@pytest.mark.parametrize("way", ["pywsgi", "gunicorn gevent", "gunicorn gevent-tls"])
def test_clients_that_do_not_answer_are_told_and_not_waited_for(way: str) -> None:
    with serving(way) as server, ExitStack() as stack:
        socks = [stack.enter_context(server.raw()) for _ in range(5)]
        for sock in socks:
            sock.sendall(upgrade_request())
            assert read_head(sock)[0] == 101
        server.process.terminate()
        assert server.process.wait(DEADLINE) == 0
        assert "drained 5" in server.log
        for sock in socks:
            assert read_exactly(sock, 4) == b"\x88\x02\x03\xe9"


@pytest.mark.parametrize("way", ["pywsgi", "gunicorn gevent"])
def test_a_callback_that_hangs_is_not_waited_for(way: str) -> None:
    with serving(way, HANG="1") as server, clients(server, 1):
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(DEADLINE) == 0
        assert time.monotonic() - began > DRAIN - 1


@pytest.mark.parametrize("way", PLAIN[2:])
def test_a_reload_closes_the_old_workers_connections_and_serves_on(way: str) -> None:
    with serving(way) as server, clients(server) as opened:
        old = server.state()["pid"]
        server.process.send_signal(signal.SIGHUP)
        assert [client.wait_closed() for client in opened] == [1001] * CLIENTS
        new = server.eventually(lambda state: state["pid"] != old)
        assert new["lost"] == []
        with server.client() as client:
            echoes(client)
        ends(old)


def test_gunicorns_reloader_closes_the_old_workers_connections(tmp_path: Path) -> None:
    watched = tmp_path / "settings.txt"
    watched.write_text("1")
    flags = ["--reload", "--reload-engine", "poll", "--reload-extra-file", str(watched)]
    with serving("gunicorn gevent", *flags) as server, clients(server) as opened:
        old = server.state()["pid"]
        watched.write_text("2")
        os.utime(watched, (time.time() + 10, time.time() + 10))
        assert [client.wait_closed() for client in opened] == [1001] * CLIENTS
        ends(old)
        server.eventually(lambda state: state["pid"] != old)
        assert f"drained {CLIENTS}" in server.log
        assert all("Reloader is on" in line for line in complaints(server.log))
        server.forget_log()


def test_a_worker_that_has_served_its_requests_closes_its_connections() -> None:
    with serving("gunicorn gevent", "--max-requests", "30") as server, clients(server) as opened:
        old = server.state()["pid"]
        server.eventually(lambda state: state["pid"] != old)
        assert [client.wait_closed() for client in opened] == [1001] * CLIENTS


def test_a_users_own_exit_hook_still_runs(tmp_path: Path) -> None:
    configuration = tmp_path / "gunicorn.conf.py"
    configuration.write_text("def worker_exit(server, worker): worker.log.info('users own hook')\n")
    with serving("gunicorn gevent", "-c", str(configuration)) as server:
        with clients(server, 1) as opened:
            server.process.terminate()
            assert opened[0].wait_closed() == 1001
            server.process.wait(DEADLINE)
        assert server.log.index("drained 1") < server.log.index("users own hook")
