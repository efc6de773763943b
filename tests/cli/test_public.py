"""The app of the public server: its pages and figures, its rooms, its answers to ``ask-ice``."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from rtcio_sync._version import __version__
from rtcio_sync.cli.public import public_app
from rtcio_sync.errors import OptionError


def test_health_tells_figures_and_no_name_or_id() -> None:
    app, server, _ = public_app()
    ann, bob = server.test_client(), server.test_client()
    for peer, name in ((ann, "Ann Example"), (bob, "Bob Example")):
        peer.emit("join-room", {"roomId": "the-room", "name": name})
    ann.emit("#rtcio:message", {"source": ann.sid, "target": bob.sid, "data": {}})
    ann.emit("#rtcio:message", {"source": "forged", "target": bob.sid, "data": {}})
    answer = app.test_client().get("/health")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    figures = answer.get_json()
    assert isinstance(figures.pop("uptime"), float)
    assert figures == {
        "status": "ok",
        "version": __version__,
        "workers": 1,
        "nodes": 1,
        "sockets": 2,
        "rooms": 1,
        "relayed": 1,
        "dropped": 1,
    }


def test_there_is_a_page_at_the_root() -> None:
    app, _, _ = public_app()
    answer = app.test_client().get("/")
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"


def test_rooms_of_the_public_app_have_the_cap_that_was_asked_for() -> None:
    _, server, _ = public_app(max_peers=1)
    first, second = server.test_client(), server.test_client()
    for peer in (first, second):
        peer.emit("join-room", {"roomId": "r"})
    assert second.received("join-error") == [{"reason": "room-full", "roomId": "r"}]


def test_ask_ice_of_the_public_app_gives_each_caller_credentials_of_its_secret() -> None:
    _, server, _ = public_app(stun=["s.example"], turn=["t.example"], turn_secret="north")
    stun, turn = server.test_client().call("ask-ice")["iceServers"]
    assert stun == {"urls": ["stun:s.example"]}
    assert turn["urls"] == ["turn:t.example?transport=udp", "turn:t.example?transport=tcp"]
    expected = hmac.new(b"north", turn["username"].encode(), hashlib.sha1).digest()
    assert base64.b64decode(turn["credential"]) == expected


def test_invalid_ice_servers_are_refused_at_the_start() -> None:
    with pytest.raises(OptionError, match="secret="):
        public_app(turn=["t.example"])
