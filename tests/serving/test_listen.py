"""`listen` with an Engine.IO server alone: what its HTTP servers do, TLS included."""

from __future__ import annotations

import _socket
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import gevent.ssl
import pytest
import trustme
from gevent import pywsgi
from werkzeug.serving import BaseWSGIServer

from rtcio_sync.functions import UnrunError
from rtcio_sync.options import Limits
from rtcio_sync.serving import pywsgi as serving
from rtcio_sync.serving.listen import signaling_only
from rtcio_sync.transport import server_stop
from rtcio_sync.transport.server_stop import close_listener
from tests.frames import upgrade_request
from tests.serving.running import SIGNALING, Bare, Run
from tests.timing import in_time
from tests.unrun import coroutine


def test_its_own_path_is_served_and_a_page_that_says_so(run: Run) -> None:
    running = run(Bare())
    assert '0{"sid":' in running.get(SIGNALING)
    assert "A signaling server runs here" in running.get("/")
    assert running.get("/?a=b") != "404"
    posted = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert " 404 " in running.ask(posted)
    assert running.get("/socket.iox") == "404"


@pytest.mark.parametrize(("size", "writes"), [(100, 1), (100_000, 2)])
def test_a_short_answer_is_written_together_with_its_head(
    run: Run, monkeypatch: pytest.MonkeyPatch, size: int, writes: int
) -> None:
    written: list[int] = []
    send = gevent.socket.socket.sendall

    def counted(sock: Any, data: Any, *args: Any) -> Any:
        if sock.getsockname()[1] == port:
            written.append(len(data))
        return send(sock, data, *args)

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", f"{size}")])
        return [b"x" * size]

    port = 0
    running = run(Bare(), application=application)
    port = running.port
    monkeypatch.setattr(gevent.socket.socket, "sendall", counted)
    answer = running.ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.endswith("x" * size)
    assert len(written) == writes and sum(written) == len(answer)


@pytest.mark.parametrize("mode", ["gevent", "threading"])
@pytest.mark.parametrize(
    ("offered", "taken"),
    [("my-app, chat", "Sec-WebSocket-Protocol: my-app\r\n"), ("chat,,", None), (None, "")],
)
def test_a_websocket_gets_the_first_subprotocol_that_it_offers(
    run: Run, mode: str, offered: str | None, taken: str | None
) -> None:
    more = "" if offered is None else f"Sec-WebSocket-Protocol: {offered}\r\n"
    path = SIGNALING.replace("polling", "websocket")
    with in_time(), gevent.socket.create_connection(("127.0.0.1", run(Bare(mode)).port)) as sock:
        sock.sendall(upgrade_request(path, more))
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1)
        lines = head.decode()
        assert lines.startswith("HTTP/1.1 400" if taken is None else "HTTP/1.1 101")
        assert lines.count("Sec-WebSocket-Protocol") == (1 if taken else 0)
        assert (taken or "").lower() in lines.lower()


@pytest.mark.parametrize("mode", ["gevent", "threading"])
@pytest.mark.parametrize(
    ("query", "frame"), [("&b64=1", b"\x81\x05b/w=="), ("&b64=", b"\x82\x01\xff")]
)
def test_a_websocket_that_asks_for_base64_gets_no_binary_frame(
    run: Run, mode: str, query: str, frame: bytes
) -> None:
    served = Bare(mode)
    served.engine.on("connect", lambda sid, environ: served.engine.send(sid, b"\xff"))
    path = SIGNALING.replace("polling", "websocket") + query
    with (
        in_time(),
        gevent.socket.create_connection(("127.0.0.1", run(served).port)) as sock,
    ):
        sock.sendall(upgrade_request(path))
        got = b""
        while not got.endswith(frame):
            more = sock.recv(100)
            assert more and got.count(b"\xff") < 2, got
            got += more


def test_an_address_that_is_taken_is_an_os_error(run: Run) -> None:
    running = run(Bare())
    with pytest.raises(OSError):
        Bare().listen(running.port, "127.0.0.1")


def test_a_client_that_is_slow_with_its_headers_is_hung_up_on(run: Run) -> None:
    running = run(Bare(limits=Limits(handshake_timeout=0.1, connect_timeout=None)))
    for request in ("", "GET / HTTP/1.1\r\nHost: "):
        answer = running.ask(request)
        assert answer == "" or answer.startswith("HTTP/1.1 400")


@pytest.mark.parametrize("size", [1_000, 20_000_000], ids=["short answers", "a long answer"])
def test_a_client_that_does_not_read_its_answer_is_hung_up_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], size: int
) -> None:
    monkeypatch.setattr(serving, "TAKEN_WITHIN", 0.3)

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", f"{size}")])
        return [b"x" * size]

    port = run(Bare(), application=application).port
    address = "127.0.0.1", port
    with (
        in_time(),
        gevent.socket.create_connection(address) as sock,
        pytest.raises(ConnectionError),
    ):
        while True:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
            gevent.sleep(0.01)
    assert capfd.readouterr().err == ""


def test_any_pywsgi_serves_the_signaling() -> None:
    application = signaling_only("/socket.io", Bare().engine.handle_request)
    http = pywsgi.WSGIServer(("127.0.0.1", 0), application, log=None)
    http.start()
    try:
        with in_time(), gevent.socket.create_connection(("127.0.0.1", http.server_port)) as sock:
            sock.sendall(f"GET {SIGNALING} HTTP/1.0\r\n\r\n".encode())
            assert b'0{"sid":' in sock.recv(65536)
    finally:
        http.stop()


@pytest.mark.parametrize("closes", [True, False])
def test_connections_that_the_kernel_has_accepted_are_served_when_a_listener_closes(
    closes: bool,
) -> None:
    application = signaling_only("/socket.io", Bare().engine.handle_request)
    http = pywsgi.WSGIServer(("127.0.0.1", 0), application, log=None)
    http.start()
    port = http.server_port
    # Not gevent's sockets: the server does not run meanwhile.
    early = [_socket.socket() for _ in range(3)]
    for sock in early:
        sock.connect(("127.0.0.1", port))
        sock.sendall(f"GET {SIGNALING} HTTP/1.0\r\n\r\n".encode())
    if closes:
        close_listener(http)
    else:  # gevent's way
        http.close()
    for sock in early:
        with in_time(), gevent.socket.socket(fileno=sock.detach()) as client:
            if closes:
                assert b'0{"sid":' in client.recv(65536)
            else:
                with pytest.raises(ConnectionResetError):
                    client.recv(65536)
    with pytest.raises(ConnectionRefusedError):
        gevent.socket.create_connection(("127.0.0.1", port))
    http.stop()


def test_a_listener_is_held_by_whoever_has_it_open() -> None:
    with _socket_listening() as listener:
        fd = listener.fileno()
        assert server_stop._is_held(fd, os.getpid())
        child = subprocess.Popen(["sleep", "60"])  # which inherits nothing
        try:
            assert not server_stop._is_held(fd, child.pid)
        finally:
            child.kill()
            child.wait()
        assert server_stop._is_held(fd, child.pid)  # nobody can tell


def _socket_listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_listen_on_threads_leaves_signals_as_they_were(run: Run) -> None:
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(each) for each in signals]
    running = run(Bare("threading"))
    assert '0{"sid":' in running.get(SIGNALING)
    running.end()
    assert [signal.getsignal(each) for each in signals] == before


def test_the_port_is_closed_once_listen_on_threads_has_ended(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = BaseWSGIServer.server_close
    before = set(threading.enumerate())

    def slowly(http: BaseWSGIServer) -> None:
        if "serve_forever" in threading.current_thread().name:
            time.sleep(0.2)
        close(http)

    monkeypatch.setattr(BaseWSGIServer, "server_close", slowly)
    run(Bare("threading")).end()
    assert set(threading.enumerate()) <= before  # those of other tests may have ended


@pytest.mark.parametrize("mode", ["gevent", "threading"])
def test_the_port_is_closed_if_ready_raises(mode: str) -> None:
    ports: list[int] = []

    def ready(port: int) -> None:
        ports.append(port)
        raise ZeroDivisionError

    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError):
        Bare(mode).listen(0, "127.0.0.1", ready=ready)
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        gevent.socket.create_connection(("127.0.0.1", ports[0]))


def test_a_ready_that_has_yet_to_run_ends_listen() -> None:
    with pytest.raises(UnrunError):
        Bare().listen(0, "127.0.0.1", ready=lambda port: coroutine())


FORKING = """
import os, sys
from rtcio_sync import Server


def ready(port):
    child = os.fork()
    if child == 0:
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    server.stop()


server = Server(async_mode="threading")
server.listen(0, host="127.0.0.1", ready=ready)
print("ended")
"""


def test_a_child_that_ready_forks_may_exit() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "7\nended\n"), ran.stderr


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "chain.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return folder, trusting


def _context(kind: Any, folder: Path) -> Any:
    context = kind(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    return context


TLS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "files": lambda folder: {"certfile": folder / "chain.pem", "keyfile": str(folder / "key.pem")},
    "one file": lambda folder: {"certfile": str(folder / "both.pem")},
    "a pair": lambda folder: {"ssl_context": (folder / "chain.pem", folder / "key.pem")},
    "a context": lambda folder: {"ssl_context": _context(ssl.SSLContext, folder)},
    "a context of gevent's": lambda folder: {
        "ssl_context": _context(gevent.ssl.SSLContext, folder)
    },
}


@pytest.mark.parametrize("mode", ["gevent", "threading"])
@pytest.mark.parametrize("name", TLS)
def test_tls_is_served_however_its_certificate_is_given(
    run: Run, authority: Any, name: str, mode: str
) -> None:
    if mode == "threading" and "gevent" in name:
        name = "a context"  # gevent's own are for its own servers
    folder, trusting = authority
    running = run(Bare(mode), **TLS[name](folder))
    assert '0{"sid":' in running.get(SIGNALING, trusting)


@pytest.mark.parametrize("mode", ["gevent", "threading"])
def test_no_websocket_is_compressed(run: Run, mode: str) -> None:
    port = run(Bare(mode)).port
    more = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    head = b""
    with in_time(), gevent.socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(upgrade_request("/socket.io/?EIO=4&transport=websocket", more))
        while b'0{"sid"' not in head:
            head += sock.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"deflate" not in head
