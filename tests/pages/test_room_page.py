"""`RoomPage` in an app: its address, its looks, who may enter, and who may frame it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask, redirect, session

from rtcio_sync import Lobby, Server
from rtcio_sync.errors import OptionError
from rtcio_sync.pages import RoomPage
from rtcio_sync.pages.colours import contrast, theme
from tests.unrun import UNRUN, generator

TURN = [{"urls": ["turn:t.example"], "username": "u", "credential": "c"}]


async def _later(room: str | None) -> bool:
    return True


def make(**options: Any) -> tuple[Flask, Server, RoomPage]:
    app = Flask(__name__)
    app.secret_key = "a test"
    server = Server(app=app)
    return app, server, RoomPage(server, **options)


@pytest.mark.parametrize(
    ("prefix", "page", "signaling"),
    [
        ("/", "/", "socket.io/"),
        ("/call", "/call/", "../socket.io/"),
        ("/call/", "/call/", "../socket.io/"),
        ("/a/b", "/a/b/", "../../socket.io/"),
    ],
)
def test_the_page_and_what_it_loads_are_under_its_prefix(
    prefix: str, page: str, signaling: str
) -> None:
    app, _, _ = make(url_prefix=prefix)
    visitor = app.test_client()
    text = visitor.get(page).get_data(as_text=True)
    assert f'data-signaling="{signaling}"' in text
    loaded = re.findall(r'<(?:link|script)[^>]* (?:href|src)="([^"]+)"', text)
    assert "rtcio/main.js" in loaded
    for each in [*loaded, "room.js"]:
        assert visitor.get(f"{page}{each}").status_code == 200, each


def test_an_address_without_its_last_slash_keeps_the_room() -> None:
    app, _, _ = make()
    answer = app.test_client().get("/call?room=tea")
    assert answer.location.endswith("/call/?room=tea")


def test_two_pages_stand_beside_each_other_and_beside_the_apps_own() -> None:
    app, server, page = make(url_prefix="/one", title="One")
    app.add_url_rule("/", view_func=lambda: "the app's own")
    RoomPage(server, url_prefix="/two", title="Two <b>", lobby=page.lobby)
    visitor = app.test_client()
    assert visitor.get("/").text == "the app's own"
    assert "<title>One</title>" in visitor.get("/one/").text
    assert "<title>Two &lt;b&gt;</title>" in visitor.get("/two/").text


def test_the_logo_and_the_colours_are_those_of_the_app() -> None:
    app, _, _ = make(logo="/static/logo.svg", accent="#b5179e")
    visitor = app.test_client()
    assert '<img class="logo" src="/static/logo.svg" alt="">' in visitor.get("/call/").text
    colours = visitor.get("/call/rtcio/theme.css")
    assert colours.mimetype == "text/css"
    assert "--accent: #b5179e" in colours.text


@pytest.mark.parametrize("accent", ["#b5179e", "#ffe600", "#000", "#fff", "#0000ff", "#888888"])
def test_every_accent_is_readable_in_both_schemes(accent: str) -> None:
    found = re.findall(r"--accent: #(.{6}); --on-accent: #(.{6});", theme(accent))
    pairs = [tuple(tuple(bytes.fromhex(each)) for each in pair) for pair in found]
    assert len(pairs) == 2
    for (colour, text), ground in zip(pairs, [(0xF2, 0xF4, 0xF3), (0x1A, 0x22, 0x20)], strict=True):
        assert contrast(colour, ground) >= 4.5
        assert contrast(colour, text) >= 4.5


def test_who_may_not_enter_gets_neither_page_nor_seat_nor_credentials() -> None:
    app, server, _ = make(may_enter=lambda room: session.get("user") == "ada", ice_servers=TURN)
    with app.test_client() as visitor:
        assert visitor.get("/call/").status_code == 403
    stranger = server.test_client(app)
    stranger.emit("join-room", {"roomId": "tea"})
    assert stranger.received("join-error") == [{"reason": "forbidden", "roomId": "tea"}]
    assert stranger.call("ask-ice") == {"iceServers": []}


def test_who_may_enter_gets_all() -> None:
    asked: list[str | None] = []

    def may_enter(room: str | None) -> bool:
        asked.append(room)
        return room == "tea"

    app, server, _ = make(may_enter=may_enter, ice_servers=lambda socket: TURN)
    assert app.test_client().get("/call/?room=tea").status_code == 200
    assert app.test_client().get("/call/?room=closed").status_code == 403
    assert app.test_client().get("/call/?room=").status_code == 403
    guest = server.test_client(app)
    assert guest.call("ask-ice") == {"iceServers": []}  # not yet: it is in no room
    guest.emit("join-room", {"roomId": "tea"})
    assert [each["roomId"] for each in guest.received("join-ok")] == ["tea"]
    assert guest.call("ask-ice") == {"iceServers": TURN}
    guest.emit("join-room", {"roomId": "closed"})
    assert [each["reason"] for each in guest.received("join-error")] == ["forbidden"]
    assert {"tea", "closed", None} == set(asked)


@pytest.mark.parametrize("verdict", ["<script>", 1, ["tea"]])
def test_a_verdict_of_another_kind_is_an_error_and_not_the_page(verdict: Any) -> None:
    app, server, _ = make(may_enter=lambda room: verdict)
    app.testing = True
    with pytest.raises(TypeError, match="True, False or a response"):
        app.test_client().get("/call/?room=tea")
    guest = server.test_client(app)
    guest.emit("join-room", {"roomId": "tea"})
    assert [each["reason"] for each in guest.received("join-error")] == ["forbidden"]


@pytest.mark.parametrize("unrun", UNRUN.values(), ids=UNRUN)
def test_a_verdict_that_has_yet_to_come_is_an_error_and_not_the_page(unrun: Any) -> None:
    app, server, _ = make(may_enter=unrun)
    app.testing = True
    with pytest.raises(TypeError, match="returned a"):
        app.test_client().get("/call/?room=tea")
    guest = server.test_client(app, raise_exceptions=False)
    guest.emit("join-room", {"roomId": "tea"})
    assert [each["reason"] for each in guest.received("join-error")] == ["forbidden"]
    assert server.stats()["handler_errors"] == 1


def test_an_open_page_does_not_open_the_rooms_of_a_closed_one() -> None:
    _, server, _ = make(may_enter=lambda room: False)
    with pytest.raises(OptionError, match="already has a Lobby"):
        RoomPage(server, url_prefix="/open")


def test_ice_servers_that_can_be_read_once_are_for_everybody() -> None:
    app, server, _ = make(may_enter=lambda room: True, ice_servers=(each for each in TURN))
    for _ in range(2):
        guest = server.test_client(app)
        guest.emit("join-room", {"roomId": "tea"})
        assert guest.call("ask-ice") == {"iceServers": TURN}


def test_a_visitor_may_be_sent_to_the_login() -> None:
    app, server, _ = make(may_enter=lambda room: redirect("/login"))
    answer = app.test_client().get("/call/?room=tea")
    assert (answer.status_code, answer.location) == (302, "/login")
    guest = server.test_client(app)
    guest.emit("join-room", {"roomId": "tea"})
    assert [each["reason"] for each in guest.received("join-error")] == ["forbidden"]


@pytest.mark.parametrize(
    ("embed_in", "allowed"),
    [
        ((), "'self'"),
        ("https://shop.example", "'self' https://shop.example"),
        (
            ["https://a.example", "http://b.example:8080"],
            "'self' https://a.example http://b.example:8080",
        ),
        ("*", "'self' *"),
    ],
)
def test_a_page_may_be_framed_where_the_app_says(embed_in: Any, allowed: str) -> None:
    app, _, _ = make(embed_in=embed_in)
    policy = app.test_client().get("/call/").headers["Content-Security-Policy"]
    assert dict(rule.split(" ", 1) for rule in policy.split("; "))["frame-ancestors"] == allowed


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"url_prefix": "call"}, "url_prefix"),
        ({"url_prefix": "/a b"}, "url_prefix"),
        ({"accent": "red"}, "accent"),
        ({"logo": "https://elsewhere.example/logo.png"}, "logo"),
        ({"logo": "//elsewhere.example/logo.png"}, "logo"),
        ({"may_enter": True}, "may_enter"),
        ({"may_enter": _later}, "may_enter"),
        ({"may_enter": generator}, "may_enter"),
        ({"may_enter": lambda: True}, "may_enter"),
        ({"embed_in": "shop.example"}, "embed_in"),
        ({"embed_in": "https://a.example; script-src *"}, "embed_in"),
    ],
)
def test_invalid_arguments_are_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(OptionError, match=word):
        make(**options)


def test_a_lobby_that_is_there_keeps_its_own_rules() -> None:
    app = Flask(__name__)
    server = Server(app=app)
    lobby = Lobby(server)
    assert RoomPage(server, lobby=lobby).lobby is lobby
    with pytest.raises(OptionError, match="leave out ice_servers="):
        RoomPage(server, url_prefix="/other", lobby=lobby, ice_servers=TURN)


def test_a_server_needs_an_app_for_a_page() -> None:
    with pytest.raises(OptionError, match="app=app"):
        RoomPage(Server())
    app = Flask(__name__)
    RoomPage(Server(), app=app)
    assert app.test_client().get("/call/").status_code == 200


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("title", None, "title must be text"),
        ("logo", 3, "logo must be text"),
        ("status", ["x"], "status must be text"),
        ("lobby", "tea", "lobby must be a Lobby"),
        ("embed_in", None, "embed_in takes origins"),
        ("ice_servers", {"urls": "stun:a"}, "give a list of dicts with 'urls'"),
    ],
)
def test_the_room_page_refuses_an_option_of_a_wrong_type(
    option: str, value: Any, message: str
) -> None:
    wrong: dict[str, Any] = {option: value}
    with pytest.raises(OptionError, match=message):
        RoomPage(Server(app=Flask(__name__)), **wrong)
