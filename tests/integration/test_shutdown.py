"""A server that is told to stop closes its clients so that they come back, and exits with 0."""

from __future__ import annotations

import json
import os
import signal
import socket

import pytest

from tests.integration.clients import Driver
from tests.integration.raw import RawWebSocket
from tests.integration.servers import free_port, running

#: Seconds from the signal to the exit: `drain_seconds`, 1 by default, and one more; and what a
#: machine with other work to do may add.
BOUND = 2 + 18


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("way", ["listen", "command-line", "public-server"])
def test_a_signal_ends_the_server_and_its_clients_come_back(
    node: Driver, way: str, number: int
) -> None:
    port = free_port()
    back = {"reconnection": True, "reconnectionDelay": 100, "reconnectionDelayMax": 200}
    with running(way, port=port) as server:
        clients = [
            node.connect(server.url, transports=["websocket"], **back),
            node.connect(server.url, transports=["polling"], **back),
            node.connect(server.url, **back),
        ]
        with RawWebSocket(server) as raw:
            raw.join()
            assert server.terminate(number, timeout=BOUND) == 0
            packets, code = raw.receive_close()
            # Neither Engine.IO's close packet nor a DISCONNECT of Socket.IO's.
            assert (packets, code) == ([], 1001)
    reasons = [client.wait("disconnect")["reason"] for client in clients]
    # socket.io-client stays away after "io server disconnect" alone.
    assert reasons == ["transport close", "transport error", "transport close"]
    assert clients[0].wait("disconnect")["code"] == 1001

    with running(way, port=port):
        for client in clients:
            client.wait("connect", count=2)
        clients[0].fence(clients[1], clients[2])


@pytest.mark.parametrize("way", ["listen", "command-line"])
def test_a_handler_that_blocks_does_not_hold_up_the_end(node: Driver, way: str) -> None:
    with running(way, clean_log=False) as server:
        server.get("/hold").read()
        a = node.connect(server.url, transports=["websocket"])
        a.emit("note", "before")
        a.emit("block")
        server.eventually("/heard", lambda heard: ["note", "before"] in heard)
        assert server.terminate(timeout=BOUND) == 0
        assert a.wait("disconnect")["reason"] == "transport close"


@pytest.mark.parametrize("way", ["gunicorn-gevent", "gunicorn-geventwebsocket"])
def test_a_worker_does_not_wait_for_the_connection_of_a_poll(way: str) -> None:
    # gunicorn's worker on gevent's own server waits for kept connections: 30 s, unless told.
    with running(way) as server, socket.create_connection(("127.0.0.1", server.port)) as poll:
        path = "/socket.io/?EIO=4&transport=polling"
        sid = json.loads(server.get(path).read()[1:])["sid"]
        poll.sendall(f"GET {path}&sid={sid} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        server.get("/stats").read()  # connections are accepted in their order
        assert server.terminate(timeout=BOUND) == 0
        poll.settimeout(BOUND)
        assert poll.recv(12) == b"HTTP/1.1 400"


@pytest.mark.parametrize("way", ["gunicorn-gevent", "gunicorn-geventwebsocket"])
def test_a_worker_that_is_told_to_stop_answers_no_new_connection(way: str) -> None:
    # Its successor may be there already: a session that began there is unknown here. gunicorn goes
    # on accepting for up to a second.
    with running(way, "attacked", clean_log=False) as server, RawWebSocket(server) as raw:
        raw.join()
        old = server.get_json("/census")["pid"]
        os.kill(old, signal.SIGTERM)
        assert raw.receive_close()[1] == 1001  # it drains
        pids = {server.get_json("/census")["pid"] for _ in range(20)}
        assert old not in pids
