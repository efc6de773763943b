"""A seat and the Socket.IO room are one: whoever changes one of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import gevent
import pytest
import socketio

from rtcio_sync.errors import LimitExceeded, ProtocolError
from rtcio_sync.lobby.lobby import Lobby
from rtcio_sync.options import Limits
from rtcio_sync.server import Server
from tests.lobby.clients import client, join, joined, refused


def limited(rooms: int, **options: Any) -> Server:
    return Server(limits=Limits(max_rooms_per_socket=rooms), **options)


def agree(server: Server, lobby: Lobby, *rooms: str) -> None:
    """Both books say the same of who is where."""
    inside = server.of("/").rooms
    for room in rooms:
        assert lobby.peers(room) == list(inside.get(room, ())), room


def test_who_may_enter_no_more_rooms_gets_no_seat_and_an_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = limited(3)
    lobby = Lobby(server)
    greedy, other = client(server), client(server)
    names = [f"room {number}" for number in range(20)]
    for room in names:
        join(greedy, room, password="mine")
    events = greedy.received()
    assert [name for name, _ in events] == ["join-ok"] * 3 + ["join-error"] * 17
    assert events[3:] == [
        ("join-error", [{"reason": "too-many-rooms", "roomId": room}]) for room in names[3:]
    ]
    assert lobby.stats() == {"rooms": 3, "peers": 3}
    agree(server, lobby, *names)
    assert server.stats()["dropped"] == {"rooms": 17}
    assert server.stats()["handler_errors"] == 0
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []
    join(other, names[5])  # not squatted under the other's password
    assert other.received() == [("join-ok", [{"roomId": names[5]}])]
    greedy.emit("leave-room", {"roomId": names[0]})
    join(greedy, names[19])
    assert greedy.received() == [("join-ok", [{"roomId": names[19]}])]


def test_the_answer_to_check_room_is_that_of_join_room() -> None:
    server = limited(1)
    Lobby(server)
    peer = joined(server)
    for room in ("s", "r"):
        peer.emit("check-room", {"roomId": room})
    assert peer.received() == [
        *refused("too-many-rooms", "s"),
        ("room-check-ok", [{"roomId": "r", "passwordRequired": False}]),
    ]


def test_authorize_is_not_asked_for_one_who_may_enter_no_more_rooms() -> None:
    asked: list[str] = []
    server = limited(1)
    Lobby(server, authorize=lambda socket, room, name, password: asked.append(room) or True)
    peer = joined(server)
    join(peer, "s")
    join(peer, "r")
    assert peer.received("join-error") == [{"reason": "too-many-rooms", "roomId": "s"}]
    assert asked == ["r"]


def test_rooms_of_the_app_count_too(server: Server) -> None:
    server = limited(2)
    lobby = Lobby(server)
    peer = client(server)
    for room in ("app 1", "app 2"):
        server.enter_room(peer.sid, room)
    join(peer)
    assert peer.received() == refused("too-many-rooms")
    server.leave_room(peer.sid, "app 1")
    join(peer)
    assert peer.received() == [("join-ok", [{"roomId": "r"}])]
    agree(server, lobby, "r")


class Refusing(socketio.Manager):  # type: ignore[misc]
    """A client manager that lets nobody into a room once the test says so."""

    error: BaseException | None = None

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: Any = None) -> None:
        if self.error is not None:
            raise self.error
        super().basic_enter_room(sid, namespace, room, eio_sid)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (LimitExceeded("rooms"), "too-many-rooms"),
        (ProtocolError("sid-room"), "invalid-room"),
        (ConnectionError("the back end is away"), "forbidden"),
        (gevent.Timeout(1), "forbidden"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, BaseException) else None,
)
def test_a_seat_is_given_back_when_the_room_is_not_entered_after_all(
    error: BaseException, reason: str
) -> None:
    manager = Refusing()
    server = Server(client_manager=manager)
    lobby = Lobby(server)
    present, peer = joined(server), client(server)
    manager.error = error
    with contextlib.suppress(BaseException):  # a test client hands on what a handler raises
        join(peer, "new", password="mine")
    with contextlib.suppress(BaseException):
        join(peer)
    assert peer.received() == [*refused(reason, "new"), *refused(reason)]
    assert lobby.stats() == {"rooms": 1, "peers": 1}
    manager.error = None
    join(present, "new")  # it is nobody's
    assert present.received()[-1] == ("join-ok", [{"roomId": "new"}])
    assert [name for name, _ in present.received() if name == "user-connected"] == []
    join(peer)
    assert peer.received()[-1] == ("join-ok", [{"roomId": "r"}])
    agree(server, lobby, "r", "new")


TAKEN_OUT: dict[str, Callable[[Server, Lobby, str], Any]] = {
    "leave_room": lambda server, lobby, sid: server.leave_room(sid, "r"),
    "socket.leave": lambda server, lobby, sid: server.sockets[sid].leave("r"),
    "sockets_leave": lambda server, lobby, sid: server.in_(sid).sockets_leave("r"),
    "remove": lambda server, lobby, sid: lobby.remove(sid, "r"),
    "disconnect": lambda server, lobby, sid: server.disconnect(sid),
    "disconnect_sockets": lambda server, lobby, sid: server.in_(sid).disconnect_sockets(True),
}


@pytest.mark.parametrize("how", TAKEN_OUT)
def test_whom_the_app_takes_out_of_the_room_has_no_seat_and_the_others_hear_of_it(
    server: Server, how: str
) -> None:
    lobby = Lobby(server, max_peers=2)
    present, peer, next_one = joined(server), joined(server), client(server)
    present.received()
    sid = str(peer.sid)
    TAKEN_OUT[how](server, lobby, sid)
    assert present.received("user-disconnected") == [{"id": sid}]
    agree(server, lobby, "r")
    if peer.connected:
        peer.received()
        peer.emit("chat-message", {"roomId": "r"})
        assert present.received() == []
    join(next_one)
    assert next_one.received()[-1] == ("join-ok", [{"roomId": "r"}])
    if peer.connected:
        join(peer)
        assert peer.received() == refused("room-full")
    agree(server, lobby, "r")


def test_a_room_that_the_app_closes_is_empty_and_free_of_its_password(server: Server) -> None:
    lobby = Lobby(server)
    peers = [joined(server, password="tea") for _ in range(3)]
    server.close_room("r")
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    assert not lobby._rooms
    newcomer = client(server)
    join(newcomer)
    assert newcomer.received() == [("join-ok", [{"roomId": "r"}])]
    peers[0].received()
    join(peers[0])
    assert peers[0].received()[-1] == ("join-ok", [{"roomId": "r"}])
    agree(server, lobby, "r")


def test_a_room_in_another_namespace_is_another_room(server: Server) -> None:
    lobby = Lobby(server, namespace="/calls")
    caller, chatter = client(server, namespace="/calls"), client(server)
    join(caller)
    server.enter_room(chatter.sid, "r")
    server.leave_room(chatter.sid, "r")
    server.close_room("r")
    assert lobby.peers("r") == [caller.sid]


def test_no_seat_is_kept_when_the_lobby_does_not_hear_of_the_end(server: Server) -> None:
    lobby = Lobby(server)
    present, peer = joined(server), joined(server)
    present.received()
    server.sockets[str(peer.sid)].off("disconnecting")
    gone = peer.sid
    peer.disconnect()
    assert present.received("user-disconnected") == [{"id": gone}]
    agree(server, lobby, "r")
