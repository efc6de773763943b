"""The server pages of rtc.io's documentation on patterns and operation, in their ported form.

docs/coming-from-node.md has a table with a row for each snippet, and names the test.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from flask import Flask

from rtcio_sync import (
    ConnectionRefusedError,
    RtcioEvents,
    Server,
    Socket,
    add_default_listeners,
    ice_servers,
)
from tests.docs.rtcio_servers import (
    ROOM,
    complete,
    envelope,
    join,
    status,
    two_in_a_room,
)
from tests.integration.redis_server import RedisServer
from tests.wsgi import environ_of, request

# -- Customization ---------------------------------------------------------------------------------


SECRET = "of this test alone, and long enough"


def test_a_middleware_authenticates() -> None:
    server = Server(cors_allowed_origins="https://app.example")

    @server.use
    def authenticate(socket: Socket) -> None:
        token = socket.handshake.auth.get("token")
        if not token:
            raise ConnectionRefusedError("missing token")
        try:
            claims = jwt.decode(token, SECRET, algorithms=["HS256"])
        except jwt.InvalidTokenError:
            raise ConnectionRefusedError("invalid token") from None
        socket.data.update(userId=claims["sub"], username=claims["username"])

    users: list[Any] = []
    server.on("connection", lambda socket: users.append(socket.data["userId"]))
    assert server.test_client().error == {"message": "missing token"}
    assert server.test_client(auth={"token": "x"}).error == {"message": "invalid token"}
    claims = {"sub": "7", "username": "alice", "exp": time.time() + 600}
    assert server.test_client(auth={"token": jwt.encode(claims, SECRET, "HS256")}).connected
    assert users == ["7"]


def test_a_room_is_for_members_and_has_a_limit() -> None:
    server, members, max_peers = Server(), {("alice", ROOM), ("bob", ROOM), ("eve", ROOM)}, 2

    @server.on("connection")
    def on_connection(socket: Socket) -> None:
        @socket.on("join-room")
        def join_room(data: Any) -> None:
            room, name = data["roomId"], data["name"]
            if (name, room) not in members:  # may block: a query, a request
                socket.emit("error", {"code": "forbidden", "roomId": room})
                return
            if len(server.sockets.rooms.get(room, ())) >= max_peers:
                socket.emit("error", {"code": "room-full", "roomId": room})
                return
            socket.join(room)
            socket.to(room).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})

    a, b = two_in_a_room(server)
    stranger, late = server.test_client(), server.test_client()
    join(stranger, "mallory")
    join(late, "eve")
    assert stranger.received() == [("error", [{"code": "forbidden", "roomId": ROOM}])]
    assert late.received() == [("error", [{"code": "room-full", "roomId": ROOM}])]
    assert a.received() == [("#rtcio:init-offer", [{"source": b.sid}])]


def test_ice_credentials_are_made_when_they_are_asked_for() -> None:
    server, host, secret, ttl = Server(), "turn.example.com", "shared with coturn", 600

    @server.on("connection")
    def on_connection(socket: Socket) -> None:
        @socket.on("ask-ice")
        def ask_ice() -> Any:
            turn = [f"{host}:3478", f"turns:{host}:5349"]
            found = ice_servers(stun=f"{host}:3478", turn=turn, secret=secret, ttl=ttl)
            return {"iceServers": found}

    stun, turn = server.test_client().call("ask-ice")["iceServers"]
    assert stun == {"urls": [f"stun:{host}:3478"]}
    assert turn["urls"] == [
        f"turn:{host}:3478?transport=udp",
        f"turn:{host}:3478?transport=tcp",
        f"turns:{host}:5349?transport=tcp",
    ]
    assert 0 <= ttl + time.time() - int(turn["username"]) <= 60
    mac = hmac.new(secret.encode(), turn["username"].encode(), hashlib.sha1)
    assert turn["credential"] == base64.b64encode(mac.digest()).decode()


def test_events_of_ones_own_are_checked_kept_and_sent_on() -> None:
    server, history = Server(), []
    server.use(lambda socket: socket.data.update(userId="7"))

    @server.on("connection")
    def on_connection(socket: Socket) -> None:
        @socket.on("join-room")
        def join_room(data: Any) -> None:
            socket.join(data["roomId"])
            socket.emit("chat-history", history[-50:])

        @socket.on("chat-message")
        def chat_message(data: Any) -> None:
            if not isinstance(data.get("text"), str) or len(data["text"]) > 1000:
                return
            message = {**data, "from": socket.data["userId"], "at": time.time()}
            history.append(message)
            socket.to(data["roomId"]).emit("chat-message", message)

        @socket.on("report")
        def report(data: Any) -> None:
            history.append({"from": socket.data["userId"], "target": data["peerId"]})

    a, b = two_in_a_room(server)
    for text in ("hello", "x" * 1001, None):
        a.emit("chat-message", {"roomId": ROOM, "text": text})
    (heard,) = b.received("chat-message")
    assert (heard["text"], heard["from"]) == ("hello", "7")
    late = server.test_client()
    join(late, "eve")
    assert late.received("chat-history") == [[heard]]
    b.emit("report", {"peerId": a.sid, "reason": "rude"})
    assert history[-1] == {"from": "7", "target": a.sid}


def test_every_event_is_logged_by_a_middleware(caplog: pytest.LogCaptureFixture) -> None:
    server, log = Server(), logging.getLogger("of the app")

    @server.use
    def tap(socket: Socket) -> None:
        @socket.use
        def each(event: str, args: list[Any]) -> None:
            log.info("%s %s", event, len(str(args)))

    server.on("hello", lambda sid, data: None)
    with caplog.at_level(logging.INFO, log.name):
        server.test_client().emit("hello", "you")
    assert caplog.messages == ["hello 7"]


def test_errors_of_a_handler_are_sent_as_an_event() -> None:
    server = Server()

    def check_access(room: str) -> None:
        raise PermissionError("closed")

    @server.on("connection")
    def on_connection(socket: Socket) -> None:
        @socket.on("join-room")
        def join_room(data: Any) -> None:
            try:
                check_access(data["roomId"])
            except PermissionError as error:
                told = {"code": "join-failed", "message": str(error), "roomId": data["roomId"]}
                socket.emit("error", told)

    client = server.test_client()
    join(client, "alice")
    told = {"code": "join-failed", "message": "closed", "roomId": ROOM}
    assert client.received() == [("error", [told])]


def test_only_the_namespace_of_calls_relays() -> None:
    server = Server(cors_allowed_origins="*")
    calls, admin = server.of("/calls"), server.of("/admin")
    calls.on("connection", lambda socket: add_default_listeners(socket))
    admin.on("connection", lambda socket: None)
    for name, relayed in (("/calls", True), ("/admin", False)):
        a, b = server.test_client(namespace=name), server.test_client(namespace=name)
        a.emit("#rtcio:message", envelope(a, b, {"mid": "1"}))
        assert bool(b.received("#rtcio:message")) is relayed


def test_joining_twice_is_joining_once() -> None:
    server = Server()
    complete(server)
    a, b = two_in_a_room(server)
    join(b, "bob")
    server.to(ROOM).emit("hello")
    assert len(b.received("hello")) == 1
    server.leave_room(b.sid, ROOM)
    server.to(ROOM).emit("hello")
    assert not b.received("hello") and len(a.received("hello")) == 2


# -- CORS ------------------------------------------------------------------------------------------


def by_function(origin: str) -> bool:
    return origin.endswith(".yourapp.example")


@pytest.mark.parametrize(
    ("allowed", "comes_in", "stays_out"),
    [
        ("*", "https://any.example", None),
        ("https://yourapp.example", "https://yourapp.example", "https://any.example"),
        (
            ["https://yourapp.example", "https://staging.yourapp.example"],
            "https://staging.yourapp.example",
            "https://any.example",
        ),
        (by_function, "https://a.yourapp.example", "https://any.example"),
        (
            re.compile(r"https://.*\.yourapp\.example"),
            "https://a.yourapp.example",
            "https://a.yourapp.example.any.example",
        ),
    ],
    ids=["any", "one", "several", "a function", "an expression"],
)
def test_the_allowed_origins(allowed: Any, comes_in: str, stays_out: str | None) -> None:
    server = Server(cors_allowed_origins=allowed)
    assert status(server, comes_in) == 200
    assert status(server, None) == 200  # no browser, or the same origin
    if stays_out:
        assert status(server, stays_out) == status(server, stays_out, "websocket") == 403


def test_cookies_are_allowed_to_a_named_origin() -> None:
    server = Server(cors_allowed_origins="https://yourapp.example", cors_credentials=True)
    environ = environ_of("GET", {}, headers={"Origin": "https://yourapp.example"})
    _, headers, _ = request(server.handle_request, environ)
    assert headers["Access-Control-Allow-Origin"] == "https://yourapp.example"
    assert headers["Access-Control-Allow-Credentials"] == "true"


def test_an_app_and_its_server_share_an_origin() -> None:
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "the page")
    Server(app=app)  # no origins: only those of the app's own
    assert status(app, "http://localhost") == 200
    assert status(app, "https://any.example") == 403
    assert app.test_client().get("/").text == "the page"


# -- Deployment ------------------------------------------------------------------------------------


def test_a_view_is_the_health_check() -> None:
    app = Flask(__name__)
    app.add_url_rule("/health", view_func=lambda: "ok")
    Server(app=app, cors_allowed_origins="*")
    browser = app.test_client()
    assert (browser.get("/health").status_code, browser.get("/other").status_code) == (200, 404)


def test_the_check_with_curl_gets_a_session() -> None:
    environ = environ_of("GET", {})
    code, _, body = request(Server().handle_request, environ)
    assert code == 200 and body.startswith(b'0{"sid":"')


# -- Scaling ---------------------------------------------------------------------------------------


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.kill()


def test_state_in_redis_is_there_for_a_newcomer_and_gone_with_its_peer(redis: RedisServer) -> None:
    """As the page has it. `socket.data` and `fetch_sockets` need no Redis: the next test."""
    server, store = Server(), redis.client()

    @server.on("connection")
    def on_connection(socket: Socket) -> None:
        @socket.on("media-state")
        def media_state(data: Any) -> None:
            state = {"mic": data["mic"], "cam": data["cam"]}
            store.hset(f"room:{data['roomId']}:state", socket.id, json.dumps(state))
            store.expire(f"room:{data['roomId']}:state", 24 * 3600)

        @socket.on("disconnecting")
        def disconnecting() -> None:
            for room in socket.rooms - {socket.id}:
                store.hdel(f"room:{room}:state", socket.id)

        @socket.on("join-room")
        def join_room(data: Any) -> None:
            socket.join(data["roomId"])
            for sid, state in store.hgetall(f"room:{data['roomId']}:state").items():
                socket.emit("media-state", {"id": sid.decode(), **json.loads(state)})

    check_media_state(server)
    store.close()


def test_state_in_the_data_of_sockets_is_there_for_a_newcomer() -> None:
    """In other workers and hosts: test_fetch_sockets_finds_those_of_all_workers."""
    server = Server()

    @server.on("connection")
    def on_connection(socket: Socket) -> None:
        @socket.on("media-state")
        def media_state(data: Any) -> None:
            socket.data["media"] = {"mic": data["mic"], "cam": data["cam"]}

        @socket.on("join-room")
        def join_room(data: Any) -> None:
            for peer in server.in_(data["roomId"]).fetch_sockets():
                if "media" in peer.data:
                    socket.emit("media-state", {"id": peer.id, **peer.data["media"]})
            socket.join(data["roomId"])

    check_media_state(server)


def check_media_state(server: Server) -> None:
    a, b = two_in_a_room(server)
    a.emit("media-state", {"roomId": ROOM, "mic": True, "cam": False})
    late = server.test_client()
    join(late, "eve")
    assert late.received("media-state") == [{"id": a.sid, "mic": True, "cam": False}]
    for client in (a, b, late):
        client.disconnect()
    last = server.test_client()
    join(last, "mallory")
    assert last.received() == []
