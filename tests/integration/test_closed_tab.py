"""A polling client whose connection ends while its poll waits is gone at once, as in Node."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.integration.clients import Client, Driver
from tests.integration.raw import RawPolling
from tests.integration.servers import Running, free_port, running
from tests.timing import DEADLINE

#: Seconds after which a client is gone without a word from its connection: never, in these tests.
PINGS = {"ping_interval": 120, "ping_timeout": 120}
#: Seconds; far less than that. Node takes milliseconds.
SOON = DEADLINE

WAYS = [
    "listen",
    "pywsgi",
    "pywsgi-geventwebsocket",
    "gunicorn-gevent",
    "gunicorn-geventwebsocket",
]


@pytest.fixture(scope="module", params=WAYS)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(request.param, **PINGS) as server:
        yield server


def passed(port: int, context: ssl.SSLContext | None = None) -> None:
    """Returns once what was sent there before has been read, on whatever connection.

    These servers accept connections, and begin with their requests, in their order; and a second
    time, for what takes several turns: a handshake, a way through a proxy.
    """
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as plain:
            sock = context.wrap_socket(plain) if context else plain
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while sock.recv(65536):
                pass


class Tab:
    """A polling client in a room, with a connection of its own for its polls."""

    def __init__(self, server: Running, sock: socket.socket | None = None) -> None:
        self.server = server
        self.session = RawPolling(server)
        self.session.join(auth={"rooms": ["kitchen"]})
        self.sid = self.session.sid
        self.sock = sock or socket.create_connection(("127.0.0.1", server.port), DEADLINE)
        #: Where the connection leads: to the server, or a proxy.
        self.port: int = self.sock.getpeername()[1]

    @property
    def request(self) -> bytes:
        sid = self.session.handshake["sid"]
        path = f"/socket.io/?EIO=4&transport=polling&sid={sid}"
        return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()

    def poll(self, behind: bytes = b"") -> None:
        """Opens a poll that waits, with more behind it on the same connection."""
        self.sock.sendall(self.request + behind)
        passed(self.port)

    def hear(self, last: bytes) -> bytes:
        """What comes on the connection of its polls, until that is at the end."""
        got = b""
        while not got.endswith(last):
            more = self.sock.recv(65536)
            assert more, got
            got += more
        return got


def closed(tab: Tab) -> None:
    tab.sock.close()


def reset(tab: Tab) -> None:
    tab.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    tab.sock.close()


def half_closed(tab: Tab) -> None:
    tab.sock.shutdown(socket.SHUT_WR)


ENDS: dict[str, Callable[[Tab], None]] = {
    "closed": closed, "reset": reset, "half-closed": half_closed,
}  # fmt: skip


def watching(server: Running, node: Driver) -> Client:
    return node.connect(server.url, transports=["websocket"], auth={"rooms": ["kitchen"]})


@pytest.mark.parametrize("end", ENDS)
def test_peers_hear_at_once_of_a_tab_that_is_closed(
    server: Running, node: Driver, end: str
) -> None:
    peer = watching(server, node)
    tab = Tab(server)
    tab.poll()
    ENDS[end](tab)
    assert peer.wait("event", event="#rtcio:peer-left", timeout=SOON)["args"] == [{"id": tab.sid}]
    heard = server.eventually("/heard", lambda heard: ["disconnect", tab.sid] in [
        each[:2] for each in heard
    ])  # fmt: skip
    assert ["disconnect", tab.sid, "transport close"] in heard
    tab.sock.close()


def test_a_poll_that_another_host_has_sent_on_is_answered_when_that_one_stops(
    server: Running, node: Driver
) -> None:
    peer = watching(server, node)
    tab = Tab(server)
    tab.sock.sendall(tab.request.replace(b"Host: x", b"Host: x\r\nRtcio-Sent-On: 1"))
    passed(tab.port)
    half_closed(tab)  # the host still reads
    assert b"HTTP/1.1 200 OK" in tab.hear(b"6")
    tab.sock.close()
    # The session goes on, with a poll that comes by another way.
    peer.emit("say", "kitchen", "hello")
    assert '42["said","hello"]' in tab.session.poll()
    assert not peer.received("#rtcio:peer-left")


def test_a_request_behind_the_poll_is_neither_lost_nor_an_end(
    server: Running, node: Driver
) -> None:
    peer = watching(server, node)
    tab = Tab(server)
    tab.poll(behind=b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(1.2)  # longer than it takes to look at it again
    peer.emit("say", "kitchen", "hello")
    got = tab.hear(b"\r\n\r\nok")
    assert b'42["said","hello"]' in got and got.count(b"HTTP/1.1 200 OK") == 2
    # And its end is noticed all the same.
    tab.poll(behind=b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    tab.sock.close()
    peer.wait("event", event="#rtcio:peer-left", timeout=SOON)


def test_who_polls_again_after_an_answer_is_not_gone(server: Running, node: Driver) -> None:
    peer = watching(server, node)
    tab = Tab(server)
    for number in range(3):
        tab.poll()
        peer.emit("say", "kitchen", number)
        tab.hear(f'42["said",{number}]'.encode())
        # Each poll on another connection, as browsers may: the last one's end means nothing.
        tab.sock.close()
        time.sleep(0.2)
        tab.sock = socket.create_connection(("127.0.0.1", server.port), DEADLINE)
    peer.emit("say", "kitchen", "last")
    assert tab.session.poll() == ['42["said","last"]']
    assert peer.received("#rtcio:peer-left") == []
    tab.sock.close()


@pytest.mark.parametrize("way", WAYS)
def test_with_recovery_a_closed_tab_is_away(node: Driver, way: str) -> None:
    options = {"connection_state_recovery": {"max_disconnection_duration": 60}, **PINGS}
    with running(way, "recovering", **options) as server:
        tab = Tab(server)
        peer = watching(server, node)
        tab.poll()
        tab.sock.close()
        peer.wait("event", event="#rtcio:peer-left", timeout=SOON)
        server.eventually("/heard", lambda heard: ["lost", tab.sid, "transport close"] in heard)
        assert ["session end", tab.sid] not in server.get_json("/heard")


@pytest.mark.parametrize("way", WAYS)
def test_over_tls_a_closed_tab_is_noticed_too(node: Driver, tmp_path: Path, way: str) -> None:
    certificate = tmp_path / "server.pem"
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    with running(way, certificate=str(certificate), **PINGS) as server:
        ca = authority.cert_pem.bytes().decode()
        auth = {"rooms": ["kitchen"]}
        peer = node.connect(server.url, transports=["websocket"], ca=ca, auth=auth)
        context = ssl._create_unverified_context()
        leaving = http.client.HTTPSConnection(
            "127.0.0.1", server.port, timeout=DEADLINE, context=context
        )

        def ask(method: str, query: str = "", body: str | None = None) -> str:
            leaving.request(method, f"/socket.io/?EIO=4&transport=polling{query}", body)
            return leaving.getresponse().read().decode()

        sid = "&sid=" + json.loads(ask("GET")[1:])["sid"]
        assert ask("POST", sid, "40" + json.dumps(auth)) == "ok"
        gone = json.loads(ask("GET", sid)[2:])["sid"]
        leaving.request("GET", f"/socket.io/?EIO=4&transport=polling{sid}")
        passed(server.port, context)
        leaving.close()
        heard = peer.wait("event", event="#rtcio:peer-left", timeout=SOON)
        assert heard["args"] == [{"id": gone}]


NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Host $host; }}
  }}
}}
"""


@pytest.mark.parametrize("way", ["listen", "gunicorn-gevent"])
def test_behind_a_proxy_a_closed_tab_is_noticed_too(node: Driver, tmp_path: Path, way: str) -> None:
    nginx = shutil.which("nginx")
    assert nginx is not None, "these tests need nginx"
    with running(way, **PINGS) as server:
        port = free_port()
        config = tmp_path / "nginx.conf"
        upstream = f"127.0.0.1:{server.port}"
        config.write_text(NGINX.format(folder=tmp_path, port=port, upstream=upstream))
        proxy = subprocess.Popen([nginx, "-c", str(config), "-e", str(tmp_path / "error.log")])
        try:
            end = time.monotonic() + DEADLINE
            while True:
                try:
                    sock = socket.create_connection(("127.0.0.1", port), DEADLINE)
                    break
                except OSError:
                    assert time.monotonic() < end
                    time.sleep(0.05)
            peer = watching(server, node)
            tab = Tab(server, sock)
            tab.poll()
            tab.sock.close()
            peer.wait("event", event="#rtcio:peer-left", timeout=SOON)
        finally:
            proxy.terminate()
            proxy.wait()
