"""What a client may cost, over the bound: each limit on a whole server, with real clients of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from flask import Flask
from gevent.event import Event
from socketio.packet import CONNECT
from werkzeug.middleware.proxy_fix import ProxyFix

from rtcio_sync import LimitExceeded, Limits, ProtocolError, Server, Socket
from rtcio_sync.socketio.connection_members import ConnectionMembers
from tests.clients import Polling, WebSocket
from tests.timing import DEADLINE, until
from tests.wsgi import environ_of, request

FORWARDED = {"X-Forwarded-For": "203.0.113.9"}


def opened(application: Any, **headers: str) -> int:
    """The status of one polling handshake."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    status, _, _ = request(application, environ_of("GET", {}, headers=named))
    return status


def test_over_the_connections_at_once_an_address_is_answered_429() -> None:
    server = Server(limits=Limits(sockets_per_ip=2))
    first = Polling(server)
    assert opened(server.handle_request) == 200
    assert opened(server.handle_request) == 429
    first.link.close(abort=True)
    assert opened(server.handle_request) == 200
    assert server.stats()["closed"]["address"] == 1


def test_over_the_connections_a_minute_an_address_is_answered_429() -> None:
    server = Server(limits=Limits(connects_per_minute_per_ip=3))
    statuses = [opened(server.handle_request) for _ in range(4)]
    assert statuses == [200, 200, 200, 429]


def test_over_the_process_bound_anybody_is_answered_503() -> None:
    server = Server(max_connections=1)
    socket = WebSocket(server)
    assert opened(server.handle_request) == 503
    assert socket.link is not None


def test_a_declared_proxy_tells_addresses_apart() -> None:
    server = Server(trusted_proxies=1, limits=Limits(sockets_per_ip=1))
    statuses = [
        opened(server.handle_request, X_Forwarded_For=address)
        for address in ("203.0.113.1", "203.0.113.2", "203.0.113.1", "203.0.113.9, 203.0.113.2")
    ]
    assert statuses == [200, 200, 429, 429]


def test_a_header_that_nobody_declared_is_not_looked_at() -> None:
    server = Server(limits=Limits(sockets_per_ip=1))
    statuses = [
        opened(server.handle_request, X_Forwarded_For=address)
        for address in ("203.0.113.1", "203.0.113.2")
    ]
    assert statuses == [200, 429]


def fixed_before(server: Server) -> Flask:
    app = Flask("fixed-before")
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)  # type: ignore[method-assign]
    server.init_app(app)
    return app


def fixed_after(server: Server) -> Flask:
    app = Flask("fixed-after")
    server.init_app(app)
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)  # type: ignore[method-assign]
    return app


@pytest.mark.parametrize("wrapped", [fixed_before, fixed_after])
def test_proxyfix_tells_the_address_whichever_wraps_the_other(
    wrapped: Callable[[Server], Flask],
) -> None:
    server = Server(limits=Limits(sockets_per_ip=1))
    app = wrapped(server)
    assert opened(app, **{"X-Forwarded-For": "203.0.113.1"}) == 200
    assert opened(app, **{"X-Forwarded-For": "203.0.113.2"}) == 200
    assert opened(app, **{"X-Forwarded-For": "203.0.113.1"}) == 429


def test_over_the_rooms_a_join_is_refused_and_counted_and_the_socket_stays() -> None:
    server = Server(limits=Limits(max_rooms_per_socket=2))

    @server.on("connection")
    def on_connection(socket: Any) -> None:
        @socket.on("join")
        def join(room: str) -> str:
            socket.join(room)
            return "in"

    client = server.test_client()
    assert [client.call("join", room) for room in ("a", "b", "a")] == ["in", "in", "in"]
    client.emit("join", "c")
    assert set(server.rooms(client.sid)) == {client.sid, "a", "b"}
    assert server.stats()["dropped"] == {"rooms": 1}
    assert server.stats()["handler_errors"] == 0
    assert client.connected


def test_a_full_socket_is_left_out_when_many_join_and_the_handler_goes_on() -> None:
    server = Server(limits=Limits(max_rooms_per_socket=1))

    @server.on("promote")
    def promote(sid: str) -> str:
        server.sockets_join("vip")
        server.emit("note", 1, to="vip")
        return "done"

    full, asking, third = (server.test_client() for _ in range(3))
    server.enter_room(full.sid, "elsewhere")
    assert asking.call("promote") == "done"
    assert [client.received("note") for client in (full, asking, third)] == [[], [1], [1]]
    assert server.stats()["dropped"] == {"rooms": 1}
    assert server.stats()["handler_errors"] == 0


def test_a_room_that_no_socket_may_join_is_refused_when_many_join() -> None:
    server = Server(limits=Limits(max_room_name=3))
    server.test_client()
    with pytest.raises(LimitExceeded, match="max_room_name"):
        server.sockets_join("long")


def test_a_namespace_may_have_its_own_limit_on_rooms() -> None:
    server = Server(limits=Limits(max_rooms_per_socket=1))
    server.of("/wide", limits=Limits(max_rooms_per_socket=3))
    client = server.test_client(namespace="/wide")
    for room in ("a", "b", "c"):
        server.enter_room(client.sid, room, namespace="/wide")
    assert len(server.rooms(client.sid, namespace="/wide")) == 4


def test_a_namespace_may_have_its_own_limit_on_attachments() -> None:
    server = Server(limits=Limits(max_attachments=1))
    got: list[int] = []
    for name, bound in (("/wide", 3), ("/narrow", None)):
        space = server.of(name, limits=Limits(max_attachments=bound) if bound else None)

        @space.on("connection")
        def on_connection(socket: Any) -> None:
            socket.on("files", lambda *files: got.append(len(files)))

    slots = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(3))
    client = Polling(server)
    for name in ("/wide", "/narrow"):
        client.join(name)
    client.send(f'53-/wide,["files",{slots}]', b"1", b"2", b"3")
    until(lambda: got == [3])
    client.send(f'53-/narrow,["files",{slots}]')
    assert client.poll()[0] == 400
    assert got == [3]


SERVERS = Limits(events_per_second=10, events_burst=20, max_packets_per_poll=5)


@pytest.mark.parametrize(
    ("own", "rate", "burst"),
    [
        (Limits(events_per_second=50, events_burst=20), 50, 20),
        (Limits(events_per_second=10, events_burst=40), 10, 40),
        (Limits(events_per_second=None), None, math.inf),
        (Limits(events_per_second=5, events_burst=20), 10, 20),
        (Limits(events_per_second=5, events_burst=10), 10, 20),
        (Limits(events_per_second=30, events_burst=None), 30, 30),
    ],
)
def test_a_connection_has_the_widest_rate_of_its_namespaces(
    own: Limits, rate: float | None, burst: float
) -> None:
    server = Server(limits=SERVERS)
    server.of("/calls", limits=own)
    client = Polling(server)
    client.join("/")
    client.join("/calls")
    assert client.link.limits.events_per_second == rate
    assert client.link.limits.burst == burst
    client.send("1/calls,")
    until(lambda: client.link.limits == SERVERS)
    assert client.link.allowance <= 20


def test_a_namespace_may_be_narrower_than_the_server() -> None:
    server = Server()
    server.of("/quiet", limits=Limits(events_per_second=1, events_burst=5))
    client = Polling(server)
    client.join("/quiet")
    assert client.link.limits.burst == 5
    assert client.link.allowance <= 5
    client.join("/")
    assert client.link.limits == Limits()


@pytest.mark.parametrize("kind", [Polling, WebSocket])
def test_a_namespace_may_have_its_own_bound_for_slow_readers(kind: Any) -> None:
    server = Server()
    server.of("/small", limits=Limits(max_buffered_bytes=1000))
    one, other = kind(server), kind(server)
    one.join("/small")
    other.join("/small")
    other.join("/")
    assert one.link.limits.max_buffered_bytes == 1000
    assert other.link.limits.max_buffered_bytes == 64_000_000
    if kind is WebSocket:
        assert one.link.websocket.max_buffered == 1000
        assert other.link.websocket.max_buffered == 64_000_000
    else:
        slow, patient = one.link, other.link
        for _ in range(4):
            server.of("/small").emit("much", "x" * 400)
        assert slow.closed and not patient.closed
        assert server.stats()["closed"] == {"slow-reader": 1}


def test_a_namespace_may_have_its_own_number_of_packets_in_a_poll() -> None:
    server = Server(limits=SERVERS)
    server.of("/many", limits=Limits(max_packets_per_poll=8))
    for namespace, status in (("/", 400), ("/many", 200)):
        client = Polling(server)
        client.join(namespace)
        assert client.post(*['42/many,["x"]'] * 8) == status


def test_a_namespace_may_let_its_clients_into_more_namespaces() -> None:
    server = Server(namespaces="*", limits=Limits(max_namespaces_per_connection=1))
    server.of("/hall", limits=Limits(max_namespaces_per_connection=3))
    client = Polling(server)
    client.join("/hall")
    client.join("/a")
    client.join("/b")
    client.send("0/c,")
    assert client.packets("/a")[0] == '4/c,{"message":"Too many namespaces"}'


def test_joining_and_leaving_gives_no_fresh_burst() -> None:
    server = Server(limits=Limits(events_per_second=10, events_burst=20))
    server.of("/wide", limits=Limits(events_per_second=20, events_burst=40))
    client = Polling(server)
    client.join("/")
    link = client.link
    link.allowance = -1.0
    link.begun_at -= 1000
    link.pause_due()  # the bucket is there now, and full
    assert link.allowance > 15
    link.allowance = 0.0
    members = ConnectionMembers(server.eio, server.registry)
    for _ in range(3):
        members.fit(link)
        link.adopt(server.registry.limits_of("/wide"))
        link.adopt(server.options.limits)
    link.allowance -= 1
    assert link.pause_due() > 0


@pytest.mark.parametrize("serializer", ["default", "msgpack"])
def test_a_client_that_has_gone_is_connected_to_no_more_namespaces_than_one_that_stays(
    serializer: str,
) -> None:
    server = Server(
        namespaces="*", serializer=serializer, limits=Limits(max_namespaces_per_connection=3)
    )
    asked: list[str] = []
    gone = Event()

    @server.of("/0").use
    def wait(socket: Socket) -> None:
        gone.wait(DEADLINE)

    server.on("connect", lambda namespace, sid, environ: asked.append(namespace), namespace="*")
    server.on("connect", lambda sid, environ: asked.append("/0"), namespace="/0")
    client = WebSocket(server)
    for number in range(20):
        where = {"type": CONNECT, "nsp": f"/{number}"}
        client.send(f"0/{number}," if serializer == "default" else msgpack.packb(where))
    until(lambda: server.manager.members)
    client.close()
    until(lambda: client.eio_sid not in server.eio.sockets)
    gone.set()
    until(lambda: server.stats()["dropped"] == {"namespaces": 17})
    until(lambda: not server.manager.members)
    assert asked == ["/0", "/1", "/2"]


def test_over_the_namespaces_connect_is_refused() -> None:
    server = Server(namespaces="*", limits=Limits(max_namespaces_per_connection=2))
    client = Polling(server)
    client.join("/a")
    client.join("/b")
    client.send("0/c,")
    assert client.packets("/a")[0] == '4/c,{"message":"Too many namespaces"}'
    assert server.stats()["dropped"] == {"namespaces": 1}


def test_no_limits_switch_off_what_limits_hold_and_nothing_else() -> None:
    server = Server(limits=None, max_connections=3)
    assert server.options.limits.max_attachments is None
    assert server.options.limits.events_per_second is None
    assert server.options.max_http_buffer_size == 1_000_000
    sockets = [WebSocket(server) for _ in range(3)]
    assert opened(server.handle_request) == 503
    assert all(each.link is not None for each in sockets)


@pytest.mark.parametrize("name", ["r" * 1025, b"r" * 1025], ids=["text", "bytes"])
@pytest.mark.parametrize("way", ["enter_room", "join", "sockets_join"])
def test_a_room_with_a_very_long_name_is_refused_and_counted(way: str, name: Any) -> None:
    server = Server()
    calls: dict[str, Any] = {
        "enter_room": lambda sid: server.enter_room(sid, name),
        "join": lambda sid: server.sockets[sid].join(name),
        "sockets_join": lambda sid: server.sockets_join(name),
    }
    server.on("ask", lambda sid: calls[way](sid))
    client = server.test_client()
    client.emit("ask")
    assert server.rooms(client.sid) == [client.sid]
    assert server.stats()["dropped"] == {"room-name": 1}
    assert server.stats()["handler_errors"] == 0
    name = name[:1024]
    client.emit("ask")
    assert server.rooms(client.sid) == [client.sid, name]


def test_the_length_of_a_rooms_name_is_a_limit_like_the_others() -> None:
    server = Server(limits=Limits(max_room_name=2))
    server.of("/wide", limits=Limits(max_room_name=None))
    client, other = server.test_client(), server.test_client(namespace="/wide")
    with pytest.raises(ProtocolError, match=r"over 2 characters: Limits\.max_room_name"):
        server.enter_room(client.sid, "abc")
    server.enter_room(client.sid, "ab")
    server.enter_room(other.sid, "r" * 100_000, namespace="/wide")
    assert len(server.rooms(other.sid, namespace="/wide")) == 2
