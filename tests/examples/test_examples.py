"""Each example starts as it stands and does what its first line says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.examples.launch import EXAMPLES, example
from tests.examples.visitors import connect, cookie_of, join, refusal, relay_both_ways
from tests.integration.clients import Driver, meet
from tests.integration.redis_server import redis_server
from tests.timing import DEADLINE

INIT_OFFER = "#rtcio:init-offer"
PEER_LEFT = "#rtcio:peer-left"


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


def test_room_access(node: Driver, tmp_path: Path) -> None:
    for database in ({}, {"DATABASE_URL": f"sqlite:///{tmp_path}/rooms.sqlite3"}):
        with example("room_access.py", **database) as server:
            a = connect(node, server, **cookie_of(f"{server.url}/login/ada"))
            b = connect(node, server, **cookie_of(f"{server.url}/login/ada"))
            eve = connect(node, server, **cookie_of(f"{server.url}/login/eve"))
            assert b"Join" in server.get("/?room=board").read()
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
        assert b"Join" in server.get("/?room=tea").read()

    origin = {"extraHeaders": {"Origin": "https://elsewhere.example"}}
    allowed = {"extraHeaders": {"Origin": "https://b.example"}}
    with example(
        "turn_credentials.py", ALLOWED_ORIGINS="https://a.example,https://b.example"
    ) as server:
        connect(node, server, **allowed)
        refused = node.open(server.url, transports=["websocket"], **origin)
        assert refused.wait("connect_error")["message"] == "websocket error"


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


@pytest.mark.parametrize("name", ["flask_socketio_add_on.py", "flask_socketio_moved.py"])
def test_flask_socketio_with_and_without_its_own_server(node: Driver, name: str) -> None:
    with example(name) as server:
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
            environ = {**os.environ, "REDIS_URL": redis_url, "PATH": ""}
            subprocess.run(command, check=True, timeout=60, env=environ)

        job("demo", "We close at noon.")
        for client in (a, b):
            assert client.wait_for("announcement") == [{"text": "We close at noon."}]
        job("other", "Not you.")
        elsewhere.wait_for("announcement")
        assert elsewhere.received("announcement") == [[{"text": "Not you."}]]
