"""``check-room`` and ``join-room``: who gets in, what newcomers and peers hear, and passwords."""

from __future__ import annotations

from typing import Any

import pytest

from rtcio_sync.lobby.lobby import Lobby
from rtcio_sync.server import Server
from tests.lobby.clients import announced, client, join, joined, refused

# -- joining ---------------------------------------------------------------------------------------


def test_the_first_joiner_hears_that_it_is_in_and_nothing_else(server: Server) -> None:
    Lobby(server)
    first = client(server)
    join(first, name="Ann")
    assert first.received() == [("join-ok", [{"roomId": "r"}])]


def test_a_newcomer_hears_of_each_present_peer_then_that_it_is_in_and_they_hear_of_it(
    server: Server,
) -> None:
    Lobby(server)
    ann, bob = joined(server, name="Ann"), joined(server, name="Bob")
    ann.emit("media-state", {"roomId": "r", "mic": True, "cam": False})
    ann.received(), bob.received()
    newcomer = client(server)
    join(newcomer, name="Cid")
    assert newcomer.received() == [
        ("user-connected", [{"id": ann.sid, "name": "Ann"}]),
        ("media-state", [{"id": ann.sid, "roomId": "r", "mic": True, "cam": False}]),
        ("user-connected", [{"id": bob.sid, "name": "Bob"}]),
        ("join-ok", [{"roomId": "r"}]),
    ]
    assert ann.received() == bob.received() == announced(newcomer, name="Cid")


def test_peers_of_another_room_hear_nothing_of_a_join(server: Server) -> None:
    Lobby(server)
    other = joined(server, "other")
    joined(server)
    assert other.received() == []


def test_the_room_is_a_socketio_room_of_the_same_name(server: Server) -> None:
    Lobby(server)
    inside = joined(server)
    client(server)
    server.of("/").to("r").emit("news", 1)
    assert inside.received() == [("news", [1])]


@pytest.mark.parametrize(
    "fields",
    [{}, *({"name": name} for name in (None, True, {"a": 1}, ["Ann"], 2**60, 1e300, b"Ann"))],
    ids=str,
)
def test_a_name_that_is_neither_text_nor_number_is_absent_for_the_others(
    server: Server, fields: dict[str, Any]
) -> None:
    Lobby(server)
    present = joined(server, **fields)
    newcomer = client(server)
    join(newcomer, **fields)
    assert newcomer.received("user-connected") == [{"id": present.sid}]
    assert present.received() == announced(newcomer)


@pytest.mark.parametrize("name", [7, 0, -1, 2.5, "", "7"])
def test_a_name_may_be_a_number_and_stays_one(server: Server, name: Any) -> None:
    asked: list[Any] = []
    Lobby(server, authorize=lambda socket, room, name, password: asked.append(name) or True)
    present = joined(server, name=name)
    newcomer = client(server)
    join(newcomer, name=name)
    assert newcomer.received("user-connected") == [{"id": present.sid, "name": name}]
    assert present.received() == announced(newcomer, name=name)
    assert asked == [str(name)] * 2


def test_a_long_name_is_cut(server: Server) -> None:
    Lobby(server)
    present = joined(server)
    newcomer = joined(server, name="n" * 300)
    assert present.received() == announced(newcomer, name="n" * 256)


@pytest.mark.parametrize("event", ["join-room", "check-room"])
@pytest.mark.parametrize("room", [None, "", 5, 1.5, True, "x" * 257])
def test_what_is_no_room_id_is_an_invalid_room(server: Server, event: str, room: Any) -> None:
    lobby = Lobby(server)
    peer = client(server)
    peer.emit(event, {"roomId": room})
    assert peer.received() == refused("invalid-room", room)
    assert lobby.stats() == {"rooms": 0, "peers": 0}


@pytest.mark.parametrize("event", ["join-room", "check-room"])
@pytest.mark.parametrize(
    "args", [(), (None,), ("r",), (5,), ([],), ({},), ({"roomId": ["r"]},), ({"roomId": {}},)]
)
def test_where_there_is_no_plain_room_id_none_is_told_back(
    server: Server, event: str, args: tuple[Any, ...]
) -> None:
    Lobby(server)
    peer = client(server)
    peer.emit(event, *args)
    assert peer.received() == [("join-error", [{"reason": "invalid-room"}])]
    assert peer.connected


def test_a_room_id_may_have_256_characters(server: Server) -> None:
    Lobby(server)
    joined(server, "x" * 256)


def test_the_sid_of_anybody_is_an_invalid_room(server: Server) -> None:
    Lobby(server)
    victim, peer = client(server), client(server)
    for sid in (victim.sid, peer.sid):
        join(peer, sid)
        assert peer.received() == refused("invalid-room", sid)
    server.of("/").to(victim.sid).emit("private")
    assert peer.received() == []


def test_who_joins_twice_is_answered_again_and_nobody_else_hears_of_it(server: Server) -> None:
    lobby = Lobby(server)
    present, peer = joined(server, name="Ann"), joined(server, name="Bob")
    present.received()
    for fields in ({"name": "Bob"}, {}):
        join(peer, **fields)
        peer.received()
    join(peer)
    assert peer.received() == [
        ("user-connected", [{"id": present.sid, "name": "Ann"}]),
        ("join-ok", [{"roomId": "r"}]),
    ]
    assert present.received() == []
    assert lobby.peers("r") == [present.sid, peer.sid]
    newcomer = client(server)
    join(newcomer)
    assert newcomer.received("user-connected")[1] == {"id": peer.sid, "name": "Bob"}


def test_who_joins_again_with_another_name_is_announced_by_it_without_a_second_offer(
    server: Server,
) -> None:
    lobby = Lobby(server)
    present, peer = joined(server, name="Ann"), joined(server, name="Bob")
    present.received()
    for name in ("Bo", 7, "Bob"):
        join(peer, name=name)
        assert peer.received() == [
            ("user-connected", [{"id": present.sid, "name": "Ann"}]),
            ("join-ok", [{"roomId": "r"}]),
        ]
        assert present.received() == [("user-connected", [{"id": peer.sid, "name": name}])]
    newcomer = client(server)
    join(newcomer)
    assert newcomer.received("user-connected")[1] == {"id": peer.sid, "name": "Bob"}
    assert lobby.peers("r") == [present.sid, peer.sid, newcomer.sid]


def test_another_name_is_asked_of_authorize_as_the_first_was(server: Server) -> None:
    lobby = Lobby(server, authorize=lambda socket, room, name, password: name != "admin")
    present, peer = joined(server, name="Ann"), joined(server, name="Bob")
    present.received()
    join(peer, name="admin")
    assert peer.received() == refused("forbidden")
    assert present.received() == []
    assert lobby.peers("r") == [present.sid, peer.sid]
    peer.emit("chat-message", {"roomId": "r", "text": "still here"})
    assert len(present.received("chat-message")) == 1
    newcomer = client(server)
    join(newcomer)
    assert newcomer.received("user-connected")[1] == {"id": peer.sid, "name": "Bob"}


def test_a_socket_may_be_in_several_rooms(server: Server) -> None:
    lobby = Lobby(server)
    both = joined(server, "a")
    join(both, "b")
    assert lobby.stats() == {"rooms": 2, "peers": 2}


def test_the_apps_own_connection_handler_and_handlers_run_too(server: Server) -> None:
    Lobby(server)
    seen = []

    def connection(socket: Any) -> None:
        socket.on("join-room", lambda data: seen.append(data["roomId"]))

    server.on("connection", connection)
    joined(server)
    assert seen == ["r"]


def test_a_lobby_may_have_another_namespace(server: Server) -> None:
    Lobby(server, namespace="/calls")
    outside, inside = client(server), client(server, namespace="/calls")
    join(outside)
    join(inside)
    assert outside.received() == []
    assert inside.received() == [("join-ok", [{"roomId": "r"}])]


# -- passwords -------------------------------------------------------------------------------------


def test_the_first_joiners_password_is_asked_of_the_others(server: Server) -> None:
    Lobby(server)
    joined(server, password="sesame")
    peer = client(server)
    join(peer)
    assert peer.received() == refused("password-required")
    join(peer, password="tahini")
    assert peer.received() == refused("wrong-password")
    join(peer, password="sesame")
    assert peer.received("join-ok") == [{"roomId": "r"}]


def test_the_password_of_a_later_joiner_is_none(server: Server) -> None:
    Lobby(server)
    joined(server)
    joined(server, password="sesame")
    joined(server)


def test_white_space_around_a_password_does_not_count(server: Server) -> None:
    Lobby(server)
    joined(server, password=" sesame\n")
    joined(server, password="sesame")


@pytest.mark.parametrize("password", [None, "", "  "])
def test_an_empty_password_is_none(server: Server, password: Any) -> None:
    Lobby(server)
    joined(server, password=password)
    joined(server)


@pytest.mark.parametrize("password", [5, True, ["sesame"], {"a": 1}, "s" * 1025])
def test_a_password_that_is_no_text_founds_no_room_and_opens_none(
    server: Server, password: Any
) -> None:
    lobby = Lobby(server)
    peer = client(server)
    join(peer, password=password)
    assert peer.received() == refused("wrong-password")
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    joined(server)
    join(peer, password=password)
    assert peer.received() == refused("wrong-password")


@pytest.mark.parametrize("password", ["pässwörd", "🎸", "\ud800"])
def test_any_text_may_be_a_password(server: Server, password: str) -> None:
    Lobby(server)
    joined(server, password=password)
    joined(server, password=password)
    peer = client(server)
    join(peer, password=password + "!")
    assert peer.received() == refused("wrong-password")


@pytest.mark.parametrize("way_out", ["leave", "disconnect"])
def test_a_room_that_emptied_has_forgotten_its_password(server: Server, way_out: str) -> None:
    lobby = Lobby(server)
    first, second = joined(server, password="old"), joined(server, password="old")
    for peer in (first, second):
        assert lobby.stats()["rooms"] == 1
        if way_out == "leave":
            peer.emit("leave-room", {"roomId": "r"})
        else:
            peer.disconnect()
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    joined(server, password="new")
    peer = client(server)
    join(peer, password="old")
    assert peer.received() == refused("wrong-password")


# -- asking first ----------------------------------------------------------------------------------


def test_a_free_or_open_room_needs_no_password(server: Server) -> None:
    Lobby(server)
    peer = client(server)
    peer.emit("check-room", {"roomId": "r", "password": "any"})
    joined(server)
    peer.emit("check-room", {"roomId": "r"})
    answer = ("room-check-ok", [{"roomId": "r", "passwordRequired": False}])
    assert peer.received() == [answer, answer]


def test_a_closed_room_tells_whether_the_password_is_right(server: Server) -> None:
    lobby = Lobby(server)
    joined(server, password="sesame")
    peer = client(server)
    peer.emit("check-room", {"roomId": "r"})
    peer.emit("check-room", {"roomId": "r", "password": "tahini"})
    peer.emit("check-room", {"roomId": "r", "password": "sesame"})
    assert peer.received() == [
        *refused("password-required"),
        *refused("wrong-password"),
        ("room-check-ok", [{"roomId": "r", "passwordRequired": True}]),
    ]
    assert len(lobby.peers("r")) == 1


def test_a_full_room_is_told_to_those_who_know_the_password_only(server: Server) -> None:
    Lobby(server, max_peers=1)
    joined(server, password="sesame")
    peer = client(server)
    peer.emit("check-room", {"roomId": "r"})
    peer.emit("check-room", {"roomId": "r", "password": "sesame"})
    assert peer.received() == [*refused("password-required"), *refused("room-full")]
