"""Each example starts as it stands and does what its first line says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.examples.launch import EXAMPLES, example
from tests.integration.clients import Client, Driver, meet
from tests.integration.redis_server import redis_server
from tests.integration.servers import Running
from tests.timing import DEADLINE

INIT_OFFER = "#rtcio:init-offer"
PEER_LEFT = "#rtcio:peer-left"


def connect(node: Driver, server: Running, **options: Any) -> Client:
    return node.connect(server.url, transports=["websocket"], **options)


def join(client: Client, room: str = "demo", **fields: Any) -> list[Any]:
    """Returns when the handler has; what it acknowledged."""
    return client.answer(client.ask("join-room", {"roomId": room, **fields}))


def relay_both_ways(a: Client, b: Client) -> None:
    before = len(a.relayed()), len(b.relayed())
    a.relay(b, {"description": {"type": "offer", "sdp": "v=0"}})
    a.fence(b)
    b.relay(a, {"description": {"type": "answer", "sdp": "v=0"}})
    b.fence(a)
    assert (len(a.relayed()), len(b.relayed())) == (before[0] + 1, before[1] + 1)


def refusal(node: Driver, server: Running, **options: Any) -> tuple[str, Any]:
    """The message and the data with which a client is turned away."""
    report = node.open(server.url, transports=["websocket"], **options).wait("connect_error")
    return report["message"], None if report["data"] == {"$undefined": True} else report["data"]


def cookie_of(request: urllib.request.Request | str) -> dict[str, dict[str, str]]:
    """The session that a view gave, as an option of socket.io-client."""
    with urllib.request.urlopen(request, timeout=DEADLINE) as response:
        return {"extraHeaders": {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}}


def test_minimal(node: Driver) -> None:
    with example("minimal.py") as server:
        a, b = connect(node, server), connect(node, server)
        join(a)
        join(b)
        assert a.wait_for(INIT_OFFER) == [{"source": b.id}]
        relay_both_ways(a, b)
        assert b.received(INIT_OFFER) == []
        gone = b.id
        b.disconnect()
        assert a.wait_for(PEER_LEFT) == [{"id": gone}]


def test_existing_flask_app(node: Driver) -> None:
    with example("existing_flask_app.py") as server:

        def log_in(**form: str) -> dict[str, Any]:
            data = urllib.parse.urlencode(form).encode()
            return cookie_of(urllib.request.Request(f"{server.url}/login", data))

        assert refusal(node, server) == ("log in first", None)
        ada = connect(node, server, **log_in(name="ada", language="fr"))
        eve = connect(node, server, **log_in(name="eve"))
        join(ada)
        join(eve)
        card = {"id": eve.id, "name": "eve", "language": "en"}
        assert ada.wait_for("user-connected") == [card]
        assert ada.wait_for(INIT_OFFER) == [{"source": eve.id}]
        relay_both_ways(ada, eve)
        assert server.get_json("/rooms/demo") == {"names": ["ada", "eve"]}


def test_port_of_the_node_example(node: Driver) -> None:
    with example("port_of_the_node_example.py") as server:
        a, b = connect(node, server), connect(node, server)
        join(a, name="ada")
        state = {"roomId": "demo", "mic": True, "cam": False, "id": a.id}
        a.answer(a.ask("media-state", state))
        join(b, name="bob")
        assert b.wait_for("user-connected") == [{"id": a.id, "name": "ada"}]
        assert b.wait_for("media-state") == [state]
        assert a.wait_for("user-connected") == [{"id": b.id, "name": "bob"}]
        assert a.wait_for(INIT_OFFER) == [{"source": b.id}]
        relay_both_ways(a, b)
        b.emit("stopScreenShare", {"roomId": "demo", "id": b.id})
        assert a.wait_for("stopScreenShare") == [{"roomId": "demo", "id": b.id}]
        b.emit("media-state", {"roomId": "demo", "mic": False, "cam": False, "id": b.id})
        assert a.wait_for("media-state")[0]["mic"] is False
        gone = b.id
        b.disconnect()
        assert a.wait_for("user-disconnected") == [{"id": gone}]
        assert a.wait_for(PEER_LEFT) == [{"id": gone}]


def test_jwt_auth(node: Driver) -> None:
    secret = "of this test alone, and long enough"

    def token(key: str = secret, lasts: float = 60, **claims: Any) -> dict[str, Any]:
        claims = {"sub": "ada", "exp": time.time() + lasts, **claims}
        return {"auth": {"token": jwt.encode(claims, key, "HS256")}}

    with example("jwt_auth.py", JWT_SECRET=secret) as server:
        a = connect(node, server, **token())
        b = connect(node, server, **token(sub="bob"))
        join(a)
        join(b, name="ada, says bob")
        assert a.wait_for("user-connected") == [{"id": b.id, "name": "bob"}]
        relay_both_ways(a, b)
        unsigned = {"sub": "ada", "exp": time.time() + 60}
        for attempt in (
            {},
            {"auth": {"token": None}},
            {"auth": {"token": "no token"}},
            token(key="another's secret, and as long as it"),
            token(lasts=-60),
            {"auth": {"token": jwt.encode(unsigned, None, "none")}},
        ):
            assert refusal(node, server, **attempt) == ("invalid token", {"code": "token"})

    with example("jwt_auth.py") as server:
        printed = re.search(r"a token for an hour: (\S+)", server.log())
        assert printed is not None
        connect(node, server, auth={"token": printed[1]})


def test_room_access(node: Driver, tmp_path: Path) -> None:
    for database in ({}, {"DATABASE_URL": f"sqlite:///{tmp_path}/rooms.sqlite3"}):
        with example("room_access.py", **database) as server:
            a = connect(node, server, **cookie_of(f"{server.url}/login/ada"))
            b = connect(node, server, **cookie_of(f"{server.url}/login/ada"))
            eve = connect(node, server, **cookie_of(f"{server.url}/login/eve"))
            nobody = connect(node, server)
            for client in (a, b, eve, nobody):
                join(client, "board")
            for stranger in (eve, nobody):
                error = stranger.wait_for("join-error")
                assert error == [{"reason": "forbidden", "roomId": "board"}]
            a.wait_for("join-ok")
            # With recovery on, the options stand between the payload and the offset.
            assert a.received(INIT_OFFER) == [[{"source": b.id}, {"polite": True}]]
            relay_both_ways(a, b)


def test_turn_credentials(node: Driver) -> None:
    secret = "shared with coturn"
    with example("turn_credentials.py", TURN_SECRET=secret, TURN_HOST="turn.example") as server:
        a = connect(node, server)
        stun, turn = a.call("ask-ice")["iceServers"]
        assert stun == {"urls": ["stun:turn.example"]}
        assert turn["urls"] == [
            "turn:turn.example?transport=udp",
            "turn:turn.example?transport=tcp",
        ]
        expiry, _, user = turn["username"].partition(":")
        assert user == a.id and 590 < int(expiry) - time.time() <= 600
        mac = hmac.new(secret.encode(), turn["username"].encode(), hashlib.sha1)
        assert turn["credential"] == base64.b64encode(mac.digest()).decode()
        assert server.get_json("/health") == {"status": "ok", "sockets": 1}

    origin = {"extraHeaders": {"Origin": "https://elsewhere.example"}}
    allowed = {"extraHeaders": {"Origin": "https://b.example"}}
    with example(
        "turn_credentials.py", ALLOWED_ORIGINS="https://a.example,https://b.example"
    ) as server:
        connect(node, server, **allowed)
        refused = node.open(server.url, transports=["websocket"], **origin)
        assert refused.wait("connect_error")["message"] == "websocket error"


def test_chat_history(node: Driver, tmp_path: Path) -> None:
    file = str(tmp_path / "chat.sqlite3")
    with example("chat_history.py", CHAT_DB=file) as server:
        a, b = connect(node, server), connect(node, server)
        join(a, name="ada")
        join(b, name="bob")
        for number in range(60):
            assert a.call("chat-message", {"roomId": "demo", "text": str(number)}) is True
        heard = b.wait_for("chat-message", count=60)
        assert heard == [{"roomId": "demo", "id": a.id, "name": "ada", "text": "59"}]
        for bad in (
            {"roomId": "elsewhere", "text": "to a room that it is not in"},
            {"roomId": "demo", "text": "x" * 1001},
            {"roomId": "demo", "text": ""},
            {"roomId": "demo"},
        ):
            assert a.call("chat-message", bad) is False

    with example("chat_history.py", CHAT_DB=file) as server:
        late = connect(node, server)
        join(late, name="eve")
        messages = [{"name": "ada", "text": str(number)} for number in range(10, 60)]
        assert late.wait_for("chat-history") == [{"roomId": "demo", "messages": messages}]


def test_namespaces(node: Driver) -> None:
    with example("namespaces.py", ADMIN_KEY="open") as server:
        key = {"auth": {"key": "open"}}
        a = connect(node, server, namespace="/calls")
        b = connect(node, server, namespace="/calls")
        admin = connect(node, server, namespace="/admin", **key)
        other = connect(node, server, namespace="/admin", **key)
        assert refusal(node, server, namespace="/admin") == ("not for you", None)
        join(a)
        join(b)
        assert a.wait_for(INIT_OFFER) == [{"source": b.id}]
        relay_both_ways(a, b)
        assert admin.wait_for("occupancy", count=2) == [{"room": "demo", "peers": 2}]
        admin.relay(other, "nobody relays here")
        admin.emit("close-room", "demo")
        for client in (a, b):
            assert client.wait_for("room-closed") == [{"roomId": "demo"}]
            assert client.wait("disconnect")["reason"] == "io server disconnect"
        # What `admin` sent before is handled: had it been relayed, it would have come before this.
        admin.answer(admin.ask("close-room", "nobody's"))
        late = connect(node, server, namespace="/calls")
        join(late, "fence")
        other.wait_for("occupancy", count=3)
        assert other.relayed() == []


def test_flask_socketio_add_on(node: Driver) -> None:
    with example("flask_socketio_add_on.py") as server:
        a, b = connect(node, server), connect(node, server)
        join(a)
        join(b)
        assert a.wait_for(INIT_OFFER) == [{"source": b.id}]
        relay_both_ways(a, b)
        gone = b.id
        b.disconnect()
        assert a.wait_for(PEER_LEFT) == [{"id": gone}]
        end = time.monotonic() + DEADLINE
        while "left: client disconnect" not in server.log():  # the app's own handler, as ever
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.fixture
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


def test_emit_from_outside(node: Driver, redis_url: str) -> None:
    name = "emit_from_outside.py"
    with example(name, REDIS_URL=redis_url) as one, example(name, REDIS_URL=redis_url) as two:
        a, b = connect(node, one), connect(node, two)
        elsewhere = connect(node, two)
        for client, room in ((a, "demo"), (b, "demo"), (elsewhere, "other")):
            join(client, room)
        meet(a, b)
        relay_both_ways(a, b)  # two servers over one Redis

        def job(*arguments: str) -> None:
            command = [sys.executable, str(EXAMPLES / name), *arguments]
            environ = {"REDIS_URL": redis_url, "PATH": ""}
            subprocess.run(command, check=True, timeout=60, env=environ)

        job("demo", "We close at noon.")
        for client in (a, b):
            assert client.wait_for("announcement") == [{"text": "We close at noon."}]
        job("other", "Not you.")
        elsewhere.wait_for("announcement")
        assert elsewhere.received("announcement") == [[{"text": "Not you."}]]
