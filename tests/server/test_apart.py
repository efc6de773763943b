"""What a client has to read apart from what follows it: the OPEN packet, the answer to CONNECT."""

from __future__ import annotations

import socket
from typing import Any

import gevent.socket
import pytest
from gevent import pywsgi

from rtcio_sync import Server
from rtcio_sync.engineio import server as engine
from rtcio_sync.engineio import socket as engine_socket
from tests.clients import WebSocket
from tests.integration.exchange import Endpoint
from tests.timing import in_time
from tests.transport.peers import arrived

HOUR = 3600.0


def test_what_a_handler_emits_to_a_new_client_is_read_apart_from_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_socket, "APART", HOUR)
    server = Server()

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        server.emit("hello", to=sid)

    client = WebSocket(server)
    client.ask_to_join()
    first = client.frame()
    assert first[1].startswith(b'40{"sid":')
    assert arrived(client.sock) == b""
    client.close()


def test_the_open_packet_does_not_wait_for_the_client_to_read_the_handshake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_socket, "APART", HOUR)
    # Plain sockets would block the loop in which the server runs.
    monkeypatch.setattr(socket, "create_connection", gevent.socket.create_connection)
    eio = engine.Server()
    http = pywsgi.WSGIServer(("127.0.0.1", 0), eio.handle_request, log=None)
    http.start()
    with in_time():
        answer, sock = Endpoint(http.server_port, "/engine.io/").handshake()
        assert answer.status == 101
        opening = sock.recv(1000)
    assert opening[2:].startswith(b'0{"sid":')
    eio.disconnect()
    sock.close()
    http.stop()


def test_an_answer_to_what_a_new_client_sends_is_not_delayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_socket, "APART", HOUR)
    server = Server()
    server.on("ask", lambda sid: "yes")
    client = WebSocket(server)
    client.ask_to_join()
    assert client.frame()[1].startswith(b'40{"sid":')
    client.emit("ask", number=1)
    assert client.frame()[1] == b'431["yes"]'
    client.close()
