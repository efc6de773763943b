"""Leaving, and what peers tell each other."""

from __future__ import annotations

from typing import Any

import pytest

from rtcio_sync.lobby.lobby import Lobby
from rtcio_sync.server import Server
from tests.lobby.clients import announced, client, join, joined

# -- leaving ---------------------------------------------------------------------------------------


def test_who_leaves_is_told_of_to_the_others_without_a_peer_left(server: Server) -> None:
    lobby = Lobby(server)
    leaver, present = joined(server), joined(server)
    leaver.received()
    leaver.emit("leave-room", {"roomId": "r"})
    assert present.received() == [("user-disconnected", [{"id": leaver.sid}])]
    assert leaver.received() == []
    assert lobby.peers("r") == [present.sid]
    server.of("/").to("r").emit("news")
    assert leaver.received() == []


def test_who_comes_back_is_announced_anew_without_its_old_media_state(server: Server) -> None:
    Lobby(server)
    leaver, present = joined(server), joined(server)
    leaver.emit("media-state", {"roomId": "r", "mic": True, "cam": True})
    leaver.emit("leave-room", {"roomId": "r"})
    present.received()
    join(leaver)
    assert present.received() == announced(leaver)
    newcomer = client(server)
    join(newcomer)
    assert newcomer.received("media-state") == []


@pytest.mark.parametrize(
    "args", [(), (None,), ({},), ({"roomId": []},), ({"roomId": "r"},), ("r",)]
)
def test_leaving_a_room_one_is_not_in_is_nothing(server: Server, args: tuple[Any, ...]) -> None:
    lobby = Lobby(server)
    present, stranger = joined(server), client(server)
    stranger.emit("leave-room", *args)
    assert present.received() == stranger.received() == []
    assert lobby.peers("r") == [present.sid]
    assert server.stats()["handler_errors"] == 0


def test_who_disconnects_is_told_of_once_in_each_shared_room_and_once_by_the_library(
    server: Server,
) -> None:
    lobby = Lobby(server)
    leaver, both, one = joined(server, "a"), joined(server, "a"), joined(server, "b")
    join(leaver, "b")
    join(both, "b")
    stranger = joined(server, "c")
    both.received(), one.received()
    sid = leaver.sid
    leaver.disconnect()
    assert both.received("#rtcio:peer-left") == one.received("#rtcio:peer-left") == [{"id": sid}]
    assert both.received() == [("user-disconnected", [{"id": sid}])] * 2
    assert one.received() == [("user-disconnected", [{"id": sid}])]
    assert stranger.received() == []
    assert lobby.stats() == {"rooms": 3, "peers": 4}


def test_an_app_may_take_a_peer_out_of_a_room(server: Server) -> None:
    lobby = Lobby(server)
    present, other = joined(server), joined(server)
    present.received()
    assert lobby.remove(str(other.sid), "r")
    assert not lobby.remove(str(other.sid), "r")
    assert not lobby.remove(str(present.sid), "nowhere")
    assert present.received() == [("user-disconnected", [{"id": other.sid}])]
    other.emit("chat-message", {"roomId": "r"})
    assert present.received() == []


# -- talking ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["chat-message", "stopScreenShare"])
def test_what_is_said_reaches_the_others_whole_with_the_speakers_own_id(
    server: Server, event: str
) -> None:
    Lobby(server)
    speaker, present, outside = joined(server), joined(server), client(server)
    speaker.received()
    said = {"roomId": "r", "id": "forged", "text": "hi", "nothing": None, "more": [1, {"a": b"\0"}]}
    speaker.emit(event, said)
    assert present.received() == [(event, [{**said, "id": speaker.sid}])]
    assert speaker.received() == outside.received() == []


@pytest.mark.parametrize("event", ["chat-message", "stopScreenShare", "media-state"])
@pytest.mark.parametrize(
    "payload", [None, "r", 5, [], {}, {"roomId": None}, {"roomId": ["r"]}, {"roomId": "r"}]
)
def test_who_is_not_in_the_room_says_nothing_to_it(
    server: Server, event: str, payload: Any
) -> None:
    Lobby(server)
    present, stranger = joined(server), joined(server, "other")
    state = {"mic": True, "cam": True} if isinstance(payload, dict) else {}
    stranger.emit(event, {**payload, **state} if state else payload)
    assert present.received() == stranger.received() == []
    assert stranger.connected
    assert server.stats()["handler_errors"] == 0


def test_an_apps_own_room_is_no_room_of_the_lobby(server: Server) -> None:
    Lobby(server)
    listener, stranger = client(server), client(server)
    for peer in (listener, stranger):
        server.enter_room(peer.sid, "app")
    stranger.emit("chat-message", {"roomId": "app", "text": "hi"})
    assert listener.received() == []


@pytest.mark.parametrize(
    "sent",
    [
        {"mic": True, "cam": False},
        {"mic": False},
        {"cam": True, "mic": None},
        {"cam": True, "mic": "on"},
        {"cam": True, "id": "forged", "more": 1},
        {"screen": True, "quality": {"cam": [720, 30]}, "none": None},
        {"thumbnail": b"\x89PNG"},
        {},
    ],
    ids=str,
)
def test_a_media_state_reaches_the_others_whole_with_the_speakers_own_id(
    server: Server, sent: dict[str, Any]
) -> None:
    Lobby(server)
    speaker, present = joined(server), joined(server)
    speaker.received()
    speaker.emit("media-state", {"roomId": "r", **sent})
    heard = {**sent, "id": speaker.sid, "roomId": "r"}
    assert present.received() == [("media-state", [heard])]
    assert speaker.received() == []
    newcomer = client(server)
    join(newcomer)
    states = newcomer.received("media-state")
    assert states == ([heard] if set(sent) - {"id"} else [])


@pytest.mark.parametrize(
    "much",
    [
        {"text": "x" * 1100},
        {"bytes": b"x" * 1100},
        {"x" * 1100: 1},
        {"list": [0] * 40},
        {"deep": [[[[[{"a": [0] * 40}]]]]]},
        {str(number): number for number in range(40)},
        {"number": 10**400},
    ],
    ids=lambda much: next(iter(much))[:9],
)
def test_of_a_large_media_state_newcomers_hear_mic_and_cam_alone(
    server: Server, much: dict[str, Any]
) -> None:
    lobby = Lobby(server)
    speaker, present = joined(server), joined(server)
    speaker.emit("media-state", {"roomId": "r", "mic": True, "small": 1})
    present.received()
    speaker.emit("media-state", {"roomId": "r", "cam": False, **much})
    (heard,) = present.received("media-state")
    assert heard == {"id": speaker.sid, "roomId": "r", "cam": False, **much}
    newcomer = client(server)
    join(newcomer)
    assert newcomer.received("media-state") == [
        {"id": speaker.sid, "roomId": "r", "mic": True, "cam": False}
    ]
    assert lobby.stats() == {"rooms": 1, "peers": 3}


@pytest.mark.parametrize("order", [1, -1], ids=["a placeholder first", "bytes first"])
def test_no_media_states_of_a_peer_keep_others_out(server: Server, order: int) -> None:
    """Each can be sent, but a placeholder in text and bytes cannot be sent together."""
    Lobby(server)
    speaker = joined(server)
    placeholder = {"_placeholder": True, "num": 0}
    states: list[dict[str, Any]] = [{"mic": placeholder}, {"cam": b"z"}]
    for state in states[::order]:
        speaker.emit("media-state", {"roomId": "r", **state})
    newcomer = joined(server)
    speaker.received()
    join(newcomer)
    assert not newcomer.received("join-error")
    assert server.stats()["dropped"] == {}


def test_the_last_media_state_is_remembered_for_each_room_and_key(server: Server) -> None:
    Lobby(server)
    speaker = joined(server, "a")
    join(speaker, "b")
    speaker.emit("media-state", {"roomId": "a", "mic": True, "cam": True})
    speaker.emit("media-state", {"roomId": "a", "cam": False})
    newcomer = client(server)
    join(newcomer, "a")
    join(newcomer, "b")
    assert newcomer.received("media-state") == [
        {"id": speaker.sid, "roomId": "a", "mic": True, "cam": False}
    ]
