"""A server that is full, or has had enough of an address, is tried again by real clients."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import socketio

from tests.integration.clients import Driver
from tests.integration.raw import RawPolling, RawWebSocket
from tests.integration.servers import Running, running
from tests.timing import DEADLINE

WAYS = ["listen", "pywsgi", "pywsgi-geventwebsocket", "gunicorn-gevent", "gunicorn-geventwebsocket"]
BACK = {"reconnection": True, "reconnectionDelay": 100, "reconnectionDelayMax": 300}

REFUSALS = {"full": {"max_connections": 1}, "many": {"limits": {"sockets_per_ip": 1}}}


@pytest.fixture(scope="module", params=[(way, why) for way in WAYS for why in REFUSALS],
                ids=lambda each: "-".join(each))  # fmt: skip
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    way, why = request.param
    with running(way, **REFUSALS[why]) as server:
        yield server


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_refused_client_is_told_at_once_and_comes_again(
    server: Running, node: Driver, transport: str
) -> None:
    with RawWebSocket(server) as only:
        only.join()
        client = node.open(server.url, transports=[transport], **BACK)
        client.wait("connect_error", count=3)
        # None of them by its own time-out of 20 s.
        told = [each["message"] for each in client.reports if each["type"] == "connect_error"]
        assert "timeout" not in told
    client.wait("connect")
    assert client.call("echo", 1) == 1
    client.disconnect()
    server.eventually("/connections", lambda connections: connections == [])


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_refused_python_client_is_told_at_once_and_comes_again(
    server: Running, transport: str
) -> None:
    client = socketio.Client(reconnection_delay=0.2, reconnection_delay_max=0.5)
    connected = threading.Event()
    client.on("connect", connected.set)
    try:
        with RawWebSocket(server) as only:
            only.join()
            with pytest.raises(socketio.exceptions.ConnectionError):
                client.connect(server.url, transports=[transport])
            retrying = threading.Thread(
                target=client.connect,
                args=(server.url,),
                kwargs={"transports": [transport], "retry": True, "wait_timeout": DEADLINE},
            )
            retrying.start()
            time.sleep(0.5)
            assert not connected.is_set()
        assert connected.wait(DEADLINE)
        retrying.join(DEADLINE)
    finally:
        client.shutdown()
    server.eventually("/connections", lambda connections: connections == [])


@pytest.mark.parametrize("way", ["listen", "pywsgi", "gunicorn-gevent"])
def test_handshakes_in_a_row_on_one_connection_take_no_websockets_place(way: str) -> None:
    with running(way, max_connections=50, max_polling_sessions=100) as server, ExitStack() as stack:
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), DEADLINE))
        request = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n"
        reader = sock.makefile("rb")
        friend = stack.enter_context(RawPolling(server))
        friend.join()
        for _ in range(10):
            sock.sendall(request * 90)
            for _ in range(90):
                assert reader.readline().startswith(b"HTTP/1.1 200 ")
                length = 0
                while (line := reader.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                assert reader.read(length).startswith(b"0{")
        sockets = [stack.enter_context(RawWebSocket(server)) for _ in range(40)]
        sockets[-1].join()
        # Who is in a namespace is still there.
        friend.send('421["echo",1]')
        assert friend.receive() == "431[1]"
