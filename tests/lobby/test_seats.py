"""Seats: the cap of a room, also while many join and leave at once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rtcio_sync.lobby.lobby import Lobby
from rtcio_sync.server import Server
from rtcio_sync.testing import TestClient
from tests.lobby.clients import client, join, joined, refused
from tests.timing import DEADLINE


def test_a_full_room_refuses_until_somebody_leaves(server: Server) -> None:
    Lobby(server, max_peers=2)
    first = joined(server)
    joined(server)
    late = client(server)
    join(late)
    assert late.received() == refused("room-full")
    joined(server, "other")
    first.emit("leave-room", {"roomId": "r"})
    join(late)
    assert late.received("join-ok") == [{"roomId": "r"}]


def test_who_has_a_seat_in_a_full_room_may_join_it_again(server: Server) -> None:
    Lobby(server, max_peers=1)
    only = joined(server)
    join(only)
    assert only.received() == [("join-ok", [{"roomId": "r"}])]


def test_the_cap_may_be_the_classs(server: Server) -> None:
    class Pairs(Lobby):
        max_peers = 2

    Pairs(server)
    joined(server), joined(server)
    late = client(server)
    join(late)
    assert late.received() == refused("room-full")


def test_seats_and_password_are_exact_when_many_join_at_once(
    server: Server, elsewhere: Callable[..., Any]
) -> None:
    lobby = Lobby(server, max_peers=5)
    peers = [client(server) for _ in range(24)]
    start = threading.Barrier(len(peers))

    def rush(number: int, peer: TestClient) -> None:
        start.wait(DEADLINE)
        join(peer, password=f"password {number % 3}")

    with ThreadPoolExecutor(len(peers)) as pool:
        list(pool.map(rush, range(len(peers)), peers))
    seated = lobby.peers("r")
    assert len(seated) == 5
    numbers = {number % 3 for number, peer in enumerate(peers) if peer.sid in seated}
    assert len(numbers) == 1, "two passwords opened one room"
    for peer in peers:
        answers = [name for name, _ in peer.received() if name.startswith("join-")]
        if peer.sid in seated:
            assert answers == ["join-ok"]
        else:
            assert answers == ["join-error"]
            assert peer.sid not in server.manager.rooms["/"]["r"]


def test_those_who_are_refused_take_no_seat_from_the_others_when_many_join_at_once(
    server: Server,
) -> None:
    lobby = Lobby(server, max_peers=4, authorize=lambda socket, room, name, password: name == "in")
    peers = [client(server) for _ in range(24)]
    start = threading.Barrier(len(peers))

    def rush(number: int, peer: TestClient) -> None:
        start.wait(DEADLINE)
        join(peer, name="in" if number % 6 == 0 else "out")

    with ThreadPoolExecutor(len(peers)) as pool:
        list(pool.map(rush, range(len(peers)), peers))
    assert sorted(lobby.peers("r")) == sorted(str(peer.sid) for peer in peers[::6])


def test_what_each_peer_heard_is_who_is_there_however_many_came_and_went_at_once(
    server: Server,
) -> None:
    lobby = Lobby(server, max_peers=6)
    peers = [client(server, auth={"number": number}) for number in range(12)]

    def wander(number: int, peer: TestClient) -> None:
        chance = random.Random(number)
        for _ in range(40):
            if chance.random() < 0.5:
                join(peer, name=str(number))
            else:
                peer.emit("leave-room", {"roomId": "r"})
        if number % 4 == 0:
            peer.disconnect()

    with ThreadPoolExecutor(len(peers)) as pool:
        list(pool.map(wander, range(len(peers)), peers))
    inside = set(lobby.peers("r"))
    assert inside == set(server.manager.rooms.get("/", {}).get("r", {}))
    for peer in peers:
        sid = str(peer.sid)
        if sid in inside:
            assert _roster(sid, peer.received()) == inside - {sid}


def _roster(sid: str, events: list[Any]) -> set[str]:
    """Who is in the room after all that a peer heard since it last came in."""
    there: set[str] = set()
    offers: set[str] = set()
    since = max(index for index, (name, _) in enumerate(events) if name == "join-ok")
    begin = since
    while begin and events[begin - 1][0] == "user-connected":
        begin -= 1
    for name, args in events[begin:]:
        if name == "user-connected":
            there.add(args[0]["id"])
        elif name == "user-disconnected":
            assert args[0]["id"] in there, "somebody left who had never come"
            there.remove(args[0]["id"])
        elif name == "#rtcio:init-offer":
            offers.add(args[0]["source"])
    assert sid not in there | offers, "it heard of itself"
    return there
