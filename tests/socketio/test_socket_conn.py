"""``socket.conn``, ``socket.client``, ``socket.request`` and the rest of the handshake."""

from __future__ import annotations

import time
from typing import Any

import gevent
import pytest

from rtcio_sync import Handshake, OptionError, Server, Socket
from tests.clients import Polling, WebSocket
from tests.timing import until


def test_a_connection_tells_its_transport_before_and_after_the_upgrade() -> None:
    server = Server()
    told: list[Any] = []

    @server.on("connection")
    def connection(socket: Socket) -> None:
        conn = socket.conn
        told.append((conn.transport.name, conn.upgraded, conn.ready_state))
        conn.once("upgrade", lambda transport: told.append(transport.name))

        @conn.on("close")
        def closed(reason: str) -> None:
            told.append((reason, conn.ready_state, gevent.getcurrent() is gevent.get_hub()))

    client = Polling(server).join()
    until(lambda: told)
    socket = server.sockets[client.sid]
    websocket = WebSocket(server, upgrading=client)
    websocket.say("2probe")
    assert websocket.frame()[1] == b"3probe"
    assert socket.conn.upgrading
    websocket.say("5")
    until(lambda: len(told) > 1)
    assert told == [("polling", False, "open"), "websocket"]
    assert (socket.conn.transport.name, socket.conn.upgraded) == ("websocket", True)
    assert not socket.conn.upgrading
    websocket.close()
    until(lambda: len(told) > 2)
    assert told[2] == ("transport close", "closed", False)


def test_a_websocket_is_one_from_the_beginning() -> None:
    server = Server()
    client = WebSocket(server).join()
    assert server.sockets[client.sid].conn.transport.name == "websocket"


def test_a_connection_is_that_of_all_namespaces() -> None:
    server = Server()
    server.of("/calls")
    client = Polling(server, headers={"X-Tea": "green"}).join().join("/calls")
    one = server.sockets[client.sid]
    other = server.of("/calls").sockets[client.sids["/calls"]]
    assert one.conn.id == other.conn.id == client.eio_sid
    assert one.client.conn.id == client.eio_sid
    assert one.conn.protocol == 4
    assert one.conn.remote_address == "192.0.2.7"
    for request in (one.request, one.conn.request, one.client.request, one.handshake.request):
        assert request.headers["X-Tea"] == "green"
        assert request.args["transport"] == "polling"
    assert (one.nsp.name, other.nsp.name) == ("/", "/calls")
    assert other.nsp is server.of("/calls")
    other.conn.close()
    until(lambda: not one.connected and not other.connected)
    assert one.disconnected


def test_a_connection_has_no_other_events() -> None:
    server = Server()
    client = server.test_client()
    with pytest.raises(OptionError, match="on_any"):
        server.sockets[client.sid or ""].conn.on("packet", print)


def test_a_handler_of_a_connection_that_raises_is_logged_as_a_handler() -> None:
    server = Server()
    client = WebSocket(server).join()
    server.sockets[client.sid].conn.on("close", lambda: 1 / 0)
    client.close()
    until(lambda: server.stats()["handler_errors"] == 1)


def test_a_handshake_tells_when_and_whence_it_came() -> None:
    before = time.time()
    environ = {
        "SCRIPT_NAME": "/app",
        "PATH_INFO": "/socket.io/",
        "QUERY_STRING": "EIO=4&x=%20",
        "wsgi.url_scheme": "https",
        "HTTP_ORIGIN": "https://example.com",
    }
    handshake = Handshake(environ, None)
    assert before <= handshake.issued <= time.time()
    assert handshake.time == time.strftime(
        "%a, %d %b %Y %H:%M:%S GMT", time.gmtime(handshake.issued)
    )
    assert handshake.url == "/app/socket.io/?EIO=4&x=%20"
    assert handshake.secure
    assert handshake.xdomain
    plain = Handshake({"PATH_INFO": "/caf\xc3\xa9", "wsgi.url_scheme": "http"}, None)
    assert (plain.url, plain.secure, plain.xdomain) == ("/caf%C3%A9", False, False)
